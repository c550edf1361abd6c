"""Log-densities, divergences and sampling, in nats.

A posterior or a prior is a value with `sample` and `log_prob`; `DiagonalGaussian` is one. The
density functions are elementwise: arrays in, an array of the same shape out, nothing is summed.
"""

import math
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from vae_jax.threefry import unrolled

__all__ = [
    "LOGVAR_BOUND",
    "DiagonalGaussian",
    "bernoulli_log_prob",
    "bound_logvar",
    "categorical_log_prob",
    "discretized_logistic_log_prob",
    "gaussian_kl",
    "gaussian_log_prob",
    "kl_divergence",
    "laplace_log_prob",
    "reparameterize",
    "standard_gaussian",
]

LOGVAR_BOUND = 20.0


def bound_logvar(logvar: chex.Numeric) -> jax.Array:
    """Clips a log variance to the range in which its exponential is harmless.

    min(max(logvar, -20), 20). Every function of this module that takes a `logvar` applies it, so
    sampling, divergence and density agree on the variance. Outside the range the gradient is zero.

    Args:
        logvar: log variance, any shape.

    Returns:
        The bounded log variance, same shape.
    """
    return jnp.clip(logvar, -LOGVAR_BOUND, LOGVAR_BOUND)


def _align(parameter: chex.Numeric, value: jax.Array) -> jax.Array:
    """Prepends axes of size 1 to `parameter` until it has the rank of `value` (any shapes)."""
    parameter = jnp.asarray(parameter)
    chex.assert_is_broadcastable(parameter.shape, value.shape)
    return jnp.expand_dims(parameter, range(value.ndim - parameter.ndim))


def reparameterize(key: chex.PRNGKey, mean: jax.Array, logvar: jax.Array) -> jax.Array:
    """Draws from a Gaussian as a differentiable function of its mean and log variance.

    z = mean + exp(½ logvar) · eps,  eps ~ N(0, I)

    Args:
        key: random key.
        mean: mean, any shape.
        logvar: log variance, same shape.

    Returns:
        One sample per element, same shape.

    Reference:
        Kingma and Welling 2013, Auto-Encoding Variational Bayes, arXiv 1312.6114, section 2.4.
    """
    chex.assert_equal_shape([mean, logvar])
    eps = jax.random.normal(unrolled(key), mean.shape, mean.dtype)
    # z = mean + exp(½ logvar) · eps
    return mean + jnp.exp(0.5 * bound_logvar(logvar)) * eps


def bernoulli_log_prob(x: jax.Array, logits: jax.Array) -> jax.Array:
    """Log-probability of a Bernoulli variable, from logits.

    log p(x) = x log σ(logits) + (1 − x) log σ(−logits)

    For x strictly between 0 and 1 (a soft target) this is minus the cross-entropy: the expected
    log-probability of a pixel that is 1 with probability x.

    Args:
        x: values in [0, 1], any shape.
        logits: log-odds of 1, same shape.

    Returns:
        Log-probabilities in nats, same shape.
    """
    chex.assert_equal_shape([x, logits])
    # log p(x) = (x − ½) l − ½|l| − log(1 + e^{−|l|}): the exponent is never positive, and the first
    # two terms cancel exactly where the outcome is certain.
    magnitude = jnp.abs(logits)
    return (x - 0.5) * logits - 0.5 * magnitude - jnp.log1p(jnp.exp(-magnitude))


def gaussian_log_prob(x: jax.Array, mean: jax.Array, logvar: chex.Numeric) -> jax.Array:
    """Log-density of a Gaussian.

    log p(x) = −½ (log 2π + logvar + (x − mean)² / exp(logvar))

    Args:
        x: values, any shape.
        mean: mean, same shape.
        logvar: log variance, a scalar or any shape that broadcasts to that of `x`.

    Returns:
        Log-densities in nats, the shape of `x`.
    """
    chex.assert_equal_shape([x, mean])
    logvar = _align(bound_logvar(logvar), x)
    # log p(x) = −½ (log 2π + logvar + (x − mean)² / exp(logvar))
    return -0.5 * (math.log(2 * math.pi) + logvar + jnp.square(x - mean) * jnp.exp(-logvar))


