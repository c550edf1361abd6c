"""A Gaussian turned by reflections: a covariance of few numbers, without a triangular factor."""

import dataclasses

import jax
import jax.numpy as jnp

from vae_jax import distributions
from vae_jax.latents import where_kept
from vae_jax.posteriors._posterior import Posterior, gaussian

__all__ = ["Householder", "ReflectedGaussian"]


@dataclasses.dataclass(frozen=True)
class Householder(Posterior):
    """z = H_T … H_1 ε, ε ~ N(m, diag exp(logvar)), H = I − 2 v vᵀ / |v|² over [L].

    The encoder returns m, logvar and the T vectors v.

    Attributes:
        num_reflections: T.

    Reference:
        Tomczak & Welling 2016, Improving Variational Auto-Encoders using Householder Flow, arXiv
        1611.09630, equation 9.
    """

    num_reflections: int = 10

    def parts_for(self, latent_dim):
        del latent_dim
        return ("mean", "logvar", *(f"vector {i}" for i in range(self.num_reflections)))

    def posterior(self, params, parts, latent_mask=None):
        del params
        mean, logvar, *vectors = parts
        base = gaussian(mean, logvar, latent_mask)
        vectors = where_kept(jnp.stack(vectors, axis=1), latent_mask)
        return ReflectedGaussian(base.mean, base.logvar, vectors)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class ReflectedGaussian:
    """N(mean, diag exp(logvar)) after T reflections, for each of B examples.

    Attributes:
        base_mean, base_logvar: of the Gaussian before the reflections, [B, L].
        vectors: the normals of the reflections, of any length, [B, T, L].
    """

    base_mean: jax.Array
    base_logvar: jax.Array
    vectors: jax.Array

    def _reflected(self, values: jax.Array, *, is_back: bool = False) -> jax.Array:
        """H_T … H_1 values, or H_1 … H_T values: [..., B, L]."""
        order = range(self.vectors.shape[1])
        for index in reversed(order) if is_back else order:
            own = self.vectors[:, index]
            # of length 0 it reflects nothing
            square = jnp.maximum(jnp.sum(jnp.square(own), axis=-1, keepdims=True), 1e-12)
            own = own.reshape((1,) * (values.ndim - 2) + own.shape)
            along = jnp.sum(own * values, axis=-1, keepdims=True)
            values = values - 2.0 * own * along / square.reshape(
                (1,) * (values.ndim - 2) + square.shape
            )
        return values

    @property
    def base(self) -> distributions.DiagonalGaussian:
        """The Gaussian before the reflections, [B, L]."""
        return distributions.DiagonalGaussian(self.base_mean, self.base_logvar)

    @property
    def mean(self) -> jax.Array:
        """H_T … H_1 m, [B, L]."""
        return self._reflected(self.base_mean)

    @property
    def mode(self) -> jax.Array:
        """The mean, [B, L]."""
        return self.mean

    @property
    def deviation(self) -> jax.Array:
        """Standard deviation of each dimension, [B, L]."""
        size = self.base_mean.shape[-1]
        axes = jnp.eye(size)[:, None, :] * self.base.deviation[None]  # σ_k e_k, [L, B, L]
        return jnp.sqrt(jnp.sum(jnp.square(self._reflected(axes)), axis=0))

    def first(self, num: int) -> distributions.DiagonalGaussian:
        """Mean and variance of the first `num` dimensions, which may be correlated: [B, num]."""
        logvar = 2.0 * jnp.log(self.deviation)
        return distributions.DiagonalGaussian(self.mean, logvar).first(num)

    def sample(self, key: jax.Array, num_samples: int | None = None) -> jax.Array:
        """Draws z, each dimension of ε with its own key: [B, L] or [K, B, L]."""
        return self._reflected(self.base.sample(key, num_samples))

    def log_prob(self, z: jax.Array) -> jax.Array:
        """log q(z|x), [..., B, L] to [..., B]: reflections keep volumes."""
        return self.base.log_prob(self._reflected(z, is_back=True))
