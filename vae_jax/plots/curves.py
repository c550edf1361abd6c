"""Pictures of one run's metrics against the step."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from vae_jax.plots._picture import (
    BLUE,
    MUTED,
    ORANGE,
    Picture,
    Table,
    house_style,
    new_figure,
    plain,
)

__all__ = ["training_curves"]

TERMS = ("loss", "distortion", "rate", "elbo")
PANELS = (*TERMS, "active_units", "beta", "learning_rate")
CLOCKS = ("step", "epoch", "seconds", "per_second")


def as_number(cell: Any) -> float:
    """A cell of a metrics file: NaN where it is missing, empty or no number."""
    try:
        return float(cell)
    except (TypeError, ValueError):
        return math.nan


def robust_limits(values: np.ndarray) -> tuple[float, float]:
    """Limits that show the bulk of `values` [N], all finite, and not far outliers.

    [max(min, q1 − 3·(q3 − q1)), min(max, q3 + 3·(q3 − q1))], q1 and q3 the quartiles; and a margin.
    """
    low, q1, q3, high = np.quantile(values, (0.0, 0.25, 0.75, 1.0))
    low, high = max(low, q1 - 3.0 * (q3 - q1)), min(high, q3 + 3.0 * (q3 - q1))
    margin = 0.06 * (high - low) or 0.05 * abs(high) or 1.0
    return low - margin, high + margin


@house_style()
def training_curves(rows: Sequence[Mapping[str, Any]]) -> Picture:
    """Every logged quantity against the step, each in its own panel, train and validation together.

    A quantity `name` is drawn with its twin `valid_name`. Loss, distortion, rate and elbo come
    first, in nats per example, then active units; everything else is drawn where it changes.
    Limits follow the bulk of the values; a far outlier is named at the edge it lies beyond.

    Args:
        rows: N mappings from column to cell, as in metrics.csv: a number, a word that reads as one,
            or nothing. Any column may be absent, empty or NaN. The axis is `step`, or `epoch`, or
            else the row's index.

    Returns:
        Picture; its table is the drawn columns, cells as given, one row of shape [columns] each.
    """
    names = dict.fromkeys(name for row in rows for name in row)
    values = {name: np.array([as_number(row.get(name)) for row in rows]) for name in names}
    values = {name: column for name, column in values.items() if np.isfinite(column).any()}
    axis = next((name for name in ("step", "epoch") if name in values), None)
    x = values[axis] if axis else np.arange(float(len(rows)))

    found = dict.fromkeys(name.removeprefix("valid_") for name in values)
    others = [n for n in found if n not in PANELS and not n.endswith(CLOCKS)]
    panels = [
        name
        for name in (*PANELS, *others)
        if name in found
        and (name in (*TERMS, "active_units") or any(map(_changes, _pair(values, name).values())))
    ]
    num_columns = min(3, max(1, len(panels)))
    num_rows = max(1, math.ceil(len(panels) / num_columns))
    figure = new_figure(2.75 * num_columns, 2.1 * num_rows + 0.3)
    figure.get_layout_engine().set(w_pad=0.06, h_pad=0.06)
    if not panels:
        figure.text(0.5, 0.5, "no metrics yet", ha="center", va="center", color=MUTED)
    for index, name in enumerate(panels):
        axes = figure.add_subplot(num_rows, num_columns, index + 1)
        pair = _pair(values, name)
        _draw_curves(axes, name, x, pair)
        if index + num_columns >= len(panels):
            axes.set_xlabel(axis or "row")
        if len(pair) == 2 and not figure.legends:
            figure.legend(*axes.get_legend_handles_labels(), loc="outside upper right", ncols=2)

    drawn = [axis] if axis else []
    drawn += [column for name in panels for column in _pair(values, name)]
    table = Table(tuple(drawn), [tuple(row.get(name) for name in drawn) for row in rows])
    return Picture(figure, table)


def _pair(values: Mapping[str, np.ndarray], name: str) -> dict[str, np.ndarray]:
    """The columns [N] of a quantity: its own and its validation twin's, where they exist."""
    return {column: values[column] for column in (name, f"valid_{name}") if column in values}


def _changes(column: np.ndarray) -> bool:
    return np.ptp(column[np.isfinite(column)]) > 0


def _draw_curves(axes, name: str, x: np.ndarray, pair: Mapping[str, np.ndarray]) -> None:
    """One panel: the quantity `name`, curves [N] over x [N], the last value at the upper right."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    shown = []
    for column, y in pair.items():
        known = np.isfinite(x) & np.isfinite(y)
        shown.append(y[known])
        axes.plot(
            x[known],
            y[known],
            color=BLUE if column == name else ORANGE,
            label="train" if column == name else "validation",
            marker="o" if known.sum() < 3 else None,
            markersize=3,
        )
    last, colour = shown[-1][-1:], axes.lines[-1].get_color()
    shown = np.concatenate(shown)
    if name not in TERMS and name in PANELS:
        axes.set_ylim(0.0, 1.1 * shown.max(initial=0.0) or 1.0)
    elif shown.size:
        low, high = robust_limits(shown)
        axes.set_ylim(low, high)
        note = {"ha": "right", "transform": axes.transAxes, "fontsize": 7, "color": MUTED}
        if shown.max() > high:
            axes.text(0.99, 0.97, f"↑ highest {plain(shown.max(), '.4g')}", va="top", **note)
        if shown.min() < low:
            axes.text(0.99, 0.04, f"↓ lowest {plain(shown.min(), '.4g')}", va="bottom", **note)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.xaxis.set_major_formatter(
        FuncFormatter(lambda step, _: f"{step / 1000:g}k" if step >= 10000 else f"{step:g}")
    )
    axes.grid(axis="y")
    axes.set_title({"beta": "β"}.get(name, name.replace("_", " ")))
    for value in last:
        axes.set_title(plain(value, ".4g"), loc="right", fontsize=8, color=colour)
    if name in TERMS:
        axes.set_ylabel("nats")
