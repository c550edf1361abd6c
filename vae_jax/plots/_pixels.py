"""Images as pixels: laid out in a grid, drawn with sharp edges, written as a GIF."""

import io
import math
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vae_jax.errors import UsageError
from vae_jax.plots._picture import STYLE, as_float, new_figure, require, write

__all__ = [
    "draw_grid",
    "flat",
    "flat_names",
    "image_grid",
    "in_grid",
    "require_images",
    "save_gif",
    "to_rgb",
]


def require_images(name: str, x, axes: str) -> np.ndarray:
    """`x` as images [..., C], at least one, with an axis for each word in `axes`, or UsageError."""
    x = require(name, x, axes)
    if x.shape[-1] not in (1, 3) or x.size == 0:
        raise UsageError(
            f"{name} has shape {list(x.shape)}: must be [{axes.replace(' ', ', ')}], not empty, "
            "the last axis 1 (grey) or 3 (colour)"
        )
    return x


def to_rgb(images: np.ndarray) -> np.ndarray:
    """Images [..., C], C 1 or 3, uint8 or in [0, 1] (NaN is black), as uint8 [..., 3]."""
    if images.dtype != np.uint8:
        images = np.clip(np.nan_to_num(as_float(images)), 0.0, 1.0)
        images = np.rint(255.0 * images).astype(np.uint8)
    return np.broadcast_to(images, (*images.shape[:-1], 3))


def save_gif(
    frames: np.ndarray | Sequence[np.ndarray],
    path: str | os.PathLike,
    *,
    milliseconds: int = 120,
) -> Path:
    """Writes an endless GIF, whole or not at all.

    Args:
        frames: [T, H, W, C], C 1 or 3, or a list of T such images of one shape: uint8, or numbers
            in [0, 1].
        path: the file's path; the folder is made if there is none.
        milliseconds: how long each frame is shown, scalar.

    Returns:
        The path.

    Raises:
        UsageError: `frames` has another shape.
        StorageError: the file could not be written.
    """
    from PIL import Image

    frames = to_rgb(require_images("frames", frames, "T H W C"))
    num_frames, height, width, _ = frames.shape
    # One palette for all, so that colours do not flicker; dithering would compress badly.
    strip = Image.fromarray(frames.reshape(num_frames * height, width, 3))
    strip = strip.quantize(dither=Image.Dither.NONE)
    first, *others = (
        strip.crop((0, top, width, top + height)) for top in range(0, num_frames * height, height)
    )
    gif = io.BytesIO()
    first.save(gif, "gif", save_all=True, append_images=others, duration=milliseconds, loop=0)
    write(Path(path), gif.getvalue())
    return Path(path)


def image_grid(images: np.ndarray, *, gap: int | None = None) -> np.ndarray:
    """Lays images out as one, white between them.

    Image (r, c) starts at pixel (r·(H + gap), c·(W + gap)).

    Args:
        images: [R, C, H, W, Ch], Ch 1 or 3, numbers in [0, 1] (clipped) or uint8.
        gap: pixels between two images, scalar; about a fourteenth of an image unless given.

    Returns:
        uint8 [R·H + (R − 1)·gap, C·W + (C − 1)·gap, 3].

    Raises:
        UsageError: `images` has another shape.
    """
    images = to_rgb(require_images("images", images, "R C H W Ch"))
    gap = _gap(images) if gap is None else gap
    padding = ((0, 0), (0, 0), (0, gap), (0, gap), (0, 0))
    cells = np.pad(images, padding, constant_values=255)
    rows, columns, down, across, _ = cells.shape
    canvas = cells.transpose(0, 2, 1, 3, 4).reshape(rows * down, columns * across, 3)
    return canvas[: rows * down - gap, : columns * across - gap]


def _gap(images: np.ndarray) -> int:
    return max(1, round(max(images.shape[-3:-1]) / 14))


def in_grid(images: np.ndarray, num_columns: int) -> np.ndarray:
    """Images [N, H, W, C] in reading order as [R, C, H, W, 3], the rest of the last row white."""
    images = to_rgb(images)
    num_rows = math.ceil(len(images) / num_columns)
    blank = np.full((num_rows * num_columns - len(images), *images.shape[1:]), 255, np.uint8)
    return np.concatenate([images, blank]).reshape(num_rows, num_columns, *images.shape[1:])


def _enlarge(image: np.ndarray, num_pixels: float) -> np.ndarray:
    """An image [H, W, 3] repeated to at least `num_pixels` on its longer side, as RGBA.

    Matplotlib then only ever shrinks it, with a smooth filter: each pixel keeps sharp edges, and
    all have the same size, which nearest neighbours alone cannot give at a fractional scale.
    """
    times = math.ceil(num_pixels / max(image.shape[:2]))
    opaque = np.pad(image, ((0, 0), (0, 0), (0, 1)), constant_values=255)
    return opaque.repeat(times, axis=0).repeat(times, axis=1)


def draw_grid(images: np.ndarray, *, gap: int | None = None):
    """A figure with images [R, C, H, W, Ch] on one axes, (r, c) centred on the data point (c, r).

    The grid is at most 7.2 inches wide and 9 high, an image at most 0.72 wide.
    """
    num_rows, num_columns, height, width, _ = images.shape
    gap = _gap(images) if gap is None else gap
    down, across = height + gap, width + gap
    cell = min(0.72, 7.2 / num_columns, 9.0 * across / (num_rows * down))
    inches = cell * num_columns, cell * num_rows * down / across
    # Room for what is written around the grid; `save` crops what is left of it.
    figure = new_figure(inches[0] + 1.8, inches[1] + 0.9)
    axes = figure.add_subplot()
    left, top = -width / across / 2, -height / down / 2
    axes.imshow(
        _enlarge(image_grid(images, gap=gap), num_pixels=1.5 * STYLE["savefig.dpi"] * max(inches)),
        extent=(left, num_columns - 1 - left, num_rows - 1 - top, top),
        aspect=down / across,
    )
    axes.tick_params(length=0)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    return figure, axes


def flat(examples: np.ndarray) -> np.ndarray:
    """Examples [N, *shape] as rows of a table, [N, prod(shape)]."""
    return examples.reshape(len(examples), -1)


def flat_names(shape: Sequence[int]) -> tuple[str, ...]:
    """A column for each number of an example of this shape, in flat order."""
    return tuple(f"x{i}" for i in range(math.prod(shape)))
