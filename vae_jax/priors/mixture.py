"""A mixture of Gaussians whose weights, means and variances are learned."""

import dataclasses
import math

import jax.numpy as jnp

from vae_jax.errors import UsageError
from vae_jax.flows import each_dimension
from vae_jax.latents import where_kept
from vae_jax.priors import _clusters, _components
from vae_jax.priors._prior import Prior

__all__ = ["Mixture"]


@dataclasses.dataclass(frozen=True)
class Mixture(Prior):
    """p(z) = Σ_k w_k N(z; m_k, diag v_k) over [L]; all of w, m and v are learned.

    It starts with equal weights and the mean and variance of N(0, I): the means are drawn from
    N(0, ½ I), the variances are ½. A single component starts as N(0, I) itself. If the codes are
    trained first, see `vae_jax.phases`, the components start at clusters of codes.

    Its ELBO is that of a model with a category c per example, p(c) p(z|c) p(x|z), and the best
    q(c|z) = p(c|z): per draw of z, log q(z|x) + log q(c|z) − log p(z|c) − log p(c) has the mean
    log q(z|x) − log p(z) over q(c|z). A q(c|x) that is not told z costs KL(q(c|x) ‖ p(c|z)) more.

    Attributes:
        num_components: K.

    Reference:
        Tomczak & Welling 2018, arXiv 1705.07120, section 2 (the mixture of Gaussians that it
        compares with); Jiang et al. 2017, Variational Deep Embedding, arXiv 1611.05148, equations 7
        to 9 and 15 (clusters).
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

    def at_codes(self, key, params, z, weights):
        del params
        num, size = self.num_components, z.shape[1]
        if len(z) < num:
            raise UsageError(
                f"num_components={num}: start at clusters of the {len(z)} codes of a batch: give "
                f"batch_size={num} or more, or leave prior_phase out"
            )
        found = _clusters.k_means(key, z, weights, num)
        # 0 in masked dimensions, which `of` does not read
        logvar = jnp.log(jnp.maximum(found.variance, 1e-12))
        return {
            "logits": jnp.log(found.shares),
            "mean": found.centers,
            "logvar": jnp.broadcast_to(logvar[None], (num, size)),
        }

    def of(self, params, latent_dim, latent_mask=None, encode=None):
        del latent_dim, encode
        mean, logvar = (where_kept(params[name], latent_mask) for name in ("mean", "logvar"))
        return _components.mixture(params["logits"], mean, logvar)
