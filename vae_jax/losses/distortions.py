"""Distortions −log p(x|z) of the likelihoods, the optimal variance and the squared error."""

import chex
import jax
import jax.numpy as jnp

from vae_jax import distributions
from vae_jax.losses._masks import flat, zero_padding
from vae_jax.losses.reductions import batch_mean, sum_event

__all__ = [
    "bernoulli_distortion",
    "categorical_distortion",
    "discretized_logistic_distortion",
    "gaussian_distortion",
    "laplace_distortion",
    "optimal_logvar",
    "squared_error",
]


def bernoulli_distortion(x: jax.Array, logits: jax.Array) -> jax.Array:
    """Minus the log-probability of x under independent Bernoulli variables (the cross-entropy).

    −Σ_d [x_d log σ(logits_d) + (1 − x_d) log σ(−logits_d)]

    Args:
        x: values in [0, 1], shape [B, *event].
        logits: log-odds of 1, shape [B, *event].

    Returns:
        Distortions in nats, shape [B].
    """
    chex.assert_equal_shape([x, logits])
    return -_sum_bernoulli(flat(x), flat(logits))


def _group(num_values: int) -> int:
    """The number of values computed at a time: a multiple of 16, with at most 64 groups in D."""
    return 16 * max(1, -(-num_values // 1024))


@jax.custom_jvp
def _sum_bernoulli(x: jax.Array, logits: jax.Array) -> jax.Array:
    """Σ_d log p(x_d) as in `distributions.bernoulli_log_prob`: two arrays [B, D] to [B].

    The logarithm is the most expensive of its terms (x − ½) l − ½|l| − log(1 + e^{−|l|}), so it is
    taken once for a product of up to 64 of the D factors. The product is at most 2⁶⁴, and its
    excess over 1 keeps all digits of small terms: (1 + a)(1 + b) − 1 = a + b + ab.
    """
    size = _group(x.shape[1])
    end = x.shape[1] - x.shape[1] % size
    rest = distributions.bernoulli_log_prob(x[:, end:], logits[:, end:])
    if end == 0:
        return sum_event(rest)
    starts = range(0, end, size)
    parts = [(x[:, i : i + size], logits[:, i : i + size]) for i in starts]
    linear = [(a - 0.5) * b - 0.5 * jnp.abs(b) for a, b in parts]
    excess = [jnp.exp(-jnp.abs(b)) for _, b in parts]
    linear = _pairwise(lambda a, b: a + b, linear)
    excess = _pairwise(lambda a, b: a + b + a * b, excess)
    return sum_event(linear - jnp.log1p(excess)) + sum_event(rest)


def _pairwise(combine, values: list[jax.Array]) -> jax.Array:
    """Combines arrays of one shape pairwise until one is left."""
    while len(values) > 1:
        pairs = zip(values[::2], values[1::2], strict=False)
        values = [combine(a, b) for a, b in pairs] + values[len(values) // 2 * 2 :]
    return values[0]


@_sum_bernoulli.defjvp
def _sum_bernoulli_jvp(primals, tangents):
    (x, logits), (x_dot, logits_dot) = primals, tangents
    # d log p(x) = (x − σ(l)) dl + l dx
    slope = sum_event((x - jax.nn.sigmoid(logits)) * logits_dot + logits * x_dot)
    return _sum_bernoulli(x, logits), slope


def gaussian_distortion(x: jax.Array, mean: jax.Array, logvar: chex.Numeric) -> jax.Array:
    """Minus the log-density of x under N(mean, exp(logvar)).

    Σ_d ½ (log 2π + logvar + (x_d − mean_d)² / exp(logvar))

    A loss C‖x − mean‖² + rate equals this one at exp(logvar) = 1/(2C), up to a constant.

    Args:
        x: values, shape [B, *event].
        mean: mean, shape [B, *event].
        logvar: log variance, a scalar, [*event] or [B, *event].

    Returns:
        Distortions in nats, shape [B].
    """
    return -sum_event(distributions.gaussian_log_prob(x, mean, logvar))


def laplace_distortion(x: jax.Array, mean: jax.Array, logvar: chex.Numeric) -> jax.Array:
    """Minus the log-density of x under Laplace variables of scale b, logvar = log(2b²).

    Σ_d (log 2b + |x_d − mean_d| / b)

    Args:
        x: values, shape [B, *event].
        mean: mean, shape [B, *event].
        logvar: log variance, a scalar, [*event] or [B, *event].

    Returns:
        Distortions in nats, shape [B].
    """
    return -sum_event(distributions.laplace_log_prob(x, mean, logvar))


def discretized_logistic_distortion(
    x: jax.Array, mean: jax.Array, logvar: chex.Numeric, *, num_levels: int = 256
) -> jax.Array:
    """Minus the log-probability of the levels x under rounded logistic variables.

    −Σ_d log [F_d(x_d + h) − F_d(x_d − h)],  h = ½/(num_levels − 1), open at both ends

    Args:
        x: levels k/(num_levels − 1), shape [B, *event].
        mean: mean before rounding, shape [B, *event].
        logvar: log variance before rounding, a scalar, [*event] or [B, *event].
        num_levels: number of levels in [0, 1].

    Returns:
        Distortions in nats, shape [B].

    Reference:
        Salimans et al. 2017, PixelCNN++, arXiv 1701.05517, eq. 2 (one component).
    """
    return -sum_event(
        distributions.discretized_logistic_log_prob(x, mean, logvar, num_levels=num_levels)
    )


def categorical_distortion(x: jax.Array, logits: jax.Array) -> jax.Array:
    """Minus the log-probability of the categories x (the softmax cross-entropy).

    −Σ_d log softmax(logits_d)[x_d]

    Args:
        x: integer categories in [0, V), shape [B, *event].
        logits: unnormalized log-probabilities, shape [B, *event, V].

    Returns:
        Distortions in nats, shape [B].
    """
    return -sum_event(distributions.categorical_log_prob(x, logits))


def optimal_logvar(x: jax.Array, mean: jax.Array, mask: jax.Array | None = None) -> jax.Array:
    """The shared log variance that minimizes the mean Gaussian distortion of a batch.

    log [1/(B·D) Σ_b Σ_d (x_bd − mean_bd)²], at least −LOGVAR_BOUND

    Args:
        x: values, shape [B, *event] of D elements each.
        mean: mean, shape [B, *event].
        mask: rows that count, shape [B].

    Returns:
        The log variance, a scalar.

    Reference:
        Rybkin et al. 2021, Simple and Effective VAE Training with Calibrated Decoders, arXiv
        2006.13202 (optimal σ-VAE).
    """
    chex.assert_equal_shape([x, mean])
    # c = 1/(B·D) Σ_b Σ_d (x_bd − mean_bd)²
    variance = jnp.mean(batch_mean(jnp.square(zero_padding(x - mean, mask)), mask))
    return jnp.log(jnp.maximum(variance, jnp.exp(-distributions.LOGVAR_BOUND)))


def squared_error(x: jax.Array, mean: jax.Array) -> jax.Array:
    """‖x − x̂‖² of a reconstruction: summed, not averaged, and not in nats.

    Args:
        x: data, shape [B, *event].
        mean: the reconstruction x̂, the same shape.

    Returns:
        Shape [B], in squared units of x.
    """
    chex.assert_equal_shape([x, mean])
    return sum_event(jnp.square(x - mean))
