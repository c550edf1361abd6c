"""Log-densities, divergences and sampling, in nats.

A posterior or a prior is a value with `sample` and `log_prob`; `DiagonalGaussian` is one. The
density functions are elementwise: arrays in, an array of the same shape out, nothing is summed.
"""

import dataclasses
import math
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp

from vae_jax import gammas, sums
from vae_jax.errors import UnsupportedError
from vae_jax.threefry import unrolled

__all__ = [
    "CLOSED_FORM_KL",
    "LOGVAR_BOUND",
    "LOG_RATE_BOUND",
    "LOWEST_TEMPERATURE",
    "DiagonalGaussian",
    "FullGaussian",
    "OneHotCategorical",
    "bernoulli_log_prob",
    "beta_log_prob",
    "bound_log_rate",
    "bound_logvar",
    "bound_proportion",
    "categorical_log_prob",
    "discretized_logistic_log_prob",
    "gaussian_kl",
    "gaussian_log_prob",
    "kl_divergence",
    "laplace_log_prob",
    "multinomial_log_prob",
    "negative_binomial_log_prob",
    "poisson_log_prob",
    "reparameterize",
    "require_diagonal_gaussian",
    "standard_gaussian",
    "student_t_log_prob",
    "zero_inflated_log_prob",
]

LOGVAR_BOUND = 20.0
LOG_RATE_BOUND = 20.0
"""A log rate (a scalar) beyond which the rate grows linearly, see `bound_log_rate`."""
LOWEST_TEMPERATURE = 1e-3
"""Lower temperatures (a scalar) are clamped to this one to keep gradients finite."""


def bound_logvar(logvar: chex.Numeric) -> jax.Array:
    """Clamps a log variance to a range in which its exponential neither overflows nor vanishes.

    min(max(logvar, -20), 20). Every function of this module that takes a `logvar` applies it, so
    sampling, divergence and density agree on the variance. Outside the range the gradient is zero.

    Args:
        logvar: log variance, any shape.

    Returns:
        The bounded log variance, same shape.
    """
    return jnp.clip(logvar, -LOGVAR_BOUND, LOGVAR_BOUND)


