"""Many runs from one command: expands flags, groups runs into programs, collects tables.

A sweep's directory contains a run directory for each program in `programs/`, and results of all
runs together: `sweep.csv`, `summary.csv`, pictures, the best run and its command.
"""

import csv
import dataclasses
import errno
import hashlib
import io
import itertools
import json
import math
import os
import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from vae_jax import aliases, console, disk
from vae_jax.devices import processes
from vae_jax.errors import (
    DivergedError,
    IncompleteError,
    StorageError,
    UsageError,
    did_you_mean,
    verbatim,
)
from vae_jax.lab import build as building
from vae_jax.lab import cluster, entry, environment, identity, pictures, tables
from vae_jax.lab import config as config_lib
from vae_jax.lab import train as training_lib
from vae_jax.lab.config import Config, Plan
from vae_jax.lab.flags import as_flags
from vae_jax.storage import files, members, runs

__all__ = [
    "MAX_BYTES",
    "MAX_RUNS",
    "Program",
    "default_workdir",
    "expand",
    "group",
    "main",
    "make_configs",
    "places",
    "read_rows",
    "report",
    "run",
    "split",
    "train_rows",
]

MAX_RUNS = 10_000
MAX_BYTES = 2**23
"""Of a file of `sweep`, a count: a quarter of a page for each run."""


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


def expand(values: dict[str, str | None], file: str | None = None) -> list[dict[str, str | None]]:
    """Expands flags with several values, and the rows of a file, to all runs.

    Args:
        values: flag → text, or None if it was not given; commas separate values.
        file: file with rows, or None.

    Returns:
        Flag → text with one value each, for each run: rows outermost, then the product of the flags
            in the order of the help page.

    Raises:
        UsageError: the file is invalid, a flag is given both there and here, or there are too many
        runs.
    """
    fields = {f.name: f for f in config_lib.flag_fields()}
    lists = {}
    for name, value in values.items():
        sweeps = name not in fields or fields[name].metadata["sweeps"]
        lists[name] = split(value, name) if sweeps and isinstance(value, str) else [value]
    rows = [{}] if file is None else read_rows(file, values)
    names = [name for name in lists if name not in rows[0]]
    # count the runs before making them: a product may be huge
    num_runs = len(rows) * math.prod(len(lists[name]) for name in names)
    if num_runs > MAX_RUNS:
        raise UsageError(f"{num_runs} runs: at most {MAX_RUNS} in one sweep, split it")
    products = list(itertools.product(*(lists[name] for name in names)))
    return [dict(zip(names, product, strict=True)) | row for row in rows for product in products]


def split(value: str, name: str) -> list[str]:
    """The values of a flag: parted by commas outside parentheses; of `widths` by semicolons."""
    if name == "dataset" and os.path.lexists(value):
        return [value]
    if name != "dataset" and value.count("(") != value.count(")"):
        raise UsageError(f"{name}={value}: a parenthesis has no partner")
    parting = ";" if name == "widths" else r",(?![^()]*\))"
    items = [item.strip() for item in re.split(parting, value)]
    if len(items) > 1 and "" in items:
        raise UsageError(f"{name}={value}: holds an empty value, give one after each comma")
    return items


def read_rows(file: str, values: dict[str, str | None]) -> list[dict[str, str | None]]:
    """The rows of `sweep`: flag → text, None for an empty cell.

    Raises:
        UsageError: the file is not a table of flags, or a flag is given both there and here.
    """
    text = _read_text(file)
    read = _json_rows if Path(file).suffix.lower() == ".json" else _csv_rows
    rows = [[(_setting(name), value) for name, value in row] for row in read(file, text)]
    if not rows:
        raise UsageError(f"sweep={file}: holds no runs: give a row for each")
    if not rows[0]:
        raise UsageError(
            f"sweep={file}: row 1 sets no flag, name at least one (its value may be empty)"
        )
    sweeping = {f.name for f in config_lib.flag_fields() if f.metadata["sweeps"]}
    sweeping |= config_lib.objective_flags().keys()
    first = [name for name, _ in rows[0]]
    for number, row in enumerate(rows, 1):
        names = [name for name, _ in row]
        for name in names:
            if name not in sweeping:
                hint = did_you_mean(name, sweeping)
                raise UsageError(f"sweep={file}: {name!r} is not a flag that a row may set{hint}")
            if names.count(name) > 1:
                raise UsageError(f"sweep={file}: sets {name} twice, give it once")
            if values.get(name) is not None:
                raise UsageError(f"{name}={values[name]}: {file} sets it too, give it in one place")
        if set(names) != set(first):
            raise UsageError(
                f"sweep={file}: row {number} has {', '.join(names)}, the first row has "
                f"{', '.join(first)}: give the same flags in each"
            )
    return [{name: _text(value) for name, value in row} for row in rows]


