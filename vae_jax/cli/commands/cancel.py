"""Cancels the jobs of a sweep that are queued or running."""

from pathlib import Path

from vae_jax import console
from vae_jax.cli import command as cli
from vae_jax.errors import UsageError
from vae_jax.lab import entry, executors

__all__ = ["main", "run"]

_TEXTS = {"run": "directory of the sweep"}


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
    cli.start(main, _TEXTS, "Cancels the jobs of a sweep on a cluster.", example=example)
