"""Counts whose variance exceeds their mean."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp

from vae_jax import distributions
from vae_jax.likelihoods import _own
from vae_jax.likelihoods._counts import SizedCounts, draw_poisson
from vae_jax.likelihoods._likelihood import Params, at_least_float32

__all__ = ["NegativeBinomial"]

DECODED = "decoded"


@dataclasses.dataclass(frozen=True)
class NegativeBinomial(SizedCounts):
    """Negative binomial variables with variance μ + α μ²; outputs are log μ [B, *shape].

    α → 0 gives Poisson variables. Its inverse, θ = 1/α, is the inverse dispersion.

    Attributes:
        size_factor: none, or total: the means of a row are shares of its total (its library size),
            which is read from x.
        dispersion: α: a positive number, learned (one scalar), learned_per_dimension (one for each
            column, or gene), or decoded: a second output [B, *shape, 2] for each count.

    Reference:
        Lopez et al. 2018, Deep generative modeling for single-cell transcriptomics (scVI).
    """

    dispersion: float | str = _own.PER_DIMENSION

    choices: ClassVar[dict[str, tuple[str, ...]]] = {
        **SizedCounts.choices,
        "dispersion": (*_own.WORDS, DECODED),
    }
    numeric: ClassVar[tuple[str, ...]] = ("dispersion",)

    def __post_init__(self):
        super().__post_init__()
        _own.check("dispersion", self.dispersion, self.choices["dispersion"])

    @property
    def num_outputs(self) -> int:
        """Decoder outputs per data dimension, a scalar."""
        return 1 + (self.dispersion == DECODED)

    def init(self, shape):
        if self.dispersion == DECODED:
            return super().init(shape)
        own = _own.start("dispersion", self.dispersion, shape, 0.0)
        return {**super().init(shape), **own}

    def _log_dispersion(self, params: Params, outputs: jax.Array) -> jax.Array:
        """log α, a scalar, [*shape] or [B, *shape]."""
        if self.dispersion == DECODED:
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
