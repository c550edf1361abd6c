"""Objectives: one file each, found by its module name; to add one, add a file.

An objective is a function `loss(model, params, batch, key, *, hyperparameters…) -> (loss, aux)`:

- `batch` is {"x": [B, *shape], "mask": [B]}; a row of mask 0 is padding and must not count.
- `loss` is [B], in nats, to be minimised; a term of the whole batch is added to each row. The
  caller averages over the rows that count.
- `aux` holds [B] arrays that mean something for this objective (elbo, rate, distortion, …).
- Its keyword-only parameters, all scalars, are its hyperparameters: their defaults and the lines
  under `Args:` become flags. One whose default is a float may be a schedule and must be finite and
  >= 0; one whose default is an integer is a count >= 1, which may decide shapes; one whose default
  is a string is one of those that `CHOICES`, a dictionary of the module, has for it. What has a
  limit above as well stands in `HIGHEST`, likewise.
- A keyword-only parameter without a default is told by whoever trains: `num_examples`, N of the
  training split.

Modules with a leading underscore are what several share.
"""

import functools
import inspect
import math
import re
from collections.abc import Callable
from typing import NamedTuple

from vae_jax import discovery

__all__ = [
    "Hyperparameter",
    "bind",
    "formula",
    "hyperparameters",
    "load",
    "names",
    "purpose",
    "references",
    "summary",
]

_PAPER = re.compile(r"([A-Z][\w-]+(?: et al\.| (?:and|&) [A-Z][\w-]+)? \d{4})([^;]*)")


class Hyperparameter(NamedTuple):
    """A keyword-only parameter of an objective with a default.

    Args:
        default: a scalar or a word.
        help: a line.
        highest: the largest value, a scalar.
        choices: what a word may be.
    """

    default: float | int | str
    help: str
    highest: float = math.inf
    choices: tuple[str, ...] = ()

    @property
    def is_static(self) -> bool:
        """Whether it is a word or a count, which decide a program, not an array or a schedule."""
        return not isinstance(self.default, float)


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


def purpose(name: str) -> str:
    """What an objective is for: the first line of its module's docstring, without the stop."""
    return inspect.getdoc(inspect.getmodule(load(name))).splitlines()[0].rstrip(".")


def formula(name: str) -> str:
    """What an objective minimises: of its docstring what stands after "loss =", up to a comma."""
    text = re.search(r"^loss = ((?:.+\n)+)", inspect.getdoc(load(name)) + "\n", re.M)[1]
    text, depth = re.sub(r"\s+", " ", text).strip(), 0
    for place, character in enumerate(text):
        depth += (character in "([") - (character in ")]")
        if depth == 0 and re.match(r"[,;] ", text[place:]):
            return text[:place]
    return text


def references(name: str) -> dict[str, str | None]:
    """The papers of an objective as its docstring has them: "authors year" → arXiv's number."""
    docstring = inspect.getdoc(load(name)) + "\n"
    section = re.search(r"^Reference:\n((?:    .*\n)+)", docstring, re.M)[1]
    found = {}
    for paper, details in _PAPER.findall(re.sub(r"\s+", " ", section)):
        number = re.search(r"arXiv (\d{4}\.\d{4,5})", details)
        found[paper] = number and number[1]
    return found


def hyperparameters(name: str) -> dict[str, Hyperparameter]:
    """The hyperparameters of an objective by name: keyword-only, scalars."""
    function = load(name)
    module = inspect.getmodule(function)
    highest, choices = getattr(module, "HIGHEST", {}), getattr(module, "CHOICES", {})
    help_lines = _argument_help(inspect.getdoc(function))
    return {
        p.name: Hyperparameter(
            p.default,
            help_lines.get(p.name, ""),
            highest.get(p.name, math.inf),
            choices.get(p.name, ()),
        )
        for p in inspect.signature(function).parameters.values()
        if p.kind is p.KEYWORD_ONLY and p.default is not p.empty
    }


def bind(name: str, *, num_examples: int, **settings) -> Callable:
    """The loss function of an objective with all that is static about it.

    Args:
        name: of the objective.
        num_examples: N of the training split, a count, for an objective that asks for it.
        settings: hyperparameters that are words or counts.

    Returns:
        `loss(model, params, batch, key, **hyperparameters)`, to (loss [B], aux).
    """
    function = load(name)
    if "num_examples" in inspect.signature(function).parameters:
        settings["num_examples"] = num_examples
    return functools.partial(function, **settings)


def _argument_help(docstring: str) -> dict[str, str]:
    section = re.search(r"^Args:\n((?:(?:    .*)?\n)+)", docstring + "\n", re.M)
    entries = re.findall(r"^    (\w+): (.*(?:\n        .*)*)", section[1] if section else "", re.M)
    return {name: re.sub(r"\s+", " ", text) for name, text in entries}