def _setting(written: str) -> str:
    """The setting that the head of a column, or a key, stands for."""
    return aliases.setting(written.strip().lstrip("-"))


def _read_text(file: str) -> str:
    """Reads a text file; does not wait for a pipe, or read a device without end."""
    try:
        with open(disk.open_regular(os.path.realpath(file), os.O_RDONLY), "rb") as held:
            raw = held.read(MAX_BYTES + 1)
        if len(raw) > MAX_BYTES:
            raise OSError(errno.EFBIG, f"has more than {MAX_BYTES:,} bytes")
        return raw.decode("utf-8-sig")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "no UTF-8 text"
        raise UsageError(f"sweep={file}: cannot be read ({reason})") from None


def _csv_rows(file: str, text: str) -> list[list[tuple[str, str]]]:
    """The rows of CSV text, as pairs of column and cell; a row of empty cells sets no flag.

    Blank lines are skipped: in a file with one column, an empty cell is written as "".
    """
    try:
        told = (line for line in csv.reader(io.StringIO(text)) if not _is_blank(line))
        lines = list(itertools.islice(told, MAX_RUNS + 2))
    except csv.Error as error:
        raise UsageError(f"sweep={file}: is not CSV ({error})") from None
    names, rows = (lines[0], lines[1:]) if lines else ([], [])
    if len(rows) > MAX_RUNS:
        raise UsageError(f"sweep={file}: has more than {MAX_RUNS} runs, split it")
    for number, row in enumerate(rows, 1):
        if len(row) != len(names):
            raise UsageError(
                f"sweep={file}: row {number} has {len(row)} cells, there are {len(names)} "
                "columns: values with commas stand in double quotes, cells may be empty"
            )
    return [[(n, cell.strip()) for n, cell in zip(names, row, strict=True)] for row in rows]


def _is_blank(line: list[str]) -> bool:
    """Whether a line contains only spaces."""
    return not line or (len(line) == 1 and line[0].isspace())


def _json_rows(file: str, text: str) -> list[list[tuple[str, Any]]]:
    """The rows of JSON text, as pairs of key and value; duplicate keys are kept."""
    try:
        rows = json.loads(text, object_pairs_hook=tuple)
    except ValueError as error:
        raise UsageError(f"sweep={file}: is not JSON ({error})") from None
    except RecursionError:
        raise UsageError(f"sweep={file}: must be a list of objects, it nests deeper") from None
    if not isinstance(rows, list) or not all(isinstance(row, tuple) for row in rows):
        raise UsageError(f"sweep={file}: must be a list of objects, one for each run")
    return [list(row) for row in rows]


def _text(value: Any) -> str | None:
    """A cell as the text of a flag; an empty one means the flag's default."""
    if value is None or value == "":
        return None
    if isinstance(value, list):
        return ",".join(map(str, value))
    return str(value)


def make_configs(values: dict[str, str | None], file: str | None = None) -> list[Config]:
    """The `Config` of each run requested by the flags.

    Raises:
        UsageError: a value does not fit, or two runs are the same.
    """
    rows = expand(values, file)
    configs, seen = [], {}
    for number, row in enumerate(rows, 1):
        config = _config(row, number, len(rows), file)
        settings = config_lib.settings(config)
        key = json.dumps(settings, sort_keys=True)
        if key in seen:
            told = ", ".join(
                f"{name}={row[name]}" for name in row if row[name] and name in settings
            )
            listed = [f"{n}={v}" for n, v in values.items() if v and v != row.get(n)]
            where = f"{' '.join(listed)}: " if listed else ""
            raise UsageError(
                f"{where}runs {seen[key]} and {number} of the sweep are the same "
                f"({verbatim(told or 'defaults')}): give each value once"
            )
        seen[key] = number
        configs.append(config)
    return configs


