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

from vae_jax import families
from vae_jax.errors import UsageError
from vae_jax.likelihoods._levels import MANY_LEVELS
from vae_jax.likelihoods._likelihood import Likelihood
from vae_jax.likelihoods._scaled import INITIAL_LOGVAR

__all__ = ["INITIAL_LOGVAR", "MANY_LEVELS", "Likelihood", "classes", "load", "make", "names"]


_FAMILY = families.Family(__name__, Likelihood, "likelihood")
names, load, classes = _FAMILY.names, _FAMILY.load, _FAMILY.classes


def __getattr__(name: str) -> Any:
    return _FAMILY.attribute(name)


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
