"""The training curves of a sweep, in common panels."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from vae_jax.errors import UsageError
from vae_jax.plots._axes import (
    as_number,
    count_ticks,
    drawable,
    limit_to_bulk,
    with_unit,
    words,
    wrap,
)
from vae_jax.plots._colors import Colors, color_by, draw_bar, key_width, name_of, ordered
from vae_jax.plots._picture import house_style, new_figure
from vae_jax.plots._runs import (
    LINE_HEIGHT,
    cells_of,
    legend_width,
    mean_and_error,
    nothing,
    num_letters,
    say_left_out,
    table_of,
)
from vae_jax.plots.pictures import Picture

__all__ = ["sweep_curves"]

FEW_RUNS = 10
LINE_GAP = 0.055  # between the entries of a legend, in inches


@house_style()
def sweep_curves(
    rows: Sequence[Mapping[str, Any]],
    *,
    run_names: Sequence[str],
    color: Iterable | None = None,
    color_name: str | None = None,
    metrics: Sequence[str] | None = None,
    same: Iterable | None = None,
    repeated: str = "runs",
) -> Picture:
    """Draws the training curves of all runs in common panels, one per metric.

    Runs that repeat one another are one curve, their mean at each epoch, with a band of ± its
    standard error s/√n; the legend says of how many. Up to 10 curves are named in a legend, with
    different dashes for equal colors; for more curves, a bar explains the colors. Limits show most
    of the values; a far outlier is labeled at the edge.

    Args:
        rows: N mappings from column to cell: `run`, an integer in [0, R), `epoch`, and metrics: a
            number, a word that reads as one, or nothing. A metric may be absent or NaN.
        run_names: [R], the names of the runs; of repeats, the first counts.
        color: [R], a hyperparameter: numbers, or words such as schedules; the run by default.
        color_name: name of `color`.
        metrics: the columns to draw; by default those of valid_elbo (or else elbo), rate,
            distortion and active_units that exist.
        same: [R], equal for runs that repeat one another; None: no runs do.
        repeated: what is repeated, in words.

    Returns:
        Picture; its table has one row per input row, (run, name, color_name, epoch, *metrics), of
            shape [4 + metrics], or [3 + metrics] without color, cells of metrics unchanged. With
            `same` it has one row per curve and epoch, and for each metric three columns: the mean,
            its standard error, and the number of runs that have a number there.

    Raises:
        UsageError: the shapes do not fit together, or a row has an unknown run.
    """
    num_runs = len(run_names)
    cells = None if color is None else cells_of("color", color, num_runs)
    run = np.array([_run_of(row, num_runs) for row in rows], int)
    epoch = np.array([as_number(row.get("epoch")) for row in rows])
    metrics = _usual_metrics(rows) if metrics is None else list(metrics)
    values = {name: np.array([as_number(row.get(name)) for row in rows]) for name in metrics}
    known = {name: drawable(column) & drawable(epoch) for name, column in values.items()}
    places = np.arange(num_runs)
    if same is not None:
        places = np.unique(cells_of("same", [*map(str, same)], num_runs), return_inverse=True)[1]
        places = np.unique(_first(places), return_inverse=True)[1]  # by their first runs
    curves = {
        name: _curves(places[run[known[name]]], epoch[known[name]], values[name][known[name]])
        for name in metrics
    }
    firsts = np.unique(places, return_index=True)[1]
    own_names = [str(run_names[r]) for r in firsts]
    own_cells = None if cells is None else cells[firsts]
    table = table_of(
        ("run", run.tolist()),
        ("name", [run_names[r] for r in run]),
        (color_name or "color", None if cells is None else cells[run]),
        ("epoch", [row.get("epoch") for row in rows]),
        *((name, [row.get(name) for row in rows]) for name in metrics),
    )
    if same is not None:
        table = _table_of_means(curves, own_names, own_cells, color_name or "color")
    panels = [name for name in metrics if curves[name]]
    if not panels:
        return Picture(nothing(num_runs, "metric"), table)

    drawn = np.isin(np.arange(len(firsts)), [place for name in panels for place in curves[name]])
    with_curve = np.isin(places, np.flatnonzero(drawn))
    figure, colors, styles = _draw_panels(
        {n: curves[n] for n in panels}, own_cells, color_name, drawn
    )
    nums = np.bincount(places, minlength=len(firsts))
    band = "" if same is None else _told_repeats(nums[drawn], repeated)
    say_left_out(figure, num_runs, diverged=~with_curve, beside=band)
    if drawn.sum() <= FEW_RUNS:
        labels = own_names if own_cells is None else _with_values(own_names, own_cells, color_name)
        _name_runs(figure, {r: labels[r] for r in np.flatnonzero(drawn)}, colors, styles)
    else:
        draw_bar(figure, figure.axes, colors)
    return Picture(figure, table)


def _first(places: np.ndarray) -> np.ndarray:
    """For the group of each run [R], the first run of that group [R]."""
    return np.unique(places, return_index=True)[1][places]


def _told_repeats(nums: np.ndarray, repeated: str) -> str:
    """What the bands are, for curves of so many runs [C] each."""
    low, high = nums.min(), nums.max()
    told = f"{high}" if low == high else f"{low} to {high}"
    return f"mean ± standard error of {told} {repeated}" if high > 1 else ""


def _table_of_means(
    curves: Mapping[str, Mapping[int, np.ndarray]], names, cells: np.ndarray | None, color_name: str
):
    """The points of all curves [n, 4], a row for each curve and epoch."""
    points = {
        name: {(place, point[0]): point[1:] for place, each in own.items() for point in each}
        for name, own in curves.items()
    }
    keys = sorted({key for own in points.values() for key in own})
    absent = (None, None, None)
    columns = [
        (f"{name}{ending}", [_cell(own.get(key, absent)[k]) for key in keys])
        for name, own in points.items()
        for k, ending in enumerate(("_mean", "_standard_error", "_num_runs"))
    ]
    return table_of(
        ("name", [names[place] for place, _ in keys]),
        (color_name, None if cells is None else [cells[place] for place, _ in keys]),
        ("epoch", [_cell(epoch) for _, epoch in keys]),
        *columns,
    )


def _cell(number: float | None) -> float | int | None:
    """A number of a table: whole ones without decimals, None for NaN."""
    if number is None or math.isnan(number):
        return None
    return int(number) if float(number).is_integer() else float(number)


def _draw_panels(
    curves: Mapping[str, Mapping[int, np.ndarray]],
    cells: np.ndarray | None,
    color_name: str | None,
    drawn: np.ndarray,
):
    """A figure with a panel for each metric, the colors of its curves [C], and their dashes."""
    are_few = drawn.sum() <= FEW_RUNS
    by_run = [f"run {r}" for r in range(len(drawn))] if are_few else range(len(drawn))
    colors = color_by(*((by_run, "run") if cells is None else (cells, color_name)), drawn)
    styles = _line_styles(colors, drawn)
    num_columns = 2 if len(curves) == 4 else min(3, len(curves))
    num_rows = math.ceil(len(curves) / num_columns)
    side = 0.0 if are_few else key_width(colors)
    figure = new_figure(2.75 * num_columns + side, 2.1 * num_rows + 0.5)
    figure.get_layout_engine().set(w_pad=0.06, h_pad=0.06)
    for index, (name, own) in enumerate(curves.items()):
        axes = figure.add_subplot(num_rows, num_columns, index + 1)
        _draw_runs(axes, name, own, colors, styles)
        if index + num_columns >= len(curves):
            axes.set_xlabel("epoch")
    return figure, colors, styles


def _run_of(row: Mapping[str, Any], num_runs: int) -> int:
    run = as_number(row.get("run"))
    if run not in range(num_runs):
        raise UsageError(f"a row has run={row.get('run')}: must be one of 0 … {num_runs - 1}")
    return int(run)


def _usual_metrics(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The metrics to draw by default, among the columns of `rows`."""
    there = {name for row in rows for name in row}
    elbos = [name for name in ("valid_elbo", "elbo") if name in there]
    finite = [n for n in elbos if any(drawable(as_number(row.get(n))) for row in rows)]
    others = (name for name in ("rate", "distortion", "active_units") if name in there)
    return [*(finite or elbos)[:1], *others]


