"""Reproduces a table of a paper: `python -m experiments.reproduce static_mnist --budget=cpu`.

A recipe, a file in `experiments/recipes/`, has rows, protocol and published numbers. Its rows train
as one sweep, which can be resumed; then each run is measured, and the table is printed.
"""

if __name__ == "__main__":
    from vae_jax.cli import beginning

    # before slow imports
    beginning.begin()

import math
import statistics
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from experiments import recipes
from vae_jax import console
from vae_jax.cli import command as cli
from vae_jax.errors import DivergedError, IncompleteError, StorageError, UsageError
from vae_jax.lab import metrics, sweep
from vae_jax.lab.flags import as_flags
from vae_jax.storage import files, locks, seals

DESCRIPTION = (
    "Trains what a published table needs as one sweep, measures it by the paper's protocol, and "
    "prints paper | others | ours ± standard error. The same command resumes."
)


class Result(NamedTuple):
    """One number of the table.

    Attributes:
        mean: mean over the seeds, NaN if there is no value.
        standard_error: over the test examples if there is one seed, otherwise over the seeds; or
            NaN.
        published: source → published number.
    """

    mean: float
    standard_error: float
    published: dict[str, float]


def flags_of(recipe: Any, budget: str) -> list[dict[str, str]]:
    """The flags of every run: the rows that can be trained, with every seed."""
    common = recipe.BUDGETS[budget]
    rows = [row for row in recipes.for_budget(recipe, budget).ROWS if not row.waits_for]
    return [
        {**common, **row.flags, **row.by_budget.get(budget, {}), "seed": str(seed)}
        for row in rows
        for seed in range(recipe.SEEDS)
    ]


def measure(place: tuple[Path, int], columns: Sequence, loader: metrics.Loader) -> dict:
    """Measures the columns of one run, a pair of value and standard error each; caches them.

    The cache in its directory is valid until the run is trained further.
    """
    directory, member = place
    program = loader.program(directory)
    if program.results is None:
        raise StorageError(f"{directory}: its results are damaged: move it away, then run again")
    step, owner = program.results[member]["step"], program.owner
    found, trained = {}, None
    measured: list[tuple[dict, dict]] = []
    for column in columns:
        path = directory / "evaluation" / f"column-{column.name.replace(' ', '_')}-{member}.json"
        settings = dict(column.settings)
        key = {"metric": column.metric, "settings": settings, "trained_to": step}
        values = _held(path, key, owner)
        if values is None:
            trained = trained or loader.load(directory, member)
            # columns of one metric and its settings are measured once
            result = next((own for known, own in measured if known == key), None)
            result = result or _measured(trained, column.metric, settings, directory)
            measured.append((key, result))
            with locks.alone(files.make_folder(path.parent, directory) / "lock"):
                sealed = seals.seal({"key": key, **result}, owner, path.name)
                files.write_json(path, sealed, root=directory)
            values = result["values"]
        error = values.get(f"{column.entry}_standard_error", math.nan)
        found[column.name] = column.factor * values[column.entry], abs(column.factor) * error
    return found


def _measured(trained, metric: str, settings: dict, directory: Path) -> dict:
    """The result of a metric of a trained run; raises UsageError if it does not apply."""
    request = metrics.Request([metric], {metric: settings})
    subject = metrics.make_subject(trained, request.seed)
    result = metrics.measure(trained, subject, request, metric)
    if "left_out" in result:
        raise UsageError(f"{metric} of {directory}: {result['left_out']}")
    return result


def _held(path: Path, key: dict, owner: str | None) -> dict | None:
    """The values stored in a file under a key for this run, or None."""
    try:
        stored = files.read_json(path)
        is_older = owner is None and "seal" not in stored
        held = stored if is_older else seals.unseal(stored, owner, path.name)
        return held["values"] if held["key"] == key else None
    except (OSError, StorageError, KeyError, TypeError):
        return None


