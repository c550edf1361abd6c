"""Pictures of one run's metrics against the step."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from vae_jax.plots._axes import (
    TERMS,
    as_number,
    count_ticks,
    drawable,
    in_words,
    limit_to_bulk,
    words,
)
from vae_jax.plots._picture import BLUE, ORANGE, house_style, new_figure, plain
from vae_jax.plots.pictures import Picture, Table

__all__ = ["training_curves"]

PANELS = (*TERMS, "active_units", "beta", "learning_rate")
CLOCKS = ("step", "epoch", "seconds", "per_second")


@house_style()
def training_curves(rows: Sequence[Mapping[str, Any]]) -> Picture:
    """Draws every logged quantity against the step, one panel each, with train and validation.

    A quantity `name` shares its panel with `valid_name`. Loss, distortion, rate and elbo come
    first, in nats per example, then active units; other quantities are drawn if they change. Limits
    show most of the values; a far outlier is labeled at the edge.

    Args:
        rows: N mappings from column to cell, as in metrics.csv: a number, a word that reads as one,
            or nothing. Any column may be absent, empty or NaN. The x axis is `step`, otherwise
            `epoch`, otherwise the row's index.

    Returns:
        Picture; its table has the drawn columns, cells unchanged, one row of shape [columns] each.
    """
    names = dict.fromkeys(name for row in rows for name in row)
    values = {name: np.array([as_number(row.get(name)) for row in rows]) for name in names}
    values = {name: column for name, column in values.items() if drawable(column).any()}
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
    size = 2.75 * num_columns, 2.1 * num_rows + 0.3
    label = _in_epochs(x, values.get("epoch")) if axis == "step" else axis or "row"
    figure = new_figure(*size) if panels else in_words("no metrics yet")
    figure.get_layout_engine().set(w_pad=0.06, h_pad=0.06)
    for index, name in enumerate(panels):
        axes = figure.add_subplot(num_rows, num_columns, index + 1)
        pair = _pair(values, name)
        _draw_curves(axes, name, x, pair)
        if index + num_columns >= len(panels):
            axes.set_xlabel(label)
        if len(pair) == 2 and not figure.legends:
            figure.legend(*axes.get_legend_handles_labels(), loc="outside upper right", ncols=2)

    drawn = [axis] if axis else []
    drawn += [column for name in panels for column in _pair(values, name)]
    table = Table(tuple(drawn), [tuple(row.get(name) for name in drawn) for row in rows])
    return Picture(figure, table)


def _in_epochs(step: np.ndarray, epoch: np.ndarray | None) -> str:
    """The label of steps [N], with how many are an epoch if all rows agree on it."""
    if epoch is None:
        return "step"
    known = drawable(step) & drawable(epoch) & (epoch > 0)
    ratios = np.unique(step[known] / epoch[known])
    return f"step ({plain(ratios[0], '.6g')} an epoch)" if len(ratios) == 1 else "step"


def _pair(values: Mapping[str, np.ndarray], name: str) -> dict[str, np.ndarray]:
    """The columns [N] of a quantity: training and validation, if they exist."""
    return {column: values[column] for column in (name, f"valid_{name}") if column in values}


def _changes(column: np.ndarray) -> bool:
    return np.ptp(column[drawable(column)]) > 0


def _draw_curves(axes, name: str, x: np.ndarray, pair: Mapping[str, np.ndarray]) -> None:
    """Draws one panel: the quantity `name`, curves [N] over x [N], the last value at the top."""
    shown = []
    for column, y in pair.items():
        known = drawable(x) & drawable(y)
        shown.append(y[known])
        axes.plot(
            x[known],
            y[known],
            color=BLUE if column == name else ORANGE,
            label="train" if column == name else "validation",
            marker="o" if known.sum() < 3 else None,
            markersize=3,
        )
    last, color = shown[-1][-1:], axes.lines[-1].get_color()
    shown = np.concatenate(shown)
    if name not in TERMS and name in PANELS:
        axes.set_ylim(0.0, 1.1 * shown.max(initial=0.0) or 1.0)
    elif shown.size:
        limit_to_bulk(axes, shown)
    count_ticks(axes)
    axes.grid(axis="y")
    axes.set_title(words(name))
    for value in last:
        axes.set_title(plain(value, ".4g"), loc="right", fontsize=8, color=color)
    if name in TERMS:
        axes.set_ylabel("nats")
