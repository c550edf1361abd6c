"""Corruptions of x before the encoder, for denoising autoencoders.

A corruption maps (key, x [B, *shape], level) to x̃ of the same shape, row by row. To add one, add a
function to `CORRUPTIONS`. Missing values are set to 0, as in the papers on denoising.
"""

from collections.abc import Callable

import chex
import jax
import jax.numpy as jnp

from vae_jax.errors import UsageError, unknown

__all__ = [
    "CLIPS",
    "CORRUPTIONS",
    "corrupt",
    "gaussian",
    "lower",
    "masking",
    "patch",
    "salt_and_pepper",
]

CLIPS = ("none", "unit")
"""What may limit corrupted numbers: nothing, or the ends of [0, 1]; scalars."""


def gaussian(key: jax.Array, x: jax.Array, level) -> jax.Array:
    """x + level · eps, eps ~ N(0, I): x [B, *shape], level the standard deviation, a scalar."""
    return x + level * jax.random.normal(key, x.shape, x.dtype)


def masking(key: jax.Array, x: jax.Array, level) -> jax.Array:
    """Sets each number of x [B, *shape] to 0 with probability level, a scalar."""
    return jnp.where(jax.random.uniform(key, x.shape) < level, 0.0, x)


def salt_and_pepper(key: jax.Array, x: jax.Array, level) -> jax.Array:
    """Sets each number of x [B, *shape] to 0 or 1, each with probability level/2, a scalar."""
    u = jax.random.uniform(key, x.shape)
    return jnp.where(u < 0.5 * level, 0.0, jnp.where(u < level, 1.0, x))


def patch(key: jax.Array, x: jax.Array, level) -> jax.Array:
    """Sets a random rectangle of images x [B, H, W, C] to 0; its sides are level times theirs."""
    _require_images("patch", x)
    places = jax.random.uniform(key, (x.shape[0], 2))

    def is_inside(axis):
        """Which rows, or columns, of the image the rectangle covers: [B, H] or [B, W]."""
        size = x.shape[1 + axis]
        side = jnp.round(level * size)
        start = jnp.floor(places[:, axis] * (size - side + 1.0))
        position = jnp.arange(size, dtype=jnp.float32)[None, :] - start[:, None]
        return (position >= 0) & (position < side)

    hidden = is_inside(0)[:, :, None] & is_inside(1)[:, None, :]
    return jnp.where(hidden[..., None], 0.0, x)


def lower(x: jax.Array, factor: int) -> jax.Array:
    """Lowers the resolution of images: replaces each block by its mean.

    Args:
        x: [B, H, W, C].
        factor: side of a block, a count that divides H and W.
    """
    _require_images(f"resolution (factor {factor})", x)
    batch, height, width, channels = x.shape
    if height % factor or width % factor:
        raise UsageError(
            f"factor={factor}: must divide height and width, the images have {height}×{width}"
        )
    blocks = x.reshape(batch, height // factor, factor, width // factor, factor, channels)
    means = blocks.mean(axis=(2, 4), keepdims=True)
    return jnp.broadcast_to(means, blocks.shape).reshape(x.shape)


def _require_images(name: str, x: jax.Array) -> None:
    if x.ndim != 4:
        raise UsageError(
            f"corruption={name}: needs images [H, W, C], the data has {[*x.shape[1:]]}: take "
            "gaussian, masking or salt_and_pepper"
        )


CORRUPTIONS: dict[str, Callable] = {
    "gaussian": gaussian,
    "masking": masking,
    "salt_and_pepper": salt_and_pepper,
    "patch": patch,
}
"""Corruption name → (key, x [B, *shape], level, a scalar) to x̃ [B, *shape].

Reference: Vincent et al. 2010, Stacked Denoising Autoencoders, JMLR 11, section 3.3 (the first
three); Pathak et al. 2016, Context Encoders, arXiv 1604.07379, section 3.2 (a region).
"""


def corrupt(
    name: str, key: jax.Array, x: jax.Array, level, factor: int = 1, clip: str = "none"
) -> jax.Array:
    """Applies a corruption, and lowers the resolution of images, see `CORRUPTIONS` and `lower`.

    Args:
        name: one of `CORRUPTIONS`, or "resolution", which applies `lower` only.
        key: PRNG key, scalar.
        x: [B, *shape].
        level: strength, a scalar.
        factor: reduction of the resolution, a count.
        clip: one of `CLIPS`; unit clips x̃ to [0, 1], for x between 0 and 1, such as pictures.

    Returns:
        x̃, [B, *shape]; NaN where x is NaN, because a missing value is not known to be 0.
    """
    chex.assert_rank(level, 0)
    if clip not in CLIPS:
        raise unknown("clip", clip, CLIPS)
    if name == "resolution":
        shown = lower(x, factor)
    elif name in CORRUPTIONS:
        shown = jnp.where(jnp.isnan(x), x, CORRUPTIONS[name](key, x, level))
    else:
        raise unknown("corruption", name, [*CORRUPTIONS, "resolution"])
    return shown if clip == "none" else jnp.clip(shown, 0.0, 1.0)
