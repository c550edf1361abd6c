"""The file of `sweep`: a row of settings for each run, as CSV or JSON."""

import csv
import errno
import io
import itertools
import json
import os
from pathlib import Path
from typing import Any

from vae_jax import aliases, disk
from vae_jax.errors import UsageError, did_you_mean
from vae_jax.lab.settings import flag_fields, hyperparameter_flags

__all__ = ["MAX_BYTES", "MAX_RUNS", "read_rows", "read_text", "setting_of"]


MAX_RUNS = 10_000


MAX_BYTES = 2**23
"""Of a file of `sweep`, a count: a quarter of a page for each run."""


def read_rows(file: str, values: dict[str, str | None]) -> list[dict[str, str | None]]:
    """The rows of `sweep`: flag → text, None for an empty cell.

    Raises:
        UsageError: the file is not a table of flags, or a flag is given both there and here.
    """
    text = read_text(file, "sweep", MAX_BYTES)
    read = _json_rows if Path(file).suffix.lower() == ".json" else _csv_rows
    rows = [[(setting_of(name), value) for name, value in row] for row in read(file, text)]
    if not rows:
        raise UsageError(f"sweep={file}: holds no runs: give a row for each")
    if not rows[0]:
        raise UsageError(
            f"sweep={file}: row 1 sets no flag, name at least one (its value may be empty)"
        )
    sweeping = {f.name for f in flag_fields() if f.metadata["sweeps"]}
    sweeping |= hyperparameter_flags().keys()
    first = [name for name, _ in rows[0]]
    for number, row in enumerate(rows, 1):
        names = [name for name, _ in row]
        for name in names:
            if name not in sweeping:
                hint = did_you_mean(name, sweeping)
                raise UsageError(f"sweep={file}: {name!r} is not a flag that a row may set{hint}")
            if names.count(name) > 1:
                raise UsageError(f"sweep={file}: sets {name} twice, give it once")
            if values.get(name) is not None:
                raise UsageError(f"{name}={values[name]}: {file} sets it too, give it in one place")
        if set(names) != set(first):
            raise UsageError(
                f"sweep={file}: row {number} has {', '.join(names)}, the first row has "
                f"{', '.join(first)}: give the same flags in each"
            )
    return [{name: _text(value) for name, value in row} for row in rows]


def setting_of(written: str) -> str:
    """The setting that the head of a column, or a key, stands for."""
    return aliases.setting(written.strip().lstrip("-"))


def read_text(file: str, setting: str, most_bytes: int) -> str:
    """Reads a text file; does not wait for a pipe, or read a device without end.

    Args:
        file: path of the file.
        setting: the setting that names it, for the message.
        most_bytes: the size above which it is refused.

    Raises:
        UsageError: it cannot be read, is no regular file, is too large, or is not UTF-8.
    """
    try:
        with open(disk.open_regular(os.path.realpath(file), os.O_RDONLY), "rb") as held:
            size = os.fstat(held.fileno()).st_size
            raw = held.read(min(size, most_bytes) + 1)
        if len(raw) > most_bytes:
            raise OSError(errno.EFBIG, f"has more than {most_bytes:,} bytes")
        return raw.decode("utf-8-sig")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "no UTF-8 text"
        raise UsageError(
            f"{setting}={file}: cannot be read ({reason}): give the path of a text file"
        ) from None


def _csv_rows(file: str, text: str) -> list[list[tuple[str, str]]]:
    """The rows of CSV text, as pairs of column and cell; a row of empty cells sets no flag.

    Blank lines are skipped: in a file with one column, an empty cell is written as "".
    """
    try:
        written = (line for line in csv.reader(io.StringIO(text)) if not _is_blank(line))
        lines = list(itertools.islice(written, MAX_RUNS + 2))
    except csv.Error as error:
        raise UsageError(f"sweep={file}: is not CSV ({error})") from None
    names, rows = (lines[0], lines[1:]) if lines else ([], [])
    if len(rows) > MAX_RUNS:
        raise UsageError(f"sweep={file}: has more than {MAX_RUNS} runs, split it")
    for number, row in enumerate(rows, 1):
        if len(row) != len(names):
            raise UsageError(
                f"sweep={file}: row {number} has {len(row)} cells, there are {len(names)} "
                "columns: put values with commas in double quotes; cells may be empty"
            )
    return [[(n, cell.strip()) for n, cell in zip(names, row, strict=True)] for row in rows]


def _is_blank(line: list[str]) -> bool:
    """Whether a line contains only spaces."""
    return not line or (len(line) == 1 and line[0].isspace())


def _json_rows(file: str, text: str) -> list[list[tuple[str, Any]]]:
    """The rows of JSON text, as pairs of key and value; duplicate keys are kept."""
    try:
        rows = json.loads(text, object_pairs_hook=tuple)
    except ValueError as error:
        raise UsageError(f"sweep={file}: is not JSON ({error})") from None
    except RecursionError:
        raise UsageError(
            f"sweep={file}: must be a list of objects, but is nested too deeply"
        ) from None
    if not isinstance(rows, list) or not all(isinstance(row, tuple) for row in rows):
        raise UsageError(f"sweep={file}: must be a list of objects, one for each run")
    return [list(row) for row in rows]


def _text(value: Any) -> str | None:
    """A cell as the text of a flag; an empty one means the flag's default."""
    if value is None or value == "":
        return None
    if isinstance(value, list):
        return ",".join(map(str, value))
    return str(value)
