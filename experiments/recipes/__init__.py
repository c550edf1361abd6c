"""Tables of papers, one file each, found by its name; to add one, add a file.

A recipe is a module whose docstring says what the table is and where it was published, with

    BUDGETS    budget → flags of `experiments.vae` that hold for all rows; the first is the default
    SEEDS      how many seeds each row is trained with, a count
    ROWS       the rows of the table, each a `Row`
    COLUMNS    what is measured of each trained run, each a `Column`
    notes(results) -> list of lines, optional: what the table shows, worked out from its numbers
"""

from collections.abc import Mapping
from types import MappingProxyType, ModuleType
from typing import Any, NamedTuple

from vae_jax import discovery

__all__ = ["Column", "Row", "load", "names"]


class Row(NamedTuple):
    """A line of the table.

    Attributes:
        name: what the paper calls it.
        flags: of `experiments.vae`, which set it apart.
        published: column → who says so → the number.
        waits_for: what has to be built before this row can be trained; empty where nothing has.
        by_budget: budget → flags that set the row apart there, beside `flags`.
    """

    name: str
    flags: dict[str, str]
    published: dict[str, dict[str, float]]
    waits_for: str = ""
    by_budget: Mapping[str, dict[str, str]] = MappingProxyType({})


class Column(NamedTuple):
    """A number of a trained run.

    Attributes:
        name: of the column.
        metric: of an evaluation.
        entry: of the metric.
        settings: of the metric.
        sign: −1 for a column that is minus the entry.
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
