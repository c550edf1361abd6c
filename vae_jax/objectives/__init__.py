"""Objectives: one file each, found by its module name. To add one, add a file.

An objective is a function `loss(model, params, batch, key, *, hyperparameters…) -> (loss, aux)`:

- `batch` is {"x": [B, *shape], "mask": [B]}; a row of mask 0 is padding and must not count.
- `loss` is [B], in nats, to be minimized; a term of the whole batch is added to each row. The
  caller averages over the rows that count.
- `aux` holds [B] arrays that are meaningful for this objective (elbo, rate, distortion, …).
- Its keyword-only parameters, all scalars, are its hyperparameters: their defaults and the lines
  under `Args:` become flags. The type of the default decides:
  - A float may be a schedule and must be finite and >= 0.
  - An integer is a count >= 1 and may decide shapes.
  - A string is one of the choices that the module lists in the dictionary `CHOICES`.
  Other limits are in the dictionary `INTERVALS`, written like "(0, 1]". If the best default is a
  schedule over the run, it is in `SCHEDULES`, as text: the flag has this value unless it is given.
- A keyword-only parameter without a default is set by the training code: `num_examples`, N of the
  training split.

Beside `loss` the module may define

- `init(model, key, *, …) -> own`, the objective's own parameters (a discriminator), which `loss`
  finds in `params["objective"]`; its hyperparameters do not change from step to step.
- `optimizer(*, …) -> optax.GradientTransformation`, the optimizer of those; by default that of the
  model. All of `params` get the gradient of one loss: `stop_gradient` keeps the parts apart.
- `latent(*, …) -> latents.Latent`, the family of latents that the objective needs, from its counts
  and words; Gaussian by default.
- `mechanism(*, …) -> mechanisms.Mechanism`, the missing mechanism p(s|x) that the objective learns.
- `update(model, before, after, batch, key, *, …) -> params`, for updates without a gradient, such
  as an EMA codebook: the parameters before the step and after the optimizer, to the new ones.
- `conditions(dataset, *, …) -> training.Conditions`, for a conditional model: what a batch holds
  beside x for each row (a label), and how many numbers the model is conditioned on.
- `given(model, params, batch) -> model`, the model conditioned on a batch, for pictures and
  evaluation; used together with `conditions`.
- `beside(model, told, *, …) -> rows`, which checks what a user passes beside x (such as labels) and
  returns what batches hold; `conditions` does the same for a dataset.
- `corrupt(x, key, *, …) -> x`, the input that the encoder gets instead of x [B, *shape] during
  training; pictures show it.
- `phase(model, *, …) -> scalar`, for several trainings in sequence: the optimizer state is reset
  whenever `phase` changes.
- `begin(model, params, batch, key, *, …) -> params`, what such a phase begins with, from its first
  batch.
- `notes(model) -> lines` to be printed before training.
- `row_weights(batch, *, …) -> {term: weights [B]}`, for terms that are means over some rows only
  (such as those with a known label): the rows hold w·v, and the standard error is that of the ratio
  Σ w·v / Σ w.
- `DEFINITIONS`, term → one line that explains it: for terms that no other objective has, and for
  terms with a different meaning here (a rate that is not of z alone).

Their keyword-only parameters are hyperparameters like those of `loss`.

Modules with a leading underscore hold shared code.
"""

import dataclasses
import functools
import inspect
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from vae_jax import aliases, arguments, discovery, errors, latents
from vae_jax.training import Objective

__all__ = [
    "Hyperparameter",
    "Interval",
    "bind",
    "definitions",
    "formula",
    "has_phases",
    "hyperparameters",
    "lacking",
    "latent",
    "load",
    "name_of",
    "names",
    "optimizer_settings",
    "papers",
    "purpose",
    "references",
    "statics",
    "summary",
]

_PARTS = tuple(field.name for field in dataclasses.fields(Objective))
_SURNAME = r"(?:(?:[Vv]an|[Vv]on|[Dd]e[nr]?|[Dd]i|[Dd]a|[Ll]a) )*[A-Z][\w-]+"
_PAPER = re.compile(rf"({_SURNAME}(?: et al\.| (?:and|&) {_SURNAME})? \d{{4}})([^;]*)")