def laplace_log_prob(x: jax.Array, mean: jax.Array, logvar: chex.Numeric) -> jax.Array:
    """Log-density of a Laplace variable of scale b, given by its variance: logvar = log(2b²).

    log p(x) = −log 2b − |x − mean| / b

    Args:
        x: values, any shape.
        mean: mean, same shape.
        logvar: log variance, a scalar or any shape that broadcasts to that of `x`.

    Returns:
        Log-densities in nats, the shape of `x`.
    """
    chex.assert_equal_shape([x, mean])
    # log b = ½ (logvar − log 2)
    log_scale = 0.5 * (_align(bound_logvar(logvar), x) - math.log(2))
    # log p(x) = −log 2b − |x − mean| / b
    return -math.log(2) - log_scale - jnp.abs(x - mean) * jnp.exp(-log_scale)


def discretized_logistic_log_prob(
    x: jax.Array, mean: jax.Array, logvar: chex.Numeric, *, num_levels: int = 256
) -> jax.Array:
    """Log-probability of a level in [0, 1] under a logistic variable rounded to levels.

    The level k/(num_levels − 1) owns the bin of width 1/(num_levels − 1) around it, the first and
    the last level everything beyond, so the probabilities sum to 1. With the bin (x − h, x + h),
    F the distribution function and s the scale, logvar = log(s²π²/3):

    p(x) = F(x + h) − F(x − h),  F(t) = σ((t − mean) / s)

    Args:
        x: levels k/(num_levels − 1), any shape.
        mean: mean of the logistic variable before rounding, same shape.
        logvar: its log variance, a scalar or any shape that broadcasts to that of `x`.
        num_levels: number of levels, at least 2.

    Returns:
        Log-probabilities in nats, the shape of `x`.

    Reference:
        Salimans et al. 2017, PixelCNN++, arXiv 1701.05517, eq. 2 (one component).
    """
    chex.assert_equal_shape([x, mean])
    half_bin = 0.5 / (num_levels - 1)
    # 1/s = (π/√3) exp(−½ logvar)
    inverse_scale = math.pi / math.sqrt(3) * jnp.exp(-0.5 * _align(bound_logvar(logvar), x))
    log_cdf_above = jax.nn.log_sigmoid((x - mean + half_bin) * inverse_scale)
    log_survival_below = jax.nn.log_sigmoid((mean - x + half_bin) * inverse_scale)
    # σ(a) − σ(b) = σ(a) σ(−b) (1 − e^{b−a}): no difference of nearly equal numbers, because
    # a − b = 2h/s is known without x and mean.
    log_width = jnp.log(-jnp.expm1(-2 * half_bin * inverse_scale))
    lowest, highest = x < half_bin, x > 1 - half_bin
    return (
        jnp.where(highest, 0.0, log_cdf_above)
        + jnp.where(lowest, 0.0, log_survival_below)
        + jnp.where(lowest | highest, 0.0, log_width)
    )


def categorical_log_prob(x: jax.Array, logits: jax.Array) -> jax.Array:
    """Log-probability of a category, from logits.

    log p(x) = logits[x] − log Σ_v exp(logits[v])

    Args:
        x: integer categories in [0, V), shape [...].
        logits: unnormalised log-probabilities, shape [..., V].

    Returns:
        Log-probabilities in nats, shape [...].
    """
    chex.assert_type(x, int)
    chex.assert_shape(x, logits.shape[:-1])
    # log p(x) = logits[x] − log Σ_v exp(logits[v])
    log_probs = jax.nn.log_softmax(logits, axis=-1)
    return jnp.take_along_axis(log_probs, x[..., None], axis=-1)[..., 0]


