"""Helpers for axes: labels for names, limits that hold most of the data, ticks."""

import math
import re
import textwrap
from typing import Any

import numpy as np

from vae_jax.plots._picture import MUTED, legible, new_figure, plain

__all__ = [
    "TERMS",
    "as_number",
    "count_ticks",
    "drawable",
    "in_words",
    "limit_to_bulk",
    "robust_limits",
    "with_unit",
    "words",
    "wrap",
]

LARGEST = 1e100  # beyond, positions on an axis cannot be computed
TERMS = ("loss", "distortion", "rate", "elbo")
_WORDS = {"alpha": "α", "beta": "β", "gamma": "γ", "elbo": "ELBO"}
_WORDS |= {"valid": "validation", "dim": "dimension"}


def words(name: str) -> str:
    """The label for the name of a column: valid_elbo is 'validation ELBO'."""
    return legible(" ".join(_WORDS.get(word, word) for word in name.replace("_", " ").split()), 32)


def with_unit(name: str) -> str:
    """`words(name)`, and the unit after a term of the loss."""
    return f"{words(name)} (nats)" if name.split("_")[-1] in TERMS else words(name)


def wrap(text: str, length: int) -> list[str]:
    """Wraps `text` to lines of up to `length` characters (scalar) without splitting `name=value`.

    A `name=value` that is too long for one line is split over about two lines.
    """
    lines = [""]
    for part in re.split(r"\s+(?=\w+=)", text.strip()):
        part = legible(part, 2 * length)
        joined = f"{lines[-1]} {part}".lstrip()
        if len(joined) <= length:
            lines[-1] = joined
        else:
            lines += textwrap.wrap(part, length, break_on_hyphens=False)
    return lines if lines[0] else lines[1:]


def as_number(cell: Any) -> float:
    """A cell of a metrics file as a number, a scalar: NaN if missing, empty or not a number."""
    try:
        return float(cell)
    except (TypeError, ValueError, OverflowError):
        return math.nan


def drawable(values: np.ndarray) -> np.ndarray:
    """Which numbers, of any shape, can be drawn: bool, False for NaN and inf."""
    return np.abs(values) < LARGEST


def robust_limits(values: np.ndarray, reach: float = 3.0) -> tuple[float, float]:
    """Limits that show most of `values` [N], all `drawable`, without far outliers.

    [max(min, q1 − reach·(q3 − q1)), min(max, q3 + reach·(q3 − q1))], q1 and q3 the quartiles, or
    the whole range if these are equal; plus a margin.
    """
    low, q1, q3, high = np.quantile(values, (0.0, 0.25, 0.75, 1.0))
    spread = reach * (q3 - q1) or high - low
    low, high = max(low, q1 - spread), min(high, q3 + spread)
    margin = 0.06 * (high - low) or 0.05 * abs(high) or 1.0
    return float(low - margin), float(high + margin)


def limit_to_bulk(axes, values: np.ndarray) -> None:
    """Limits y to most of `values` [N], all `drawable`; a far outlier is labeled at the edge."""
    low, high = robust_limits(values)
    axes.set_ylim(low, high)
    note = {"ha": "right", "transform": axes.transAxes, "fontsize": 7, "color": MUTED}
    if values.max() > high:
        axes.text(0.99, 0.97, f"↑ highest {plain(values.max(), '.4g')}", va="top", **note)
    if values.min() < low:
        axes.text(0.99, 0.04, f"↓ lowest {plain(values.min(), '.4g')}", va="bottom", **note)


def count_ticks(axes) -> None:
    """Sets about five (scalar) integer ticks on x, with ten thousand as 10k."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.xaxis.set_major_formatter(
        FuncFormatter(lambda step, _: f"{step / 1000:g}k" if step >= 10000 else f"{step:g}")
    )


def in_words(message: str):
    """A figure with a message that says why there is nothing to draw."""
    figure = new_figure(3.6, 1.6)
    figure.text(0.5, 0.5, message, ha="center", va="center", color=MUTED)
    return figure
