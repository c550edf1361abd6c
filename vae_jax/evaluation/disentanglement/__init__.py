"""Disentanglement metrics for data with known factors: one file each, found by its name.

A metric is a module with

- `evaluate(codes, factors, key, *, settings…) -> Result`: codes [N, L] are posterior means,
  factors [N, F] integers, of the same N examples; the protocols of Locatello et al. 2019,
  arXiv 1811.12359, are the defaults;
- `DEFINITIONS`: its scores by name, each with a one-line meaning;
- the pure functions on arrays that it uses.

To add one, add a file. Modules with a leading underscore hold shared code. For sweeps without known
factors see `vae_jax.evaluation.udr`.
"""

import zlib
from collections.abc import Iterable, Mapping
from types import ModuleType

import jax

from vae_jax import discovery
from vae_jax.errors import UsageError
from vae_jax.evaluation._cost import Cost
from vae_jax.evaluation.disentanglement._common import Result
from vae_jax.evaluation.disentanglement._groups import (
    Groups,
    Pairs,
    map_rows,
    sample_groups,
    sample_pairs,
)
from vae_jax.evaluation.subject import NotApplicableError

__all__ = [
    "COST",
    "DEFINITIONS",
    "Groups",
    "Pairs",
    "Result",
    "definitions",
    "evaluate",
    "load",
    "map_rows",
    "measure",
    "names",
    "sample_groups",
    "sample_pairs",
]


def names() -> list[str]:
    """Names of all metrics, sorted: the modules of this package."""
    return discovery.names(__name__)


def load(name: str) -> ModuleType:
    """The module of a metric; the docstring of this package gives its contents and shapes.

    Raises:
        UsageError: there is no such metric.
    """
    return discovery.load(__name__, name, "metric")


def definitions(metrics: Iterable[str] | None = None) -> dict[str, str]:
    """The meaning of each score, by name: one line each, for these metrics or for all.

    Raises:
        UsageError: there is no such metric.
    """
    metrics = names() if metrics is None else metrics
    return {k: v for metric in metrics for k, v in load(metric).DEFINITIONS.items()}


def evaluate(
    codes,
    factors,
    *,
    key: jax.Array,
    metrics: Iterable[str] | None = None,
    settings: Mapping[str, Mapping] | None = None,
) -> dict[str, dict]:
    """Computes all metrics, or some, on one table of codes.

    Every metric has its own key, derived from `key` and its name, so a score does not depend on
    which others are computed. Boosted trees (`dci`) take nearly all of the time: 25 ms × 100 ×
    (values of all factors) for 10,000 rows of 10 dimensions, minutes on a grid like dSprites'. To
    skip them, use settings={"dci": {"predictors": ["lasso", "logistic"]}}.

    Args:
        codes: posterior means, [N, L]; `beta_vae` and `factor_vae` draw their groups from these
            rows, so pass the whole split, not only as many rows as the other metrics use.
        factors: [N, F] integers.
        key: PRNG key, scalar.
        metrics: some of `names()`; None means all.
        settings: metric → keyword arguments of its `evaluate` that differ from the defaults.

    Returns:
        Score name → value (float), standard_error (float, or None), definition (one line), metric
            (name of its module) and counts (number of examples, groups or dimensions). Plain
            numbers and text, ready for JSON.

    Raises:
        DataError: a code is not finite, or no factor varies.
        UsageError: a metric is unknown, or shapes, types or settings do not fit.
    """
    metrics = names() if metrics is None else list(metrics)
    settings = dict(settings or {})
    modules = {metric: load(metric) for metric in metrics}
    for metric in settings:
        if metric not in modules:
            raise UsageError(
                f"settings of {metric!r}: it is not among the metrics {', '.join(modules)}"
            )
    table = {}
    for metric, module in modules.items():
        own_key = jax.random.fold_in(key, zlib.crc32(metric.encode()))
        result = module.evaluate(codes, factors, own_key, **settings.get(metric, {}))
        for name, value in result.scores.items():
            table[name] = {
                "value": value,
                "standard_error": result.standard_errors.get(name),
                "definition": module.DEFINITIONS[name],
                "metric": metric,
                "counts": result.counts,
            }
    return table


def measure(
    subject, *, metrics: str | None = None, predictors: str = "trees,lasso,logistic"
) -> dict:
    """The disentanglement of the test split's codes (posterior means).

    Args:
        subject: a `vae_jax.evaluation.subject.Subject`.
        metrics: names separated by commas, see `names`; None means all.
        predictors: predictors of DCI, separated by commas; trees take minutes.

    Returns:
        The entries of `DEFINITIONS`, scalars, with standard errors if there are any.

    Raises:
        NotApplicableError: the data have no factors, or no factor varies.
    """
    factors = subject.factors()
    if factors is None:
        raise NotApplicableError("the data have no factors")
    if (factors == factors[:1]).all():
        raise NotApplicableError("no factor varies")
    subject.require_continuous()
    chosen = names() if metrics is None else [name.strip() for name in metrics.split(",")]
    settings = {"dci": {"predictors": [name.strip() for name in predictors.split(",")]}}
    table = evaluate(
        subject.posterior().mean,
        factors,
        key=jax.random.fold_in(subject.key, zlib.crc32(b"disentanglement")),
        metrics=chosen,
        settings={name: each for name, each in settings.items() if name in chosen},
    )
    counts = {row["metric"]: row["counts"] for row in table.values()}
    result: dict = {"num_examples": len(factors), "counts": counts}
    for name, row in table.items():
        result[name] = row["value"]
        if row["standard_error"] is not None:
            result[f"{name}_standard_error"] = row["standard_error"]
    return result


COST = Cost(place=8, start=120.0)

DEFINITIONS = {
    "num_examples": "N, the examples of the test split",
    "counts": "of each metric: the examples, groups or dimensions it rests on",
    **definitions(),
}
"""The meaning of each entry of `measure`; `name_standard_error` is the error of `name`."""
