"""Evaluation: one file for each family of metrics, a pure core on arrays and a thin sampler.

A module with a function `measure(subject, *, …)` is a metric that the command line offers by the
module's name; see `vae_jax.evaluation.subject`.
"""

import inspect
from types import ModuleType

from vae_jax import discovery
from vae_jax.errors import unknown

__all__ = ["load", "names", "settings"]


def names() -> list[str]:
    """Names of all metrics, sorted: the modules beside this one that have `measure`."""
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


def settings(name: str) -> dict[str, object]:
    """The settings of a metric and their defaults: the keyword-only arguments of its `measure`."""
    parameters = inspect.signature(load(name).measure).parameters.values()
    return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}
