"""Evaluates trained runs: `python -m experiments.evaluate --run=DIR --metrics=nll`."""

from vae_jax.cli import main

if __name__ == "__main__":
    main.start("evaluate")
