"""The density of a mixture of Gaussians with independent dimensions, over codes [L]."""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp

from vae_jax import distributions, sums
from vae_jax.distributions import DiagonalGaussian
from vae_jax.threefry import unrolled

__all__ = ["GaussianMixture", "mixture"]

_COMPONENT = 2**32 - 1
"""Folded into a key for the component of a draw; larger than any latent dimension."""


def mixture(logits: jax.Array, mean: jax.Array, logvar: jax.Array) -> Any:
    """A mixture with K components, or the `DiagonalGaussian` that it is if K = 1.

    Args:
        logits: unnormalized log-weights, [K].
        mean, logvar: of the components, [K, L].
    """
    if len(logits) == 1:
        return DiagonalGaussian(mean[0], logvar[0])
    return GaussianMixture(logits, mean, logvar)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class GaussianMixture:
    """p(z) = Σ_k w_k Π_l N(z_l; mean_kl, exp(logvar_kl)).

    Attributes:
        logits: unnormalized log-weights, [K].
        means: means of the components, [K, L].
        logvars: log variances of the components, [K, L].
    """

    logits: jax.Array
    means: jax.Array
    logvars: jax.Array

    @property
    def log_weights(self) -> jax.Array:
        """log w, [K]."""
        return jax.nn.log_softmax(self.logits)

    @property
    def mean(self) -> jax.Array:
        """E[z], [L]."""
        return jnp.matmul(jnp.exp(self.log_weights), self.means, precision="highest")

    @property
    def deviation(self) -> jax.Array:
        """Standard deviation of each dimension, [L], by the law of total variance."""
        variances = jnp.exp(distributions.bound_logvar(self.logvars))
        apart = jnp.square(self.means - self.mean[None])
        weights = jnp.exp(self.log_weights)
        return jnp.sqrt(jnp.matmul(weights, variances + apart, precision="highest"))

    def first(self, num: int) -> "GaussianMixture":
        """The marginal of the first `num` dimensions, [num]."""
        return GaussianMixture(self.logits, self.means[:, :num], self.logvars[:, :num])

    def sample(self, key: jax.Array, num_samples: int | None = None) -> jax.Array:
        """Draws z, [L] or [N, L]; each dimension has its own key."""
        lead = () if num_samples is None else (num_samples,)
        own_key = unrolled(jax.random.fold_in(key, jnp.uint32(_COMPONENT)))
        component = jax.random.categorical(own_key, self.logits, shape=lead)
        chosen = DiagonalGaussian(self.means[component], self.logvars[component])
        return chosen.sample(key)

    def log_prob(self, z: jax.Array) -> jax.Array:
        """log p(z) by two matrix products: [..., L] to [...].

        −2 log N(z; m, v) = Σ_l (z_l² / v_l − 2 z_l m_l / v_l + m_l² / v_l + log 2π v_l), from the
        center of the components, so that the squares are small.
        """
        center = jax.lax.stop_gradient(self.mean)
        logvars = distributions.bound_logvar(self.logvars)
        precisions = jnp.exp(-logvars)
        apart = self.means - center[None]
        moved = z - center.reshape((1,) * (z.ndim - 1) + center.shape)
        products = _times(jnp.square(moved), precisions) - 2.0 * _times(moved, apart * precisions)
        constant = jnp.sum(jnp.square(apart) * precisions + logvars, axis=1)
        constant = self.log_weights - 0.5 * (constant + logvars.shape[1] * math.log(2 * math.pi))
        scores = constant.reshape((1,) * (z.ndim - 1) + constant.shape) - 0.5 * products
        return jax.nn.logsumexp(scores, axis=-1)

    def _weights_and_terms(self, z: jax.Array) -> tuple[jax.Array, jax.Array]:
        """log w_k and log N(z_l; mean_kl, exp(logvar_kl)): [..., L] to [..., K, 1], [..., K, L]."""
        shape = (*z.shape[:-1], *self.means.shape)
        means = jnp.broadcast_to(self.means, shape)
        each = jnp.broadcast_to(z[..., None, :], shape)
        terms = distributions.gaussian_log_prob(each, means, self.logvars)
        return self.log_weights.reshape((1,) * (z.ndim - 1) + (-1, 1)), terms

    def log_probs(self, z: jax.Array) -> jax.Array:
        """log p(z_l | z_1 … z_{l−1}) of each dimension, whose sum is `log_prob`: [..., L]."""
        weights, terms = self._weights_and_terms(z)
        # log p(z_1 … z_l) = logsumexp_k (log w_k + Σ_{j ≤ l} log N_kj)
        joint = jax.nn.logsumexp(weights + jnp.cumsum(terms, axis=-1), axis=-2)
        return jnp.diff(joint, axis=-1, prepend=jnp.zeros((*z.shape[:-1], 1)))

    def responsibilities(self, z: jax.Array) -> jax.Array:
        """p(k|z), the probability that z is of component k: [..., L] to [..., K]."""
        weights, terms = self._weights_and_terms(jnp.asarray(z, jnp.float32))
        return jax.nn.softmax(weights[..., 0] + sums.over_last(terms), axis=-1)

    def marginal_log_probs(self, z: jax.Array) -> jax.Array:
        """log p(z_l) of each dimension alone: [..., L]."""
        weights, terms = self._weights_and_terms(z)
        return jax.nn.logsumexp(weights + terms, axis=-2)


def _times(values: jax.Array, components: jax.Array) -> jax.Array:
    """[..., L] by [K, L] to [..., K], in full precision."""
    return jnp.matmul(values, components.T, precision="highest")
