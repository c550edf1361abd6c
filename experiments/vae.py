"""Trains a variational autoencoder: `python -m experiments.vae --beta=4`."""

if __name__ == "__main__":
    from experiments import beginning, garbage_collection

    # before the imports that take a second
    beginning.begin()

    with garbage_collection.paused():
        from experiments import cli, sweep

    cli.run(
        sweep.main,
        "Trains an autoencoder and leaves a run directory with numbers (result.json, metrics.csv), "
        "pictures (plots/) and verified checkpoints. The same command resumes where it stopped. "
        "Several values of a flag are a sweep.",
    )
