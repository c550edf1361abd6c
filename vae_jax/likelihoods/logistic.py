"""Levels in [0, 1] as rounded logistic variables."""

import dataclasses
import math
from typing import ClassVar

import jax
import jax.numpy as jnp

from vae_jax import distributions
from vae_jax.likelihoods._levels import MANY_LEVELS, check_num_levels
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
        scale = self._scale(params, outputs)

        if self.num_levels > MANY_LEVELS:
            # the sum below is the midpoint rule of ∫₀¹ σ((m − t)/s) dt, accurate to half a level
            above, below = (scale * jax.nn.softplus((outputs - t) / scale) for t in (0.0, 1.0))
            return above - below

        def add_level(k, total):
            bin_edge = (k - 0.5) / (self.num_levels - 1)
            return total + jax.nn.sigmoid((outputs - bin_edge) / scale)

        # E[x] = 1/(V−1) Σ_{k=1}^{V−1} p(x ≥ level k); a loop avoids an array [B, *shape, V]
        total = jax.lax.fori_loop(1, self.num_levels, add_level, jnp.zeros_like(outputs))
        return total / (self.num_levels - 1)

    def mode(self, params, outputs):
        return self._nearest(at_least_float32(outputs))

    def _nearest(self, values: jax.Array) -> jax.Array:
        """The levels nearest to values of any shape."""
        return jnp.round(jnp.clip(values, 0.0, 1.0) * (self.num_levels - 1)) / (self.num_levels - 1)

    def sample(self, params, key, outputs):
        outputs = at_least_float32(outputs)
        noise = jax.random.logistic(key, outputs.shape, outputs.dtype)
        return self._nearest(outputs + self._scale(params, outputs) * noise)
