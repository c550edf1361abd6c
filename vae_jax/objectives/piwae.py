"""Partially importance-weighted autoencoder: one tight bound for the decoder, several for q."""

import jax

from vae_jax import losses, rates
from vae_jax.objectives import _importance

__all__ = ["loss"]


def loss(model, params, batch, key, *, num_bounds=8, num_samples=8):
    """PIWAE: decoder and prior train on one bound of M·K samples, the encoder on M bounds of K.

    loss = −log 1/(MK) Σ_mk w_mk; its gradient in the encoder is that of
    −1/M Σ_m log 1/K Σ_k w_mk, w = p(x, z) / q(z|x)

    Args:
        model: a `Model`.
        params: its parameters.
        batch: {"x": [B, *shape], "mask": [B]}.
        key: PRNG key, for the M·K samples of z.
        num_bounds: M, bounds that are averaged for the encoder.
        num_samples: K, samples of z for each bound.

    Returns:
        loss [B] and {"bound", "elbo", "rate", "distortion"}, each [B], in nats; `bound` is that of
        M·K samples.

    Reference:
        Rainforth et al. 2018, arXiv 1802.04537, section 5 (PIWAE).
    """
    posterior = model.encode(params, batch["x"])
    z, log_q = rates.draw(posterior, key, num_bounds * num_samples)
    fixed_posterior, fixed_z, fixed_log_q = jax.lax.stop_gradient((posterior, z, log_q))
    of_decoder, distortion = _importance.log_weights(
        model, params, fixed_posterior, fixed_z, batch, fixed_log_q
    )
    of_encoder, _ = _importance.log_weights(
        model, jax.lax.stop_gradient(params), posterior, z, batch, log_q
    )
    bound = losses.importance_weighted_bound(of_decoder)
    encoder_bound = _importance.mean_of_bounds(of_encoder, num_bounds)
    loss = _importance.with_gradient_of(-bound, -bound - encoder_bound)
    return loss, {
        "bound": bound,
        **_importance.terms(model, params, posterior, z, distortion, log_q),
    }
