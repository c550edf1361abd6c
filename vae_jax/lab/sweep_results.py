"""The results of a sweep: gathered from its programs, compared in tables, pictures and words."""

import dataclasses
import shlex
from collections.abc import Sequence
from pathlib import Path

from vae_jax.errors import DivergedError, StorageError
from vae_jax.lab import build as building
from vae_jax.lab import diagnoses, entry, identity, pictures, run_page, sweep_page, tables
from vae_jax.lab.config import to_flags
from vae_jax.lab.flags import as_flags
from vae_jax.lab.programs import Program, folder, folder_names
from vae_jax.lab.settings import Config, flag_fields
from vae_jax.storage import members

__all__ = ["ended", "gather", "of_program", "report"]


def gather(programs: Sequence[Program], directory: Path, num_runs: int) -> list[dict | None]:
    """The result of each run of a sweep, in its order; None if it is missing."""
    results: list[dict | None] = [None] * num_runs
    for program in programs:
        found = of_program(program, directory)
        for number, result in zip(program.members, found or (), strict=False):
            results[number] = result
    return results


def of_program(program: Program, directory: Path) -> list[dict] | None:
    """The results of a program's runs; None if it has not ended, or its folder is another's."""
    place = folder(directory, program.name)
    found = members.read_results(place)
    is_its = found is not None and identity.holds(place, program.configs)
    return found if is_its else None


def ended(programs: Sequence[Program], directory: Path) -> list[Program]:
    """The programs of a sweep that have results."""
    return [program for program in programs if of_program(program, directory) is not None]


def report(sweep, configs: Sequence[Config], programs, results: Sequence[dict | None]) -> None:
    """Writes the tables of a sweep, reports the best run, and then draws pictures.

    Raises:
        DivergedError: every run diverged.
    """
    rows = tables.sweep_rows(configs, programs, results)
    sweep.write_table("sweep.csv", rows)
    summary = tables.summary_rows(configs, rows)
    sweep.write_table("summary.csv", summary)
    for line in (*tables.lines(summary), *diagnoses.of_sweep(results)):
        sweep.say(line)
    if all(row["status"] == "diverged" for row in rows):
        raise DivergedError(
            f"all {len(rows)} runs diverged: try smaller values of `learning_rate`, with another "
            "`workdir` or `overwrite=True`"
        )
    groups = _groups(configs)
    bests = [_best(sweep, configs, rows, *group) for group in groups]
    bests = [best for best in bests if best is not None]
    if bests:
        sweep.write_json("best.json", bests[0] if len(groups) == 1 else bests)
    _draw(sweep, configs, programs, rows, groups)
    shown = _shown(configs, programs, results, Path(sweep.directory))
    run_page.store(sweep, lambda: sweep_page.page(Path(sweep.directory), shown))
    left = ("sweep.csv", "summary.csv", "plots/", run_page.NAME, "programs/")
    told = [name for name in left if Path(sweep.directory, name).exists()]
    sweep.say(f"in {sweep.directory}: {', '.join(told)}")


def _shown(configs, programs, results, directory: Path) -> list[sweep_page.Shown]:
    """The runs of a sweep for its page."""
    places = {
        number: (folder(directory, program.name), member)
        for program in programs
        for member, number in enumerate(program.members)
    }
    return [sweep_page.Shown(*places[r], configs[r], results[r]) for r in range(len(configs))]


def _groups(configs: Sequence[Config]) -> list[tuple[list[int], str, list[str]]]:
    """Groups of comparable runs: their indices, a description, and their folders."""
    groups = tables.comparable(configs)
    firsts = [configs[group[0]] for group in groups]
    folders = [[name] for name in folder_names([[first] for first in firsts])]
    if len(groups) == 1:
        folders = [[]]
    return list(zip(groups, building.differences(firsts), folders, strict=True))


def _best(sweep, configs, rows: Sequence[dict], group: list[int], words: str, _) -> dict | None:
    """Reports the best run of a group and its command; returns its row, None if all diverged."""
    best = tables.best([rows[r] for r in group])
    if best is None:
        return None
    command = shlex.join(_command_alone(configs[best]))
    num = sum(rows[r]["status"] != "missing" for r in group)
    among = f" with {words}" if words else ""
    sweep.log(
        f"best of {num}{among} by {tables.judged_by(rows[best])}: run {best}, alone: {command}",
        echo=True,
    )
    return {**rows[best], "command": command}


def _draw(sweep, configs, programs, rows: Sequence[dict], groups) -> None:
    """Draws pictures that need several runs, for each comparable group."""
    try:
        curves = tables.curves(ended(programs, sweep.directory), sweep.directory)
    except StorageError as error:
        sweep.log(f"no curves are drawn: {as_flags(str(error))}", echo=True)
        curves = []
    for group, words, within in groups:
        there = [r for r in group if rows[r]["status"] != "missing"]
        number = {run: i for i, run in enumerate(there)}
        pictures.draw_sweep(
            [configs[r] for r in there],
            [rows[r] for r in there],
            [{**row, "run": number[row["run"]]} for row in curves if row["run"] in number],
            sweep.directory,
            ["plots", *within],
            sweep.log,
            f" of {words}" if words else "",
        )


def _command_alone(config: Config) -> list[str]:
    """The command that trains one run of a sweep alone, in a directory named by its settings."""
    fields = {f.name: f.default for f in flag_fields() if f.metadata["group"] == "Output"}
    alone = dataclasses.replace(config, **fields)
    return [*entry.words("train"), *to_flags(alone)]
