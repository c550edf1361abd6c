"""The diagnosis of each run: what its records show, and the lines that say so."""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from vae_jax import diagnosis, objectives
from vae_jax.devices import processes
from vae_jax.errors import DivergedError
from vae_jax.lab import build as building
from vae_jax.lab.flags import as_flags
from vae_jax.storage import csv_rows, members

__all__ = [
    "Examined",
    "add",
    "evidence_of",
    "examine",
    "findings",
    "lines",
    "names",
    "of_sweep",
    "twins_in",
    "twins_of",
]


class Examined(NamedTuple):
    """A stored run, examined: its evidence, and probe → why it was not made."""

    evidence: diagnosis.Evidence
    skipped: dict[str, str]


def add(run, experiment: building.Experiment, results: Sequence[dict], params) -> list[dict]:
    """The results, each with its findings as "diagnosis".

    Args:
        run: the open run.
        experiment: from `build`.
        results: the result of each run.
        params: parameters with a fixed density, [S, …]; None if all runs diverged.
    """
    own = {} if params is None else experiment.layout.read(params["likelihood"])

    def find():
        rows, found = run.rows(), []
        twins = twins_of([config.requested() for config in experiment.configs], results)
        for r, result in enumerate(results):
            rows_of_run = [row for row in rows if row.get("run", r) == r]
            likelihood = jax.tree.map(lambda leaf, r=r: leaf[r], own)
            evidence = evidence_of(experiment, r, rows_of_run, result, likelihood)
            findings = diagnosis.diagnose(evidence._replace(twins=twins[r]))
            found.append([finding._asdict() for finding in findings])
        return found

    found = processes.agree_on_json(processes.on_first(find))
    return [{**result, "diagnosis": own} for result, own in zip(results, found, strict=True)]


def evidence_of(
    experiment: building.Experiment,
    r: int,
    rows: Sequence[Mapping[str, Any]],
    result: Mapping[str, Any],
    likelihood: Any,
) -> diagnosis.Evidence:
    """What is known of a run that has ended.

    Args:
        experiment: from `build`.
        r: index of the run in it, a count.
        rows: its epochs, as in `metrics.csv`.
        result: as in `result.json`.
        likelihood: parameters of its likelihood, without the axis of runs.
    """
    config, model = experiment.configs[r], experiment.model
    # the losses of several trainings in turn do not compare
    has_phases = objectives.has_phases(config.objective) or config.prior_phase is not None
    is_learned = isinstance(config.variance, str) and result.get("status") != "diverged"
    return diagnosis.Evidence(
        settings=config.requested(),
        rows=() if has_phases else rows,
        result=result,
        num_values=math.prod(model.shape),
        num_train=len(experiment.dataset.train),
        log_variances=_log_variances(likelihood) if is_learned else None,
        num_codes=getattr(model.latent, "num_codes", None),
    )


def examine(place, twins: Mapping[int, Mapping], *, seed: int = 0, data_dir=None) -> Examined:
    """What is known of a stored run, with what the probes measure of its model.

    Args:
        place: of the run, a `metrics.Place`.
        twins: results of runs that differ in the seed alone, by seed.
        seed: decides every draw of the probes, a count.
        data_dir: folder of datasets; None means the folder used in training.
    """
    # what no training imports
    from vae_jax.diagnosis import probes
    from vae_jax.lab import metrics

    held = members.read_results(place.directory)
    rows = _rows_of(place, is_ended=held is not None)
    result = {} if held is None else held[place.member]
    try:
        trained = metrics.load(place.directory, place.member, data_dir)
    except DivergedError:
        settings = place.config.requested()
        return Examined(diagnosis.Evidence(settings, rows, result, twins=twins), {})
    subject = metrics.make_subject(trained, seed)
    measured, skipped = probes.measure(subject)
    experiment = trained.experiment
    result = result or _result_so_far(trained)
    evidence = evidence_of(experiment, 0, rows, result, subject.params["likelihood"])
    far = building.far_values(experiment.dataset, experiment.model.likelihood)
    return Examined(evidence._replace(twins=twins, measured=measured, far_values=far), skipped)


