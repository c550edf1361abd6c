"""Sheets of Excel files (.xlsx), read by openpyxl as Arrow tables.

The first row holds the names if all of its cells are words. Cells have the types of the file;
columns of several types are words. Formulas have the values that the file keeps of them.
"""

import contextlib
import datetime
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vae_jax import memory
from vae_jax.data import _spelling
from vae_jax.errors import DataError, UsageError, first_line

__all__ = ["read"]

_BYTES_OF_XML = 4  # for each, as Python values and in Arrow
_REMEDY = "save the sheet as CSV or Parquet"


def read(
    path: Path, sheet: str | None, asked: Mapping[str, str], tally: memory.Tally
) -> tuple[Any, bool, list[str]]:
    """Reads a sheet as an Arrow table, [N, D].

    Args:
        path: the file.
        sheet: its name; None: the only one.
        asked: settings of CSV files; its "header" is read.
        tally: the memory needed for reading.

    Returns:
        (table, whether its columns have names, notes).

    Raises:
        DataError: it cannot be read, or holds several sheets and none is named.
        UsageError: openpyxl is not installed.
    """
    try:
        import openpyxl
    except ImportError:
        raise UsageError(
            f"{path}: reading Excel files needs openpyxl: pip install 'vae_jax[excel]', or save the"
            " sheet as CSV"
        ) from None
    import pyarrow as pa

    try:
        with zipfile.ZipFile(path) as archive:
            num_bytes = sum(each.file_size for each in archive.infolist())
        tally.add(path, num_bytes * _BYTES_OF_XML, _REMEDY)
        book = openpyxl.load_workbook(path, read_only=True, data_only=True)
        with contextlib.closing(book):
            name = _sheet_of(path, book.sheetnames, sheet)
            rows = [list(row) for row in book[name].iter_rows(values_only=True)]
    except (DataError, UsageError):
        raise
    except Exception as error:  # a damaged file fails in many ways
        raise DataError(
            f"{path}: not a readable .xlsx file ({first_line(error)}): truncated, damaged or of"
            " another format"
        ) from None
    names, rows, is_named = _divided(path, _trimmed(path, rows), asked)
    columns = [_column([row[i] for row in rows]) for i in range(len(names))]
    notes = [] if sheet is not None or len(book.sheetnames) == 1 else [f"read sheet {name!r}"]
    return pa.Table.from_arrays(columns, names), is_named, notes


def _sheet_of(path: Path, sheets: Sequence[str], asked: str | None) -> str:
    if asked is None and len(sheets) == 1:
        return sheets[0]
    if asked in sheets:
        return asked
    what = "has several sheets" if asked is None else f"has no sheet {asked!r}"
    others = f", one of {_spelling.quoted(sheets)}"
    raise DataError(f"{path}: {what}: give {path.name}#{sheets[0]}{others}")


def _trimmed(path: Path, rows: list[list]) -> list[list]:
    """Rows [N, D] of one length, without empty rows and columns around them."""
    while rows and all(cell is None for cell in rows[-1]):
        rows.pop()
    while rows and all(cell is None for cell in rows[0]):
        rows.pop(0)
    known = {i for row in rows for i, cell in enumerate(row) if cell is not None}
    if not known:
        raise DataError(f"{path}: holds no cells: give a sheet with a table")
    first, end = min(known), max(known) + 1
    return [row[first:end] + [None] * (end - max(first, len(row))) for row in rows]


def _divided(
    path: Path, rows: list[list], asked: Mapping[str, str]
) -> tuple[list[str], list[list], bool]:
    """Names of the columns [D], the rows below, and whether they have names."""
    known = [cell for cell in rows[0] if cell is not None]
    is_named = bool(known) and all(isinstance(cell, str) for cell in known)
    if "header" in asked:
        is_named = asked["header"] == "yes"
    if not is_named:
        return [f"f{i}" for i in range(len(rows[0]))], rows, False
    # the index of a data frame has no name
    lacking = [i for i, cell in enumerate(rows[0]) if cell is None]
    if lacking not in ([], [0]):
        raise DataError(
            f"{path}: its first row names {len(known)} of {len(rows[0])} columns: name each column"
            " in it, or delete it if it is a title"
        )
    return ["" if cell is None else str(cell).strip() for cell in rows[0]], rows[1:], True


def _column(values: list) -> Any:
    """An Arrow array [N] of Python values, None if missing."""
    import pyarrow as pa

    types = {type(value) for value in values if value is not None}
    if types <= {int, float}:
        is_whole = types == {int} and all(value is None or abs(value) < 2**63 for value in values)
        return pa.array(values, pa.int64() if is_whole else pa.float64())
    whole = {
        (bool,): pa.bool_(),
        (datetime.datetime,): pa.timestamp("us"),
        (datetime.time,): pa.time64("us"),
        (datetime.timedelta,): pa.duration("us"),
    }
    if (kind := whole.get(tuple(types))) is not None:
        return pa.array(values, kind)
    return pa.array([None if value is None else _word(value) for value in values], pa.string())


def _word(value: Any) -> str:
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).casefold() if isinstance(value, bool) else str(value)
