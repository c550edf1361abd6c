"""The terms of the losses, to import into your own code: arrays in, arrays out.

Axis 0 is the batch B; all other axes are event axes and are summed. Every term has shape [B] and
is in nats per example, with full normalising constants. Only `batch_mean` averages over the batch:

    distortion = losses.bernoulli_distortion(x, logits)       # [B]  −log p(x|z)
    rate = losses.gaussian_rate(mean, logvar)                 # [B]  KL(q(z|x) ‖ p(z))
    loss = losses.batch_mean(losses.beta_elbo_loss(distortion, rate, beta=4.0))

A `mask` [B] is 1 for a row that counts and 0 for a padded row, which then has no influence on a
value or a gradient, whatever finite values it holds. NaN and infinity there do not reach what takes
the mask either, though a gradient that goes on, through how they came about, may meet them.
"""

import math
from collections.abc import Callable

import chex
import jax
import jax.numpy as jnp

from vae_jax import distributions, sums
from vae_jax.errors import UsageError
from vae_jax.threefry import unrolled

__all__ = [
    "KERNELS",
    "SAMPLINGS",
    "activation_divergence",
    "aggregate_covariance",
    "aggregate_weights",
    "batch_mean",
    "bernoulli_distortion",
    "beta_elbo_loss",
    "capacity_penalty",
    "categorical_distortion",
    "code_counts",
    "commitment",
    "covariance",
    "decorrelation_penalty",
    "discretized_logistic_distortion",
    "discriminator_loss",
    "elbo",
    "estimated_jacobian_norm",
    "free_bits",
    "gaussian_distortion",
    "gaussian_rate",
    "importance_weighted_bound",
    "jacobian_norm",
    "laplace_distortion",
    "maximum_mean_discrepancy",
    "nearest_codes",
    "optimal_logvar",
    "permute_dimensions",
    "perplexity",
    "rate_decomposition",
    "rate_per_dimension",
    "renyi_bound",
    "sliced_wasserstein",
    "squared_error",
    "straight_through",
    "sum_event",
    "thermodynamic_bound",
]

rate_per_dimension = distributions.gaussian_kl

KERNELS = {
    "imq": lambda squares, width: width / (width + squares),
    "rbf": lambda squares, width: jnp.exp(-squares / width),
}
"""Kernels of (‖a − b‖² of any shape, squared width C scalar): C / (C + ‖a − b‖²) and
exp(−‖a − b‖² / C). Reference: Tolstikhin et al. 2018, arXiv 1711.01558, section 4."""

SAMPLINGS = ("stratified", "weighted")
"""How the aggregate posterior follows from a batch, see `aggregate_weights`: words, no shape."""


def _flat(values: jax.Array) -> jax.Array:
    """[B, *event] to [B, D], of no rows and of no elements too."""
    return values.reshape(values.shape[0], math.prod(values.shape[1:]))


def sum_event(values: jax.Array) -> jax.Array:
    """Sums over all axes but the batch.

    Args:
        values: shape [B, *event].

    Returns:
        Sums, shape [B].
    """
    return sums.over_last(_flat(values))


def _weights(mask: jax.Array | None, num: int, values: jax.Array) -> jax.Array:
    """A mask [num] in the dtype of values of any shape; ones for None."""
    dtype = jnp.result_type(values)
    return jnp.ones(num, dtype) if mask is None else mask.astype(dtype)


def _kept(values: jax.Array, mask: jax.Array | None) -> jax.Array:
    """Values [B, …] with zeros in the rows that do not count, which a gradient does not enter."""
    if mask is None:
        return values
    counts = jnp.expand_dims(mask, range(1, values.ndim)).astype(bool)
    return jnp.where(counts, values, 0.0)


def _harmless(values: jax.Array, counts: jax.Array) -> jax.Array:
    """Values [B, L] whose rows that do not count, [B], have no slope and can be squared."""
    bounded = jnp.clip(jnp.where(jnp.isnan(values), 0.0, values), -1e6, 1e6)
    return jnp.where(counts[:, None], values, jax.lax.stop_gradient(bounded))


def batch_mean(values: jax.Array, mask: jax.Array | None = None) -> jax.Array:
    """The exact mean over the rows that count.

    Σ_b mask_b · values_b / Σ_b mask_b

    Args:
        values: shape [B, ...].
        mask: weights ≥ 0, shape [B]; None counts every row once.

    Returns:
        The weighted mean over axis 0, shape [...]: a scalar for values [B]; NaN of no rows.
    """
    if mask is None:
        return jnp.mean(values, axis=0)
    chex.assert_shape(mask, values.shape[:1])
    mask = jnp.expand_dims(mask.astype(values.dtype), range(1, values.ndim))
    # Σ_b mask_b · values_b / Σ_b mask_b; `where` keeps an overflow in a padded row out.
    return jnp.sum(jnp.where(mask > 0, mask * values, 0.0), axis=0) / jnp.sum(mask)