def _config(row: dict[str, str | None], number: int, num_runs: int, file: str | None) -> Config:
    """The `Config` of one run; an error names the run among several, and how they may differ."""
    try:
        return config_lib.from_flags(row)
    except config_lib.CombinationError as error:
        if num_runs == 1 or file is not None:
            raise UsageError(f"{_place(number, file)}{error}") from None
        raise UsageError(
            f"run {number} of {num_runs}: {error} (rows of sweep=FILE may leave a cell empty)"
        ) from None
    except UsageError as error:
        raise UsageError(f"{_place(number, file)}{error}") from None


def _place(number: int, file: str | None) -> str:
    return "" if file is None else f"sweep={file}, run {number}: "


def group(configs: Sequence[Config], runs_per_program: int | None = None) -> list[Program]:
    """Groups runs into programs: runs that differ only in numbers train together.

    Args:
        configs: configs of all runs.
        runs_per_program: maximum number of runs in each, a count, or None.
    """
    by_key: dict[tuple, list[int]] = {}
    for number, config in enumerate(configs):
        by_key.setdefault(config_lib.program_key(config), []).append(number)
    words = _folder_names([[configs[n] for n in numbers] for numbers in by_key.values()])
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
        number: (_folder(directory, program.name), member)
        for program in group(configs, runs_per_program)
        for member, number in enumerate(program.members)
    }
    return [found[number] for number in range(len(configs))]


def _folder_names(groups: Sequence[Sequence[Config]]) -> list[str]:
    """Folder names for groups of runs, made from the values in which the groups differ."""
    if len(groups) == 1:
        return ["all"]
    parting = [config_lib.program_settings(several[0]) for several in groups]
    # the name of the objective implies settings that only some objectives have
    shared = [name for name in parting[0] if all(name in each for each in parting)]
    differ = [name for name in shared if len({each[name] for each in parting}) > 1]
    names = []
    for several in groups:
        chosen = [config_lib.settings(config) for config in several]
        told = {n: dict.fromkeys(_spelled(setting.get(n)) for setting in chosen) for n in differ}
        words = "-".join(f"{n}={','.join(values)}" for n, values in told.items())
        words = words.replace(", ", ",")
        names.append(re.sub(r"[^A-Za-z0-9._=,-]", "_", words)[:60])
    # names that were cut, or that end like a cut name, get a number
    return [
        name
        if name and names.count(name) == 1 and not re.search(r"-(\d+|part\d+)$", name)
        else f"{name or 'program'}-{i}"
        for i, name in enumerate(names)
    ]


def _spelled(value: Any) -> str:
    return "default" if value is None else config_lib.spell(value)


