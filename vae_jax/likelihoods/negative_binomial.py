"""Counts whose variance exceeds their mean."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp

from vae_jax import distributions
from vae_jax.errors import UsageError
from vae_jax.likelihoods import _own
from vae_jax.likelihoods._counts import SizedCounts, draw_poisson, totals
from vae_jax.likelihoods._likelihood import Params, at_least_float32

__all__ = ["NegativeBinomial"]

DECODED, PER_CONDITION = "decoded", "learned_per_condition"
_AS_MANY = 1.0
"""Added to the moments behind an initial dispersion, which so is 1 without evidence, a scalar."""
_BEGINS_IN = (0.01, 100.0)
"""The smallest and the largest initial dispersion."""


@dataclasses.dataclass(frozen=True)
class NegativeBinomial(SizedCounts):
    """Negative binomial variables with variance μ + α μ²; outputs are log μ [B, *shape].

    α → 0 gives Poisson variables. Its inverse, θ = 1/α, is the inverse dispersion.

    Attributes:
        size_factor: none, or total: the means of a row are shares of its total (its library size),
            which is read from x.
        dispersion: α: a positive number, learned (one scalar), learned_per_dimension (one for each
            column, or gene), learned_per_condition (one for each column and class of the condition,
            or gene and batch), or decoded: a second output [B, *shape, 2] for each count.
        num_conditions: C, the numbers of the condition of a conditional model, a count; used for
            learned_per_condition. log α is linear in numbers.

    Reference:
        Lopez et al. 2018, Deep generative modeling for single-cell transcriptomics (scVI).
    """

    dispersion: float | str = _own.PER_DIMENSION
    num_conditions: int = dataclasses.field(default=0, kw_only=True, repr=False)

    choices: ClassVar[dict[str, tuple[str, ...]]] = {
        **SizedCounts.choices,
        "dispersion": (*_own.WORDS, PER_CONDITION, DECODED),
    }
    numeric: ClassVar[tuple[str, ...]] = ("dispersion",)

    def __post_init__(self):
        super().__post_init__()
        _own.check("dispersion", self.dispersion, self.choices["dispersion"])

    @property
    def num_outputs(self) -> int:
        """Decoder outputs per data dimension, a scalar."""
        return 1 + (self.dispersion == DECODED)

    @property
    def reads_condition(self) -> bool:
        """Whether the dispersion depends on the condition of a row; a scalar."""
        return self.dispersion == PER_CONDITION

    def of_conditions(self, num):
        if not self.reads_condition:
            return self
        if num == 0:
            raise UsageError(
                f"dispersion={PER_CONDITION}: the model has no condition: take objective=cvae, or "
                f"dispersion={_own.PER_DIMENSION}"
            )
        return dataclasses.replace(self, num_conditions=num)

    def init(self, shape):
        if self.dispersion == DECODED:
            return super().init(shape)
        shape = shape if not self.reads_condition else (self.num_conditions, *shape)
        word = _own.PER_DIMENSION if self.reads_condition else self.dispersion
        return {**super().init(shape), **_own.start("dispersion", word, shape, 0.0)}

    def begin(self, params, examples):
        params = super().begin(params, examples)
        if "log_dispersion" not in params:
            return params
        found = jnp.log(self._near_dispersion(examples))
        found = jnp.broadcast_to(found, params["log_dispersion"].shape)
        return {**params, "log_dispersion": found.astype(jnp.float32)}

    def _near_dispersion(self, examples: jax.Array) -> jax.Array:
        """α of rows [n, *shape] by its moments, [*shape] or a scalar: E (x − μ)² = μ + α μ²."""
        known = ~jnp.isnan(examples)
        x = jnp.where(known, examples, 0.0)
        mean = self.rates_near(examples)[None]
        if self.is_joint:
            mean = mean / jnp.sum(mean) * totals(x).reshape(-1, *[1] * (x.ndim - 1))
        axes = None if self.dispersion == "learned" else 0
        excess = jnp.sum(jnp.where(known, jnp.square(x - mean) - mean, 0.0), axis=axes)
        squares = jnp.sum(jnp.where(known, jnp.square(mean), 0.0), axis=axes)
        # a rare number tells little of its dispersion: 1
        return jnp.clip((excess + _AS_MANY) / (squares + _AS_MANY), *_BEGINS_IN)

    def sized(self, params, outputs, x=None, condition=None):
        if self.reads_condition:
            outputs = at_least_float32(outputs)
            own = at_least_float32(params["log_dispersion"])
            own = jnp.tensordot(condition, own, 1, precision="highest")
            own = jnp.tile(own, (len(outputs) // len(own), *[1] * (own.ndim - 1)))
            shape = outputs.shape if self.num_outputs == 1 else outputs.shape[:-1]
            outputs = outputs.reshape(*shape, self.num_outputs)
            outputs = jnp.concatenate([outputs, own[..., None]], axis=-1)
        return super().sized(params, outputs, x)

    def _log_dispersion(self, params: Params, outputs: jax.Array) -> jax.Array:
        """log α, a scalar, [*shape] or [B, *shape]."""
        if self.dispersion in (DECODED, PER_CONDITION):
            return distributions.bound_logvar(outputs[..., -1])
        return _own.log_of("dispersion", self.dispersion, params)

    def log_probs(self, params, outputs, x):
        outputs, x = at_least_float32(outputs), at_least_float32(x)
        return distributions.negative_binomial_log_prob(
            x, self._rates(outputs), self._log_dispersion(params, outputs)
        )

    def mode(self, params, outputs):
        outputs = at_least_float32(outputs)
        # ⌊(1 − α) μ⌋ for α < 1, else 0
        dispersion = jnp.exp(self._log_dispersion(params, outputs))
        share = jnp.broadcast_to(jnp.maximum(1.0 - dispersion, 0.0), self._rates(outputs).shape)
        return jnp.floor(share * jnp.exp(self._log_mean(outputs)))

    def sample(self, params, key, outputs):
        outputs = at_least_float32(outputs)
        log_mean = self._log_mean(outputs)
        log_dispersion = self._log_dispersion(params, outputs)
        log_dispersion = jnp.broadcast_to(log_dispersion, log_mean.shape)
        gamma_key, poisson_key = jax.random.split(key)
        # rates of a gamma distribution with mean μ and shape 1/α
        log_gamma = jax.random.loggamma(gamma_key, jnp.exp(-log_dispersion))
        return draw_poisson(poisson_key, jnp.exp(log_gamma + log_dispersion + log_mean))
