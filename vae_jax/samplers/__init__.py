"""Densities that are fit to codes after training, to draw new codes from. One file each, by name.

They serve models without a prior, and show for models with one how far the codes of the data are
from it. A sampler is a frozen dataclass below `Sampler`; its fields are settings.

To add one, add a file `NAME.py` with one public subclass of `Sampler` that has `fit`, and fields
with a default. `evaluate(…, settings={"latent_neighbours": {"sampler": NAME}})` and the settings of
the command line follow.

Reference:
    Ghosh et al. 2020, From Variational to Deterministic Autoencoders, arXiv 1903.12436, section 4.
"""

from typing import Any

from vae_jax import families
from vae_jax.samplers._sampler import Sampler

__all__ = ["FAMILY", "Sampler", "classes", "load", "make", "names"]

FAMILY = families.Family(__name__, Sampler, "sampler")
"""All samplers by name."""
names, load, classes, make = FAMILY.names, FAMILY.load, FAMILY.classes, FAMILY.make


def __getattr__(name: str) -> Any:
    return FAMILY.attribute(name)


def __dir__() -> list[str]:
    return sorted({*globals(), *classes()})
