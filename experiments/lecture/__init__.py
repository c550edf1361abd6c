"""The textbook retold with runs of one's own: `python -m experiments.lecture --dataset=mnist`.

A chapter is one file here, in the order of `CHAPTERS`. Its docstring is its title and its text; its
`tell(course)` looks at trained runs and returns `Told`. What is trained is in `runs.py`, one sweep
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
    """A trained run, as chapters look at it.

    Attributes:
        subject: a `vae_jax.evaluation.subject.Subject`, of its own dataset.
        corrupt: (x [B, *shape], key) to what its encoder was shown, or None.
    """

    subject: Any
    corrupt: Callable | None

    def restore(self, x: np.ndarray) -> np.ndarray:
        """What the run makes of x [N, *shape]: the same shape."""
        import jax  # not with this package, which is imported before its command settles anything

        restored = jax.jit(type(self.subject.model).reconstruct)
        return np.asarray(restored(self.subject.model, self.subject.params, x))


class Course(NamedTuple):
    """What chapters look at.

    Attributes:
        dataset: the pictures that most of them are about, as of `vae_jax.data.load`.
        run: name of a run in `runs.py` to `Run`.
        held_out: the class that the runs for anomalies have not seen, a scalar from 0 on.
        seed: of what chapters draw, a scalar.
    """

    dataset: Any
    run: Callable[[str], Run]
    held_out: int
    seed: int


class Told(NamedTuple):
    """What a chapter shows.

    Attributes:
        columns: heads of the table, the first of its rows' names.
        rows: a name and numbers, a pair (value, standard error or None) each.
        pictures: caption → what draws it, to a `vae_jax.plots.Picture`.
        meaning: column → what it means, a line.
    """

    columns: Sequence[str]
    rows: Sequence[tuple]
    pictures: Mapping[str, Callable[[], Any]]
    meaning: Mapping[str, str]


def load(name: str) -> ModuleType:
    """The module of a chapter."""
    return importlib.import_module(f"{__name__}.{name}")


def title(chapter: ModuleType) -> str:
    """The first line of its docstring, without the stop."""
    return inspect.getdoc(chapter).splitlines()[0].rstrip(".")


def text(chapter: ModuleType) -> str:
    """The rest of its docstring, paragraphs with an empty line between them."""
    return inspect.getdoc(chapter).partition("\n")[2].strip()
