"""Errors that a user can cause. Each ends the program with one line and its own exit code."""

import difflib
from collections.abc import Iterable
from typing import Any

__all__ = [
    "DataError",
    "DivergedError",
    "LockedError",
    "StorageError",
    "UnsupportedError",
    "UsageError",
    "VaeJaxError",
    "did_you_mean",
    "first_line",
    "printable",
    "refuse_masked",
    "unknown",
    "verbatim",
]


class VaeJaxError(Exception):
    """Base of all errors whose message alone is enough for the user; never raised itself.

    The message says what is wrong, the value received, what is allowed, and what to do, in a line.
    It names settings, not flags: a setting with its value as beta=4, a setting alone in backticks.
    """

    exit_code = 1


class UsageError(VaeJaxError):
    """A flag, an argument or a run directory does not fit (exit code 2)."""

    exit_code = 2


class UnsupportedError(UsageError, TypeError):
    """No formula is known for a value of this type (exit code 2)."""


class DataError(VaeJaxError):
    """A dataset is missing, damaged, or its shape or range does not fit (exit code 3)."""

    exit_code = 3


class DivergedError(VaeJaxError):
    """Training met a loss or gradient that is not finite (exit code 4)."""

    exit_code = 4


class StorageError(VaeJaxError):
    """A file could not be written or verified (exit code 5)."""

    exit_code = 5


class IncompleteError(VaeJaxError):
    """Programs of a sweep failed, so that some of its runs have no result (exit code 7)."""

    exit_code = 7


class LockedError(VaeJaxError):
    """Another process holds the run directory (exit code 6)."""

    exit_code = 6


def did_you_mean(name: str, known: Iterable[str], mark: str = "") -> str:
    """The nearest of the names that are known, for a message: " (did you mean …?)", or nothing.

    Args:
        name: as it was given.
        known: what it could have been.
        mark: stands before a name, for instance "--".
    """
    close = difflib.get_close_matches(name, list(known), 1)
    return f" (did you mean {mark}{close[0]}?)" if close else ""


def any_of(words: Iterable[str]) -> str:
    """Words to choose from, for a message: "gru, lstm or mlp"."""
    *others, last = words
    return f"{', '.join(others)} or {last}" if others else last


def verbatim(text: str) -> str:
    """A text as a message is to say it even if it holds name=value: such as what a run is told by.

    Args:
        text: a scalar; one without "=" says nothing that could be taken for a setting.
    """
    return f"`{text}`" if "=" in text and "`" not in text else text


def first_line(error: Exception) -> str:
    """What a library says of an error, for a message: one line, and nothing that steers a terminal.

    Libraries quote what they have read, and a file of a stranger may hold anything.

    Args:
        error: any exception, a scalar.
    """
    return _shortened(printable(str(error).split("\n")[0] or type(error).__name__), _LONGEST_QUOTE)


def printable(text: str) -> str:
    """A text as one line that steers no terminal: what cannot be printed is spelled, \\x1b say.

    Names of files, settings and data of a stranger may hold anything: escapes that hide or rewrite
    what a terminal shows, ends of lines that forge another line, marks that turn the reading
    direction. A line of more than 4,000 characters loses its middle.

    Args:
        text: a scalar.
    """
    line = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
    return _shortened(line, _LONGEST_LINE)


def _shortened(line: str, most: int) -> str:
    if len(line) <= most:
        return line
    half = most // 2 - 20
    return f"{line[:half]} … ({len(line):,} characters) … {line[-half:]}"


_LONGEST_LINE = 4000
_LONGEST_QUOTE = 400  # of what a library says


def refuse_masked(name: str, values: Any) -> None:
    """Refuses an array [N, …] with values that NumPy has masked, which JAX would take as they are.

    Args:
        name: of the array, for the message.
        values: anything; only a `numpy.ma.MaskedArray` is looked at.

    Raises:
        DataError: some are masked.
    """
    import numpy as np

    if not isinstance(values, np.ma.MaskedArray) or values.dtype.names or not values.mask.any():
        return
    row, *place = np.argwhere(values.mask)[0].tolist() or [0]
    column = f", column {place[0] if len(place) == 1 else place}" if place else ""
    raise DataError(
        f"{name}: {values.mask.sum():,} of {values.size:,} values are masked, the first in row"
        f" {row}{column}: fill them in, {name}.filled(…), or leave these rows out"
    )


def unknown(what: str, name: str, known: Iterable[str]) -> UsageError:
    """The error for a name that is none of those known: tells the nearest, and all of them."""
    known = list(known)
    hint = did_you_mean(name, known)
    return UsageError(f"{what} {name!r} is unknown{hint}: choose from {', '.join(known)}")
