"""One dense layer each, without hidden layers: `linear`."""

import math
from typing import Any

import jax.numpy as jnp
from flax import linen as nn

from vae_jax.errors import UsageError
from vae_jax.networks._shared import Network, by_latent, flat, given
from vae_jax.networks.mlp import MLPDecoder

__all__ = ["NETWORKS", "LinearEncoder", "build"]


class LinearEncoder(nn.Module):
    """q(z|x) = N(Vx + b, D): a mean [B, L] linear in x, one logvar for all x, given as [B, L].

    Reference: Lucas et al. 2019, arXiv 1911.02469, section 4. A posterior with only one part is
    linear in x.
    """

    latent_dim: int
    dtype: Any = jnp.float32
    num_parts: int = 2

    reads_classes = True

    @property
    def layers(self) -> tuple[tuple[str, ...], ...]:
        """The path to the parameters of its layer."""
        return (("mean",),)

    @nn.compact
    def __call__(self, x, condition=None):
        init = by_latent(axis=1)
        mean = nn.Dense(self.latent_dim, dtype=self.dtype, kernel_init=init, name="mean")(flat(x))
        mean = given(mean, condition, init)
        if self.num_parts == 1:
            return (mean,)
        logvar = self.param("logvar", nn.initializers.zeros, (self.latent_dim,))
        return mean, jnp.broadcast_to(logvar[None, :], mean.shape)


def build(shape, latent_dim, num_outputs, widths, activation, dtype):
    """The modules for examples of any shape."""
    if widths or activation:
        raise UsageError("network 'linear' has no hidden layers: leave `widths` and `activation`")
    decoder = MLPDecoder(math.prod(shape) * num_outputs, (), dtype=dtype)
    return LinearEncoder(latent_dim, dtype), decoder


NETWORKS = {"linear": Network(LinearEncoder, MLPDecoder, build)}
