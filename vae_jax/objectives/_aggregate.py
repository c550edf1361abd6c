"""Helpers of objectives that compare the aggregate posterior of a batch with the prior."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from vae_jax import losses, rates
from vae_jax.objectives import _terms

__all__ = ["KERNELS", "Compared", "compare", "covariance_terms", "mmd_terms"]

KERNELS = {"kernel": tuple(losses.KERNELS)}
"""`CHOICES` of an objective that calls `mmd_terms`."""


class Compared(NamedTuple):
    """One sample of q(z|x) per example of a batch, as many of p(z), and the terms of the ELBO.

    Attributes:
        z: samples of q(z|x), [B, L].
        draws: samples of p(z), [B, L].
        distortion: −log p(x|z) in nats, [B].
        rate: KL(q(z|x) ‖ p(z)) in nats, [B].
    """

    z: jax.Array
    draws: jax.Array
    distortion: jax.Array
    rate: jax.Array


def compare(model, params, batch, z_key, prior_key) -> Compared:
    """Encodes and decodes a batch {"x": [B, *shape], …} once, and draws B codes from the prior."""
    posterior = model.encode(params, batch["x"])
    z, log_q = rates.draw(posterior, z_key)
    distortion = model.distortion(params, z, batch)
    rate = _terms.rate(model, params, posterior, z, log_q)
    return Compared(z, model.prior(params).sample(prior_key, len(z)), distortion, rate)


def mmd_terms(
    model, params, batch, key, *, kernel: str, scales: tuple[float, ...] = (1.0,)
) -> dict[str, jax.Array]:
    """{"elbo", "rate", "distortion", "mmd"}, [B] each: every row holds MMD² of the batch.

    Args:
        model, params, batch, key: as in `loss`.
        kernel, scales: see `losses.maximum_mean_discrepancy`.
    """
    z_key, prior_key = jax.random.split(key)
    z, draws, distortion, rate = compare(model, params, batch, z_key, prior_key)
    distance = losses.maximum_mean_discrepancy(
        z, draws, batch["mask"], model.latent_mask, kernel=kernel, scales=scales
    )
    return {**_terms.elbo_terms(distortion, rate), "mmd": jnp.broadcast_to(distance, rate.shape)}


def covariance_terms(
    model, params, batch, key, *, objective: str, covariance: Callable, lambda_od, lambda_d
) -> dict[str, jax.Array]:
    """{"elbo", "rate", "distortion", "penalty"}, [B] each: every row holds the batch's penalty.

    Args:
        model, params, batch, key: as in `loss`.
        objective: name of the objective, for the error.
        covariance: (posteriors in units of the prior, [B, L]; mask [B]) to [L, L].
        lambda_od, lambda_d: see `losses.decorrelation_penalty`, scalars.

    Raises:
        UsageError: posterior or prior is not a Gaussian with independent dimensions.
    """
    posterior = rates.require_gaussian(model.encode(params, batch["x"]), objective)
    prior = _terms.gaussian_prior(model, params, objective)
    distortion = model.distortion(params, posterior.sample(key), batch)
    rate = _terms.rate(model, params, posterior)
    scaled = _terms.standardized(posterior, prior)
    penalty = losses.decorrelation_penalty(
        covariance(scaled, batch["mask"]), lambda_od, lambda_d, model.latent_mask
    )
    return {**_terms.elbo_terms(distortion, rate), "penalty": jnp.broadcast_to(penalty, rate.shape)}