def findings(evidence: diagnosis.Evidence) -> list[diagnosis.Finding]:
    """All findings, those of the probes last."""
    from vae_jax.diagnosis import probes

    return [*diagnosis.diagnose(evidence), *diagnosis.diagnose(evidence, probes.__name__)]


def _result_so_far(trained) -> dict[str, Any]:
    """The result of a run whose training is not finished, as in `result.json`."""
    from vae_jax.lab import results

    experiment, step = trained.experiment, trained.member.step
    steps = experiment.layout.place(np.full(1, step, np.int32))
    columns = results.columns(experiment, trained.params, "test", steps)
    numbers = {name: values[0] for name, values in columns.items()}
    about = {"status": "unfinished", "step": step, "num_examples": len(experiment.dataset.test)}
    return {**numbers, **about}


def _rows_of(place, *, is_ended: bool) -> list[dict]:
    """The rows of a run's epochs; its results vouch for them once it has ended."""
    if is_ended:
        rows = members.read_rows(place.directory)
    else:
        rows = csv_rows.read_rows(Path(place.directory, "metrics.csv"))
    return [row for row in rows if row.get("run", place.member) == place.member]


def twins_in(places: Sequence) -> dict[tuple[Path, int], dict[int, Mapping]]:
    """(directory, member) of each of several places → the results of its `twins_of`, by seed."""
    found = {place.directory: members.read_results(place.directory) for place in places}
    ended = [place for place in places if found[place.directory] is not None]
    results = [found[place.directory][place.member] for place in ended]
    twins = twins_of([place.config.requested() for place in ended], results)
    known = {(p.directory, p.member): own for p, own in zip(ended, twins, strict=True)}
    return {(p.directory, p.member): known.get((p.directory, p.member), {}) for p in places}


def _log_variances(likelihood: Any) -> tuple[float, float] | None:
    """The least and the greatest learned log variance of a likelihood; None if it has none."""
    leaves = jax.tree_util.tree_leaves_with_path(likelihood)
    found = [np.ravel(leaf) for path, leaf in leaves if getattr(path[-1], "key", "") == "logvar"]
    if not found:
        return None
    values = np.concatenate(found)
    return float(values.min()), float(values.max())


def twins_of(
    settings: Sequence[Mapping[str, Any]], results: Sequence[Mapping]
) -> list[dict[int, Mapping]]:
    """For each run, the results of those that differ from it in the seed alone, by seed.

    Args:
        settings: of each run, as of `Config.requested`.
        results: of each run.
    """
    alike = [{**own, "seed": None} for own in settings]
    seeds = [own["seed"] for own in settings]
    return [
        {
            seed: result
            for seed, result, other in zip(seeds, results, alike, strict=True)
            if other == own and seed != seeds[r]
        }
        for r, own in enumerate(alike)
    ]


def names() -> list[str]:
    """Names of all findings, with those of the probes."""
    from vae_jax.diagnosis import probes

    return sorted([*diagnosis.names(), *diagnosis.names(probes.__name__)])


def of_sweep(results: Sequence[Mapping[str, Any] | None]) -> Iterator[str]:
    """A line about the findings of several runs: how many have each; none if no run has any.

    Args:
        results: of the runs; None if missing.
    """
    found = [result.get("diagnosis", ()) for result in results if result is not None]
    counts = Counter(finding["what"] for own in found for finding in own)
    if counts:
        told = ", ".join(f"{what} in {num}" for what, num in counts.most_common())
        yield f"findings of {len(found)} runs: {told} (the command doctor has the evidence)"


def lines(result: Mapping[str, Any]) -> Iterator[str]:
    """The lines about a result: which dimensions carry the rate, and its findings."""
    use = diagnosis.use(result)
    if use is not None:
        yield use
    for finding in result.get("diagnosis", ()):
        yield as_flags(f"finding: {diagnosis.Finding(**finding)}")
