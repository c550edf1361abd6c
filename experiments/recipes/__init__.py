"""Tables of papers: one file each, found by its name. To add one, add a file.

A recipe is a module whose docstring describes the table and its publication, with

    BUDGETS    budget → flags of `experiments.vae` for all rows; the first is the default
    SEEDS      number of seeds per row, a count
    ROWS       the rows of the table, each a `Row`
    COLUMNS    the measured columns of each trained run, each a `Column`
    notes(results) -> list of lines, optional: conclusions, computed from the numbers
"""

from collections.abc import Mapping
from types import MappingProxyType, ModuleType
from typing import Any, NamedTuple

from vae_jax import discovery

__all__ = ["Column", "Row", "load", "names"]


class Row(NamedTuple):
    """A line of the table.

    Attributes:
        name: name in the paper.
        flags: flags of `experiments.vae` for this row.
        published: column → source → published number.
        waits_for: what must be implemented before this row can be trained; empty if nothing.
        by_budget: budget → additional flags for this row.
    """

    name: str
    flags: dict[str, str]
    published: dict[str, dict[str, float]]
    waits_for: str = ""
    by_budget: Mapping[str, dict[str, str]] = MappingProxyType({})


class Column(NamedTuple):
    """A number of a trained run.

    Attributes:
        name: name of the column.
        metric: metric of an evaluation.
        entry: entry of the metric.
        settings: settings of the metric.
        sign: −1 if the column is minus the entry.
    """

    name: str
    metric: str
    entry: str
    settings: Mapping[str, Any] = MappingProxyType({})
    sign: int = 1


def names() -> list[str]:
    """Names of all recipes, sorted."""
    return discovery.names(__name__)


def load(name: str) -> ModuleType:
    """The module of a recipe.

    Raises:
        UsageError: there is no such recipe.
    """
    return discovery.load(__name__, name, "recipe")
