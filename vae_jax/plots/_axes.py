"""What the axes of several pictures share: words for names, limits that hold the bulk, ticks."""

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

LARGEST = 1e100  # beyond, a place on an axis cannot be computed
TERMS = ("loss", "distortion", "rate", "elbo")
_WORDS = {"alpha": "α", "beta": "β", "gamma": "γ", "elbo": "ELBO"}
_WORDS |= {"valid": "validation", "dim": "dimension"}


def words(name: str) -> str:
    """The name of a column as one says it: valid_elbo is 'validation ELBO'."""
    return legible(" ".join(_WORDS.get(word, word) for word in name.replace("_", " ").split()), 32)


def with_unit(name: str) -> str:
    """`words(name)`, and the unit after a term of the loss."""
    return f"{words(name)} (nats)" if name.split("_")[-1] in TERMS else words(name)


def wrap(text: str, length: int) -> list[str]:
    """`text` in lines of up to `length` characters (scalar), each `name=value` in it whole.

    A `name=value` that is too long for a line has lines of its own, about two at most.
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
    """A cell of a metrics file, a scalar: NaN where it is missing, empty or no number."""
    try:
        return float(cell)
    except (TypeError, ValueError, OverflowError):
        return math.nan


def drawable(values: np.ndarray) -> np.ndarray:
    """Which numbers, of any shape, have a place on an axis: bool, False of NaN and inf."""
    return np.abs(values) < LARGEST


def robust_limits(values: np.ndarray, reach: float = 3.0) -> tuple[float, float]:
    """Limits that show the bulk of `values` [N], all `drawable`, and not far outliers.

    [max(min, q1 − reach·(q3 − q1)), min(max, q3 + reach·(q3 − q1))], q1 and q3 the quartiles, or
    the whole range where these are equal; and a margin.
    """
    low, q1, q3, high = np.quantile(values, (0.0, 0.25, 0.75, 1.0))
    spread = reach * (q3 - q1) or high - low
    low, high = max(low, q1 - spread), min(high, q3 + spread)
    margin = 0.06 * (high - low) or 0.05 * abs(high) or 1.0
    return float(low - margin), float(high + margin)


def limit_to_bulk(axes, values: np.ndarray) -> None:
    """Limits y to the bulk of `values` [N], all `drawable`; a far outlier is named at its edge."""
    low, high = robust_limits(values)
    axes.set_ylim(low, high)
    note = {"ha": "right", "transform": axes.transAxes, "fontsize": 7, "color": MUTED}
    if values.max() > high:
        axes.text(0.99, 0.97, f"↑ highest {plain(values.max(), '.4g')}", va="top", **note)
    if values.min() < low:
        axes.text(0.99, 0.04, f"↓ lowest {plain(values.min(), '.4g')}", va="bottom", **note)


def count_ticks(axes) -> None:
    """Ticks of x at whole numbers, about five (scalar), ten thousand as 10k."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.xaxis.set_major_formatter(
        FuncFormatter(lambda step, _: f"{step / 1000:g}k" if step >= 10000 else f"{step:g}")
    )


def in_words(message: str):
    """A figure that says why there is nothing to draw."""
    figure = new_figure(3.6, 1.6)
    figure.text(0.5, 0.5, message, ha="center", va="center", color=MUTED)
    return figure
