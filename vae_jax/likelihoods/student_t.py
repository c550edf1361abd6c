"""Real numbers whose noise has heavy tails of any weight."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp

from vae_jax import distributions
from vae_jax.likelihoods import _own
from vae_jax.likelihoods._likelihood import at_least_float32
from vae_jax.likelihoods._scaled import Scaled

__all__ = ["StudentT"]

_INITIAL = 2.0
"""The logarithm of the parameter at the start, for 7.4."""


@dataclasses.dataclass(frozen=True)
class StudentT(Scaled):
    """Student-t variables around outputs [B, *shape]; ν → ∞ gives a Gaussian.

    Attributes:
        variance: the squared scale s²: a positive number (fixed), 'learned' (one scalar) or
            'learned_per_dimension'. The variance itself is s² ν/(ν − 2), infinite for ν ≤ 2.
        degrees: ν, the degrees of freedom: a positive number, learned (one scalar) or
            learned_per_dimension.

    Reference:
        Lange et al. 1989, Robust statistical modeling using the t distribution.
    """

    degrees: float | str = "learned"

    choices: ClassVar[dict[str, tuple[str, ...]]] = {"degrees": _own.WORDS}
    numeric: ClassVar[tuple[str, ...]] = ("degrees",)

    def __post_init__(self):
        super().__post_init__()
        _own.check("degrees", self.degrees)

    def init(self, shape):
        return {**super().init(shape), **_own.start("degrees", self.degrees, shape, _INITIAL)}

    def log_probs(self, params, outputs, x):
        outputs, x = at_least_float32(outputs), at_least_float32(x)
        log_degrees = _own.log_of("degrees", self.degrees, params)
        return distributions.student_t_log_prob(x, outputs, self._logvar(params), log_degrees)

    def sample(self, params, key, outputs):
        center = self.mean(params, outputs)
        log_degrees = _own.log_of("degrees", self.degrees, params)
        half = jnp.broadcast_to(0.5 * jnp.exp(log_degrees), center.shape)
        normal_key, gamma_key = jax.random.split(key)
        # ε √(h / g), g ~ Gamma(h), h = ½ν
        log_share = jnp.log(half) - jax.random.loggamma(gamma_key, half)
        logvar = jnp.broadcast_to(distributions.bound_logvar(self._logvar(params)), center.shape)
        return distributions.reparameterize(normal_key, center, logvar + log_share)
