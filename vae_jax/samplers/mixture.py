"""A mixture of Gaussians with any covariances; as many as the BIC prefers, or as are asked for."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from vae_jax.errors import UsageError
from vae_jax.samplers._sampler import Sampler, Standardized
from vae_jax.threefry import unrolled

__all__ = ["FullMixture", "Mixture"]

_COUNTS = (1, 2, 5, 10, 20, 50)
"""Numbers of components that are tried."""
_REGULARIZATION = 1e-4


class FullMixture(NamedTuple):
    """Σ_k w_k N(m_k, F_k F_kᵀ) over [L].

    Attributes:
        log_weights: log w, [K].
        means: [K, L].
        factors: F, [K, L, L].
    """

    log_weights: jax.Array
    means: jax.Array
    factors: jax.Array

    def sample(self, key: jax.Array, num_samples: int) -> jax.Array:
        """Draws z, [num_samples, L]."""
        first, second = jax.random.split(key)
        component = jax.random.categorical(unrolled(first), self.log_weights, shape=(num_samples,))
        noise = jax.random.normal(unrolled(second), (num_samples, self.means.shape[1]))
        moved = jnp.einsum("nij,nj->ni", self.factors[component], noise, precision="highest")
        return self.means[component] + moved


@dataclasses.dataclass(frozen=True)
class Mixture(Sampler):
    """Σ_k w_k N(m_k, V_k) over [L], by expectation maximization on standardized codes.

    Attributes:
        num_components: K; None takes the K of 1, 2, 5, 10, 20, 50 with the least BIC, tried upwards
            until two were worse.

    Reference:
        Ghosh et al. 2020, From Variational to Deterministic Autoencoders, arXiv 1903.12436,
        section 4 (K = 10 there).
    """

    num_components: int | None = None

    def __post_init__(self):
        num = self.num_components
        if num is not None and (not isinstance(num, int) or num < 1):
            raise UsageError(f"num_components={num!r}: must be an integer, at least 1, or None")

    def fit(self, codes, key):
        self.require(codes, 2 * (self.num_components or 1))
        standardized, center, scale = Standardized.of(np.asarray(codes))
        seed = int(jax.random.randint(key, (), 0, 2**31 - 1))
        if self.num_components:
            best = _fitted(standardized, self.num_components, seed)
        else:
            best = _of_least_bic(standardized, seed)
        log_weights = np.log(np.maximum(best.weights_, 1e-30))
        factors = np.linalg.cholesky(best.covariances_)
        parts = (jnp.asarray(part, jnp.float32) for part in (log_weights, best.means_, factors))
        return Standardized(FullMixture(*parts), center, scale)


def _fitted(codes: np.ndarray, num_components: int, seed: int):
    """scikit-learn's mixture of so many components, fit to codes [N, L]."""
    from sklearn.mixture import GaussianMixture

    mixture = GaussianMixture(num_components, random_state=seed, reg_covar=_REGULARIZATION)
    return mixture.fit(codes)


def _of_least_bic(codes: np.ndarray, seed: int):
    """The mixture of least BIC on codes [N, L]; the search ends when two counts were worse."""
    best, least, num_worse = None, np.inf, 0
    for num in _COUNTS:
        if num_worse == 2 or num > max(1, len(codes) // 2):
            break
        fitted = _fitted(codes, num, seed)
        bic = fitted.bic(codes)
        if bic < least:
            best, least, num_worse = fitted, bic, 0
        else:
            num_worse += 1
    return best
