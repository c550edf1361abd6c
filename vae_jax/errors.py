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
    "shown",
    "unknown",
    "verbatim",
]


class VaeJaxError(Exception):
    """Base class of all errors whose message is enough for the user; never raised itself.

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
    """Some programs of a sweep failed, so some of its runs have no result (exit code 7)."""

    exit_code = 7


class LockedError(VaeJaxError):
    """Another process holds the run directory (exit code 6)."""

    exit_code = 6


def did_you_mean(name: str, known: Iterable[str], mark: str = "") -> str:
    """The nearest known name, for a message: " (did you mean …?)", or "".

    Args:
        name: the name received.
        known: all known names.
        mark: prefix of a name, for instance "--".
    """
    close = difflib.get_close_matches(name, list(known), 1)
    return f" (did you mean {mark}{close[0]}?)" if close else ""


def any_of(words: Iterable[str]) -> str:
    """A list of alternatives, for a message: "gru, lstm or mlp"."""
    *others, last = words
    return f"{', '.join(others)} or {last}" if others else last


def verbatim(text: str) -> str:
    """A text as a message is to say it even if it holds name=value: such as what a run is told by.

    Args:
        text: a scalar; one without "=" says nothing that could be taken for a setting.
    """
    return f"`{text}`" if "=" in text and "`" not in text else text


def first_line(error: Exception) -> str:
    """The first line of a library's error, for a message, without control characters.

    Libraries quote what they have read, and an untrusted file may contain anything.

    Args:
        error: any exception, a scalar.
    """
    return _shortened(printable(str(error).split("\n")[0] or type(error).__name__), _LONGEST_QUOTE)


def printable(text: str) -> str:
    """Escapes a text to one line without control characters, such as \\x1b.

    Names of files, settings and data from elsewhere may contain anything: escape sequences that
    hide or rewrite what a terminal shows, line breaks that fake another line, marks that change the
    reading direction. A line of more than 4,000 characters is cut in the middle.

    Args:
        text: a string, a scalar.
    """
    line = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
    return _shortened(line, _LONGEST_LINE)


def _shortened(line: str, most: int) -> str:
    if len(line) <= most:
        return line
    half = most // 2 - 20
    return f"{line[:half]} … ({len(line):,} characters) … {line[-half:]}"


_LONGEST_LINE = 4000
_LONGEST_QUOTE = 400  # characters of a library's message


def shown(value: Any) -> str:
    """A value that was received, for a message: short, on one line, arrays by shape and dtype."""
    if isinstance(value, str):
        return _shortened(repr(value), _LONGEST_VALUE)
    shape, dtype = getattr(value, "shape", None), getattr(value, "dtype", None)
    if dtype is not None and isinstance(shape, tuple) and (shape or "key" in str(dtype)):
        return f"{dtype}[{', '.join(map(str, shape))}]"
    if callable(value) and hasattr(value, "__name__"):
        return str(value.__name__)
    text = " ".join(repr(value).split())
    is_plain = len(text) <= _LONGEST_VALUE and " at 0x" not in text
    return text if is_plain else f"{type(value).__name__}(…)"


_LONGEST_VALUE = 80


def refuse_masked(name: str, values: Any) -> None:
    """Refuses an array [N, …] with masked values: JAX would ignore the mask.

    Args:
        name: name of the array, for the message.
        values: anything; only a `numpy.ma.MaskedArray` is checked.

    Raises:
        DataError: some values are masked.
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


def unknown(what: str, name: Any, known: Iterable[str]) -> UsageError:
    """The error for an unknown name, a scalar: it gives the nearest known name, and all of them."""
    known = list(known)
    if not isinstance(name, str):
        told = f"{what}={shown(name)}: must be a name"
        return UsageError(f"{told}: choose from {', '.join(known)}")
    hint = did_you_mean(name, known)
    return UsageError(f"{what} {name!r} is unknown{hint}: choose from {', '.join(known)}")
