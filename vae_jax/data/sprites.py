"""Binary sprites on dSprites' grid of five independent factors, drawn on the device."""

from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import numpy as np

from vae_jax.data._dataset import Dataset, Split, image_dataset, sha256_of_arrays

__all__ = ["FACTOR_NAMES", "FACTOR_SIZES", "SHAPES", "load", "render"]

SHAPES = ("square", "ellipse", "heart")
"""The meanings of the values 0, 1, 2 of the factor `shape`."""

FACTOR_NAMES = ("shape", "scale", "rotation", "x", "y")
"""Names of the five factors, shape (5,), in the order of the columns."""

FACTOR_SIZES = (3, 6, 40, 32, 32)
"""Number of values of each factor, shape (5,); the last varies fastest in the whole grid."""

_SIZE = 64
_SCALES = np.linspace(0.5, 1.0, 6, dtype=np.float32)
_ANGLES = 2 * np.pi * np.arange(40) / 40
_ROTATIONS = np.stack([np.cos(_ANGLES), np.sin(_ANGLES)], axis=1).astype(np.float32)
_MARGIN = 16  # pixels from the border to the outermost center; no sprite reaches so far

# Half side of the square, half axes of the ellipse, unit of the heart and height of its centroid:
# about 400 pixels each. No pixel center is within a relative 1e-4 of a border, so rounding cannot
# change an image.
_SQUARE = 10.3
_ELLIPSE = (14.7, 8.9)
_HEART, _HEART_CENTRE = 10.3, 0.29


def render(factors: jax.Array) -> jax.Array:
    """Draws sprites: a pixel is 1 if its center is inside the implicit shape.

    With (u, v) the pixel's offset from the sprite's center, rotated back by 2π·k/40 and divided by
    the scale:
      square   max(|u|, |v|) ≤ a
      ellipse  (u/a)² + (v/b)² ≤ 1
        heart    (p² + q² − 1)³ ≤ p²·q³ with p = u/c, q = v/c + 0.29, its centroid
    One step of x or y moves the sprite by one pixel, right or down.

    Args:
        factors: [B, 5] integers: the index of shape, scale, rotation, x and y.

    Returns:
        [B, 64, 64, 1] float32, each 0 or 1.

    Reference:
        Matthey et al., dSprites, 2017, for the grid of factors; the drawing is our own.
    """
    chex.assert_shape(factors, (None, len(FACTOR_NAMES)))
    shape, scale, rotation, x, y = (factors[:, i, None, None] for i in range(5))
    pixel = jnp.arange(_SIZE)
    # [B, 64, 64] from [B, 1, 64] and [B, 64, 1]: integers, so that shifts are exact.
    right, up = jnp.broadcast_arrays(
        (pixel[None, None, :] - (x + _MARGIN)).astype(jnp.float32),
        ((y + _MARGIN) - pixel[None, :, None]).astype(jnp.float32),
    )
    cos, sin = jnp.moveaxis(jnp.asarray(_ROTATIONS)[rotation], -1, 0)
    zoom = jnp.asarray(_SCALES)[scale]
    u = (cos * right + sin * up) / zoom
    v = (cos * up - sin * right) / zoom

    square = jnp.maximum(jnp.abs(u), jnp.abs(v)) <= _SQUARE
    ellipse = (u / _ELLIPSE[0]) ** 2 + (v / _ELLIPSE[1]) ** 2 <= 1
    p, q = u / _HEART, v / _HEART + _HEART_CENTRE
    heart = (p**2 + q**2 - 1) ** 3 <= p**2 * q**3
    inside = jnp.where(shape == 0, square, jnp.where(shape == 1, ellipse, heart))
    return inside[..., None].astype(jnp.float32)


def load(data_dir: Path, num_valid: int | None = None) -> Dataset:
    """737,280 binary sprites [64, 64, 1] on a grid of five factors; needs no file.

    The grid itself is stored, [N, 5] indices of factors; `decode` draws the images.
    The label is the shape.

    Args:
        data_dir: not used.
        num_valid: rows held out for validation (scalar); None means 10 %.

    Returns:
        The dataset, split 80 / 10 / 10.

    Reference:
        Matthey et al., dSprites, 2017, for the grid of factors; the drawing is our own.
    """
    grid = np.indices(FACTOR_SIZES, dtype=np.int32).reshape(len(FACTOR_SIZES), -1).T
    grid = np.ascontiguousarray(grid)
    drawing = np.array([_SIZE, _MARGIN, _SQUARE, *_ELLIPSE, _HEART, _HEART_CENTRE])
    return image_dataset(
        "sprites",
        {"all": Split(grid, labels=grid[:, 0], factors=grid)},
        num_valid,
        num_levels=2,
        sha256=sha256_of_arrays([grid, _SCALES, _ROTATIONS, drawing]),
        shape=(_SIZE, _SIZE, 1),
        decode=render,
        classes=SHAPES,
        factor_names=FACTOR_NAMES,
        factor_sizes=FACTOR_SIZES,
    )
