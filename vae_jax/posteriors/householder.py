"""A Gaussian turned by reflections: a covariance of few numbers, without a triangular factor."""

import dataclasses

import jax
import jax.numpy as jnp

from vae_jax import distributions
from vae_jax.latents import where_kept
from vae_jax.posteriors._posterior import Posterior, gaussian, lift

__all__ = ["Householder", "ReflectedGaussian", "reflected"]


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


def reflected(vectors: jax.Array, values: jax.Array, *, is_back: bool = False) -> jax.Array:
    """H_T … H_1 values, H = I − 2 v vᵀ / |v|².

    Args:
        vectors: v_1 … v_T of each example, of any length, [B, T, L]; one of length 0 reflects
            nothing.
        values: [..., B, L].
        is_back: whether to return H_1 … H_T values, the inverse.

    Returns:
        The shape of values.
    """
    order = range(vectors.shape[1])
    for index in reversed(order) if is_back else order:
        own = vectors[:, index]
        square = jnp.sum(jnp.square(own), axis=-1, keepdims=True)
        square = jnp.where(square < 1e-12, 1.0, square)
        own, square = lift(own, values), lift(square, values)
        along = jnp.sum(own * values, axis=-1, keepdims=True)
        values = values - 2.0 * own * along / square
    return values


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

    @property
    def base(self) -> distributions.DiagonalGaussian:
        """The Gaussian before the reflections, [B, L]."""
        return distributions.DiagonalGaussian(self.base_mean, self.base_logvar)

    @property
    def mean(self) -> jax.Array:
        """H_T … H_1 m, [B, L]."""
        return reflected(self.vectors, self.base_mean)

    @property
    def mode(self) -> jax.Array:
        """The mean, [B, L]."""
        return self.mean

    @property
    def deviation(self) -> jax.Array:
        """Standard deviation of each dimension, [B, L]."""
        size = self.base_mean.shape[-1]
        axes = jnp.eye(size)[:, None, :] * self.base.deviation[None]  # σ_k e_k, [L, B, L]
        return jnp.sqrt(jnp.sum(jnp.square(reflected(self.vectors, axes)), axis=0))

    def covariance_on(self, plane: jax.Array) -> jax.Array:
        """Covariance of plane · z for each example, plane [P, L]: [B, P, P]."""
        num = self.base_mean.shape[0]
        rows = jnp.broadcast_to(plane[:, None, :], (plane.shape[0], num, plane.shape[1]))
        # p · H_T … H_1 ε = (H_1 … H_T p) · ε
        scaled = reflected(self.vectors, rows, is_back=True) * self.base.deviation[None]
        return jnp.einsum("pbl,qbl->bpq", scaled, scaled, precision="highest")

    def first(self, num: int) -> distributions.DiagonalGaussian:
        """Mean and variance of the first `num` dimensions, which may be correlated: [B, num]."""
        logvar = 2.0 * jnp.log(self.deviation)
        return distributions.DiagonalGaussian(self.mean, logvar).first(num)

    def sample(self, key: jax.Array, num_samples: int | None = None) -> jax.Array:
        """Draws z, each dimension of ε with its own key: [B, L] or [K, B, L]."""
        return reflected(self.vectors, self.base.sample(key, num_samples))

    def log_prob(self, z: jax.Array) -> jax.Array:
        """log q(z|x), [..., B, L] to [..., B]: reflections keep volumes."""
        return self.base.log_prob(reflected(self.vectors, z, is_back=True))