def _curves(place: np.ndarray, epoch: np.ndarray, value: np.ndarray) -> dict[int, np.ndarray]:
    """Points [N] of all runs as curves, one for each place, sorted by epoch.

    Each is [n, 4]: the epoch, the mean at it, its standard error (NaN for one run), and the number
    of runs.
    """
    if not len(place):
        return {}
    order = np.lexsort((epoch, place))
    keys, starts, nums = np.unique(
        np.stack([place, epoch], axis=1)[order], axis=0, return_index=True, return_counts=True
    )
    parts = np.split(value[order], starts[1:])
    means = [mean_and_error(part) if len(part) > 1 else (part[0], None) for part in parts]
    each = zip(keys, means, nums, strict=True)
    points = np.array([(key[1], *pair, num) for key, pair, num in each], float)
    places, firsts = np.unique(keys[:, 0].astype(int), return_index=True)
    return dict(zip(places.tolist(), np.split(points, firsts[1:]), strict=True))


def _line_styles(colors: Colors, drawn: np.ndarray) -> list:
    """A dash pattern for each run [R]: different within a color if few are `drawn`, else equal."""
    if drawn.sum() > FEW_RUNS:
        return ["solid"] * len(drawn)
    dashes = ["solid", (0, (4, 1.5)), (0, (1, 1)), (0, (5, 1, 1, 1)), (0, (8, 2))]
    alike = [tuple(color) for color in colors.each]
    return [dashes[alike[:r].count(alike[r]) % len(dashes)] for r in range(len(drawn))]


