"""Real numbers with Gaussian noise."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp

from vae_jax import distributions, losses
from vae_jax.errors import UsageError, unknown
from vae_jax.likelihoods._likelihood import at_least_float32
from vae_jax.likelihoods._scaled import Scaled

__all__ = ["Gaussian"]

_ACTIVATIONS = {"linear": lambda outputs: outputs, "relu": jax.nn.relu, "sigmoid": jax.nn.sigmoid}
"""What makes a mean of the outputs of a decoder, by name; elementwise."""


@dataclasses.dataclass(frozen=True)
class Gaussian(Scaled):
    """N(outputs, variance) in every dimension, outputs [B, *shape].

    With another output activation, the mean is that of the outputs, as in autoencoders of Keras.

    Attributes:
        variance: a positive number (fixed), 'learned' (one scalar), 'learned_per_dimension', or
            'optimal': the mean squared error of the current batch (see `losses.optimal_logvar`).
        output_activation: what makes the mean of the outputs: linear (itself), relu or sigmoid.
    """

    output_activation: str = dataclasses.field(default="linear", repr=False)

    variances: ClassVar[tuple[str, ...]] = (*Scaled.variances, "optimal")
    choices: ClassVar[dict[str, tuple[str, ...]]] = {"output_activation": tuple(_ACTIVATIONS)}
    of_runs: ClassVar[tuple[str, ...]] = ("output_activation",)

    def __post_init__(self):
        super().__post_init__()
        if self.output_activation not in _ACTIVATIONS:
            raise unknown("output_activation", str(self.output_activation), _ACTIVATIONS)
        if self.variance == "optimal" and self.has_missing:
            raise UsageError(
                "variance=optimal: is an average over a batch of numbers that are all there, these "
                "data have sequences of several lengths: take variance=learned"
            )

    @property
    def fixed(self):
        return ("logvar",) if self.variance == "optimal" else super().fixed

    def fit(self, params, outputs, x, mask=None):
        if self.variance != "optimal":
            return params
        return {"logvar": losses.optimal_logvar(at_least_float32(x), self._mean(outputs), mask)}

    def log_probs(self, params, outputs, x):
        x = at_least_float32(x)
        return distributions.gaussian_log_prob(x, self._mean(outputs), self._logvar(params))

    def _mean(self, outputs):
        return _ACTIVATIONS[self.output_activation](at_least_float32(outputs))

    def mean(self, params, outputs):
        del params
        return self._mean(outputs)

    def outputs_near(self, mean):
        if self.output_activation != "sigmoid":
            return mean
        mean = jnp.clip(mean, 1e-3, 1.0 - 1e-3)
        return jnp.log(mean) - jnp.log1p(-mean)

    def sample(self, params, key, outputs):
        mean = self.mean(params, outputs)
        logvar = jnp.broadcast_to(self._logvar(params), mean.shape)
        return distributions.reparameterize(key, mean, logvar)

    def frozen(self):
        is_fitted = self.variance == "optimal"
        return dataclasses.replace(self, variance="learned") if is_fitted else self
