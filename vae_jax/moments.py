"""Mean and standard deviation of densities without closed forms of them: those of their draws."""

import functools
from typing import ClassVar

import jax
import jax.numpy as jnp

__all__ = ["OF_EACH", "OF_PRIOR", "Drawn", "of_draws"]

OF_PRIOR = 4096
"""Draws behind the moments of one density over [L], a count."""
OF_EACH = 64
"""Draws behind the moments of each of B densities, [B, L], a count."""


def of_draws(z: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Mean and standard deviation of each dimension of draws, [N, …] to two arrays […]."""
    return jnp.mean(z, axis=0), jnp.std(z, axis=0)


class Drawn:
    """A density over [L] or [B, L] whose `mean` and `deviation` are those of its draws.

    Attributes:
        num_draws: the number of draws, a count.
    """

    num_draws: ClassVar[int]

    def draws(self) -> jax.Array:
        """`num_draws` draws with a fixed key, [N, L] or [N, B, L]."""
        return self.sample(jax.random.key(0), self.num_draws)

    @functools.cached_property
    def _moments(self) -> tuple[jax.Array, jax.Array]:
        return of_draws(self.draws())

    @property
    def mean(self) -> jax.Array:
        """E[z], [L] or [B, L]: the mean of `draws`."""
        return self._moments[0]

    @property
    def deviation(self) -> jax.Array:
        """Standard deviation of each dimension of `draws`, [L] or [B, L]."""
        return self._moments[1]
