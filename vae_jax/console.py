"""What programs say: lines that steer no terminal, whatever they hold."""

import os
import sys
from typing import Any

from vae_jax.errors import printable

__all__ = ["put", "say", "say_page"]


def say(line: str, *, is_error: bool = False) -> None:
    """Prints a line, whatever it holds as one that steers no terminal; see `errors.printable`.

    Args:
        line: a scalar.
        is_error: whether it goes to stderr.
    """
    put(f"{printable(line)}\n", sys.stderr if is_error else sys.stdout)


def say_page(text: str) -> None:
    """Prints the lines of a text, a scalar, each as `say` does."""
    put("".join(f"{printable(line)}\n" for line in text.split("\n")), sys.stdout)


def put(text: str, stream: Any) -> None:
    """Writes a text as it is; a reader that went away or a full disk ends no run.

    Args:
        text: a scalar.
        stream: with a file descriptor, as stdout has one.
    """
    try:
        print(text, end="", file=stream, flush=True)
    except OSError:
        # what could not be written stays in the buffer, and would fail once more at the exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
