"""The programs of a sweep as a table: state, epoch and ELBO so far, and where the output is."""

from collections.abc import Sequence
from pathlib import Path

from vae_jax.errors import DataError, StorageError
from vae_jax.lab import executors
from vae_jax.lab.executors import Outcome, Task
from vae_jax.storage import csv_rows, files, members

__all__ = ["is_under_way", "lines", "of_directory"]

_UNDER_WAY = ("queued", "running", "submitted")


def is_under_way(outcome: Outcome) -> bool:
    """Whether a task is queued or runs elsewhere, and may still end."""
    return outcome.status in _UNDER_WAY


def of_directory(directory: Path) -> list[Outcome]:
    """The state of each program of a sweep, in the order of their names.

    Args:
        directory: directory of a sweep whose programs were trained by an executor.

    Raises:
        DataError: there are no such programs.
        StorageError: a record cannot be read.
    """
    places = files.inside(directory, "programs")
    names = sorted(path.stem for path in places.glob("*.json")) if places.is_dir() else []
    if not names:
        raise DataError(
            f"{directory}: has no programs that were trained elsewhere: name the directory of a "
            "sweep with `executor`"
        )
    tasks = [Task(name, [], files.inside(directory, "programs", name)) for name in names]
    found: dict[str, Outcome] = {}
    for name in executors.names():
        found |= executors.load(name).recorded(tasks, directory)
    ended = {t.name for t in tasks if members.read_results(t.directory) is not None}
    found |= {name: Outcome(name, "complete", 0) for name in ended}
    return [found.get(name, Outcome(name, "missing")) for name in names]


def lines(outcomes: Sequence[Outcome], directory: Path) -> list[str]:
    """A table of the programs, and the folder of their output.

    Args:
        outcomes: the state of each program.
        directory: directory of the sweep.
    """
    table = [["program", "state", "epoch", "elbo", "output", ""]]
    for outcome in outcomes:
        epoch, elbo = _reached(files.inside(directory, "programs", outcome.name))
        code = f" ({outcome.exit_code})" if outcome.exit_code else ""
        # before it starts there is none
        output = outcome.log.name if outcome.log is not None and outcome.log.exists() else ""
        row = [outcome.name, outcome.status + code, epoch, elbo, output, outcome.message]
        table.append(row)
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    text = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in table
    ]
    logs = sorted({outcome.log.parent for outcome in outcomes if outcome.log is not None})
    return [*text, *(f"output is in {log}/" for log in logs)]


def _reached(place: Path) -> tuple[str, str]:
    """The last epoch of a program, and the best ELBO of its runs there, as text."""
    try:
        last = csv_rows.last_rows(place / "metrics.csv", "epoch")
    except StorageError:
        return "", ""
    if not last:
        return "", ""
    name = "valid_elbo" if "valid_elbo" in last[0] else "elbo"
    values = [row[name] for row in last if isinstance(row.get(name), int | float)]
    return str(last[-1].get("epoch", "")), f"{max(values):.2f}" if values else ""
