"""Proportions, numbers between 0 and 1."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp

from vae_jax import distributions
from vae_jax.likelihoods import _own
from vae_jax.likelihoods._likelihood import Likelihood, at_least_float32

__all__ = ["Beta"]

_INITIAL = 2.0
"""The logarithm of the parameter at the start, for 7.4."""


@dataclasses.dataclass(frozen=True)
class Beta(Likelihood):
    """Beta variables in (0, 1); outputs are log-odds of their means m, [B, *shape].

    The variance is m (1 − m) / (φ + 1).

    Attributes:
        concentration: φ: a positive number, learned (one scalar) or learned_per_dimension.

    Reference:
        Ferrari & Cribari-Neto 2004, Beta regression for modelling rates and proportions.
    """

    concentration: float | str = "learned"

    requires: ClassVar[str] = "open"
    is_of_raw: ClassVar[bool] = True
    choices: ClassVar[dict[str, tuple[str, ...]]] = {"concentration": _own.WORDS}
    numeric: ClassVar[tuple[str, ...]] = ("concentration",)

    def __post_init__(self):
        _own.check("concentration", self.concentration)

    def init(self, shape):
        return _own.start("concentration", self.concentration, shape, _INITIAL)

    def _log_concentration(self, params):
        return _own.log_of("concentration", self.concentration, params)

    def log_probs(self, params, outputs, x):
        outputs, x = at_least_float32(outputs), at_least_float32(x)
        return distributions.beta_log_prob(x, outputs, self._log_concentration(params))

    def mean(self, params, outputs):
        del params
        return jax.nn.sigmoid(at_least_float32(outputs))

    @property
    def has_path(self):
        """It is, by implicit differentiation."""
        return True

    def outputs_near(self, mean):
        return jax.scipy.special.logit(distributions.bound_proportion(mean))

    def sample(self, params, key, outputs):
        outputs = at_least_float32(outputs)
        log_size = jnp.broadcast_to(self._log_concentration(params), outputs.shape)
        # x = g / (g + h), g ~ Gamma(mφ), h ~ Gamma((1 − m)φ), by their logarithms
        log_gammas = [
            jax.random.loggamma(own, jnp.exp(log_size + jax.nn.log_sigmoid(side)))
            for own, side in zip(jax.random.split(key), (outputs, -outputs), strict=True)
        ]
        return distributions.bound_proportion(jax.nn.sigmoid(log_gammas[0] - log_gammas[1]))
