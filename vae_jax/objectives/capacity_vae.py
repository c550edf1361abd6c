"""A code with a target rate, which usually increases during training."""

from vae_jax import losses, rates
from vae_jax.objectives import _terms

__all__ = ["loss"]


def loss(model, params, batch, key, *, gamma=1000.0, capacity=25.0):
    """Capacity VAE: distortion + γ·|rate − C|; C is usually a ramp, `linear(0, 25, 100000)`.

    loss = −log p(x|z) + γ·|E[KL(q(z|x) ‖ p(z))] − C|, E over the batch.

    Args:
        model: a `Model`.
        params: its parameters.
        batch: {"x": [B, *shape], "mask": [B]}.
        key: PRNG key, for the one sample of z.
        gamma: weight of the distance between rate and capacity.
        capacity: C, the target of the rate, in nats.

    Returns:
        loss [B] and {"elbo", "rate", "distortion"}, each [B], in nats; the ELBO is not weighted.

    Reference:
        Burgess et al. 2018, arXiv 1804.03599, equation 8.
    """
    posterior = model.encode(params, batch["x"])
    z, log_q = rates.draw(posterior, key)
    distortion = model.distortion(params, z, batch)
    rate = _terms.rate(model, params, posterior, z, log_q)
    # loss = D + γ·|E[R] − C|
    loss = distortion + losses.capacity_penalty(rate, capacity, gamma, batch["mask"])
    return loss, _terms.elbo_terms(distortion, rate)
