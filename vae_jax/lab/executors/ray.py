"""Tasks of Ray, on this machine or a cluster that runs already: `ray`."""

import contextlib
import importlib
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vae_jax.errors import UsageError
from vae_jax.lab.executors._task import Outcome, Task, command, last_line, pairs, told
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
    """
    if not tasks:
        return []
    ray = _ray()
    logs = files.make_folder(folder.absolute() / "logs", folder.absolute())
    # numbers of a run do not depend on threads that a cluster sets
    start = ray.remote(num_cpus=settings["cpus"], num_gpus=settings["gpus"], max_retries=3)(_start)
    with _joined(ray, settings.get("address")):
        names = ("PYTHONPATH", "PYTHONSAFEPATH", "VAE_JAX_DATA_DIR", "JAX_PLATFORMS")
        environ = {name: os.environ[name] for name in names if name in os.environ}
        waiting = {
            start.remote(command(task), str(logs / f"{task.name}.out"), environ, os.getcwd()): task
            for task in tasks
        }
        outcomes = {}
        while waiting:
            (ended,), _ = ray.wait(list(waiting))
            task = waiting.pop(ended)
            try:
                code, line = ray.get(ended)
            except ray.exceptions.RayError as error:
                code, line = 1, " ".join(str(error).split())[:300]
            outcomes[task.name] = told(task, code, line)
    return [outcomes[task.name] for task in tasks]


def _start(words: list[str], log: str, environ: dict[str, str], folder: str) -> tuple[int, str]:
    """Runs a task on a node: its exit code, and the last line of its log."""
    path = Path(log)
    size = path.stat().st_size if path.exists() else 0
    with open(path, "ab") as file:
        done = subprocess.run(
            [sys.executable, *words[1:]],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env={**os.environ, **environ},
        )
    code = done.returncode
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
