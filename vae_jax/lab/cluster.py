"""Trains the programs of a sweep by an executor: only those that are missing."""

from collections.abc import Callable, Sequence
from pathlib import Path

from vae_jax.lab import executors
from vae_jax.lab.executors import Outcome, Task

__all__ = ["Outcome", "Task", "fan_out", "look", "preview"]


def fan_out(
    tasks: Sequence[Task],
    folder: Path,
    *,
    is_complete: Callable[[Task], bool],
    executor: str = "local",
    num_workers: int = 1,
    settings: str = "",
    retries: bool = False,
) -> list[Outcome]:
    """Trains the missing programs: waits for them on this machine, returns at once with SLURM.

    Args:
        tasks: all tasks of the sweep.
        folder: folder of the sweep, for `logs/` and `jobs.json`.
        is_complete: tells whether a task has nothing left to do.
        executor: a name of `vae_jax.lab.executors`.
        num_workers: number of tasks that run at a time on this machine.
        settings: text for `parse` of the executor.
        retries: whether jobs that have failed are tried again.

    Returns:
        The outcome of each task, in the order of `tasks`.

    Raises:
        UsageError: a setting does not fit, or a requirement of the executor is not installed.
        StorageError: the folder cannot be written.
        SystemExit: with 128 + signum after a signal, when the workers have saved.
    """
    chosen = executors.load(executor)
    parsed = chosen.parse(settings, num_workers)
    outcomes = _settled(tasks, folder, is_complete, retries)
    missing = [task for task in tasks if task.name not in outcomes]
    outcomes |= {o.name: o for o in chosen.run(missing, folder, parsed)}
    return [outcomes[task.name] for task in tasks]


def preview(
    tasks: Sequence[Task],
    folder: Path,
    *,
    is_complete: Callable[[Task], bool],
    executor: str = "local",
    num_workers: int = 1,
    settings: str = "",
    retries: bool = False,
) -> str:
    """What `fan_out` would run, for `dry_run=True`: writes nothing, and needs no cluster.

    Args:
        tasks, folder, is_complete, executor, num_workers, settings, retries: as in `fan_out`.

    Returns:
        What the executor would submit, if any, and the command of each missing task.

    Raises:
        UsageError: as in `fan_out`.
    """
    chosen = executors.load(executor)
    parsed = chosen.parse(settings, num_workers)
    settled = _settled(tasks, folder, is_complete, retries)
    missing = [task for task in tasks if task.name not in settled]
    told = f"# {len(missing)} of {len(tasks)} programs are missing"
    return f"{chosen.preview(missing, folder, parsed)}\n{told}"


def look(tasks: Sequence[Task], folder: Path, is_complete: Callable[[Task], bool]) -> list[Outcome]:
    """The state of each task, in order: what is neither complete nor recorded is `missing`.

    Args:
        tasks, folder, is_complete: as in `fan_out`.
    """
    found = _settled(tasks, folder, is_complete, False)
    return [found.get(task.name, Outcome(task.name, "missing")) for task in tasks]


def _settled(tasks, folder: Path, is_complete, retries: bool) -> dict[str, Outcome]:
    """What need not run, by name; the queues first, since a job may end meanwhile."""
    found: dict[str, Outcome] = {}
    for name in executors.names():
        found |= executors.load(name).recorded(tasks, folder)
    if retries:
        found = {name: outcome for name, outcome in found.items() if outcome.status != "failed"}
    complete = {task.name for task in tasks if is_complete(task)}
    return found | {name: Outcome(name, "complete", 0) for name in complete}
