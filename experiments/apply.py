"""Applies a trained run to new rows: `python -m experiments.apply score --run=DIR --input=FILE`."""

from vae_jax.cli import main

if __name__ == "__main__":
    main.start("apply")
