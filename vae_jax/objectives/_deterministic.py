"""Helpers of objectives with a deterministic code: the code, and the reconstruction terms."""

import math

import jax

from vae_jax import latents, losses
from vae_jax.errors import UsageError

__all__ = ["has_error", "latent", "notes", "require_numbers", "terms"]


def latent() -> latents.Deterministic:
    """Codes [B, L], the output of the encoder."""
    return latents.Deterministic()


def has_error(model) -> bool:
    """Whether ‖x − x̂‖² (a scalar) is defined: x is complete, of one kind, decoded from the code."""
    is_one_kind = model.likelihood.requires != "columns"
    return is_one_kind and not (model.likelihood.has_missing or model.reads_x)


def require_numbers(model, why: str) -> None:
    """Raises UsageError if x [*shape] is text; `why` says what its characters cannot be."""
    if model.likelihood.requires == "text":
        raise UsageError(f"{why}: x is text, take objective=autoencoder or a variational one")


def terms(model, params, z: jax.Array, batch: dict) -> dict[str, jax.Array]:
    """{"distortion", "squared_error"} of codes, [B] each; the former in nats.

    It returns "distortion" only if numbers of x may be missing, as in text, or if a decoder reads
    x.

    Args:
        model, params, batch: as in `loss`; the target is the batch's x.
        z: codes, [B, L].
    """
    distortion = {"distortion": model.distortion(params, z, batch)}
    if not has_error(model):
        return distortion
    reconstruction = model.decode_mean(params, z, batch["x"])
    return {**distortion, "squared_error": losses.squared_error(batch["x"], reconstruction)}


def notes(model) -> list[str]:
    """Returns a warning if the code is at least as large as x, [*shape]."""
    size = math.prod(model.shape)
    if model.latent_dim < size:
        return []
    return [
        f"warning: latent_dim={model.latent_dim} is overcomplete, x has {size} numbers: the "
        "identity can be learned, which tells nothing of the data; sparse, k_sparse, contractive "
        "and denoising keep from it"
    ]
