"""What passes from one part of a training to the next."""

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
    """Wall time of a program over all its processes, and the speed of the last one's training."""

    seconds: float = 0.0
    examples_per_second: float | None = None


class Begun(NamedTuple):
    """Where training begins: what is carried [S], what earlier processes spent and saw fail."""

    carried: Carried
    spent: Spent
    failures: dict[str, dict]
    step: int
    is_resumed: bool


class Ended(NamedTuple):
    """Where training ended: what is carried [S], and the newest checkpoint's step or None."""

    carried: Carried
    spent: Spent
    failures: dict[str, dict]
    saved_step: int | None
