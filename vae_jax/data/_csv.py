"""The dialect of a CSV file: its encoding, its separator, and whether it has a header line.

It is detected from the first lines, then Arrow reads the file. Common variants are read, with a
note (";" and tabs as separators, UTF-16, a line "sep=;", comments above the names, no names at
all); anything ambiguous is refused with a message that shows what was found.
"""

import codecs
import contextlib
import csv
import dataclasses
import functools
import gzip
import itertools
import math
import os
import re
import shlex
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from vae_jax.data import _growing, _spelling
from vae_jax.errors import DataError, UsageError, first_line, shown, unknown

__all__ = [
    "SETTINGS",
    "Dialect",
    "as_words",
    "has_zeros",
    "is_number",
    "opened",
    "read",
    "settings",
    "sniff",
]

_SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars", " ": "spaces"}
_NAMED = {"comma": ",", "semicolon": ";", "tab": "\t", "bar": "|", "space": " "}
SETTINGS = {
    "separator": tuple(_NAMED),
    "decimal": ("point", "comma"),
    "header": ("yes", "no"),
    "encoding": (),
}
"""What can be set of a CSV file → its words; the encoding is any that Python knows."""
_HEAD_BYTES = 2**18  # to examine, more if a line is longer
_LONGEST_HEAD = 2**20  # Arrow refuses a longer line
_MOST_ROWS = 50  # to examine below the first
_MANY = 7  # numbers in a row are sorted by chance in one of 2,500 cases
_YEARS = range(1900, 2101)
_ENCODINGS = ("cp1252", "latin-1")  # for files that are not UTF-8, the first that fits
_BOMS = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}


@dataclasses.dataclass(frozen=True)
class Dialect:
    """The format of a CSV file.

    Attributes:
        separator: separator of the cells.
        encoding: encoding of the text.
        num_skipped: lines before the names, or before the data, a count.
        names: names of the columns [D], from the first line or a comment above it.
        has_names: whether the line after the skipped ones holds the names.
        is_named: whether there are names at all.
        notes: findings, for the log.
        has_decimal_commas: whether numbers are written so in all columns, as is set.
    """

    separator: str = ","
    encoding: str = "utf8"
    num_skipped: int = 0
    names: tuple[str, ...] = ()
    has_names: bool = True
    is_named: bool = True
    notes: tuple[str, ...] = ()
    has_decimal_commas: bool = False


def settings(given: Mapping[str, str] | Iterable[str] | str) -> dict[str, str]:
    """Checks settings of CSV files: {"separator": "tab"}, or texts "separator=tab" (scalars).

    Raises:
        UsageError: one is unknown.
    """
    if isinstance(given, Mapping):
        given = [f"{name}={value}" for name, value in given.items()]
    given, found = (given,) if isinstance(given, str) else given, {}
    if not isinstance(given, Iterable) or not all(isinstance(pair, str) for pair in given):
        raise UsageError(f"csv={shown(given)}: must be settings: give csv='decimal=comma', say")
    for pair in given:
        name, _, value = pair.partition("=")
        if name not in SETTINGS:
            raise UsageError(f"csv={shown(pair)}: {unknown('setting', name, SETTINGS)}")
        if name == "encoding":
            value = _encoding(value)
        elif value not in SETTINGS[name]:
            allowed = " or ".join(f"{name}={word}" for word in SETTINGS[name])
            raise UsageError(f"csv={name}={value}: must be {allowed}")
        found[name] = value
    return found


def _encoding(name: str) -> str:
    try:
        "a".encode(name)  # some codecs are of no text
        found = codecs.lookup(name).name
    except (LookupError, TypeError, ValueError):
        raise UsageError(
            f"csv=encoding={name}: must be an encoding of text, such as encoding=utf8 or"
            " encoding=cp1252"
        ) from None
    return "utf8" if found == "utf-8" else found


def has_zeros(block: bytes, separator: bytes) -> bool:
    """Whether a block (a scalar) may have a cell such as 01 or +49 behind a separator: a code."""
    start = rb"[\r\n\"" + re.escape(separator) + rb"] *(?:0\d|\+\d)"
    return re.search(start, block) is not None


def is_number(text: str) -> bool:
    """Whether a cell can be parsed as a number."""
    try:
        float(text)
    except ValueError:
        return False
    return "_" not in text


def _is_compressed(path: Path) -> bool:
    return path.suffix.lower() == ".gz"


