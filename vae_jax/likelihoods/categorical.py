"""Levels in [0, 1], each with its own probability."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp

from vae_jax import distributions
from vae_jax.likelihoods._levels import MANY_LEVELS, check_num_levels
from vae_jax.likelihoods._likelihood import Likelihood, at_least_float32

__all__ = ["Categorical"]


@dataclasses.dataclass(frozen=True)
class Categorical(Likelihood):
    """A probability for every level in [0, 1]; outputs are logits [B, *shape, num_levels].

    Attributes:
        num_levels: number of levels.
    """

    num_levels: int = 256

    requires: ClassVar[str] = "levels"
    max_levels: ClassVar[int | None] = MANY_LEVELS

    def __post_init__(self):
        check_num_levels(self.num_levels)

    @property
    def num_outputs(self) -> int:
        """Decoder outputs per data dimension, a scalar: `num_levels`."""
        return self.num_levels

    def log_probs(self, params, outputs, x):
        # The level of x is k, x = k/(V−1).
        level = jnp.round(at_least_float32(x) * (self.num_levels - 1)).astype(int)
        return distributions.categorical_log_prob(level, at_least_float32(outputs))

    def mean(self, params, outputs):
        outputs = at_least_float32(outputs)
        levels = jnp.arange(self.num_levels, dtype=outputs.dtype) / (self.num_levels - 1)
        # E[x] = Σ_k p(k) k/(V−1)
        return jax.nn.softmax(outputs, axis=-1) @ levels

    def mode(self, params, outputs):
        outputs = at_least_float32(outputs)
        return jnp.argmax(outputs, axis=-1).astype(outputs.dtype) / (self.num_levels - 1)

    def sample(self, params, key, outputs):
        outputs = at_least_float32(outputs)
        level = jax.random.categorical(key, outputs, axis=-1)
        return level.astype(outputs.dtype) / (self.num_levels - 1)
