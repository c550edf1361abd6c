"""The command: `python -m experiments.benchmark`."""

if __name__ == "__main__":
    from vae_jax.cli import beginning

    # before slow imports
    beginning.begin()

    from experiments.benchmark import command

    command.launch()
