"""The tables of a sweep: rows of plain values in, rows out, without running a model."""

import math
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vae_jax import likelihoods
from vae_jax.errors import StorageError
from vae_jax.lab.config import latent_of
from vae_jax.lab.settings import Config, likelihood_settings
from vae_jax.storage import members

__all__ = [
    "METRICS",
    "best",
    "comparable",
    "curves",
    "hyperparameters",
    "judged_by",
    "lines",
    "plain",
    "score",
    "standard_error",
    "summary_rows",
    "sweep_rows",
    "varying",
]

METRICS = (
    "loss",
    "elbo",
    "rate",
    "distortion",
    "squared_error",
    "active_share",
    "active_units",
    "accuracy",
    "valid_elbo",
    "valid_distortion",
    "valid_loss",
)


def hyperparameters(configs: Sequence[Config]) -> list[str]:
    """The columns that identify the runs of a sweep: differing settings and the usual ones."""
    chosen = [config.requested() for config in configs]
    names = dict.fromkeys(name for setting in chosen for name in setting)
    always = {"seed", "latent_dim", *(n for config in configs for n, _ in config.hyperparameters)}
    varying = [n for n in names if len({str(setting.get(n)) for setting in chosen}) > 1]
    return [n for n in names if n in always or n in varying]


def varying(configs: Sequence[Config]) -> list[str]:
    """The hyperparameters in which runs differ: the objective's first, the seed last."""
    chosen = [config.requested() for config in configs]
    own = {name for config in configs for name, _ in config.hyperparameters}
    names = [
        name
        for name in hyperparameters(configs)
        if len({str(setting.get(name)) for setting in chosen}) > 1
    ]
    return sorted(names, key=lambda n: (n == "seed", n not in own, n == "latent_dim"))


def sweep_rows(configs: Sequence[Config], programs, results: Sequence[dict | None]) -> list[dict]:
    """One row per run: its place, its hyperparameters, status and test metrics."""
    names = hyperparameters(configs)
    place = {
        number: {"program": program.name, "member": member}
        for program in programs
        for member, number in enumerate(program.members)
    }
    of_errors = ("elbo", "rate", "distortion", "squared_error", "accuracy")
    metrics = (*METRICS, *(f"{name}_standard_error" for name in of_errors))
    known = [name for name in metrics if _is_known(name, results)]
    rows = []
    for number, (config, result) in enumerate(zip(configs, results, strict=True)):
        result = result or {"status": "missing", "step": None}
        setting = config.requested()
        rows.append(
            {"run": number, **place[number]}
            | {name: plain(setting.get(name)) for name in names}
            | {"status": result["status"], "step": result["step"]}
            | {name: plain(result.get(name)) for name in known}
        )
    return rows


def _is_known(name: str, results: Sequence[dict | None]) -> bool:
    """Whether to show a column; a validation column only if runs are compared by it."""
    there = [result for result in results if result and name in result]
    if name not in ("valid_distortion", "valid_loss"):
        return bool(there)
    before = list(_SCORES)[: list(_SCORES).index(name)]
    return any(not any(_has(result, better) for better in before) for result in there)


def judged_by(result: dict) -> str:
    """What `score` uses of a result, in words."""
    return next((words for name, (_, words) in _SCORES.items() if _has(result, name)), "nothing")


def plain(value: Any) -> Any:
    """A setting as a cell: a number if it is one, otherwise text."""
    if isinstance(value, (list, tuple)):
        return ",".join(map(str, value))
    if isinstance(value, str):
        for kind in (int, float):
            try:
                return kind(value)
            except ValueError:
                pass
    return value


def summary_rows(configs: Sequence[Config], rows: Sequence[dict]) -> list[dict]:
    """One row per setting: mean and standard error over seeds, and the number of diverged runs."""
    names = [name for name in hyperparameters(configs) if name != "seed"]
    groups: dict[tuple, list[dict]] = {}
    for row in rows:
        groups.setdefault(tuple(row[name] for name in names), []).append(row)
    summary = []
    for key, alike in groups.items():
        line = dict(zip(names, key, strict=True)) | {
            "num_runs": sum(row["status"] in ("done", "stopped early") for row in alike),
            "num_diverged": sum(row["status"] == "diverged" for row in alike),
            "num_missing": sum(row["status"] == "missing" for row in alike),
        }
        for metric in METRICS:
            if metric in rows[0]:
                values = [row[metric] for row in alike if row[metric] is not None]
                line[f"{metric}_mean"] = statistics.fmean(values) if values else None
                line[f"{metric}_standard_error"] = standard_error(values)
        summary.append(line)
    return summary


def standard_error(values: Sequence[float]) -> float | None:
    """The standard error s/√n of a mean of n values; None if n < 2."""
    if len(values) < 2:
        return None
    return statistics.stdev(values) / math.sqrt(len(values))


_SCORES = {
    "valid_elbo": (1, "validation ELBO"),
    "valid_distortion": (-1, "validation distortion"),
    "valid_loss": (-1, "validation loss"),
    "elbo": (1, "test ELBO"),
    "distortion": (-1, "test distortion"),
    "loss": (-1, "test loss"),
}
"""Criteria for the best run, of which the first available is used: column → sign, description."""


