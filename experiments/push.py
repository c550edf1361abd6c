"""Sends a trained run to a hub: `python -m experiments.push --run=DIR --repo=user/name`."""

from vae_jax.cli import main

if __name__ == "__main__":
    main.start("push")
