"""Priors p(z) of Gaussian codes. One file each, found by its name.

A prior is a frozen dataclass, so it is a static part of a model; its learned parameters are in
`params["prior"]`. `Prior.of` turns them into a density: a value with `sample`, `log_prob`, `mean`,
`deviation` and `first`, like `distributions.DiagonalGaussian`. If the rate of a posterior has no
closed form under it, the objectives estimate the rate from their own samples, see `vae_jax.rates`.

To add one, add a file `NAME.py` with one public subclass of `Prior` that has at least `of`, and
fields with a default. `make_model(…, prior=NAME)`, the class as a name of this package, and export
to one file follow. Modules with a leading underscore are what several share.
"""

import inspect
import re
from typing import Any

from vae_jax import discovery
from vae_jax.errors import UsageError
from vae_jax.priors._prior import Prior, Sizes

__all__ = ["Prior", "Sizes", "classes", "formula", "load", "make", "names", "settings", "summary"]


def names() -> list[str]:
    """Names of all priors, sorted."""
    return discovery.names(__name__)


def load(name: str) -> type[Prior]:
    """The class of a prior, for codes of any size.

    Raises:
        UsageError: there is no such prior.
    """
    module = discovery.load(__name__, name, "prior")
    (found,) = discovery.classes(module, Prior).values()
    return found


def classes() -> dict[str, type[Prior]]:
    """The classes of all priors by class name: "Mixture", not "mixture"."""
    return {cls.__name__: cls for cls in map(load, names())}


def summary(name: str) -> str:
    """The first line of the docstring of a prior's module."""
    return discovery.summary(__name__, name)


def formula(name: str) -> str:
    """The density of a prior: its class's docstring up to "over [L]"."""
    return inspect.getdoc(load(name)).partition(" over [L]")[0]


def settings(name: str) -> dict[str, str]:
    """Setting → its help, from the section "Attributes" of the class; scalars and words."""
    section = re.search(
        r"^Attributes:\n((?:(?:    .*)?\n)+)", f"{inspect.getdoc(load(name))}\n", re.M
    )
    entries = re.findall(r"^    (\w+): (.*(?:\n        .*)*)", section[1] if section else "", re.M)
    return {setting: re.sub(r"\s+", " ", text) for setting, text in entries}


def make(name: str | Prior, **settings: Any) -> Prior:
    """Makes a prior by its name.

    Args:
        name: one of `names()`; a prior stays as it is.
        settings: its fields, scalars and words; the others keep their defaults.

    Raises:
        UsageError: the name or a setting is unknown, or a value does not fit.
    """
    if isinstance(name, Prior):
        if settings:
            raise UsageError(
                f"prior={name}: has its own settings: leave out {', '.join(sorted(settings))}"
            )
        return name
    if not isinstance(name, str):
        raise UsageError(
            f"prior={name!r}: must be a name ({', '.join(names())}) or one of vae_jax.priors"
        )
    cls = load(name)
    cls.refuse_unknown(name, settings)
    return cls(**settings)


def __getattr__(name: str) -> Any:
    # a class is looked up on first use, so adding a file is enough
    found = {} if name.startswith("_") else classes()
    if name not in found:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return found[name]


def __dir__() -> list[str]:
    return sorted({*globals(), *classes()})
