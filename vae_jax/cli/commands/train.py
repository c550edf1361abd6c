"""Trains an autoencoder, or the runs of a sweep."""

from vae_jax.cli import command
from vae_jax.lab import sweep

__all__ = [
    "DESCRIPTION",
    "run",
]

DESCRIPTION = (
    "Trains an autoencoder and leaves a run directory with numbers (result.json, metrics.csv), "
    "pictures (plots/) and verified checkpoints. The same command resumes where it stopped. "
    "Several values of a flag are a sweep."
)


def run() -> None:
    """Parses the flags of a training from `sys.argv`, trains, and exits."""
    command.run(sweep.main, DESCRIPTION)
