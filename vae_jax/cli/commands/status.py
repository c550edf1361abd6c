"""Shows the programs of a sweep that an executor trains: state, epoch, ELBO, output."""

import time
from pathlib import Path

from vae_jax import console
from vae_jax.cli import command as cli
from vae_jax.errors import UsageError
from vae_jax.lab import entry, overview

__all__ = ["FLAGS", "SECONDS", "main", "run"]

SECONDS = 10.0
"""Seconds from a table to the next, while it follows."""
FLAGS = {
    "run": "directory of the sweep",
    "follow": "yes: shows the table again until all programs have ended",
}
"""Flag → its help line."""


def main(values: dict) -> None:
    """Shows the programs of the sweep that the flags name."""
    if values["run"] is None:
        raise UsageError("--run: name the directory of a sweep, such as --run=runs/sweep")
    if values["follow"] not in (None, "yes", "no"):
        raise UsageError(f"--follow={values['follow']}: must be yes or no")
    directory, before = Path(values["run"]), None
    while True:
        outcomes = overview.of_directory(directory)
        text = "\n".join(overview.lines(outcomes, directory))
        if text != before:
            console.say_page(text)
        if values["follow"] != "yes" or not any(map(overview.is_under_way, outcomes)):
            return
        before = text
        time.sleep(SECONDS)


def run() -> None:
    """The command `status`."""
    example = " ".join([*entry.words("status"), "--run=runs/sweep --follow=yes"])
    cli.start(main, FLAGS, "Shows the programs of a sweep on a cluster.", example=example)
