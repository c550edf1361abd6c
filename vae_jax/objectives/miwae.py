"""Multiply importance-weighted autoencoder: the mean of several bounds, for a better gradient."""

from vae_jax import rates
from vae_jax.objectives import _importance

__all__ = ["loss"]


def loss(model, params, batch, key, *, num_bounds=8, num_samples=8):
    """MIWAE: the mean of M importance-weighted bounds of K samples each.

    loss = −1/M Σ_m log 1/K Σ_k p(x, z_mk) / q(z_mk|x); M = 1 is IWAE, K = 1 the ELBO of M samples

    Args:
        model: a `Model`.
        params: its parameters.
        batch: {"x": [B, *shape], "mask": [B]}.
        key: PRNG key, for the M·K samples of z.
        num_bounds: M, bounds that are averaged.
        num_samples: K, samples of z for each bound.

    Returns:
        loss [B] and {"bound", "elbo", "rate", "distortion"}, each [B], in nats.

    Reference:
        Rainforth et al. 2018, arXiv 1802.04537, section 5 (MIWAE).
    """
    posterior = model.encode(params, batch["x"])
    z, log_q = rates.draw(posterior, key, num_bounds * num_samples)
    log_weights, distortion = _importance.log_weights(model, params, posterior, z, batch, log_q)
    # bound = 1/M Σ_m log 1/K Σ_k w_mk
    bound = _importance.mean_of_bounds(log_weights, num_bounds)
    return -bound, {
        "bound": bound,
        **_importance.terms(model, params, posterior, z, distortion, log_q),
    }
