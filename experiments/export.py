"""Writes a trained run as one small file: `python -m experiments.export --run=DIR`."""

from vae_jax.cli import main

if __name__ == "__main__":
    main.start("export")
