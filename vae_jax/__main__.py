"""`python -m vae_jax train --beta=4`: what the console script `vae-jax` does."""

from vae_jax.cli.main import main

if __name__ == "__main__":
    main()
