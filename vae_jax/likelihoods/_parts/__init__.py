"""What `likelihoods.Mixed` composes: a likelihood for each column of a table, by name.

A part is one of the likelihoods of the package, or a file here that only `Mixed` uses. Each has the
interface of `Likelihood` for x [B, n]; or for x [B, n, size] if it `is_vector`.
"""

import functools
from typing import Any

from vae_jax import discovery
from vae_jax.likelihoods._likelihood import Likelihood

__all__ = ["part", "part_names"]

_PUBLIC = "vae_jax.likelihoods"
_WHOLE = {"mixed", "text"}


def part_names() -> list[str]:
    """The names of the likelihoods that a column may have, for data of any shape; sorted."""
    return sorted({*discovery.names(_PUBLIC), *discovery.names(__name__)} - _WHOLE)


@functools.cache
def part(name: str) -> Any:
    """A part by its name, for data of any shape; with a variance for each column if it has one."""
    package = __name__ if name in discovery.names(__name__) else _PUBLIC
    module = discovery.load(package, name, "likelihood")
    (cls,) = discovery.classes(module, Likelihood).values()
    return cls(variance="learned_per_dimension") if cls.variances else cls()
