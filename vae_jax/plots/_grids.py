"""Figures of images: grids of them with sharp edges, and words around each grid."""

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from vae_jax.plots._picture import MUTED, STYLE, legible, new_figure
from vae_jax.plots._pixels import gap_between
from vae_jax.plots.rasters import image_grid

__all__ = ["draw_grids", "enlarge", "in_grid", "write_around"]


def in_grid(images: np.ndarray, num_columns: int) -> np.ndarray:
    """Images [N, H, W, C] in reading order as [R, C, H, W, C], the rest of the last row white."""
    num_rows = math.ceil(len(images) / num_columns)
    blank = np.ones((num_rows * num_columns - len(images), *images.shape[1:]), images.dtype)
    return np.concatenate([images, blank]).reshape(num_rows, num_columns, *images.shape[1:])


def enlarge(image: np.ndarray, num_pixels: float) -> np.ndarray:
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
    gap = gap_between((height, width)) if gap is None else gap
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
            enlarge(image_grid(images, gap=gap), 1.5 * STYLE["savefig.dpi"] * max(inches)),
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
