"""Likelihoods p(x|z): what the outputs of a decoder mean. One file each, found by its name.

A likelihood turns decoder outputs into log-probabilities, means and samples. It is hashable, so it
is a static argument of a jitted function; learned parameters are in `params`, a separate pytree.
Half-precision data and outputs are cast to float32 here, before any density is computed.

To add one, add a file `NAME.py` with one public class: a frozen dataclass below `Likelihood` that
has at least `log_probs`, `mean` and `sample`. `make(NAME)`, `likelihood=NAME`, the class as a
name of this package, and export to one file follow. `make` sets a field `num_levels`, and a field
`variance` if the class has `variances`; other fields need a default. Modules with a leading
underscore are what several share.
"""

import dataclasses
from typing import Any

from vae_jax import discovery
from vae_jax.errors import UsageError
from vae_jax.likelihoods._levels import MANY_LEVELS
from vae_jax.likelihoods._likelihood import Likelihood
from vae_jax.likelihoods._scaled import INITIAL_LOGVAR

__all__ = ["INITIAL_LOGVAR", "MANY_LEVELS", "Likelihood", "classes", "load", "make", "names"]


def names() -> list[str]:
    """Names of all likelihoods, sorted."""
    return discovery.names(__name__)


def load(name: str) -> type[Likelihood]:
    """The class of a likelihood, for data of any shape.

    Raises:
        UsageError: there is no such likelihood.
    """
    module = discovery.load(__name__, name, "likelihood")
    (found,) = discovery.classes(module, Likelihood).values()
    return found


def classes() -> dict[str, type[Likelihood]]:
    """The classes of all likelihoods by class name: "Gaussian", not "gaussian"."""
    return {cls.__name__: cls for cls in map(load, names())}


def __getattr__(name: str) -> Any:
    # a class is looked up on first use, so adding a file is enough
    found = {} if name.startswith("_") else classes()
    if name not in found:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return found[name]


def __dir__() -> list[str]:
    return sorted({*globals(), *classes()})


def make(
    name: str,
    *,
    variance: float | str = "learned",
    num_levels: int | None = None,
    has_missing: bool = False,
) -> Likelihood:
    """Makes a likelihood by its name.

    Args:
        name: one of `names()`.
        variance: a positive number (fixed), 'learned' (one scalar), 'learned_per_dimension' or, for
            'gaussian', 'optimal'. Likelihoods without a variance take only the default.
        num_levels: number of levels of the data, a scalar, 256 by default; used only by likelihoods
            of levels and of text.
        has_missing: whether x may hold NaN; text always may.

    Returns:
        A frozen, hashable likelihood for data of any shape.

    Raises:
        UsageError: the name is unknown, or the variance or the number of levels does not fit it.
    """
    cls = load(name)
    fields = {field.name for field in dataclasses.fields(cls)}
    options: dict[str, Any] = {"has_missing": True} if has_missing else {}
    if cls.variances:
        options["variance"] = variance
    elif variance != "learned":
        # text has only one likelihood
        remedy = "" if cls.requires == "text" else ", or take gaussian"
        raise UsageError(
            f"variance={variance}: the {name} likelihood has no variance: leave it out{remedy}"
        )
    if cls.max_levels is not None and (num_levels or 0) > cls.max_levels:
        raise UsageError(
            f"likelihood={name}: the data has {num_levels:,} levels, each of which would need an "
            f"output for every number: must be at most {cls.max_levels:,}; take logistic or "
            "gaussian"
        )
    if "num_levels" in fields and num_levels is not None:
        options["num_levels"] = num_levels
    return cls(**options)
