"""Positive numbers whose logarithm is Gaussian."""

import dataclasses
from typing import ClassVar

import jax.numpy as jnp

from vae_jax import distributions
from vae_jax.likelihoods._likelihood import at_least_float32
from vae_jax.likelihoods._scaled import Scaled

__all__ = ["LogNormal"]

_HIGHEST = 80.0
"""Logarithms beyond this overflow in float32."""
_SMALLEST = 1e-30
"""What an encoder reads in place of smaller numbers, which noise may make."""


@dataclasses.dataclass(frozen=True)
class LogNormal(Scaled):
    """log x ~ N(outputs, variance) in every dimension, x > 0: outputs [B, *shape].

    log p(x|z) = log N(log x; outputs, variance) − log x

    Attributes:
        variance: of log x: a positive number (fixed), 'learned' or 'learned_per_dimension'.
    """

    neutral: ClassVar[float] = 1.0

    def log_probs(self, params, outputs, x):
        x, outputs = at_least_float32(x), at_least_float32(outputs)
        logs = jnp.log(x)
        return distributions.gaussian_log_prob(logs, outputs, self._logvar(params)) - logs

    def seen(self, x):
        return jnp.log(jnp.maximum(x, _SMALLEST))

    def mean(self, params, outputs):
        outputs = at_least_float32(outputs)
        variance = jnp.exp(distributions.bound_logvar(self._logvar(params)))
        half = jnp.broadcast_to(0.5 * variance, outputs.shape)
        return jnp.exp(jnp.minimum(outputs + half, _HIGHEST))

    def mode(self, params, outputs):
        """The median, exp(outputs): [B, *shape] to [B, *shape]."""
        return jnp.exp(jnp.minimum(at_least_float32(outputs), _HIGHEST))

    def sample(self, params, key, outputs):
        outputs = at_least_float32(outputs)
        logvar = jnp.broadcast_to(self._logvar(params), outputs.shape)
        drawn = distributions.reparameterize(key, outputs, logvar)
        return jnp.exp(jnp.minimum(drawn, _HIGHEST))
