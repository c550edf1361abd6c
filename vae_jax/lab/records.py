"""Records that the parts of a training pass on."""

from typing import NamedTuple

from vae_jax.program import (
    Carried,
)

__all__ = [
    "Begun",
    "Ended",
    "Spent",
]


class Spent(NamedTuple):
    """Wall time of a program over all its processes, and the training speed of the last one."""

    seconds: float = 0.0
    examples_per_second: float | None = None


class Begun(NamedTuple):
    """The start of a training: carried state [S], time spent and failures of earlier processes."""

    carried: Carried
    spent: Spent
    failures: dict[str, dict]
    step: int
    is_resumed: bool


class Ended(NamedTuple):
    """The end of a training: carried state [S], and the step of the newest checkpoint or None."""

    carried: Carried
    spent: Spent
    failures: dict[str, dict]
    saved_step: int | None
