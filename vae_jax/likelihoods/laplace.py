"""Real numbers with heavy-tailed noise."""

import dataclasses
import math

import jax
import jax.numpy as jnp

from vae_jax import distributions
from vae_jax.likelihoods._likelihood import at_least_float32
from vae_jax.likelihoods._scaled import Scaled

__all__ = ["Laplace"]


@dataclasses.dataclass(frozen=True)
class Laplace(Scaled):
    """Laplace variables with mean outputs [B, *shape] and variance 2b² in every dimension.

    Attributes:
        variance: a positive number (fixed), 'learned' (one scalar) or 'learned_per_dimension'.
    """

    def log_probs(self, params, outputs, x):
        outputs, x = at_least_float32(outputs), at_least_float32(x)
        return distributions.laplace_log_prob(x, outputs, self._logvar(params))

    def sample(self, params, key, outputs):
        mean = self.mean(params, outputs)
        logvar = distributions.bound_logvar(self._logvar(params))
        # b = exp(½ (logvar − log 2))
        scale = jnp.broadcast_to(jnp.exp(0.5 * (logvar - math.log(2))), mean.shape)
        return mean + scale * jax.random.laplace(key, mean.shape, mean.dtype)
