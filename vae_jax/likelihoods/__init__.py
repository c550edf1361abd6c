"""Likelihoods p(x|z): what the outputs of a decoder mean. One file each, found by its name.

A likelihood turns decoder outputs into log-probabilities, means and samples. It is hashable, so it
is a static argument of a jitted function; learned parameters are in `params`, a separate pytree.
Half-precision data and outputs are cast to float32 here, before any density is computed.

To add one, add a file `NAME.py` with one public class: a frozen dataclass below `Likelihood` that
has at least `log_probs`, `mean` and `sample`. `make(NAME)`, `likelihood=NAME`, the class as a
name of this package, and export to one file follow. `make` sets a field `num_levels`, and a field
`variance` if the class has `variances`; other fields need a default. A field of `choices` is a
setting with a flag. Modules with a leading
underscore are what several share.
"""

import dataclasses
import inspect
from collections.abc import Sequence
from typing import Any

from vae_jax import families
from vae_jax.errors import UsageError, any_of, unknown
from vae_jax.likelihoods._levels import MANY_LEVELS
from vae_jax.likelihoods._likelihood import Likelihood
from vae_jax.likelihoods._parts import part_names
from vae_jax.likelihoods._scaled import INITIAL_LOGVAR

__all__ = [
    "FAMILY",
    "INITIAL_LOGVAR",
    "MANY_LEVELS",
    "Likelihood",
    "classes",
    "load",
    "make",
    "names",
    "part_names",
    "scaling_for",
]


class _Family(families.Family):
    """All likelihoods; only fields of `choices` are settings, `make` gives the others."""

    def settings_of(self, name: str) -> list[str]:
        cls = self.load(name)
        return [field for field in cls.choices if field not in cls.of_runs]

    def formula(self, name: str) -> str:
        """The first paragraph of the docstring of the class, for arrays of any shape."""
        first = (inspect.getdoc(self.load(name)) or "").partition("\n\n")[0]
        return " ".join(first.split()).rstrip(".")


FAMILY = _Family(__name__, Likelihood, "likelihood")
"""All likelihoods by name."""
names, load, classes = FAMILY.names, FAMILY.load, FAMILY.classes


def __getattr__(name: str) -> Any:
    return FAMILY.attribute(name)


def __dir__() -> list[str]:
    return sorted({*globals(), *classes()})


def make(
    name: str,
    *,
    variance: float | str = "learned",
    num_levels: int | None = None,
    has_missing: bool = False,
    parts: Sequence[tuple[str, int]] = (),
    **settings: float | str,
) -> Likelihood:
    """Makes a likelihood by its name.

    Args:
        name: one of `names()`.
        variance: a positive number (fixed), 'learned' (one scalar), 'learned_per_dimension' or, for
            'gaussian', 'optimal'. Likelihoods without a variance take only the default.
        num_levels: number of levels of the data, a scalar, 256 by default; used only by likelihoods
            of levels and of text.
        has_missing: whether x may hold NaN; text always may.
        parts: for 'mixed', the name of the likelihood of each column, and the count of its
            numbers; see `Schema.parts`.
        settings: fields of its `choices`, words or positive numbers.

    Returns:
        A frozen, hashable likelihood for data of any shape.

    Raises:
        UsageError: the name is unknown, or the variance, the number of levels or a setting does not
            fit it.
    """
    cls = load(name)
    for setting, value in settings.items():
        if setting not in cls.choices:
            raise _without(name, setting, value)
    fields = {field.name for field in dataclasses.fields(cls)}
    options: dict[str, Any] = {"has_missing": True} if has_missing else {}
    options |= settings
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
    if "parts" in fields and parts:
        options["parts"], options["sizes"] = zip(*parts, strict=True)
    return cls(**options)


def _without(name: str, setting: str, value: float | str) -> UsageError:
    """The error of a setting that a likelihood does not have."""
    owners = [other for other in names() if setting in load(other).choices]
    if not owners:
        return unknown(f"setting of likelihood={name}", setting, list(load(name).choices))
    return UsageError(
        f"{setting}={value}: likelihood={name} has none: leave it out, or take likelihood="
        f"{any_of(owners)}"
    )


def scaling_for(name: str | None, scaling: str) -> str:
    """The scaling of your own data for a likelihood by name, see `vae_jax.data.load`; scalars.

    `auto` keeps the values if the likelihood is of their own units, as of counts and proportions.
    """
    is_raw = name is not None and load(name).is_of_raw
    return "none" if is_raw and scaling == "auto" else scaling