def run(configs: Sequence[Config], plan: Plan, command: Sequence[str]) -> list[dict | None]:
    """Trains every program of a sweep, here or on a cluster, and collects the results.

    Args:
        configs: configs of all runs, from `make_configs`.
        plan: how to train.
        command: the flags as given, to be stored.

    Returns:
        The result of each run in the order of `configs`; None if it is missing.

    Raises:
        DivergedError: every run diverged.
        DataError: the data of a program do not fit; nothing was written.
        IncompleteError: a program failed elsewhere; the results of the others are stored.
        StorageError: a program's files cannot be read or written.
        UsageError: a program cannot be trained with these settings; nothing was written.
    """
    programs = group(configs, plan.runs_per_program)
    directory = Path(configs[0].workdir or default_workdir(configs))
    # refuse a program that cannot train before others have trained for hours; if other processes
    # train, this one leaves data and accelerators to them
    estimates = {} if plan.executor else {p.name: _estimate(p, plan) for p in programs}
    if plan.dry_run:
        if processes.is_first():
            for text in _preview(configs, programs, directory, plan, estimates):
                console.say_page(text)
        return []
    with _open(directory, configs, plan) as sweep:
        if sweep.archived is not None:
            sweep.log(f"the sweep that was here is now {sweep.archived}", echo=True)
        sweep.write_config()
        sweep.write_command([*entry.words("train"), *command])
        sweep.log(f"{_count(len(configs), 'run')} in {_count(len(programs), 'program')}", echo=True)
        train = _train_elsewhere if plan.executor else _train_here
        failed = train(sweep, programs, directory, plan)
        results = _gather(programs, directory, len(configs))
        missing = results.count(None)
        if missing:
            sweep.log(
                f"{missing} of {len(results)} runs have no result yet: the same command trains "
                "what is missing",
                echo=True,
            )
        if processes.is_first():
            report(sweep, configs, programs, results)
    if failed:
        raise IncompleteError(
            f"{len(failed)} of {_count(len(programs), 'program')} failed "
            f"({verbatim(failed[0])}): "
            f"see {directory / 'logs'}, the same command trains what is missing"
        )
    return results


def _estimate(program: Program, plan: Plan) -> str:
    """Estimates the memory of a program, as text; finds any error that would prevent training."""
    experiment = training_lib.prepare(program.configs, num_data=plan.data_devices)
    return experiment.memory_estimate()


def _open(directory: Path, configs: Sequence[Config], plan: Plan):
    """Opens the sweep's directory for this process."""

    def as_of(held):
        config_lib.refuse_unknown(held, str(directory))
        return _identity(configs, plan, held)

    def open_run():
        stored = _identity(configs, plan)
        return runs.open_run(
            directory, stored, as_of=as_of, called=environment.CALLED, overwrite=plan.overwrite
        )

    return processes.on_first(open_run) or runs.Follower(directory)


def _train_here(sweep, programs: Sequence[Program], directory: Path, plan: Plan) -> list[str]:
    """Trains the programs one after the other; a program that diverges does not end the others.

    Returns:
        An empty list: any other failure of a program ends the sweep.
    """
    for program in programs:
        if len(programs) > 1:
            told = f"program {program.name}: {_count(len(program.members), 'run')}"
            sweep.log(told, echo=True)
        try:
            training_lib.train(
                program.configs,
                workdir=_folder(directory, program.name),
                num_data=plan.data_devices,
                retry_diverged=False,
            )
        except DivergedError as error:
            sweep.log(f"program {program.name}: {as_flags(str(error))}", echo=True)
    return []


def _train_elsewhere(sweep, programs: Sequence[Program], directory: Path, plan: Plan) -> list[str]:
    """Trains the programs in other processes; returns a note on each that failed."""
    tasks, by_name = _tasks(programs, directory, plan), {p.name: p for p in programs}
    failed = []
    for outcome in cluster.fan_out(tasks, directory, **_executor(plan, programs, directory)):
        if outcome.status in ("done", "complete"):
            continue
        note = f"program {outcome.name}: {outcome.status} {outcome.message}"
        sweep.log(note, echo=True)
        # a program that diverged has results
        if outcome.status == "failed" and _results(by_name[outcome.name], directory) is None:
            failed.append(note)
    return failed


def _folder(directory: Path, program: str) -> Path:
    return files.inside(directory, "programs", program)


def default_workdir(configs: Sequence[Config]) -> Path:
    """The readable default directory of a sweep, made from its settings."""
    chosen = [identity.workdir_options(config) for config in configs]
    names = dict.fromkeys(name for options in chosen for name in options)
    values = {}
    for name in names:
        told = (config_lib.spell(config_lib.settings(config).get(name)) for config in configs)
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


def _digest(configs: Sequence[Config], settings: Sequence[dict]) -> str:
    """A hash of the settings of each run, and of its epochs if runs differ in them.

    If all runs have the same number of epochs, more epochs resume where fewer stopped.
    """
    epochs = [c.epochs for c in configs] if len({c.epochs for c in configs}) > 1 else None
    rows = json.dumps([settings, epochs], sort_keys=True)
    return hashlib.sha256(rows.encode()).hexdigest()