def _has(result: dict, name: str) -> bool:
    return result.get(name) is not None


def score(result: dict) -> float:
    """The criterion for the best run: the validation ELBO, or the best available substitute."""
    for name, (sign, _) in _SCORES.items():
        if _has(result, name):
            return sign * result[name] if math.isfinite(result[name]) else -math.inf
    return -math.inf


def comparable(configs: Sequence[Config]) -> list[list[int]]:
    """Groups the indices of comparable runs: same data, all densities or all probabilities.

    Without a prior, runs of the same objective are comparable, since their distortions have the
    same meaning.
    """
    groups: dict[tuple, list[int]] = {}
    for number, config in enumerate(configs):
        kind = _measure(config)
        of = "" if latent_of(config).has_prior else config.objective
        data = (config.dataset, config.num_valid, config.scaling, config.binarization)
        key = (*data, kind, of)
        groups.setdefault(key, []).append(number)
    return list(groups.values())


def _measure(config: Config) -> str | None:
    """What the likelihood measures; None until the data are known, which decide the default."""
    if config.likelihood is None:
        return None
    # counts given the total of a row are not comparable with counts
    given = likelihood_settings(config).get("size_factor", config.likelihood)
    requires = likelihoods.load(config.likelihood).requires
    return {"real": "density", "counts": f"counts, {given}"}.get(requires, config.likelihood)


def best(rows: Sequence[dict]) -> int | None:
    """The index of the run with the best `score`; None if every run diverged."""
    alive = [row for row in rows if row["status"] in ("done", "stopped early")]
    if not alive:
        return None
    known = [{name: v for name, v in row.items() if v is not None} for row in alive]
    return max(known, key=score)["run"]


def curves(programs, directory: Path) -> list[dict]:
    """The rows of every program's `metrics.csv`, with `run` counted over the whole sweep.

    Raises:
        StorageError: they cannot be read, were changed, or belong to other runs.
    """
    rows = []
    for program in programs:
        folder = directory / "programs" / program.name
        path = folder / "metrics.csv"
        for row in members.read_rows(folder):
            member = row.get("run", 0 if len(program.members) == 1 else None)
            is_known = type(member) is int and 0 <= member < len(program.members)
            is_whole = isinstance(row.get("step"), int | float)
            if not (is_known and is_whole) or any(isinstance(v, str) for v in row.values()):
                told = f"run {member}, step {row.get('step')}"
                raise StorageError(
                    f"{path} has a damaged row ({told}): repair it or choose `overwrite=True`"
                )
            rows.append({**row, "run": program.members[member]})
    return rows


def lines(summary: Sequence[dict], *, most: int = 40) -> list[str]:
    """The summary as aligned text: varying settings, then mean ± standard error.

    Settings that only some rows have, those of one objective among several, share a column, and are
    shown if they vary among those rows.
    """
    if not summary:
        return []
    first = list(summary[0])
    names = first[: first.index("num_runs")]
    shared = [n for n in names if all(row[n] is not None for row in summary)]
    chosen = [{n: row[n] for n in names} for row in summary]
    own = [n for n in names if n not in shared and _differs(n, chosen)]
    shared = [n for n in shared if len({str(row[n]) for row in summary}) > 1]
    metrics = [m for m in METRICS if f"{m}_mean" in summary[0]]
    header = [*shared, *(["settings"] if own else []), "runs"]
    table = [[*header, *(metric.replace("_", " ") for metric in metrics)]]
    for row in summary[:most]:
        told = [" ".join(f"{n}={row[n]}" for n in own if row[n] is not None)] if own else []
        cells = [_count(row)]
        for metric in metrics:
            mean, error = row[f"{metric}_mean"], row[f"{metric}_standard_error"]
            text = "" if mean is None else f"{mean:.2f}"
            cells.append(text if error is None else f"{text} ± {error:.2f}")
        table.append([*(str(row[name]) for name in shared), *told, *cells])
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    text = ["  ".join(c.rjust(w) for c, w in zip(line, widths, strict=True)) for line in table]
    more = len(summary) - most
    return [*text, f"and {more} more, in summary.csv"] if more > 0 else text


def _count(row: dict) -> str:
    """How many runs a row is of: "3", or "3 of 4" where some have no result."""
    num, diverged, missing = (row[f"num_{what}"] for what in ("runs", "diverged", "missing"))
    of = f" of {num + diverged + missing}" if diverged or missing else ""
    return f"{num}{of}" + (f", {diverged} diverged" if diverged else "")


def _differs(name: str, chosen: Sequence[dict]) -> bool:
    """Whether rows of one objective, which have the same settings, differ in this one."""
    values: dict[tuple, set[str]] = {}
    for row in chosen:
        kind = (row.get("objective"), *(n for n, value in row.items() if value is not None))
        values.setdefault(kind, set()).add(str(row[name]))
    return any(len(each) > 1 for each in values.values())
