"""Printing: lines that cannot send control sequences to a terminal, and what goes on meanwhile."""

import contextlib
import functools
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from vae_jax.errors import printable

__all__ = ["be_silent", "doing", "duration", "put", "say", "say_page", "tell"]

SILENCE = {True: 3.0, False: 30.0}
"""The longest time without a line while something goes on, in seconds: in a terminal, in a log."""
_ERASE = "\r\x1b[2K"

_lock = threading.RLock()
_doing: list[tuple[str, Callable[[], str], float]] = []
os.register_at_fork(
    before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_lock.release
)
_said = {"at": time.monotonic(), "is_erasable": False, "is_silent": False}


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
    with _lock:
        if _said["is_erasable"]:
            _print(_ERASE, sys.__stderr__)
        _said["is_erasable"], _said["at"] = False, time.monotonic()
        _print(text, stream)


def _print(text: str, stream: Any) -> None:
    try:
        print(text, end="", file=stream, flush=True)
    except OSError:
        # what could not be written stays in the buffer, and would fail again at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


@contextlib.contextmanager
def doing(what: str, how_far: Callable[[], str] = str) -> Iterator[None]:
    """Says on stderr what goes on in the context, and for how long, if nothing else is said.

    A terminal shows one line from the third second on, which the next line replaces; a log gets a
    line every half a minute.

    Args:
        what: such as "reading mnist", a scalar.
        how_far: returns what follows the time, such as "step 100 of 300", or "".
    """
    _teller()
    entry = what, how_far, time.monotonic()
    _doing.append(entry)
    try:
        yield
    finally:
        _doing.remove(entry)


def be_silent() -> None:
    """Ends what `doing` says: another process says it."""
    _said["is_silent"] = True


def duration(seconds: float) -> str:
    """A time in seconds, a scalar, as `1:30` or `2h05`."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}h{minutes % 60:02d}" if minutes >= 60 else f"{minutes}:{rest:02d}"


@functools.cache
def _teller() -> threading.Thread:
    """The thread that says what goes on; only one."""
    thread = threading.Thread(target=_tell, name="telling", daemon=True)
    thread.start()
    return thread


def _tell() -> None:
    while True:
        time.sleep(0.5)
        tell(time.monotonic())


def tell(now: float) -> None:
    """Says what goes on, if it is time; see `doing`.

    Args:
        now: the time of `time.monotonic`, in seconds.
    """
    is_terminal = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
    # rich's stream would print it above its own line, and wait for a lock
    stream = sys.__stderr__ if is_terminal else sys.stderr
    with _lock:
        is_due = now - _said["at"] >= SILENCE[is_terminal] or _said["is_erasable"]
        if not _doing or not is_due or _said["is_silent"]:
            return
        what, how_far, since = _doing[-1]
        words = [f"{what}: {duration(now - since)} so far", how_far()]
        line = printable(", ".join(filter(None, words)))
        if is_terminal:
            # a longer line would wrap, and then could not be erased
            _print(f"{_ERASE}{line[: os.get_terminal_size(stream.fileno()).columns - 1]}", stream)
            _said["is_erasable"] = True
        else:
            put(f"{line}\n", stream)
