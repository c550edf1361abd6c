"""What executors share: tasks, their outcomes, commands and logs."""

import contextlib
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from vae_jax import console, disk
from vae_jax.errors import StorageError

__all__ = ["Outcome", "Task", "command", "last_line", "storing", "told"]


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


def last_line(log: Path, start: int = 0) -> str:
    """The last line of a log, of at most 4 kB, that says an error; or the last one; or "".

    Args:
        log: file of the output of a task.
        start: bytes that were there before the task, a count.
    """
    try:
        with open(disk.open_regular(log, os.O_RDONLY), "rb") as file:
            file.seek(max(start, file.seek(0, os.SEEK_END) - 4096))
            text = file.read().decode(errors="replace")
    except OSError:
        return ""
    lines = [line.strip() for line in re.split(r"[\r\n]+", text) if line.strip()]
    # SLURM may say something after the program
    own = [line for line in lines if not re.match(r"(srun|slurm\w*): ", line)] or lines
    found = [line for line in own if line.startswith("error:")] or own
    return found[-1] if found else ""
