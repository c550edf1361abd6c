"""The denoising autoencoder: restores masked or blurred data (inpainting, super-resolution)."""

from vae_jax import corruptions, losses
from vae_jax.objectives import _deterministic
from vae_jax.objectives._deterministic import latent

__all__ = ["CHOICES", "DEFINITIONS", "corrupt", "latent", "loss"]

CHOICES = {"corruption": (*corruptions.CORRUPTIONS, "resolution"), "clip": corruptions.CLIPS}
DEFINITIONS = {
    "distortion": "−log p(x|z) in nats per example, z the code of the corrupted x",
    "squared_error": "‖x − E[x|z]‖² per example, z the code of the corrupted x",
    "corruption_error": "‖x − x̃‖² per example: how far from x is what was shown",
}


def corrupt(x, key, *, corruption="gaussian", level=0.3, factor=2, clip="none"):
    """Corrupts x [B, *shape] to x̃ [B, *shape], the input of the encoder.

    Args:
        x: data.
        key: PRNG key, scalar.
        corruption: gaussian noise, masking of single numbers (set to 0), salt_and_pepper (set to 0
            or 1), a patch of an image set to 0, or a lower resolution.
        level: the strength: the noise's standard deviation, the share of masked numbers, or the
            patch's side as a share of the image's; scalar.
        factor: by which the resolution is reduced (corruption resolution), such as 2 or 4.
        clip: unit clips what the encoder is shown to [0, 1], for x between 0 and 1, as pictures
            are; none leaves noise outside.
    """
    return corruptions.corrupt(corruption, key, x, level, factor, clip)


def loss(model, params, batch, key, *, corruption="gaussian", level=0.3, factor=2, clip="none"):
    """Denoising autoencoder: the distortion of the clean x from the code of a corrupted one.

    loss = −log p(x|f(x̃)), z = f(x̃), x̃ drawn afresh at each step

    Args:
        model: a `Model` with a deterministic code.
        params: its parameters.
        batch: {"x": [B, *shape], "mask": [B]}, the clean x.
        key: PRNG key, for the corruption.
        corruption: see `corrupt`.
        level: see `corrupt`.
        factor: see `corrupt`.
        clip: see `corrupt`.

    Returns:
        loss [B] and {"distortion", "squared_error", "corruption_error"}, each [B]; the first in
        nats, the others only if x is complete.

    Reference:
        Vincent et al. 2010, Stacked Denoising Autoencoders, JMLR 11, section 3.1.
    """
    _deterministic.require_numbers(model, "denoising: characters have no noise")
    x = corrupt(batch["x"], key, corruption=corruption, level=level, factor=factor, clip=clip)
    z = model.encode(params, x).mode
    terms = _deterministic.terms(model, params, z, batch)
    if _deterministic.has_error(model):
        terms["corruption_error"] = losses.squared_error(batch["x"], x)
    return terms["distortion"], terms
