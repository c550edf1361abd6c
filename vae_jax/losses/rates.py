"""Rates KL(q(z|x) ‖ p(z)), plain, with a floor per dimension, or with a target."""

import chex
import jax
import jax.numpy as jnp

from vae_jax import distributions
from vae_jax.losses.reductions import batch_mean, sum_event

__all__ = ["capacity_penalty", "free_bits", "gaussian_rate", "rate_per_dimension"]


rate_per_dimension = distributions.gaussian_kl


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


def free_bits(
    rate_per_dim: jax.Array, threshold: chex.Numeric, mask: jax.Array | None = None
) -> jax.Array:
    """The rate with a floor under each latent dimension's batch mean.

    batch_mean(result) = Σ_l max(threshold, E_batch[KL_l])

    A dimension below its floor contributes the threshold and no gradient; one above contributes
    each example's own divergence. At threshold 0 the result is the plain rate; the Python number 0
    also skips the computation of batch means.

    Args:
        rate_per_dim: KL_l in nats, shape [B, L]; of a hierarchy that of each group, [B, G].
        threshold: floor λ in nats per latent dimension, a scalar or [L]; or per group, [G].
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
    """The distance of the batch's mean rate from a target, to be used instead of β · rate.

    γ · |E_batch[rate] − C|

    Args:
        rate: KL(q(z|x) ‖ p(z)) in nats, shape [B].
        capacity: target C in nats, a scalar.
        gamma: weight γ, a scalar.
        mask: rows that count, shape [B]; use the same one in `batch_mean`.

    Returns:
        The penalty in nats, the same value in every row, shape [B]: its mean is the penalty.

    Reference:
        Burgess et al. 2018, Understanding disentangling in β-VAE, arXiv 1804.03599, eq. 8.
    """
    chex.assert_rank(rate, 1)
    # γ · |E_batch[rate] − C|
    penalty = gamma * jnp.abs(batch_mean(rate, mask) - capacity)
    return jnp.broadcast_to(penalty, rate.shape)
