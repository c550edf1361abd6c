"""Strings of characters, which end."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp

from vae_jax.likelihoods.categorical import Categorical

__all__ = ["Text", "ended"]


@dataclasses.dataclass(frozen=True)
class Text(Categorical):
    """Strings of at most T symbols; outputs are logits [B, T, num_levels].

    x is [B, T]: level k > 0 stands for the k-th character, level 0 for the end, and what follows
    the end is NaN. A string of T characters has no end, as nothing could follow it: so the
    probabilities of all strings of up to T characters sum to 1.

    Attributes:
        num_levels: characters and the end.
    """

    has_missing: bool = dataclasses.field(default=True, kw_only=True, repr=False)

    requires: ClassVar[str] = "text"
    max_levels: ClassVar[int | None] = None

    def is_mass(self, x):
        return jnp.ones(x.shape[:1], bool)

    def mean(self, params, outputs):
        """Characters have no mean: the likeliest ones, as `mode`; outputs [B, T, num_levels]."""
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
    """Levels of text [B, T] with NaN for all that follows the first 0, the end of a string."""
    is_end = (x == 0).astype(jnp.int32)
    return jnp.where(jnp.cumsum(is_end, axis=1) > is_end, jnp.nan, x)
