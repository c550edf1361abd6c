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
) -> Picture:
    """Draws the training curves of all runs in common panels, one per metric.

    Up to 10 curves are named in a legend, with different dashes for equal colors; for more curves,
    a bar explains the colors. Limits show most of the values; a far outlier is labeled at the edge.

    Args:
        rows: N mappings from column to cell: `run`, an integer in [0, R), `epoch`, and metrics: a
            number, a word that reads as one, or nothing. A metric may be absent or NaN.
        run_names: [R], the names of the runs.
        color: [R], a hyperparameter: numbers, or words such as schedules; the run by default.
        color_name: name of `color`.
        metrics: the columns to draw; by default those of valid_elbo (or else elbo), rate,
            distortion and active_units that exist.

    Returns:
        Picture; its table has one row per input row, (run, name, color_name, epoch, *metrics), of
            shape [4 + metrics], or [3 + metrics] without color, cells of metrics unchanged.

    Raises:
        UsageError: the shapes do not fit together, or a row has an unknown run.
    """
    num_runs = len(run_names)
    cells = None if color is None else cells_of("color", color, num_runs)
    run = np.array([_run_of(row, num_runs) for row in rows], int)
    epoch = np.array([as_number(row.get("epoch")) for row in rows])
    metrics = _usual_metrics(rows) if metrics is None else list(metrics)
    table = table_of(
        ("run", run.tolist()),
        ("name", [run_names[r] for r in run]),
        (color_name or "color", None if cells is None else cells[run]),
        ("epoch", [row.get("epoch") for row in rows]),
        *((name, [row.get(name) for row in rows]) for name in metrics),
    )
    values = {name: np.array([as_number(row.get(name)) for row in rows]) for name in metrics}
    known = {name: drawable(column) & drawable(epoch) for name, column in values.items()}
    panels = [name for name in metrics if known[name].any()]
    if not panels:
        return Picture(nothing(num_runs, "metric"), table)

    drawn = np.isin(np.arange(num_runs), run[np.any([known[name] for name in panels], axis=0)])
    are_few = drawn.sum() <= FEW_RUNS
    by_run = [f"run {r}" for r in range(num_runs)] if are_few else range(num_runs)
    colors = color_by(*((by_run, "run") if cells is None else (cells, color_name)), drawn)
    styles = _line_styles(colors, drawn)
    num_columns = 2 if len(panels) == 4 else min(3, len(panels))
    num_rows = math.ceil(len(panels) / num_columns)
    side = 0.0 if are_few else key_width(colors)
    figure = new_figure(2.75 * num_columns + side, 2.1 * num_rows + 0.5)
    figure.get_layout_engine().set(w_pad=0.06, h_pad=0.06)
    for index, name in enumerate(panels):
        axes = figure.add_subplot(num_rows, num_columns, index + 1)
        curves = _curves(run[known[name]], epoch[known[name]], values[name][known[name]])
        _draw_runs(axes, name, curves, colors, styles)
        if index + num_columns >= len(panels):
            axes.set_xlabel("epoch")
    say_left_out(figure, num_runs, diverged=~drawn)
    if are_few:
        labels = [str(name) for name in run_names]
        if cells is not None:
            labels = _with_values(labels, cells, color_name)
        _name_runs(figure, {r: labels[r] for r in np.flatnonzero(drawn)}, colors, styles)
    else:
        draw_bar(figure, figure.axes, colors)
    return Picture(figure, table)


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


def _curves(run: np.ndarray, epoch: np.ndarray, value: np.ndarray) -> dict[int, np.ndarray]:
    """Points [N] of all runs as one curve [n, 2] per run, sorted by epoch."""
    order = np.lexsort((epoch, run))
    points = np.stack([epoch, value], axis=1)[order]
    runs, starts = np.unique(run[order], return_index=True)
    return dict(zip(runs.tolist(), np.split(points, starts[1:]), strict=True))


def _line_styles(colors: Colors, drawn: np.ndarray) -> list:
    """A dash pattern for each run [R]: different within a color if few are `drawn`, else equal."""
    if drawn.sum() > FEW_RUNS:
        return ["solid"] * len(drawn)
    dashes = ["solid", (0, (4, 1.5)), (0, (1, 1)), (0, (5, 1, 1, 1)), (0, (8, 2))]
    alike = [tuple(color) for color in colors.each]
    return [dashes[alike[:r].count(alike[r]) % len(dashes)] for r in range(len(drawn))]


def _draw_runs(axes, name: str, curves: Mapping[int, np.ndarray], colors: Colors, styles) -> None:
    """One panel: the metric `name`, a curve [n, 2] for each run."""
    from matplotlib.collections import LineCollection

    runs = list(curves)
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
