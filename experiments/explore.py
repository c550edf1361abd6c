"""Writes a page of the codes of a trained run: `python -m experiments.explore --run=DIR`."""

from vae_jax.cli import main

if __name__ == "__main__":
    main.start("explore")
