"""Tables of users: CSV and Parquet files, alone or one for each split; which columns to learn."""

import contextlib
import dataclasses
import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vae_jax import memory
from vae_jax.data import _spelling
from vae_jax.data._part import Part, Reading, complete, named_splits
from vae_jax.errors import DataError, first_line

__all__ = ["SUFFIXES", "read"]

SUFFIXES = (".csv", ".parquet")
"""Endings of the files that are read."""

_NUMBER = r"^\s*[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?\s*$|^\s*[-+]?(?i:nan|inf|infinity)\s*$"
_SHARE_OF_NUMBERS = 1 / 2  # of the cells of a column that is meant to hold numbers
_BYTES_OF_CELL = 40  # as it was read, as a number, in the table and among the rows that are kept
_BYTES_OF_ROW = 256  # its split, its label, and the numbers of one column while they are looked at
_BYTES_OF_COLUMN = 12 * 2**10  # what Arrow takes for each
_COPIES_OF_TEXT = 4
_BLOCK_BYTES = 2**20  # Arrow refuses a row that is longer
_REMEDY = "give fewer rows or columns"
_SPLIT_COLUMNS = {"split", "subset", "partition"}


@dataclasses.dataclass
class _Columns:
    """The columns of a table by what they are.

    Attributes:
        features: numbers [N] by name, in the order of the table, NaN where one is missing.
        labels: [N], or None.
        splits: names of splits in the order of their first rows, and the number of each row's
            [N]; or None.
        left_out: why a column is not learned from → names.
        notes: lines for the log.
    """

    features: list[tuple[str, np.ndarray]] = dataclasses.field(default_factory=list)
    labels: np.ndarray | None = None
    splits: tuple[list[str], np.ndarray] | None = None
    left_out: dict[str, list[str]] = dataclasses.field(default_factory=dict)
    notes: list[str] = dataclasses.field(default_factory=list)


def read(path: Path, files: Sequence[Path], reading: Reading) -> tuple[dict[str, Part], list[str]]:
    """The numeric columns of a table, its column of labels and its column of splits.

    Of a folder the tables are one or several for each split ("train.csv", "data/test-0.parquet"),
    or shards of one.

    Args:
        path: of the table, or the folder that was named.
        files: CSV and Parquet files, sorted.
        reading: with missing_values rows with a missing cell are left out, which a note says.

    Returns:
        (parts, notes); x [N, D] float64, NaN where a cell is missing.

    Raises:
        DataError: a table cannot be read, or holds nothing to learn from; or names do not say the
            splits, or the columns of tables are not the same.
    """
    by_split = {"all": list(files)} if len(files) == 1 else _by_split(path, files)
    tables, notes = {}, []
    for split, own in by_split.items():
        held = [_read_file(file, reading.tally) for file in own]
        tables[split] = _joined(own, [table for table, _ in held])
        notes += [note for _, told in held for note in told]
    whole = _joined([own[0] for own in by_split.values()], list(tables.values()))
    sizes = {split: len(table) for split, table in tables.items()}
    return _parts(path, whole, sizes, reading.missing_values, list(dict.fromkeys(notes)))


def _by_split(folder: Path, files: Sequence[Path]) -> dict[str, list[Path]]:
    """Split → its files; "all" → the files that are shards of one table."""
    stems = {file: _spelling.shard(file.stem) for file in files}
    for names in (stems, {file: file.parent.relative_to(folder).name for file in files}):
        meanings = named_splits(folder, names.values(), "files")
        if not any(meanings.values()):
            continue
        by_split: dict[str | None, list[Path]] = {}
        for file in files:
            by_split.setdefault(meanings[names[file]], []).append(file)
        if lost := by_split.pop(None, []):
            own = [file.name for held in by_split.values() for file in held]
            raise DataError(
                f"{lost[0]}: lies beside {_spelling.quoted(own)}, which look like splits: move it"
                " away, or give the path of one file"
            )
        _refuse_scattered(folder, by_split)
        return by_split
    if len({*stems.values()}) > 1:
        raise DataError(
            f"{folder}: holds the tables {_spelling.quoted([file.name for file in files])}, none"
            " called train: give the path of one file, or call them train, valid and test"
        )
    return {"all": list(files)}