def _draw_runs(axes, name: str, curves: Mapping[int, np.ndarray], colors: Colors, styles) -> None:
    """One panel: the metric `name`, a curve [n, 4] for each run or mean of runs."""
    from matplotlib.collections import LineCollection

    runs = list(curves)
    bands = {r: curve[np.isfinite(curve[:, 2])] for r, curve in curves.items()}
    for r, band in bands.items():
        if len(band):
            x, mean, error, _ = band.T
            look = {"color": colors.each[r], "alpha": 0.22, "linewidth": 0}
            axes.fill_between(x, mean - error, mean + error, **look)
    curves = {r: curve[:, :2] for r, curve in curves.items()}
    lines = LineCollection(
        list(curves.values()),
        colors=colors.each[runs],
        linestyles=[styles[r] for r in runs],
        linewidths=float(np.clip(14 / len(runs), 0.6, 1.4)),
        alpha=0.9 if len(runs) <= FEW_RUNS else 0.7,
    )
    axes.add_collection(lines, autolim=False)
    single = [r for r in runs if len(curves[r]) == 1]
    if single:
        dots = np.concatenate([curves[r] for r in single])
        axes.scatter(*dots.T, s=8, c=colors.each[single], linewidths=0)
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


def _with_values(names: Sequence[str], cells: np.ndarray, color_name: str | None) -> list[str]:
    """Adds to names [R] the run's value of the hyperparameter `cells` [R], unless it is there."""
    values, places = ordered(cells)
    texts = [name_of(values[place], 20) for place in places]
    called = f"{words(color_name)} = " if color_name else ""
    return [
        name
        if any(word.startswith(f"{color_name}=") for word in name.split())
        else f"{name}: {called}{text}".removeprefix(": ")
        for name, text in zip(names, texts, strict=True)
    ]


def _name_runs(figure, labels: Mapping[int, str], colors: Colors, styles) -> None:
    """Draws a legend of the runs in `labels` below the panels, and enlarges the figure for it.

    It has as many columns as fit.
    """
    from matplotlib.lines import Line2D

    width, height = figure.get_size_inches()
    length = min(40, num_letters(width))
    labels = {r: wrap(label, length) for r, label in labels.items()}
    longest = max((len(line) for lines in labels.values() for line in lines), default=0)
    num_columns = min(len(labels), max(1, int(width / legend_width(longest))))
    num_rows = math.ceil(len(labels) / num_columns)
    row_height = LINE_GAP + LINE_HEIGHT * max(map(len, labels.values()))
    figure.set_size_inches(width, height + num_rows * row_height - LINE_HEIGHT)
    figure.legend(
        [Line2D([], [], color=colors.each[r], linestyle=styles[r], linewidth=1.4) for r in labels],
        ["\n".join(lines) for lines in labels.values()],
        loc="outside lower left",
        ncols=num_columns,
    )
