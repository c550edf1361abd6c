"""What a file says of each of its pictures: what it is drawn of, what it needs, and how."""

import dataclasses
from collections.abc import Callable, Collection
from typing import Any

from vae_jax.errors import unknown

__all__ = ["KINDS", "Drawing", "OfMetric", "OfModel", "OfRows", "OfSweep"]

KINDS = ("image", "table", "series", "text")
"""Of data: images, rows of a table, series of numbers, strings of an alphabet."""


@dataclasses.dataclass(frozen=True)
class Drawing:
    """How a picture is drawn, which is named as its file is; see what is below this class.

    Attributes:
        draw: maps what it is drawn of to a `vae_jax.plots.Picture`, which is kept as a PNG and a
            CSV, to lines of text, to frames of a film [T, H, W, C], or to the content of a file;
            None: it does not apply.
        needs: whether what it is drawn of has all that `draw` reads.
        ending: of the file of lines, frames or content, such as ".txt".
    """

    draw: Callable[[Any], Any]
    needs: Callable[[Any], bool] = lambda _: True
    ending: str = ""

    def __call__(self, shown: Any) -> Any:
        """What is drawn, or None if a need is not met."""
        return self.draw(shown) if self.needs(shown) else None


@dataclasses.dataclass(frozen=True)
class OfRows(Drawing):
    """A picture of the rows of a run's `metrics.csv`: `draw` takes a list of them."""


@dataclasses.dataclass(frozen=True)
class OfModel(Drawing):
    """A picture of a trained model: `draw` takes a `Seen`.

    Attributes:
        kinds: of data that it is drawn for, some of `KINDS`; another one is a UsageError.
    """

    kinds: Collection[str] = KINDS

    def __post_init__(self):
        for kind in self.kinds:
            if kind not in KINDS:
                raise unknown("kind of data", kind, KINDS)


@dataclasses.dataclass(frozen=True)
class OfSweep(Drawing):
    """A picture of the runs of a sweep: `draw` takes a `Sweep`."""


@dataclasses.dataclass(frozen=True)
class OfMetric(Drawing):
    """A picture beside the metric of its name: `draw` takes an `evaluation.subject.Subject`."""
