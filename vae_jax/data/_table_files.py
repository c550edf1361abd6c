"""Files of tables: CSV, Parquet, Feather and Excel, read as Arrow tables."""

import contextlib
import dataclasses
import itertools
import os
import zlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from vae_jax import memory
from vae_jax.data import _csv, _growing, _notations, _sheets, _spelling
from vae_jax.data._part import Reading
from vae_jax.errors import DataError, UsageError, first_line

__all__ = ["SUFFIXES", "Source", "damage_named", "named", "of_words", "read", "released"]

SUFFIXES = (".csv", ".tsv", ".csv.gz", ".tsv.gz", ".parquet", ".feather", ".xlsx")
"""Suffixes of supported files."""

_BYTES_OF_CELL = 40  # as read, as a number, in the table and among the selected rows
_BYTES_OF_ROW = 256  # its split, its label, and the numbers of one column while it is examined
_BYTES_OF_COLUMN = 12 * 2**10  # in Arrow, for each
_COPIES_OF_TEXT = 4
_BLOCK_BYTES = 2**20  # Arrow refuses a longer row
_PART_BYTES = 2**22  # of the columns of a Parquet file that are read at a time
_BYTES_OF_NUMBER = 8
_REMEDY = "give fewer rows or columns"


@dataclasses.dataclass(eq=False)
class Source:
    """A table [N, D] before its columns are classified.

    Attributes:
        table: an Arrow table.
        notes: lines for the log.
        is_untyped: whether its file has no types, so that text is parsed as numbers.
        is_named: whether its columns have names.
        unlabeled: why its labels were dropped while it was read, or "".
        orders: name of a column → its levels in order, if the file has ordered categories.
    """

    table: Any
    notes: list[str]
    is_untyped: bool = False
    is_named: bool = True
    unlabeled: str = ""
    orders: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)

    def taken(self) -> list:
        """The columns [N] of the table, which keeps their names and types alone."""
        columns, self.table = self.table.columns, self.table.schema.empty_table()
        return columns


def read(
    path: Path, reading: Reading, words: Collection[str] = (), sheet: str | None = None
) -> Source:
    """Reads the table of a file, [N, D].

    Args:
        path: the file, with one of `SUFFIXES`.
        reading: memory and kinds of columns.
        words: names of columns of a CSV file that stay text, beside those that kinds say.
        sheet: of an Excel file, None for its only one.

    Raises:
        DataError: it cannot be read.
    """
    with damage_named(path), released():
        if path.suffix.lower() == ".parquet":
            return _read_parquet(path, reading.tally)
        if path.suffix.lower() == ".feather":
            return _read_feather(path, reading.tally)
        if path.suffix.lower() == ".xlsx":
            table, is_named, notes = _sheets.read(path, sheet, reading.csv or {}, reading.tally)
            return Source(table, notes, is_named=is_named)
        dialect = _csv.sniff(path, reading.csv)
        num_rows, num_bytes, may_have_codes = _surveyed(path, dialect)
        reading.tally.add(path, num_bytes, _REMEDY)
        asked = [name for name, kind in (reading.kinds or {}).items() if of_words(kind)]
        table, dialect, notes = _csv.read(path, dialect, {*asked, *words}, num_rows=num_rows)
        if may_have_codes and not reading.is_plain:
            table = _with_codes(path, dialect, table)
    notes = [*dialect.notes, *notes]
    if not dialect.is_named:
        notes.insert(0, "the first line holds values, not names: taken as data, with columns f0, …")
    return Source(table, notes, is_untyped=True, is_named=dialect.is_named)


@contextlib.contextmanager
def released() -> Iterator[None]:
    """Returns memory to the system that Arrow and NumPy free here, of any shape, and would keep."""
    import pyarrow as pa

    yield
    for pool in (pa.default_memory_pool(), pa.system_memory_pool()):
        pool.release_unused()


def _opened(path: Path):
    import pyarrow as pa

    return pa.OSFile(os.fsencode(path))  # the path may not be UTF-8


