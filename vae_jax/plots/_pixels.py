"""Images as pixels: laid out in a grid, drawn with sharp edges, written as a GIF.

Images of one channel are gray, of three in color. Of any other number no color is known: each
channel is drawn as a gray image of its own.
"""

import io
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from vae_jax.errors import UsageError
from vae_jax.plots._picture import (
    MUTED,
    STYLE,
    as_float,
    legible,
    new_figure,
    require,
    write,
)

__all__ = [
    "by_channel",
    "channels_in_one",
    "draw_grids",
    "encode_gif",
    "flat",
    "flat_names",
    "image_grid",
    "in_grid",
    "require_images",
    "save_gif",
    "shrink",
    "to_rgb",
    "write_around",
]

MOST_NUMBERS = 2**23
"""Of the images of one picture, a count: their table takes about 80 MB."""
MOST_CHANNELS = 16
"""That are drawn, a count."""


def require_images(name: str, x, axes: str) -> np.ndarray:
    """`x` as images [..., C], at least one, with an axis for each word in `axes`, or UsageError."""
    x = require(name, x, axes)
    if x.size == 0:
        raise UsageError(
            f"{name} has shape {list(x.shape)}: must be [{axes.replace(' ', ', ')}], not empty"
        )
    return x


def _require_colors(name: str, x, axes: str) -> np.ndarray:
    """As `require_images`, of one or three channels."""
    x = require_images(name, x, axes)
    if x.shape[-1] not in (1, 3):
        raise UsageError(
            f"{name} has shape {list(x.shape)}: must be [{axes.replace(' ', ', ')}], the last axis "
            "1 (gray) or 3 (color)"
        )
    return x


