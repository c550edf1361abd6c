"""A category as a unit vector."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp

from vae_jax.likelihoods._likelihood import Likelihood, at_least_float32

__all__ = ["OneHot"]


@dataclasses.dataclass(frozen=True)
class OneHot(Likelihood):
    """x [B, …, V] is 1 for one of V categories; outputs are logits [B, …, V].

    log p(x|z) = Σ_v x_v log softmax(outputs)_v; the numbers of a cell add up to its log-probability
    """

    is_vector: ClassVar[bool] = True

    def is_mass(self, x):
        return jnp.ones(x.shape[:1], bool)

    def log_probs(self, params, outputs, x):
        return at_least_float32(x) * jax.nn.log_softmax(at_least_float32(outputs), axis=-1)

    def mean(self, params, outputs):
        return jax.nn.softmax(at_least_float32(outputs), axis=-1)

    def mode(self, params, outputs):
        outputs = at_least_float32(outputs)
        return jax.nn.one_hot(jnp.argmax(outputs, axis=-1), outputs.shape[-1], dtype=outputs.dtype)

    def sample(self, params, key, outputs):
        outputs = at_least_float32(outputs)
        drawn = jax.random.categorical(key, outputs, axis=-1)
        return jax.nn.one_hot(drawn, outputs.shape[-1], dtype=outputs.dtype)
