"""Helpers for pictures of a sweep: its runs, diverged runs, tables and legends.

A run counts as diverged if the quantity to draw is not finite or exceeds 1e100. It is left out of
the figure and of its color scale; the figure tells how many there are, and the table contains them.
"""

import math
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from vae_jax.plots._axes import drawable, in_words
from vae_jax.plots._picture import MUTED, as_float, require, require_length
from vae_jax.plots.pictures import Table

__all__ = [
    "LINE_HEIGHT",
    "Repeats",
    "cells_of",
    "legend_width",
    "mean_and_error",
    "nothing",
    "num_letters",
    "per_run",
    "repeats",
    "say_left_out",
    "table_of",
]

LINE_HEIGHT = 0.14
"""Height of a legend entry, in inches."""


def per_run(name: str, x, num_runs: int | None = None) -> np.ndarray:
    """Numbers [R], one per run; None becomes NaN."""
    x = np.asarray(x)
    x = x.astype(np.float64) if x.dtype == object else x
    x = require(name, x, "R") if num_runs is None else require_length(name, x, num_runs)
    return as_float(x)


def cells_of(name: str, x: Iterable, num_runs: int) -> np.ndarray:
    """Numbers and words [R], one per run, unchanged."""
    return require_length(name, np.array(list(x), dtype=object), num_runs)


class Repeats(NamedTuple):
    """Runs with the same setting: their indices [n], and the index of the setting."""

    members: np.ndarray
    row: int
    column: int


def repeats(rows: np.ndarray, columns: np.ndarray) -> list[Repeats]:
    """Groups runs [R] by their row and column indices, int [R] each."""
    pairs, group = np.unique(np.stack([rows, columns]), axis=1, return_inverse=True)
    return [
        Repeats(np.flatnonzero(group.ravel() == index), row, column)
        for index, (row, column) in enumerate(pairs.T.tolist())
    ]


def mean_and_error(values: np.ndarray) -> tuple[float | None, float | None]:
    """The mean of the finite `values` [n] and its standard error; None if undefined."""
    values = values[drawable(values)].astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        mean = float(values.mean()) if len(values) else None
        error = float(values.std(ddof=1) / math.sqrt(len(values))) if len(values) > 1 else None
    return mean, error


def table_of(*columns: tuple[str, Iterable | None]) -> Table:
    """A table of columns [N] by name, without those that are None."""
    given = [(name, cells) for name, cells in columns if cells is not None]
    rows = zip(*(cells for _, cells in given), strict=True)
    return Table(tuple(name for name, _ in given), list(rows))


def nothing(num_runs: int, quantity: str):
    """A figure for a sweep in which no `quantity` is finite."""
    if not num_runs:
        return in_words("no runs yet")
    who = f"all {num_runs} runs" if num_runs > 1 else "the only run"
    return in_words(f"{who} diverged:\nno finite {quantity}")


def say_left_out(
    figure, num_runs: int, *, diverged: np.ndarray, beyond=(), beside: str = ""
) -> None:
    """Writes how many runs are not drawn, bool [R] each, on a separate line above all panels.

    `beside` is written before it.
    """
    counts = {"diverged": np.sum(diverged), "beyond the axes": np.sum(beyond)}
    parts = [f"{count:.0f} {why}" for why, count in counts.items() if count]
    told = [beside] if beside else []
    told += [f"of {num_runs} runs, {', '.join(parts)}"] if parts else []
    if told:
        figure.suptitle("; ".join(told), x=0.01, ha="left", fontsize=7, color=MUTED)


def legend_width(num_letters: int) -> float:
    """Width in inches, a scalar, of a legend column with up to `num_letters` per line."""
    return 0.55 + 0.072 * num_letters


def num_letters(width: float) -> int:
    """The number of letters, a scalar, that fit in a legend line of `width` inches."""
    return int((width - legend_width(0)) / 0.072)