def gather(recipe: Any, measured: Sequence[dict | None]) -> dict[str, dict[str, Result]]:
    """Row → column → `Result`; measured runs are in the order of `flags_of`, None if missing."""
    table: dict[str, dict[str, Result]] = {}
    left = iter(measured)
    for row in recipe.ROWS:
        own = [] if row.waits_for else [next(left) for _ in range(recipe.SEEDS)]
        there = [run for run in own if run is not None]
        table[row.name] = {}
        for column in recipe.COLUMNS:
            table[row.name][column.name] = Result(
                *mean_and_error([run[column.name] for run in there]),
                row.published.get(column.name, {}),
            )
    return table


def mean_and_error(pairs: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """The mean over seeds and its standard error; with one seed its own, with none NaN.

    Args:
        pairs: for each seed, a value and its standard error over the examples.
    """
    if len(pairs) < 2:
        return pairs[0] if pairs else (math.nan, math.nan)
    values = [value for value, _ in pairs]
    return statistics.mean(values), statistics.stdev(values) / math.sqrt(len(values))


def lines(recipe: Any, table: dict[str, dict[str, Result]]) -> Iterator[str]:
    """The table as Markdown: row, published numbers, ours."""
    for column in recipe.COLUMNS:
        names = dict.fromkeys(n for row in table.values() for n in row[column.name].published)
        yield "| " + " | ".join([column.name, *names, "ours"]) + " |"
        yield "|" + "---|" * (len(names) + 2)
        for row in recipe.ROWS:
            result = table[row.name][column.name]
            told = [f"{result.published[n]:g}" if n in result.published else "" for n in names]
            ours = "not trained" if math.isnan(result.mean) else f"{result.mean:.3f}"
            ours += "" if math.isnan(result.standard_error) else f" ± {result.standard_error:.2g}"
            yield "| " + " | ".join([row.name, *told, row.waits_for or ours]) + " |"
    if hasattr(recipe, "notes"):
        yield from recipe.notes(
            {
                name: row
                for name, row in table.items()
                if not any(math.isnan(result.mean) for result in row.values())
            }
        )


def main(values: dict) -> None:
    """Reproduces the table that the flags name."""
    name = values["recipe"]
    if name is None:
        raise UsageError(f"--recipe: name one of {', '.join(recipes.names())}")
    recipe = recipes.load(name)
    budget = values["budget"] or next(iter(recipe.BUDGETS))
    if budget not in recipe.BUDGETS:
        raise UsageError(f"--budget={budget}: {name} has {', '.join(recipe.BUDGETS)}")
    recipe = recipes.for_budget(recipe, budget)
    workdir = Path(values["workdir"] or Path("runs", "reproduce", f"{name}-{budget}"))
    for line in recipe.__doc__.strip().splitlines():
        console.say(line)
    places = sweep.train_rows(flags_of(recipe, budget), workdir, values["data_dir"])
    measured: list[dict | None] = []
    loader = metrics.Loader(values["data_dir"])
    for place in places:
        try:
            measured.append(measure(place, recipe.COLUMNS, loader))
        except DivergedError as error:
            console.say(as_flags(str(error)))
            measured.append(None)
    if not any(measured):
        raise IncompleteError(f"{name}: no run has numbers")
    table = list(lines(recipe, gather(recipe, measured)))
    for line in table:
        console.say(line)
    files.write_text(workdir / "table.md", table)
    console.say(f"in {workdir}: table.md, rows.json, runs/")


if __name__ == "__main__":
    sys.argv = cli.or_exit(lambda: cli.with_first(sys.argv, "recipe"))
    cli.start(
        main,
        {
            "recipe": f"one of {', '.join(recipes.names())}; may stand first, without --recipe=",
            "budget": "how much is spent, as the recipe names it (default: its first)",
            "workdir": "where all of it lives (default: runs/reproduce/<recipe>-<budget>)",
            "data_dir": "where datasets lie (default: $VAE_JAX_DATA_DIR)",
        },
        DESCRIPTION,
        example="python -m experiments.reproduce static_mnist --budget=cpu",
    )
