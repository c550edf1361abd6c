"""Helpers of the terms: flatten rows, and keep padding out of values and gradients."""

import math

import jax
import jax.numpy as jnp

__all__ = ["as_weights", "bound_padding", "flat", "zero_padding"]


def flat(values: jax.Array) -> jax.Array:
    """Flattens [B, *event] to [B, D]; B and D may be 0."""
    return values.reshape(values.shape[0], math.prod(values.shape[1:]))


def as_weights(mask: jax.Array | None, num: int, values: jax.Array) -> jax.Array:
    """Casts a mask [num] to the dtype of values of any shape; returns ones for None."""
    dtype = jnp.result_type(values)
    return jnp.ones(num, dtype) if mask is None else mask.astype(dtype)


def zero_padding(values: jax.Array, mask: jax.Array | None) -> jax.Array:
    """Sets padded rows of values [B, …] to zero; no gradient enters them."""
    if mask is None:
        return values
    counts = jnp.expand_dims(mask, range(1, values.ndim)).astype(bool)
    return jnp.where(counts, values, 0.0)


def bound_padding(values: jax.Array, counts: jax.Array) -> jax.Array:
    """Bounds padded rows of values [B, L] so that they can be squared; they get no gradient."""
    bounded = jnp.clip(jnp.where(jnp.isnan(values), 0.0, values), -1e6, 1e6)
    return jnp.where(counts[:, None], values, jax.lax.stop_gradient(bounded))
