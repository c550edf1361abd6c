"""Cancels the jobs of a sweep that are queued or running."""

from pathlib import Path

from vae_jax import console
from vae_jax.cli import command as cli
from vae_jax.errors import UsageError
from vae_jax.lab import entry, executors

__all__ = ["FLAGS", "main", "run"]

FLAGS = {"run": "directory of the sweep"}
"""Flag → its help line."""


def main(values: dict) -> None:
    """Cancels the jobs of the sweep that the flags name."""
    if values["run"] is None:
        raise UsageError("--run: name the directory of a sweep, such as --run=runs/sweep")
    found = []
    for name in executors.names():
        found += executors.load(name).cancel(Path(values["run"]))
    told = ", ".join(found) if found else "none was queued or running"
    console.say(f"canceled: {told}")


def run() -> None:
    """The command `cancel`."""
    example = " ".join([*entry.words("cancel"), "--run=runs/sweep"])
    cli.start(main, FLAGS, "Cancels the jobs of a sweep on a cluster.", example=example)
