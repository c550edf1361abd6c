"""The contrastive autoencoder: two corruptions of one x have codes that find each other."""

import jax

from vae_jax import corruptions, losses
from vae_jax.objectives import _deterministic
from vae_jax.objectives._deterministic import latent, notes

__all__ = ["CHOICES", "DEFINITIONS", "INTERVALS", "latent", "loss", "notes"]

CHOICES = {"corruption": tuple(corruptions.CORRUPTIONS)}
INTERVALS = {"contrast_temperature": "(0, inf)"}
DEFINITIONS = {
    "contrast": "nats that a code lacks to tell its partner from the codes of all other rows",
}


def loss(
    model,
    params,
    batch,
    key,
    *,
    corruption="masking",
    level=0.3,
    lambda_contrast=10.0,
    contrast_temperature=0.1,
):
    """Contrastive autoencoder: the distortion, and InfoNCE of the codes of two corruptions.

    loss = −log p(x|z) + λ·InfoNCE(f(x̃₁), f(x̃₂)), z = f(x), x̃₁ and x̃₂ two corruptions of x that
    are drawn afresh at each step; the alternatives are the other rows of the batch

    Args:
        model: a `Model` with a deterministic code.
        params: its parameters.
        batch: {"x": [B, *shape], "mask": [B]}.
        key: PRNG key, for both corruptions.
        corruption: what the code should not tell: gaussian noise, masking of single numbers (set to
            0), salt_and_pepper (set to 0 or 1), or a patch of an image set to 0.
        level: the strength: the noise's standard deviation, the share of masked numbers, or the
            patch's side as a share of the image's; scalar.
        lambda_contrast: weight λ of the contrast.
        contrast_temperature: τ by which cosines are divided: the smaller, the more the nearest
            wrong codes count.

    Returns:
        loss [B] and {"distortion", "squared_error", "contrast"}, each [B]; the first and the last
        in nats. `squared_error` only if x is complete.

    Reference:
        van den Oord et al. 2018, arXiv 1807.03748, section 2.3; Chen et al. 2020, A Simple
        Framework for Contrastive Learning, arXiv 2002.05709, section 2.
    """
    _deterministic.require_numbers(model, "contrastive: characters have no noise")
    terms = _deterministic.terms(model, params, model.encode(params, batch["x"]).mode, batch)

    def code(key):
        shown = corruptions.corrupt(corruption, key, batch["x"], level)
        return model.encode(params, shown).mode

    first, second = map(code, jax.random.split(key))
    contrast = losses.info_nce(first, second, batch["mask"], temperature=contrast_temperature)
    return terms["distortion"] + lambda_contrast * contrast, {**terms, "contrast": contrast}
