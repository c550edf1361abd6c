"""Priors p(z) of Gaussian codes. One file each, found by its name.

A prior is a frozen dataclass, so it is a static part of a model; its learned parameters are in
`params["prior"]`. `Prior.of` turns them into a density: a value with `sample`, `log_prob`, `mean`,
`deviation` and `first`, like `distributions.DiagonalGaussian`. If the rate of a posterior has no
closed form under it, the objectives estimate the rate from their own samples, see `vae_jax.rates`.

To add one, add a file `NAME.py` with one public subclass of `Prior` that has at least `of`, and
fields with a default. `make_model(…, prior=NAME)`, the class as a name of this package, and export
to one file follow. Modules with a leading underscore are what several share.
"""

from typing import Any

from vae_jax import families
from vae_jax.priors._prior import Prior, Sizes

__all__ = ["FAMILY", "Prior", "Sizes", "classes", "load", "make", "names"]

FAMILY = families.Family(__name__, Prior, "prior")
"""All priors by name."""
names, load, classes, make = FAMILY.names, FAMILY.load, FAMILY.classes, FAMILY.make


def __getattr__(name: str) -> Any:
    return FAMILY.attribute(name)


def __dir__() -> list[str]:
    return sorted({*globals(), *classes()})
