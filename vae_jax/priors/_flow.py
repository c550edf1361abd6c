"""Flows as priors of codes [L]: the density of an invertible map of a standard normal variable."""

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from vae_jax import distributions, flows, moments, sums
from vae_jax.priors._prior import Prior

__all__ = ["Flow", "FlowPrior"]

_STATIC = {"static": True}


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Flow(moments.Drawn):
    """p(z) = N(ε; 0, I) |∂ε/∂z|, ε = inverse(z); independent N(0, 1) in masked dimensions.

    Attributes:
        layers: learned numbers of each layer, any pytrees.
        latent_mask: None or [L] of zeros and ones.
        latent_dim: L of the map, a count.
        inverse: (layer, index, mask, z [..., L]) to (ε [..., L], log |∂ε/∂z| [...]).
        forward: (layer, index, mask, ε [..., L]) to z [..., L].
        num: the number of dimensions of a marginal; the others must be masked. None is all.
    """

    layers: tuple[Any, ...]
    latent_mask: jax.Array | None
    latent_dim: int = dataclasses.field(metadata=_STATIC)
    inverse: Callable = dataclasses.field(metadata=_STATIC)
    forward: Callable = dataclasses.field(metadata=_STATIC)
    num: int | None = dataclasses.field(default=None, metadata=_STATIC)

    num_draws: ClassVar[int] = moments.OF_PRIOR

    def first(self, num: int) -> "Flow":
        """The marginal of the first `num` dimensions, if the others are masked: [num]."""
        return dataclasses.replace(self, num=num)

    def sample(self, key: jax.Array, num_samples: int | None = None) -> jax.Array:
        """Draws z: [L], or [N, L]."""
        z = distributions.standard_gaussian(self.latent_dim).sample(key, num_samples)
        for index, layer in enumerate(self.layers):
            z = self.forward(layer, index, self.latent_mask, z)
        return z[..., : self.num]

    def log_prob(self, z: jax.Array) -> jax.Array:
        """log p(z) = log N(ε; 0, I) + log |∂ε/∂z|: [..., L] to [...]."""
        size = z.shape[-1]
        noise = jnp.pad(z, [*[(0, 0)] * (z.ndim - 1), (0, self.latent_dim - size)])
        log_det = jnp.zeros(z.shape[:-1])
        for index, layer in reversed([*enumerate(self.layers)]):
            noise, change = self.inverse(layer, index, self.latent_mask, noise)
            log_det = log_det + change
        kept = noise[..., :size]
        terms = distributions.gaussian_log_prob(kept, jnp.zeros_like(kept), 0.0)
        return sums.over_last(terms) + log_det


@dataclasses.dataclass(frozen=True)
class FlowPrior(Prior):
    """z = f(ε), ε ~ N(0, I), f a chain of `num_flows` layers; starts as N(0, I) itself.

    A subclass defines how many dimensions a layer reads and the two maps of a layer.

    Attributes:
        num_flows: number of layers.
        flow_width: units of each of the two hidden layers of a network.
    """

    num_flows: int = 6
    flow_width: int = 128

    def init(self, key, sizes, examples=None):
        del examples
        keys = jax.random.split(key, self.num_flows)
        size, width = sizes.latent_dim, self.flow_width

        def layer(index):
            num_read = self.num_read(index, size, sizes.latent_mask)
            return flows.init_network(keys[index], size, width, num_read)

        return {f"flow_{i}": layer(i) for i in range(self.num_flows)}

    def num_read(self, index: int, latent_dim: int, latent_mask: jax.Array | None) -> jax.Array:
        """The number of dimensions of [L] that a layer's network reads, a scalar."""
        raise NotImplementedError

    def of(self, params, latent_dim, latent_mask=None, encode=None):
        del encode
        layers = tuple(params[f"flow_{i}"] for i in range(self.num_flows))
        return Flow(layers, latent_mask, latent_dim, type(self).inverse, type(self).forward)

    @staticmethod
    def inverse(layer: dict, index: int, latent_mask, z: jax.Array) -> tuple[jax.Array, jax.Array]:
        """See `Flow`: z [..., L] to (ε [..., L], log |∂ε/∂z| [...])."""
        raise NotImplementedError

    @staticmethod
    def forward(layer: dict, index: int, latent_mask, noise: jax.Array) -> jax.Array:
        """See `Flow`: ε [..., L] to z [..., L]."""
        raise NotImplementedError
