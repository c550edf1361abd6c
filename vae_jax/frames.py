"""Tables of other libraries as Arrow tables, and back: pandas, polars, Arrow, columns by name."""

import sys
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from vae_jax.errors import DataError, first_line

__all__ = ["read"]

_STREAM = "__arrow_c_stream__"


def read(rows: Any) -> tuple[Any, Callable[[Any, np.ndarray], Any]] | None:
    """The rows of a table as an Arrow table, and how a result of them is given back.

    Args:
        rows: a pandas or polars DataFrame, an Arrow table or batch, anything with an Arrow stream
            (the PyCapsule interface), or columns by name, {"a": [N], "b": [N]}.

    Returns:
        (table, (result, index of the row that each of its rows is of [M], or None if they are of
            none) to the kind of `rows`); None if it is no table, such as an array. A stream of
            another library gives an Arrow table back, columns by name give arrays by name.

    Raises:
        DataError: a column holds what Arrow does not know.
    """
    import pyarrow as pa

    try:
        if isinstance(rows, pa.Table):
            return rows, lambda table, _: table
        if isinstance(rows, pa.RecordBatch):
            return pa.Table.from_batches([rows]), lambda table, _: table
        if _is_of("pandas", "DataFrame", rows):
            return pa.Table.from_pandas(
                rows, preserve_index=False
            ), lambda table, places: _as_pandas(table, places, rows.index)
        if _is_of("polars", "DataFrame", rows):
            return rows.to_arrow(), lambda table, _: sys.modules["polars"].from_arrow(table)
        if hasattr(rows, _STREAM) and not hasattr(rows, "__array__"):
            return pa.table(rows), lambda table, _: table
        if isinstance(rows, Mapping) and "x" not in rows:
            return pa.table(dict(rows)), lambda table, _: _as_arrays(table)
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise DataError(
            f"rows: cannot be read as a table ({first_line(error)}): give columns of numbers,"
            " words, truth values or dates"
        ) from None
    return None


def _is_of(library: str, name: str, rows: Any) -> bool:
    """Whether rows are of a class of a library, which is imported if they are."""
    cls = getattr(sys.modules.get(library), name, None)
    return cls is not None and isinstance(rows, cls)


def _as_pandas(table: Any, places: np.ndarray | None, index: Any) -> Any:
    """A DataFrame [M] with the index of its rows, or a new one."""
    frame = table.to_pandas()
    return frame if places is None else frame.set_axis(index[places], axis=0)


def _as_arrays(table: Any) -> dict[str, np.ndarray]:
    """Columns [N] by name."""
    return {
        name: column.to_numpy()
        for name, column in zip(table.column_names, table.columns, strict=True)
    }
