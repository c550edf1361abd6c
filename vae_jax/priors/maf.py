"""Masked autoregressive flow: each dimension given those before it; slow to draw from."""

import dataclasses

from vae_jax import flows
from vae_jax.priors._flow import FlowPrior

__all__ = ["MAF"]


@dataclasses.dataclass(frozen=True)
class MAF(FlowPrior):
    """z = f(ε), ε ~ N(0, I) over [L], f a chain of autoregressive layers; starts as N(0, I).

    A layer has ε_l = (z_l − t_l(z_<l)) exp(−s_l(z_<l)), with one masked network for all l; every
    second layer takes the dimensions in reverse. The density takes one pass per layer, a draw L.

    Attributes:
        num_flows: number of layers.
        flow_width: units of each of the two hidden layers of (s, t).

    Reference:
        Papamakarios et al. 2017, Masked Autoregressive Flow for Density Estimation, arXiv
        1705.07057, equations 3 to 5; Germain et al. 2015, MADE, arXiv 1502.03509, section 3.
    """

    num_flows: int = 4

    inverse = staticmethod(flows.autoregressive_inverse)
    forward = staticmethod(flows.autoregressive_forward)

    def num_read(self, index, latent_dim, latent_mask):
        # the mean over the hidden units: of degree d = 0 … n − 2 each reads d + 1 of n dimensions
        del index
        return 0.5 * flows.num_kept(latent_dim, latent_mask)
