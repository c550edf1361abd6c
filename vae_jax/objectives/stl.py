"""Sticking the landing: the ELBO with a gradient that is exact if the posterior is."""

import jax

from vae_jax import rates
from vae_jax.objectives import _importance

__all__ = ["loss"]


def loss(model, params, batch, key, *, num_samples=1):
    """STL: the ELBO from samples, without the score of q(z|x), whose expectation is 0.

    loss = −1/K Σ_k [log p(x, z_k) − log q(z_k|x)]; log q is differentiated only through z_k, so the
    encoder's gradient is 0 for every sample if q(z|x) = p(z|x)

    Args:
        model: a `Model`.
        params: its parameters.
        batch: {"x": [B, *shape], "mask": [B]}.
        key: PRNG key, for the K samples of z.
        num_samples: samples of z over which each example is averaged, K.

    Returns:
        loss [B] and {"elbo", "rate", "distortion"}, each [B], in nats; the rate is in closed form,
        so the ELBO is not exactly minus the loss.

    Reference:
        Roeder et al. 2017, arXiv 1703.09194, section 3.
    """
    posterior = model.encode(params, batch["x"])
    z, log_q = rates.draw(posterior, key, num_samples)
    density = jax.lax.stop_gradient(posterior)
    log_weights, distortion = _importance.log_weights(model, params, density, z, batch)
    # loss = −1/K Σ_k log w_k
    loss = -log_weights.mean(axis=0)
    return loss, _importance.terms(model, params, posterior, z, distortion, log_q)
