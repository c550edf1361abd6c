"""A VAE that reconstructs what images look like (MS-SSIM) instead of their pixels."""

import jax

from vae_jax import losses, rates
from vae_jax.errors import UsageError
from vae_jax.objectives import _surrogate, _terms

__all__ = ["DEFINITIONS", "loss", "notes"]

DEFINITIONS = {
    **_surrogate.DEFINITIONS,
    "similarity": "MS-SSIM of x and E[x|z], 1 if they are equal, without a unit: no likelihood",
}


def notes(model, *, window_size=11, num_scales=5) -> list[str]:
    """Returns a warning, and how many scales images [H, W, C] have room for if it is fewer."""
    lines = _surrogate.warning("the similarity")
    used = _sizes(model.shape, window_size, num_scales)
    if used != (window_size, num_scales):
        height, width = model.shape[:2]
        lines.append(
            f"images of {height}×{width} pixels: window_size={used[0]} and num_scales={used[1]} "
            f"are used for window_size={window_size} and num_scales={num_scales}"
        )
    return lines


def loss(
    model, params, batch, key, *, lambda_similarity=100.0, beta=1.0, window_size=11, num_scales=5
):
    """MS-SSIM VAE: dissimilarity of x and its reconstruction, and the rate; no likelihood of x.

    loss = λ·(1 − MS-SSIM(x, E[x|z])) + β·KL(q(z|x) ‖ p(z)), z ~ q(z|x); λ is a price in nats that
    is chosen, so the loss is no bound on log p(x). The ELBO is reported: that of p(x|z), whose mean
    is trained by the similarity and whose variance fits the errors

    Args:
        model: a `Model` of images, [H, W, C] in [0, 1].
        params: its parameters.
        batch: {"x": [B, H, W, C], "mask": [B]}.
        key: PRNG key, for the sample of z.
        lambda_similarity: λ, nats that the dissimilarity 1 costs; it decides the rate.
        beta: weight of the rate.
        window_size: side of the Gaussian window in pixels; clamped to that of the image.
        num_scales: scales, each half as large as the one before; clamped to those at which the
            window fits the image.

    Returns:
        loss [B] and {"elbo", "rate", "distortion", "similarity"}, each [B]; in nats except the
        similarity. The ELBO is not weighted.

    Raises:
        UsageError: x holds no images, is incomplete, or is decoded step by step.

    Reference:
        Wang et al. 2003, Multi-scale structural similarity for image quality assessment; Snell et
        al. 2017, arXiv 1511.06409, section 3 (as the reconstruction term of a VAE).
    """
    _surrogate.require_numbers(model, "ms_ssim")
    posterior = model.encode(params, batch["x"])
    drawn, log_q = rates.draw(posterior, key)
    z = model.without_masked(drawn)
    rate = _terms.rate(model, params, posterior, drawn, log_q)
    window, num_scales = _sizes(model.shape, window_size, num_scales)
    similarity = losses.multiscale_similarity(
        batch["x"], model.decode_mean(params, z), window=window, num_scales=num_scales
    )
    distortion = _surrogate.bound(model, params, z, batch)
    loss = lambda_similarity * (1.0 - similarity) + beta * rate
    return loss + _surrogate.gradient_of(distortion), {
        **_terms.elbo_terms(distortion, rate),
        "similarity": jax.lax.stop_gradient(similarity),
    }


def _sizes(shape: tuple[int, ...], window: int, num_scales: int) -> tuple[int, int]:
    """The window and the number of scales that fit images of a shape, two counts."""
    if len(shape) != 3:
        raise UsageError(
            f"objective=ms_ssim: needs images [H, W, C], x has shape {[*shape]}: take "
            "objective=beta_vae"
        )
    window = min(window, *shape[:2])
    return window, min(num_scales, losses.num_possible_scales(*shape[:2], window))
