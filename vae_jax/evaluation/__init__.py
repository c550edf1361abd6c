"""Evaluation: one file per family of metrics, with pure functions on arrays and a thin sampler.

A module with a function `measure(subject, *, …)` is a metric that the command line offers under the
module's name; see `vae_jax.evaluation.subject`.
"""

import inspect
from types import ModuleType
from typing import Any

from vae_jax import arguments, discovery
from vae_jax.errors import UsageError, shown, unknown
from vae_jax.evaluation._cost import Cost

__all__ = ["costs", "load", "measure", "names", "settings"]


def names() -> list[str]:
    """Names of all metrics, sorted: the modules of this package that have `measure`."""
    modules = {name: discovery.load(__name__, name, "module") for name in discovery.names(__name__)}
    return [name for name, module in modules.items() if hasattr(module, "measure")]


def load(name: str) -> ModuleType:
    """The module of a metric.

    Raises:
        UsageError: there is no such metric.
    """
    if name not in names():
        raise unknown("metric", name, names())
    return discovery.load(__name__, name, "metric")


def costs() -> dict[str, Cost]:
    """Each metric → what it costs, best known first."""
    found = {name: load(name).COST for name in names()}
    return dict(sorted(found.items(), key=lambda pair: pair[1].place))


def settings(name: str) -> dict[str, object]:
    """The settings of a metric and their defaults: the keyword-only arguments of its `measure`."""
    parameters = inspect.signature(load(name).measure).parameters.values()
    return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}


def measure(subject: Any, name: str, **given: Any) -> tuple[dict[str, Any], dict[str, str]]:
    """Measures one metric of a trained model.

    Args:
        subject: a `subject.Subject`.
        name: name of the metric.
        given: its settings; the others have their defaults.

    Returns:
        (entry → value, scalars and lists, in the order of the definitions; entry → definition).

    Raises:
        NotApplicableError: the metric does not apply to this model or these data.
        UsageError: there is no such metric or setting, or a setting does not fit.
        DataError: the data are not valid for it.
    """
    known = settings(name)
    for setting in given:
        if setting not in known:
            raise unknown(f"setting of {name}", setting, known)
    module = load(name)
    fitting = {
        setting: _of_kind(setting, value, known[setting]) for setting, value in given.items()
    }
    values = module.measure(subject, **{**known, **fitting})
    order = {entry: place for place, entry in enumerate(module.DEFINITIONS)}

    def place(entry: str) -> int:
        return order.get(entry.removesuffix("_standard_error"), len(order))

    definitions = {n: text for n, text in module.DEFINITIONS.items() if n in values}
    return {entry: values[entry] for entry in sorted(values, key=place)}, definitions


def _of_kind(setting: str, value: Any, default: object) -> Any:
    """A value as a metric takes it: a count where the default is one, words where it is not."""
    if isinstance(value, type(default)) and not isinstance(default, int):
        return value
    if isinstance(default, int):
        # what is left to fit the data stays so
        return value if value is default else arguments.integer(setting, value, 1)
    is_words = isinstance(value, list | tuple) and all(isinstance(word, str) for word in value)
    if is_words:
        return ",".join(value)
    if isinstance(value, str):
        return value
    raise UsageError(f"{setting}={shown(value)}: must be words: give one, or several with commas")
