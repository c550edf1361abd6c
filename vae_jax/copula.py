"""A density of codes that lie in an interval, or are exactly 0 for some examples."""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from vae_jax import distributions

__all__ = ["GaussianCopula"]


class GaussianCopula(NamedTuple):
    """Codes [L] with the marginals of given ones, joined by a Gaussian: z_l = Q_l(Φ(u_l)).

    u ~ N(0, R), and Q_l is the empirical quantile function of dimension l. So each number of a draw
    is one that a code had in that dimension: rectified codes are 0 as often as in the data, and
    codes of a sigmoid stay between 0 and 1.

    Attributes:
        ordered: the numbers of each dimension, ascending, [N, L].
        factor: R = factor · factorᵀ, [L, L].
        temperature: factor of u, a scalar; 0 draws the medians.

    Reference:
        Liu et al. 2009, The nonparanormal, JMLR 10, section 2; Nelsen 2006, An introduction to
        copulas, section 2.3.
    """

    ordered: jax.Array
    factor: jax.Array
    temperature: float = 1.0

    @classmethod
    def fit(cls, codes: jax.Array | np.ndarray) -> "GaussianCopula":
        """Fits the marginals of codes [N, L], and R, the correlations of their normal scores.

        Equal numbers, such as zeros, share their mean rank. A constant dimension is independent.
        """
        import scipy.stats

        chex.assert_rank(codes, 2)
        rows = np.asarray(codes, np.float32)
        ranks = scipy.stats.rankdata(rows, axis=0)
        scores = scipy.stats.norm.ppf(ranks / (len(rows) + 1))
        scores = scores - scores.mean(axis=0)
        length = np.sqrt(np.square(scores).sum(axis=0))
        scores = scores / np.where(length > 0, length, 1.0)
        correlation = scores.T @ scores
        np.fill_diagonal(correlation, 1.0)
        values, vectors = np.linalg.eigh(correlation)
        factor = vectors * np.sqrt(np.maximum(values, 0.0))[None, :]
        factor = factor / np.sqrt(np.square(factor).sum(axis=1, keepdims=True))
        return cls(jnp.asarray(np.sort(rows, axis=0)), jnp.asarray(factor, jnp.float32))

    @property
    def mean(self) -> jax.Array:
        """Mean of each dimension, [L]."""
        return jnp.mean(self.ordered, axis=0)

    @property
    def deviation(self) -> jax.Array:
        """Standard deviation of each dimension, [L]."""
        return jnp.std(self.ordered, axis=0)

    def first(self, num: int) -> "GaussianCopula":
        """The marginal of the first `num` dimensions, [num]."""
        return self._replace(ordered=self.ordered[:, :num], factor=self.factor[:num])

    def at_temperature(self, temperature: float) -> "GaussianCopula":
        """The same with u times a temperature, a scalar: 0 draws the medians."""
        return self._replace(temperature=temperature)

    def sample(self, key: chex.PRNGKey, num_samples: int | None = None) -> jax.Array:
        """Draws z with a random key: [L], or [N, L]."""
        size = self.factor.shape[1]
        eps = distributions.standard_gaussian(size).sample(key, num_samples)
        u = self.temperature * jnp.matmul(eps, self.factor.T, precision="highest")
        num = len(self.ordered)
        place = jnp.floor(jax.scipy.special.ndtr(u) * num).astype(jnp.int32)
        place = jnp.clip(place, 0, num - 1)
        rows = place.reshape(-1, place.shape[-1])
        return jnp.take_along_axis(self.ordered, rows, axis=0).reshape(place.shape)