def bound_proportion(x: jax.Array) -> jax.Array:
    """Clamps values of any shape to the numbers of float32 between 0 and 1: [2⁻¹²⁶, 1 − 2⁻²⁴]."""
    return jnp.clip(x, 2.0**-126, 1.0 - 2.0**-24)


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
    # two terms cancel exactly if the outcome is certain.
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

    The bin of the level k/(num_levels − 1) has width 1/(num_levels − 1); the bins of the first and
    the last level are open-ended, so the probabilities sum to 1. With the bin (x − h, x + h), the
    distribution function F and the scale s, logvar = log(s²π²/3):

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
    # σ(a) − σ(b) = σ(a) σ(−b) (1 − e^{b−a}) avoids subtracting nearly equal numbers: a − b = 2h/s
    # is known without x and mean.
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
        logits: unnormalized log-probabilities, shape [..., V].

    Returns:
        Log-probabilities in nats, shape [...].
    """
    chex.assert_type(x, int)
    chex.assert_shape(x, logits.shape[:-1])
    # log p(x) = logits[x] − log Σ_v exp(logits[v])
    log_probs = jax.nn.log_softmax(logits, axis=-1)
    return jnp.take_along_axis(log_probs, x[..., None], axis=-1)[..., 0]


def bound_log_rate(log_rate: jax.Array) -> jax.Array:
    """The log of a rate that is exp(log_rate) up to e²⁰, and grows linearly from there.

    A decoder that overshoots then has a finite rate, and a gradient that leads back. Every function
    of this module that takes a `log_rate` or a `log_mean` applies it.

    Args:
        log_rate: any shape.

    Returns:
        min(log_rate, 20) + log(1 + max(log_rate − 20, 0)), the same shape.
    """
    beyond = jnp.maximum(log_rate - LOG_RATE_BOUND, 0.0)
    return jnp.minimum(log_rate, LOG_RATE_BOUND) + jnp.log1p(beyond)


def _poisson_log_prob(x: jax.Array, log_rate: jax.Array) -> jax.Array:
    """`poisson_log_prob` of a log rate that is bounded already, any shapes."""
    # log p(x) = L(x) − D(x, λ)
    log_ratio = log_rate - jnp.log(jnp.where(x > 0, x, 1.0))
    return gammas.stirling(x) - gammas.deviance(x, jnp.exp(log_rate), log_ratio)


def poisson_log_prob(x: jax.Array, log_rate: jax.Array) -> jax.Array:
    """Log-probability of a count under a Poisson variable.

    log p(x) = x log λ − λ − log x!,  λ = exp(log_rate)

    Args:
        x: counts, whole numbers ≥ 0, any shape.
        log_rate: log λ, same shape, see `bound_log_rate`.

    Returns:
        Log-probabilities in nats, same shape.

    Reference:
        Loader 2000, Fast and accurate computation of binomial probabilities.
    """
    chex.assert_equal_shape([x, log_rate])
    return _poisson_log_prob(x, bound_log_rate(log_rate))


def negative_binomial_log_prob(
    x: jax.Array, log_mean: jax.Array, log_dispersion: chex.Numeric
) -> jax.Array:
    """Log-probability of a count whose variance is mean + dispersion · mean².

    With θ = 1/dispersion, a Poisson variable whose rate is drawn from a gamma distribution of shape
    θ and mean μ:

    log p(x) = log Γ(x + θ) − log Γ(θ) − log x! + θ log(θ/(θ + μ)) + x log(μ/(θ + μ))

    Args:
        x: counts, whole numbers ≥ 0, any shape.
        log_mean: log μ, same shape, see `bound_log_rate`.
        log_dispersion: log(1/θ), a scalar or any shape that broadcasts to that of `x`; clamped like
            a log variance.

    Returns:
        Log-probabilities in nats, same shape.

    Reference:
        Lopez et al. 2018, Deep generative modeling for single-cell transcriptomics, supplementary
        note 2; Loader 2000 for the arrangement of the terms.
    """
    chex.assert_equal_shape([x, log_mean])
    log_mean = bound_log_rate(log_mean)
    log_theta = jnp.broadcast_to(-_align(bound_logvar(log_dispersion), x), x.shape)
    mean, theta = jnp.exp(log_mean), jnp.exp(log_theta)
    num = x + theta
    # log((x + θ)/(θ + μ)), from the small difference if it is small
    share = (x - mean) / (theta + mean)
    is_near = jnp.abs(share) < 0.5
    log_share = jnp.where(
        is_near, jnp.log1p(jnp.where(is_near, share, 0.0)), jnp.log(num) - jnp.log(theta + mean)
    )
    # x + θ times the shares of θ and μ in θ + μ
    of_theta = num * theta / (theta + mean)
    of_mean = num * mean / (theta + mean)
    log_ratio = log_share + log_mean - jnp.log(jnp.where(x > 0, x, 1.0))
    # log p(x) = L(x) + L(θ) − L(x+θ) + log(θ/(x+θ)) − D(θ, (x+θ)θ/(θ+μ)) − D(x, (x+θ)μ/(θ+μ))
    return (
        gammas.stirling(x)
        + (gammas.stirling(theta) - gammas.stirling(num))
        + (log_theta - jnp.log(num))
        - gammas.deviance(theta, of_theta, log_share)
        - gammas.deviance(x, of_mean, log_ratio)
    )


def zero_inflated_log_prob(
    x: jax.Array, gate_logits: jax.Array, log_prob: jax.Array, log_prob_of_zero: jax.Array
) -> jax.Array:
    """Log-probability of a count that is 0 if a gate is closed, else drawn from a distribution q.

    p(0) = π + (1 − π) q(0),  p(x) = (1 − π) q(x) for x > 0,  π = σ(gate_logits)

    Args:
        x: counts, any shape.
        gate_logits: log-odds that the gate is closed, same shape.
        log_prob: log q(x), same shape.
        log_prob_of_zero: log q(0), same shape.

    Returns:
        Log-probabilities in nats, same shape.

    Reference:
        Lambert 1992, Zero-inflated Poisson regression, Technometrics 34, section 2.
    """
    chex.assert_equal_shape([x, gate_logits, log_prob, log_prob_of_zero])
    is_open, is_closed = jax.nn.log_sigmoid(-gate_logits), jax.nn.log_sigmoid(gate_logits)
    of_zero = jnp.logaddexp(is_closed, is_open + log_prob_of_zero)
    return jnp.where(x > 0, is_open + log_prob, of_zero)


def multinomial_log_prob(x: jax.Array, logits: jax.Array) -> jax.Array:
    """Log-probability of counts given their total N.

    log p(x) = log N! − Σ_d log x_d! + Σ_d x_d log softmax(logits)_d,  N = Σ_d x_d

    Args:
        x: counts, whole numbers ≥ 0, shape [..., D].
        logits: unnormalized log-probabilities, same shape.

    Returns:
        Log-probabilities in nats, shape [...]; 0 if N is 0.

    Reference:
        Liang et al. 2018, Variational Autoencoders for Collaborative Filtering, arXiv 1802.05814,
        eq. 2, with its constant.
    """
    chex.assert_equal_shape([x, logits])
    total = jnp.sum(x, axis=-1, keepdims=True)
    # Poisson variables of rates N p_d, given that their sum is N
    log_rate = jnp.log(jnp.maximum(total, 1.0)) + jax.nn.log_softmax(logits, axis=-1)
    log_prob = jnp.sum(_poisson_log_prob(x, log_rate), axis=-1) - gammas.stirling(total[..., 0])
    # Σ_d D(x_d, N p_d) has D(0, N p_d) = N p_d also for N = 0
    return jnp.where(total[..., 0] > 0, log_prob, 0.0)


def student_t_log_prob(
    x: jax.Array, center: jax.Array, logvar: chex.Numeric, log_degrees: chex.Numeric
) -> jax.Array:
    """Log-density of a Student-t variable with ν degrees of freedom and scale s.

    log p(x) = log Γ(½(ν + 1)) − log Γ(½ν) − ½ log νπ − log s − ½(ν + 1) log(1 + r²/ν)
    with r = (x − center)/s; ν → ∞ gives a Gaussian

    Args:
        x: values, any shape.
        center: mean if ν > 1, same shape.
        logvar: log s², a scalar or any shape that broadcasts to that of `x`. The variance is
            s² ν/(ν − 2) if ν > 2.
        log_degrees: log ν, likewise; clamped like a log variance.

    Returns:
        Log-densities in nats, the shape of `x`.
    """
    chex.assert_equal_shape([x, center])
    logvar, log_degrees = (_align(bound_logvar(v), x) for v in (logvar, log_degrees))
    half = 0.5 * jnp.exp(log_degrees)
    # log Γ(h + ½) − log Γ(h) − ½ log h, with log Γ(h) = (h − 1) log h − h − L(h)
    log_gammas = (
        (half * jnp.log1p(0.5 / half) - 0.5)
        + 0.5 * (jnp.log(half) - jnp.log(half + 0.5))
        + gammas.stirling(half)
        - gammas.stirling(half + 0.5)
    )
    square = jnp.square(x - center) * jnp.exp(-logvar)
    return (
        log_gammas
        - 0.5 * (math.log(2 * math.pi) + logvar)
        - (half + 0.5) * jnp.log1p(0.5 * square / half)
    )


def beta_log_prob(x: jax.Array, logits: jax.Array, log_concentration: chex.Numeric) -> jax.Array:
    """Log-density of a proportion under a beta variable with mean m and concentration φ.

    log p(x) = log Γ(φ) − log Γ(a) − log Γ(b) + (a − 1) log x + (b − 1) log(1 − x)
    with a = mφ, b = (1 − m)φ, m = σ(logits)

    Args:
        x: values in (0, 1), any shape; clamped to numbers of float32 between 0 and 1.
        logits: log-odds of the mean, same shape.
        log_concentration: log φ, a scalar or any shape that broadcasts to that of `x`; clamped like
            a log variance. The variance is m(1 − m)/(φ + 1).

    Returns:
        Log-densities in nats, same shape.

    Reference:
        Ferrari & Cribari-Neto 2004, Beta regression for modelling rates and proportions, eq. 4.
    """
    chex.assert_equal_shape([x, logits])
    x = bound_proportion(x)
    log_size = _align(bound_logvar(log_concentration), x)
    size = jnp.exp(log_size)

    def side(share, log_share, log_mean):
        """L(a) + log a − D(a, φx) − log x, and the same of b and 1 − x."""
        log_part = log_size + log_mean
        part = jnp.exp(log_part)
        distance = gammas.deviance(part, size * share, log_share - log_mean)
        return gammas.stirling(part) + log_part - distance - log_share

    of_x = side(x, jnp.log(x), jax.nn.log_sigmoid(logits))
    of_rest = side(1.0 - x, jnp.log1p(-x), jax.nn.log_sigmoid(-logits))
    return of_x + of_rest - gammas.stirling(size) - log_size


def gaussian_kl(
    mean: jax.Array,
    logvar: jax.Array,
    prior_mean: chex.Numeric = 0.0,
    prior_logvar: chex.Numeric = 0.0,
) -> jax.Array:
    """Divergence between two Gaussians per dimension, KL(N(mean, logvar) ‖ N(prior)).

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
    # ½ (v/v₀ − 1 − log(v/v₀) + (mean − mean₀)² / v₀); expm1 is exact if v ≈ v₀
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

    @property
    def mode(self) -> jax.Array:
        """The point of largest density, the mean: the shape of `mean`."""
        return self.mean

    @property
    def deviation(self) -> jax.Array:
        """Standard deviation of each dimension, the shape of `mean`."""
        return jnp.exp(0.5 * bound_logvar(self.logvar))

    def covariance_on(self, plane: jax.Array) -> jax.Array:
        """Covariance of plane · z for each example, z [B, L], plane [P, L]: [B, P, P]."""
        scaled = plane[None] * self.deviation[:, None, :]
        return jnp.einsum("bpl,bql->bpq", scaled, scaled, precision="highest")

    def first(self, num: int) -> "DiagonalGaussian":
        """The marginal of the first `num` dimensions, [num] or [B, num]."""
        return DiagonalGaussian(self.mean[..., :num], self.logvar[..., :num])

    def sample(self, key: chex.PRNGKey, num_samples: int | None = None) -> jax.Array:
        """Draws z = mean + exp(½ logvar) · eps, differentiable in mean and logvar.

        Each latent dimension has its own key. So the draws of the first dimensions and of the first
        examples do not depend on how many follow, and a model whose last dimensions are masked sees
        the same noise as an unmasked model of that size.

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
        # log p(z) = Σ_l log N(z_l; mean_l, exp(logvar_l))
        return sums.over_last(self.log_probs(z))

    def log_probs(self, z: jax.Array) -> jax.Array:
        """Log-density of each dimension of z in nats, [..., L] to the same shape."""
        return gaussian_log_prob(z, jnp.broadcast_to(self.mean, z.shape), self.logvar)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class OneHotCategorical:
    """Independent categorical variables, each a group of `num_categories` dimensions, one-hot.

    Attributes:
        logits: unnormalized log-probabilities, shape [B, L] or [L], L = groups · num_categories.
        num_categories: K, the same for every group.
    """

    logits: jax.Array
    num_categories: int = dataclasses.field(metadata={"static": True})

    @property
    def log_probs(self) -> jax.Array:
        """Log-probabilities, normalized in each group, the shape of `logits`."""
        return self._flat(jax.nn.log_softmax(self._grouped(self.logits), axis=-1))

    @property
    def mean(self) -> jax.Array:
        """Probabilities, the shape of `logits`."""
        return jnp.exp(self.log_probs)

    @property
    def mode(self) -> jax.Array:
        """The most likely category of each group, one-hot, the shape of `logits`."""
        return self._hard(self.logits)

    @property
    def deviation(self) -> jax.Array:
        """Standard deviation of each one-hot dimension, √(p (1 − p)), the shape of `logits`."""
        variance = self.mean * (1.0 - self.mean)
        # √p has an infinite slope at p = 0; the deviation of a certain category has slope 0
        is_certain = variance <= 0.0
        root = jnp.sqrt(jnp.where(is_certain, 1.0, variance))
        return jnp.where(is_certain, 0.0, root)

    def first(self, num: int) -> "OneHotCategorical":
        """The marginal of the first `num` dimensions, which are whole groups: [B, num] or [num]."""
        return dataclasses.replace(self, logits=self.logits[..., :num])

    def sample(self, key: chex.PRNGKey, num_samples: int | None = None) -> jax.Array:
        """Draws categories, one-hot: the largest of logits + Gumbel noise in each group.

        Each group has its own key, see `DiagonalGaussian.sample`.

        Args:
            key: random key.
            num_samples: N, or None for one sample without the axis N.

        Returns:
            Zeros and ones, shape [B, L], or [N, B, L]; from a prior [L], or [N, L].

        Reference:
            Maddison et al. 2017, The Concrete Distribution, arXiv 1611.00712, section 3.1.
        """
        return self._hard(self._perturbed(key, num_samples))

    def relaxed(
        self, key: chex.PRNGKey, temperature: chex.Numeric, num_samples: int | None = None
    ) -> jax.Array:
        """Draws a smooth version of `sample` with the same key, differentiable in the logits.

        z = softmax((logits + g) / τ),  g ~ Gumbel(0, 1); τ → 0 gives `sample`

        Args:
            key: random key.
            temperature: τ, a scalar.
            num_samples: as in `sample`.

        Returns:
            Values in [0, 1] that sum to 1 in each group, shaped like the result of `sample`.

        Reference:
            Jang et al. 2017, Categorical Reparameterization with Gumbel-Softmax, arXiv 1611.01144,
            eq. 2.
        """
        # z = softmax((logits + g) / τ)
        inverse = 1.0 / jnp.maximum(jnp.asarray(temperature, jnp.float32), LOWEST_TEMPERATURE)
        noisy = self._perturbed(key, num_samples)
        noisy = noisy * inverse.astype(noisy.dtype).reshape((1,) * noisy.ndim)
        return self._flat(jax.nn.softmax(self._grouped(noisy), axis=-1))

    def log_prob(self, z: jax.Array) -> jax.Array:
        """Log-probability of one-hot z, summed over the groups: shape [..., L] to [...]."""
        chex.assert_is_broadcastable(self.logits.shape, z.shape)
        return sums.over_last(z * _align(self.log_probs, z))

    def rates_given(self, prior: Any, z: jax.Array) -> jax.Array:
        """The rate of each dimension under a prior without a closed form: [..., L], in nats.

        It is Σ_k q_k log q_k, exactly, minus log p at draws z. Its gradient is that of the first
        term alone in the logits, and of the second in the prior: a draw has no gradient.

        Args:
            prior: has `log_probs`, those of z spread evenly over the dimensions of a group.
            z: one-hot draws from this distribution, [..., L].
        """
        uniform = OneHotCategorical(jnp.zeros(self.logits.shape[-1]), self.num_categories)
        nats = math.log(self.num_categories) / self.num_categories
        pull = _align(_categorical_kl(self, uniform), z)
        # exactly 0 in a dimension in which both are uniform
        return pull - (prior.log_probs(z) + nats)

    def _perturbed(self, key, num_samples):
        """Logits + Gumbel noise, [(N,) B, L]."""
        lead = (
            self.logits.shape[:-1]
            if num_samples is None
            else (num_samples, *self.logits.shape[:-1])
        )
        num_groups = self.logits.shape[-1] // self.num_categories
        keys = unrolled(jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(num_groups)))
        shape = (*lead, self.num_categories)
        noise = jax.vmap(lambda key: jax.random.gumbel(key, shape, self.logits.dtype))(keys)
        noise = self._flat(jnp.moveaxis(noise, 0, -2))
        return _align(self.logits, noise) + noise

    def _hard(self, scores):
        best = jnp.argmax(self._grouped(scores), axis=-1)
        return self._flat(jax.nn.one_hot(best, self.num_categories, dtype=scores.dtype))

    def _grouped(self, values):
        num_groups = values.shape[-1] // self.num_categories
        return values.reshape(*values.shape[:-1], num_groups, self.num_categories)

    def _flat(self, groups):
        return groups.reshape(*groups.shape[:-2], groups.shape[-2] * groups.shape[-1])


class FullGaussian(NamedTuple):
    """A Gaussian with any covariance, factor · factorᵀ, over codes [L].

    Attributes:
        mean: mean, shape [L].
        factor: shape [L, L].
    """

    mean: jax.Array
    factor: jax.Array

    @classmethod
    def fit(cls, codes: jax.Array) -> "FullGaussian":
        """Fits a Gaussian with the mean and covariance of codes [N, L], divided by N (not N − 1).

        It is fit after training, as a distribution to sample codes from if a model has no prior.

        Reference:
            Ghosh et al. 2020, From Variational to Deterministic Autoencoders, arXiv 1903.12436,
            section 4 (ex-post density estimation).
        """
        chex.assert_rank(codes, 2)
        codes = jnp.asarray(codes, jnp.float32)
        mean = jnp.mean(codes, axis=0)
        centred = codes - mean[None]
        covariance = jnp.matmul(centred.T, centred, precision="highest") / codes.shape[0]
        # Σ = V diag(s) Vᵀ, also if dimensions are constant or linearly dependent
        values, vectors = jnp.linalg.eigh(covariance)
        return cls(mean, vectors * jnp.sqrt(jnp.maximum(values, 0.0))[None, :])

    @property
    def deviation(self) -> jax.Array:
        """Standard deviation of each dimension, [L]."""
        return jnp.sqrt(jnp.sum(jnp.square(self.factor), axis=1))

    def first(self, num: int) -> "FullGaussian":
        """The marginal of the first `num` dimensions, [num]."""
        covariance = jnp.matmul(self.factor, self.factor.T, precision="highest")[:num, :num]
        values, vectors = jnp.linalg.eigh(covariance)
        factor = vectors * jnp.sqrt(jnp.maximum(values, 0.0))[None, :]
        return FullGaussian(self.mean[:num], factor)

    def sample(self, key: chex.PRNGKey, num_samples: int | None = None) -> jax.Array:
        """Draws z = mean + factor · eps with a random key: [L], or [N, L]."""
        lead = () if num_samples is None else (num_samples,)
        eps = standard_gaussian(self.mean.shape[0]).sample(key, num_samples)
        moved = jnp.matmul(eps, self.factor.T, precision="highest")
        return jnp.broadcast_to(self.mean, (*lead, self.mean.shape[0])) + moved


def _categorical_kl(posterior: OneHotCategorical, prior: OneHotCategorical) -> jax.Array:
    """KL = Σ_k q_k (log q_k − log p_k) of each group, spread evenly over its K dimensions."""
    log_q = posterior.log_probs
    terms = jnp.exp(log_q) * (log_q - _align(prior.log_probs, log_q))
    groups = posterior._grouped(terms)
    return posterior._flat(jnp.broadcast_to(groups.mean(axis=-1, keepdims=True), groups.shape))


def standard_gaussian(latent_dim: int) -> DiagonalGaussian:
    """The prior N(0, I) over L latent dimensions.

    Args:
        latent_dim: L.

    Returns:
        A Gaussian with mean and logvar zero, both of shape [L].
    """
    return DiagonalGaussian(jnp.zeros(latent_dim), jnp.zeros(latent_dim))


def require_diagonal_gaussian(prior, what: str) -> DiagonalGaussian:
    """Returns the prior if it is a diagonal Gaussian; other formulas do not hold.

    The check is on the value, not on the family of latents: a family may have another prior.

    Args:
        prior: p(z) over [L], of any type.
        what: the caller's name for the error message.

    Returns:
        The prior, a `DiagonalGaussian` over [L].

    Raises:
        UnsupportedError: the prior is of another type; a subclass may have another density, so it
            is refused too.
    """
    if type(prior) is not DiagonalGaussian:
        raise UnsupportedError(
            f"{what}: p(z) is of type {type(prior).__name__}, must be a DiagonalGaussian: take "
            "latents with such a prior"
        )
    return prior


CLOSED_FORM_KL = {
    (DiagonalGaussian, DiagonalGaussian): lambda q, p: gaussian_kl(*q, *p),
    (OneHotCategorical, OneHotCategorical): _categorical_kl,
}
"""Closed forms by the types of posterior and prior: (posterior, prior) to nats, [B, L]."""


def kl_divergence(posterior, prior) -> jax.Array:
    """The rate of every latent dimension in closed form, KL(posterior ‖ prior).

    Dimensions that form one variable, such as the categories of a one-hot code, share its rate
    evenly.

    Args:
        posterior: q(z|x), parameters of shape [B, L].
        prior: p(z), parameters of shape [L] or [B, L].

    Returns:
        Divergences in nats, shape [B, L].

    Raises:
        UnsupportedError: no closed form is known for this pair of types.
    """
    pair = type(posterior), type(prior)
    if pair not in CLOSED_FORM_KL:
        names = ", ".join(each.__name__ for each in pair)
        raise UnsupportedError(
            f"kl_divergence({names}): no closed form is known for this pair; estimate the rate "
            "as log q(z|x) − log p(z) from samples, see vae_jax.rates"
        )
    return CLOSED_FORM_KL[pair](posterior, prior)
