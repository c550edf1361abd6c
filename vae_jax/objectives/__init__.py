"""Objectives: one file each, found by its module name; to add one, add a file.

An objective is a function `loss(model, params, batch, key, *, hyperparameters…) -> (loss, aux)`:

- `batch` is {"x": [B, *shape], "mask": [B]}; a row of mask 0 is padding and must not count.
- `loss` is [B], in nats, to be minimised; a term of the whole batch is added to each row. The
  caller averages over the rows that count.
- `aux` holds [B] arrays that mean something for this objective (elbo, rate, distortion, …).
- Its keyword-only parameters, all scalars, are its hyperparameters: their defaults and the lines
  under `Args:` become flags. One whose default is a float may be a schedule and must be finite and
  >= 0; one whose default is an integer is a count >= 1, which may decide shapes; one whose default
  is a string is one of those that `CHOICES`, a dictionary of the module, has for it. Other limits
  stand in `INTERVALS`, likewise, as "(0, 1]" has them; and what is best a schedule over the run in
  `SCHEDULES`, as text: it is what the flag means where it is not given.
- A keyword-only parameter without a default is told by whoever trains: `num_examples`, N of the
  training split.

Beside `loss` the module may have

- `init(model, key, *, …) -> own`, parameters of the objective's own (a discriminator), which it
  finds in `params["objective"]`; its hyperparameters do not change from step to step.
- `optimizer(*, …) -> optax.GradientTransformation`, what moves those; without it, what moves the
  model's. All of `params` get the gradient of one loss: `stop_gradient` keeps the parts apart.
- `latent(*, …) -> latents.Latent`, the family of latents that it asks for, by counts and words;
  without it they are Gaussian.
- `update(model, before, after, batch, key, *, …) -> params`, what follows no gradient: the
  parameters before the step and as the optimizer left them to those that stand.
- `conditions(dataset, *, …) -> training.Conditions`, for a model that is conditional: what else a
  batch holds of each row (a label), and how many numbers the model is given.
- `given(model, params, batch) -> model`, the model given what is known of a batch, as pictures and
  evaluation see it; beside `conditions`.
- `beside(model, told, *, …) -> rows`, which checks what a user gives beside x (labels, say) and
  returns what batches hold; `conditions` does so for a dataset.
- `corrupt(x, key, *, …) -> x`, what its encoder is shown in the place of x [B, *shape] while it is
  trained; pictures show it.
- `phase(model, *, …) -> scalar`, for several trainings after one another: where it changes, the
  optimizer begins anew, so that nothing of what moved other parameters is left in it.
- `notes(model) -> lines` to be said before such a model is trained.
- `row_weights(batch, *, …) -> {term: weights [B]}`, for terms that are means over some rows only
  (those of known label): they hold w·v, and their error is that of the ratio Σ w·v / Σ w.
- `DEFINITIONS`, term → a line on what it is: of terms that no other objective has, and of those
  whose name says something else here (a rate that is not of z alone).

Their keyword-only parameters are hyperparameters as those of `loss`.

Modules with a leading underscore are what several share.
"""

import dataclasses
import functools
import inspect
import math
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from vae_jax import aliases, discovery, errors, latents
from vae_jax.training import Objective

__all__ = [
    "Hyperparameter",
    "Interval",
    "bind",
    "definitions",
    "formula",
    "hyperparameters",
    "latent",
    "load",
    "name_of",
    "names",
    "optimizer_settings",
    "purpose",
    "references",
    "statics",
    "summary",
]

_PARTS = tuple(field.name for field in dataclasses.fields(Objective))
_PAPER = re.compile(r"((?:van den )?[A-Z][\w-]+(?: et al\.| (?:and|&) [A-Z][\w-]+)? \d{4})([^;]*)")


class Interval(NamedTuple):
    """Numbers between two ends, which belong to it or do not.

    Args:
        low, high: the ends, scalars.
        is_open: whether the low, and the high end are left out.
    """

    low: float
    high: float
    is_open: tuple[bool, bool]

    @classmethod
    def parse(cls, text: str) -> "Interval":
        """From how it is written, "(0, 1]" or "[2, inf)"."""
        low, high = text[1:-1].split(",")
        return cls(float(low), float(high), (text[0] == "(", text[-1] == ")"))

    def __contains__(self, number: float) -> bool:
        above = self.low < number if self.is_open[0] else self.low <= number
        return above and (number < self.high if self.is_open[1] else number <= self.high)

    def __str__(self) -> str:
        low = f"{'>' if self.is_open[0] else '>='} {self.low:g}"
        if self.high == math.inf:
            return low
        return f"{low} and {'<' if self.is_open[1] else '<='} {self.high:g}"


