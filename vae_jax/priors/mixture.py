"""A mixture of Gaussians whose weights, means and variances are learned."""

import dataclasses
import math

import jax.numpy as jnp

from vae_jax.flows import each_dimension
from vae_jax.latents import where_kept
from vae_jax.priors import _components
from vae_jax.priors._prior import Prior

__all__ = ["Mixture"]


@dataclasses.dataclass(frozen=True)
class Mixture(Prior):
    """p(z) = Σ_k w_k N(z; m_k, diag v_k) over [L]; all of w, m and v are learned.

    It starts with equal weights and the mean and variance of N(0, I): the means are drawn from
    N(0, ½ I), the variances are ½. A single component starts as N(0, I) itself.

    Attributes:
        num_components: K.

    Reference:
        Tomczak & Welling 2018, arXiv 1705.07120, section 2 (the mixture of Gaussians that it
        compares with).
    """

    num_components: int = 100

    def init(self, key, sizes, examples=None):
        del examples
        num, size = self.num_components, sizes.latent_dim
        apart = 0.0 if num == 1 else math.sqrt(0.5)
        return {
            "logits": jnp.zeros(num),
            "mean": apart * each_dimension(key, size, num),
            "logvar": jnp.full((num, size), math.log(1.0 - apart**2)),
        }

    def of(self, params, latent_dim, latent_mask=None, encode=None):
        del latent_dim, encode
        mean, logvar = (where_kept(params[name], latent_mask) for name in ("mean", "logvar"))
        return _components.mixture(params["logits"], mean, logvar)
