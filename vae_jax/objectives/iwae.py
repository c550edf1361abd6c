"""Importance-weighted autoencoder: a bound on log p(x) that tightens with the number of samples."""

import jax
import jax.numpy as jnp

from vae_jax import distributions, losses

__all__ = ["loss"]


def loss(model, params, batch, key, *, num_samples=5):
    """IWAE: the importance-weighted bound; one sample gives the negative ELBO.

    loss = −log 1/K Σ_k p(x|z_k) p(z_k) / q(z_k|x), z_k ~ q(z|x)

    Args:
        model: a `Model`.
        params: its parameters.
        batch: {"x": [B, *shape], "mask": [B]}.
        key: PRNG key, for the K samples of z.
        num_samples: samples of z for each example, K.

    Returns:
        loss [B] and {"bound", "elbo", "rate", "distortion"}, each [B], in nats; the distortion is
        the mean over the K samples, the rate in closed form.

    Reference:
        Burda et al. 2015, arXiv 1509.00519, equation 8, with the gradient of equation 14.
    """
    posterior, prior = model.encode(params, batch["x"]), model.prior(params)
    z = posterior.sample(key, num_samples)  # [K, B, L]
    distortion = model.distortion(params, z, batch)  # [K, B]
    log_weights = -distortion + prior.log_prob(z) - posterior.log_prob(z)
    # bound = log 1/K Σ_k w_k
    bound = jax.nn.logsumexp(log_weights, axis=0) - jnp.log(float(num_samples))
    rate = losses.sum_event(distributions.kl_divergence(posterior, prior))
    distortion = distortion.mean(axis=0)
    aux = {"elbo": losses.elbo(distortion, rate), "rate": rate, "distortion": distortion}
    return -bound, {"bound": bound, **aux}