def gaussian_kl(
    mean: jax.Array,
    logvar: jax.Array,
    prior_mean: chex.Numeric = 0.0,
    prior_logvar: chex.Numeric = 0.0,
) -> jax.Array:
    """Divergence between two Gaussians in every dimension, KL(N(mean, logvar) ‖ N(prior)).

    KL = ½ (v/v₀ − 1 − log(v/v₀) + (mean − mean₀)² / v₀),  v = exp(logvar), v₀ = exp(logvar₀)

    Args:
        mean: mean, any shape.
        logvar: log variance, same shape.
        prior_mean: mean₀, a scalar or any shape that broadcasts to that of `mean`; standard normal
            by default.
        prior_logvar: logvar₀, likewise.

    Returns:
        Divergences in nats, the shape of `mean`.

    Reference:
        Kingma and Welling 2013, arXiv 1312.6114, appendix B.
    """
    chex.assert_equal_shape([mean, logvar])
    prior_mean = _align(prior_mean, mean)
    prior_logvar = _align(bound_logvar(prior_logvar), mean)
    # log(v/v₀)
    log_ratio = bound_logvar(logvar) - prior_logvar
    # ½ (v/v₀ − 1 − log(v/v₀) + (mean − mean₀)² / v₀), expm1 being exact where v ≈ v₀
    return 0.5 * (
        jnp.expm1(log_ratio) - log_ratio + jnp.square(mean - prior_mean) * jnp.exp(-prior_logvar)
    )


class DiagonalGaussian(NamedTuple):
    """A Gaussian with independent latent dimensions: a posterior [B, L], or a prior [L].

    Attributes:
        mean: mean, shape [B, L] or [L].
        logvar: log variance, same shape.
    """

    mean: jax.Array
    logvar: jax.Array

    def sample(self, key: chex.PRNGKey, num_samples: int | None = None) -> jax.Array:
        """Draws z = mean + exp(½ logvar) · eps, differentiable in mean and logvar.

        Each latent dimension has a key of its own: the draws of the first dimensions and of the
        first examples do not depend on how many follow, so that a model whose last dimensions are
        masked sees the noise of its native twin.

        Args:
            key: random key.
            num_samples: K, or None for one sample without the axis K.

        Returns:
            Samples, shape [B, L], or [K, B, L]; from a prior [L], or [K, L].
        """
        shape = self.mean.shape if num_samples is None else (num_samples, *self.mean.shape)
        *examples, latent_dim = shape
        keys = unrolled(jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(latent_dim)))
        eps = jax.vmap(lambda key: jax.random.normal(key, examples, self.mean.dtype))(keys)
        # z = mean + exp(½ logvar) · eps
        eps = jnp.moveaxis(eps, 0, -1)
        mean, logvar = _align(self.mean, eps), _align(self.logvar, eps)
        return mean + jnp.exp(0.5 * bound_logvar(logvar)) * eps

    def log_prob(self, z: jax.Array) -> jax.Array:
        """Log-density of z, summed over the latent dimensions.

        log p(z) = Σ_l log N(z_l; mean_l, exp(logvar_l))

        Args:
            z: latent values, shape [..., L], to which [B, L] (or [L]) broadcasts.

        Returns:
            Log-densities in nats, shape [...].
        """
        mean = jnp.broadcast_to(self.mean, z.shape)
        # log p(z) = Σ_l log N(z_l; mean_l, exp(logvar_l))
        return jnp.sum(gaussian_log_prob(z, mean, self.logvar), axis=-1)


def standard_gaussian(latent_dim: int) -> DiagonalGaussian:
    """The prior N(0, I) over L latent dimensions.

    Args:
        latent_dim: L.

    Returns:
        A Gaussian with mean and logvar zero, both of shape [L].
    """
    return DiagonalGaussian(jnp.zeros(latent_dim), jnp.zeros(latent_dim))


_CLOSED_FORM_KL = {
    (DiagonalGaussian, DiagonalGaussian): lambda q, p: gaussian_kl(*q, *p),
}


def kl_divergence(posterior: DiagonalGaussian, prior: DiagonalGaussian) -> jax.Array:
    """The rate of every latent dimension in closed form, KL(posterior ‖ prior).

    Args:
        posterior: q(z|x), parameters of shape [B, L].
        prior: p(z), parameters of shape [L] or [B, L].

    Returns:
        Divergences in nats, shape [B, L].

    Raises:
        TypeError: no closed form is known for this pair of types.
    """
    pair = type(posterior), type(prior)
    if pair not in _CLOSED_FORM_KL:
        names = ", ".join(each.__name__ for each in pair)
        raise TypeError(
            f"kl_divergence({names}): no closed form is known for this pair; estimate the rate "
            "as log q(z|x) − log p(z) from samples"
        )
    return _CLOSED_FORM_KL[pair](posterior, prior)
