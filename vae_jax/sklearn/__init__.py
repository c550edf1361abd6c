"""scikit-learn estimators over `make_model`, `fit` and the uses of a trained model. One file each.

An estimator is a dataclass below `Estimator`; its fields are its parameters. It works in pipelines,
grid searches and column transformers as those of scikit-learn do. Fits that differ only in numbers,
such as beta, learning_rate or random_state, on as many rows and columns share one compiled program.

To add one, add a file `NAME.py` with one public subclass of `Estimator`.
"""

from typing import Any

from vae_jax import families
from vae_jax.sklearn._estimator import Estimator

__all__ = ["FAMILY", "Estimator", "classes", "load", "names"]

FAMILY = families.Family(__name__, Estimator, "estimator")
"""All estimators by the names of their files."""
names, load, classes = FAMILY.names, FAMILY.load, FAMILY.classes


def __getattr__(name: str) -> Any:
    return FAMILY.attribute(name)


def __dir__() -> list[str]:
    return sorted({*globals(), *classes()})
