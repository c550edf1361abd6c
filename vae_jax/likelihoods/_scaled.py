"""Likelihoods with a mean from the decoder and a variance of their own."""

import dataclasses
import math
import numbers
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from vae_jax import distributions
from vae_jax.errors import UsageError, did_you_mean, shown
from vae_jax.likelihoods._likelihood import Likelihood, Params, at_least_float32

__all__ = ["INITIAL_LOGVAR", "Scaled"]

# Between the log variances of images in [0, 1] (about −3) and of standardized data (0). Not above
# 0: a variance that starts too large collapses latent dimensions that a smaller one would have used
# (Lucas et al. 2019, Don't Blame the ELBO!, arXiv 1911.02469).
INITIAL_LOGVAR = -2.0


@dataclasses.dataclass(frozen=True)
class Scaled(Likelihood):
    """A likelihood with a mean [B, *shape] from the decoder and a log variance of its own.

    Attributes:
        variance: a positive number (fixed), 'learned' (one scalar for all dimensions),
            'learned_per_dimension', or 'given': a scalar among the parameters that training does
            not change, so that runs with different variances share one program.
    """

    variance: float | str = "learned"

    variances: ClassVar[tuple[str, ...]] = ("learned", "learned_per_dimension", "given")

    def __post_init__(self):
        if isinstance(self.variance, str) and self.variance in self.variances:
            return
        # Outside this range, `bound_logvar` would clamp the variance.
        lowest, highest = (math.exp(s * distributions.LOGVAR_BOUND) for s in (-1, 1))
        if is_number(self.variance) and lowest <= self.variance <= highest:
            return
        told = self.variance if isinstance(self.variance, str) else shown(self.variance)
        raise UsageError(
            f"variance={told}: {type(self).__name__} takes a number from {lowest:.2g} to "
            f"{highest:.2g} or one of {', '.join(self.variances)}"
            f"{did_you_mean(str(self.variance), self.variances)}"
        )

    @property
    def has_path(self):
        """It is: x = m + s ε."""
        return True

    def init(self, shape):
        if is_number(self.variance):
            return {}
        shape = shape if self.variance == "learned_per_dimension" else ()
        return {"logvar": jnp.full(shape, INITIAL_LOGVAR, jnp.float32)}

    @property
    def fixed(self):
        return ("logvar",) if self.variance == "given" else ()

    def _logvar(self, params: Params) -> jax.Array:
        """The log variance in use, a scalar or [*shape]."""
        if is_number(self.variance):
            return jnp.asarray(math.log(self.variance))
        logvar = at_least_float32(params["logvar"])
        return jax.lax.stop_gradient(logvar) if self.variance == "given" else logvar

    @property
    def initial_deviation(self) -> float:
        """The standard deviation of each dimension at the start of training, a scalar."""
        logvar = math.log(self.variance) if is_number(self.variance) else INITIAL_LOGVAR
        return math.exp(logvar / 2)

    def mean(self, params, outputs):
        return at_least_float32(outputs)


def is_number(value: Any) -> bool:
    """Whether a value is a number and not a bool (a scalar)."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool)