class Interval(NamedTuple):
    """An interval of numbers that includes its ends or not.

    Args:
        low, high: the ends, scalars.
        is_open: whether the low end and the high end are excluded.
    """

    low: float
    high: float
    is_open: tuple[bool, bool]

    @classmethod
    def parse(cls, text: str) -> "Interval":
        """Parses an interval as it is written, "(0, 1]" or "[2, inf)"."""
        low, high = text[1:-1].split(",")
        return cls(float(low), float(high), (text[0] == "(", text[-1] == ")"))

    def __contains__(self, number: float) -> bool:
        above = self.low < number if self.is_open[0] else self.low <= number
        return above and (number < self.high if self.is_open[1] else number <= self.high)

    def first_outside(self, values: Sequence[float], *, touches_low: bool = False) -> float | None:
        """The first of some scalars that is not finite or not in the interval; None if all are.

        With `touches_low`, some of them, but not all, may be an excluded low end.
        """
        may_touch = touches_low and any(value in self for value in values)
        for value in values:
            is_inside = value in self or (may_touch and value == self.low)
            if not (is_inside and math.isfinite(value)):
                return value
        return None

    def __str__(self) -> str:
        low = f"{'>' if self.is_open[0] else '>='} {self.low:g}"
        if self.high == math.inf:
            return low
        return f"{low} and {'<' if self.is_open[1] else '<='} {self.high:g}"


class Hyperparameter(NamedTuple):
    """A keyword-only parameter of an objective with a default.

    Args:
        default: a scalar or a word.
        help: one line.
        interval: the allowed values of a number, at every step.
        choices: the allowed words.
        schedule: the value of its flag unless it is given, as text; "" for the default.
        or_number: whether a positive number is allowed beside the words.
        others: what any other word says, if it is allowed; or "".
    """

    default: float | int | str
    help: str
    interval: Interval = Interval.parse("[0, inf)")
    choices: tuple[str, ...] = ()
    schedule: str = ""
    or_number: bool = False
    others: str = ""

    @property
    def text(self) -> str:
        """The value of its flag unless it is given, as typed by a user (scalar or schedule)."""
        return self.schedule or str(self.default).removesuffix(".0")

    @property
    def is_static(self) -> bool:
        """Whether it is a word or a count, which is fixed when a program is compiled."""
        return not isinstance(self.default, float)

    def value_of(self, text: str) -> float | int | str:
        """The value of a parsed text, if it `is_static`: a word, or a number; a scalar."""
        if text in self.choices or self.others:
            return text
        return float(text) if self.or_number else int(text)

    def check(self, name: str, value: int | str) -> None:
        """Raises UsageError unless a word is one of the choices, or a count lies in the interval.

        Args:
                name: name of the hyperparameter, for the message.
                value: a value of a hyperparameter that `is_static`, a scalar.
        """
        if self.choices and value not in self.choices and not self.others:
            raise errors.unknown(name, value, self.choices)
        if not self.choices and value not in self.interval:
            raise errors.UsageError(f"{name}={value}: must be at least {self.interval.low:g}")


def names() -> list[str]:
    """Names of all objectives, sorted."""
    return discovery.names(__name__)


def load(name: str) -> Callable:
    """The loss function of an objective; the docstring of this module gives its shapes.

    Raises:
        UsageError: there is no such objective.
    """
    return discovery.load(__name__, name, "objective").loss


def name_of(objective: Any) -> str | None:
    """The name of a built-in objective, from its name or from its loss over batches [B, …].

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
    """The first line of the objective's docstring; its name if there is none."""
    return _docstring(load(name), name).splitlines()[0]


def purpose(name: str) -> str:
    """The first line of its module's docstring without the period; its name if there is none."""
    return _docstring(inspect.getmodule(load(name)), name).splitlines()[0].rstrip(".")


def formula(name: str) -> str:
    """The loss as a formula: the docstring's text after "loss =", up to a comma; or its name."""
    found = re.search(r"^loss = ((?:.+\n)+)", _docstring(load(name), name) + "\n", re.M)
    text = name if found is None else found[1]
    text, depth = re.sub(r"\s+", " ", text).strip(), 0
    for place, character in enumerate(text):
        depth += (character in "([") - (character in ")]")
        if depth == 0 and re.match(r"[,;] ", text[place:]):
            return text[:place]
    return text


def _docstring(value: Any, name: str) -> str:
    """The docstring of a function or a module; the name of the objective if there is none."""
    return inspect.getdoc(value) or name


