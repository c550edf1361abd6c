"""A Gaussian with any covariance: dimensions of the code depend on each other given x."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from vae_jax import distributions, sums
from vae_jax.distributions import DiagonalGaussian
from vae_jax.posteriors._posterior import Posterior, gaussian

__all__ = ["Full", "TriangularGaussian"]


@dataclasses.dataclass(frozen=True)
class Full(Posterior):
    """q(z|x) = N(m, F Fᵀ), F lower triangular with exp(½ logvar) on its diagonal over [L].

    The encoder returns m, logvar and the L columns of F below the diagonal, so its last layer grows
    with L².

    Reference:
        Kingma & Welling 2019, An Introduction to Variational Autoencoders, arXiv 1906.02691,
        section 2.5.1.
    """

    def parts_for(self, latent_dim):
        return ("mean", "logvar", *(f"column {i}" for i in range(latent_dim)))

    def posterior(self, params, parts, latent_mask=None):
        del params
        mean, logvar, *columns = parts
        base = gaussian(mean, logvar, latent_mask)
        below = jnp.tril(jnp.stack(columns, axis=-1), -1)
        if latent_mask is not None:
            below = jnp.where(latent_mask[None, :, None] > 0, below, 0.0)
        diagonal = jnp.eye(mean.shape[-1])[None] * base.deviation[:, :, None]
        return TriangularGaussian(base.mean, below + diagonal)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TriangularGaussian:
    """N(mean, factor · factorᵀ) for each of B examples.

    Attributes:
        mean: [B, L].
        factor: lower triangular with a positive diagonal, [B, L, L].
    """

    mean: jax.Array
    factor: jax.Array

    @property
    def mode(self) -> jax.Array:
        """The mean, [B, L]."""
        return self.mean

    @property
    def deviation(self) -> jax.Array:
        """Standard deviation of each dimension, [B, L]."""
        return jnp.sqrt(jnp.sum(jnp.square(self.factor), axis=-1))

    def covariance_on(self, plane: jax.Array) -> jax.Array:
        """Covariance of plane · z for each example, plane [P, L]: [B, P, P]."""
        moved = jnp.einsum("pl,blk->bpk", plane, self.factor, precision="highest")
        return jnp.einsum("bpk,bqk->bpq", moved, moved, precision="highest")

    @property
    def _log_diagonal(self) -> jax.Array:
        return jnp.log(jnp.diagonal(self.factor, axis1=-2, axis2=-1))

    def first(self, num: int) -> "TriangularGaussian":
        """The marginal of the first `num` dimensions, [B, num]."""
        return TriangularGaussian(self.mean[:, :num], self.factor[:, :num, :num])

    def sample(self, key: jax.Array, num_samples: int | None = None) -> jax.Array:
        """Draws z = mean + factor · ε, a key for each dimension of ε: [B, L] or [K, B, L]."""
        noise = DiagonalGaussian(*[jnp.zeros_like(self.mean)] * 2).sample(key, num_samples)
        moved = jnp.einsum("bij,...bj->...bi", self.factor, noise, precision="highest")
        return self.mean.reshape((1,) * (noise.ndim - 2) + self.mean.shape) + moved

    def log_probs(self, z: jax.Array) -> jax.Array:
        """log q(z_l | z_1 … z_{l−1}, x) of each dimension: [..., B, L] to the same shape."""
        apart = z - self.mean.reshape((1,) * (z.ndim - 2) + self.mean.shape)

        def solve(factor, rows):
            return jax.scipy.linalg.solve_triangular(factor, rows.T, lower=True).T

        noise = jax.vmap(solve, in_axes=(0, -2), out_axes=-2)(
            self.factor, apart.reshape(-1, *self.mean.shape)
        ).reshape(z.shape)
        terms = distributions.gaussian_log_prob(noise, jnp.zeros_like(noise), 0.0)
        own = self._log_diagonal
        return terms - own.reshape((1,) * (z.ndim - 2) + own.shape)

    def log_prob(self, z: jax.Array) -> jax.Array:
        """log q(z|x), [..., B, L] to [..., B]."""
        return sums.over_last(self.log_probs(z))

    def rate_per_dim(self, prior: Any) -> jax.Array:
        """The rate of each dimension given those before it, under a diagonal Gaussian: [B, L].

        E[log q(z_l | z_<l) − log p(z_l)] = ½ ((m_l − μ_l)² + Σ_k F_lk²) / v_l − ½ + ½ log v_l
        − log F_ll
        """
        logvar = distributions.bound_logvar(prior.logvar)[None, :]
        spread = jnp.sum(jnp.square(self.factor), axis=-1)
        squares = (jnp.square(self.mean - prior.mean[None, :]) + spread) * jnp.exp(-logvar)
        return 0.5 * (squares - 1.0 + logvar) - self._log_diagonal


distributions.CLOSED_FORM_KL[TriangularGaussian, DiagonalGaussian] = lambda q, p: q.rate_per_dim(p)
