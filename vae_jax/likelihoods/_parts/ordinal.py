"""A level of an ordered column, as a thermometer."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp

from vae_jax.likelihoods._likelihood import Likelihood, at_least_float32

__all__ = ["Ordinal"]


@dataclasses.dataclass(frozen=True)
class Ordinal(Likelihood):
    """Levels 0 … V of an ordered column; x [B, …, V] has x_k = 1 if the level is above k.

    P(level > k) = σ(h_k), h_0 = o_0, h_k = h_{k−1} − softplus(o_k), of outputs o [B, …, V]

    The thresholds are ordered, so each level has a positive probability. It is the cumulative model
    of HI-VAE with its location in the first threshold.

    Reference: Nazábal et al. 2020, Handling incomplete heterogeneous data using VAEs, arXiv
    1807.03653, eq. 13; McCullagh 1980, Regression models for ordinal data.
    """

    is_vector: ClassVar[bool] = True

    def is_mass(self, x):
        return jnp.ones(x.shape[:1], bool)

    def log_probs(self, params, outputs, x):
        x, outputs = at_least_float32(x), at_least_float32(outputs)
        above = _above(outputs)
        first, last = jnp.ones_like(x[..., :1]), jnp.zeros_like(x[..., :1])
        is_last_one = x - jnp.concatenate([x[..., 1:], last], axis=-1)
        is_first_zero = jnp.concatenate([first, x[..., :-1]], axis=-1) - x
        # σ(h_{k−1}) − σ(h_k) = σ(h_{k−1}) σ(−h_k) σ(o_k), because h_{k−1} − h_k = softplus(o_k)
        between = jax.nn.log_sigmoid(outputs).at[..., 0].set(0.0)
        return is_last_one * jax.nn.log_sigmoid(above) + is_first_zero * (
            jax.nn.log_sigmoid(-above) + between
        )

    def mean(self, params, outputs):
        return jax.nn.sigmoid(_above(at_least_float32(outputs)))

    def mode(self, params, outputs):
        """The likeliest level, [B, …, V] to [B, …, V]."""
        above = self.mean(params, outputs)
        one, zero = jnp.ones_like(above[..., :1]), jnp.zeros_like(above[..., :1])
        probabilities = jnp.concatenate([one, above], -1) - jnp.concatenate([above, zero], -1)
        level = jnp.argmax(probabilities, axis=-1)
        steps = jnp.arange(above.shape[-1]).reshape(*[1] * level.ndim, -1)
        return (level[..., None] > steps).astype(above.dtype)

    def sample(self, params, key, outputs):
        above = self.mean(params, outputs)
        drawn = jax.random.uniform(key, (*above.shape[:-1], 1), above.dtype)
        return (drawn < above).astype(above.dtype)


def _above(outputs: jax.Array) -> jax.Array:
    """h, the logits of P(level > k), decreasing in k: [..., V] to [..., V]."""
    steps = jnp.concatenate([outputs[..., :1], -jax.nn.softplus(outputs[..., 1:])], axis=-1)
    return jnp.cumsum(steps, axis=-1)
