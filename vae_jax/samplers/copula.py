"""The marginals of the codes, joined by a Gaussian: draws stay in the range of the codes."""

import dataclasses

from vae_jax.copula import GaussianCopula
from vae_jax.samplers._sampler import Sampler

__all__ = ["Copula"]


@dataclasses.dataclass(frozen=True)
class Copula(Sampler):
    """z_l = Q_l(Φ(u_l)), u ~ N(0, R) over [L], Q_l the quantiles of the codes.

    Reference:
        Liu et al. 2009, The nonparanormal, JMLR 10.
    """

    def fit(self, codes, key):
        del key
        self.require(codes, 1)
        return GaussianCopula.fit(codes)
