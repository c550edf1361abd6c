"""Shows a sweep on a cluster: `python -m experiments.status --run=DIR`."""

from vae_jax.cli import main

if __name__ == "__main__":
    main.start("status")
