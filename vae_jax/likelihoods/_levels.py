"""Helpers of the likelihoods over levels."""

import numbers

import jax
import jax.numpy as jnp

from vae_jax.errors import UsageError

__all__ = ["MANY_LEVELS", "check_num_levels", "mean_of_rounded", "nearest_levels"]

MANY_LEVELS = 1024
"""The maximum number of levels (a scalar) that are computed one by one."""


def check_num_levels(num_levels: int) -> None:
    """Raises UsageError unless the number of levels (a scalar) is an integer of at least 2."""
    if not isinstance(num_levels, numbers.Integral) or num_levels < 2:
        raise UsageError(f"num_levels={num_levels}: must be an integer of at least 2")


def nearest_levels(values: jax.Array, num_levels: int) -> jax.Array:
    """The levels in [0, 1] that are nearest to values of any shape."""
    return jnp.round(jnp.clip(values, 0.0, 1.0) * (num_levels - 1)) / (num_levels - 1)


def mean_of_rounded(center: jax.Array, scale: jax.Array, num_levels: int) -> jax.Array:
    """E[x] of logistic variables that are rounded to levels in [0, 1].

    Args:
        center, scale: of the variables before rounding, of one shape.
        num_levels: V.

    Returns:
        Means, the same shape.
    """
    if num_levels > MANY_LEVELS:
        # the sum below is the midpoint rule of ∫₀¹ σ((m − t)/s) dt, accurate to half a level
        above, below = (scale * jax.nn.softplus((center - t) / scale) for t in (0.0, 1.0))
        return above - below

    def add_level(k, total):
        bin_edge = (k - 0.5) / (num_levels - 1)
        return total + jax.nn.sigmoid((center - bin_edge) / scale)

    # E[x] = 1/(V−1) Σ_{k=1}^{V−1} p(x ≥ level k); a loop avoids an array [B, *shape, V]
    total = jax.lax.fori_loop(1, num_levels, add_level, jnp.zeros_like(center))
    return total / (num_levels - 1)
