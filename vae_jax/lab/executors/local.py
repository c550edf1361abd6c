"""Subprocesses on this machine, a few at a time: `local`."""

import math
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from vae_jax import disk
from vae_jax.errors import StorageError, UsageError
from vae_jax.lab import interrupts
from vae_jax.lab.executors._task import (
    GRACE_SECONDS,
    Outcome,
    Task,
    command,
    last_line,
    signals,
    told,
)
from vae_jax.storage import files

__all__ = [
    "GRACE_SECONDS",
    "IS_QUEUED",
    "cancel",
    "parse",
    "preview",
    "recorded",
    "run",
    "run_local",
    "share_of_devices",
]

IS_QUEUED = False
_FRACTION = "XLA_PYTHON_CLIENT_MEM_FRACTION"


def parse(text: str, num_workers: int) -> int:
    """The number of workers, a count; `executor=local` has no other settings."""
    if num_workers < 1:
        raise UsageError(f"num_workers={num_workers}: must be at least 1")
    return num_workers


def recorded(tasks: Sequence[Task], folder: Path) -> dict[str, Outcome]:
    """Nothing: who started workers waits for them."""
    return {}


def cancel(folder: Path) -> list[str]:
    """Nothing: a signal to who started workers reaches them."""
    return []


def preview(tasks: Sequence[Task], folder: Path, settings: int) -> str:
    """The commands of tasks."""
    lines = [f"# {len(tasks)} to train here, at most {settings} at a time"]
    lines += [f"# {i} {t.name}\n{shlex.join(command(t))}" for i, t in enumerate(tasks)]
    return "\n".join(lines)


def run(tasks: Sequence[Task], folder: Path, settings: int) -> list[Outcome]:
    """See `run_local`."""
    return run_local(tasks, folder, num_workers=settings)


def run_local(tasks: Sequence[Task], folder: Path, *, num_workers: int) -> list[Outcome]:
    """Runs tasks as subprocesses on this machine, and waits for all of them.

    It uses plain subprocesses, because submitit's local executor starts all tasks at once, and its
    workers survive a signal to the caller. Each worker has its own session, so that Ctrl-C reaches
    it only once, from here: a second signal would make it exit without saving.

    Args:
        tasks: tasks with distinct names; a worker writes to `<folder>/logs/<name>.out`.
        folder: folder of the sweep.
        num_workers: number of tasks that run at a time, at least 1.

    Returns:
        The outcome of each task, in order; a failure does not stop the others.

    Raises:
        StorageError: the folder of logs cannot be created.
        SystemExit: with 128 + signum after SIGINT, SIGTERM or SIGHUP. The workers received the
            signal, too, and had 20 seconds to save, or until a second signal.
    """
    logs = files.make_folder(folder / "logs", folder)
    workers: list[_Worker] = []
    with signals() as received:
        try:
            outcomes = _run(list(tasks), workers, logs, num_workers, received)
        finally:
            _kill(workers)
    if received:
        sys.exit(128 + received[0])
    return [outcomes[task.name] for task in tasks]


def _run(
    waiting: list[Task], workers: list["_Worker"], logs: Path, num_workers: int, received: list[int]
) -> dict[str, Outcome]:
    """Runs tasks until none is left; after a signal, until the workers have ended.

    Args:
        waiting: tasks to start; those that remain in it were not started.
        workers: list of running workers, updated here.
        logs, num_workers: see `run_local`.
        received: list of received signals, see `signals`.

    Returns:
        The outcome of each task that has one, by name.
    """
    outcomes, deadline = {}, math.inf
    while workers or (waiting and not received):
        while waiting and len(workers) < num_workers and not received:
            slot = min(set(range(num_workers)) - {worker.slot for worker in workers})
            share = share_of_devices(slot, num_workers, os.environ)
            outcomes |= _start(waiting.pop(0), workers, logs, slot, share)
        if received and deadline == math.inf:
            deadline = time.monotonic() + GRACE_SECONDS
            _ask_to_stop(workers, received[0])
        if len(received) > 1 or time.monotonic() > deadline:
            _kill(workers)
        outcomes |= _collect(workers)
        time.sleep(0.05)
    return outcomes


def share_of_devices(
    slot: int, num_workers: int, environ: Mapping[str, str], folder: Path = Path("/dev")
) -> dict[str, str]:
    """The environment variables that give a worker its share of this machine's NVIDIA devices.

    Each worker has one device; workers of the same one share its memory. JAX would give each worker
    all devices, and three quarters of the memory of each.

    Args:
        slot: number of the worker, below `num_workers`.
        num_workers: number of workers at a time, a count.
        environ: the caller's environment; what it sets itself is kept.
        folder: where the devices are listed.

    Returns:
        Nothing for a single worker, or without such devices.
    """
    platforms = environ.get("JAX_PLATFORMS", "")
    visible = environ.get("CUDA_VISIBLE_DEVICES")
    found = sorted(int(p.name[6:]) for p in folder.glob("nvidia[0-9]*") if p.name[6:].isdigit())
    devices = list(map(str, found)) if visible is None else visible.split(",")
    devices = [device for device in devices if device not in ("", "-1")]
    if num_workers == 1 or not devices or not {"", "cuda", "gpu"} & {*platforms.split(",")}:
        return {}
    share = {"CUDA_VISIBLE_DEVICES": devices[slot % len(devices)]}
    per_device = -(-num_workers // len(devices))
    if per_device > 1 and _FRACTION not in environ:
        share[_FRACTION] = f"{0.9 / per_device:.2f}"
    return share


def _start(
    task: Task, workers: list["_Worker"], logs: Path, slot: int, share: dict[str, str]
) -> dict[str, Outcome]:
    """Adds a worker for a task; if it cannot be started, returns that as the task's outcome."""
    try:
        workers.append(_Worker(task, logs / f"{task.name}.out", slot, share))
    except OSError as error:
        return {task.name: told(task, StorageError.exit_code, str(error))}
    return {}


def _collect(workers: list["_Worker"]) -> dict[str, Outcome]:
    """Removes the workers that have ended; returns the outcomes of their tasks."""
    outcomes = {}
    for worker in [w for w in workers if w.process.poll() is not None]:
        workers.remove(worker)
        task = worker.task
        outcomes[task.name] = told(task, worker.exit_code(), worker.last_line())
    return outcomes


class _Worker:
    """The process of a task, which appends to its log."""

    def __init__(self, task: Task, log: Path, slot: int, share: Mapping[str, str]):
        self.task, self.slot, self._log = task, slot, log
        with disk.folder(log.parent) as held, open(disk.append(held, log.name), "ab") as file:
            self._start = file.seek(0, os.SEEK_END)
            self.process = subprocess.Popen(
                command(task),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={**os.environ, **share},
            )

    def exit_code(self) -> int:
        code = self.process.returncode
        return 128 - code if code < 0 else code

    def last_line(self) -> str:
        return last_line(self._log, self._start)


def _ask_to_stop(workers: list[_Worker], signum: int) -> None:
    for worker in workers:
        worker.process.send_signal(signal.SIGTERM if signum == signal.SIGHUP else signum)
    interrupts.tell(signum, f"{len(workers)} workers save (again to kill them)")


def _kill(workers: list[_Worker]) -> None:
    for worker in workers:
        if worker.process.poll() is None:
            os.killpg(worker.process.pid, signal.SIGKILL)
            worker.process.wait()
