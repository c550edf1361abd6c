"""The programs of a sweep: runs that differ only in numbers train together."""

import collections
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from vae_jax import networks, schedules
from vae_jax.lab import parsers
from vae_jax.lab.config import spell
from vae_jax.lab.settings import (
    ADAM,
    Config,
    flag_fields,
    hyperparameters_of_family,
    named_in,
    statics_of,
)
from vae_jax.storage import files

__all__ = [
    "Program",
    "folder",
    "folder_names",
    "group",
    "places",
    "program_key",
    "program_settings",
]


class Program(NamedTuple):
    """Runs that train together.

    Attributes:
        name: a valid folder name; it tells the program from the others of the sweep.
        members: indices of its runs in the sweep.
        configs: configs of its runs.
    """

    name: str
    members: list[int]
    configs: list[Config]


def group(configs: Sequence[Config], runs_per_program: int | None = None) -> list[Program]:
    """Groups runs into programs: runs that differ only in numbers train together.

    Args:
        configs: configs of all runs.
        runs_per_program: maximum number of runs in each, a count, or None.
    """
    by_key: dict[tuple, list[int]] = {}
    for number, config in enumerate(configs):
        by_key.setdefault(program_key(config), []).append(number)
    words = folder_names([[configs[n] for n in numbers] for numbers in by_key.values()])
    programs = []
    for word, numbers in zip(words, by_key.values(), strict=True):
        size = runs_per_program or len(numbers)
        parts = [numbers[i : i + size] for i in range(0, len(numbers), size)]
        for i, part in enumerate(parts):
            name = word if len(parts) == 1 else f"{word}-part{i}"
            programs.append(Program(name, part, [configs[number] for number in part]))
    return programs


def places(
    configs: Sequence[Config], directory: Path, runs_per_program: int | None = None
) -> list[tuple[Path, int]]:
    """The place of each trained run: the directory of its program, and its index there.

    Args:
        configs: configs of all runs; a single run is trained in the directory itself.
        directory: directory of the sweep.
        runs_per_program: the value used in training.
    """
    if len(configs) == 1:
        return [(directory, 0)]
    found = {
        number: (folder(directory, program.name), member)
        for program in group(configs, runs_per_program)
        for member, number in enumerate(program.members)
    }
    return [found[number] for number in range(len(configs))]


def folder(directory: Path, program: str) -> Path:
    """The directory of a program, by its name, in the directory of its sweep."""
    return files.inside(directory, "programs", program)


def folder_names(groups: Sequence[Sequence[Config]]) -> list[str]:
    """Folder names for groups of runs, made from the values in which the groups differ."""
    if len(groups) == 1:
        return ["all"]
    parting = [program_settings(several[0]) for several in groups]
    # the name of the objective implies settings that only some objectives have
    shared = [name for name in parting[0] if all(name in each for each in parting)]
    differ = [name for name in shared if len({each[name] for each in parting}) > 1]
    names = []
    for several in groups:
        chosen = [config.requested() for config in several]
        told = {n: dict.fromkeys(_spelled(setting.get(n)) for setting in chosen) for n in differ}
        words = "-".join(f"{n}={','.join(values)}" for n, values in told.items())
        words = words.replace(", ", ",")
        names.append(re.sub(r"[^A-Za-z0-9._=,-]", "_", words)[:60])
    # names that were cut, or that end like a cut name, get a number
    counts = collections.Counter(names)
    return [
        name
        if name and counts[name] == 1 and not re.search(r"-(\d+|part\d+)$", name)
        else f"{name or 'program'}-{i}"
        for i, name in enumerate(names)
    ]


def _spelled(value: Any) -> str:
    return "default" if value is None else spell(value)


def program_key(config: Config) -> tuple:
    """`program_settings` as a key: runs with equal keys form one program."""
    return tuple(program_settings(config).items())


def program_settings(config: Config) -> dict:
    """The settings that the runs of one program share: all except numbers that affect no shape.

    Runs with equal settings have `Hparams` of equal structure, which can be stacked.

    Returns:
        Flag → its value, or the kind of value for an array.
    """

    def structure(value):
        if value is None:
            return None
        is_ours = isinstance(schedules.parse(value, **parsers.ANY_UNITS), schedules.Schedule)
        return "schedule" if is_ours else value

    arrays = {
        "latent_dim": config.latent_dim if networks.load(config.network).has_fixed_codes else None,
        "seed": None,
        "learning_rate": structure(config.learning_rate),
        "weight_decay": structure(config.weight_decay or "1e-4"),
        **{name: getattr(config, name) is None for name in ADAM},
        "init_scale": config.init_scale is None,
        "clip_norm": structure(config.clip_norm),
        "prior_phase": structure(config.prior_phase),
        "skip_norm": structure(config.skip_norm),
        "ema_decay": config.ema_decay is None,
        "variance": config.variance if isinstance(config.variance, str) else "given",
    }
    statics = statics_of(config).keys()
    for setting, name in named_in(vars(config)).items():
        statics |= hyperparameters_of_family(setting, name).keys()
    hyperparameters = {
        name: value if name in statics else structure(value)
        for name, value in config.hyperparameters
    }
    return {
        f.name: arrays[f.name] if f.metadata["is_array"] else getattr(config, f.name)
        for f in flag_fields()
    } | hyperparameters
