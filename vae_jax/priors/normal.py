"""The standard normal distribution, N(0, I): nothing is learned."""

import dataclasses
from typing import ClassVar

from vae_jax import distributions
from vae_jax.priors._prior import Prior

__all__ = ["Normal"]


@dataclasses.dataclass(frozen=True)
class Normal(Prior):
    """p(z) = N(0, I) over [L].

    Reference:
        Kingma & Welling 2014, arXiv 1312.6114, section 3.
    """

    is_learned: ClassVar[bool] = False

    def of(self, params, latent_dim, latent_mask=None, encode=None):
        del params, latent_mask, encode
        return distributions.standard_gaussian(latent_dim)