def _identity(configs: Sequence[Config], plan: Plan, held: dict | None = None) -> dict:
    """The identity of a sweep; with `held` as in `vae_jax.lab.train.identity`."""
    if held is None:
        settings = [config.identity() for config in configs]
    else:
        configs = [config_lib.with_dataset_of(config, held.get("dataset")) for config in configs]
        objectives = dict.fromkeys(config.objective for config in configs)
        usual = {name: config_lib.from_flags({"objective": name}) for name in objectives}
        settings = [config_lib.identity_as_of(c, held, usual[c.objective]) for c in configs]
    values: dict[str, list] = {}
    for own in settings:
        for name, value in own.items():
            several = values.setdefault(name, [])
            if value not in several:
                several.append(value)
    return {
        **{name: v if len(v) > 1 else v[0] for name, v in values.items()},
        **environment.identity(),
        "num_runs": len(configs),
        "runs_sha256": _digest(configs, settings),
        "runs_per_program": plan.runs_per_program,
    }


def _tasks(programs: Sequence[Program], directory: Path, plan: Plan) -> list[cluster.Task]:
    """Each program as a separate command, with its rows in a file and its own directory."""
    tasks = []
    for program in programs:
        folder = _folder(directory, program.name)
        rows = [_row(config) for config in program.configs]
        file = files.inside(directory, "programs") / f"{program.name}.json"
        arguments = [
            *entry.words("train")[2:],
            *config_lib.command_line({"sweep": file, "workdir": folder, "as_program": True}),
            *_flags_beside(program.configs[0], plan),
        ]
        tasks.append(cluster.Task(program.name, arguments, folder))
        if not plan.dry_run:
            files.write_json(file, rows, root=directory)
    return tasks


_NOT_IN_ROWS = [f.name for f in config_lib.flag_fields() if not f.metadata["sweeps"]]


def _row(config: Config) -> dict[str, str]:
    flags = (flag.removeprefix("--").partition("=") for flag in config_lib.to_flags(config))
    row = {name: value for name, _, value in flags if name not in _NOT_IN_ROWS}
    # no row may be empty, and all have the same keys
    return {**_NO_CHOICES, **row, "seed": str(config.seed), "latent_dim": str(config.latent_dim)}


_NO_CHOICES = dict.fromkeys(
    [f.name for f in config_lib.flag_fields() if f.metadata["sweeps"]]
    + list(config_lib.objective_flags())
)


def _flags_beside(config: Config, plan: Plan) -> list[str]:
    """What holds for all rows of a program's file."""
    beside = set(_NOT_IN_ROWS) - {"workdir"}
    flags = config_lib.to_flags(config)
    kept = [f for f in flags if f.removeprefix("--").partition("=")[0] in beside]
    return kept + config_lib.command_line({"data_devices": plan.data_devices})


def _executor(plan: Plan, programs: Sequence[Program], directory: Path) -> dict:
    ended = {program.name for program in _ended(programs, directory)}
    return {
        "is_complete": lambda task: task.name in ended and training_lib.has_ended(task.directory),
        "executor": plan.executor,
        "num_workers": plan.num_workers,
        "slurm": plan.slurm or "",
    }


def _preview(configs, programs, directory: Path, plan: Plan, estimates: dict) -> list[str]:
    counts = f"{_count(len(configs), 'run')} in {_count(len(programs), 'program')}"
    lines = [f"{counts}, in {directory}"]
    for p in programs:
        estimate = f", {as_flags(estimates[p.name])}" if p.name in estimates else ""
        lines.append(f"program {p.name}: {_count(len(p.members), 'run')}{estimate}")
    if plan.executor is not None:
        tasks = _tasks(programs, directory, plan)
        lines.append(cluster.preview(tasks, directory, **_executor(plan, programs, directory)))
    return lines


def _gather(programs: Sequence[Program], directory: Path, num_runs: int) -> list[dict | None]:
    results: list[dict | None] = [None] * num_runs
    for program in programs:
        found = _results(program, directory)
        for number, result in zip(program.members, found or (), strict=False):
            results[number] = result
    return results


