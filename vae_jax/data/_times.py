"""The times of a table whose rows follow one another: are they in order, are their steps equal?"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vae_jax.data import _spelling
from vae_jax.errors import DataError

__all__ = ["check"]

_UNITS = ((86_400.0, "d"), (3_600.0, "h"), (60.0, "min"), (1.0, "s"))
_CLOSE = 1e-6  # of a step: rounding of times that are numbers


def check(path: Path, names: Sequence[str], columns: Sequence[Any]) -> list[str]:
    """Notes on the times of rows; refuses rows that are not in their order.

    Args:
        path: path of the table, for messages.
        names: names of the columns, [D].
        columns: Arrow columns, [N] each, text or typed.

    Returns:
        Notes: one if steps are irregular, or times repeat; none if no column holds times.

    Raises:
        DataError: a time is before that of the row above, or missing in some rows.
    """
    found = ((name, _times(name, column)) for name, column in zip(names, columns, strict=True))
    name, times = next(((n, times) for n, times in found if times is not None), ("", None))
    if times is None or len(times) < 2:
        return []
    if np.isnan(times).any():
        raise DataError(
            f"{path}: column {name!r} has no time in {np.isnan(times).sum():,} rows, the first is"
            f" row {int(np.argmax(np.isnan(times))) + 1:,}: fill it in, or leave the rows out"
        )
    steps = np.diff(times)
    back = steps < 0
    if back.any():
        raise DataError(
            f"{path}: column {name!r} goes back in time in {back.sum():,} of {len(times):,} rows,"
            f" first in row {int(np.argmax(back)) + 2:,}: sort the rows by it, and put each series"
            " into a file of its own if there are several"
        )
    usual = float(np.median(steps))
    odd = np.abs(steps - usual) > _CLOSE * max(usual, 1e-9)
    if not odd.any():
        return []
    return [
        f"steps of column {name!r} are irregular: {_told(usual)} is usual, {odd.sum():,} of"
        f" {len(steps):,} differ, from {_told(steps.min())} to {_told(steps.max())}; series count"
        " rows, not time"
    ]


def _told(seconds: float) -> str:
    for size, unit in _UNITS:
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.3g} s"


def _times(name: str, column: Any) -> np.ndarray | None:
    """Times of rows [N] in seconds, NaN where missing; None if a column holds no times."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = column.type
    is_time = pa.types.is_timestamp(kind) or pa.types.is_date(kind)
    if not is_time and not _spelling.is_time(name):
        return None
    try:
        if pa.types.is_string(kind) or pa.types.is_large_string(kind):
            text = pc.utf8_trim_whitespace(column)
            text = pc.if_else(pc.equal(text, ""), pa.scalar(None, text.type), text)
            column = _parsed(text)
        elif not is_time:
            column = pc.cast(column, pa.float64())
    except (pa.ArrowException, ValueError):
        return None
    if pa.types.is_floating(column.type):
        return column.to_numpy()
    whole = pc.cast(column, pa.timestamp("us", getattr(column.type, "tz", None)), safe=False)
    ticks = pc.cast(pc.cast(whole, pa.int64()), pa.float64())
    return ticks.to_numpy() / 1e6


def _parsed(text: Any) -> Any:
    """Arrow text as numbers or as times of ISO 8601."""
    import pyarrow as pa
    import pyarrow.compute as pc

    try:
        return pc.cast(text, pa.float64())
    except pa.ArrowException:
        return pc.cast(text, pa.timestamp("us"))
