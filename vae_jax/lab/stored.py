"""Settings in the directories of runs, which another version may have written."""

import dataclasses
import os
from collections.abc import Container, Mapping, Sequence

from vae_jax import networks, objectives
from vae_jax.errors import UsageError
from vae_jax.lab.settings import Config, flag_fields, hyperparameter_flags

__all__ = [
    "BESIDE",
    "as_begun",
    "identity_as_of",
    "refuse_unknown",
    "settings_of",
    "with_dataset_of",
    "with_widths_of",
]


BESIDE = {
    *("epochs", "epochs_of_schedules", "data_sha256", "matmul_precision", "xla_flags", "runs"),
    *("num_runs", "runs_sha256", "runs_per_program"),
}
"""Entries of run directories beside the settings that affect a result."""


def identity_as_of(config: Config, known: Container[str], default: Config) -> dict:
    """`Config.identity` in the form of a version that only had the `known` settings.

    A newer flag is left out if it has its default, or the value that means what that version did:
    see `flag`.

    Args:
        config: config of a run.
        known: the settings that were stored.
        default: config of the same objective, without other flags.
    """
    usual, before = default.identity(), _before()
    return {
        name: value
        for name, value in config.identity().items()
        if name in known or value not in (usual[name], before.get(name, usual[name]))
    }


def as_begun(config: Config, held: Mapping) -> Config:
    """The config with which the version that began a directory would have gone on.

    A setting that is not given, and that the directory lacks or has with the value that means what
    versions without it did, gets that value. Default widths that depend on the shape are as stored:
    versions whose networks had the same at any shape stored None.

    Args:
        config: config of a run.
        held: the settings that were stored.
    """
    before = _before()
    found = {
        f.name: f.metadata["before"]
        for f in flag_fields()
        if held.get(f.name, before[f.name]) == before[f.name]
        and getattr(config, f.name) == f.default != f.metadata["before"]
    }
    network = networks.load(config.network)
    if config.widths is None and network.widths_by_shape is not None:
        found["widths"] = tuple(held.get("widths") or network.widths)
    return dataclasses.replace(config, **found)


def settings_of(held: Mapping) -> dict:
    """The settings of a run and its epochs; one that it lacks has the value that it meant then.

    Args:
        held: the stored entries of one run, by name.
    """
    usual, before = Config().identity(), _before()
    lacking = {n: v for n, v in before.items() if n not in held and v != usual.get(n, v)}
    own = {n: v for n, v in held.items() if n not in BESIDE or n == "epochs"}
    return {**lacking, **own}


def _before() -> dict:
    """Setting → its value in `Config.identity` that means the behavior before it existed."""
    found = {f.name: f.metadata["before"] for f in flag_fields()}
    return {name: list(v) if isinstance(v, tuple) else v for name, v in found.items()}


def with_dataset_of(config: Config, held: str | Sequence[str] | None) -> Config:
    """The config with the stored name of its dataset, if a user's file has moved.

    A file that was moved, or is used from another working directory, counts as the same by its
    content, which `data_sha256` identifies.

    Args:
        config: config of a run.
        held: the name of the dataset, or the names, stored in the directory.
    """
    names = [held] if isinstance(held, str) else held or []
    if config.dataset in names or not os.path.lexists(config.dataset):
        return config
    own = os.path.basename(os.path.normpath(config.dataset))
    same = [name for name in names if os.path.basename(os.path.normpath(name)) == own]
    return dataclasses.replace(config, dataset=same[0]) if len(same) == 1 else config


def with_widths_of(config: Config, held: Mapping) -> Config:
    """The config without widths, if the directory has none and they are the network's own.

    Args:
        config: complete config of a run.
        held: the settings that were stored.
    """
    is_default = config.widths == networks.load(config.network).widths
    if held.get("widths") is None and is_default:
        return dataclasses.replace(config, widths=None)
    return config


def refuse_unknown(held: Mapping, where: str) -> None:
    """Raises an error unless all stored settings are flags of this version.

    Args:
        held: setting → value.
        where: what contains them, for the message.

    Raises:
        UsageError: some are unknown; the message names them.
    """
    usual = {*(f.name for f in flag_fields()), *objectives.hyperparameters(Config.objective)}
    others = held.keys() - usual - BESIDE
    # other objectives are imported only for a name that is not one of these
    names = others - hyperparameter_flags().keys() if others else others
    unknown = sorted(f"{name}={held[name]}" for name in names)
    if unknown:
        raise UsageError(
            f"{where} holds {', '.join(unknown)}, which this version of vae_jax does not know: "
            "use the version that wrote it, or a newer one"
        )
