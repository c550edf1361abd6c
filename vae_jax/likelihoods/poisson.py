"""Counts whose variance is their mean."""

import dataclasses

from vae_jax import distributions
from vae_jax.likelihoods._counts import SizedCounts, draw_poisson
from vae_jax.likelihoods._likelihood import at_least_float32

__all__ = ["Poisson"]


@dataclasses.dataclass(frozen=True)
class Poisson(SizedCounts):
    """Independent Poisson variables; outputs are log rates [B, *shape].

    Attributes:
        size_factor: none, or total: the rates of a row are shares of its total (its library size),
            which is read from x.
    """

    def log_probs(self, params, outputs, x):
        del params
        return distributions.poisson_log_prob(at_least_float32(x), at_least_float32(outputs))

    def sample(self, params, key, outputs):
        return draw_poisson(key, self.mean(params, outputs))