def shrink(images: np.ndarray, num_images: int | None = None) -> np.ndarray:
    """Returns images that one picture has room for: larger ones averaged over squares of pixels.

    The squares are of the least side with which a picture of so many images has at most 2²³
    numbers; the last of a row or column may be smaller. Images that fit are returned as they are.

    Args:
        images: [..., H, W, C].
        num_images: how many the picture has, a count; None: those given.

    Returns:
        [..., ⌈H/s⌉, ⌈W/s⌉, C] for squares of s × s pixels.
    """
    height, width, channels = images.shape[-3:]
    num_images = math.prod(images.shape[:-3]) if num_images is None else num_images
    most = max(1, MOST_NUMBERS // max(1, num_images * channels))
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


def by_channel(images: np.ndarray) -> dict[str, np.ndarray]:
    """What is drawn of images [..., C]: name → images [..., C] or [..., 1].

    Gray and color images are drawn as they are, without a name; of others each channel, or 16 that
    are evenly spread among more.
    """
    num = images.shape[-1]
    if num in (1, 3):
        return {"": images}
    shown = min(num, MOST_CHANNELS)
    among = "" if shown == num else f" of {num}"
    chosen = [place * num // shown for place in range(shown)]
    return {f"channel {c}{among}": images[..., c : c + 1] for c in chosen}


def channels_in_one(images: np.ndarray) -> np.ndarray:
    """Images [..., H, W, C] with all that `by_channel` draws of each in one: [..., H', W', 1 or 3].

    Channels are laid out in reading order, white between them.
    """
    parts = list(by_channel(images).values())
    if len(parts) == 1:
        return parts[0]
    num_columns = math.ceil(math.sqrt(len(parts)))
    gaps = [(0, 0)] * (images.ndim - 3) + [(0, 1), (0, 1), (0, 0)]
    cells = [np.pad(part, gaps, constant_values=1.0) for part in parts]
    cells += [np.ones_like(cells[0])] * (-len(parts) % num_columns)
    rows = [
        np.concatenate(cells[start : start + num_columns], axis=-2)
        for start in range(0, len(cells), num_columns)
    ]
    return np.concatenate(rows, axis=-3)[..., :-1, :-1, :]


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
    write(Path(path), encode_gif(frames, milliseconds=milliseconds))
    return Path(path)


def encode_gif(frames: np.ndarray | Sequence[np.ndarray], *, milliseconds: int = 120) -> bytes:
    """What `save_gif` writes; arguments and errors as there, frames [T, H, W, C]."""
    from PIL import Image

    frames = to_rgb(_require_colors("frames", frames, "T H W C"))
    num_frames, height, width, _ = frames.shape
    # One palette for all, so that colours do not flicker; dithering would compress badly.
    strip = Image.fromarray(frames.reshape(num_frames * height, width, 3))
    strip = strip.quantize(dither=Image.Dither.NONE)
    first, *others = (
        strip.crop((0, top, width, top + height)) for top in range(0, num_frames * height, height)
    )
    gif = io.BytesIO()
    first.save(gif, "gif", save_all=True, append_images=others, duration=milliseconds, loop=0)
    return gif.getvalue()


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
    images = to_rgb(_require_colors("images", images, "R C H W Ch"))
    gap = _gap(images.shape[2:4]) if gap is None else gap
    padding = ((0, 0), (0, 0), (0, gap), (0, gap), (0, 0))
    cells = np.pad(images, padding, constant_values=255)
    rows, columns, down, across, _ = cells.shape
    canvas = cells.transpose(0, 2, 1, 3, 4).reshape(rows * down, columns * across, 3)
    return canvas[: rows * down - gap, : columns * across - gap]


def _gap(size: Sequence[int]) -> int:
    """Pixels between images of a height and a width, a count."""
    return max(1, round(max(size) / 14))


def in_grid(images: np.ndarray, num_columns: int) -> np.ndarray:
    """Images [N, H, W, C] in reading order as [R, C, H, W, C], the rest of the last row white."""
    num_rows = math.ceil(len(images) / num_columns)
    blank = np.ones((num_rows * num_columns - len(images), *images.shape[1:]), images.dtype)
    return np.concatenate([images, blank]).reshape(num_rows, num_columns, *images.shape[1:])


def _enlarge(image: np.ndarray, num_pixels: float) -> np.ndarray:
    """An image [H, W, 3] repeated to at least `num_pixels` on its longer side, as RGBA.

    Matplotlib then only ever shrinks it, with a smooth filter: each pixel keeps sharp edges, and
    all have the same size, which nearest neighbours alone cannot give at a fractional scale.
    """
    times = math.ceil(num_pixels / max(image.shape[:2]))
    opaque = np.pad(image, ((0, 0), (0, 0), (0, 1)), constant_values=255)
    return opaque.repeat(times, axis=0).repeat(times, axis=1)


def draw_grids(grids: Mapping[str, np.ndarray], *, gap: int | None = None):
    """A figure with an axes for each grid of images [R, C, H, W, Ch], Ch 1 or 3, under its name.

    Image (r, c) is centered on the data point (c, r). A grid is at most 7.2 inches wide and 9 high,
    an image at most 0.72 wide; several grids are smaller each.
    """
    num_rows, num_columns, height, width, _ = next(iter(grids.values())).shape
    gap = _gap((height, width)) if gap is None else gap
    down, across = height + gap, width + gap
    side = math.ceil(math.sqrt(len(grids)))
    share = 1.0 if side == 1 else 1.5 / side
    cell = min(0.72, 7.2 * share / num_columns, 9.0 * share * across / (num_rows * down))
    inches = cell * num_columns, cell * num_rows * down / across
    # Room for what is written around each grid; `save` crops what is left of it.
    shape = math.ceil(len(grids) / side), side
    figure = new_figure(shape[1] * (inches[0] + 1.8), shape[0] * (inches[1] + 0.9))
    left, top = -width / across / 2, -height / down / 2
    for index, (name, images) in enumerate(grids.items()):
        axes = figure.add_subplot(*shape, index + 1)
        axes.imshow(
            _enlarge(image_grid(images, gap=gap), 1.5 * STYLE["savefig.dpi"] * max(inches)),
            extent=(left, num_columns - 1 - left, num_rows - 1 - top, top),
            aspect=down / across,
        )
        axes.set_title(name, fontsize=9)
        axes.tick_params(length=0)
        axes.set_xticks([])
        axes.set_yticks([])
        axes.spines[:].set_visible(False)
    return figure


def write_around(
    figure,
    *,
    title: str = "",
    rows: Iterable[str] | Mapping[int, str] = (),
    columns: Iterable[str] | Mapping[int, str] = (),
    axis_names: tuple[str, str] = ("", ""),
    notes: Sequence[str] = (),
) -> None:
    """Writes words around each grid of `draw_grids`; the figure grows as wide as they need.

    Args:
        figure: from `draw_grids`, of grids [R, C, …], with nothing else in it.
        title: above the one grid, or above all of several.
        rows, columns: names of the rows and columns, of all or by number.
        axis_names: below a grid and at its left.
        notes: at the right of each row.
    """
    rows, columns = (dict(x if isinstance(x, Mapping) else enumerate(x)) for x in (rows, columns))
    title, below, left = (legible(words, 100) for words in (title, *axis_names))
    beside = [[legible(words, 28) for words in x] for x in (rows.values(), notes)]
    for axes in figure.axes:
        axes.set_yticks(list(rows), beside[0])
        axes.set_xticks(list(columns), [legible(words, 28) for words in columns.values()])
        axes.set_xlabel(below)
        axes.set_ylabel(left)
        for row, words in enumerate(beside[1]):
            axes.annotate(
                words,
                (1.0, row),
                (6, 0),
                xycoords=("axes fraction", "data"),
                textcoords="offset points",
                va="center",
                fontsize=8,
                color=MUTED,
            )
    if len(figure.axes) == 1:
        figure.axes[0].set_title(title)
    else:
        figure.suptitle(title, fontsize=10, x=0.01, ha="left")
    # a letter takes a tenth of an inch at most, and `draw_grids` leaves room for some
    beyond = sum(max(0, max(map(len, words), default=0) - 9) for words in beside)
    per_grid = figure.axes[0].get_gridspec().ncols
    width, height = figure.get_size_inches()
    width = max(width + 0.1 * beyond * per_grid, 0.1 * len(title), 0.1 * len(below) * per_grid)
    figure.set_size_inches(width, height)


def flat(examples: np.ndarray) -> np.ndarray:
    """Examples [N, *shape] as rows of a table, [N, prod(shape)]."""
    return examples.reshape(len(examples), -1)


def flat_names(shape: Sequence[int]) -> tuple[str, ...]:
    """A column for each number of an example of this shape, in flat order."""
    return tuple(f"x{i}" for i in range(math.prod(shape)))
