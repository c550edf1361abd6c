"""What objectives of deterministic codes share: the code, and the terms of a reconstruction."""

import jax

from vae_jax import latents, losses

__all__ = ["latent", "terms"]


def latent() -> latents.Deterministic:
    """Codes [B, L], as the encoder has them."""
    return latents.Deterministic()


def terms(model, params, z: jax.Array, batch: dict) -> dict[str, jax.Array]:
    """{"distortion", "squared_error"} of codes, [B] each; the former in nats.

    Where numbers of x may be missing, as in text, there is the former alone.

    Args:
        model, params, batch: as of `loss`; what is to be restored is the batch's x.
        z: [B, L].
    """
    distortion = {"distortion": model.distortion(params, z, batch)}
    if model.likelihood.has_missing:
        return distortion
    reconstruction = model.decode_mean(params, z)
    return {**distortion, "squared_error": losses.squared_error(batch["x"], reconstruction)}
