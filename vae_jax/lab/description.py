"""A summary of a program before it trains, in a few lines."""

from vae_jax.lab import build as building
from vae_jax.lab.flags import as_flags

__all__ = [
    "describe",
]


def describe(experiment: building.Experiment) -> list[str]:
    """Summarizes what a program will do, in a few lines."""
    config, dataset = experiment.config, experiment.dataset
    sizes = "/".join(str(len(s)) for s in (dataset.train, dataset.valid, dataset.test))
    shape = "×".join(map(str, dataset.shape))
    values = f"values from {dataset.low:.4g} to {dataset.high:.4g}"
    if dataset.num_levels is not None:
        values = f"{dataset.num_levels} levels from 0 to 1"
    if dataset.alphabet is not None:
        values = f"{len(dataset.alphabet)} characters and an end"
    treatment = f", {config.binarization} binarization" if config.binarization else ""
    if config.binarization == "soft":
        treatment = ", gray levels as soft targets"
    hyperparameters = ", ".join(
        f"{name} {experiment.values_of(name)}" for name, _ in config.hyperparameters
    )
    hyperparameters = f" ({hyperparameters})" if hyperparameters else ""
    streamed = ", streamed from the host" if dataset.streamed else ""
    map_size = getattr(experiment.model.decoder, "map_size", None)
    places = "" if map_size is None else " on a map of {}×{} places".format(*map_size)
    notes = [
        *dataset.notes,
        *building.far_values(dataset, experiment.model.likelihood),
        *getattr(experiment.conditions, "notes", ()),
    ]
    lines = [
        f"data: {dataset.name}, {shape}, train/valid/test {sizes}, {values}{streamed}",
        *(f"data: {as_flags(note)}" for note in notes),
        *([] if dataset.schema is None else dataset.schema.lines()),
        f"model: {config.network}, latent_dim {experiment.values_of('latent_dim')}{places}, "
        f"p(x|z) {config.likelihood}{treatment}",
        f"objective: {config.objective}{hyperparameters}, {config.optimizer}, "
        f"learning rate {experiment.values_of('learning_rate')}, {config.epochs} epochs of "
        f"{experiment.train.steps_per_epoch} steps",
        *map(as_flags, experiment.loss_fn.notes(experiment.model)),
    ]
    if not experiment.is_single:
        num = experiment.layout.mesh.size
        lines.append(f"program: {len(experiment.configs)} runs on {num} device(s)")
    return lines
