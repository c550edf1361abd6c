"""Levels in [0, 1] as rounded logistic variables."""

import dataclasses
import math
from typing import ClassVar

import jax
import jax.numpy as jnp

from vae_jax import distributions
from vae_jax.likelihoods._levels import check_num_levels, mean_of_rounded, nearest_levels
from vae_jax.likelihoods._likelihood import Params, at_least_float32
from vae_jax.likelihoods._scaled import Scaled

__all__ = ["DiscretizedLogistic"]


@dataclasses.dataclass(frozen=True)
class DiscretizedLogistic(Scaled):
    """Logistic variables around outputs [B, *shape], rounded to levels in [0, 1].

    Attributes:
        variance: of the logistic variable before rounding: a positive number (fixed), 'learned'
            (one scalar) or 'learned_per_dimension'.
        num_levels: number of levels.
    """

    num_levels: int = 256

    requires: ClassVar[str] = "levels"

    def __post_init__(self):
        super().__post_init__()
        check_num_levels(self.num_levels)

    @property
    def has_path(self):
        """Samples are rounded to levels."""
        return False

    def log_probs(self, params, outputs, x):
        return distributions.discretized_logistic_log_prob(
            at_least_float32(x),
            at_least_float32(outputs),
            self._logvar(params),
            num_levels=self.num_levels,
        )

    def _scale(self, params: Params, outputs: jax.Array) -> jax.Array:
        """The scale s = exp(½ logvar) √3/π, broadcast to the shape of outputs [B, *shape]."""
        logvar = distributions.bound_logvar(self._logvar(params))
        return jnp.broadcast_to(math.sqrt(3) / math.pi * jnp.exp(0.5 * logvar), outputs.shape)

    def mean(self, params, outputs):
        outputs = at_least_float32(outputs)
        return mean_of_rounded(outputs, self._scale(params, outputs), self.num_levels)

    def mode(self, params, outputs):
        return nearest_levels(at_least_float32(outputs), self.num_levels)

    def sample(self, params, key, outputs):
        outputs = at_least_float32(outputs)
        noise = jax.random.logistic(key, outputs.shape, outputs.dtype)
        draws = outputs + self._scale(params, outputs) * noise
        return nearest_levels(draws, self.num_levels)
