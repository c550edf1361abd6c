"""Pixels that are 0 or 1, or soft targets between."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp

from vae_jax import distributions, losses
from vae_jax.likelihoods._likelihood import Likelihood, at_least_float32

__all__ = ["Bernoulli"]


@dataclasses.dataclass(frozen=True)
class Bernoulli(Likelihood):
    """Independent pixels in {0, 1}; outputs are logits [B, *shape].

    Data between 0 and 1 are soft targets: the log-probability is then minus the cross-entropy, not
    a density of gray levels.
    """

    requires: ClassVar[str] = "unit"

    def log_prob(self, params, outputs, x):
        if self.has_missing:
            return super().log_prob(params, outputs, x)
        return -losses.bernoulli_distortion(at_least_float32(x), at_least_float32(outputs))

    def log_probs(self, params, outputs, x):
        return distributions.bernoulli_log_prob(at_least_float32(x), at_least_float32(outputs))

    def is_mass(self, x):
        return jnp.all((x == 0) | (x == 1) | jnp.isnan(x), axis=range(1, x.ndim))

    def mean(self, params, outputs):
        return jax.nn.sigmoid(at_least_float32(outputs))

    def mode(self, params, outputs):
        return (at_least_float32(outputs) > 0).astype(jnp.float32)

    def sample(self, params, key, outputs):
        mean = self.mean(params, outputs)
        return jax.random.bernoulli(key, mean).astype(mean.dtype)
