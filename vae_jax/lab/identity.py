"""The identity of a program, and the name of its directory."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vae_jax.lab import build as building
from vae_jax.lab import environment
from vae_jax.lab.config import (
    Config,
    from_flags,
    identity_as_of,
    lasts_a_share,
    resolve,
    with_dataset_of,
)
from vae_jax.storage import members, runs, seals

__all__ = [
    "default_workdir",
    "holds",
    "of",
    "settings_in",
    "workdir_options",
]


def of(experiment: building.Experiment, held: dict | None = None) -> dict:
    """The identity of a program, as plain JSON values.

    Args:
        experiment: from `prepare`.
        held: the contents of a directory; if given, the result has the form of the version that
            wrote it, see `config.identity_as_of` and `config.with_dataset_of`.
    """
    configs, dataset = experiment.configs, experiment.dataset
    if held is None:
        settings = [config.identity() for config in configs]
    else:
        known = {name: value for each in settings_in(held) for name, value in each.items()}
        default = resolve(from_flags({"objective": configs[0].objective}), dataset)
        configs = [with_dataset_of(config, known.get("dataset")) for config in configs]
        settings = [identity_as_of(config, known, default) for config in configs]
    found = {"epochs": configs[0].epochs, "data_sha256": dataset.sha256}
    found |= environment.identity()
    found |= settings[0] if experiment.is_single else {"runs": settings}
    if any(map(lasts_a_share, settings)):
        found["epochs_of_schedules"] = configs[0].epochs
    return found


def settings_in(held: dict) -> list[dict]:
    """The settings of each run stored in a directory."""
    return held.get("runs", [held])


def default_workdir(config: Config, dataset_name: str) -> Path:
    """The readable default directory of a single run, made from its settings."""
    return runs.default_workdir("runs", dataset_name, workdir_options(config))


def workdir_options(config: Config) -> dict[str, Any]:
    """The settings in the name of a readable run directory."""
    default = from_flags({"objective": config.objective}).identity()
    default["objective"] = Config.objective
    chosen = config.identity()
    options = {k: v for k, v in chosen.items() if v != default[k] and k != "dataset"}
    if config.epochs is not None and config.depends_on_epochs():
        options["epochs"] = config.epochs
    return options


def holds(directory: Path, configs: Sequence[Config]) -> bool:
    """Whether a directory belongs to the program of these runs, by the given settings.

    Args:
        directory: directory of a program that has started.
        configs: of its runs, from `vae_jax.lab.config.from_flags`.
    """
    held = members.settings(directory)
    asked = [with_dataset_of(c, h.get("dataset")) for c, h in zip(configs, held, strict=False)]
    return len(held) == len(configs) and all(
        # None depends on the data, and missing settings are newer than the directory
        value is None or own.get(name, value) == value
        for config, own in zip(asked, held, strict=True)
        for name, value in seals.plain(config.identity()).items()
    )
