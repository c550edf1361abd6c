"""A Gaussian with the mean and covariance of the codes."""

import dataclasses

import jax.numpy as jnp

from vae_jax import distributions
from vae_jax.samplers._sampler import Sampler

__all__ = ["Gaussian"]


@dataclasses.dataclass(frozen=True)
class Gaussian(Sampler):
    """N(mean, covariance) over [L], in closed form."""

    def fit(self, codes, key):
        del key
        self.require(codes, 1)
        return distributions.FullGaussian.fit(jnp.asarray(codes))
