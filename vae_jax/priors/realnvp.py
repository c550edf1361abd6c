"""RealNVP: a flow of affine couplings, fast to evaluate and to draw from."""

import dataclasses

import jax
import jax.numpy as jnp

from vae_jax.flows import Connections, scale_and_shift
from vae_jax.priors._flow import FlowPrior

__all__ = ["RealNVP"]


@dataclasses.dataclass(frozen=True)
class RealNVP(FlowPrior):
    """z = f(ε), ε ~ N(0, I) over [L], f a chain of affine couplings; starts as N(0, I).

    A coupling reads the even dimensions and moves the odd ones, the next one the reverse:
    ε_odd = (z_odd − t(z_even)) exp(−s(z_even)).

    Attributes:
        num_flows: number of couplings.
        flow_width: units of each of the two hidden layers of (s, t).

    Reference:
        Dinh et al. 2017, Density estimation using Real NVP, arXiv 1605.08803, equations 7 and 8.
    """

    def num_read(self, index, latent_dim, latent_mask):
        return jnp.sum(_of_parity(index, latent_dim, latent_mask))

    @staticmethod
    def inverse(layer, index, latent_mask, z):
        scale, shift = scale_and_shift(layer, _connections(index, z.shape[-1], latent_mask), z)
        # ε = (z − t) exp(−s)
        return (z - shift) * jnp.exp(-scale), -jnp.sum(scale, axis=-1)

    @staticmethod
    def forward(layer, index, latent_mask, noise):
        connections = _connections(index, noise.shape[-1], latent_mask)
        scale, shift = scale_and_shift(layer, connections, noise)
        # z = ε exp(s) + t: the dimensions that are read are the same in z and ε
        return noise * jnp.exp(scale) + shift


def _of_parity(index: int, latent_dim: int, latent_mask: jax.Array | None) -> jax.Array:
    """The dimensions in use that are as even or odd as a coupling's index: zeros and ones [L]."""
    parity = (jnp.arange(latent_dim) % 2 == index % 2).astype(jnp.float32)
    return parity if latent_mask is None else parity * latent_mask


def _connections(index: int, latent_dim: int, latent_mask: jax.Array | None) -> Connections:
    """Reads one half of the dimensions [L] in use, moves the other."""
    reads = _of_parity(index, latent_dim, latent_mask)
    moves = _of_parity(index + 1, latent_dim, latent_mask)
    return Connections(reads[:, None], jnp.ones((1, 1)), moves[None, :], moves)
