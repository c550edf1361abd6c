"""Trains a variational autoencoder: `python -m experiments.vae --beta=4`."""

from experiments import cli, train

if __name__ == "__main__":
    cli.run(
        train.train,
        "Trains an autoencoder and leaves a run directory with numbers (result.json, metrics.csv), "
        "pictures (plots/) and verified checkpoints. The same command resumes where it stopped.",
    )
