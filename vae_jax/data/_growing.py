"""Files as Arrow tables, piece by piece: never their whole text, nor a column twice.

Of a CSV file Arrow infers the types of columns from all rows, and keeps its text until the end.
Here they begin as those of the first block. If a later cell does not fit, its column takes the
next type that Arrow would try, and the file is read again; so the types are those of Arrow.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

__all__ = ["read", "table"]

_MOST_TRIES = 64  # in each of which one column takes the next type
_BYTES_OF_COLUMN = 2**12  # of a block, for each column: wide tables have fewer, larger blocks
_LARGEST_BLOCK = 2**24
_MISFIT = re.compile(r"In CSV column #(\d+): CSV conversion error to ([^:]+): ")


def read(
    opened: Callable[[], Any],
    names: Sequence[str],
    num_rows: int,
    reading: Any,
    parsing: Any,
    converting: Any,
) -> Any:
    """Reads a CSV file as an Arrow table [N, D], with the types of `pyarrow.csv.read_csv`.

    Args:
        opened: opens the file, once for each try.
        names: the names of the columns, [D].
        num_rows: at least as many rows as the file has, a count.
        reading, parsing, converting: Arrow's options; types are added to `column_types`.

    Raises:
        pyarrow.ArrowInvalid: it cannot be read.
    """
    import pyarrow as pa
    import pyarrow.csv

    reading.block_size = max(reading.block_size, min(len(names) * _BYTES_OF_COLUMN, _LARGEST_BLOCK))
    later, given = _later_types(), dict(converting.column_types)
    types = dict(given)
    # types are by name
    for _ in range(_MOST_TRIES if len({*names}) == len(names) else 0):
        converting.column_types = types
        try:
            reader = pa.csv.open_csv(opened(), reading, parsing, converting)
            return table(reader.schema, reader, num_rows)
        except pa.ArrowInvalid as error:
            found = _MISFIT.search(str(error))
            if found is None or found[2] not in later or int(found[1]) >= len(names):
                break
            types[names[int(found[1])]] = later[found[2]]
    converting.column_types = given
    return pa.csv.read_csv(opened(), reading, parsing, converting)


def _later_types() -> dict[str, Any]:
    """A type in words → the next one that Arrow tries for a column."""
    import pyarrow as pa

    first, seconds, finer = pa.date32(), pa.timestamp("s"), pa.timestamp("ns")
    tried = (pa.int64(), pa.bool_(), first, pa.time32("s"), seconds, finer)
    tried = (*tried, pa.float64(), pa.string())
    return dict(zip(map(str, (pa.null(), *tried)), tried, strict=False))


def table(schema: Any, batches: Iterable[Any], num_rows: int) -> Any:
    """Joins batches to an Arrow table [N, D], in which whole numbers may take fewer bytes.

    Args:
        schema: of each batch, an Arrow schema.
        batches: record batches or tables, of at most `num_rows` rows in all; each is released
            before the next.
        num_rows: a count.
    """
    import pyarrow as pa

    tests = (pa.types.is_int64, pa.types.is_float32, pa.types.is_float64)
    kinds = [_Numbers if any(test(t) for test in tests) else _Pieces for t in schema.types]
    columns = [kind(t, num_rows) for kind, t in zip(kinds, schema.types, strict=True)]
    for batch in batches:
        for column, piece in zip(columns, batch.columns, strict=True):
            for chunk in piece.chunks if isinstance(piece, pa.ChunkedArray) else (piece,):
                column.add(chunk)
    whole = [column.whole() for column in columns]
    fields = [f.with_type(c.type) for f, c in zip(schema, whole, strict=True)]
    return pa.Table.from_arrays(whole, schema=pa.schema(fields, schema.metadata))


class _Pieces:
    """A column in Arrow's own pieces."""

    def __init__(self, kind: Any, num_rows: int):
        self.kind, self.held = kind, []

    def add(self, piece: Any) -> None:
        self.held.append(piece)

    def whole(self) -> Any:
        """The column, [N]."""
        import pyarrow as pa

        return pa.chunked_array(self.held, self.kind)


class _Numbers:
    """A column of numbers in one array; whole numbers take 4 bytes each if they fit."""

    def __init__(self, kind: Any, num_rows: int):
        is_whole = str(kind) == "int64"
        self.values = np.empty(num_rows, np.int32 if is_whole else kind.to_pandas_dtype())
        self.known: np.ndarray | None = None  # made with the first missing cell
        self.num = 0

    def add(self, piece: Any) -> None:
        own = slice(self.num, self.num + len(piece))
        if piece.null_count:
            if self.known is None:
                self.known = np.ones(len(self.values), bool)
            self.known[own] = piece.is_valid().to_numpy(zero_copy_only=False)
            piece = piece.fill_null(0)
        values = piece.to_numpy()
        if self.values.dtype == np.int32 and not _fits_int32(values):
            self.values = self.values.astype(np.int64)
        self.values[own] = values
        self.num += len(piece)

    def whole(self) -> Any:
        """The column, [N]."""
        import pyarrow as pa

        bits = None
        if self.known is not None:
            bits = pa.py_buffer(np.packbits(self.known[: self.num], bitorder="little"))
        kind = pa.from_numpy_dtype(self.values.dtype)
        return pa.Array.from_buffers(kind, self.num, [bits, pa.py_buffer(self.values)])


def _fits_int32(values: np.ndarray) -> bool:
    if values.dtype != np.int64 or not len(values):
        return True
    limit = np.iinfo(np.int32)
    return bool(limit.min <= values.min() and values.max() <= limit.max)
