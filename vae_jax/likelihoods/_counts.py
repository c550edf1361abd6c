"""The base class of likelihoods of counts."""

import dataclasses
import math
from typing import ClassVar

import jax
import jax.numpy as jnp

from vae_jax import distributions
from vae_jax.errors import unknown
from vae_jax.likelihoods._likelihood import Likelihood, at_least_float32

__all__ = ["Counts", "SizedCounts", "draw_poisson", "totals"]

_NUM_EXAMPLES = 256
"""Training rows whose mean is that of rows drawn from the model, a count."""
_UNSEEN = 0.1
"""Added to each sum over these rows, a scalar."""
_LEAST_MEAN = 1e-6
_LARGEST_RATE = 2.0**30
"""Rates of draws, which are integers of 32 bits, are clamped to this one."""


@dataclasses.dataclass(frozen=True)
class Counts(Likelihood):
    """Counts, whole numbers ≥ 0, [B, *shape]; the first output of each is the log of its rate.

    The networks read log(1 + x) by default. A rate is exp(output), and linear in it beyond e²⁰, see
    `distributions.bound_log_rate`. If the likelihood `is_joint`, the rates of a row are shares of
    its total, which `sized` reads from x.

    Reference:
        Lopez et al. 2018, Deep generative modeling for single-cell transcriptomics (scVI).
    """

    requires: ClassVar[str] = "counts"
    is_of_raw: ClassVar[bool] = True

    @property
    def num_examples(self) -> int:
        """The number of training rows that `begin` and `starts_near` need, a count."""
        return _NUM_EXAMPLES

    def init(self, shape):
        # a count of 1 for each number
        return {"log_total": jnp.float32(math.log(math.prod(shape)))} if self.is_joint else {}

    @property
    def fixed(self):
        return ("log_total",) if self.is_joint else ()

    def begin(self, params, examples):
        if not self.is_joint:
            return params
        return {**params, "log_total": jnp.log(jnp.maximum(jnp.mean(totals(examples)), 1.0))}

    def starts_near(self, examples):
        return self.outputs_near(self.rates_near(examples))

    def rates_near(self, examples: jax.Array) -> jax.Array:
        """The mean rates [*shape] of training rows, [n, *shape]."""
        known = jnp.sum((~jnp.isnan(examples)).astype(jnp.float32), axis=0)
        # a number that is 0 in all these rows may not be 0 in others
        counts = jnp.sum(jnp.where(jnp.isnan(examples), 0.0, examples), axis=0) + _UNSEEN
        return counts / jnp.maximum(known, 1.0)

    def seen(self, x):
        x = at_least_float32(x)
        # linear below 0, where there are no counts: pseudo-inputs and noise may get there
        return jnp.where(x < 0, x, jnp.log1p(jnp.where(x < 0, 0.0, x)))

    def sized(self, params, outputs, x=None, condition=None):
        if not self.is_joint:
            return outputs
        outputs = at_least_float32(outputs)
        rates = self._rates(outputs)
        if x is None:
            log_total = jax.lax.stop_gradient(at_least_float32(params["log_total"]))
        else:
            log_total = jnp.log(jnp.maximum(totals(at_least_float32(x)), 1e-6))
            log_total = log_total.reshape(-1, *[1] * (rates.ndim - 1))
        shares = jax.nn.log_softmax(rates, axis=range(1, rates.ndim))
        return self._with_rates(outputs, shares + log_total)

    @property
    def _num_sized(self) -> int:
        """Values for each number of x after `sized`, a count."""
        return self.num_outputs + self.reads_condition

    def _rates(self, outputs: jax.Array) -> jax.Array:
        """The outputs [B, *shape] of log rates, of all outputs."""
        return outputs if self._num_sized == 1 else outputs[..., 0]

    def _with_rates(self, outputs: jax.Array, rates: jax.Array) -> jax.Array:
        """The outputs with other log rates, [B, *shape]."""
        if self._num_sized == 1:
            return rates
        return jnp.concatenate([rates[..., None], outputs[..., 1:]], axis=-1)

    def _log_mean(self, outputs: jax.Array) -> jax.Array:
        """Log means [B, *shape] from outputs."""
        return distributions.bound_log_rate(self._rates(at_least_float32(outputs)))

    def mean(self, params, outputs):
        del params
        return jnp.exp(self._log_mean(outputs))

    def outputs_near(self, mean):
        rates = jnp.log(jnp.maximum(mean, _LEAST_MEAN))
        if self.num_outputs == 1:
            return rates
        others = jnp.zeros((*mean.shape, self.num_outputs - 1))
        return jnp.concatenate([rates[..., None], others], axis=-1)

    def mode(self, params, outputs):
        return jnp.floor(self.mean(params, outputs))


@dataclasses.dataclass(frozen=True)
class SizedCounts(Counts):
    """Counts whose rates are free, or shares of the total of a row of x [B, *shape].

    Attributes:
        size_factor: none, or total: the rates of a row are shares of its total (its library size),
            which is read from x.
    """

    size_factor: str = "none"

    choices: ClassVar[dict[str, tuple[str, ...]]] = {"size_factor": ("none", "total")}

    def __post_init__(self):
        allowed = self.choices["size_factor"]
        if self.size_factor not in allowed:
            raise unknown("size_factor", str(self.size_factor), allowed)

    @property
    def is_joint(self) -> bool:
        """Whether rates are shares of the total of the row; a scalar."""
        return self.size_factor == "total"


def totals(x: jax.Array) -> jax.Array:
    """The sum of the known numbers of each row, [B, *shape] to [B]."""
    return jnp.sum(jnp.where(jnp.isnan(x), 0.0, x), axis=range(1, x.ndim))


def draw_poisson(key: jax.Array, rate: jax.Array) -> jax.Array:
    """Draws Poisson variables of rates of any shape, float32 of the same shape."""
    draws = jax.random.poisson(key, jnp.minimum(rate, _LARGEST_RATE))
    return draws.astype(jnp.float32)
