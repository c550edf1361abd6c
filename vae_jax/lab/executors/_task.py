"""What executors share: tasks, their outcomes, commands and logs."""

import contextlib
import os
import re
import signal
import sys
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import NamedTuple

from vae_jax import console, disk
from vae_jax.errors import StorageError, UsageError, did_you_mean

__all__ = [
    "GRACE_SECONDS",
    "Outcome",
    "Task",
    "command",
    "last_line",
    "pairs",
    "signals",
    "storing",
    "tail",
    "told",
]

GRACE_SECONDS = 20.0
"""Seconds that workers have to save after a signal to who started them."""
_PAIR = re.compile(r"""(?:[^,'"]|'[^']*'|"[^"]*")+""")
"""A setting; commas in quotes do not end it."""


class Task(NamedTuple):
    """One command of a sweep.

    Attributes:
        name: name of the program, unique in its sweep and valid in a file name.
        arguments: the arguments after `python -m`.
        directory: its run directory.
    """

    name: str
    arguments: list[str]
    directory: Path


class Outcome(NamedTuple):
    """The outcome of a task.

    Attributes:
        name: name of the task.
        status: `complete`, `queued`, `running` or `failed` before the call, `submitted` by it, or
            `done` or `failed` in it.
        exit_code: 0 if complete, None if it has not ended; 128 + n for signal n.
        message: the last line of a log, or the id of a job.
        log: where its output is, if that is not here.
    """

    name: str
    status: str
    exit_code: int | None = None
    message: str = ""
    log: Path | None = None


def command(task: Task) -> list[str]:
    """The words that start a task."""
    return [sys.executable, "-m", *task.arguments]


def pairs(text: str, setting: str, known: Collection[str], example: str) -> dict[str, str]:
    """Parses `name=value,…`: name → text without quotes; a name that stands twice has a list.

    Args:
        text: the settings of an executor; dashes in names are underscores.
        setting: the name of the executor, for messages.
        known: the names of its settings.
        example: settings that are valid together.

    Raises:
        UsageError: a name is unknown or has no value, or a quote is open.
    """
    found: dict[str, str] = {}
    if text.count("'") % 2 or text.count('"') % 2:
        raise UsageError(f"`{setting}`: a quote is not closed: give it as in {example}")
    for word in filter(str.strip, _PAIR.findall(text)):
        name, _, value = (part.strip() for part in word.partition("="))
        name = name.replace("-", "_")
        if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"":
            value = value[1:-1].strip()
        if not name or not value or not value.isprintable():
            raise UsageError(f"`{setting}`: {word!r} must be name=value, as in {example}")
        if name not in known:
            hint = did_you_mean(name, known)
            raise UsageError(f"`{setting}`: {name!r} is unknown{hint}: give it as in {example}")
        found[name] = f"{found[name]},{value}" if name in found else value
    return found


@contextlib.contextmanager
def storing(path: Path) -> Iterator[None]:
    """Makes an OSError the StorageError of a path."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or error
        raise StorageError(
            f"{path} cannot be written ({reason}): choose another `workdir`"
        ) from error


def told(task: Task, exit_code: int, message: str) -> Outcome:
    """The outcome of a task that has ended here, which is said in a line."""
    outcome = Outcome(task.name, "failed" if exit_code else "done", exit_code, message)
    words = f"failed (exit code {exit_code})" if exit_code else "done"
    with contextlib.suppress(OSError):  # the terminal may be closed
        console.say(f"{task.name}: {words}: {message}")
    return outcome


def tail(log: Path, start: int = 0) -> str:
    """The end of a log, at most 4 kB, or "".

    Args:
        log, start: as in `last_line`.
    """
    try:
        with open(disk.open_regular(log, os.O_RDONLY), "rb") as file:
            file.seek(max(start, file.seek(0, os.SEEK_END) - 4096))
            return file.read().decode(errors="replace")
    except OSError:
        return ""


def last_line(log: Path, start: int = 0) -> str:
    """The last line of a log, of at most 4 kB, that says an error; or the last one; or "".

    Args:
        log: file of the output of a task.
        start: bytes that were there before the task, a count.
    """
    text = tail(log, start)
    lines = [line.strip() for line in re.split(r"[\r\n]+", text) if line.strip()]
    # SLURM may say something after the program
    own = [line for line in lines if not re.match(r"(srun|slurm[\w-]*): ", line)] or lines
    found = [line for line in own if line.startswith("error:")] or own
    return found[-1] if found else ""


@contextlib.contextmanager
def signals() -> Iterator[list[int]]:
    """Collects the signals that ask to stop, in order of arrival."""
    received: list[int] = []
    asked = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # nohup
        asked.append(signal.SIGHUP)
    before = {s: signal.signal(s, lambda signum, _: received.append(signum)) for s in asked}
    try:
        yield received
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)