def _refuse_scattered(folder: Path, by_split: Mapping[str, Sequence[Path]]) -> None:
    """Refuses files of one split in several folders: folds, or datasets, of their own."""
    for split, files in by_split.items():
        places = sorted({str(file.parent.relative_to(folder)) for file in files})
        if len(places) > 1:
            raise DataError(
                f"{folder}: the folders {_spelling.quoted(places)} both hold files of {split}: give"
                " the path of one of them, or move their files into one folder"
            )


def _joined(files: Sequence[Path], tables: Sequence) -> Any:
    """Tables one after another; they have the same columns."""
    import pyarrow as pa

    names = tables[0].column_names
    for file, table in zip(files, tables, strict=True):
        if sorted(table.column_names) != sorted(names):
            odd = sorted({*table.column_names} ^ {*names}) or names
            raise DataError(
                f"{file}: has other columns than {files[0]} ({_spelling.quoted(odd)} in one of them"
                " alone): give both the same columns"
            )
    if len(tables) == 1:
        return tables[0]
    whole = tables[0]
    for file, table in zip(files[1:], tables[1:], strict=True):
        try:
            whole = pa.concat_tables([whole, table.select(names)], promote_options="permissive")
        except pa.ArrowException as error:
            raise DataError(
                f"{file}: its columns hold other kinds of values than those of {files[0]}"
                f" ({first_line(error)}): write them alike"
            ) from None
    return whole


def _read_file(path: Path, tally: memory.Tally) -> tuple[Any, list[str]]:
    """An Arrow table and notes."""
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.parquet

    with _damage_named(path):
        if path.suffix.lower() == ".parquet":
            return _read_parquet(path, tally)
        tally.add(path, _bytes_of_csv(path), _REMEDY)
        table = pa.csv.read_csv(_opened(path))
        if not all(_is_number(name) for name in table.column_names):
            return table, []
        unnamed = pa.csv.ReadOptions(autogenerate_column_names=True)
        table = pa.csv.read_csv(_opened(path), unnamed)
    return table, ["the first line holds numbers, not names: taken as data"]


def _opened(path: Path):
    import pyarrow as pa

    return pa.OSFile(os.fsencode(path))  # which need not be UTF-8


def _bytes_of_csv(path: Path) -> int:
    """What a CSV file takes while it is read, estimated by its cells."""
    with path.open("rb") as file:
        num_columns = file.readline(_BLOCK_BYTES).count(b",") + 1
        file.seek(0)
        num_bytes = num_commas = num_rows = 0
        while block := file.read(_BLOCK_BYTES):
            num_bytes += len(block)
            num_commas += block.count(b",")
            num_rows += max(block.count(b"\n"), block.count(b"\r"))
    return (
        (num_commas + num_rows) * _BYTES_OF_CELL
        + num_rows * _BYTES_OF_ROW
        + num_columns * _BYTES_OF_COLUMN
        + num_bytes * _COPIES_OF_TEXT
    )


