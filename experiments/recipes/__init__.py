"""Tables of papers: one file each, found by its name. To add one, add a file.

A recipe is a module whose docstring describes the table and its publication, with

    BUDGETS    budget → flags of `experiments.vae` for all rows; the first is the default
    SEEDS      number of seeds per row, a count
    ROWS       the rows of the table, each a `Row`
    COLUMNS    the measured columns of each trained run, each a `Column`
    notes(results) -> list of lines, optional: conclusions, computed from the numbers
"""

import math
from collections.abc import Mapping
from types import MappingProxyType, SimpleNamespace
from typing import Any, NamedTuple

from vae_jax import discovery

__all__ = ["Column", "Row", "below", "for_budget", "load", "names", "near"]


class Row(NamedTuple):
    """A line of the table.

    Attributes:
        name: name in the paper.
        flags: flags of `experiments.vae` for this row.
        published: column → source → published number.
        waits_for: what must be implemented before this row can be trained; empty if nothing.
        by_budget: budget → additional flags for this row.
        budgets: the only budgets in which it is trained; () for all.
    """

    name: str
    flags: dict[str, str]
    published: dict[str, dict[str, float]]
    waits_for: str = ""
    by_budget: Mapping[str, dict[str, str]] = MappingProxyType({})
    budgets: tuple[str, ...] = ()


class Column(NamedTuple):
    """A number of a trained run.

    Attributes:
        name: name of the column.
        metric: metric of an evaluation.
        entry: entry of the metric.
        settings: settings of the metric.
        factor: of the entry: −1 if the column is minus it.
        by_budget: budget → additional settings of the metric.
    """

    name: str
    metric: str
    entry: str
    settings: Mapping[str, Any] = MappingProxyType({})
    factor: float = 1.0
    by_budget: Mapping[str, Mapping[str, Any]] = MappingProxyType({})


def names() -> list[str]:
    """Names of all recipes, sorted."""
    return discovery.names(__name__)


def for_budget(recipe: Any, budget: str) -> SimpleNamespace:
    """A recipe with the rows that are trained in one of its budgets, and the columns' settings."""
    rows = [row for row in recipe.ROWS if budget in (row.budgets or recipe.BUDGETS)]
    columns = [
        column._replace(
            settings={**column.settings, **column.by_budget.get(budget, {})}, by_budget={}
        )
        for column in recipe.COLUMNS
    ]
    return SimpleNamespace(**{**vars(recipe), "ROWS": rows, "COLUMNS": columns})


def below(
    results: Mapping[str, Any], lower: str, higher: str, column: str, least: float = 0.0
) -> list[str]:
    """A line that says whether one row is below another, as was claimed; none if one is missing.

    Args:
        results: as in `notes`.
        lower, higher: names of rows.
        column: name of a column.
        least: the claimed difference.
    """
    if not {lower, higher} <= results.keys():
        return []
    one, other = (results[name][column] for name in (lower, higher))
    # what is the same for all examples has no error
    errors = (each.standard_error for each in (one, other))
    gap = other.mean - one.mean
    error = math.hypot(*(error for error in errors if not math.isnan(error)))
    claimed = f" (claimed: at least {least:g})" if least else ""
    told = f"{column}: {lower} is {gap:.3g} ± {error:.2g} below {higher}{claimed}"
    return [f"{told}: {_verdict(gap - least, error)}"]


def near(
    results: Mapping[str, Any], row: str, column: str, source: str, within: float
) -> list[str]:
    """A line that says whether a row is as near to a published number as claimed; see `below`."""
    if row not in results:
        return []
    result = results[row][column]
    gap = result.mean - result.published[source]
    told = f"{column}: {row} is {gap:+.3g} ± {result.standard_error:.2g} from {source}"
    verdict = _verdict(within - abs(gap), result.standard_error)
    return [f"{told} (claimed: within {within:g}): {verdict}"]


def _verdict(margin: float, error: float) -> str:
    """Whether a margin is positive, given its standard error."""
    if margin > 2 * error:
        return "holds"
    return "fails" if margin < -2 * error else "undecided within two standard errors"


def load(name: str) -> Any:
    """The module of a recipe.

    Raises:
        UsageError: there is no such recipe.
    """
    return discovery.load(__name__, name, "recipe")
