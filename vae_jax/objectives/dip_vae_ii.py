"""Disentangling by an aggregate posterior whose covariance is drawn to the identity."""

import jax.numpy as jnp

from vae_jax import losses
from vae_jax.objectives import _terms

__all__ = ["loss"]


def loss(model, params, batch, key, *, lambda_od=10.0, lambda_d=10.0):
    """DIP-VAE-II: the negative ELBO and a penalty on the covariance of the aggregate posterior.

    loss = −log p(x|z) + KL(q(z|x) ‖ p(z)) + λ_od Σ_{l≠m} C_lm² + λ_d Σ_l (C_ll − 1)²,
    C = Cov over the batch of E[z|x] + mean over the batch of Cov[z|x]

    z here is in units of the prior, (z − E z) / deviation: under N(0, I) as it is.

    Args:
        model: a `Model` whose prior is a Gaussian with independent dimensions.
        params: its parameters.
        batch: {"x": [B, *shape], "mask": [B]}.
        key: PRNG key, for the one sample of z.
        lambda_od: weight of the covariances, λ_od.
        lambda_d: weight of the variances' distance from 1, λ_d.

    Returns:
        loss [B] and {"elbo", "rate", "distortion", "penalty"}, each [B]; all but the penalty in
        nats, which is the batch's in each row.

    Raises:
        UsageError: the prior is of another type.

    Reference:
        Kumar et al. 2018, arXiv 1711.00848, equation 7.
    """
    prior = _terms.gaussian_prior(model, params, "dip_vae_ii")
    posterior = model.encode(params, batch["x"])
    distortion = model.distortion(params, posterior.sample(key), batch)
    rate = _terms.rate(model, params, posterior)
    scaled = _terms.standardized(posterior, prior)
    covariance = losses.aggregate_covariance(*scaled, batch["mask"])
    penalty = losses.decorrelation_penalty(covariance, lambda_od, lambda_d, model.latent_mask)
    penalty = jnp.broadcast_to(penalty, rate.shape)
    return distortion + rate + penalty, {**_terms.elbo_terms(distortion, rate), "penalty": penalty}
