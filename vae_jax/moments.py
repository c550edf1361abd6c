"""Mean and standard deviation of densities without closed forms of them: those of their draws."""

import functools
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

__all__ = ["OF_EACH", "OF_PRIOR", "Drawn", "of_draws"]

OF_PRIOR = 4096
"""Draws behind the moments of one density over [L], a count."""
OF_EACH = 64
"""Draws behind the moments of each of B densities, [B, L], a count."""


def of_draws(density: Any, num_draws: int) -> tuple[jax.Array, jax.Array]:
    """Mean and standard deviation of each dimension, from draws with a fixed key.

    Args:
        density: a value with `sample`, over [L] or [B, L].
        num_draws: a count.

    Returns:
        Two arrays, [L] or [B, L].
    """
    z = density.sample(jax.random.key(0), num_draws)
    return jnp.mean(z, axis=0), jnp.std(z, axis=0)


class Drawn:
    """A density over [L] or [B, L] whose `mean` and `deviation` are those of its draws.

    Attributes:
        num_draws: the number of draws, a count.
    """

    num_draws: ClassVar[int]

    @functools.cached_property
    def _moments(self) -> tuple[jax.Array, jax.Array]:
        return of_draws(self, self.num_draws)

    @property
    def mean(self) -> jax.Array:
        """E[z], [L] or [B, L]: the mean of `num_draws` draws with a fixed key."""
        return self._moments[0]

    @property
    def deviation(self) -> jax.Array:
        """Standard deviation of each dimension of `num_draws` draws, [L] or [B, L]."""
        return self._moments[1]
