"""Sums over the event axes of each example, and means over the rows of a batch that count."""

import chex
import jax
import jax.numpy as jnp

from vae_jax import sums
from vae_jax.losses._masks import flat

__all__ = ["batch_mean", "sum_event"]


def sum_event(values: jax.Array) -> jax.Array:
    """Sums over all axes except the batch axis.

    Args:
        values: shape [B, *event].

    Returns:
        Sums, shape [B].
    """
    return sums.over_last(flat(values))


def batch_mean(values: jax.Array, mask: jax.Array | None = None) -> jax.Array:
    """The exact mean over the rows that count.

    Σ_b mask_b · values_b / Σ_b mask_b

    Args:
        values: shape [B, ...].
        mask: weights ≥ 0, shape [B]; None counts every row once.

    Returns:
        The weighted mean over axis 0, shape [...]: a scalar for values [B]; NaN if no row counts.
    """
    if mask is None:
        return jnp.mean(values, axis=0)
    chex.assert_shape(mask, values.shape[:1])
    mask = jnp.expand_dims(mask.astype(values.dtype), range(1, values.ndim))
    # Σ_b mask_b · values_b / Σ_b mask_b; `where` keeps an overflow in a padded row out
    return jnp.sum(jnp.where(mask > 0, mask * values, 0.0), axis=0) / jnp.sum(mask)
