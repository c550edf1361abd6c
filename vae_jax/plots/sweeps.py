"""Pictures of a sweep: many runs at once, compared by what was varied.

A run diverged if what is to be drawn is not finite, or beyond 1e100. It is left out of the figure
and of what its colours mean; the figure says how many are, and the table has them.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from vae_jax.errors import UsageError
from vae_jax.plots._axes import (
    as_number,
    count_ticks,
    drawable,
    in_words,
    limit_to_bulk,
    robust_limits,
    with_unit,
    words,
    wrap,
)
from vae_jax.plots._colours import (
    Colours,
    colour_by,
    draw_bar,
    draw_key,
    key_width,
    name_of,
    ordered,
    shades,
)
from vae_jax.plots._picture import (
    FAINT,
    INK,
    MUTED,
    Picture,
    Table,
    as_float,
    house_style,
    legible,
    new_figure,
    plain,
    require,
    require_length,
)

__all__ = ["elbo_against_latent_dim", "rate_distortion", "sweep_curves", "sweep_heatmap"]

FEW_RUNS = 10
LINE = "#c9c9c9"  # of what is drawn for reference
FLAT = "#dbe6ee"  # of cells that are all equal
LINE_HEIGHT, LINE_GAP = 0.14, 0.055  # in a legend and between its entries, in inches


@house_style()
def rate_distortion(
    rate: np.ndarray,
    distortion: np.ndarray,
    *,
    colour: Iterable | None = None,
    colour_name: str | None = None,
    names: Sequence[str] | None = None,
    num_iso: int = 7,
) -> Picture:
    """The rate-distortion plane: one point per run, lines of equal ELBO, the highest ringed.

    ELBO = −(rate + distortion). The axes hold all but absurd outliers, which are counted above
    them, and always the run of the highest ELBO.

    Args:
        rate: [R], KL(q(z|x) ‖ p(z)) in nats per example; NaN where the run diverged.
        distortion: [R], −E_q[log p(x|z)] in nats per example; NaN where the run diverged.
        colour: [R], a hyperparameter: numbers, or words such as schedules. Words and up to 8
            distinct numbers are categories; more numbers are a continuum, logarithmic where they
            are positive and span more than a decade.
        colour_name: what `colour` is.
        names: [R], the names of the runs.
        num_iso: how many lines of equal ELBO are drawn at most, scalar.

    Returns:
        Picture; its table has one row per run, (run, name, colour_name, rate_nats,
        distortion_nats, elbo_nats), of shape [6], less what was not given.

    Raises:
        UsageError: the shapes do not fit together, or `num_iso` is negative.

    Reference: Alemi et al. 2018, "Fixing a Broken ELBO", https://arxiv.org/abs/1711.00464.
    """
    rate = _per_run("rate", rate)
    distortion = _per_run("distortion", distortion, len(rate))
    names = None if names is None else _cells("names", names, len(rate))
    cells = None if colour is None else _cells("colour", colour, len(rate))
    if num_iso < 0:
        raise UsageError(f"num_iso={num_iso}: must be >= 0")
    points = np.stack([rate, distortion], axis=1).astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        elbo = -points.sum(axis=1)
    table = _table(
        ("run", range(len(rate))),
        ("name", names),
        (colour_name or "colour", cells),
        ("rate_nats", rate),
        ("distortion_nats", distortion),
        ("elbo_nats", elbo),
    )
    known = drawable(elbo)
    if not known.any():
        return Picture(_nothing(len(rate), "rate and distortion"), table)

    best = int(np.argmax(np.where(known, elbo, -np.inf)))
    inside = known & _near(points, known)
    inside[best] = True
    low, high = _limits(points[inside])
    colours = colour_by(cells, colour_name, inside)
    width = 3.5 + key_width(colours)
    label = _name_highest(elbo[best], "" if names is None else str(names[best]), width)
    figure = new_figure(width, 3.5 + LINE_HEIGHT * label.count("\n"))
    axes = figure.add_subplot(xlim=(low[0], high[0]), ylim=(low[1], high[1]))
    _draw_iso_lines(axes, points[inside], num_iso)
    size = float(np.clip(2500 / inside.sum(), 16, 36))
    dots = {"c": colours.each[inside], "edgecolors": "white", "linewidths": 0.5, "zorder": 3}
    axes.scatter(*points[inside].T, s=size, **dots)
    ring = {"facecolors": "none", "edgecolors": INK, "linewidths": 1.2, "zorder": 4}
    axes.scatter(*points[best], s=3 * size, label=label, **ring)
    axes.locator_params(axis="x", nbins=6)
    axes.set_xlabel("rate (nats)")
    axes.set_ylabel("distortion (nats)")
    _say_left_out(figure, len(rate), diverged=~known, beyond=known & ~inside)
    draw_key(figure, axes, colours)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower left", handlelength=1.6)
    return Picture(figure, table)


def _name_highest(elbo: float, name: str, width: float) -> str:
    """What the ring is around, in lines that a legend has room for in `width` inches."""
    value, length = f"highest ELBO shown: {plain(elbo, '.2f')} nats", _num_letters(width)
    if name and len(value) + 2 + len(name) <= length:
        return f"{value}, {legible(name, length)}"
    return "\n".join([value, *wrap(name, length)])


def _near(points: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Which of `points` [R, 2] are no absurd outliers among those `known` [R]: bool [R]."""
    low, high = np.transpose([robust_limits(x, reach=20.0) for x in points[known].T])
    return np.all((low <= points) & (points <= high), axis=1)