def _with_codes(path: Path, dialect: _csv.Dialect, table: Any) -> Any:
    """A table [N, D] with text in place of the numbers of columns that hold codes: "01234"."""
    import pyarrow as pa

    if len({*table.column_names}) < len(table.column_names):
        return table
    numeric = (pa.types.is_integer, pa.types.is_floating)
    names = [f.name for f in table.schema if any(test(f.type) for test in numeric)]
    if not names:
        return table
    written = _csv.as_words(path, dialect, names)
    for name in filter(lambda name: _notations.has_codes(written[name]), names):
        table = table.set_column(table.column_names.index(name), name, written[name])
    return table


def _surveyed(path: Path, dialect: _csv.Dialect) -> tuple[int, int, bool]:
    """Of a CSV file: most rows, memory for reading it, whether cells may begin with a zero."""
    separator = dialect.separator.encode()
    may_have_codes, end = dialect.encoding.startswith("utf-"), b"\n"
    with _csv.opened(path) as file:
        num_columns = file.readline(_BLOCK_BYTES).count(separator) + 1
        file.seek(0)
        num_bytes = num_commas = num_rows = 0
        while block := file.read(_BLOCK_BYTES):
            num_bytes += len(block)
            num_commas += block.count(separator)
            num_rows += max(block.count(b"\n"), block.count(b"\r"))
            may_have_codes = may_have_codes or _csv.has_zeros(end + block, separator)
            end = block[-3:]
    num_bytes = (
        (num_commas + num_rows) * _BYTES_OF_CELL
        + num_rows * _BYTES_OF_ROW
        + num_columns * _BYTES_OF_COLUMN
        + num_bytes * _COPIES_OF_TEXT
    )
    # the last line may have no end
    return num_rows + 1, num_bytes, may_have_codes


def _read_parquet(path: Path, tally: memory.Tally) -> Source:
    """Reads a Parquet file.

    Dictionary-encoded text is expanded if there is enough memory.
    """
    import pyarrow as pa
    import pyarrow.parquet

    checked = {"page_checksum_verification": True}  # for pages that have a checksum
    file = pa.parquet.ParquetFile(_opened(path), **checked)
    schema, told = file.schema_arrow, file.metadata
    flat = [field for field in schema if not pa.types.is_nested(field.type)]
    nested = [field for field in schema if pa.types.is_nested(field.type)]
    _refuse_nested(path, [field for field in nested if not _spelling.is_label(field.name)])
    groups = [told.row_group(i) for i in range(told.num_row_groups)]
    num_rows = max(told.num_rows, sum(group.num_rows for group in groups))
    width = sum(max(_BYTES_OF_CELL, _width(field.type) + 8) for field in flat)
    num_bytes = sum(group.total_byte_size for group in groups)
    num_bytes += num_rows * (width + _BYTES_OF_ROW) + len(schema) * _BYTES_OF_COLUMN
    tally.add(path, num_bytes, _REMEDY)
    texts = [field.name for field in flat if _is_of_bytes(field.type)]
    file = pa.parquet.ParquetFile(_opened(path), read_dictionary=texts, **checked)
    return _flat(path, _in_parts(file, [field.name for field in flat], num_rows), nested, tally)


