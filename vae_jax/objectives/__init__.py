"""Objectives: one file each, found by its module name; to add one, add a file.

An objective is a function `loss(model, params, batch, key, *, hyperparameters…) -> (loss, aux)`:

- `batch` is {"x": [B, *shape], "mask": [B]}; a row of mask 0 is padding and must not count.
- `loss` is [B], in nats, to be minimised; a term of the whole batch is added to each row. The
  caller averages over the rows that count.
- `aux` holds [B] arrays that mean something for this objective (elbo, rate, distortion, …).
- Its keyword-only parameters, all scalars, are its hyperparameters: their defaults and the lines
  under `Args:` become flags. One whose default is a float may be a schedule and must be finite and
  >= 0; one whose default is an integer is a count >= 1, which may decide shapes.
"""

import inspect
import re
from collections.abc import Callable
from typing import NamedTuple

from vae_jax import discovery

__all__ = ["Hyperparameter", "hyperparameters", "load", "names", "summary"]


class Hyperparameter(NamedTuple):
    """A keyword-only parameter of an objective: its default (a scalar) and its line of help."""

    default: float | int
    help: str

    @property
    def is_count(self) -> bool:
        """Whether it is an integer that may decide shapes, rather than an array or a schedule."""
        return isinstance(self.default, int)


def names() -> list[str]:
    """Names of all objectives, sorted."""
    return discovery.names(__name__)


def load(name: str) -> Callable:
    """The loss function of an objective; see this module's head for its shapes.

    Raises:
        UsageError: there is no such objective.
    """
    return discovery.load(__name__, name, "objective").loss


def summary(name: str) -> str:
    """The first line of the objective's docstring."""
    return inspect.getdoc(load(name)).splitlines()[0]


def hyperparameters(name: str) -> dict[str, Hyperparameter]:
    """The hyperparameters of an objective by name: keyword-only, scalars."""
    function = load(name)
    help_lines = _argument_help(inspect.getdoc(function))
    return {
        p.name: Hyperparameter(p.default, help_lines.get(p.name, ""))
        for p in inspect.signature(function).parameters.values()
        if p.kind is p.KEYWORD_ONLY
    }


def _argument_help(docstring: str) -> dict[str, str]:
    section = re.search(r"^Args:\n((?:(?:    .*)?\n)+)", docstring + "\n", re.M)
    entries = re.findall(r"^    (\w+): (.*(?:\n        .*)*)", section[1] if section else "", re.M)
    return {name: re.sub(r"\s+", " ", text) for name, text in entries}
