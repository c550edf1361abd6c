"""Combination importance-weighted autoencoder: a mixture of the ELBO and the IWAE bound."""

from vae_jax import losses, rates
from vae_jax.objectives import _importance

__all__ = ["loss"]

INTERVALS = {"beta": "[0, 1]"}


def loss(model, params, batch, key, *, beta=0.05, num_samples=64):
    """CIWAE: a mixture of the ELBO and the importance-weighted bound.

    loss = −β · 1/K Σ_k log w_k − (1 − β) · log 1/K Σ_k w_k, w_k = p(x, z_k) / q(z_k|x)

    Args:
        model: a `Model`.
        params: its parameters.
        batch: {"x": [B, *shape], "mask": [B]}.
        key: PRNG key, for the K samples of z.
        beta: share of the ELBO, from 0 (IWAE) to 1 (the ELBO).
        num_samples: samples of z for each example, K.

    Returns:
        loss [B] and {"bound", "elbo", "rate", "distortion"}, each [B], in nats; `bound` is the
        importance-weighted bound.

    Reference:
        Rainforth et al. 2018, arXiv 1802.04537, section 5 (CIWAE).
    """
    posterior = model.encode(params, batch["x"])
    z, log_q = rates.draw(posterior, key, num_samples)
    log_weights, distortion = _importance.log_weights(model, params, posterior, z, batch, log_q)
    bound = losses.importance_weighted_bound(log_weights)
    # loss = −β · 1/K Σ_k log w_k − (1 − β) · bound
    loss = -beta * log_weights.mean(axis=0) - (1.0 - beta) * bound
    return loss, {
        "bound": bound,
        **_importance.terms(model, params, posterior, z, distortion, log_q),
    }
