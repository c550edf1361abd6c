"""Images as arrays of pixels: shrunk, laid out in a grid, written as a GIF."""

import io
import math
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vae_jax.plots._picture import as_float, write
from vae_jax.plots._pixels import gap_between, require_colors, to_rgb

__all__ = ["encode_gif", "image_grid", "save_gif", "shrink"]

MOST_NUMBERS = 2**23
"""Of the images of one picture, a count: their table takes about 80 MB."""


def shrink(
    images: np.ndarray, num_images: int | None = None, *, most: int | None = None
) -> np.ndarray:
    """Returns images that one picture has room for: larger ones averaged over squares of pixels.

    The squares are of the least side with which a picture of so many images has at most 2²³
    numbers; the last of a row or column may be smaller. Images that fit are returned as they are.

    Args:
        images: [..., H, W, C].
        num_images: how many the picture has, a count; None: those given.
        most: places of an image, a count; None: as above.

    Returns:
        [..., ⌈H/s⌉, ⌈W/s⌉, C] for squares of s × s pixels.
    """
    height, width, channels = images.shape[-3:]
    num_images = math.prod(images.shape[:-3]) if num_images is None else num_images
    most = most or max(1, MOST_NUMBERS // max(1, num_images * channels))
    side = 1
    while -(-height // side) * -(-width // side) > most:
        side += 1
    for axis in (-3, -2) if side > 1 else ():
        length = images.shape[axis]
        starts = np.arange(0, length, side)
        counts = np.diff(np.append(starts, length)).astype(np.float32)
        sums = np.add.reduceat(as_float(images), starts, axis=axis)
        images = sums / counts.reshape(-1, *[1] * (-1 - axis))
    return images


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
    images = to_rgb(require_colors("images", images, "R C H W Ch"))
    gap = gap_between(images.shape[2:4]) if gap is None else gap
    padding = ((0, 0), (0, 0), (0, gap), (0, gap), (0, 0))
    cells = np.pad(images, padding, constant_values=255)
    rows, columns, down, across, _ = cells.shape
    canvas = cells.transpose(0, 2, 1, 3, 4).reshape(rows * down, columns * across, 3)
    return canvas[: rows * down - gap, : columns * across - gap]


def encode_gif(frames: np.ndarray | Sequence[np.ndarray], *, milliseconds: int = 120) -> bytes:
    """What `save_gif` writes; arguments and errors as there, frames [T, H, W, C]."""
    from PIL import Image

    frames = to_rgb(require_colors("frames", frames, "T H W C"))
    num_frames, height, width, _ = frames.shape
    # One palette for all, so that colors do not flicker; dithering would compress badly.
    strip = Image.fromarray(frames.reshape(num_frames * height, width, 3))
    strip = strip.quantize(dither=Image.Dither.NONE)
    first, *others = (
        strip.crop((0, top, width, top + height)) for top in range(0, num_frames * height, height)
    )
    gif = io.BytesIO()
    first.save(gif, "gif", save_all=True, append_images=others, duration=milliseconds, loop=0)
    return gif.getvalue()


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
    write(Path(path), encode_gif(frames, milliseconds=milliseconds))
    return Path(path)
