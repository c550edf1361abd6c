"""Terms of the aggregate posterior q(z) = E_x q(z|x): density, decomposition, covariance."""

import chex
import jax
import jax.numpy as jnp

from vae_jax import distributions
from vae_jax.blocks import by_blocks
from vae_jax.losses._masks import as_weights, bound_padding, zero_padding
from vae_jax.losses.reductions import batch_mean

__all__ = [
    "SAMPLINGS",
    "aggregate_covariance",
    "aggregate_weights",
    "covariance",
    "decorrelation_penalty",
    "rate_decomposition",
]


SAMPLINGS = ("stratified", "weighted")
"""Ways to estimate the aggregate posterior from a batch, see `aggregate_weights`: no shape."""
_AT_ONCE = 2**19
"""Densities log q(z_il|x_j) that `rate_decomposition` holds at a time, a count."""


def aggregate_weights(
    num_rows: int,
    num_examples: chex.Numeric,
    mask: jax.Array | None = None,
    *,
    sampling: str = "stratified",
) -> jax.Array:
    """Log-weights with which a batch estimates q(z) of all data: q(z_i) ≈ Σ_j exp(w_ij) q(z_i|x_j).

    The batch has M + 1 rows that count, of N examples; z_i is drawn from row i:

    - stratified: 1/N for row i itself, (N − M)/(N·M) for one of the others and 1/M for the rest.
      The estimate of q(z_i) is unbiased.
    - weighted: 1/(N (M + 1)) for each row. The estimate is too small by a constant factor, which
      does not affect gradients, and row i weighs too much; its variance is lower.

    Args:
        num_rows: B.
        num_examples: N, the size of the data that the batch is drawn from without replacement; a
            scalar.
        mask: rows that count, shape [B]; None counts all.
        sampling: one of `SAMPLINGS`.

    Returns:
        Log-weights, shape [B, B]; −∞ in the columns of padding.

    Reference:
        Chen et al. 2018, Isolating Sources of Disentanglement in VAEs, arXiv 1802.04942, section
        3.1 and appendix C.
    """
    mask = jnp.ones(num_rows) if mask is None else jnp.asarray(mask, float)
    chex.assert_shape(mask, (num_rows,))
    count = jnp.sum(mask)
    size = jnp.asarray(num_examples, mask.dtype)
    if sampling == "weighted":
        weights = jnp.full((num_rows, num_rows), 1.0) / (size * count)
    else:
        others = jnp.maximum(count - 1.0, 1.0)  # M
        place = jnp.cumsum(mask) - 1.0  # the index of each row among those that count
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
    log_prior: jax.Array | None = None,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Splits the rate into three parts, from one sample of z per example of a batch.

    log q(z|x) − log p(z) = [log q(z|x) − log q(z)] + [log q(z) − Σ_l log q(z_l)]
    + [Σ_l log q(z_l) − log p(z)]

    In expectation the parts are the mutual information, the total correlation and, if p(z) has
    independent dimensions, the dimension-wise KL. They add up to the left side for any estimate of
    q(z). p(z) is a Gaussian with independent dimensions unless `log_prior` is given.

    Args:
        z: z_i ~ q(z|x_i), shape [B, L].
        posterior_mean: mean of q(z|x_i), shape [B, L].
        posterior_logvar: log variance of q(z|x_i), shape [B, L].
        log_weights: from `aggregate_weights`, shape [B, B].
        latent_mask: dimensions that count, shape [L].
        prior_mean: mean of p(z), a scalar or [L]; standard normal by default.
        prior_logvar: log variance of p(z), likewise.
        log_prior: log p(z_i) over the dimensions that count, shape [B], for any other p(z).

    Returns:
        (mutual information, total correlation, dimension-wise KL) in nats, shape [B] each.

    Reference:
        Chen et al. 2018, Isolating Sources of Disentanglement in VAEs, arXiv 1802.04942, eq. 2.
    """
    chex.assert_equal_shape([z, posterior_mean, posterior_logvar])
    chex.assert_shape(log_weights, (z.shape[0], z.shape[0]))
    kept = as_weights(latent_mask, z.shape[1], z)
    log_weights = log_weights.astype(jnp.result_type(z))
    counts = jnp.any(log_weights > -jnp.inf, axis=0)
    z, posterior_mean, posterior_logvar = (
        bound_padding(each, counts) for each in (z, posterior_mean, posterior_logvar)
    )
    own = distributions.gaussian_log_prob(z, posterior_mean, posterior_logvar) * kept[None, :]

    def aggregate(rows):
        """log q(z) [b], and of each dimension log q(z_l) [b, L], of b rows."""
        z, log_weights = rows
        shape = (z.shape[0], *posterior_mean.shape)
        densities = distributions.gaussian_log_prob(
            jnp.broadcast_to(z[:, None, :], shape),
            jnp.broadcast_to(posterior_mean[None, :, :], shape),
            posterior_logvar[None, :, :],
        )
        densities = densities * kept[None, None, :]
        log_joint = jax.nn.logsumexp(jnp.sum(densities, axis=2) + log_weights, axis=1)
        log_marginals = jax.nn.logsumexp(densities + log_weights[:, :, None], axis=1)
        return log_joint, log_marginals * kept[None, :]

    at_once = max(1, _AT_ONCE // z.size)
    if len(z) > at_once:  # the gradient computes the densities of a block again
        aggregate = jax.checkpoint(aggregate)
    log_joint, log_marginals = by_blocks(aggregate, (z, log_weights), at_once)
    log_product = jnp.sum(log_marginals, axis=1)
    if log_prior is None:
        prior_mean = jnp.broadcast_to(jnp.asarray(prior_mean, z.dtype), z.shape)
        log_priors = distributions.gaussian_log_prob(z, prior_mean, prior_logvar)
        log_prior = jnp.sum(log_priors * kept[None, :], axis=1)
    return jnp.sum(own, axis=1) - log_joint, log_joint - log_product, log_product - log_prior


def covariance(values: jax.Array, mask: jax.Array | None = None) -> jax.Array:
    """The covariance of codes, divided by n (not n − 1).

    1/n Σ_b (v_b − v̄)(v_b − v̄)ᵀ

    Args:
        values: shape [B, L].
        mask: rows that count, shape [B]; None counts all.

    Returns:
        Shape [L, L].
    """
    chex.assert_rank(values, 2)
    values, weights = zero_padding(values, mask), as_weights(mask, len(values), values)
    centered = (values - batch_mean(values, weights)[None]) * jnp.sqrt(weights)[:, None]
    return jnp.matmul(centered.T, centered, precision="highest") / jnp.sum(weights)


def aggregate_covariance(
    mean: jax.Array, logvar: jax.Array, mask: jax.Array | None = None
) -> jax.Array:
    """The exact covariance of z under the aggregate posterior: Cov(mean_b) + E diag(v_b).

    Args:
        mean, logvar: parameters of the posteriors, shape [B, L]; v = exp(logvar).
        mask: rows that count, shape [B]; None counts all.

    Returns:
        Shape [L, L].
    """
    chex.assert_equal_shape([mean, logvar])
    variances = batch_mean(jnp.exp(distributions.bound_logvar(zero_padding(logvar, mask))), mask)
    return covariance(mean, mask) + jnp.diag(variances)


def decorrelation_penalty(
    covariance: jax.Array,
    off_diagonal: chex.Numeric,
    diagonal: chex.Numeric,
    latent_mask: jax.Array | None = None,
) -> jax.Array:
    """The distance of a covariance of codes from the identity.

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
    kept = as_weights(latent_mask, size, covariance)
    identity = jnp.eye(size, dtype=jnp.result_type(covariance))
    squares = jnp.square(covariance - identity) * kept[:, None] * kept[None, :]
    weights = jnp.where(identity > 0, diagonal, off_diagonal)
    return jnp.sum(weights * squares)
