"""Writes the page of a run, or of several compared: `python -m experiments.report --run=DIR`."""

from vae_jax.cli import main

if __name__ == "__main__":
    main.start("report")