def opened(path: Path) -> IO[bytes]:
    """Opens a file of text, of any shape, to read its bytes, which gzip may have compressed."""
    return gzip.open(path) if _is_compressed(path) else path.open("rb")


# --- Examining the first lines


def sniff(path: Path, asked: Mapping[str, str] | None = None) -> Dialect:
    """Detects the format of a CSV file [N, D], but for what is `asked`, see `settings`.

    Raises:
        DataError: it is not text, or its cells are separated by runs of spaces.
    """
    asked = asked or {}
    lines, encoding = _first_lines(path, asked.get("encoding"))
    notes = [f"read as {encoding.upper()}"] if encoding != "utf8" else []
    told = re.fullmatch(r"sep=(.)\s*", lines[0]) if lines else None
    lines = lines[1:] if told else lines
    num_above = next(
        (i for i, line in enumerate(lines) if line.strip() and line[0] != "#"), len(lines)
    )
    above, lines = lines[:num_above], [line for line in lines[num_above:] if line.strip()]
    comments = [line for line in above if line.startswith("#")]
    separator = _NAMED.get(asked.get("separator"))
    separator = separator or (told[1] if told else _separator(path, lines))
    if separator != ",":
        notes.append(f"cells are separated by {_SEPARATORS.get(separator, repr(separator))}")
    names, *below = _cells(lines, separator) or [[]]
    why = _why_names(lines, _stripped(names), [*map(_stripped, below)], separator)
    if "header" in asked:
        why = "" if asked["header"] == "yes" else None
    is_named = why is not None
    if comments:
        told_above = _cells([comments[-1].lstrip("# ")], separator)
        is_above = not is_named and len(told_above[0] if told_above else ()) == len(names) > 1
        names = told_above[0] if is_above else names
        kept = f", of the last the names {_spelling.quoted(names)}" if is_above else ""
        notes.append(f"lines that begin with # are left out{kept}")
        is_named |= is_above
    notes += [why] if why else []
    skipped = bool(told) + (num_above if comments else 0)
    return Dialect(
        *(separator, encoding, skipped, tuple(names), why is not None, is_named, tuple(notes)),
        has_decimal_commas=asked.get("decimal") == "comma",
    )


def _first_lines(path: Path, encoding: str | None) -> tuple[list[str], str]:
    """The first complete lines of a file with their line ends, and the encoding, if not given."""
    with opened(path) as file:
        head = file.read(_HEAD_BYTES)
        if head.count(b"\n") + head.count(b"\r") < 2:
            head += file.read(_LONGEST_HEAD - len(head))
        is_all = not file.read(1)
    encoding = encoding or _BOMS.get(head[:2], "utf8")
    if encoding == "utf8" and b"\0" in head:
        raise DataError(
            f"{path}: holds bytes of value 0, as no text does but UTF-16 without a mark: save it as"
            " UTF-8"
        )
    text = head.decode("utf-8-sig" if encoding == "utf8" else encoding, errors="replace")
    lines = [line for line in re.split(r"(?<=\n)|(?<=\r)(?!\n)", text) if line]
    return lines if is_all else lines[:-1], encoding


def _cells(lines: Sequence[str], separator: str) -> list[list[str]]:
    """The cells of the first lines, split as Arrow splits them."""
    rows = []
    with contextlib.suppress(csv.Error):  # a cell that is too long to examine
        for row in csv.reader(lines, delimiter=separator):
            rows += [row] if row else []
            if len(rows) > _MOST_ROWS:
                break
    return rows


def _stripped(cells: Sequence[str]) -> list[str]:
    return [cell.strip() for cell in cells]


def _separator(path: Path, lines: Sequence[str]) -> str:
    """The separator with equal counts per line and the most numbers; a comma by default."""
    held = {separator: _cells(lines, separator) for separator in _SEPARATORS}
    counts = {separator: [len(row) for row in rows] or [0] for separator, rows in held.items()}
    others = max(own[0] for separator, own in counts.items() if separator != " ")
    fits = [s for s, own in counts.items() if own[0] > 1 and len({*own}) == 1]
    if " " in fits and (others > 1 or any("" in row for row in held[" "])):
        fits.remove(" ")
    if fits:
        return max(fits, key=lambda s: _share_of_numbers(held[s][1:] or held[s], s))
    spaced = {len(line.split()) for line in lines[:_MOST_ROWS]}
    if others <= 1 and len(spaced) == 1 and spaced != {1}:
        command = f"sed -E 's/^ +| +$//g; s/ +/,/g' {shlex.quote(str(path))} > new.csv"
        raise DataError(f"{path}: cells are separated by spaces: give commas, {command}")
    return max(_SEPARATORS, key=lambda s: counts[s][0] if s != " " else 0)


