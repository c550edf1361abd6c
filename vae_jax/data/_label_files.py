"""Tables beside pictures or recordings, labels.csv: which label each file has."""

import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from vae_jax.data import _folders, _spelling
from vae_jax.errors import DataError, first_line

__all__ = ["array", "beside", "read"]

_NAME = "labels.csv"  # in any case
_SEPARATORS = ",;\t"


def beside(folder: Path, files: Sequence[Path], others: Sequence[Path], what: str) -> list[Path]:
    """The tables of labels among other files, unless folders are the labels already.

    Args:
        folder: the folder given by the user, of any shape.
        files: the files that are read.
        others: the other files in the folder.
        what: see `read`.
    """
    tables = [file for file in others if file.name.casefold() == _NAME]
    if not tables:
        return []
    _, labels, _ = _folders.places(folder, files, what)
    return tables if labels is None else []


def read(
    folder: Path, tables: Sequence[Path], files: Sequence[Path], what: str
) -> tuple[list[int | str | None] | None, list[str]]:
    """The label of each of N files by tables of file names and labels, and notes.

    A row names a file by its path from the folder of the table, or by its name, with or without its
    ending. A file without a row, or with a blank cell, has None: unknown.

    Args:
        folder: contains them all.
        tables: the tables; one applies to the files in its own folder and below.
        files: the pictures or recordings.
        what: their kind ("pictures"), for messages.

    Returns:
        (N labels, integers if all are, or None if no row names a file; notes).

    Raises:
        DataError: a table cannot be read, has no column of labels that can be told, names several
            files by one name, or gives one file two labels.
    """
    found: dict[int, str] = {}
    named: set[int] = set()
    notes = []
    for table in tables:
        told, lost = _of_table(table, files)
        known = {number: label for number, label in told.items() if label}
        _refuse_two_labels(table, files, found, known)
        found |= known
        named |= told.keys()
        where = table.relative_to(folder)
        if lost:
            notes.append(f"{len(lost):,} rows of {where} name no file: {_spelling.quoted(lost)}")
    if not named:
        return None, [*notes, f"{_NAME} names none of the {what}: not used"]
    notes.insert(0, f"{_NAME} has the labels of {len(named):,} of {len(files):,} {what}")
    if len(named) < len(files):
        bare = [str(f.relative_to(folder)) for i, f in enumerate(files) if i not in named]
        notes.append(f"{len(bare):,} {what} without a row there: {_spelling.quoted(bare)}")
    is_whole = all(_is_integer(label) for label in found.values())
    labels = {number: int(label) if is_whole else label for number, label in found.items()}
    return [labels.get(number) for number in range(len(files))], notes


def array(labels: Sequence[int | str | None]) -> np.ndarray:
    """N labels as an array [N], of objects if some are unknown."""
    return np.array(labels, object if any(label is None for label in labels) else None)


def _is_integer(text: str) -> bool:
    """Whether a text is a whole number as it is written by default: 01 is a word."""
    digits = text.removeprefix("-")
    return digits.isascii() and digits.isdecimal() and str(int(text)) == text


def _refuse_two_labels(
    table: Path, files: Sequence[Path], first: Mapping[int, str], second: Mapping[int, str]
) -> None:
    for number in first.keys() & second.keys():
        if first[number] != second[number]:
            raise DataError(
                f"{table}: gives {files[number].name} the labels {first[number]!r} and"
                f" {second[number]!r}: leave one of the rows out"
            )


def _of_table(table: Path, files: Sequence[Path]) -> tuple[dict[int, str], list[str]]:
    """Number of each named file → its label, and the names that are no file's."""
    rows, places = list(_rows(table)), _places(table, files)
    # labels may be spelled as names of files are, 1 and 1.png
    columns = zip(*rows, strict=True)
    matches = [_num_named(column, places, files) for column in columns]
    if not any(num for num, _ in matches):
        return {}, [row[0] for row in rows]
    of_names = matches.index(max(matches))
    has_header = rows[0][of_names] not in places
    of_labels = _column_of_labels(table, rows[0] if has_header else None, of_names, len(matches))
    told: dict[int, str] = {}
    lost = []
    for row in rows[has_header:]:
        name, label = row[of_names], row[of_labels]
        if name not in places:
            lost.append(name)
            continue
        if len(places[name]) > 1:
            same = [str(files[number].relative_to(table.parent)) for number in places[name]]
            raise DataError(
                f"{table}: {name!r} names {_spelling.quoted(same)}: write the path of each from"
                " here, such as the first of these"
            )
        own = {places[name][0]: label}
        _refuse_two_labels(table, files, told, own)
        told |= own
    return told, lost


def _num_named(
    column: Sequence[str], places: Mapping[str, list[int]], files: Sequence[Path]
) -> tuple[int, int]:
    """How many files a column names, and how many of its cells have the ending of a file."""
    endings = tuple({file.suffix for file in files})
    named = {number for cell in column for number in places.get(cell, ())}
    return len(named), sum(cell.endswith(endings) for cell in column)


def _rows(table: Path) -> Iterator[list[str]]:
    """The rows of a table, all of one length, without surrounding spaces; empty ones left out."""
    try:
        text = table.read_text(encoding="utf-8-sig")
        separator = max(_SEPARATORS, key=text.partition("\n")[0].count)
        rows = [row for row in csv.reader(text.splitlines(), delimiter=separator) if any(row)]
    except UnicodeDecodeError as error:
        raise DataError(
            f"{table}: byte {error.start:,} is not UTF-8: convert it, for instance with iconv"
        ) from None
    except (OSError, csv.Error) as error:
        raise DataError(f"{table}: cannot be read ({first_line(error)})") from None
    widths = {len(row) for row in rows}
    if len(widths) != 1 or widths == {1}:
        raise DataError(
            f"{table}: has rows of {', '.join(map(str, sorted(widths))) or 'no'} cells: must have a"
            " column of file names and one of labels in every row; write it again, or leave it out"
        )
    for row in rows:
        yield [cell.strip() for cell in row]


def _places(table: Path, files: Sequence[Path]) -> dict[str, list[int]]:
    """Each spelling of a file's name → the numbers of the files that it means."""
    places: dict[str, list[int]] = {}
    for number, file in enumerate(files):
        if not file.is_relative_to(table.parent):
            continue
        path = PurePosixPath(file.relative_to(table.parent).as_posix())
        spellings = str(path), f"./{path}", str(path.with_suffix("")), path.name, path.stem
        for spelling in dict.fromkeys(spellings):
            places.setdefault(spelling, []).append(number)
    return places


def _column_of_labels(
    table: Path, header: Sequence[str] | None, of_names: int, num_columns: int
) -> int:
    others = [column for column in range(num_columns) if column != of_names]
    if len(others) == 1:
        return others[0]
    names = header or [""] * num_columns
    told = [column for column in others if _spelling.is_label(names[column])]
    if len(told) == 1:
        return told[0]
    raise DataError(
        f"{table}: has the columns {_spelling.quoted(names)}, of which none or several are called"
        " label, y, target or class: call the one of labels so"
    )
