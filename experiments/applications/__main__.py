"""Compares models with baselines: `python -m experiments.applications imputation`.

An application, a file in `experiments/applications/`, has tasks, methods and measures. Each method
trains and is measured on each task with each seed; then the tables are printed. What is measured is
kept, so the same command resumes.
"""

if __name__ == "__main__":
    from vae_jax.cli import beginning

    # before slow imports
    beginning.begin()

import inspect
import math
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments import applications
from experiments.applications import Trial, _table
from vae_jax import console
from vae_jax.cli import command as cli
from vae_jax.errors import StorageError, UsageError, unknown
from vae_jax.lab import config, parsers
from vae_jax.storage import files, runs

DESCRIPTION = (
    "Trains models and baselines on the same rows, with several seeds, and prints a table of "
    "them: mean ± standard error over the seeds, and which is better. The same command resumes."
)


def main(values: dict) -> None:
    """Compares the methods of the application that the flags name."""
    name = values["application"]
    if name is None:
        raise UsageError(f"--application: name one of {', '.join(applications.names())}")
    application = applications.load(name)
    protocol = values["protocol"] or next(iter(application.PROTOCOLS))
    if protocol not in application.PROTOCOLS:
        raise unknown("--protocol", protocol, application.PROTOCOLS)
    num_seeds = application.SEEDS
    if values["seeds"] is not None:
        num_seeds = config.parse_flag("seeds", values["seeds"], parsers.integer(1))
    tasks = _chosen(values["tasks"], application.tasks(protocol, values["data_dir"]))
    plain = runs.default_workdir("runs", f"{name}-{protocol}", {})
    workdir = Path(values["workdir"] or plain)
    for line in application.__doc__.strip().splitlines():
        console.say(line)
    console.say(f"{protocol}: {application.PROTOCOLS[protocol]}")
    results = {
        (task, seed): measure(application, Trial(task, protocol, seed, values["data_dir"]), workdir)
        for seed in range(num_seeds)
        for task in tasks
    }
    table = [*_table.lines(application, tasks, results)]
    table += application.notes(results) if hasattr(application, "notes") else []
    for line in table:
        console.say(line)
    files.write_text(workdir / "table.md", table)
    console.say(f"in {workdir}: table.md, results/")


def _chosen(text: str | None, tasks: Sequence[str]) -> list[str]:
    """The tasks that a flag names, or all."""
    if text is None:
        return list(tasks)
    names = config.parse_flag("tasks", text, parsers.words)
    for name in names:
        if name not in tasks:
            raise unknown("--tasks", name, tasks)
    return list(names)


def measure(application: Any, trial: Trial, workdir: Path) -> dict[str, dict[str, float]]:
    """Method → measure → value of a trial; keeps each method's as soon as it is known.

    Args:
        application: its module; if its text is changed, nothing that was kept is used.
        trial: task, protocol and seed.
        workdir: folder of the results.
    """
    path = workdir / "results" / f"{trial.task.replace('/', '-')}-{trial.seed}.json"
    key = [*trial[:3], inspect.getsource(application)]
    kept = _kept(path, key)
    methods = application.methods(trial)
    for name in [name for name in methods if name not in kept]:
        start = time.monotonic()
        found = {measure: float(value) for measure, value in methods[name]().items()}
        kept[name] = found | {_table.SECONDS.name: time.monotonic() - start}
        told = " ".join(f"{each} {value:.4g}" for each, value in kept[name].items())
        console.say(f"{trial.task}, seed {trial.seed}: {name}: {told}")
        # JSON has no NaN
        known = {
            method: {each: value for each, value in own.items() if math.isfinite(value)}
            for method, own in kept.items()
        }
        files.make_folder(path.parent)
        files.write_json(path, {"key": key, "methods": known})
    return {name: kept[name] for name in methods}


def _kept(path: Path, key: list) -> dict[str, dict[str, float]]:
    """The results in a file, if they are of this key."""
    try:
        stored = files.read_json(path)
        return stored["methods"] if stored["key"] == key else {}
    except (OSError, StorageError, KeyError, TypeError):
        return {}


if __name__ == "__main__":
    sys.argv = cli.or_exit(lambda: cli.with_first(sys.argv, "application"))
    cli.start(
        main,
        {
            "application": f"one of {', '.join(applications.names())}; may stand first, without "
            "--application=",
            "protocol": "how rows are split and scored (default: the application's first)",
            "tasks": "datasets, with commas between them (default: all of the application)",
            "seeds": "number of seeds (default: the application's)",
            "workdir": "where all of it lives (default: runs/<application>-<protocol>)",
            "data_dir": "where datasets lie (default: $VAE_JAX_DATA_DIR)",
        },
        DESCRIPTION,
        example="python -m experiments.applications imputation --seeds=2",
    )