class Hyperparameter(NamedTuple):
    """A keyword-only parameter of an objective with a default.

    Args:
        default: a scalar or a word.
        help: a line.
        interval: where a number must lie, at every step.
        choices: what a word may be.
        schedule: what its flag means where it is not given, "" for the default.
    """

    default: float | int | str
    help: str
    interval: Interval = Interval.parse("[0, inf)")
    choices: tuple[str, ...] = ()
    schedule: str = ""

    @property
    def text(self) -> str:
        """What its flag means where it is not given, as it would be typed (a scalar or more)."""
        return self.schedule or str(self.default).removesuffix(".0")

    @property
    def is_static(self) -> bool:
        """Whether it is a word or a count, which decide a program, not an array or a schedule."""
        return not isinstance(self.default, float)

    def check(self, name: str, value: int | str) -> None:
        """UsageError unless a word is one of the choices, or a count lies in the interval.

        Args:
            name: of the hyperparameter, for the message.
            value: of a hyperparameter that `is_static`, a scalar.
        """
        if self.choices and value not in self.choices:
            raise errors.unknown(name, str(value), self.choices)
        if not self.choices and value not in self.interval:
            raise errors.UsageError(f"{name}={value}: must be at least {self.interval.low:g}")


def names() -> list[str]:
    """Names of all objectives, sorted."""
    return discovery.names(__name__)


def load(name: str) -> Callable:
    """The loss function of an objective; see this module's head for its shapes.

    Raises:
        UsageError: there is no such objective.
    """
    return discovery.load(__name__, name, "objective").loss


def name_of(objective: Any) -> str | None:
    """The name of one of our objectives, given by its name or by its function of batches [B, …].

    Returns:
        The name, of an alias the one it stands for; None for an `Objective`, and for any other
        function than `load(name)`.
    """
    if isinstance(objective, str):
        return aliases.canonical("objective", objective)
    package, _, name = str(getattr(objective, "__module__", "")).rpartition(".")
    is_ours = package == __name__ and name in names() and load(name) is objective
    return name if is_ours else None


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


def definitions(name: str) -> dict[str, str]:
    """Term of `loss` → what it is, where that is the objective's own; see this module's head."""
    return getattr(inspect.getmodule(load(name)), "DEFINITIONS", {})


def references(name: str) -> dict[str, str | None]:
    """The papers of an objective as its docstring has them: "authors year" → arXiv's number."""
    docstring = inspect.getdoc(load(name)) + "\n"
    section = re.search(r"^Reference:\n((?:    .*\n)+)", docstring, re.M)[1]
    found = {}
    for paper, details in _PAPER.findall(re.sub(r"\s+", " ", section)):
        number = re.search(r"arXiv (\d{4}\.\d{4,5})", details)
        found[paper] = number and number[1]
    return found


def _parts(name: str) -> dict[str, Callable]:
    """The functions of an objective: `loss`, and what else of an `Objective` its module has."""
    module = inspect.getmodule(load(name))
    return {part: getattr(module, part) for part in _PARTS if hasattr(module, part)}


def _functions(objective: Any) -> dict[str, Callable]:
    """The functions of whatever `bind` takes for an objective, by the part that they are."""
    name = name_of(objective)
    if name is not None:
        return _parts(name)
    if isinstance(objective, Objective):
        parts = {part: getattr(objective, part) for part in _PARTS}
        return {part: function for part, function in parts.items() if function is not None}
    if not callable(objective):
        raise errors.UsageError(
            f"objective={objective!r}: must be a name ({', '.join(names())}), an Objective, or a "
            "function loss(model, params, batch, key, **hyperparameters)"
        )
    return {"loss": objective}


def _keywords(function: Callable) -> list[inspect.Parameter]:
    parameters = inspect.signature(function).parameters.values()
    return [p for p in parameters if p.kind is p.KEYWORD_ONLY]


def _settable(function: Callable) -> list[inspect.Parameter]:
    """Keyword-only parameters, and those of a user's function that have a default."""
    parameters = inspect.signature(function).parameters.values()
    return [
        p
        for p in parameters
        if p.kind is p.KEYWORD_ONLY
        or (p.kind is p.POSITIONAL_OR_KEYWORD and p.default is not p.empty)
    ]


def hyperparameters(name: str) -> dict[str, Hyperparameter]:
    """The hyperparameters of an objective by name: keyword-only, scalars."""
    module = inspect.getmodule(load(name))
    limits = {name: getattr(module, name, {}) for name in ("INTERVALS", "CHOICES", "SCHEDULES")}
    found = {}
    for function in _parts(name).values():
        help_lines = _argument_help(inspect.getdoc(function))
        for p in _keywords(function):
            if p.default is not p.empty:
                least = "[1, inf)" if isinstance(p.default, int) else "[0, inf)"
                found[p.name] = Hyperparameter(
                    p.default,
                    help_lines.get(p.name, ""),
                    Interval.parse(limits["INTERVALS"].get(p.name, least)),
                    limits["CHOICES"].get(p.name, ()),
                    limits["SCHEDULES"].get(p.name, ""),
                )
    return found


def optimizer_settings(name: str) -> list[str]:
    """The hyperparameters of an objective's own optimizer, where it has one."""
    optimizer = _parts(name).get("optimizer")
    return [] if optimizer is None else [p.name for p in _keywords(optimizer)]


