"""Trains an autoencoder: `python -m experiments.vae --beta=4`."""

from vae_jax.cli import main

if __name__ == "__main__":
    main.start("train")