def _read_parquet(path: Path, tally: memory.Tally) -> tuple[Any, list[str]]:
    """An Arrow table and notes.

    Texts of a few values are read as such, and written out if there is the memory.
    """
    import pyarrow as pa
    import pyarrow.parquet

    checked = {"page_checksum_verification": True}  # of the pages that have one
    file = pa.parquet.ParquetFile(_opened(path), **checked)
    schema, told = file.schema_arrow, file.metadata
    flat = [field for field in schema if not pa.types.is_nested(field.type)]
    nested = [field for field in schema if pa.types.is_nested(field.type)]
    if others := [field.name for field in nested if not _spelling.is_label(field.name)]:
        raise DataError(
            f"{path}: the columns {_spelling.quoted(others)} hold lists or records: give each of"
            " their values a column of its own, or drop them"
        )
    groups = [told.row_group(i) for i in range(told.num_row_groups)]
    num_rows = max(told.num_rows, sum(group.num_rows for group in groups))
    width = sum(max(_BYTES_OF_CELL, _width(field.type) + 8) for field in flat)
    num_bytes = sum(group.total_byte_size for group in groups)
    num_bytes += num_rows * (width + _BYTES_OF_ROW) + len(schema) * _BYTES_OF_COLUMN
    tally.add(path, num_bytes, _REMEDY)
    texts = [field.name for field in flat if _is_of_bytes(field.type)]
    file = pa.parquet.ParquetFile(_opened(path), read_dictionary=texts, **checked)
    table = file.read([field.name for field in flat] if nested else None)
    columns = [_written_out(path, column, tally) for column in table.columns]
    fields = [f.with_type(c.type) for f, c in zip(table.schema, columns, strict=True)]
    notes = [f"column {field.name!r} is {field.type}: left out" for field in nested]
    return pa.Table.from_arrays(columns, schema=pa.schema(fields, table.schema.metadata)), notes


