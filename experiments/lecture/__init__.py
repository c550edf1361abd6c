"""A textbook chapter on autoencoders with your own runs: `python -m experiments.lecture`.

A chapter is one file here, in the order of `CHAPTERS`. Its docstring is its title and its text; its
`tell(course)` evaluates trained runs and returns `Told`. `runs.py` lists what is trained, one sweep
for all chapters.
"""

import importlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

__all__ = ["CHAPTERS", "Course", "Run", "Told", "load", "text", "title"]

CHAPTERS = (
    "codes",
    "latent_space",
    "random_points",
    "interpolation",
    "overcomplete",
    "denoising",
    "filling_in",
    "super_resolution",
    "anomalies",
)


class Run(NamedTuple):
    """A trained run, as used by chapters.

    Attributes:
        subject: a `vae_jax.evaluation.subject.Subject`, of its own dataset.
        corrupt: (x [B, *shape], key) to the input of its encoder in training, or None.
    """

    subject: Any
    corrupt: Callable | None

    def restore(self, x: np.ndarray) -> np.ndarray:
        """Reconstructs x [N, *shape]: the same shape."""
        import jax  # not at the top: this package is imported before its command sets up JAX

        restored = jax.jit(type(self.subject.model).reconstruct)
        return np.asarray(restored(self.subject.model, self.subject.params, x))


class Course(NamedTuple):
    """The inputs of chapters.

    Attributes:
        dataset: the images used by most chapters, from `vae_jax.data.load`.
        run: name of a run in `runs.py` to `Run`.
        held_out: the class that the runs for anomalies have not seen, a scalar from 0.
        seed: seed for random draws of chapters, a scalar.
        used: dimensions that the VAE of 16 uses, a count; the run "autoencoder-equal" has as many,
            unless it is 0.
    """

    dataset: Any
    run: Callable[[str], Run]
    held_out: int
    seed: int
    used: int = 0


class Told(NamedTuple):
    """The contents of a chapter.

    Attributes:
        columns: heads of the table; the first is for the names of the rows.
        rows: a name and numbers, a pair (value, standard error or None) each.
        pictures: caption → function that draws it, as a `vae_jax.plots.Picture`.
        meaning: column → its meaning, one line.
        sentences: what the numbers say, made from them.
    """

    columns: Sequence[str]
    rows: Sequence[tuple]
    pictures: Mapping[str, Callable[[], Any]]
    meaning: Mapping[str, str]
    sentences: Sequence[str] = ()


def load(name: str) -> ModuleType:
    """The module of a chapter."""
    return importlib.import_module(f"{__name__}.{name}")


def title(chapter: ModuleType) -> str:
    """The first line of its docstring, without the period."""
    return inspect.getdoc(chapter).splitlines()[0].rstrip(".")


def text(chapter: ModuleType) -> str:
    """The rest of its docstring: paragraphs separated by empty lines."""
    return inspect.getdoc(chapter).partition("\n")[2].strip()
