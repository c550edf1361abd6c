"""Tables of a run as CSV files: rows of scalars that are read back exactly."""

import contextlib
import csv
import hashlib
import io
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from vae_jax import disk
from vae_jax.errors import StorageError
from vae_jax.storage import files, seals

__all__ = [
    "append",
    "append_bytes",
    "cell",
    "columns_of",
    "first_lines",
    "last_rows",
    "parse_row",
    "read_rows",
    "rows_sha256",
    "to_csv",
    "whole_lines",
    "write_table",
]


def read_rows(path: str | os.PathLike) -> list[dict]:
    """Reads a CSV file of a run: one dict of scalars per row, in order; [] if there is no file.

    Numbers are parsed, an empty cell is None, an incomplete last line is dropped.

    Raises:
        StorageError: it cannot be read, or cells are missing.
    """
    path = pathlib.Path(path)
    lines = whole_lines(path)
    columns = columns_of(lines)
    return [parse_row(path, columns, line) for line in lines[1:]]


def last_rows(path: str | os.PathLike, column: str) -> list[dict]:
    """The last rows of a CSV file that agree in a column, scalars; see `read_rows`.

    Earlier rows are not parsed.

    Args:
        path: path of the file.
        column: its name.
    """
    path = pathlib.Path(path)
    lines = whole_lines(path)
    columns, found = columns_of(lines), []
    for line in reversed(lines[1:]):
        row = parse_row(path, columns, line)
        if found and row.get(column) != found[0].get(column):
            break
        found.append(row)
    return found[::-1]


def rows_sha256(path: str | os.PathLike) -> str:
    """SHA-256 of the lines of a run's CSV file (rows of scalars) without an incomplete last one.

    Raises:
        StorageError: it cannot be read.
    """
    return hashlib.sha256(b"".join(whole_lines(pathlib.Path(path)))).hexdigest()


def write_table(
    path: pathlib.Path, rows: Sequence[Mapping], *, root: str | os.PathLike | None = None
) -> None:
    """Replaces a CSV file atomically, see `write_bytes`; rows contain scalars.

    Raises:
        StorageError: it cannot be written.
    """
    columns = list(dict.fromkeys(column for row in rows for column in row))
    cells = [[cell(row.get(column)) for column in columns] for row in rows]
    files.write_bytes(path, to_csv([columns, *cells]), root=root)


def append(path: pathlib.Path, lines: list[list[str]], *, root: str | os.PathLike) -> None:
    """Appends lines of cells, a scalar each, to a CSV file below a root; they are then on disk.

    If the disk is full, no part of them remains.

    Raises:
        StorageError: it cannot be written.
    """
    append_bytes(path, to_csv(lines), root=root)


def append_bytes(path: pathlib.Path, content: bytes, *, root: str | os.PathLike) -> None:
    """Appends whole lines, a scalar, to a file; see `append`."""
    rest = memoryview(content)
    with (
        files.storing(path),
        disk.folder(root) as held,
        open(disk.append(held, path.name), "ab", buffering=0) as file,
    ):
        start = file.seek(0, os.SEEK_END)
        try:
            while rest:
                rest = rest[file.write(rest) :]
            os.fsync(file.fileno())
        except BaseException:
            file.truncate(start)
            raise


def whole_lines(path: pathlib.Path) -> list[bytes]:
    """Reads the complete lines; a crash may leave an incomplete line at the end."""
    try:
        raw = files.read_bytes(path)
    except FileNotFoundError:
        return []
    whole = raw[: raw.rfind(b"\n") + 1]
    try:
        whole.decode()
    except UnicodeDecodeError:
        raise StorageError(
            f"{path} is no UTF-8 text: repair it or choose `overwrite=True`"
        ) from None
    return whole.splitlines(keepends=True)


def first_lines(path: pathlib.Path, sha256: str) -> list[bytes] | None:
    """The leading lines that have this SHA-256, or None if there are none."""
    try:
        lines = files.read_bytes(path).split(b"\n")[:-1]
    except FileNotFoundError:
        lines = []
    lines, found = [line + b"\n" for line in lines], hashlib.sha256()
    for num in range(len(lines) + 1):
        if found.hexdigest() == sha256:
            return lines[:num]
        found.update(b"".join(lines[num : num + 1]))
    return None


def columns_of(lines: list[bytes]) -> list[str]:
    """Returns the names of the columns, scalars, from the first line of a file."""
    return _split(lines[0]) if lines else []


def _split(line: bytes) -> list[str]:
    try:
        return next(csv.reader([line.decode()]), [])
    except csv.Error:  # a cell longer than any that we write
        return []


def parse_row(path: pathlib.Path, columns: list[str], line: bytes) -> dict:
    """Returns the scalars of a line by column.

    Raises:
        StorageError: the line has another number of cells.
    """
    cells = _split(line)
    if len(cells) != len(columns):
        raise StorageError(
            f"{path} has a damaged row ({line[:60]!r}): repair it or choose `overwrite=True`"
        )
    return dict(zip(columns, map(_parse_cell, cells), strict=True))


def _parse_cell(text: str) -> int | float | str | None:
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            return kind(text)
    return text or None


def cell(value: Any) -> str:
    """Returns the text of a scalar; floats are read back exactly, None is empty."""
    value = seals.scalar(value)
    if isinstance(value, float):
        return repr(value)
    return "" if value is None else " ".join(str(value).splitlines())


def to_csv(lines: list[list[str]]) -> bytes:
    """Returns a CSV file from lines of cells, a scalar each."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(lines)
    return text.getvalue().encode(errors="surrogateescape")  # file names may not be UTF-8
