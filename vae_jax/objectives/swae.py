"""Sliced-Wasserstein autoencoder: pulls the code to the prior along random directions."""

import jax
import jax.numpy as jnp

from vae_jax import distributions, losses
from vae_jax.objectives import _aggregate, _terms

__all__ = ["loss"]


def loss(model, params, batch, key, *, lambda_sw=100.0, num_projections=50):
    """SWAE: distortion + λ·SW² of aggregate posterior and prior, with a Gaussian encoder.

    loss = −log p(x|z) + λ·SW²(q(z), p(z)), the squared sliced 2-Wasserstein distance between the
    batch and as many draws from the prior

    Args:
        model: a `Model`.
        params: its parameters.
        batch: {"x": [B, *shape], "mask": [B]}.
        key: PRNG key, for one sample of z, the draws from the prior and the directions.
        lambda_sw: weight λ of the distance between aggregate posterior and prior.
        num_projections: random directions, drawn afresh at each step.

    Returns:
        loss [B] and {"elbo", "rate", "distortion", "sliced_wasserstein"}, each [B]; in nats except
        SW², a value of the batch that is the same in each row. The rate is not penalized, and
        grows.

    Reference:
        Kolouri et al. 2018, arXiv 1804.01947, section 3.
    """
    z_key, prior_key, line_key = jax.random.split(key, 3)
    z, draws, distortion, rate = _aggregate.compare(model, params, batch, z_key, prior_key)
    # directions in the space of the unmasked dimensions, the same as in an unmasked model of that
    # size
    normal = distributions.DiagonalGaussian(*jnp.zeros((2, model.latent_dim)))
    lines = model.without_masked(normal.sample(line_key, num_projections))
    lines = lines / jnp.maximum(jnp.linalg.norm(lines, axis=1, keepdims=True), 1e-12)
    distance = losses.sliced_wasserstein(z, draws, lines, batch["mask"])
    distance = jnp.broadcast_to(distance, rate.shape)
    return distortion + lambda_sw * distance, {
        **_terms.elbo_terms(distortion, rate),
        "sliced_wasserstein": distance,
    }