def gaussian_rate(
    mean: jax.Array,
    logvar: jax.Array,
    prior_mean: chex.Numeric = 0.0,
    prior_logvar: chex.Numeric = 0.0,
) -> jax.Array:
    """The rate of a Gaussian posterior, KL(N(mean, logvar) ‖ N(prior)).

    rate = Σ_l ½ (v_l/v₀ − 1 − log(v_l/v₀) + (mean_l − mean₀)² / v₀)

    Args:
        mean: posterior mean, shape [B, L].
        logvar: posterior log variance, shape [B, L].
        prior_mean: scalar, [L] or [B, L]; standard normal by default.
        prior_logvar: log v₀, likewise.

    Returns:
        Rates in nats, shape [B].

    Reference:
        Kingma and Welling 2013, arXiv 1312.6114, appendix B.
    """
    # rate = Σ_l KL_l
    return sum_event(rate_per_dimension(mean, logvar, prior_mean, prior_logvar))


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
    return -_sum_bernoulli(_flat(x), _flat(logits))


def _group(num_values: int) -> int:
    """How many values are computed at a time: a multiple of 16, at most 64 times within D."""
    return 16 * max(1, -(-num_values // 1024))


@jax.custom_jvp
def _sum_bernoulli(x: jax.Array, logits: jax.Array) -> jax.Array:
    """Σ_d log p(x_d), as of `distributions.bernoulli_log_prob`: [B, D] each to [B].

    Of its terms (x − ½) l − ½|l| − log(1 + e^{−|l|}) the logarithm costs most, so it is taken once
    for a product over up to 64 of the D: the product is at most 2⁶⁴, and its excess over 1 keeps
    all digits of small terms, (1 + a)(1 + b) − 1 = a + b + ab.
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
    """Combines arrays of one shape two by two until one is left."""
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

    A loss C‖x − mean‖² + rate is this one at exp(logvar) = 1/(2C), up to a constant.

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
        logits: unnormalised log-probabilities, shape [B, *event, V].

    Returns:
        Distortions in nats, shape [B].
    """
    return -sum_event(distributions.categorical_log_prob(x, logits))


def optimal_logvar(x: jax.Array, mean: jax.Array, mask: jax.Array | None = None) -> jax.Array:
    """The shared log variance that minimises the mean Gaussian distortion of a batch.

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
    variance = jnp.mean(batch_mean(jnp.square(_kept(x - mean, mask)), mask))
    return jnp.log(jnp.maximum(variance, jnp.exp(-distributions.LOGVAR_BOUND)))


def squared_error(x: jax.Array, mean: jax.Array) -> jax.Array:
    """How far a reconstruction is from x, ‖x − x̂‖², summed and not averaged: no nats.

    Args:
        x: data, shape [B, *event].
        mean: the reconstruction x̂, the same shape.

    Returns:
        Shape [B], in squared units of x.
    """
    chex.assert_equal_shape([x, mean])
    return sum_event(jnp.square(x - mean))


def elbo(distortion: jax.Array, rate: jax.Array) -> jax.Array:
    """The evidence lower bound, maximised and never weighted.

    elbo = −(distortion + rate) ≤ log p(x), in expectation over z ~ q(z|x)

    Args:
        distortion: −log p(x|z) in nats, shape [B].
        rate: KL(q(z|x) ‖ p(z)) in nats, shape [B].

    Returns:
        Lower bounds in nats, shape [B].

    Reference:
        Kingma and Welling 2013, arXiv 1312.6114, eq. 3; Alemi et al. 2018, arXiv 1711.00464.
    """
    chex.assert_equal_shape([distortion, rate])
    # elbo = −(distortion + rate)
    return -(distortion + rate)


def beta_elbo_loss(distortion: jax.Array, rate: jax.Array, beta: chex.Numeric) -> jax.Array:
    """The loss of a β-VAE, minimised; minus the elbo at β = 1.

    loss = distortion + β · rate

    Args:
        distortion: −log p(x|z) in nats, shape [B].
        rate: KL(q(z|x) ‖ p(z)) in nats, shape [B].
        beta: weight of the rate, a scalar ≥ 0.

    Returns:
        Losses in nats, shape [B].

    Reference:
        Higgins et al. 2017, β-VAE, eq. 4 (ICLR).
    """
    chex.assert_equal_shape([distortion, rate])
    # loss = distortion + β · rate
    return distortion + beta * rate


def free_bits(
    rate_per_dim: jax.Array, threshold: chex.Numeric, mask: jax.Array | None = None
) -> jax.Array:
    """The rate with a floor under each latent dimension's batch mean.

    batch_mean(result) = Σ_l max(threshold, E_batch[KL_l])

    A dimension below its floor contributes the threshold and no gradient; one above contributes
    each example's own divergence. At threshold 0 the result is the plain rate; a 0 of Python costs
    no pass over the batch.

    Args:
        rate_per_dim: KL_l in nats, shape [B, L].
        threshold: floor λ in nats per latent dimension, a scalar or [L].
        mask: rows that count, shape [B]; use the same one in `batch_mean`.

    Returns:
        Rates in nats, shape [B].

    Reference:
        Kingma et al. 2016, Improving Variational Inference with Inverse Autoregressive Flow, arXiv
        1606.04934, eq. 15.
    """
    chex.assert_rank(rate_per_dim, 2)
    if isinstance(threshold, (int, float)) and threshold == 0:
        return sum_event(rate_per_dim)
    # KL_l where E_batch[KL_l] ≥ λ, else λ
    threshold = jnp.broadcast_to(threshold, rate_per_dim.shape[1:])
    above = batch_mean(rate_per_dim, mask) >= threshold
    return sum_event(jnp.where(above[None, :], rate_per_dim, threshold[None, :]))


def capacity_penalty(
    rate: jax.Array,
    capacity: chex.Numeric,
    gamma: chex.Numeric,
    mask: jax.Array | None = None,
) -> jax.Array:
    """The distance of the batch's mean rate from a target, which takes the place of β · rate.

    γ · |E_batch[rate] − C|

    Args:
        rate: KL(q(z|x) ‖ p(z)) in nats, shape [B].
        capacity: target C in nats, a scalar.
        gamma: weight γ, a scalar.
        mask: rows that count, shape [B]; use the same one in `batch_mean`.

    Returns:
        The penalty in nats, the same value for every example, shape [B]: its mean is the penalty.

    Reference:
        Burgess et al. 2018, Understanding disentangling in β-VAE, arXiv 1804.03599, eq. 8.
    """
    chex.assert_rank(rate, 1)
    # γ · |E_batch[rate] − C|
    penalty = gamma * jnp.abs(batch_mean(rate, mask) - capacity)
    return jnp.broadcast_to(penalty, rate.shape)


def importance_weighted_bound(log_weights: jax.Array) -> jax.Array:
    """The importance-weighted bound on log p(x); of one sample, an estimate of the ELBO.

    L_K = log 1/K Σ_k w_k,  w_k = p(x, z_k) / q(z_k|x),  z_k ~ q(z|x)

    Args:
        log_weights: log w_k in nats, shape [K, B].

    Returns:
        Bounds in nats, shape [B]: below log p(x) in expectation, which grows with K.

    Reference:
        Burda et al. 2015, Importance Weighted Autoencoders, arXiv 1509.00519, eq. 8.
    """
    chex.assert_rank(log_weights, 2)
    # L_K = log 1/K Σ_k w_k
    return jax.nn.logsumexp(log_weights, axis=0) - jnp.log(float(log_weights.shape[0]))


def renyi_bound(log_weights: jax.Array, alpha: chex.Numeric) -> jax.Array:
    """The variational Rényi bound: the importance-weighted one at α = 0, the ELBO at α = 1.

    L_α = 1/(1 − α) · log 1/K Σ_k w_k^{1−α}, and at α = 1 its limit 1/K Σ_k log w_k

    Args:
        log_weights: log w_k in nats, shape [K, B].
        alpha: order α of the divergence, a scalar ≥ 0; above 1 the bound lies below the ELBO.

    Returns:
        Bounds in nats, shape [B]; they fall as α grows.

    Reference:
        Li and Turner 2016, Rényi Divergence Variational Inference, arXiv 1602.02311, section 4.
    """
    chex.assert_rank(log_weights, 2)
    order = 1.0 - jnp.asarray(alpha, log_weights.dtype)
    mean = jnp.mean(log_weights, axis=0)
    centred = log_weights - mean[None]
    # L_α = mean + 1/o · log 1/K Σ_k e^{o·c_k}, o = 1 − α; where all o·c are small by its first
    # term, mean + ½ o var: what is left out is as small as the rounding that 1/o would make large
    is_limit = jnp.max(jnp.abs(order[None, None] * centred), axis=0) < 1e-2
    safe = jnp.where(is_limit, 1.0, order[None])
    excess = importance_weighted_bound(safe[None] * centred) / safe
    near = 0.5 * order[None] * jnp.mean(jnp.square(centred), axis=0)
    return mean + jnp.where(is_limit, near, excess)


def thermodynamic_bound(
    log_weights: jax.Array, log_posterior: jax.Array, betas: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """The thermodynamic variational bound on log p(x), and what has its gradient.

    TVO = Σ_t (β_{t+1} − β_t) E_{π_t}[log w],  π_t ∝ q(z|x) w^{β_t},  β_T = 1

    Each expectation is estimated from the same samples of q with the weights w^{β_t}, normalised.
    With one β, 0, it is the ELBO. The gradient of E_π[f] is E_π[∇f] + Cov_π[f, ∇ log π]: no sample
    need be a function of the parameters, and none is. The covariance of K samples is

    Cov_π[f, g] = K/(K − 1) Σ_k π_k (f_k − Σ_j π_j f_j) g_k,

    so that with one β the gradient is unbiased for every K.

    Args:
        log_weights: log w of K >= 2 samples of q, in nats, shape [K, B]; a function of the
            parameters by the densities alone, not by z.
        log_posterior: log q(z|x) of them, shape [K, B].
        betas: β_0 = 0 < β_1 < … < 1, shape [T].

    Returns:
        (bounds in nats, a surrogate for them whose gradient is theirs), shape [B] each.

    Raises:
        UsageError: K is 1: one sample has no covariance.

    Reference:
        Masrani et al. 2019, The Thermodynamic Variational Objective, arXiv 1907.00031, sections 3
        and 4 (the gradient); the factor K/(K − 1) is that of the authors' implementation.
    """
    chex.assert_rank([log_weights, betas], [2, 1])
    chex.assert_equal_shape([log_weights, log_posterior])
    num_samples = log_weights.shape[0]
    if num_samples < 2:
        raise UsageError(
            f"num_samples={num_samples}: must be at least 2 for the covariance in the gradient of "
            "the thermodynamic bound; give num_samples=2 or more, or take beta_vae"
        )
    widths = jnp.diff(betas, append=jnp.ones(1, betas.dtype))
    values = jax.lax.stop_gradient(log_weights)
    normalised = jax.nn.softmax(betas[:, None, None] * values[None], axis=1)  # [T, K, B]
    means = jnp.sum(normalised * values[None], axis=1)  # E_{π_t}[log w], [T, B]
    bound = jnp.sum(widths[:, None] * means, axis=0)
    # log π_t = log q + β_t log w + const:
    # ∇ = Σ_t Δ_t Σ_k π_tk [∇ log w_k + K/(K − 1) (log w_k − mean_t) (∇ log q_k + β_t ∇ log w_k)]
    shares = widths[:, None, None] * normalised
    excess = shares * (values[None] - means[:, None, :]) * (num_samples / (num_samples - 1))
    of_weights = jnp.sum(shares + betas[:, None, None] * excess, axis=0)
    of_posterior = jnp.sum(excess, axis=0)
    return bound, jnp.sum(of_weights * log_weights + of_posterior * log_posterior, axis=0)


def aggregate_weights(
    num_rows: int,
    num_examples: chex.Numeric,
    mask: jax.Array | None = None,
    *,
    sampling: str = "stratified",
) -> jax.Array:
    """Log-weights that make a batch stand for the data: q(z_i) ≈ Σ_j exp(w_ij) q(z_i|x_j).

    With M + 1 rows that count, of N examples, z_i drawn from row i:

    - stratified: 1/N for row i itself, (N − M)/(N·M) for one of the others and 1/M for the rest.
      The estimate of q(z_i) is unbiased.
    - weighted: 1/(N (M + 1)) for each. The estimate is too small, by a factor that no gradient
      knows of, and row i counts for too much; it varies less.

    Args:
        num_rows: B.
        num_examples: N, of the data that the batch is drawn from without repetition; a scalar.
        mask: rows that count, shape [B]; None counts all.
        sampling: one of `SAMPLINGS`.

    Returns:
        Log-weights, shape [B, B]; −∞ in the columns of padding.

    Reference:
        Chen et al. 2018, Isolating Sources of Disentanglement in VAEs, arXiv 1802.04942, section
        4.1 and appendix C.
    """
    mask = jnp.ones(num_rows) if mask is None else jnp.asarray(mask, float)
    chex.assert_shape(mask, (num_rows,))
    count = jnp.sum(mask)
    size = jnp.asarray(num_examples, mask.dtype)
    if sampling == "weighted":
        weights = jnp.full((num_rows, num_rows), 1.0) / (size * count)
    else:
        others = jnp.maximum(count - 1.0, 1.0)  # M
        place = jnp.cumsum(mask) - 1.0  # of each row among those that count
        follows = place[None, :] == jnp.mod(place[:, None] + 1.0, count)
        weights = jnp.where(follows, (size - others) / (size * others), 1.0 / others)
        weights = jnp.where(jnp.eye(num_rows, dtype=bool), 1.0 / size, weights)
    weights = weights * mask[None, :]
    positive = weights > 0
    return jnp.where(positive, jnp.log(jnp.where(positive, weights, 1.0)), -jnp.inf)


def rate_decomposition(
    z: jax.Array,
    posterior_mean: jax.Array,
    posterior_logvar: jax.Array,
    log_weights: jax.Array,
    latent_mask: jax.Array | None = None,
    *,
    prior_mean: chex.Numeric = 0.0,
    prior_logvar: chex.Numeric = 0.0,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """What the rate consists of, from a sample of z for each example of a batch.

    log q(z|x) − log p(z) = [log q(z|x) − log q(z)] + [log q(z) − Σ_l log q(z_l)]
    + [Σ_l log q(z_l) − log p(z)], p(z) a Gaussian with independent dimensions: mutual information,
    total correlation and dimension-wise KL, in expectation. Whatever estimates q(z), the three add
    up to the left side.

    Args:
        z: z_i ~ q(z|x_i), shape [B, L].
        posterior_mean: of q(z|x_i), shape [B, L].
        posterior_logvar: log variance of q(z|x_i), shape [B, L].
        log_weights: from `aggregate_weights`, shape [B, B].
        latent_mask: dimensions that count, shape [L].
        prior_mean: of p(z), a scalar or [L]; standard normal by default.
        prior_logvar: log variance of p(z), likewise.

    Returns:
        (mutual information, total correlation, dimension-wise KL) in nats, shape [B] each.

    Reference:
        Chen et al. 2018, Isolating Sources of Disentanglement in VAEs, arXiv 1802.04942, eq. 2.
    """
    chex.assert_equal_shape([z, posterior_mean, posterior_logvar])
    chex.assert_shape(log_weights, (z.shape[0], z.shape[0]))
    kept = _weights(latent_mask, z.shape[1], z)
    log_weights = log_weights.astype(jnp.result_type(z))
    counts = jnp.any(log_weights > -jnp.inf, axis=0)
    z, posterior_mean, posterior_logvar = (
        _harmless(each, counts) for each in (z, posterior_mean, posterior_logvar)
    )
    # log q(z_il|x_j), [B, B, L]
    shape = (z.shape[0], *z.shape)
    densities = distributions.gaussian_log_prob(
        jnp.broadcast_to(z[:, None, :], shape),
        jnp.broadcast_to(posterior_mean[None, :, :], shape),
        posterior_logvar[None, :, :],
    )
    densities = densities * kept[None, None, :]
    own = distributions.gaussian_log_prob(z, posterior_mean, posterior_logvar) * kept[None, :]
    log_joint = jax.nn.logsumexp(jnp.sum(densities, axis=2) + log_weights, axis=1)
    log_marginals = jax.nn.logsumexp(densities + log_weights[:, :, None], axis=1) * kept[None, :]
    log_product = jnp.sum(log_marginals, axis=1)
    prior_mean = jnp.broadcast_to(jnp.asarray(prior_mean, z.dtype), z.shape)
    log_prior = distributions.gaussian_log_prob(z, prior_mean, prior_logvar) * kept[None, :]
    log_prior = jnp.sum(log_prior, axis=1)
    return jnp.sum(own, axis=1) - log_joint, log_joint - log_product, log_product - log_prior


def covariance(values: jax.Array, mask: jax.Array | None = None) -> jax.Array:
    """The covariance of codes, with the count as divisor.

    1/n Σ_b (v_b − v̄)(v_b − v̄)ᵀ

    Args:
        values: shape [B, L].
        mask: rows that count, shape [B]; None counts all.

    Returns:
        Shape [L, L].
    """
    chex.assert_rank(values, 2)
    values, weights = _kept(values, mask), _weights(mask, len(values), values)
    centred = (values - batch_mean(values, weights)[None]) * jnp.sqrt(weights)[:, None]
    return jnp.matmul(centred.T, centred, precision="highest") / jnp.sum(weights)


def aggregate_covariance(
    mean: jax.Array, logvar: jax.Array, mask: jax.Array | None = None
) -> jax.Array:
    """The covariance of z under the aggregate posterior, exactly: Cov(mean_b) + E diag(v_b).

    Args:
        mean, logvar: of the posteriors, shape [B, L]; v = exp(logvar).
        mask: rows that count, shape [B]; None counts all.

    Returns:
        Shape [L, L].
    """
    chex.assert_equal_shape([mean, logvar])
    variances = batch_mean(jnp.exp(distributions.bound_logvar(_kept(logvar, mask))), mask)
    return covariance(mean, mask) + jnp.diag(variances)


def decorrelation_penalty(
    covariance: jax.Array,
    off_diagonal: chex.Numeric,
    diagonal: chex.Numeric,
    latent_mask: jax.Array | None = None,
) -> jax.Array:
    """How far a covariance of codes is from the identity.

    λ_od Σ_{l≠m} C_lm² + λ_d Σ_l (C_ll − 1)²

    Args:
        covariance: C of the aggregate posterior or of its means, shape [L, L].
        off_diagonal: weight λ_od, a scalar.
        diagonal: weight λ_d, a scalar.
        latent_mask: dimensions that count, shape [L].

    Returns:
        The penalty, a scalar; 0 at the identity.

    Reference:
        Kumar et al. 2018, Variational Inference of Disentangled Latent Concepts from Unlabeled
        Observations, arXiv 1711.00848, eq. 6 and 7.
    """
    size = covariance.shape[0]
    chex.assert_shape(covariance, (size, size))
    kept = _weights(latent_mask, size, covariance)
    identity = jnp.eye(size, dtype=jnp.result_type(covariance))
    squares = jnp.square(covariance - identity) * kept[:, None] * kept[None, :]
    weights = jnp.where(identity > 0, diagonal, off_diagonal)
    return jnp.sum(weights * squares)


def maximum_mean_discrepancy(
    x: jax.Array,
    y: jax.Array,
    mask: jax.Array | None = None,
    latent_mask: jax.Array | None = None,
    *,
    kernel: str = "imq",
    scales: tuple[float, ...] = (1.0,),
) -> jax.Array:
    """The squared maximum mean discrepancy of two samples, unbiased: negative as often as not.

    MMD² = 1/(n(n − 1)) Σ_{i≠j} [k(x_i, x_j) + k(y_i, y_j) − k(x_i, y_j) − k(x_j, y_i)]

    Args:
        x: codes, shape [B, L].
        y: draws from the prior, shape [B, L].
        mask: rows of x that count, shape [B]; as many of y do.
        latent_mask: dimensions that count, shape [L].
        kernel: one of `KERNELS`; its squared width is C = 2L, the mean distance of two draws from
            N(0, I).
        scales: factors of C over which kernels are summed, such as (0.1, 0.2, 0.5, 1, 2, 5, 10).

    Returns:
        A scalar; 0 for x = y.

    Reference:
        Gretton et al. 2012, A kernel two-sample test, JMLR 13, lemma 6; Tolstikhin et al. 2018,
        arXiv 1711.01558, section 4 (kernels and width).
    """
    chex.assert_rank([x, y], 2)
    chex.assert_equal_shape([x, y])
    kept, rows = _weights(latent_mask, x.shape[1], x), _weights(mask, len(x), x)
    x, y = _kept(x, mask) * kept[None, :], _kept(y, mask) * kept[None, :]
    width = 2.0 * jnp.maximum(jnp.sum(kept), 1.0)

    def similarity(a, b):
        """Σ of kernels of [B, L] and [B, L]: [B, B]."""
        squares = jnp.sum(jnp.square(a[:, None, :] - b[None, :, :]), axis=2)
        return sum(KERNELS[kernel](squares, scale * width) for scale in scales)

    crossed = similarity(x, y)
    h = similarity(x, x) + similarity(y, y) - crossed - crossed.T
    pairs = rows[:, None] * rows[None, :] * (1.0 - jnp.eye(len(x), dtype=rows.dtype))
    return jnp.sum(jnp.where(pairs > 0, h, 0.0)) / jnp.maximum(jnp.sum(pairs), 1.0)


def sliced_wasserstein(
    x: jax.Array,
    y: jax.Array,
    directions: jax.Array,
    mask: jax.Array | None = None,
) -> jax.Array:
    """The squared sliced 2-Wasserstein distance of two samples.

    SW² = mean over directions u of 1/n Σ_i (sort(x·u)_i − sort(y·u)_i)²

    Args:
        x: codes, shape [B, L].
        y: draws from the prior, shape [B, L].
        directions: of unit length, shape [P, L].
        mask: rows of x that count, shape [B]; of y the same count.

    Returns:
        A scalar ≥ 0.

    Reference:
        Kolouri et al. 2018, Sliced-Wasserstein Autoencoder, arXiv 1804.01947, section 3.
    """
    chex.assert_rank([x, y, directions], 2)
    chex.assert_equal_shape([x, y])
    rows = _weights(mask, len(x), x)

    def projected(values):
        """Sorted projections [P, B]; what does not count comes last and is the same in both."""
        lines = jnp.matmul(directions, values.T, precision="highest")
        return jnp.sort(jnp.where(rows[None, :] > 0, lines, jnp.finfo(lines.dtype).max), axis=1)

    squares = jnp.square(projected(x) - projected(y))
    return jnp.mean(jnp.sum(squares, axis=1) / jnp.sum(rows))


def permute_dimensions(key: jax.Array, z: jax.Array, mask: jax.Array | None = None) -> jax.Array:
    """Codes with each dimension shuffled over the batch by itself: from q(z) to ∏_l q(z_l).

    Args:
        key: PRNG key, scalar.
        z: codes, shape [B, L].
        mask: rows that count, shape [B]; they are shuffled among themselves.

    Returns:
        Shape [B, L]; rows that do not count are as they were.

    Reference:
        Kim & Mnih 2018, Disentangling by Factorising, arXiv 1802.05983, algorithm 1.
    """
    chex.assert_rank(z, 2)
    counts = jnp.ones(z.shape[0], bool) if mask is None else mask > 0
    # a key for each dimension: what follows it, masked or not, changes nothing
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(z.shape[1]))
    draws = jax.vmap(lambda key: jax.random.uniform(key, z.shape[:1]))(unrolled(keys)).T
    # rows that count, in random order and before the others, for each dimension: [B, L]
    order = jnp.where(counts[:, None], draws, 2.0).argsort(axis=0)
    place = jnp.maximum(jnp.cumsum(counts) - 1, 0)
    return jnp.where(counts[:, None], jnp.take_along_axis(z, order[place], axis=0), z)


def discriminator_loss(real: jax.Array, fake: jax.Array) -> jax.Array:
    """The cross-entropy of a discriminator that sees as many codes of one kind as of another.

    −½ log σ(d(real)) − ½ log(1 − σ(d(fake))); where it is least, d = log p_real − log p_fake

    Args:
        real: logits d of codes to be told as real, shape [B].
        fake: logits d of the others, shape [B].

    Returns:
        In nats per pair, shape [B]; log 2 where the two cannot be told apart.

    Reference:
        Goodfellow et al. 2014, Generative Adversarial Networks, arXiv 1406.2661, eq. 1.
    """
    chex.assert_rank([real, fake], 1)
    return 0.5 * (jax.nn.softplus(-real) + jax.nn.softplus(fake))


def nearest_codes(vectors: jax.Array, codebook: jax.Array) -> jax.Array:
    """The code that is nearest to each vector; of equals the first.

    argmin_k ‖v − e_k‖²

    Args:
        vectors: v, shape [N, D].
        codebook: e, shape [K, D].

    Returns:
        Indices k, integers [N].

    Reference:
        van den Oord et al. 2017, Neural Discrete Representation Learning, arXiv 1711.00937, eq. 1.
    """
    chex.assert_rank([vectors, codebook], 2)
    # ‖v − e‖² = ‖v‖² − 2 v·e + ‖e‖², of which the first term is the same for all codes
    products = jnp.matmul(vectors, codebook.T, precision="highest")
    return jnp.argmin(jnp.sum(jnp.square(codebook), axis=1)[None, :] - 2.0 * products, axis=1)


def straight_through(features: jax.Array, quantized: jax.Array) -> jax.Array:
    """The quantized values, exactly, with a gradient that goes to the features as if they were.

    Args:
        features: what was quantized, any shape.
        quantized: same shape; it gets no gradient.

    Returns:
        The values of `quantized`.

    Reference:
        Bengio et al. 2013, arXiv 1308.3432; van den Oord et al. 2017, arXiv 1711.00937, section
        3.2.
    """
    chex.assert_equal_shape([features, quantized])
    return jax.lax.stop_gradient(quantized) + (features - jax.lax.stop_gradient(features))


def commitment(features: jax.Array, quantized: jax.Array) -> jax.Array:
    """How far features are from where they are quantized to, a pull on the features alone.

    ‖z_e − sg[e]‖², sg what gets no gradient. With the arguments exchanged, ‖sg[z_e] − e‖² pulls
    the codes alone.

    Args:
        features: z_e, shape [B, *event].
        quantized: e, same shape.

    Returns:
        Shape [B].

    Reference:
        van den Oord et al. 2017, arXiv 1711.00937, eq. 3.
    """
    chex.assert_equal_shape([features, quantized])
    return sum_event(jnp.square(features - jax.lax.stop_gradient(quantized)))


def code_counts(indices: jax.Array, num_codes: int, weights: jax.Array | None = None) -> jax.Array:
    """How often each code was chosen.

    Args:
        indices: integers below K, shape [N].
        num_codes: K.
        weights: of each choice, 0 for padding, shape [N]; None counts all once.

    Returns:
        Shape [K], floating.
    """
    chex.assert_rank(indices, 1)
    weights = jnp.ones(indices.shape) if weights is None else jnp.asarray(weights, float)
    return jnp.zeros(num_codes, weights.dtype).at[indices].add(weights)


def perplexity(counts: jax.Array) -> jax.Array:
    """How many codes are in use: as many as, used evenly, would have the entropy of their use.

    exp(−Σ_k p_k log p_k),  p_k = counts_k / Σ counts

    Args:
        counts: ≥ 0, at least one positive, shape [K].

    Returns:
        A scalar from 1 to K.
    """
    chex.assert_rank(counts, 1)
    shares = counts / jnp.sum(counts)
    logs = jnp.log(jnp.where(shares > 0, shares, 1.0))
    return jnp.exp(-jnp.sum(shares * logs))


def activation_divergence(mean_activation: jax.Array, target: chex.Numeric) -> jax.Array:
    """How far the mean activation of each unit is from a target, as of coins: never below 0.

    KL(ρ ‖ ρ̂) = ρ log ρ/ρ̂ + (1 − ρ) log (1 − ρ)/(1 − ρ̂)

    Args:
        mean_activation: ρ̂ in [0, 1], shape [L]; drawn in by 1e-6 from both ends, so that a unit
            that never or always is on has a gradient.
        target: ρ in (0, 1), a scalar.

    Returns:
        Shape [L], in nats.

    Reference:
        Ng 2011, Sparse autoencoder, CS294A lecture notes, section 3.
    """
    dtype = jnp.result_type(mean_activation)
    # in half precision 1 − 1e-6 would be 1
    wide = jnp.float32 if jnp.finfo(dtype).bits < 32 else dtype
    rate = 1e-6 + (1.0 - 2e-6) * mean_activation.astype(wide)
    # ρ log ρ/ρ̂ + (1 − ρ) log (1 − ρ)/(1 − ρ̂)
    own = target * (jnp.log(target) - jnp.log(rate))
    own = own + (1.0 - target) * (jnp.log1p(-target) - jnp.log1p(-rate))
    return own.astype(dtype)


def jacobian_norm(function: Callable, x: jax.Array) -> jax.Array:
    """‖∂f/∂x‖²_F of each example, exactly: a pass for each number of x or of f(x), the fewer.

    Args:
        function: x [B, *shape] to [B, L], row by row, differentiable.
        x: [B, *shape].

    Returns:
        Shape [B]; differentiable in what the function closes over.

    Reference:
        Rifai et al. 2011, Contractive Auto-Encoders, ICML, equation 1.
    """
    num_inputs = math.prod(x.shape[1:])
    num_outputs = jax.eval_shape(function, x).shape[1]

    def in_all_rows(unit, like):
        return jnp.broadcast_to(unit.reshape(1, *like.shape[1:]), like.shape).astype(like.dtype)

    if num_inputs <= num_outputs:
        # column i of each Jacobian, forward
        def squares(unit):
            return sum_event(jnp.square(jax.jvp(function, (x,), (in_all_rows(unit, x),))[1]))

        units = jnp.eye(num_inputs)
    else:
        # row l of each, backward: rows of x do not see each other
        codes, backward = jax.vjp(function, x)

        def squares(unit):
            return sum_event(jnp.square(backward(in_all_rows(unit, codes))[0]))

        units = jnp.eye(num_outputs)
    return jnp.sum(jax.vmap(squares)(units), axis=0)


def estimated_jacobian_norm(
    function: Callable, x: jax.Array, key: jax.Array, num_probes: int = 1
) -> jax.Array:
    """‖∂f/∂x‖²_F of each example, without bias from random probes: E_v ‖J v‖² where E v vᵀ = I.

    Args:
        function: x [B, *shape] to [B, L], row by row, differentiable.
        x: [B, *shape].
        key: PRNG key, scalar.
        num_probes: probes v of each example, signs drawn evenly; a forward pass each.

    Returns:
        Shape [B].

    Reference:
        Hutchinson 1990, A stochastic estimator of the trace of the influence matrix, Communications
        in Statistics 19(2), of JᵀJ.
    """

    def squares(key):
        probe = jax.random.rademacher(key, x.shape, x.dtype)
        # ‖J v‖²
        return sum_event(jnp.square(jax.jvp(function, (x,), (probe,))[1]))

    return jnp.mean(jax.vmap(squares)(jax.random.split(key, num_probes)), axis=0)