def _width(kind) -> int:
    """Bytes of a value of a type of Arrow, as far as the type says."""
    try:
        return -(-kind.bit_width // 8)
    except ValueError:
        return 0


def _is_of_bytes(kind) -> bool:
    import pyarrow as pa

    tests = ("string", "large_string", "binary", "large_binary")
    return any(getattr(pa.types, f"is_{test}")(kind) for test in tests)


def _written_out(path: Path, column, tally: memory.Tally):
    """A column with its texts in place of numbers of texts, which may take little in a file."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not pa.types.is_dictionary(column.type) or not _is_of_bytes(column.type.value_type):
        return column
    for chunk in column.chunks:
        lengths = pc.take(pc.binary_length(chunk.dictionary), chunk.indices)
        tally.add(path, (pc.sum(lengths).as_py() or 0) * _COPIES_OF_TEXT, _REMEDY)
    return column.cast(column.type.value_type)


@contextlib.contextmanager
def _damage_named(path: Path) -> Iterator[None]:
    import pyarrow as pa

    try:
        yield
    except PermissionError as error:
        raise DataError(f"{path}: cannot be read ({first_line(error)})") from None
    except (pa.ArrowException, OSError, ValueError) as error:
        raise DataError(
            f"{path}: not a readable {path.suffix} file ({first_line(error)}): truncated, damaged"
            " or of another format"
        ) from None


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _parts(
    where: Path,
    table,
    sizes: Mapping[str, int],
    missing_values: Sequence[str] | None,
    notes: list[str],
) -> tuple[dict[str, Part], list[str]]:
    """Parts of a table of the rows of each split, one after another: split → how many."""
    _refuse_ratings(where, table.column_names)
    with _damage_named(where):
        columns = _columns(where, table, list(sizes.values()), missing_values or ())
    notes = [*notes, *columns.notes]
    if columns.left_out:
        told = (f"{_spelling.quoted(own)} ({why})" for why, own in columns.left_out.items())
        notes.append(f"left out the columns {', '.join(told)}")
    if not columns.features:
        raise DataError(
            f"{where}: has no numeric column to learn from, only "
            f"{_spelling.quoted(table.column_names) or 'none'}"
        )
    names, values = zip(*columns.features, strict=True)
    x, splits = np.column_stack(values), [*sizes]
    of_rows = np.repeat(np.arange(len(splits), dtype=np.int8), [*sizes.values()])
    if columns.splits is not None and splits == ["all"]:
        splits, of_rows = columns.splits
    kept = np.ones(len(x), bool)
    if missing_values is not None:
        kept, told = _complete_rows(where, names, x)
        notes += told
    parts = {}
    for number, split in enumerate(splits):
        own = kept & (of_rows == number)
        labels = None if columns.labels is None else columns.labels[own]
        # all rows are kept in most tables: no copy
        parts[split] = Part(x if own.all() else x[own], labels, columns=names)
    if "all" in parts:
        return parts, notes
    parts, told = complete(where, parts, "files" if len(sizes) > 1 else "rows")
    return parts, [*told, *notes]


def _refuse_ratings(where: Path, names: Sequence[str]) -> None:
    found = _spelling.ratings(names)
    if found is not None:
        raise DataError(
            f"{where}: looks like ratings (columns {_spelling.quoted(found)}), a row for each: give"
            " a matrix with a row for each user and a column for each item, as"
            " scipy.sparse.save_npz writes it, or rename the columns if they are none"
        )


def _complete_rows(
    where: Path, names: Sequence[str], x: np.ndarray
) -> tuple[np.ndarray, list[str]]:
    """Which rows [N] have no missing cell, and a note of the others."""
    is_missing = np.isnan(x)
    kept = ~is_missing.any(axis=1)
    if kept.all():
        return kept, []
    counts = is_missing.sum(axis=0)
    most = names[int(np.argmax(counts))]
    told = f"{np.sum(~kept):,} of {len(x):,} rows have missing cells, most in column {most!r}"
    if not kept.any():
        others = np.delete(is_missing, int(np.argmax(counts)), axis=1)
        # a row each to train, validate and test
        can_drop = others.shape[1] > 0 and np.sum(~others.any(axis=1)) >= 3
        remedy = ", or drop that column" if can_drop else ""
        raise DataError(f"{where}: {told}, and no row is left: fill them in{remedy}")
    return kept, [f"{told}: these rows are left out"]


def _columns(where: Path, table, sizes: Sequence[int], marks: Sequence[str]) -> _Columns:
    """What each column of a table of splits of these sizes is."""
    found = _Columns()
    of_labels, of_index = _label_column(where, table.column_names), _index_of_pandas(table)
    for place, (name, column) in enumerate(zip(table.column_names, table.columns, strict=True)):
        column = _without_marks(column, marks)
        if place == of_labels:
            found.labels = _labels_of(column)
            told = "taken as labels" if found.labels is not None else f"is {column.type}: left out"
            found.notes.append(f"column {name!r} {told}")
            continue
        if name.strip().casefold() in _SPLIT_COLUMNS:
            found.splits = _splits_of(column)
            if found.splits is not None:
                found.notes.append(f"column {name!r} taken as the splits of the rows")
                continue
        values = _numbers(where, name, column)
        why = "index" if name in of_index else _why_left_out(name, values, sizes, column)
        if why is None:
            found.features.append((name, values))
        else:
            found.left_out.setdefault(why, []).append(name)
    return found


def _label_column(where: Path, names: Sequence[str]) -> int | None:
    """The place of the column of labels, None if there is none."""
    found = [place for place, name in enumerate(names) if _spelling.is_label(name)]
    if len(found) > 1:
        told = _spelling.quoted([names[place] for place in found])
        raise DataError(
            f"{where}: the columns {told} all look like labels: rename or drop all but one of them"
        )
    return found[0] if found else None


def _index_of_pandas(table) -> set[str]:
    """The columns of a Parquet file that were the index of a data frame."""
    told = (table.schema.pandas_metadata or {}).get("index_columns", [])
    return {name for name in told if isinstance(name, str)}


def _without_marks(column, marks: Sequence[str]):
    """A column with nulls in place of what marks a missing cell, as text or as a number."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if not marks:
        return column
    if _is_text(column.type):
        is_mark = pc.is_in(pc.utf8_trim_whitespace(column), pa.array(marks, column.type))
    elif pa.types.is_integer(column.type) or pa.types.is_floating(column.type):
        numbers = [float(mark) for mark in marks if _is_number(mark)]
        is_mark = pc.is_in(column.cast(pa.float64(), safe=False), pa.array(numbers, pa.float64()))
    else:
        return column
    return pc.if_else(is_mark, pa.scalar(None, column.type), column)


def _is_text(kind) -> bool:
    import pyarrow as pa

    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def _labels_of(column) -> np.ndarray | None:
    """Labels [N] of a column, None in place of a null; None if it is of a kind without classes."""
    import pyarrow as pa

    tests = ("boolean", "integer", "floating", "string", "large_string", "null")
    if not any(getattr(pa.types, f"is_{test}")(column.type) for test in tests):
        return None
    # texts of one width would each take as much as the longest
    is_plain = not column.null_count and not _is_text(column.type)
    return np.array(column.to_pylist(), None if is_plain else object)


def _splits_of(column) -> tuple[list[str], np.ndarray] | None:
    """The splits that a column names, and which of them each row's is [N]; see `_Columns`.

    None if it does not name one in every row.
    """
    if not _is_text(column.type) or column.null_count:
        return None
    named = column.unique()
    meanings = _spelling.folders(named.to_pylist())
    if not meanings or None in meanings.values():
        return None
    import pyarrow.compute as pc

    splits = list(dict.fromkeys(meanings.values()))
    numbers = np.array([splits.index(split) for split in meanings.values()], np.int8)
    return splits, numbers[pc.index_in(column, named).to_numpy()]


def _numbers(where: Path, name: str, column) -> np.ndarray | None:
    """The numbers [N] of a column, NaN where a cell is missing; None if it is none of numbers.

    Raises:
        DataError: it is one of numbers, but for some cells.
    """
    import pyarrow as pa

    kind = column.type
    if pa.types.is_boolean(kind) or pa.types.is_decimal(kind):
        return column.cast(pa.float64()).to_numpy()
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        return column.to_numpy().astype(np.float64)
    return _numbers_of_text(where, name, column) if _is_text(kind) else None


def _numbers_of_text(where: Path, name: str, column) -> np.ndarray | None:
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.csv

    trimmed = pc.utf8_trim_whitespace(column)
    blanks = pa.array(pa.csv.ConvertOptions().null_values, column.type)
    trimmed = pc.if_else(pc.is_in(trimmed, blanks), pa.scalar(None, column.type), trimmed)
    is_number = pc.fill_null(pc.match_substring_regex(trimmed, _NUMBER), True)
    num_cells, num_bad = len(column) - trimmed.null_count, pc.sum(pc.invert(is_number)).as_py() or 0
    if num_bad >= (1 - _SHARE_OF_NUMBERS) * num_cells:
        return None
    if not num_bad:
        return trimmed.cast(pa.float64()).to_numpy()
    row = pc.index(is_number, False).as_py()
    cell = column[row].as_py()
    can_mark = cell.isprintable() and len(cell) <= 40 and "," not in cell
    remedy = f", or leave out its row with --missing_values={shlex.quote(cell.strip())}"
    raise DataError(
        f"{where}: column {name!r} holds numbers, but {num_bad:,} of {num_cells:,} cells are none,"
        f" the first {_spelling.quoted([cell])} in row {row + 1:,}: correct it"
        f"{remedy if can_mark else ''}"
    )


def _why_left_out(name: str, values: np.ndarray | None, sizes: Sequence[int], column) -> str | None:
    """Why a column is nothing to learn from; None if it is something."""
    if values is None:
        if column.null_count == len(column):
            return "empty"
        is_distinct = len(column.unique()) == len(column)
        why = _spelling.column(name, is_distinct=is_distinct, is_consecutive=False)
        return why or f"not numeric, such as {_spelling.quoted([str(column[0])])}"
    known = np.isfinite(values)
    if not np.all(values[known] == np.floor(values[known])):
        return None
    blocks = [block[np.isfinite(block)] for block in np.split(values, np.cumsum(sizes)[:-1])]
    return _spelling.column(
        name,
        is_distinct=all(len(np.unique(block)) == len(block) for block in blocks),
        is_consecutive=all(_counts(block) for block in blocks),
    )


def _counts(values: np.ndarray) -> bool:
    """Whether numbers [n] count the rows, from 0 or 1 on."""
    return len(values) > 0 and values[0] in (0, 1) and bool(np.all(np.diff(values) == 1))
