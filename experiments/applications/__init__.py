"""Applications of autoencoders beside honest baselines: one file each, found by its name.

An application is a module whose docstring says its protocol, with

    PROTOCOLS   protocol → what it is, a line; the first is the default
    SEEDS       number of seeds, a count
    MEASURES    what is measured, each a `Measure`; the first decides who is best
    OURS        names of the methods that are models of this project
    tasks(protocol, data_dir) -> names of its datasets or settings
    methods(trial) -> dict: name → function of nothing that trains the method and measures it, which
                returns measure → value; all methods of a `Trial` see the same rows
    notes(results) -> list of lines, optional: conclusions, computed from all `Results`

The command prints its table, runs methods in the order of the dict and times each. To add an
application, add a file.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from vae_jax import discovery

__all__ = ["Measure", "Results", "Trial", "load", "names"]

Results = Mapping[tuple[str, int], Mapping[str, Mapping[str, float]]]
"""(task, seed) → method → measure → value."""


class Measure(NamedTuple):
    """A number of a method on a task.

    Attributes:
        name: in the table.
        meaning: what it is, with its unit, a line.
        higher_is_better: or lower.
        digits: decimals in the table, a count.
    """

    name: str
    meaning: str
    higher_is_better: bool = True
    digits: int = 3


class Trial(NamedTuple):
    """What the methods are compared on.

    Attributes:
        task: one of the tasks of the application.
        protocol: one of its protocols.
        seed: of the split and of every method, a count.
        data_dir: folder of datasets, or None for $VAE_JAX_DATA_DIR.
    """

    task: str
    protocol: str
    seed: int
    data_dir: str | None


def names() -> list[str]:
    """Names of all applications, sorted."""
    return discovery.names(__name__)


def load(name: str) -> Any:
    """The module of an application.

    Raises:
        UsageError: there is no such application.
    """
    return discovery.load(__name__, name, "application")
