"""Evaluation: one file for each family of metrics, a pure core on arrays and a thin sampler.

A module with a function `measure(subject, *, …)` is a metric that the command line offers by the
module's name; see `vae_jax.evaluation.subject`.
"""

import difflib
import importlib
import inspect
import pkgutil
from types import ModuleType

from vae_jax.errors import UsageError

__all__ = ["load", "names", "settings"]


def names() -> list[str]:
    """Names of all metrics, sorted: the modules beside this one that have `measure`."""
    modules = (m.name for m in pkgutil.iter_modules(__path__) if not m.name.startswith("_"))
    return sorted(name for name in modules if hasattr(_module(name), "measure"))


def load(name: str) -> ModuleType:
    """The module of a metric.

    Raises:
        UsageError: there is no such metric.
    """
    if name not in names():
        close = difflib.get_close_matches(name, names(), 1)
        hint = f" (did you mean {close[0]}?)" if close else ""
        raise UsageError(f"metric {name!r} is unknown{hint}: choose from {', '.join(names())}")
    return _module(name)


def settings(name: str) -> dict[str, object]:
    """The settings of a metric and their defaults: the keyword-only arguments of its `measure`."""
    parameters = inspect.signature(load(name).measure).parameters.values()
    return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}


def _module(name: str) -> ModuleType:
    return importlib.import_module(f"{__name__}.{name}")
