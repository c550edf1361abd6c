"""Counts with more zeros than a negative binomial variable has."""

import dataclasses

import jax
import jax.numpy as jnp

from vae_jax import distributions
from vae_jax.likelihoods._likelihood import at_least_float32
from vae_jax.likelihoods.negative_binomial import NegativeBinomial

__all__ = ["ZeroInflatedNegativeBinomial"]


@dataclasses.dataclass(frozen=True)
class ZeroInflatedNegativeBinomial(NegativeBinomial):
    """Counts that are 0 if a gate is closed, else negative binomial; outputs [B, *shape, 2].

    The outputs of a number are log μ and the log-odds that its gate is closed, and log α, the
    dispersion, after them if it is decoded.

    Attributes:
        size_factor: none, or total: the means of a row are shares of its total (its library size),
            which is read from x.
        dispersion: α: a positive number, learned (one scalar), learned_per_dimension (one for each
            column, or gene), learned_per_condition (one for each column and class of the condition,
            or gene and batch), or decoded: an output for each count.
        num_conditions: C, the numbers of the condition of a conditional model, a count; used for
            learned_per_condition. log α is linear in numbers.

    Reference:
        Lopez et al. 2018, Deep generative modeling for single-cell transcriptomics (scVI).
    """

    @property
    def num_outputs(self) -> int:
        """Decoder outputs per data dimension, a scalar."""
        return 1 + super().num_outputs

    def log_probs(self, params, outputs, x):
        outputs, x = at_least_float32(outputs), at_least_float32(x)
        log_prob = super().log_probs(params, outputs, x)
        log_dispersion = jnp.broadcast_to(self._log_dispersion(params, outputs), x.shape)
        # log q(0) = −log(1 + α μ) / α
        of_zero = -jnp.exp(-log_dispersion) * jax.nn.softplus(
            self._log_mean(outputs) + log_dispersion
        )
        return distributions.zero_inflated_log_prob(x, outputs[..., 1], log_prob, of_zero)

    def mean(self, params, outputs):
        outputs = at_least_float32(outputs)
        return jax.nn.sigmoid(-outputs[..., 1]) * super().mean(params, outputs)

    def mode(self, params, outputs):
        mode = super().mode(params, outputs)
        is_zero = self.log_probs(params, outputs, jnp.zeros_like(mode)) >= self.log_probs(
            params, outputs, mode
        )
        return jnp.where(is_zero, 0.0, mode)

    def sample(self, params, key, outputs):
        count_key, gate_key = jax.random.split(key)
        counts = super().sample(params, count_key, outputs)
        is_open = jax.random.bernoulli(gate_key, jax.nn.sigmoid(-outputs[..., 1]))
        return jnp.where(is_open, counts, 0.0)
