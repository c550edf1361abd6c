"""A quantity of a sweep over the grid of two hyperparameters."""

import math
from collections.abc import Iterable, Sequence

import numpy as np

from vae_jax.plots._axes import drawable, with_unit, words
from vae_jax.plots._colors import name_of, ordered, shades
from vae_jax.plots._picture import FAINT, INK, MUTED, house_style, new_figure, plain
from vae_jax.plots._runs import (
    cells_of,
    mean_and_error,
    nothing,
    per_run,
    repeats,
    say_left_out,
    table_of,
)
from vae_jax.plots.pictures import Picture

__all__ = ["sweep_heatmap"]

FLAT = "#dbe6ee"  # color of cells that are all equal


@house_style()
def sweep_heatmap(
    value: np.ndarray, x: Iterable, y: Iterable, *, value_name: str, x_name: str, y_name: str
) -> Picture:
    """Draws a quantity over the grid of two hyperparameters: the mean over the runs of each cell.

    Cells without a run are hatched; so are cells in which all runs diverged, with the text NaN. If
    all means are equal, there are no colors, only numbers.

    Args:
        value: [R], a quantity of each run; NaN if it diverged.
        x, y: [R], the hyperparameters: numbers in ascending order, then words such as schedules in
            order of first appearance.
        value_name, x_name, y_name: their names.

    Returns:
        Picture; its table has one row per cell that has runs, (x_name, y_name, num_runs,
        num_diverged, <value_name>_mean, <value_name>_standard_error), of shape [6].

    Raises:
        UsageError: the shapes do not fit together.
    """
    value = per_run("value", value)
    x, y = cells_of("x", x, len(value)), cells_of("y", y, len(value))
    (x_values, columns), (y_values, rows) = ordered(x), ordered(y)
    groups = repeats(rows, columns)
    statistics = [mean_and_error(value[g.members]) for g in groups]
    known = drawable(value)
    firsts = [g.members[0] for g in groups]
    table = table_of(
        (x_name, x[firsts]),
        (y_name, y[firsts]),
        ("num_runs", [len(g.members) for g in groups]),
        ("num_diverged", [int((~known[g.members]).sum()) for g in groups]),
        (f"{value_name}_mean", [mean for mean, _ in statistics]),
        (f"{value_name}_standard_error", [error for _, error in statistics]),
    )
    if not known.any():
        return Picture(nothing(len(value), words(value_name)), table)

    grid = np.full((len(y_values), len(x_values)), np.nan)
    for group, (mean, _) in zip(groups, statistics, strict=True):
        grid[group.row, group.column] = math.nan if mean is None else mean
    has_runs = np.zeros(grid.shape, bool)
    has_runs[rows, columns] = True
    x_labels, y_labels = ([name_of(v, 24) for v in values] for values in (x_values, y_values))
    room = 0.07 * max(map(len, y_labels)), 0.04 * max(map(len, x_labels))
    figure, axes = _draw_cells(grid, has_runs, with_unit(value_name), room)
    _name_cells(axes.xaxis, x_labels, at_most=24)
    _name_cells(axes.yaxis, y_labels, at_most=32)
    if max(map(len, x_labels)) > 5:
        for label in axes.get_xticklabels():
            label.set(rotation=35, ha="right", rotation_mode="anchor")
    axes.set_xlabel(words(x_name))
    axes.set_ylabel(words(y_name))
    say_left_out(figure, len(value), diverged=~known)
    return Picture(figure, table)


def _draw_cells(grid: np.ndarray, has_runs: np.ndarray, name: str, room: tuple[float, float]):
    """Draws a colored cell for each number in `grid` [Y, X], row 0 at the bottom.

    If `has_runs`, bool [Y, X], the number is written; `room` is the space for the labels of y and
    x, in inches.
    """
    from matplotlib.colors import ListedColormap, Normalize

    labels = _alike(grid)
    num_rows, num_columns = grid.shape
    longest = max(len(label) for label in labels.ravel())
    width = min(max(0.4, 0.075 * longest + 0.12, 1.2 / num_columns), 6.6 / num_columns)
    height = min(max(0.34, 1.3 / num_rows), 8.0 / num_rows)
    figure = new_figure(width * num_columns + room[0] + 1.2, height * num_rows + room[1] + 0.7)
    axes = figure.add_subplot()
    low, high = np.nanmin(grid), np.nanmax(grid)
    is_flat = low == high
    colors, norm = ListedColormap([FLAT] if is_flat else shades(256)), Normalize(low, high)
    cells, gap = np.ma.masked_invalid(grid), min(0.8, 5 * min(width, height))
    mesh = axes.pcolormesh(cells, cmap=colors, norm=norm, edgecolors="white", linewidth=gap)
    axes.patch.set(hatch="/////", edgecolor=FAINT, linewidth=0.0)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    fontsize = min(7.5, 72 * 0.92 * width / (0.62 * longest), 72 * 0.75 * height)
    if is_flat:
        equal = "" if fontsize >= 4 else f": {plain(low, '.6g')}"
        axes.set_title(f"{name}{equal}", fontsize=9)
    else:
        bar = figure.colorbar(mesh, ax=axes, aspect=25, pad=0.02)
        bar.outline.set_visible(False)
        bar.set_label(name)

    for row, column in np.argwhere(has_runs) if fontsize >= 4 else ():
        is_dark = not is_flat and norm(grid[row, column]) < 0.6
        axes.text(
            column + 0.5,
            row + 0.5,
            labels[row, column],
            ha="center",
            va="center",
            fontsize=fontsize,
            color=MUTED if np.isnan(grid[row, column]) else "white" if is_dark else INK,
        )
    return figure, axes


def _alike(grid: np.ndarray) -> np.ndarray:
    """Formats numbers [Y, X] with enough decimals for 1 % of their range."""
    largest, spread = np.nanmax(np.abs(grid)), np.nanmax(grid) - np.nanmin(grid)
    decimals = 2 - math.floor(math.log10(spread or 1.0))
    spec = f".{min(max(0, decimals), 4)}f" if largest < 1e5 else ".3g"
    return np.array([["NaN" if np.isnan(v) else plain(v, spec) for v in row] for row in grid])


def _name_cells(axis, labels: Sequence[str], at_most: int) -> None:
    """Sets ticks at the centers of cells on one side of the grid, at most `at_most`."""
    ticks = np.arange(0, len(labels), math.ceil(len(labels) / at_most))
    axis.set_ticks(ticks + 0.5, [labels[tick] for tick in ticks])
