"""Runs beside one another: their settings, results, and paired differences on the same examples."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from vae_jax import keeping
from vae_jax.errors import DivergedError, UsageError
from vae_jax.evaluation import paired
from vae_jax.lab import metrics, tables
from vae_jax.storage import members

__all__ = ["MOST", "Between", "Compared", "apart", "compare", "differences"]

MOST = 20
"""Runs that are compared at most, a count."""
_OF_INPUTS = ("scaling", "binarization")
"""Settings that decide how the rows of the test split become inputs."""
_NO_SHARED = "they share no number: likelihoods or codes of other kinds have other units"


class Compared(NamedTuple):
    """A run, measured for a comparison.

    Attributes:
        place: of the run.
        name: by which the page calls it.
        settings: those of its training.
        result: as in `result.json`; {} if the training has not ended.
        terms: each of `paired.TERMS` that the model has, of the test examples, [N]; {} if it
            diverged.
        config: with what was chosen by the data; None if it diverged.
        examples: digest of the rows of its test split.
    """

    place: metrics.Place
    name: str
    settings: Mapping[str, Any]
    result: Mapping[str, Any]
    terms: Mapping[str, np.ndarray]
    config: Any = None
    examples: str = ""


class Between(NamedTuple):
    """What a run is above the first.

    Attributes:
        gaps: term → difference, a scalar with its error; {} if there is none.
        reason: why there is none; otherwise "".
    """

    gaps: Mapping[str, paired.Difference]
    reason: str = ""


def compare(
    places: Sequence[metrics.Place],
    names: Sequence[str],
    *,
    seed: int = 0,
    num_examples: int | None = None,
    data_dir: str | None = None,
) -> list[Compared]:
    """Measures runs on their test examples, one after the other.

    Args:
        places: of R runs.
        names: of the runs, R texts.
        seed: decides every draw, a count.
        num_examples: number of test examples, evenly spread, a count; None means all.
        data_dir: folder of datasets; None means the folders used in training.

    Raises:
        UsageError: there are more than `MOST` runs, or one cannot be read.
    """
    if len(places) > MOST:
        raise UsageError(
            f"run: names {len(places)} runs, must be at most {MOST}: name fewer, or choose with "
            "`member` of one directory"
        )
    loader, found = metrics.Loader(data_dir), []
    for place, name in zip(places, names, strict=True):
        results = members.read_results(place.directory)
        result = {} if results is None else results[place.member]
        try:
            trained = loader.load(place.directory, place.member)
        except DivergedError:
            found.append(Compared(place, name, place.config.requested(), result, {}))
            continue
        terms = paired.per_example(metrics.make_subject(trained, seed, num_examples))
        config, rows = trained.experiment.config, trained.experiment.dataset.test.x
        settings, examples = config.requested(), keeping.sha256_of(rows)
        found.append(Compared(place, name, settings, result, terms, config, examples))
    return found


def differences(runs: Sequence[Compared]) -> list[Between]:
    """What each run's terms are above those of the first, paired by example.

    Args:
        runs: R runs.

    Returns:
        R differences; terms that do not compare are left out.
    """
    first = runs[0]
    return [Between({}, "the reference"), *(_between(run, first) for run in runs[1:])]


def _between(run: Compared, first: Compared) -> Between:
    """The differences of a run to the first."""
    if not run.terms or not first.terms:
        return Between({}, "one of the two diverged")
    if run.examples != first.examples:
        return Between({}, "their test examples are not the same")
    for name in _OF_INPUTS:
        own, other = getattr(run.config, name), getattr(first.config, name)
        if own != other:
            told = f"their inputs are not the same: {name} is {own}, of the first {other}"
            return Between({}, told)
    shared = [name for name in run.terms if name in first.terms]
    if len(tables.comparable([run.config, first.config])) > 1:
        shared = [name for name in shared if name == "squared_error"]
    gaps = {name: paired.difference(run.terms[name], first.terms[name]) for name in shared}
    return Between(gaps, "" if gaps else _NO_SHARED)


def apart(runs: Sequence[Compared]) -> list[str]:
    """The settings in which the runs differ, by name, those of the objective with the others."""
    names = dict.fromkeys(name for run in runs for name in run.settings)
    return [n for n in names if len({str(run.settings.get(n)) for run in runs}) > 1]
