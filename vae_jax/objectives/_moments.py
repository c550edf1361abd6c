"""Moments of a batch of codes, for the objectives that shape the aggregate posterior."""

import jax
import jax.numpy as jnp

from vae_jax import losses

__all__ = ["covariance"]


def covariance(values: jax.Array, mask: jax.Array) -> jax.Array:
    """The covariance over the rows that count: values [B, L], mask [B], to [L, L].

    1/n Σ_b (v_b − v̄)(v_b − v̄)ᵀ
    """
    centered = (values - losses.batch_mean(values, mask)[None]) * jnp.sqrt(mask)[:, None]
    return jnp.matmul(centered.T, centered, precision="highest") / jnp.sum(mask)