def _results(program: Program, directory: Path) -> list[dict] | None:
    """The results of a program's runs; None if it has not ended, or its folder is another's."""
    folder = _folder(directory, program.name)
    found = members.read_results(folder)
    is_its = found is not None and identity.holds(folder, program.configs)
    return found if is_its else None


def _ended(programs: Sequence[Program], directory: Path) -> list[Program]:
    return [program for program in programs if _results(program, directory) is not None]


def report(sweep, configs: Sequence[Config], programs, results: Sequence[dict | None]) -> None:
    """Writes the tables of a sweep, reports the best run, and then draws pictures.

    Raises:
        DivergedError: every run diverged.
    """
    rows = tables.sweep_rows(configs, programs, results)
    sweep.write_table("sweep.csv", rows)
    summary = tables.summary_rows(configs, rows)
    sweep.write_table("summary.csv", summary)
    for line in tables.lines(summary):
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
    sweep.say(f"in {sweep.directory}: sweep.csv, summary.csv, plots/, programs/")


def _groups(configs: Sequence[Config]) -> list[tuple[list[int], str, list[str]]]:
    """Groups of comparable runs: their indices, a description, and their folders."""
    groups = tables.comparable(configs)
    firsts = [configs[group[0]] for group in groups]
    folders = [[name] for name in _folder_names([[first] for first in firsts])]
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
        curves = tables.curves(_ended(programs, sweep.directory), sweep.directory)
    except StorageError as error:
        sweep.log(f"no curves are drawn: {as_flags(str(error))}", echo=True)
        curves = []
    for group, words, folder in groups:
        there = [r for r in group if rows[r]["status"] != "missing"]
        pictures.draw_sweep(
            [configs[r] for r in there],
            [rows[r] for r in there],
            [{**row, "run": there.index(row["run"])} for row in curves if row["run"] in there],
            sweep.directory,
            ["plots", *folder],
            sweep.log,
            f" of {words}" if words else "",
        )


def _command_alone(config: Config) -> list[str]:
    """The command that trains one run of a sweep alone, in a directory named by its settings."""
    fields = {
        f.name: f.default for f in config_lib.flag_fields() if f.metadata["group"] == "Output"
    }
    alone = dataclasses.replace(config, **fields)
    return [*entry.words("train"), *config_lib.to_flags(alone)]


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def train_rows(
    rows: Sequence[dict[str, str]], workdir: Path, data_dir: str | None
) -> list[tuple[Path, int]]:
    """Trains the missing ones of some runs, given by their flags, as one sweep.

    Does what the command line does with `sweep` and `workdir`, with the rows in a file: the
    command that the runs keep.

    Args:
        rows: flag → text, for each run.
        workdir: folder for rows.json and runs/.
        data_dir: folder of datasets, or None.

    Returns:
        (directory of its program, member) of each run, in order.
    """
    names = dict.fromkeys(name for row in rows for name in row)
    file = files.make_folder(workdir) / "rows.json"
    files.write_json(file, [{name: row.get(name) for name in names} for row in rows])
    values = {"workdir": str(workdir / "runs"), "data_dir": data_dir}
    main(values, Plan(sweep=str(file)), config_lib.command_line({"sweep": file, **values}))
    return places(make_configs(values, str(file)), workdir / "runs")


def main(values: dict[str, str | None], plan: Plan, command: Sequence[str]) -> None:
    """Runs the command line: one run, one program of several runs, or a sweep.

    Args:
        values: flag → text, or None if it was not given.
        plan: how to train.
        command: the flags as given.
    """
    configs = make_configs(values, plan.sweep)
    is_alone = len(configs) == 1 and plan.executor is None
    is_program = is_alone or (plan.as_program and len(group(configs)) == 1)
    if is_program and not plan.dry_run:
        training_lib.train(
            configs,
            overwrite=plan.overwrite,
            num_data=plan.data_devices,
            retry_diverged=not plan.as_program,
        )
    else:
        run(configs, plan, command)
