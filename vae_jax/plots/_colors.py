"""One color for each run, by a hyperparameter: a number, or a word such as a schedule."""

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from vae_jax import palette
from vae_jax.plots._axes import as_number, drawable, words
from vae_jax.plots._picture import BLUE, legible, plain, require_length

__all__ = [
    "Colors",
    "color_by",
    "draw_bar",
    "draw_key",
    "key_width",
    "name_of",
    "ordered",
    "shades",
]

FEW = 8


class Colors(NamedTuple):
    """The colors of R runs and their meaning.

    Args:
        each: [R, 4], the color of each run; transparent for runs that are not drawn.
        name: name of the quantity; may be empty.
        categories: C names in drawing order, or none if the values are continuous.
        scale: a matplotlib `ScalarMappable` from values to colors, with category c at value c; None
            if the colors have no meaning.
    """

    each: np.ndarray
    name: str
    categories: list[str]
    scale: Any


def ordered(cells: Iterable) -> tuple[list[float | str], np.ndarray]:
    """The distinct values of R cells: numbers by value, then words by first appearance.

    Args:
        cells: R scalars; text that reads as a finite number is a number, anything else is a word.

    Returns:
        The C values, and the index of each cell's value, int [R].
    """
    # Going through text, a float32 0.1 is 0.1, and True is a word.
    values = [_number_or_word(str(cell)) for cell in cells]
    distinct = dict.fromkeys(values)
    numbers = sorted(value for value in distinct if isinstance(value, float))
    in_order = [*numbers, *(value for value in distinct if isinstance(value, str))]
    places = {value: place for place, value in enumerate(in_order)}
    return in_order, np.array([places[value] for value in values], int)


def _number_or_word(text: str) -> float | str:
    number = as_number(text)
    return number if drawable(number) else text


def name_of(value: float | str, length: int = 28) -> str:
    """A value of `ordered` as text, of at most about `length` characters (scalar)."""
    return legible(value, length) if isinstance(value, str) else plain(value, ".10g")


def color_by(cells: Iterable | None, name: str | None, drawn: np.ndarray) -> Colors:
    """Colors by category for words and for few distinct numbers, otherwise by a continuous scale.

    The scale is logarithmic if the numbers are positive and span more than a decade. Runs that are
    not drawn get no category and do not stretch the scale.

    Args:
        cells: [R] numbers or words; None gives all runs one color.
        name: name of the cells' quantity.
        drawn: bool [R], the runs that are drawn, at least one.

    Returns:
        The colors.

    Raises:
        UsageError: `cells` has another shape.
    """
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import ListedColormap, LogNorm, Normalize, to_rgba_array

    if cells is None:
        return Colors(to_rgba_array([BLUE] * len(drawn)), "", [], None)
    cells = require_length("color", np.array(list(cells), dtype=object), len(drawn))
    values, places = ordered(cells[drawn])
    each = np.zeros((len(drawn), 4))
    are_numbers = all(isinstance(value, float) for value in values)
    if are_numbers and len(values) > FEW:
        is_wide = values[0] > 0 and values[-1] > 10 * values[0]
        norm = (LogNorm if is_wide else Normalize)(values[0], values[-1])
        scale = ScalarMappable(norm, ListedColormap(shades(256)))
        each[drawn] = scale.to_rgba(np.array(values)[places])
        return Colors(each, name or "", [], scale)
    use_hues = not are_numbers and len(values) <= len(palette.LIGHT.labels)
    hues = palette.LIGHT.labels[: len(values)]
    swatches = to_rgba_array(hues) if use_hues else shades(len(values))
    scale = ScalarMappable(Normalize(-0.5, len(values) - 0.5), ListedColormap(swatches))
    each[drawn] = swatches[places]
    return Colors(each, name or "", [name_of(value) for value in values], scale)


def shades(num: int) -> np.ndarray:
    """Colors [num, 4] from dark to light that are all visible on white."""
    import matplotlib

    return matplotlib.colormaps["viridis"](np.linspace(0.0, 0.9, num))


def key_width(colors: Colors) -> float:
    """The width in inches, a scalar, that `draw_key` or `draw_bar` needs beside a figure."""
    if colors.scale is None:
        return 0.0
    return 0.5 + 0.07 * max(map(len, (words(colors.name), "0.001", *colors.categories)))


def draw_key(figure, axes, colors: Colors) -> None:
    """Explains colors [R, 4]: with a legend for up to 10 categories, otherwise with a bar."""
    from matplotlib.lines import Line2D

    if not 0 < len(colors.categories) <= len(palette.LIGHT.labels):
        draw_bar(figure, axes, colors)
        return
    swatches = colors.scale.cmap.colors
    handles = [Line2D([], [], linestyle="", marker="o", markersize=5, color=c) for c in swatches]
    legend = figure.legend(
        handles,
        colors.categories,
        title=words(colors.name) or None,
        loc="outside right upper",
        handletextpad=0.1,
        alignment="left",
    )
    legend.get_title().set_fontsize(9)


def draw_bar(figure, axes, colors: Colors) -> None:
    """Draws a color bar beside `axes` for colors [R, 4], in steps for categories."""
    from matplotlib.colors import LogNorm
    from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullLocator

    if colors.scale is None:
        return
    num = len(colors.categories)
    low, high = colors.scale.get_clim()
    bar = figure.colorbar(colors.scale, ax=axes, aspect=30, pad=0.02)
    bar.outline.set_visible(False)
    bar.ax.tick_params(length=0)
    bar.ax.yaxis.set_minor_locator(NullLocator())
    bar.ax.set_title(words(colors.name), fontsize=9)
    if num:
        ticks = np.unique(np.linspace(0, num - 1, min(num, 12)).round().astype(int))
        bar.ax.yaxis.set_major_locator(FixedLocator(ticks))
        bar.set_ticklabels([colors.categories[tick] for tick in ticks])
        return
    is_log = isinstance(colors.scale.norm, LogNorm)
    subs = (1.0, 2.0, 5.0) if high < 1000 * low else (1.0,)
    bar.ax.yaxis.set_major_locator(LogLocator(subs=subs, numticks=8) if is_log else MaxNLocator(6))
    bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: plain(value, ".6g")))
