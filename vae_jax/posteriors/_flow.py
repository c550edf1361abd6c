"""Posteriors that are invertible maps of a Gaussian: draws, densities and moments."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp

from vae_jax import distributions, moments
from vae_jax.posteriors._posterior import Summary

__all__ = ["Flowed", "log_slope", "solve"]

_NUM_HALVINGS = 40


def log_slope(value: jax.Array, slope: jax.Array) -> jax.Array:
    """log of the derivative of a + (s − 1) tanh a, that is log (tanh² a + s (1 − tanh² a)).

    Args:
        value: a, any shape.
        slope: s > 0, the derivative at a = 0, the same shape.
    """
    square = jnp.square(jnp.tanh(value))
    return jnp.log(square + slope * (1.0 - square))


def solve(target: jax.Array, slope: jax.Array) -> jax.Array:
    """The a of a + (s − 1) tanh a = y, which rises in a; only first derivatives are right.

    Args:
        target: y, any shape.
        slope: s > 0, the same shape.
    """
    fixed, held = jax.lax.stop_gradient((target, slope))

    def halve(_, ends):
        low, high = ends
        middle = 0.5 * (low + high)
        is_low = middle + (held - 1.0) * jnp.tanh(middle) < fixed
        return jnp.where(is_low, middle, low), jnp.where(is_low, high, middle)

    # |tanh| < 1
    reach = jnp.abs(held - 1.0)
    low, high = jax.lax.fori_loop(0, _NUM_HALVINGS, halve, (fixed - reach, fixed + reach))
    found = 0.5 * (low + high)
    # a step of Newton's method, which has the derivatives of the solution
    missing = target - found - (slope - 1.0) * jnp.tanh(found)
    return found + missing * jnp.exp(-log_slope(found, held))


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

    def draws(self) -> jax.Array:
        """`num_draws` draws with a fixed key, [N, B, L], the same noise for all examples.

        So equal posteriors have equal means, wherever they stand in a batch.
        """
        noise = distributions.standard_gaussian(self.base_mean.shape[-1])
        noise = noise.sample(jax.random.key(0), self.num_draws)[:, None]
        return self.forward(self.base.mean[None] + self.base.deviation[None] * noise)[0]

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