def _share_of_numbers(rows: Sequence[Sequence[str]], separator: str) -> float:
    """The share of cells that are numbers; a comma may be a decimal comma if possible."""
    cells = [cell for row in rows for cell in row]
    if separator != ",":
        cells = [cell.replace(",", ".") for cell in cells]
    return sum(map(is_number, cells)) / len(cells)


# --- A header, or values


def _why_names(
    lines: Sequence[str], first: Sequence[str], below: Sequence[Sequence[str]], separator: str
) -> str | None:
    """None if the first line holds values like those below; otherwise "" or evidence for names.

    A line holds values if it has a number that is not part of an increasing sequence, and no name:
    a word above numbers is a name, and so is a word for labels.
    """
    numbers = [place for place, cell in enumerate(first) if is_number(cell)]
    if not numbers:
        return ""
    if not below:
        return None if len(numbers) == len(first) else ""
    if _is_quoted(lines[0], separator) and not _is_quoted(lines[1], separator):
        return ""
    columns = [[row[i] for row in below if i < len(row)] for i in range(len(first))]
    for place in {*range(len(first))} - {*numbers}:
        if not _spelling.is_unknown(first[place]) and _is_name(first[place], columns[place]):
            return ""
    names = [first[i] for i in numbers if math.isfinite(float(first[i]))]
    rows = [[row[i] if i < len(row) else "" for i in numbers] for row in below]
    if len(names) < len(numbers) or not _run_up(names, rows):
        return None
    told = _spelling.quoted(names)
    return f"the first line, {told}, holds names: its numbers run up, as those below do not"


def _is_quoted(line: str, separator: str) -> bool:
    """Whether all cells of a line are quoted."""
    return all(re.fullmatch(r'".*"', cell) for cell in line.strip().split(separator))


def _is_name(word: str, column: Sequence[str]) -> bool:
    """Whether a word that is not a number is the name of the cells below it."""
    known = [cell for cell in column if not _spelling.is_unknown(cell)]
    if _spelling.is_label(word) and word not in known:
        return True
    return sum(map(is_number, known)) > len(known) / 2


def _run_up(names: Sequence[str], below: Sequence[Sequence[str]]) -> bool:
    """Whether numbers [D] name the columns of the rows below [N, D]: 0, 1, 2, …; years; lengths.

    They must increase or decrease, unlike the rows below. They must also be many, or evenly spaced
    integers of another kind than those below.
    """
    known = [[float(cell) for cell in row] for row in below if all(map(is_number, row))]
    if not known:
        return False
    differs = [*map(_is_other, names, zip(*known, strict=True))]
    numbers = [float(name) for name in names]
    if len(names) == 1:
        return numbers[0] in _YEARS and differs == [True]
    steps = [b - a for a, b in itertools.pairwise(numbers)]
    if not (min(steps) > 0 or max(steps) < 0):
        return False
    if len(names) == 2:
        return steps == [1] and all(differs)
    num_sorted = sum(row in (sorted(row), sorted(row)[::-1]) for row in known)
    if num_sorted > len(known) / 2:
        return False
    is_even = max(steps) - min(steps) < 1e-6 * max(map(abs, steps))
    is_default = len(names) > 3 and names == [*map(str, range(len(names)))]  # of pandas
    return len(names) >= _MANY or is_default or (is_even and sum(differs) > len(names) / 2)


def _is_other(name: str, column: Sequence[float]) -> bool:
    """Whether an integer is of another kind than the numbers below: no fraction, or a year."""
    if not name.isdigit():
        return False
    num_fractions = sum(value % 1 != 0 for value in column)
    is_beyond = not min(column) <= int(name) <= max(column)
    return num_fractions > len(column) / 2 or (is_beyond and int(name) in _YEARS)


# --- Reading


