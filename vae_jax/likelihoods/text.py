"""Strings of characters of variable length."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp

from vae_jax.likelihoods.categorical import Categorical

__all__ = ["Text", "ended"]


@dataclasses.dataclass(frozen=True)
class Text(Categorical):
    """Strings of at most T symbols; outputs are logits [B, T, num_levels].

    x is [B, T]: level k > 0 stands for the k-th character, level 0 for the end, and the steps after
    the end are NaN. A string of T characters has no end symbol, because nothing could follow it. So
    the probabilities of all strings of at most T characters sum to 1.

    Attributes:
        num_levels: the number of characters plus 1 for the end.
    """

    has_missing: bool = dataclasses.field(default=True, kw_only=True, repr=False)

    requires: ClassVar[str] = "text"
    max_levels: ClassVar[int | None] = None

    def is_mass(self, x):
        return jnp.ones(x.shape[:1], bool)

    def mean(self, params, outputs):
        """The most likely characters, as in `mode`, since they have no mean: [B, T, num_levels]."""
        return self.mode(params, outputs)

    def mode(self, params, outputs):
        return ended(super().mode(params, outputs))

    def sample(self, params, key, outputs):
        return ended(super().sample(params, key, outputs))

    def of_step(self):
        return Categorical(self.num_levels)

    def cut(self, x):
        return ended(x)


def ended(x: jax.Array) -> jax.Array:
    """Replaces the levels of text [B, T] after the first 0, the end of a string, by NaN."""
    is_end = (x == 0).astype(jnp.int32)
    return jnp.where(jnp.cumsum(is_end, axis=1) > is_end, jnp.nan, x)
