"""What the terms share: rows flattened, and padding kept out of values and gradients."""

import math

import jax
import jax.numpy as jnp

__all__ = ["as_weights", "bound_padding", "flat", "zero_padding"]


def flat(values: jax.Array) -> jax.Array:
    """[B, *event] to [B, D], of no rows and of no elements too."""
    return values.reshape(values.shape[0], math.prod(values.shape[1:]))


def as_weights(mask: jax.Array | None, num: int, values: jax.Array) -> jax.Array:
    """A mask [num] in the dtype of values of any shape; ones for None."""
    dtype = jnp.result_type(values)
    return jnp.ones(num, dtype) if mask is None else mask.astype(dtype)


def zero_padding(values: jax.Array, mask: jax.Array | None) -> jax.Array:
    """Values [B, …] with zeros in the rows that do not count, which a gradient does not enter."""
    if mask is None:
        return values
    counts = jnp.expand_dims(mask, range(1, values.ndim)).astype(bool)
    return jnp.where(counts, values, 0.0)


def bound_padding(values: jax.Array, counts: jax.Array) -> jax.Array:
    """Values [B, L] whose rows that do not count, [B], have no slope and can be squared."""
    bounded = jnp.clip(jnp.where(jnp.isnan(values), 0.0, values), -1e6, 1e6)
    return jnp.where(counts[:, None], values, jax.lax.stop_gradient(bounded))
