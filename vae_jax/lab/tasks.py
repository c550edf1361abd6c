"""The programs of a sweep as commands for other processes."""

from collections.abc import Sequence
from pathlib import Path

from vae_jax.lab import cluster, entry
from vae_jax.lab.config import command_line, to_flags
from vae_jax.lab.programs import Program, folder
from vae_jax.lab.settings import Config, Plan, flag_fields, hyperparameter_flags
from vae_jax.storage import files

__all__ = ["make_tasks"]


def make_tasks(programs: Sequence[Program], directory: Path, plan: Plan) -> list[cluster.Task]:
    """Each program as a separate command, with its rows in a file and its own directory."""
    tasks = []
    for program in programs:
        place = folder(directory, program.name)
        rows = [_row(config) for config in program.configs]
        file = files.inside(directory, "programs") / f"{program.name}.json"
        arguments = [
            *entry.words("train")[2:],
            *command_line({"sweep": file, "workdir": place, "as_program": True}),
            *_flags_beside(program.configs[0], plan),
        ]
        tasks.append(cluster.Task(program.name, arguments, place))
        if not plan.dry_run:
            files.write_json(file, rows, root=directory)
    return tasks


_NOT_IN_ROWS = [f.name for f in flag_fields() if not f.metadata["sweeps"]]


def _row(config: Config) -> dict[str, str | None]:
    """The settings of a run as a row of the file of `sweep`."""
    flags = (flag.removeprefix("--").partition("=") for flag in to_flags(config))
    row = {name: value for name, _, value in flags if name not in _NOT_IN_ROWS}
    names = [f.name for f in flag_fields() if f.metadata["sweeps"]] + list(hyperparameter_flags())
    # no row may be empty, and all have the same keys
    chosen = {**row, "seed": str(config.seed), "latent_dim": str(config.latent_dim)}
    return {**dict.fromkeys(names), **chosen}


def _flags_beside(config: Config, plan: Plan) -> list[str]:
    """What holds for all rows of a program's file."""
    beside = set(_NOT_IN_ROWS) - {"workdir"}
    flags = to_flags(config)
    kept = [f for f in flags if f.removeprefix("--").partition("=")[0] in beside]
    return kept + command_line({"data_devices": plan.data_devices})
