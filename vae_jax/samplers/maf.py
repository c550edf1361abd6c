"""A masked autoregressive flow, trained on the codes."""

import dataclasses

import jax
import numpy as np

from vae_jax import priors
from vae_jax.samplers._sampler import Sampler, Standardized
from vae_jax.samplers._training import fit_by_adam

__all__ = ["MAF"]


@dataclasses.dataclass(frozen=True)
class MAF(Sampler):
    """z = f(ε), ε ~ N(0, I) over [L], of largest likelihood on 9 of 10 codes by Adam.

    Of all epochs that one is kept whose likelihood of the tenth is the largest.

    Attributes:
        num_flows: number of layers.
        flow_width: units of each of the two hidden layers of (s, t).
        num_epochs: passes over the codes.

    Reference:
        Papamakarios et al. 2017, Masked Autoregressive Flow for Density Estimation, arXiv
        1705.07057.
    """

    num_flows: int = 4
    flow_width: int = 128
    num_epochs: int = 100

    def fit(self, codes, key):
        self.require(codes, 20)
        standardized, center, scale = Standardized.of(np.asarray(codes))
        size = standardized.shape[1]
        family = priors.MAF(num_flows=self.num_flows, flow_width=self.flow_width)
        init_key, fit_key = jax.random.split(key)
        params = family.init(init_key, priors.Sizes(size, None, (size,)))

        def loss(params, z, key):
            del key
            return -family.of(params, size).log_prob(z).mean()

        best = fit_by_adam(loss, params, standardized, fit_key, self.num_epochs)
        return Standardized(family.of(best, size), center, scale)
