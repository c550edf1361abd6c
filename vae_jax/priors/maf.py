"""Masked autoregressive flow: each dimension given those before it; slow to draw from."""

import dataclasses

import jax
import jax.numpy as jnp

from vae_jax.priors._flow import Connections, FlowPrior, scale_and_shift

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

    def num_read(self, index, latent_dim, latent_mask):
        # the mean over the hidden units: of degree d = 0 … n − 2 each reads d + 1 of n dimensions
        del index
        return 0.5 * _num_kept(latent_dim, latent_mask)

    @staticmethod
    def inverse(layer, index, latent_mask, z):
        scale, shift = _terms(layer, index, latent_mask, z)
        # ε = (z − t) exp(−s)
        return (z - shift) * jnp.exp(-scale), -jnp.sum(scale, axis=-1)

    @staticmethod
    def forward(layer, index, latent_mask, noise):
        def settle(_, z):
            # after i rounds the first i dimensions are exact
            scale, shift = _terms(layer, index, latent_mask, z)
            return noise * jnp.exp(scale) + shift

        return jax.lax.fori_loop(0, noise.shape[-1], settle, jnp.zeros_like(noise))


def _num_kept(latent_dim: int, latent_mask: jax.Array | None) -> jax.Array:
    """n, the number of dimensions in use, a float32 scalar."""
    return jnp.float32(latent_dim) if latent_mask is None else latent_mask.sum()


def _terms(layer: dict, index: int, latent_mask, z: jax.Array) -> tuple[jax.Array, jax.Array]:
    """(s, t) of a layer, each dimension from those before it in the layer's order: [..., L]."""
    width = layer["hidden_1"]["bias"].shape[0]
    return scale_and_shift(layer, _connections(index, z.shape[-1], width, latent_mask), z)


def _connections(index: int, latent_dim: int, width: int, latent_mask) -> Connections:
    """Connects dimension l to hidden units of degree ≥ its place, and these to later places.

    The degrees are a function of the dimensions in use, which come first in [L], so a masked model
    has the connections of an unmasked one of that size.
    """
    num = _num_kept(latent_dim, latent_mask)
    place = jnp.arange(latent_dim, dtype=jnp.float32)
    place = place if index % 2 == 0 else num - 1.0 - place
    degree = jnp.arange(width, dtype=jnp.float32) % jnp.maximum(num - 1.0, 1.0)
    kept = jnp.ones(latent_dim) if latent_mask is None else latent_mask
    inputs = (place[:, None] <= degree[None, :]).astype(jnp.float32) * kept[:, None]
    hidden = (degree[:, None] <= degree[None, :]).astype(jnp.float32)
    outputs = (degree[:, None] < place[None, :]).astype(jnp.float32) * kept[None, :]
    return Connections(inputs, hidden, outputs, kept)
