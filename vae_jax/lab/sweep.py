"""Trains the runs of a command line: one run, one program of several runs, or a sweep.

A sweep's directory contains a run directory for each program in `programs/`, and results of all
runs together: `sweep.csv`, `summary.csv`, pictures, the best run and its command.
"""

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from vae_jax import console
from vae_jax.devices import processes
from vae_jax.errors import DivergedError, IncompleteError, verbatim
from vae_jax.lab import (
    cluster,
    entry,
    environment,
    executors,
    identity,
    overview,
    stored,
    sweep_results,
)
from vae_jax.lab import train as training_lib
from vae_jax.lab.config import command_line
from vae_jax.lab.expansion import make_configs
from vae_jax.lab.flags import as_flags
from vae_jax.lab.programs import Program, folder, group, places
from vae_jax.lab.settings import FAMILIES, Config, Plan
from vae_jax.lab.tasks import make_tasks
from vae_jax.storage import files, runs

__all__ = ["FOLLOW_SECONDS", "main", "run", "train_rows"]

FOLLOW_SECONDS = 10.0
"""Seconds from a look at the jobs to the next."""


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
    directory = Path(configs[0].workdir or identity.workdir_of_sweep(configs))
    # refuse a program that cannot train before others have trained for hours
    load = training_lib.Datasets().load  # programs share their data
    estimates = {p.name: _estimate(p, plan, load) for p in _tried(programs, plan)}
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
        if plan.executor:
            del load  # the data are of no use here any more
            failed = _train_elsewhere(sweep, programs, directory, plan)
        else:
            failed = _train_here(sweep, programs, directory, plan, load)
        results = sweep_results.gather(programs, directory, len(configs))
        if None in results:
            sweep.log(_what_is_missing(results, plan), echo=True)
        if processes.is_first():
            sweep_results.report(sweep, configs, programs, results)
    if failed:
        retry = "`retry_failed=True`" if _is_queued(plan) else "the same command"
        raise IncompleteError(
            f"{len(failed)} of {_count(len(programs), 'program')} failed "
            f"({verbatim(failed[0])}): see {directory / 'logs'}, {retry} tries again"
        )
    return results


def _is_queued(plan: Plan) -> bool:
    """Whether programs may still be queued or run when the command ends."""
    return plan.executor is not None and executors.load(plan.executor).IS_QUEUED


def _what_is_missing(results: Sequence[dict | None], plan: Plan) -> str:
    """A line on the runs without results."""
    does = "gathers what has ended since, and trains" if _is_queued(plan) else "trains"
    return (
        f"{results.count(None)} of {len(results)} runs have no result yet: the same command {does} "
        "what is missing"
    )


def _tried(programs: Sequence[Program], plan: Plan) -> list[Program]:
    """The programs to try before any is trained: all, or one of each kind for other processes."""
    if plan.executor is None:
        return list(programs)
    parts = ("dataset", "objective", "network", *FAMILIES)
    kinds = {tuple(getattr(p.configs[0], name) for name in parts): p for p in reversed(programs)}
    return list(reversed(kinds.values()))


def _estimate(program: Program, plan: Plan, load: Callable) -> str:
    """Estimates the memory of a program, as text; finds any error that would prevent training."""
    experiment = training_lib.prepare(program.configs, num_data=plan.data_devices, load=load)
    return experiment.memory_estimate()


def _open(directory: Path, configs: Sequence[Config], plan: Plan):
    """Opens the sweep's directory for this process."""

    def as_of(held):
        stored.refuse_unknown(held, str(directory))
        return identity.of_sweep(configs, plan.runs_per_program, held)

    def open_run():
        return runs.open_run(
            directory,
            identity.of_sweep(configs, plan.runs_per_program),
            as_of=as_of,
            called=environment.CALLED,
            overwrite=plan.overwrite,
        )

    return processes.on_first(open_run) or runs.Follower(directory)


def _train_here(
    sweep, programs: Sequence[Program], directory: Path, plan: Plan, load: Callable
) -> list[str]:
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
                workdir=folder(directory, program.name),
                num_data=plan.data_devices,
                retry_diverged=False,
                load=load,
            )
        except DivergedError as error:
            sweep.log(f"program {program.name}: {as_flags(str(error))}", echo=True)
    return []


def _train_elsewhere(sweep, programs: Sequence[Program], directory: Path, plan: Plan) -> list[str]:
    """Trains the programs in other processes; returns a note on each that failed."""
    tasks, by_name = make_tasks(programs, directory, plan), {p.name: p for p in programs}
    options = _executor(plan, programs, directory)
    outcomes = cluster.fan_out(tasks, directory, **options)
    _tell(sweep, outcomes)
    while plan.follow and any(map(overview.is_under_way, outcomes)):
        time.sleep(FOLLOW_SECONDS)
        before, outcomes = outcomes, cluster.look(tasks, directory, options["is_complete"])
        if outcomes != before:
            _tell(sweep, outcomes)
    failed = []
    for outcome in outcomes:
        # a program that diverged has results
        has_results = sweep_results.of_program(by_name[outcome.name], directory) is not None
        if outcome.status == "failed" and not has_results:
            told = f"exit code {outcome.exit_code}: {outcome.message}"
            failed.append(f"program {outcome.name}: {told}")
            sweep.log(f"program {outcome.name} failed, {told}")
    return failed


def _tell(sweep, outcomes: Sequence[cluster.Outcome]) -> None:
    """Shows the programs, unless all that there is to tell was told: they are done."""
    if any(outcome.status not in ("done", "complete") for outcome in outcomes):
        for line in overview.lines(outcomes, Path(sweep.directory)):
            sweep.say(line)


def _executor(plan: Plan, programs: Sequence[Program], directory: Path) -> dict:
    by_name = {program.name: program for program in programs}

    def is_complete(task: cluster.Task) -> bool:
        has_results = sweep_results.of_program(by_name[task.name], directory) is not None
        return has_results and training_lib.has_ended(task.directory)

    return {
        "is_complete": is_complete,
        "executor": plan.executor,
        "num_workers": plan.num_workers,
        "settings": getattr(plan, plan.executor, None) or "",
        "retries": plan.retry_failed,
    }


def _preview(configs, programs, directory: Path, plan: Plan, estimates: dict) -> list[str]:
    counts = f"{_count(len(configs), 'run')} in {_count(len(programs), 'program')}"
    lines = [f"{counts}, in {directory}"]
    for p in programs:
        estimate = f", {as_flags(estimates[p.name])}" if p.name in estimates else ""
        lines.append(f"program {p.name}: {_count(len(p.members), 'run')}{estimate}")
    if plan.executor is not None:
        # comments of the script or the manifest that follows
        lines = [f"# {line}" for line in lines]
        tasks = make_tasks(programs, directory, plan)
        lines.append(cluster.preview(tasks, directory, **_executor(plan, programs, directory)))
    return lines


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
    main(values, Plan(sweep=str(file)), command_line({"sweep": file, **values}))
    return places(make_configs(values, str(file)), workdir / "runs")


def main(values: dict[str, str | None], plan: Plan, command: Sequence[str]) -> None:
    """Runs the command line: one run, one program of several runs, or a sweep.

    Args:
        values: flag → text, or None if it was not given.
        plan: how to train.
        command: the flags as given.
    """
    configs = make_configs(values, plan.sweep)
    if plan.save_config is not None:
        from vae_jax.lab import settings_file

        settings_file.write(plan.save_config, configs, plan)
        return
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
