"""Real numbers with Gaussian noise."""

import dataclasses
from typing import ClassVar

import jax.numpy as jnp

from vae_jax import distributions, losses
from vae_jax.errors import UsageError
from vae_jax.likelihoods._likelihood import at_least_float32
from vae_jax.likelihoods._scaled import Scaled

__all__ = ["Gaussian"]


@dataclasses.dataclass(frozen=True)
class Gaussian(Scaled):
    """N(outputs, variance) in every dimension, outputs [B, *shape].

    Attributes:
        variance: a positive number (fixed), 'learned' (one scalar), 'learned_per_dimension', or
            'optimal': the mean squared error of the current batch (see `losses.optimal_logvar`).
    """

    variances: ClassVar[tuple[str, ...]] = (*Scaled.variances, "optimal")

    def __post_init__(self):
        super().__post_init__()
        if self.variance == "optimal" and self.has_missing:
            raise UsageError(
                "variance=optimal: is an average over a batch of numbers that are all there, these "
                "data have sequences of several lengths: take variance=learned"
            )

    def fit(self, params, outputs, x, mask=None):
        if self.variance != "optimal":
            return params
        outputs, x = at_least_float32(outputs), at_least_float32(x)
        return {"logvar": losses.optimal_logvar(x, outputs, mask)}

    def log_probs(self, params, outputs, x):
        outputs, x = at_least_float32(outputs), at_least_float32(x)
        return distributions.gaussian_log_prob(x, outputs, self._logvar(params))

    def sample(self, params, key, outputs):
        mean = self.mean(params, outputs)
        logvar = jnp.broadcast_to(self._logvar(params), mean.shape)
        return distributions.reparameterize(key, mean, logvar)

    def frozen(self):
        is_fitted = self.variance == "optimal"
        return dataclasses.replace(self, variance="learned") if is_fitted else self
