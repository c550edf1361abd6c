"""The cells of a table's columns: detects numbers and other values; labels as values."""

import re
import shlex
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from vae_jax.data import _spelling
from vae_jax.errors import DataError, first_line
from vae_jax.labels import UNKNOWN
from vae_jax.schema import Cells, as_cells

__all__ = [
    "Misfit",
    "are_all",
    "as_text",
    "cells",
    "is_text",
    "known_words",
    "labels",
    "numbers",
    "refuse",
    "without_marks",
    "words",
]

_NUMBER = r"^[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?$|^[-+]?(?i:nan|inf|infinity)$"
_MAY_BE_THOUSANDS = r"^[-+]?[1-9]\d{0,2}(?:,\d{3})+$"
_WRITTEN = (  # a number with a sign, a currency, a percent sign, or grouped digits
    r"^\(?[-+−]?[$€£¥]?[-+−]?(?:\d{1,3}(?:[.,' \x{a0}\x{202f}]\d{3})+(?:[.,]\d+)?|\d*[.,]?\d+)"
    r"(?:[eE][-+]?\d+)?[ \x{a0}]?[%$€£¥]?\)?$"
)
_UNITS = r"^[-+]?\d*[.,]?\d+ ?([A-Za-z°µ²³/]{1,8})$"
_DATE = r"^\d{4}-\d{2}-\d{2}(?:[T ]\d{2}:\d{2}(?::\d{2}(?:\.\d{1,6})?)?)?Z?$"
_TIME = r"^\d{2}:\d{2}(?::\d{2})?$"
_LABEL = re.compile(r"[-+]?(?:(?:0|[1-9]\d*)(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?")
_SHARE_OF_NUMBERS = 1 / 2  # of the cells of a column that should hold numbers
_MANY = 10  # distinct numbers, beside one or two words
_MOST_SEEN = 1000  # distinct words of a column
_MOST_MARKS = 6  # in a message that suggests marks to leave out
_LONGEST_MARK = 40


class Misfit(NamedTuple):
    """A column [N] that should hold numbers, and the cells that are not numbers.

    Attributes:
        name: name of the column.
        num_bad, num_cells: how many cells are not plain numbers, and how many there are, counts.
        row: index of the first of them, a count from 0.
        cell: its content.
        marks: the first distinct bad cells.
        is_written: whether these are numbers in another notation ("5%", "1,234").
    """

    name: str
    num_bad: int
    num_cells: int
    row: int
    cell: str
    marks: tuple[str, ...]
    is_written: bool


# --- Kinds of columns


def is_text(kind) -> bool:
    """Whether an Arrow type, of a column [N], is text."""
    import pyarrow as pa

    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def as_text(column):
    """Converts an Arrow column [N] to plain text, from bytes, views or dictionaries."""
    import pyarrow as pa
    import pyarrow.compute as pc

    types = pa.types
    if types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if types.is_string_view(column.type) or types.is_binary_view(column.type):
        is_string = types.is_string_view(column.type)
        column = column.cast(pa.large_string() if is_string else pa.large_binary())
    tests = ("binary", "large_binary", "fixed_size_binary")
    if not any(getattr(types, f"is_{test}")(column.type) for test in tests):
        return column
    try:
        return pc.cast(column.cast(pa.large_binary()), pa.large_string())
    except pa.ArrowInvalid:  # not UTF-8
        words = [None if v is None else v.decode("latin-1") for v in column.to_pylist()]
        return pa.chunked_array([pa.array(words, pa.large_string())])


