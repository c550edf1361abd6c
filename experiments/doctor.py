"""Says what is wrong with a trained run: `python -m experiments.doctor --run=DIR`."""

from vae_jax.cli import main

if __name__ == "__main__":
    main.start("doctor")
