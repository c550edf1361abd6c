"""`python -m vae_jax train --beta=4`: the same as the console script `vae-jax`."""

from vae_jax.cli.main import main

if __name__ == "__main__":
    main()