def without_marks(column, marks: Sequence[str]):
    """Replaces marks of missing cells in a column [N] by nulls, as text or as numbers."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not marks:
        return column
    if is_text(column.type):
        is_mark = pc.is_in(pc.utf8_trim_whitespace(column), pa.array(marks, column.type))
    elif pa.types.is_integer(column.type) or pa.types.is_floating(column.type):
        known = [float(mark) for mark in marks if re.match(_NUMBER, mark)]
        is_mark = pc.is_in(column.cast(pa.float64(), safe=False), pa.array(known, pa.float64()))
    else:
        return column
    return pc.if_else(is_mark, pa.scalar(None, column.type), column)


# --- Labels


def labels(column, *, is_untyped: bool) -> np.ndarray | None:
    """Labels [N] of a column, None for nulls; None if the type of the column has no classes.

    Args:
        column: Arrow column, [N].
        is_untyped: whether it comes from a file without types: then labels that are all plain
            numbers ("7", not "07"), or all true or false, become numbers.
    """
    import pyarrow as pa

    tests = ("boolean", "integer", "floating", "decimal", "null")
    if is_text(column.type):
        return _words(column, is_untyped=is_untyped)
    if not any(getattr(pa.types, f"is_{test}")(column.type) for test in tests):
        return None
    if pa.types.is_decimal(column.type):
        column = column.cast(pa.float64())
    return np.array(column.to_pylist(), object if column.null_count else None)


def _words(column, *, is_untyped: bool) -> np.ndarray:
    """Text labels [N] that share memory per distinct value: fixed-width text would be large."""
    encoded = column.dictionary_encode().combine_chunks()
    if hasattr(encoded, "chunks"):
        encoded = encoded.chunk(0)
    values = encoded.dictionary.to_pylist()
    if is_untyped:
        values = _typed(values)
    held = np.empty(len(values) + 1, object)
    held[:-1] = values
    return held[encoded.indices.fill_null(len(values)).to_numpy(zero_copy_only=False)]


def _typed(words: list[str]) -> list:
    """Converts words to numbers if all known ones are numbers; otherwise unchanged."""
    known = {word.strip() for word in words if not _spelling.is_unknown(word)}
    if known and all(map(_LABEL.fullmatch, known)):
        return [w if _spelling.is_unknown(w) else _number(w) for w in words]
    if known and {word.casefold() for word in known} <= {"true", "false"}:
        return [w if _spelling.is_unknown(w) else w.strip().casefold() == "true" for w in words]
    return words


def _number(word: str) -> int | float:
    try:
        return int(word)
    except ValueError:
        return float(word)


# --- Cells of any kind


def cells(column, order: Sequence = ()) -> Cells:
    """The cells [N] of an Arrow column that does not hold numbers: words, truth values, dates.

    Times of a day, and durations, are seconds.

    Args:
        column: Arrow column, [N], dictionaries and bytes as text.
        order: its levels, ascending, if the file orders them.
    """
    import pyarrow as pa

    types = pa.types
    if types.is_timestamp(column.type) or types.is_date(column.type):
        return Cells(_dates(column))
    if types.is_time(column.type) or types.is_duration(column.type):
        values = [None if v is None else _seconds(v) for v in column.to_pylist()]
        return Cells(np.array(values, np.float64))
    if is_text(column.type):
        known = known_words(column)
        if are_all(known, _DATE):
            return Cells(_dates(_written_dates(known)))
        if are_all(known, _TIME):
            values = [np.nan if v is None else _seconds_of(v) for v in known.to_pylist()]
            return Cells(np.array(values, np.float64))
    words = labels(column, is_untyped=True)
    if words is None:
        words = np.array([None if v is None else str(v) for v in column.to_pylist()], object)
    return Cells(as_cells(words).values, tuple(order))


def words(column) -> Cells:
    """The cells [N] of a text column as words, as they are written but for spaces around them."""
    return Cells(as_cells(_words(known_words(column), is_untyped=False)).values)


def _seconds(value) -> float:
    """Seconds of a time of day or a duration, a scalar."""
    if hasattr(value, "total_seconds"):
        return value.total_seconds()
    return value.hour * 3600 + value.minute * 60 + value.second + value.microsecond / 1e6


def _dates(column) -> np.ndarray:
    """Dates or timestamps [N] as datetime64[us], NaT if missing; times of a zone as UTC."""
    import pyarrow as pa

    return column.cast(pa.timestamp("us"), safe=False).to_numpy().astype("datetime64[us]")


def known_words(column):
    """The words of a text column [N], without spaces around them; null if unknown."""
    import pyarrow as pa
    import pyarrow.compute as pc

    trimmed = pc.utf8_trim_whitespace(column)
    unknown = pa.array(sorted(UNKNOWN), column.type)
    is_unknown = pc.is_in(pc.utf8_lower(trimmed), unknown)
    return pc.if_else(is_unknown, pa.scalar(None, column.type), trimmed)


def are_all(words, pattern: str) -> bool:
    """Whether each known word of a text column [N] has a pattern."""
    import pyarrow.compute as pc

    known = words.drop_null()
    return len(known) > 0 and bool(pc.all(pc.match_substring_regex(known, pattern)).as_py())


def _written_dates(words):
    """Dates [N] in words, as Arrow timestamps."""
    import pyarrow as pa
    import pyarrow.compute as pc

    try:
        return pc.replace_substring(words, "Z", "").cast(pa.timestamp("us"))
    except pa.ArrowInvalid as error:
        raise DataError(f"holds no dates, but what looks like them ({first_line(error)})") from None


def _seconds_of(word: str) -> float:
    """Seconds of a time of day in words, a scalar: "12:05" or "12:05:30"."""
    hours, minutes, seconds = (*map(int, word.split(":")), 0)[:3]
    return 3600.0 * hours + 60.0 * minutes + seconds


# --- Numbers


def numbers(name: str, column) -> np.ndarray | Misfit | None:
    """The numbers [N] of an Arrow column, NaN for missing cells; None if it has no numbers.

    Returns a `Misfit` if it has numbers, but some cells are not, or use another notation.
    """
    import pyarrow as pa

    kind = column.type
    if pa.types.is_boolean(kind) or pa.types.is_decimal(kind):
        return column.cast(pa.float64()).to_numpy()
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        return column.to_numpy().astype(np.float64, copy=False)
    return _numbers_of_text(name, column) if is_text(kind) else None


def _numbers_of_text(name: str, column) -> np.ndarray | Misfit | None:
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.csv

    trimmed = pc.utf8_trim_whitespace(column)
    blanks = pa.array(pa.csv.ConvertOptions().null_values, column.type)
    trimmed = pc.if_else(pc.is_in(trimmed, blanks), pa.scalar(None, column.type), trimmed)
    is_number = pc.fill_null(pc.match_substring_regex(trimmed, _NUMBER), True)
    num_cells, num_bad = len(column) - trimmed.null_count, _count(pc.invert(is_number))
    if not num_bad:
        return trimmed.cast(pa.float64()).to_numpy() if num_cells else None
    others = trimmed.filter(pc.invert(is_number))
    # check only a few of a million words
    marks = tuple(pc.unique(others).slice(0, _MOST_SEEN).to_pylist())
    unknown = pa.array(sorted(_spelling.MARKS), column.type)
    num_unknown = _count(pc.is_in(pc.utf8_lower(others), unknown))
    is_written = pc.match_substring_regex(others, _UNITS if _have_units(marks) else _WRITTEN)
    num_written = _count(is_written)
    share = (num_cells - num_bad + num_written) / max(num_cells - num_unknown, 1)
    if share <= _SHARE_OF_NUMBERS:
        num_kinds = pc.count_distinct(trimmed.filter(is_number), mode="only_valid").as_py()
        if len(marks) > 2 or num_kinds < _MANY:
            return None
    are_most = num_written > num_cells - num_bad
    row = pc.index(is_number, False).as_py()
    if are_most:
        row = pc.index(trimmed, others.filter(is_written)[0]).as_py()
    return Misfit(name, num_bad, num_cells, row, column[row].as_py(), marks, are_most)


def _have_units(cells: Collection[str]) -> bool:
    """Whether many distinct cells are numbers followed by one unit: "5 kg", "7.5 kg"."""
    known = [cell for cell in cells if cell.casefold() not in _spelling.MARKS]
    found = {re.sub(_UNITS, r"\1", cell) for cell in known}
    return len(known) >= _MANY and len(found) == 1


def _count(mask) -> int:
    import pyarrow.compute as pc

    return pc.sum(mask).as_py() or 0


# --- Messages about cells that are not numbers


def refuse(where: Path, misfits: Sequence[Misfit]) -> None:
    """Refuses columns [N] with cells that are not numbers; does nothing if there are none.

    Raises:
        DataError: naming the first column and cell, their number, and a remedy for all.
    """
    if not misfits:
        return
    written = [misfit for misfit in misfits if misfit.is_written]
    if written:
        _refuse_written(where, written)
    first, *more = misfits
    marks = list(dict.fromkeys(mark for misfit in misfits for mark in misfit.marks))
    can_mark = len(marks) <= _MOST_MARKS and all(
        mark.isprintable() and len(mark) <= _LONGEST_MARK and "," not in mark for mark in marks
    )
    flag = f"missing_values={shlex.quote(','.join(marks))}"
    if more and all(misfit.row == 0 and misfit.num_bad == 1 for misfit in misfits):
        raise DataError(
            f"{where}: its first row holds {_spelling.quoted(marks)}, units perhaps, in columns of"
            f" numbers: delete that line{f', or leave it out with {flag}' if can_mark else ''}"
        )
    others = f", and so do cells of {_spelling.quoted([m.name for m in more])}" if more else ""
    remedy = f"leave it out with {flag}"
    if not can_mark:
        remedy = f"leave the column out with ignore={first.name!r}"
    raise DataError(
        f"{where}: column {first.name!r} holds numbers, but {first.num_bad:,} of"
        f" {first.num_cells:,} cells are none, the first {_spelling.quoted([first.cell])} in row"
        f" {first.row + 1:,}{others}: correct it, or {remedy}"
    )


def _refuse_written(where: Path, misfits: Sequence[Misfit]) -> None:
    first = misfits[0]
    names = _spelling.quoted([misfit.name for misfit in misfits])
    plain = _plain(first.cell.strip())
    others = "or drop the column"
    if " or " in plain:
        others = f"or take csv=decimal=point or csv=decimal=comma, or ignore={first.name}"
    raise DataError(
        f"{where}: the cells of {names} are numbers written in another way, {first.num_bad:,} of"
        f" {first.num_cells:,} in {first.name!r}, such as {_spelling.quoted([first.cell])}: write"
        f" {plain} instead, {others}"
    )


def _plain(cell: str) -> str:
    """A number in plain notation; both readings of "1,234"."""
    if cell.startswith("("):
        return f"-{_plain(cell.strip('()'))}"
    digits = re.sub(r"[^\d.,eE+-]|[eE](?![-+\d])", "", cell.replace("−", "-"))
    if re.match(_MAY_BE_THOUSANDS, digits) and digits.count(",") == 1:
        return f"{digits.replace(',', '')} or {digits.replace(',', '.')}"
    if digits.rfind(",") > digits.rfind(".") and digits.count(",") == 1:
        return digits.replace(".", "").replace(",", ".")  # 1.234,5
    return digits.replace(",", "")
