"""Printing: lines that cannot send control sequences to a terminal."""

import os
import sys
from typing import Any

from vae_jax.errors import printable

__all__ = ["put", "say", "say_page"]


def say(line: str, *, is_error: bool = False) -> None:
    """Prints a line without control characters; see `errors.printable`.

    Args:
        line: a string, a scalar.
        is_error: whether it goes to stderr.
    """
    put(f"{printable(line)}\n", sys.stderr if is_error else sys.stdout)


def say_page(text: str) -> None:
    """Prints each line of a text, a scalar, with `say`."""
    put("".join(f"{printable(line)}\n" for line in text.split("\n")), sys.stdout)


def put(text: str, stream: Any) -> None:
    """Writes a text; a closed pipe or a full disk does not end the run.

    Args:
        text: a string, a scalar.
        stream: a stream with a file descriptor, such as stdout.
    """
    try:
        print(text, end="", file=stream, flush=True)
    except OSError:
        # what could not be written stays in the buffer, and would fail again at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
