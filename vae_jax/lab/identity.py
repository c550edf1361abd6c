"""The identity of a program or a sweep, and the name of its directory."""

import hashlib
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vae_jax.lab import build as building
from vae_jax.lab import environment
from vae_jax.lab.config import default, spell
from vae_jax.lab.resolved import complete
from vae_jax.lab.settings import Config, lasts_a_share, named_in
from vae_jax.lab.stored import identity_as_of, with_dataset_of, with_widths_of
from vae_jax.storage import members, runs, seals

__all__ = [
    "default_workdir",
    "holds",
    "of",
    "of_sweep",
    "settings_in",
    "workdir_of_sweep",
    "workdir_options",
]


def of(experiment: building.Experiment, held: dict | None = None) -> dict:
    """The identity of a program, as plain JSON values.

    Args:
        experiment: from `prepare`.
        held: the contents of a directory; if given, the result has the form of the version that
            wrote it, see `identity_as_of`, `with_dataset_of` and `with_widths_of` of `stored`.
    """
    configs, dataset = experiment.configs, experiment.dataset
    if held is None:
        settings = [config.identity() for config in configs]
    else:
        known = {name: value for each in settings_in(held) for name, value in each.items()}
        has_prior = experiment.model.latent.has_prior
        usual = complete(default(configs[0]), dataset, has_prior=has_prior)
        configs = [with_dataset_of(config, known.get("dataset")) for config in configs]
        configs = [with_widths_of(config, known) for config in configs]
        settings = [identity_as_of(config, known, usual) for config in configs]
    found = {"epochs": configs[0].epochs, "data_sha256": dataset.sha256}
    found |= environment.identity()
    found |= settings[0] if experiment.is_single else {"runs": settings}
    if any(map(lasts_a_share, settings)):
        found["epochs_of_schedules"] = configs[0].epochs
    return found


def of_sweep(
    configs: Sequence[Config], runs_per_program: int | None, held: dict | None = None
) -> dict:
    """The identity of a sweep, as plain JSON values.

    Args:
        configs: configs of all runs, from `config.from_flags`.
        runs_per_program: see `Plan`.
        held: see `of`.
    """
    if held is None:
        settings = [config.identity() for config in configs]
    else:
        configs = [with_dataset_of(config, held.get("dataset")) for config in configs]
        usual = {_kind(config): config for config in configs}
        usual = {kind: default(config) for kind, config in usual.items()}
        settings = [identity_as_of(config, held, usual[_kind(config)]) for config in configs]
    values: dict[str, dict] = {}
    for own in settings:
        for name, value in own.items():
            values.setdefault(name, {}).setdefault(_hashable(value), value)
    several = {name: list(found.values()) for name, found in values.items()}
    return {
        **{name: v if len(v) > 1 else v[0] for name, v in several.items()},
        **environment.identity(),
        "num_runs": len(configs),
        "runs_sha256": _digest(configs, settings),
        "runs_per_program": runs_per_program,
    }


def _hashable(value: Any) -> Any:
    """A setting, or a list of them, such that equal ones are equal."""
    return tuple(map(_hashable, value)) if isinstance(value, list) else value


def _kind(config: Config) -> tuple:
    """What decides which hyperparameters a config has: objective, prior and posterior."""
    return config.objective, *named_in(vars(config)).items()


def _digest(configs: Sequence[Config], settings: Sequence[dict]) -> str:
    """A hash of the settings of each run, and of its epochs if runs differ in them.

    If all runs have the same number of epochs, more epochs resume where fewer stopped.
    """
    epochs = [c.epochs for c in configs] if len({c.epochs for c in configs}) > 1 else None
    rows = json.dumps([settings, epochs], sort_keys=True)
    return hashlib.sha256(rows.encode()).hexdigest()


def settings_in(held: dict) -> list[dict]:
    """The settings of each run stored in a directory."""
    return held.get("runs", [held])


def default_workdir(config: Config, dataset_name: str) -> Path:
    """The readable default directory of a single run, made from its settings."""
    return runs.default_workdir("runs", dataset_name, workdir_options(config))


def workdir_options(config: Config) -> dict[str, Any]:
    """The settings in the name of a readable run directory."""
    usual = {**default(config).identity(), "objective": Config.objective}
    chosen = config.identity()
    options = {k: v for k, v in chosen.items() if v != usual[k] and k != "dataset"}
    if config.epochs is not None and config.depends_on_epochs():
        options["epochs"] = config.epochs
    return options


def workdir_of_sweep(configs: Sequence[Config]) -> Path:
    """The readable default directory of a sweep, made from its settings."""
    chosen = [workdir_options(config) for config in configs]
    names = dict.fromkeys(name for options in chosen for name in options)
    values = {}
    for name in names:
        told = (spell(config.requested().get(name)) for config in configs)
        values[name] = list(dict.fromkeys(told))
    # widths contain commas
    words = {n: ("+" if n == "widths" else ",").join(told) for n, told in values.items()}
    if math.prod(map(len, values.values())) != len(configs):
        # only given settings, so that flags added later do not change the name
        stems = (Path(config.dataset).stem for config in configs)
        told = [{**own, "dataset": stem} for own, stem in zip(chosen, stems, strict=True)]
        words["runs"] = _digest(configs, told)[:8]
    datasets = dict.fromkeys(Path(config.dataset).stem for config in configs)
    return runs.default_workdir("runs", ",".join(datasets), words)


def holds(directory: Path, configs: Sequence[Config]) -> bool:
    """Whether a directory belongs to the program of these runs, by the given settings.

    Args:
        directory: directory of a program that has started.
        configs: configs of its runs, from `config.from_flags`.
    """
    held = members.settings(directory)
    asked = [with_dataset_of(c, h.get("dataset")) for c, h in zip(configs, held, strict=False)]
    return len(held) == len(configs) and all(
        # None depends on the data, and missing settings are newer than the directory
        value is None or own.get(name, value) == value
        for config, own in zip(asked, held, strict=True)
        for name, value in seals.plain(config.identity()).items()
    )
