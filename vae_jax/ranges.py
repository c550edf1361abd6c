"""Checks that values fit a likelihood, for datasets and for plain arrays."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from vae_jax import distributions
from vae_jax.errors import DataError

__all__ = ["DEVIATIONS", "Survey", "Values", "check", "far_columns", "far_values", "survey"]

DEVIATIONS = 20
"""Beyond this many standard deviations (a scalar) a value dominates its column."""
_LARGEST = DEVIATIONS * math.exp(distributions.LOGVAR_BOUND / 2)
"""The same in units of x, for the largest standard deviation that a likelihood can have."""
_LEAST = math.exp(-distributions.LOGVAR_BOUND / 2)
"""The smallest standard deviation that a likelihood can have."""
_REQUIREMENTS = ("unit", "open", "levels", "counts", "text", "columns", "real")
_LARGEST_COUNT = 2**24
"""The largest count below which float32 holds every whole number."""
_MOST_NAMED = 5
_OFF_GRID = 1e-3
"""Allowed distance of a value from a level, in steps between levels, beyond float32 rounding."""


class Values(NamedTuple):
    """What a likelihood depends on in the values of data [N, *shape].

    Attributes:
        low, high: the smallest and the largest value, scalars.
        num_levels: values are k / (num_levels − 1), k = 0, 1, …; None if continuous.
        is_text: whether levels stand for characters.
        is_whole: whether all values are known to be whole numbers.
        is_mixed: whether values are the columns of a table, of several kinds.
    """

    low: float
    high: float
    num_levels: int | None = None
    is_text: bool = False
    is_whole: bool = False
    is_mixed: bool = False


def check(
    values: Values, requires: str, *, what: str, holder: str, remedies: Mapping[str, str]
) -> None:
    """Refuses data with values that a likelihood cannot take.

    Args:
        values: properties of the data, which may have any shape.
        requires: see `likelihoods.Likelihood`: 'unit', 'open', 'levels', 'counts', 'text',
            'columns' or 'real'.
        what: the setting that requires it, as the user wrote it: 'likelihood=bernoulli'.
        holder: the name of the data.
        remedies: kind of problem → remedy: 'unit', 'open', 'levels', 'counts', 'text', 'columns',
            'large', 'small'.

    Raises:
        DataError: the values do not fit; the message names them, what is allowed and the remedy.
        ValueError: `requires` is not one of these.
    """
    if requires not in _REQUIREMENTS:
        known = ", ".join(map(repr, _REQUIREMENTS))
        raise ValueError(f"requires={requires!r}: must be one of {known}")
    problem = _problem(values, requires, holder)
    if problem is not None:
        kind, words = problem
        raise DataError(f"{what}: {words}: {remedies[kind]}")


def _problem(values: Values, requires: str, holder: str) -> tuple[str, str] | None:
    """Why data do not fit a likelihood: a key of the remedies, and words; None if they fit."""
    low, high = values.low, values.high
    told = f"{holder} has values in [{low:.4g}, {high:.4g}]"
    misfit = _misfit(low, high)
    if (requires == "text") != values.is_text:
        holds = "text" if values.is_text else "numbers"
        return "text", f"does not go with {holder}, which holds {holds}"
    if (requires == "columns") != values.is_mixed:
        holds = "has columns of several kinds" if values.is_mixed else "has no schema of columns"
        return "columns", f"does not go with {holder}, which {holds}"
    if requires == "unit" and not (low >= 0 and high <= 1):
        # another likelihood is a remedy only if the values fit some likelihood
        return misfit or "unit", f"needs values in [0, 1], {told}"
    if requires == "open" and not (low > 0 and high < 1):
        return misfit or "open", f"needs values between 0 and 1, neither 0 nor 1, {told}"
    if requires == "counts":
        return _not_counts(values, told)
    if requires == "levels" and values.num_levels is None:
        return misfit or "levels", f"needs discrete levels, {told} that are continuous"
    if requires == "real" and misfit == "large":
        return "large", f"{told}, no likelihood fits values beyond ±{_LARGEST:.2g}"
    if requires == "real" and misfit == "small":
        return "small", f"{told}, no likelihood tells apart what differs by < {_LEAST:.2g}"
    return None


def _not_counts(values: Values, told: str) -> tuple[str, str] | None:
    """Why values are not counts, as `_problem` says it; None if they are."""
    # two levels are 0 and 1
    is_whole = values.is_whole if values.num_levels is None else values.num_levels == 2
    if values.low >= 0 and is_whole and values.high <= _LARGEST_COUNT:
        return None
    reason = "" if values.low < 0 else " that are not whole"
    if is_whole and values.low >= 0:
        reason = f", float32 holds no whole numbers beyond {_LARGEST_COUNT:,}"
    kind = _misfit(values.low, values.high) or "counts"
    return kind, f"needs counts, whole numbers of at least 0, {told}{reason}"


def _misfit(low: float, high: float) -> str | None:
    """Why no likelihood of real numbers fits values from `low` to `high`: a remedy key, or None."""
    if not max(-low, high) <= _LARGEST:
        return "large"
    return "small" if 0 < high - low < _LEAST else None


class Survey(NamedTuple):
    """The result of checking values [N, *shape].

    Attributes:
        low, high: the smallest and the largest finite value, scalars.
        num_bad: how many values are neither finite nor missing, a count.
        first_bad: the first of these: (row, place in the example, value), or None.
        is_on_grid: whether all are levels k / (num_levels − 1); None if this was not checked.
        is_whole: whether all are whole numbers.
    """

    low: float
    high: float
    num_bad: int
    first_bad: tuple[int, tuple[int, ...], float] | None
    is_on_grid: bool | None
    is_whole: bool


def survey(
    blocks: Iterable[tuple[int, np.ndarray]],
    *,
    num_levels: int | None = None,
    has_missing: bool = False,
) -> Survey:
    """Checks values block by block in one pass.

    Args:
        blocks: (index of the first row, values [n, *shape]) of consecutive rows.
        num_levels: number of levels of a likelihood of levels, a count.
        has_missing: whether NaN means a missing value.
    """
    low, high, num_bad, first_bad, is_whole = math.inf, -math.inf, 0, None, True
    is_on_grid = None if num_levels is None else True
    for start, block in blocks:
        known = block
        with np.errstate(invalid="ignore"):
            is_finite = np.isfinite([block.min(initial=0), block.max(initial=0)]).all()
        if not is_finite:
            is_bad = np.isinf(block) if has_missing else ~np.isfinite(block)
            if first_bad is None and is_bad.any():
                row, *place = (int(i) for i in np.argwhere(is_bad)[0])
                first_bad = start + row, tuple(place), float(block[(row, *place)])
            num_bad += int(is_bad.sum())
            known = block[np.isfinite(block)]
        if known.size:
            low, high = min(low, float(known.min())), max(high, float(known.max()))
            is_whole = is_whole and bool((known == np.floor(known)).all())
        if is_on_grid:
            steps = known.astype(np.float64) * (num_levels - 1)
            allowed = _OFF_GRID + np.finfo(np.float32).eps * (num_levels - 1)
            is_on_grid = bool((np.abs(steps - np.round(steps)) < allowed).all())
    if is_on_grid is not None:
        is_on_grid &= low >= 0 and high <= 1
    return Survey(low, high, num_bad, first_bad, is_on_grid, is_whole)


def far_values(values: Values, blocks: Callable[[], Iterable[np.ndarray]], deviation: float) -> str:
    """Describes how far values are on average from 0, where a decoder starts, if it is too far.

    Args:
        values: of all splits.
        blocks: a function that yields the training values in blocks [n, *shape], NaN if missing; it
            is called only if the largest value is far away.
        deviation: the likelihood's initial standard deviation, a scalar; at least 1 is used.

    Returns:
        A sentence without a remedy, or "" if it is less than `DEVIATIONS` deviations.
    """
    most = DEVIATIONS * max(deviation, 1.0)
    if max(-values.low, values.high) <= most:
        return ""
    found = _columns(blocks())
    size = float(np.sqrt(np.mean(found.mean**2 + found.deviation**2)))
    if not size > most:
        return ""
    return (
        f"values in [{values.low:.4g}, {values.high:.4g}], {size:.3g} in the root mean square, are "
        f"far from 0, where a decoder begins: the likelihood begins with the standard deviation "
        f"{deviation:.3g}"
    )


def far_columns(
    values: Values,
    splits: Mapping[str, Callable[[], Iterable[np.ndarray]]],
    names: Sequence[str] | None = None,
) -> str:
    """Names the columns that reach beyond `DEVIATIONS` standard deviations of the training split.

    Columns are those of tables [n, D], or the channels of data with more axes, [n, …, C]. Levels,
    and values within [0, 1], are not checked: no value can outweigh the others there. A column that
    is constant in the training split gets the deviation 1.

    Args:
        values: of all splits.
        splits: name → a function that yields the split's values in blocks, [n, *shape], NaN if
            missing; the first is the training split, whose deviations are used.
        names: names of the columns; None uses their numbers.

    Returns:
        A sentence without a remedy, or "" if there is no such column.
    """
    if values.num_levels is not None or (values.low >= 0 and values.high <= 1):
        return ""
    first = next(iter(splits))
    found = {split: _columns(blocks()) for split, blocks in splits.items()}
    mean, deviation = found[first].mean, found[first].deviation
    reach = {
        split: np.fmax(own.high - mean, mean - own.low) / deviation for split, own in found.items()
    }
    furthest = np.max(list(reach.values()), axis=0)
    far = np.flatnonzero(furthest > DEVIATIONS)
    if not len(far):
        return ""
    far = far[np.argsort(-furthest[far], kind="stable")]
    where = [max(reach, key=lambda split, c=column: reach[split][c]) for column in far]
    pairs = list(zip(far, where, strict=True))[:_MOST_NAMED]
    called = {c: f"column {c}" if names is None else repr(names[c])[:60] for c, _ in pairs}
    named = ", ".join(f"{called[c]} ({furthest[c]:.3g} in {split})" for c, split in pairs)
    more = f" and {len(far) - _MOST_NAMED} more" if len(far) > _MOST_NAMED else ""
    return (
        f"values beyond {DEVIATIONS} standard deviations of {first} in {len(far)} of {len(mean)} "
        f"columns, a few of them outweigh all others: {named}{more}"
    )


class _Columns(NamedTuple):
    """Statistics of the columns of a split: [D] each; a constant column has deviation 1."""

    low: np.ndarray
    high: np.ndarray
    mean: np.ndarray
    deviation: np.ndarray


def _columns(blocks: Iterable[np.ndarray]) -> _Columns:
    """Computes them in one pass: blocks [n, D], or [n, …, C]; NaN is skipped."""
    num, total, squares, shift = 0, 0.0, 0.0, None
    low, high = np.inf, -np.inf
    for block in blocks:
        if not block.size:
            continue
        rows = block.reshape(-1, block.shape[-1] if block.ndim > 1 else 1)
        # relative to a value of the data, because squares of large numbers would cancel
        shift = np.nan_to_num(rows[0]) if shift is None else shift
        is_known = ~np.isnan(rows)
        centered = np.where(is_known, rows - shift[None], 0)
        num = num + is_known.sum(axis=0)
        total = total + centered.sum(axis=0, dtype=np.float64)
        squares = squares + np.square(centered).sum(axis=0, dtype=np.float64)
        low, high = np.fmin(low, np.fmin.reduce(rows)), np.fmax(high, np.fmax.reduce(rows))
    mean = total / np.maximum(num, 1)
    deviation = np.sqrt(np.maximum(squares / np.maximum(num, 1) - mean**2, 0.0))
    deviation = np.where((low < high) & (deviation > 0), deviation, 1.0)
    return _Columns(low, high, mean + (0.0 if shift is None else shift), deviation)