def _limits(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Corners [2], [2] of axes that hold all `points` [N, 2]; both axes are in nats."""
    low, high = points.min(axis=0), points.max(axis=0)
    span = np.where(high > low, high - low, max(np.max(high - low), 2.0, 1e-6 * np.abs(high).max()))
    margin = np.where(high > low, 0.07, 0.5) * span
    return low - margin, high + margin


def _draw_iso_lines(axes, points: np.ndarray, num: int) -> None:
    """At most `num` lines of equal ELBO, labelled where far from `points` [N, 2]."""
    from matplotlib.collections import LineCollection

    limits = np.array([axes.get_xlim(), axes.get_ylim()])
    lines = _iso_lines(limits, num)
    if not lines:
        return
    lowest, sizes = limits[:, 0], np.ptp(limits, axis=1)
    label = "equal ELBO = −(rate + distortion), in nats"
    axes.add_collection(
        LineCollection([*lines.values()], colors=LINE, linewidths=0.8, zorder=1, label=label),
        autolim=False,
    )
    for elbo, ends in lines.items():
        x, y = _emptiest((ends - lowest) / sizes, (points - lowest) / sizes) * sizes + lowest
        text = axes.text(
            x, y, plain(elbo, ".10g"), fontsize=6.5, color=MUTED, zorder=2,
            ha="center", va="center", rotation=-45, rotation_mode="anchor",
            transform_rotates_text=True,
        )  # fmt: skip
        text.set_bbox({"facecolor": "white", "linewidth": 0, "pad": 2.0})


def _iso_lines(limits: np.ndarray, num: int) -> dict[float, np.ndarray]:
    """Ends [2, 2] of the lines rate + distortion = −ELBO in a box [2, 2], by ELBO, the best first.

    Those that only cut a corner of the box leave no room for their label and are left out.
    """
    from matplotlib.ticker import MaxNLocator

    (left, right), (bottom, top) = limits
    steps = MaxNLocator(max(1, num - 1), steps=[1, 2, 2.5, 5, 10])
    lines = {}
    for level in steps.tick_values(left + bottom, right + top) if num else ():
        x = np.array([max(left, level - top), min(right, level - bottom)])
        ends = np.stack([x, level - x], axis=1)
        if x[0] < x[1] and np.linalg.norm(np.diff(ends, axis=0) / np.ptp(limits, axis=1)) > 0.25:
            lines[-float(level)] = ends
    return dict(list(lines.items())[:num])


def _emptiest(ends: np.ndarray, points: np.ndarray) -> np.ndarray:
    """The point [2] of a line from `ends` [2, 2] farthest from `points` [N, 2], or its middle."""
    along = np.linspace(0.15, 0.85, 29)
    places = ends[0] + along[:, None] * (ends[1] - ends[0])
    way = (ends[1] - ends[0]) / np.linalg.norm(ends[1] - ends[0])
    label = places[:, None] + np.array([-0.05, 0.0, 0.05])[:, None] * way  # [29, 3, 2]
    distance = np.linalg.norm(label[:, :, None] - points, axis=-1).min(axis=(1, 2))
    return places[np.argmax(np.minimum(distance, 0.12) - 0.02 * np.abs(along - 0.5))]


class _Repeats(NamedTuple):
    """Runs of one setting: their indices [n], and which of the distinct settings it is."""

    members: np.ndarray
    row: int
    column: int


def _repeats(rows: np.ndarray, columns: np.ndarray) -> list[_Repeats]:
    """Runs [R] grouped by their place in the order of rows and of columns, int [R] each."""
    pairs, group = np.unique(np.stack([rows, columns]), axis=1, return_inverse=True)
    return [
        _Repeats(np.flatnonzero(group.ravel() == index), row, column)
        for index, (row, column) in enumerate(pairs.T.tolist())
    ]


def _mean_and_error(values: np.ndarray) -> tuple[float | None, float | None]:
    """The mean of what is finite in `values` [n] and its standard error, None where undefined."""
    values = values[drawable(values)].astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        mean = float(values.mean()) if len(values) else None
        error = float(values.std(ddof=1) / math.sqrt(len(values))) if len(values) > 1 else None
    return mean, error


@house_style()
def elbo_against_latent_dim(
    latent_dim: np.ndarray,
    elbo: np.ndarray,
    active_units: np.ndarray,
    *,
    series: Iterable | None = None,
    series_name: str | None = None,
) -> Picture:
    """How many latent dimensions help, and how many are used: means over repeated runs.

    Above the ELBO, below the number of active units with the line where all are active. Runs of
    one latent dimension and series are repeats; bars are the standard error s/√n, none for one
    run.

    Args:
        latent_dim: [R], the latent dimension of each run, positive.
        elbo: [R] in nats per example; NaN where the run diverged, which leaves out both its values.
        active_units: [R], a number of dimensions; NaN where it is not known.
        series: [R], one line for each distinct value: numbers, or words such as schedules.
        series_name: what `series` is.

    Returns:
        Picture; its table has one row per series and dimension, (series_name, latent_dim, num_runs,
        num_diverged, elbo_mean_nats, elbo_standard_error_nats, active_units_mean,
        active_units_standard_error), of shape [8], or [7] without series.

    Raises:
        UsageError: the shapes do not fit together, or a latent dimension is not positive.
    """
    sizes = _per_run("latent_dim", latent_dim)
    elbo = _per_run("elbo", elbo, len(sizes))
    active = _per_run("active_units", active_units, len(sizes))
    cells = None if series is None else _cells("series", series, len(sizes))
    if not (np.isfinite(sizes) & (sizes > 0)).all():
        raise UsageError("latent_dim has a size that is no positive number")
    known = drawable(elbo)
    active = np.where(known, active, np.nan)
    places = np.zeros(len(sizes), int) if cells is None else ordered(cells)[1]
    distinct, columns = np.unique(sizes, return_inverse=True)
    groups = _repeats(places, columns)
    statistics = np.array(
        [(*_mean_and_error(elbo[g.members]), *_mean_and_error(active[g.members])) for g in groups],
        dtype=object,
    ).reshape(len(groups), 4)
    firsts = [g.members[0] for g in groups]
    table = _table(
        (series_name or "series", None if cells is None else cells[firsts]),
        ("latent_dim", [int(s) if s == int(s) else s for s in sizes[firsts].tolist()]),
        ("num_runs", [len(g.members) for g in groups]),
        ("num_diverged", [int((~known[g.members]).sum()) for g in groups]),
        ("elbo_mean_nats", statistics[:, 0]),
        ("elbo_standard_error_nats", statistics[:, 1]),
        ("active_units_mean", statistics[:, 2]),
        ("active_units_standard_error", statistics[:, 3]),
    )
    if not known.any():
        return Picture(_nothing(len(sizes), "ELBO"), table)

    colours = colour_by(cells, series_name, known)
    figure = new_figure(3.5 + key_width(colours), 4.4)
    panels = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    _scale_sizes(panels[1], distinct)
    numbers = statistics.astype(float)  # None becomes NaN
    for place in np.unique(places[known]):
        line = [index for index, group in enumerate(groups) if group.row == place]
        colour = colours.each[np.argmax(known & (places == place))]
        style = {"color": colour, "capsize": 2, "elinewidth": 1.0}
        style |= {"marker": "o", "markersize": 3.5, "linewidth": 1.4}
        for axes, (mean, error) in zip(panels, np.split(numbers[line].T, 2), strict=True):
            there = np.isfinite(mean)
            axes.errorbar(sizes[firsts][line][there], mean[there], error[there], **style)
    _draw_all_active(panels[1], distinct, numbers[:, 2:])
    if np.isfinite(numbers[:, 1]).any():
        bars = {"color": MUTED, "marker": "o", "markersize": 3.5, "capsize": 2}
        panels[1].errorbar([], [], [], linestyle="", label="mean ± standard error", **bars)
    panels[0].set_ylabel("ELBO (nats)")
    panels[1].set_ylabel("active units")
    panels[1].set_xlabel("latent dimension")
    for axes in panels:
        axes.grid(True)
    figure.align_ylabels(panels)
    _say_left_out(figure, len(sizes), diverged=~known)
    draw_key(figure, panels, colours)
    reference = panels[1].get_legend_handles_labels()
    figure.legend(*reference, loc="outside lower left", handlelength=1.6)
    return Picture(figure, table)


def _scale_sizes(axes, sizes: np.ndarray) -> None:
    """Limits and ticks of x for rising `sizes` [S]; in octaves if wider than a factor 8."""
    from matplotlib.ticker import NullLocator

    is_wide = sizes[-1] > 8 * sizes[0]
    if is_wide:
        axes.set_xscale("log", base=2)
    place = np.log2(sizes) if is_wide else sizes
    span = np.ptp(place)
    margin = 0.05 * span or 1.0
    low, high = place[0] - margin, place[-1] + margin
    axes.set_xlim(*np.exp2([low, high]) if is_wide else (low, high))
    ticks = [0]
    for index in range(1, len(sizes)):
        if place[index] - place[ticks[-1]] >= 0.08 * span:
            ticks.append(index)
    axes.set_xticks(sizes[ticks], [f"{size:g}" for size in sizes[ticks]])
    axes.xaxis.set_minor_locator(NullLocator())


def _draw_all_active(axes, sizes: np.ndarray, active: np.ndarray) -> None:
    """The line y = x as far as it is in view; y follows the means and errors `active` [G, 2]."""
    if not np.isfinite(active[:, 0]).any():
        axes.text(0.5, 0.5, "not measured", ha="center", color=MUTED, transform=axes.transAxes)
        axes.set_yticks([])
        return
    top = max(np.nanmax(np.nansum(active, axis=1)), sizes[0] if len(sizes) == 1 else 0.0)
    axes.set_ylim(-0.04 * top, 1.15 * top or 1.0)
    x = np.linspace(*axes.get_xlim(), 512)
    x = x[(x >= 0) & (x <= axes.get_ylim()[1])]
    if len(x):
        dashes = {"color": "#9a9a9a", "linewidth": 1.0, "linestyle": (0, (4, 2)), "zorder": 1}
        axes.plot(x, x, label="all units active", **dashes)


@house_style()
def sweep_heatmap(
    value: np.ndarray, x: Iterable, y: Iterable, *, value_name: str, x_name: str, y_name: str
) -> Picture:
    """A quantity over the grid of two hyperparameters: the mean of the runs of each cell.

    Cells without a run are hatched; so are those where all runs diverged, which say NaN. Where all
    means are equal, colours could tell nothing apart: the number alone says it.

    Args:
        value: [R], a quantity of each run; NaN where it diverged.
        x, y: [R], the hyperparameters: numbers, drawn in rising order, or words such as schedules,
            drawn after them in the order of their first appearance.
        value_name, x_name, y_name: what they are.

    Returns:
        Picture; its table has one row per cell that has runs, (x_name, y_name, num_runs,
        num_diverged, <value_name>_mean, <value_name>_standard_error), of shape [6].

    Raises:
        UsageError: the shapes do not fit together.
    """
    value = _per_run("value", value)
    x, y = _cells("x", x, len(value)), _cells("y", y, len(value))
    (x_values, columns), (y_values, rows) = ordered(x), ordered(y)
    groups = _repeats(rows, columns)
    statistics = [_mean_and_error(value[g.members]) for g in groups]
    known = drawable(value)
    firsts = [g.members[0] for g in groups]
    table = _table(
        (x_name, x[firsts]),
        (y_name, y[firsts]),
        ("num_runs", [len(g.members) for g in groups]),
        ("num_diverged", [int((~known[g.members]).sum()) for g in groups]),
        (f"{value_name}_mean", [mean for mean, _ in statistics]),
        (f"{value_name}_standard_error", [error for _, error in statistics]),
    )
    if not known.any():
        return Picture(_nothing(len(value), words(value_name)), table)

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
    _say_left_out(figure, len(value), diverged=~known)
    return Picture(figure, table)


def _draw_cells(grid: np.ndarray, has_runs: np.ndarray, name: str, room: tuple[float, float]):
    """A figure with a coloured cell for each number in `grid` [Y, X], row 0 at the bottom.

    Where `has_runs`, bool [Y, X], the number is written; `room` is left for the labels of y and of
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
    colours, norm = ListedColormap([FLAT] if is_flat else shades(256)), Normalize(low, high)
    cells, gap = np.ma.masked_invalid(grid), min(0.8, 5 * min(width, height))
    mesh = axes.pcolormesh(cells, cmap=colours, norm=norm, edgecolors="white", linewidth=gap)
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
    """Numbers [Y, X] in words, with as many decimals as tell a hundredth of their range."""
    largest, spread = np.nanmax(np.abs(grid)), np.nanmax(grid) - np.nanmin(grid)
    decimals = 2 - math.floor(math.log10(spread or 1.0))
    spec = f".{min(max(0, decimals), 4)}f" if largest < 1e5 else ".3g"
    return np.array([["NaN" if np.isnan(v) else plain(v, spec) for v in row] for row in grid])


def _name_cells(axis, labels: Sequence[str], at_most: int) -> None:
    """Ticks at the middle of the cells of one side of the grid, evenly thinned to `at_most`."""
    ticks = np.arange(0, len(labels), math.ceil(len(labels) / at_most))
    axis.set_ticks(ticks + 0.5, [labels[tick] for tick in ticks])


@house_style()
def sweep_curves(
    rows: Sequence[Mapping[str, Any]],
    *,
    run_names: Sequence[str],
    colour: Iterable | None = None,
    colour_name: str | None = None,
    metrics: Sequence[str] | None = None,
) -> Picture:
    """The training curves of all runs over one another, one panel per metric.

    Up to 10 curves are named in a legend, those of one colour told apart by their dashes; of more,
    a bar says what the colours mean. Limits follow the bulk of the values; a far outlier is named
    at the edge it lies beyond.

    Args:
        rows: N mappings from column to cell: `run`, a whole number in [0, R), `epoch`, and metrics:
            a number, a word that reads as one, or nothing. A metric may be absent or NaN.
        run_names: [R], the names of the runs.
        colour: [R], a hyperparameter: numbers, or words such as schedules; the run unless given.
        colour_name: what `colour` is.
        metrics: the columns to draw; unless given valid_elbo (or else elbo), rate, distortion and
            active_units, as far as they are there.

    Returns:
        Picture; its table has one row per row given, (run, name, colour_name, epoch, *metrics), of
        shape [4 + metrics], or [3 + metrics] without colour, cells of metrics as given.

    Raises:
        UsageError: the shapes do not fit together, or a row is of no run.
    """
    num_runs = len(run_names)
    cells = None if colour is None else _cells("colour", colour, num_runs)
    run = np.array([_run_of(row, num_runs) for row in rows], int)
    epoch = np.array([as_number(row.get("epoch")) for row in rows])
    metrics = _usual_metrics(rows) if metrics is None else list(metrics)
    table = _table(
        ("run", run.tolist()),
        ("name", [run_names[r] for r in run]),
        (colour_name or "colour", None if cells is None else cells[run]),
        ("epoch", [row.get("epoch") for row in rows]),
        *((name, [row.get(name) for row in rows]) for name in metrics),
    )
    values = {name: np.array([as_number(row.get(name)) for row in rows]) for name in metrics}
    known = {name: drawable(column) & drawable(epoch) for name, column in values.items()}
    panels = [name for name in metrics if known[name].any()]
    if not panels:
        return Picture(_nothing(num_runs, "metric"), table)

    drawn = np.isin(np.arange(num_runs), run[np.any([known[name] for name in panels], axis=0)])
    are_few = drawn.sum() <= FEW_RUNS
    by_run = [f"run {r}" for r in range(num_runs)] if are_few else range(num_runs)
    colours = colour_by(*((by_run, "run") if cells is None else (cells, colour_name)), drawn)
    styles = _line_styles(colours, drawn)
    num_columns = 2 if len(panels) == 4 else min(3, len(panels))
    num_rows = math.ceil(len(panels) / num_columns)
    side = 0.0 if are_few else key_width(colours)
    figure = new_figure(2.75 * num_columns + side, 2.1 * num_rows + 0.5)
    figure.get_layout_engine().set(w_pad=0.06, h_pad=0.06)
    for index, name in enumerate(panels):
        axes = figure.add_subplot(num_rows, num_columns, index + 1)
        curves = _curves(run[known[name]], epoch[known[name]], values[name][known[name]])
        _draw_runs(axes, name, curves, colours, styles)
        if index + num_columns >= len(panels):
            axes.set_xlabel("epoch")
    _say_left_out(figure, num_runs, diverged=~drawn)
    if are_few:
        labels = [str(name) for name in run_names]
        if cells is not None:
            labels = _with_values(labels, cells, colour_name)
        _name_runs(figure, {r: labels[r] for r in np.flatnonzero(drawn)}, colours, styles)
    else:
        draw_bar(figure, figure.axes, colours)
    return Picture(figure, table)


def _run_of(row: Mapping[str, Any], num_runs: int) -> int:
    run = as_number(row.get("run"))
    if run not in range(num_runs):
        raise UsageError(f"a row has run={row.get('run')}: must be one of 0 … {num_runs - 1}")
    return int(run)


def _usual_metrics(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The metrics drawn unless others are asked for, among the columns of `rows`."""
    there = {name for row in rows for name in row}
    elbos = [name for name in ("valid_elbo", "elbo") if name in there]
    finite = [n for n in elbos if any(drawable(as_number(row.get(n))) for row in rows)]
    others = (name for name in ("rate", "distortion", "active_units") if name in there)
    return [*(finite or elbos)[:1], *others]


def _curves(run: np.ndarray, epoch: np.ndarray, value: np.ndarray) -> dict[int, np.ndarray]:
    """Points [N] of all runs as one curve [n, 2] for each run that has any, along the epochs."""
    order = np.lexsort((epoch, run))
    points = np.stack([epoch, value], axis=1)[order]
    runs, starts = np.unique(run[order], return_index=True)
    return dict(zip(runs.tolist(), np.split(points, starts[1:]), strict=True))


def _line_styles(colours: Colours, drawn: np.ndarray) -> list:
    """A dash pattern for each run [R]: few that are `drawn` in one colour differ, many do not."""
    if drawn.sum() > FEW_RUNS:
        return ["solid"] * len(drawn)
    dashes = ["solid", (0, (4, 1.5)), (0, (1, 1)), (0, (5, 1, 1, 1)), (0, (8, 2))]
    alike = [tuple(colour) for colour in colours.each]
    return [dashes[alike[:r].count(alike[r]) % len(dashes)] for r in range(len(drawn))]


def _draw_runs(axes, name: str, curves: Mapping[int, np.ndarray], colours: Colours, styles) -> None:
    """One panel: the metric `name`, a curve [n, 2] for each run."""
    from matplotlib.collections import LineCollection

    runs = list(curves)
    lines = LineCollection(
        list(curves.values()),
        colors=colours.each[runs],
        linestyles=[styles[r] for r in runs],
        linewidths=float(np.clip(14 / len(runs), 0.6, 1.4)),
        alpha=0.9 if len(runs) <= FEW_RUNS else 0.7,
    )
    axes.add_collection(lines, autolim=False)
    single = [r for r in runs if len(curves[r]) == 1]
    if single:
        dots = np.concatenate([curves[r] for r in single])
        axes.scatter(*dots.T, s=8, c=colours.each[single], linewidths=0)
    epochs, values = np.concatenate(list(curves.values())).T
    margin = 0.03 * np.ptp(epochs) or 0.5
    axes.set_xlim(epochs.min() - margin, epochs.max() + margin)
    if name == "active_units":
        top = values.max(initial=0.0) or 1.0
        axes.set_ylim(-0.04 * top, 1.1 * top)
    else:
        limit_to_bulk(axes, values)
    count_ticks(axes)
    if epochs.min() == epochs.max():
        axes.set_xticks(epochs[:1])
    axes.grid(axis="y")
    axes.set_title(words(name))
    if with_unit(name) != words(name):
        axes.set_ylabel("nats")


def _with_values(names: Sequence[str], cells: np.ndarray, colour_name: str | None) -> list[str]:
    """Names [R], each with its run's value of the hyperparameter `cells` [R] unless it says so."""
    values, places = ordered(cells)
    texts = [name_of(values[place], 20) for place in places]
    called = f"{words(colour_name)} = " if colour_name else ""
    return [
        name
        if any(word.startswith(f"{colour_name}=") for word in name.split())
        else f"{name}: {called}{text}".removeprefix(": ")
        for name, text in zip(names, texts, strict=True)
    ]


def _name_runs(figure, labels: Mapping[int, str], colours: Colours, styles) -> None:
    """A legend of the runs in `labels` below the panels, for which the figure grows.

    It has as many columns as the names leave room for.
    """
    from matplotlib.lines import Line2D

    width, height = figure.get_size_inches()
    length = min(40, _num_letters(width))
    labels = {r: wrap(label, length) for r, label in labels.items()}
    longest = max((len(line) for lines in labels.values() for line in lines), default=0)
    num_columns = min(len(labels), max(1, int(width / _legend_width(longest))))
    num_rows = math.ceil(len(labels) / num_columns)
    row_height = LINE_GAP + LINE_HEIGHT * max(map(len, labels.values()))
    figure.set_size_inches(width, height + num_rows * row_height - LINE_HEIGHT)
    figure.legend(
        [Line2D([], [], color=colours.each[r], linestyle=styles[r], linewidth=1.4) for r in labels],
        ["\n".join(lines) for lines in labels.values()],
        loc="outside lower left",
        ncols=num_columns,
    )


def _legend_width(num_letters: int) -> float:
    """Inches, a scalar, that a column of a legend takes whose longest line has `num_letters`."""
    return 0.55 + 0.072 * num_letters


def _num_letters(width: float) -> int:
    """The longest line that a legend has room for in `width` inches, a scalar."""
    return int((width - _legend_width(0)) / 0.072)


def _per_run(name: str, x, num_runs: int | None = None) -> np.ndarray:
    """Numbers [R], one per run; what is None is NaN."""
    x = np.asarray(x)
    x = x.astype(np.float64) if x.dtype == object else x
    x = require(name, x, "R") if num_runs is None else require_length(name, x, num_runs)
    return as_float(x)


def _cells(name: str, x: Iterable, num_runs: int) -> np.ndarray:
    """Numbers and words [R], one per run, each as it is."""
    return require_length(name, np.array(list(x), dtype=object), num_runs)


def _table(*columns: tuple[str, Iterable | None]) -> Table:
    """Columns [N] by name, less those that are None."""
    given = [(name, cells) for name, cells in columns if cells is not None]
    rows = zip(*(cells for _, cells in given), strict=True)
    return Table(tuple(name for name, _ in given), list(rows))


def _nothing(num_runs: int, quantity: str):
    """The figure of a sweep without any finite `quantity`."""
    if not num_runs:
        return in_words("no runs yet")
    who = f"all {num_runs} runs" if num_runs > 1 else "the only run"
    return in_words(f"{who} diverged:\nno finite {quantity}")


def _say_left_out(figure, num_runs: int, *, diverged: np.ndarray, beyond=()) -> None:
    """Says how many runs are not drawn, bool [R] each, in a line of its own above all panels."""
    counts = {"diverged": np.sum(diverged), "beyond the axes": np.sum(beyond)}
    parts = [f"{count:.0f} {why}" for why, count in counts.items() if count]
    if parts:
        note = f"of {num_runs} runs, {', '.join(parts)}"
        figure.suptitle(note, x=0.01, ha="left", fontsize=7, color=MUTED)