def definitions(name: str) -> dict[str, str]:
    """Term of `loss` → its definition, for terms specific to this objective."""
    return getattr(inspect.getmodule(load(name)), "DEFINITIONS", {})


def references(name: str) -> dict[str, str | None]:
    """The papers in the docstring of an objective: "authors year" → arXiv number."""
    return papers(load(name))


def papers(documented: Any) -> dict[str, str | None]:
    """The papers in the section "Reference" of a docstring, a scalar, see `references`."""
    docstring = (inspect.getdoc(documented) or "") + "\n"
    section = re.search(r"^Reference:\n((?:    .*\n)+)", docstring, re.M)
    found = {}
    for paper, details in _PAPER.findall(re.sub(r"\s+", " ", section[1] if section else "")):
        number = re.search(r"arXiv (\d{4}\.\d{4,5})", details)
        found[paper] = number and number[1]
    return found


def _parts(name: str) -> dict[str, Callable]:
    """The functions of an objective: `loss`, and the optional ones that its module defines."""
    module = inspect.getmodule(load(name))
    return {part: getattr(module, part) for part in _PARTS if hasattr(module, part)}


def _functions(objective: Any) -> dict[str, Callable]:
    """The functions of any objective that `bind` accepts, by the name of the part."""
    name = name_of(objective)
    if name is not None:
        return _parts(name)
    if isinstance(objective, Objective):
        parts = {part: getattr(objective, part) for part in _PARTS}
        return {part: function for part, function in parts.items() if function is not None}
    if not callable(objective) or not arguments.takes_leading(objective, 4):
        raise errors.UsageError(
            f"objective={errors.shown(objective)}: must be a name ({', '.join(names())}), an "
            "Objective, or a function loss(model, params, batch, key, **hyperparameters)"
        )
    return {"loss": objective}


def _keywords(function: Callable) -> list[inspect.Parameter]:
    parameters = inspect.signature(function).parameters.values()
    return [p for p in parameters if p.kind is p.KEYWORD_ONLY]


def _settable(function: Callable) -> list[inspect.Parameter]:
    """Keyword-only parameters, and other parameters with a default of a user's function."""
    return [
        p
        for p in _parameters(function)
        if p.kind is p.KEYWORD_ONLY
        or (p.kind is p.POSITIONAL_OR_KEYWORD and p.default is not p.empty)
    ]


def hyperparameters(name: str) -> dict[str, Hyperparameter]:
    """The hyperparameters of an objective by name: keyword-only scalars."""
    module = inspect.getmodule(load(name))
    parts = ("INTERVALS", "CHOICES", "SCHEDULES", "OTHERS")
    limits = {name: getattr(module, name, {}) for name in parts}
    found = {}
    for function in _parts(name).values():
        help_lines = _argument_help(_docstring(function, name))
        for p in _keywords(function):
            if p.default is not p.empty:
                least = "[1, inf)" if isinstance(p.default, int) else "[0, inf)"
                told = found[p.name].help if p.name in found else ""
                found[p.name] = Hyperparameter(
                    p.default,
                    help_lines.get(p.name, told),
                    Interval.parse(limits["INTERVALS"].get(p.name, least)),
                    limits["CHOICES"].get(p.name, ()),
                    limits["SCHEDULES"].get(p.name, ""),
                    others=limits["OTHERS"].get(p.name, ""),
                )
    return found


def optimizer_settings(name: str) -> list[str]:
    """The hyperparameters of an objective's own optimizer, if it has one."""
    optimizer = _parts(name).get("optimizer")
    return [] if optimizer is None else [p.name for p in _keywords(optimizer)]


