"""What a trained model does with new rows: encode, score, impute and others. One file each.

A use is a frozen dataclass below `Use`; its fields are settings. It is a pure function of one row,
(model, params, x, key) → arrays. `Engine` maps it over rows in batches of one size; the random
numbers of a row depend on the seed and on the row's index alone.

To add one, add a file `NAME.py` with one public subclass of `Use` that has `of_row`, and fields
with a default. `Trained.NAME(rows)` and the command `apply NAME` with its flags follow.
"""

from typing import Any

from vae_jax import families
from vae_jax.uses._engine import Engine
from vae_jax.uses._use import CELLS, ITEM, Use

__all__ = ["CELLS", "FAMILY", "ITEM", "Engine", "Use", "classes", "load", "make", "names"]

FAMILY = families.Family(__name__, Use, "use")
"""All uses by name."""
names, load, classes, make = FAMILY.names, FAMILY.load, FAMILY.classes, FAMILY.make


def __getattr__(name: str) -> Any:
    return FAMILY.attribute(name)


def __dir__() -> list[str]:
    return sorted({*globals(), *classes()})
