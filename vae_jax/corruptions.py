"""What is done to x before an encoder sees it, so that a decoder has something to restore.

A corruption maps (key, x [B, *shape], level) to x̃ of the same shape, row by row; to add one, add a
function to `CORRUPTIONS`. 0 stands for what is missing, as in the papers on denoising.
"""

from collections.abc import Callable

import chex
import jax
import jax.numpy as jnp

from vae_jax.errors import UsageError, unknown

__all__ = ["CORRUPTIONS", "corrupt", "gaussian", "lower", "masking", "patch", "salt_and_pepper"]


def gaussian(key: jax.Array, x: jax.Array, level) -> jax.Array:
    """x + level · eps, eps ~ N(0, I): x [B, *shape], level the standard deviation, a scalar."""
    return x + level * jax.random.normal(key, x.shape, x.dtype)


def masking(key: jax.Array, x: jax.Array, level) -> jax.Array:
    """Each number of x [B, *shape] becomes 0 with probability level, a scalar."""
    return jnp.where(jax.random.uniform(key, x.shape) < level, 0.0, x)


def salt_and_pepper(key: jax.Array, x: jax.Array, level) -> jax.Array:
    """Each number of x [B, *shape] becomes 0 or 1, either with probability level/2, a scalar."""
    u = jax.random.uniform(key, x.shape)
    return jnp.where(u < 0.5 * level, 0.0, jnp.where(u < level, 1.0, x))


def patch(key: jax.Array, x: jax.Array, level) -> jax.Array:
    """A rectangle of images x [B, H, W, C] becomes 0, its sides level times theirs, anywhere."""
    _require_images("patch", x)
    places = jax.random.uniform(key, (x.shape[0], 2))

    def is_inside(axis):
        """Which of the image's rows, or columns, the rectangle crosses: [B, H] or [B, W]."""
        size = x.shape[1 + axis]
        side = jnp.round(level * size)
        start = jnp.floor(places[:, axis] * (size - side + 1.0))
        position = jnp.arange(size, dtype=jnp.float32)[None, :] - start[:, None]
        return (position >= 0) & (position < side)

    hidden = is_inside(0)[:, :, None] & is_inside(1)[:, None, :]
    return jnp.where(hidden[..., None], 0.0, x)


def lower(x: jax.Array, factor: int) -> jax.Array:
    """Images in a lower resolution: the mean of each block, in every place of the block.

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
"""By name: (key, x [B, *shape], level, a scalar) to x̃ [B, *shape].

Reference: Vincent et al. 2010, Stacked Denoising Autoencoders, JMLR 11, section 3.3 (the first
three); Pathak et al. 2016, Context Encoders, arXiv 1604.07379, section 3.2 (a region).
"""


def corrupt(name: str, key: jax.Array, x: jax.Array, level, factor: int = 1) -> jax.Array:
    """A corruption of images in a resolution that may be lower, see `CORRUPTIONS` and `lower`.

    Args:
        name: one of `CORRUPTIONS`, or "resolution", which is nothing but `lower`.
        key: PRNG key, scalar.
        x: [B, *shape].
        level: how much, a scalar.
        factor: of the resolution, a count.

    Returns:
        x̃, [B, *shape], NaN where x is: what is missing is not known to be 0.
    """
    chex.assert_rank(level, 0)
    if name == "resolution":
        return lower(x, factor)
    if name not in CORRUPTIONS:
        raise unknown("corruption", name, [*CORRUPTIONS, "resolution"])
    return jnp.where(jnp.isnan(x), x, CORRUPTIONS[name](key, x, level))