def bind(objective: str | Callable, *, num_examples: int, **settings) -> Objective:
    """Binds an objective to everything about it that is static.

    Args:
        objective: the name of a built-in objective or its function `load(name)`, an `Objective`, or
            a user's function `loss(model, params, batch, key, **hyperparameters)`.
        num_examples: N of the training split, a count, for an objective that needs it.
        settings: hyperparameters that are words or counts.

    Returns:
        An `Objective`, called as `loss(model, params, batch, key, **hyperparameters)`, returns
        (loss [B], aux). Each function of a built-in objective accepts all hyperparameters of the
        objective.

    Raises:
        UsageError: there is no such objective, hyperparameter or value.
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
    told = {"num_examples": num_examples, **_checked(name, known, settings)}
    bound = {part: _bound(f, told, known) for part, f in _parts(name).items()}
    return Objective(**{"latent": latents.Gaussian, **bound})


def _checked(
    name: str, known: Mapping[str, Hyperparameter], settings: Mapping[str, Any]
) -> dict[str, Any]:
    """The hyperparameters of a built-in objective: its defaults, and checked settings."""
    for setting, value in settings.items():
        if setting not in known:
            raise errors.unknown(f"hyperparameter of {name}", setting, known)
        if known[setting].is_static:
            known[setting].check(setting, value)
    return {**{n: hyperparameter.default for n, hyperparameter in known.items()}, **settings}


def latent(name: str, **settings) -> latents.Latent:
    """The family of latents, for codes [B, L], that an objective needs.

    Pass it as `Model(…, latent=objectives.latent(name))`. The encoder must return `latent.parts`,
    [B, L] each; `networks.build(…, num_parts=len(latent.parts))` makes such an encoder.

    Args:
        name: name of the objective.
        settings: hyperparameters that are words or counts.
    """
    part = _parts(name).get("latent")
    if part is None:
        return latents.Gaussian()
    known = hyperparameters(name)
    return _bound(part, _checked(name, known, settings), known)()


def has_phases(name: str) -> bool:
    """Whether an objective is several trainings in sequence, see `phase`."""
    return "phase" in _parts(name)


def statics(
    objective: str | Callable,
    settings: Mapping[str, Any],
    *,
    has_dataset: bool = False,
    call: str = "",
) -> dict[str, int | str]:
    """The hyperparameters among `settings` that are words or counts: they decide a program.

    Args:
        objective: see `bind`.
        settings: values by name; scalars, or schedules.
        has_dataset: whether those of `Objective.conditions` are among them, which ask a `Dataset`.
        call: the function of the face that got them, "fit", for messages; "" for none.

    Raises:
        UsageError: the objective has no such hyperparameter, or a count is not an integer.
    """
    known = _refuse_unknown(objective, settings, has_dataset, call)
    chosen = {n: v for n, v in settings.items() if type(known.get(n)) in (int, str)}
    return {n: v if type(known[n]) is str else _count(n, v) for n, v in chosen.items()}


def lacking(objective: str | Callable, given: Mapping[str, Any]) -> list[str]:
    """Hyperparameters of a user's own function without a default or a value, sorted.

    Args:
        objective: see `bind`; built-in objectives lack none.
        given: values by name; scalars, or schedules.
    """
    if name_of(objective) is not None or isinstance(objective, Objective):
        return []
    needed = {p.name for p in _settable(objective) if p.default is p.empty}
    return sorted(needed - given.keys() - {"num_examples"})


def _refuse_unknown(
    objective: Any, settings: Mapping[str, Any], has_dataset: bool = False, call: str = ""
) -> dict[str, Any]:
    """Hyperparameter → default, of `bind`'s objectives; UsageError if `settings` has another."""
    parts = _functions(objective).items()
    functions = [f for part, f in parts if has_dataset or part != "conditions"]
    known = {p.name: p.default for function in functions for p in _settable(function)}
    unknown = settings.keys() - known.keys()
    if unknown and not any(map(_takes_any, functions)):
        arguments.refuse_elsewhere(call, {name: settings[name] for name in sorted(unknown)})
        of = f" of {objective}" if isinstance(objective, str) else ""
        known.pop("num_examples", None)
        raise errors.unknown(f"hyperparameter{of}", min(unknown), known)
    return known


def _count(name: str, value: Any) -> int:
    """Converts a hyperparameter that is a count to a Python integer."""
    try:
        number = math.nan if isinstance(value, str) else float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not number.is_integer():
        raise errors.UsageError(f"{name}={errors.shown(value)}: must be an integer")
    return int(number)


def _takes_any(function: Callable) -> bool:
    return any(p.kind is p.VAR_KEYWORD for p in _parameters(function))


def _parameters(function: Callable) -> list[inspect.Parameter]:
    """The parameters of a function; [] if Python does not know them."""
    try:
        return [*inspect.signature(function).parameters.values()]
    except ValueError:
        return []


def _bound(function: Callable, told: dict, known: Iterable[str]) -> Callable:
    """Binds keyword arguments to a function and makes it ignore those of the other parts.

    Args:
        function: a part of an objective.
        told: keyword arguments of any part.
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