def _in_parts(file: Any, names: Sequence[str], num_rows: int) -> Any:
    """Reads columns of a Parquet file [N, D], a few at a time of one group of rows at a time."""
    import pyarrow as pa

    schema = file.schema_arrow
    num = max(1, _PART_BYTES // (_BYTES_OF_NUMBER * max(num_rows, 1)))
    if len({*names}) < len(names) or not file.num_row_groups or not names:
        return file.read(None if len(names) == len(schema) else [*names], use_threads=False)
    parts = []
    for start in range(0, len(names), num):
        own = [*names[start : start + num]]
        # a generator: each group is released before the next
        groups = (
            file.read_row_group(group, own, use_threads=False).select(own)
            for group in range(file.num_row_groups)
        )
        first = next(groups)
        parts.append(_growing.table(first.schema, itertools.chain((first,), groups), num_rows))
        del first, groups
        pa.default_memory_pool().release_unused()
    columns = [column for part in parts for column in part.columns]
    fields = [field for part in parts for field in part.schema]
    return pa.Table.from_arrays(columns, schema=pa.schema(fields, schema.metadata))


def _read_feather(path: Path, tally: memory.Tally) -> Source:
    """Reads a Feather file (version 2, an Arrow file), batch by batch."""
    import pyarrow as pa
    import pyarrow.ipc

    file, batches = pa.ipc.open_file(_opened(path)), []
    nested = [field for field in file.schema if pa.types.is_nested(field.type)]
    _refuse_nested(path, [field for field in nested if not _spelling.is_label(field.name)])
    for number in range(file.num_record_batches):
        batch = file.get_batch(number)
        num_bytes = batch.nbytes + len(batch) * len(file.schema) * _BYTES_OF_CELL
        tally.add(path, num_bytes + len(batch) * _BYTES_OF_ROW, _REMEDY)
        batches.append(batch)
    table = pa.Table.from_batches(batches, file.schema)
    return _flat(path, table.drop_columns([field.name for field in nested]), nested, tally)


def _flat(path: Path, table: Any, nested: Sequence, tally: memory.Tally) -> Source:
    """A table with its text expanded, and what is said of the nested columns that it lacks."""
    import pyarrow as pa

    orders = {n: _order(c) for n, c in zip(table.column_names, table.columns, strict=True)}
    columns = [_written_out(path, column, tally) for column in table.columns]
    fields = [f.with_type(c.type) for f, c in zip(table.schema, columns, strict=True)]
    unlabeled = ", ".join(f"column {f.name!r} is {f.type}: left out" for f in nested)
    whole = pa.Table.from_arrays(columns, schema=pa.schema(fields, table.schema.metadata))
    notes = [unlabeled] if unlabeled else []
    return Source(whole, notes, unlabeled=unlabeled, orders=orders)


def _order(column) -> tuple:
    """The levels of an Arrow column [N] in order, if its type orders them; else ()."""
    import pyarrow as pa

    if not pa.types.is_dictionary(column.type) or not column.type.ordered:
        return ()
    levels = column.unify_dictionaries().chunk(0).dictionary.to_pylist() if len(column) else []
    return tuple(level for level in levels if isinstance(level, str))


def _refuse_nested(path: Path, fields: Sequence) -> None:
    if not fields:
        return
    told = ", ".join(f"{field.name!r} ({str(field.type)[:60]})" for field in fields[:3])
    remedy = "give each of their values a column of its own, or drop them"
    if any("bytes: " in str(field.type) for field in fields):
        remedy = "write the pictures as files, in a folder for each label, or drop the columns"
    raise DataError(f"{path}: the columns {told} hold lists or records: {remedy}")


def _width(kind) -> int:
    """Bytes per value of an Arrow type, if the type has a fixed width."""
    try:
        return -(-kind.bit_width // 8)
    except ValueError:
        return 0


def _is_of_bytes(kind) -> bool:
    import pyarrow as pa

    tests = ("string", "large_string", "binary", "large_binary")
    return any(getattr(pa.types, f"is_{test}")(kind) for test in tests)


def _written_out(path: Path, column, tally: memory.Tally):
    """Expands a dictionary-encoded column, which may be small in a file, to plain text."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not pa.types.is_dictionary(column.type) or not _is_of_bytes(column.type.value_type):
        return column
    for chunk in column.chunks:
        lengths = pc.take(pc.binary_length(chunk.dictionary), chunk.indices)
        tally.add(path, (pc.sum(lengths).as_py() or 0) * _COPIES_OF_TEXT, _REMEDY)
    return column.cast(column.type.value_type)


@contextlib.contextmanager
def named(path: Path) -> Iterator[None]:
    """Names the file in an error about its cells, of any shape."""
    try:
        yield
    except (DataError, UsageError) as error:
        raise type(error)(f"{path}: {error}") from None


@contextlib.contextmanager
def damage_named(path: Path) -> Iterator[None]:
    """Turns errors of a library about a table, of any shape, into one line that names the file."""
    import pyarrow as pa

    try:
        yield
    except PermissionError as error:
        raise DataError(f"{path}: cannot be read ({first_line(error)})") from None
    except (pa.ArrowException, OSError, EOFError, zlib.error, ValueError) as error:
        raise DataError(
            f"{path}: not a readable {path.suffix} file ({first_line(error)}): truncated, damaged"
            " or of another format"
        ) from None


def of_words(asked: str) -> bool:
    """Whether the cells of a column whose kind is set are read as they are written: "01"."""
    return asked not in ("real", "positive", "count", "date")
