"""Tasks of Ray, on this machine or a cluster that runs already: `ray`."""

import contextlib
import importlib
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vae_jax.errors import UsageError
from vae_jax.lab import interrupts
from vae_jax.lab.executors._task import (
    GRACE_SECONDS,
    Outcome,
    Task,
    command,
    last_line,
    pairs,
    signals,
    told,
)
from vae_jax.storage import files

__all__ = ["IS_QUEUED", "cancel", "parse", "preview", "recorded", "run"]

IS_QUEUED = False
_EXAMPLE = "address=auto,cpus=4,gpus=1"


def parse(text: str, num_workers: int = 1) -> dict[str, Any]:
    """Parses `address=auto,cpus=4,gpus=1` to settings.

    `address` is that of a cluster (by default, one starts on this machine); `cpus` and `gpus` are
    what a program has, and so how many run at a time. A part of a GPU is written as `gpus=0.5`.

    Args:
        text: the settings, separated by commas; may be empty.
        num_workers: not used.

    Returns:
        Setting → value.

    Raises:
        UsageError: a setting is unknown, or has an invalid value.
    """
    found = pairs(text, "ray", ("address", "cpus", "gpus"), _EXAMPLE)
    values: dict[str, Any] = {"cpus": 1.0, "gpus": 0.0, **found}
    for name in found.keys() & {"cpus", "gpus"}:
        if not re.fullmatch(r"\d{1,4}(\.\d{1,3})?", found[name]):
            raise UsageError(f"`ray`: {name}={found[name]}: must be a number, 0 or more")
        values[name] = float(found[name])
    return values


def recorded(tasks: Sequence[Task], folder: Path) -> dict[str, Outcome]:
    """Nothing: who started tasks waits for them."""
    return {}


def cancel(folder: Path) -> list[str]:
    """Nothing: a signal to who started tasks reaches them."""
    return []


def preview(tasks: Sequence[Task], folder: Path, settings: Mapping[str, Any]) -> str:
    """The commands of tasks, and what each has."""
    lines = [f"# {len(tasks)} to train, each with {settings['cpus']:g} CPUs and "
             f"{settings['gpus']:g} GPUs"]  # fmt: skip
    return "\n".join([*lines, *(shlex.join(command(task)) for task in tasks)])


def run(tasks: Sequence[Task], folder: Path, settings: Mapping[str, Any]) -> list[Outcome]:
    """Runs tasks on a cluster of Ray, and waits for all of them.

    Ray gives each its devices. A task that is lost with its node is tried again elsewhere, and
    resumes.

    Args:
        tasks: tasks with distinct names; each writes to `<folder>/logs/<name>.out`.
        folder: folder of the sweep, visible on all nodes.
        settings: from `parse`.

    Returns:
        The outcome of each task, in order; a failure does not stop the others.

    Raises:
        UsageError: Ray is missing, or its cluster does not answer.
        StorageError: the folder of logs cannot be created.
        SystemExit: with 128 + signum after SIGINT, SIGTERM or SIGHUP. The tasks received SIGTERM,
            and had 20 seconds to save, or until a second signal.
    """
    if not tasks:
        return []
    ray = _ray()
    logs = files.make_folder(folder.absolute() / "logs", folder.absolute())
    # numbers of a run do not depend on threads that a cluster sets
    start = ray.remote(num_cpus=settings["cpus"], num_gpus=settings["gpus"], max_retries=3)(_start)
    names = ("PYTHONPATH", "PYTHONSAFEPATH", "VAE_JAX_DATA_DIR", "JAX_PLATFORMS")
    environ = {name: os.environ[name] for name in names if name in os.environ}
    # handlers of signals are installed after Ray's own
    with _joined(ray, settings.get("address")), signals() as received:
        waiting = {
            start.remote(command(task), str(logs / f"{task.name}.out"), environ, os.getcwd()): task
            for task in tasks
        }
        outcomes = _wait(ray, waiting, received)
    if received:
        sys.exit(128 + received[0])
    return [outcomes[task.name] for task in tasks]


def _wait(ray, waiting: dict[Any, Task], received: list[int]) -> dict[str, Outcome]:
    """Waits until tasks have ended; after a signal they save, after a second one nobody waits.

    Args:
        ray: the module.
        waiting: reference of Ray → its task.
        received: list of received signals, see `signals`.

    Returns:
        Task name → its outcome.
    """
    outcomes, is_asked = {}, False
    while waiting and len(received) < 2:
        if received and not is_asked:
            is_asked = True
            interrupts.tell(received[0], f"{len(waiting)} programs save (again to leave at once)")
            for reference in waiting:
                ray.cancel(reference)
        for reference in ray.wait(list(waiting), timeout=0.5)[0]:
            task = waiting.pop(reference)
            try:
                code, line = ray.get(reference)
            except ray.exceptions.RayError as error:
                code, line = 1, " ".join(str(error).split())[:300]
            if not received:
                outcomes[task.name] = told(task, code, line)
    return outcomes


def _start(words: list[str], log: str, environ: dict[str, str], folder: str) -> tuple[int, str]:
    """Runs a task on a node: its exit code, and the last line of its log."""
    path = Path(log)
    size = path.stat().st_size if path.exists() else 0
    with open(path, "ab") as file:
        process = subprocess.Popen(
            [sys.executable, *words[1:]],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env={**os.environ, **environ},
            start_new_session=True,
        )
        try:
            # Ray cancels a task by an exception, which does not end a wait
            while process.poll() is None:
                time.sleep(0.1)
            code = process.returncode
        except KeyboardInterrupt:
            process.terminate()
            code = process.wait(GRACE_SECONDS)
        finally:
            process.kill()
    return 128 - code if code < 0 else code, last_line(path, size)


@contextlib.contextmanager
def _joined(ray, address: str | None):
    """Joins a cluster, or starts one on this machine, for the time of a sweep."""
    try:
        ray.init(address=address, log_to_driver=False, logging_level="error")
    except (ConnectionError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UsageError(
            f"executor=ray: no cluster answers at address={address} ({reason}): start one, or "
            "leave address out"
        ) from None
    try:
        yield
    finally:
        ray.shutdown()


def _ray():
    try:
        # this module has the same name
        return importlib.import_module("ray")
    except ImportError:
        raise UsageError(
            "executor=ray: Ray is not installed: pip install 'vae_jax[ray]', "
            "or EXTRAS=ray ./launch.sh …"
        ) from None
