"""Posteriors that are invertible maps of a Gaussian: draws, densities and moments."""

import dataclasses
from typing import ClassVar

import jax

from vae_jax import distributions, moments
from vae_jax.posteriors._posterior import Summary

__all__ = ["Flowed"]


@dataclasses.dataclass(frozen=True)
class Flowed(moments.Drawn):
    """q(z|x) of z = f(ε), ε ~ N(m, diag exp(logvar)), f invertible, for each of B examples.

    A subclass defines the map and its inverse.

    Attributes:
        base_mean, base_logvar: of ε, [B, L].
    """

    base_mean: jax.Array
    base_logvar: jax.Array

    num_draws: ClassVar[int] = moments.OF_EACH

    def forward(self, noise: jax.Array) -> tuple[jax.Array, jax.Array]:
        """(z [..., B, L], log |∂z/∂ε| [..., B]) of ε [..., B, L]."""
        raise NotImplementedError

    def backward(self, z: jax.Array) -> jax.Array:
        """ε of z, [..., B, L] to the same shape."""
        raise NotImplementedError

    @property
    def base(self) -> distributions.DiagonalGaussian:
        """The density of ε, [B, L]."""
        return distributions.DiagonalGaussian(self.base_mean, self.base_logvar)

    @property
    def mode(self) -> jax.Array:
        """The code of ε = m, at the center of the draws, [B, L]."""
        return self.forward(self.base_mean)[0]

    def first(self, num: int) -> Summary:
        """Moments of the first `num` dimensions, [B, num]."""
        return Summary(self.mean, self.mode, self.deviation).first(num)

    def sample(self, key: jax.Array, num_samples: int | None = None) -> jax.Array:
        """Draws z, each dimension of ε with its own key: [B, L] or [K, B, L]."""
        return self.sample_and_log_prob(key, num_samples)[0]

    def sample_and_log_prob(
        self, key: jax.Array, num_samples: int | None = None
    ) -> tuple[jax.Array, jax.Array]:
        """Draws z and its log q(z|x) in one pass: ([B, L], [B]), or with [K, …] in front."""
        noise = self.base.sample(key, num_samples)
        z, log_det = self.forward(noise)
        return z, self.base.log_prob(noise) - log_det

    def log_prob(self, z: jax.Array) -> jax.Array:
        """log q(z|x) of any z, [..., B, L] to [..., B], by the inverse of the map."""
        noise = self.backward(z)
        return self.base.log_prob(noise) - self.forward(noise)[1]