def bind(objective: str | Callable, *, num_examples: int, **settings) -> Objective:
    """An objective with all that is static about it.

    Args:
        objective: the name of one of ours or its function `load(name)`, an `Objective`, or a
            function `loss(model, params, batch, key, **hyperparameters)` of the user's own.
        num_examples: N of the training split, a count, for an objective that asks for it.
        settings: hyperparameters that are words or counts.

    Returns:
        An `Objective`, to be called as `loss(model, params, batch, key, **hyperparameters)`, to
        (loss [B], aux). Each function of one of ours takes all hyperparameters of the objective.

    Raises:
        UsageError: there is no such objective, or it has no such hyperparameter or value of it.
    """
    if isinstance(objective, Objective):
        _refuse_unknown(objective, settings)
        bound = {part: _bound(f, settings, ()) for part, f in _functions(objective).items()}
        return dataclasses.replace(objective, **bound) if settings else objective
    name = name_of(objective)
    if name is None:
        _refuse_unknown(objective, settings)
        told = {"num_examples": num_examples, **settings}
        return Objective(_bound(objective, told, ()))
    known = hyperparameters(name)
    for setting, value in settings.items():
        if setting not in known:
            raise errors.unknown(f"hyperparameter of {name}", setting, known)
        if known[setting].is_static:
            known[setting].check(setting, value)
    defaults = {name: hyperparameter.default for name, hyperparameter in known.items()}
    told = {"num_examples": num_examples, **defaults, **settings}
    bound = {part: _bound(f, told, known) for part, f in _parts(name).items()}
    return Objective(**{"latent": latents.Gaussian, **bound})


def latent(name: str, **settings) -> latents.Latent:
    """The family of latents, of codes [B, L], that an objective asks for.

    `Model(…, latent=objectives.latent(name))` fits it. The encoder returns `latent.parts`, [B, L]
    each; one of ours is made by `networks.build(…, num_parts=len(latent.parts))`.

    Args:
        name: of the objective.
        settings: hyperparameters that are words or counts.
    """
    return bind(name, num_examples=1, **settings).latent()


def statics(
    objective: str | Callable, settings: Mapping[str, Any], *, has_dataset: bool = False
) -> dict[str, int | str]:
    """The hyperparameters among `settings` that are words or counts: they decide a program.

    Args:
        objective: see `bind`.
        settings: values by name; scalars, or schedules.
        has_dataset: whether those of `Objective.conditions` are among them, which ask a `Dataset`.

    Raises:
        UsageError: the objective has no such hyperparameter, or a count is no integer.
    """
    known = _refuse_unknown(objective, settings, has_dataset)
    chosen = {n: v for n, v in settings.items() if type(known.get(n)) in (int, str)}
    return {n: v if isinstance(v, str) else _count(n, v) for n, v in chosen.items()}


def _refuse_unknown(
    objective: Any, settings: Mapping[str, Any], has_dataset: bool = False
) -> dict[str, Any]:
    """Hyperparameter → default, of `bind`'s objectives; UsageError if `settings` has another."""
    parts = _functions(objective).items()
    functions = [f for part, f in parts if has_dataset or part != "conditions"]
    known = {p.name: p.default for function in functions for p in _settable(function)}
    unknown = settings.keys() - known.keys()
    if unknown and not any(map(_takes_any, functions)):
        of = f" of {objective}" if isinstance(objective, str) else ""
        known.pop("num_examples", None)
        raise errors.unknown(f"hyperparameter{of}", min(unknown), known)
    return known


def _count(name: str, value: Any) -> int:
    """A hyperparameter that is a count, as a Python integer."""
    number = None if callable(value) else float(value)
    if number is None or not number.is_integer():
        raise errors.UsageError(f"{name}={value}: must be an integer")
    return int(number)


def _takes_any(function: Callable) -> bool:
    parameters = inspect.signature(function).parameters.values()
    return any(p.kind is p.VAR_KEYWORD for p in parameters)


def _bound(function: Callable, told: dict, known: Iterable[str]) -> Callable:
    """A function that knows what it was told, and ignores what only others of its objective take.

    Args:
        function: a part of an objective.
        told: keyword arguments, of whichever part.
        known: the hyperparameters of all parts.
    """
    own = {p.name for p in _settable(function)}
    told = {name: value for name, value in told.items() if name in own}

    @functools.wraps(function)
    def call(*arguments, **given):
        given = {n: v for n, v in given.items() if n in own or n not in known}
        return function(*arguments, **{**told, **given})

    return call


def _argument_help(docstring: str) -> dict[str, str]:
    section = re.search(r"^Args:\n((?:(?:    .*)?\n)+)", docstring + "\n", re.M)
    entries = re.findall(r"^    (\w+): (.*(?:\n        .*)*)", section[1] if section else "", re.M)
    return {name: re.sub(r"\s+", " ", text) for name, text in entries}