def read(
    path: Path, dialect: Dialect, words: Collection[str] = (), *, num_rows: int
) -> tuple[Any, Dialect, list[str]]:
    """Reads the file as an Arrow table, [N, D], with its encoding and notes; labels stay text.

    Args:
        path: the file.
        dialect: from `sniff`.
        words: names of other columns that stay text.
        num_rows: at least as many rows as the file has, a count.

    Raises:
        DataError: a line has more or fewer cells than the first.
        ValueError: it cannot be read for another reason.
    """
    import pyarrow as pa

    try:
        table = _read_as(path, dialect, dialect.encoding, words, num_rows=num_rows)
        names = table.column_names  # fails if a name is not UTF-8
        if len(names) and not any(map(pa.types.is_binary, table.schema.types)):
            return table, dialect, []
    except (UnicodeDecodeError, pa.ArrowInvalid) as error:
        if isinstance(error, pa.ArrowInvalid) and "invalid UTF8" not in str(error):
            raise
        if dialect.encoding not in ("utf8", "utf-16"):
            raise DataError(
                f"{path}: is not in the encoding {dialect.encoding} ({first_line(error)}): give"
                " its own, or leave csv=encoding out"
            ) from None
    for encoding in _ENCODINGS:
        with contextlib.suppress(UnicodeDecodeError):
            table = _read_as(path, dialect, encoding, words, num_rows=num_rows)
            told = f"is no UTF-8: read as {encoding}, save it as UTF-8 if its words look wrong"
            return table, dataclasses.replace(dialect, encoding=encoding), [told]
    raise AssertionError("every byte is a character of the last one")


def as_words(path: Path, dialect: Dialect, names: Collection[str]) -> Any:
    """Reads some columns of the file as text, an Arrow table [N, names]; see `read`."""
    return _read_as(path, dialect, dialect.encoding, names, only=names)


def _read_as(
    path: Path,
    dialect: Dialect,
    encoding: str,
    words: Collection[str] = (),
    on_ragged: Callable[[Any], str] | None = None,
    only: Collection[str] = (),
    num_rows: int | None = None,
) -> Any:
    """Reads an Arrow table, [N, D]; `on_ragged` decides about lines with other cell counts.

    `only` are the columns to read, all of them by default. With `num_rows`, at least as many as
    there are, the file is read block by block.
    """
    import pyarrow as pa
    import pyarrow.csv

    names = None if dialect.has_names or not dialect.is_named else list(dialect.names)
    reading = pa.csv.ReadOptions(
        encoding=encoding,
        skip_rows=dialect.num_skipped,
        column_names=names,
        autogenerate_column_names=not dialect.is_named,
    )
    parsing = pa.csv.ParseOptions(delimiter=dialect.separator, invalid_row_handler=on_ragged)
    # "01" read as a number would become 1
    stay = [name for name in dialect.names if name in words or _spelling.is_label(name)]
    converting = pa.csv.ConvertOptions(
        column_types=dict.fromkeys(stay, pa.string()),
        decimal_point="," if dialect.has_decimal_commas else ".",
        include_columns=list(only),
    )
    opened = functools.partial(_opened_by_arrow, path)
    try:
        if num_rows is None:
            return pa.csv.read_csv(opened(), reading, parsing, converting)
        held = _names(dialect)
        return _growing.read(opened, held, num_rows, reading, parsing, converting)
    except pa.ArrowInvalid as error:
        if "columns, got" in str(error):
            _refuse_ragged(path, dialect)
        raise


def _opened_by_arrow(path: Path) -> Any:
    import pyarrow as pa

    file = pa.OSFile(os.fsencode(path))
    return pa.CompressedInputStream(file, "gzip") if _is_compressed(path) else file


def _names(dialect: Dialect) -> list[str]:
    """The names that Arrow gives the columns, [D]."""
    names = dialect.names
    return [*names] if dialect.is_named else [f"f{i}" for i in range(len(names))]


def _refuse_ragged(path: Path, dialect: Dialect) -> None:
    """Refuses lines with more or fewer cells than the first; reads again to count them."""
    num, first = 0, None

    def count(row) -> str:
        nonlocal num, first
        num, first = num + 1, first or row
        return "skip"

    # every byte is a character in latin-1
    encoding = "latin-1" if dialect.encoding == "utf8" else dialect.encoding
    num_good = len(_read_as(path, dialect, encoding, on_ragged=count))
    width, num_cells = first.expected_columns, first.actual_columns
    told = f"{num:,} of {num + num_good:,} lines" if num_good else f"all {num:,} lines below it"
    remedy = "give each line as many"
    if not num_good and num_cells == width + 1 > 2:
        remedy = "name each column in the first line, also that of the names of rows or of blanks"
    if not num_good and width == 1:
        remedy = "delete that line if it is a title, or name each column in it"
    raise DataError(
        f"{path}: its first line has {width:,} cells, {told} have more or fewer, such as"
        f" {num_cells:,}, {_spelling.quoted([first.text])}: {remedy}"
    )
