"""Layers of flows over codes [L]: invertible maps ε = (z − t(z)) exp(−s(z)) with known Jacobians.

Each layer has one network for (s, t) of which some connections are cut, so that the Jacobian is
triangular up to the order of the dimensions. Masked dimensions are neither read nor moved.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

__all__ = [
    "Connections",
    "autoregressive_forward",
    "autoregressive_inverse",
    "each_dimension",
    "init_network",
    "num_kept",
    "scale_and_shift",
]

_MAX_LOG_SCALE = 3.0


def each_dimension(key: jax.Array, latent_dim: int, num: int) -> jax.Array:
    """Standard normal numbers [num, L] with one key per dimension, so any L starts alike."""
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(latent_dim))
    return jax.vmap(lambda own: jax.random.normal(own, (num,)), out_axes=1)(keys)


def num_kept(latent_dim: int, latent_mask: jax.Array | None) -> jax.Array:
    """The number of dimensions of [L] in use, a float32 scalar."""
    return jnp.float32(latent_dim) if latent_mask is None else latent_mask.sum()


class Connections(NamedTuple):
    """The connections of a network that are not cut, as zeros and ones.

    Attributes:
        inputs: from dimensions to the first hidden layer, [L, H] or [L, 1].
        hidden: from the first hidden layer to the second, [H, H] or [1, 1].
        outputs: from the second hidden layer to dimensions, [H, L] or [1, L].
        moved: the dimensions that the layer moves, [L].
    """

    inputs: jax.Array
    hidden: jax.Array
    outputs: jax.Array
    moved: jax.Array


def init_network(
    key: jax.Array,
    latent_dim: int,
    width: int,
    num_read: jax.Array,
    *,
    num_context: int = 0,
    num_in_use: jax.Array | int = 0,
) -> dict:
    """A network for (s, t) that returns zeros; its kernels are scaled to what they read.

    Args:
        key: PRNG key, scalar.
        latent_dim: L, a count.
        width: units of each of the two hidden layers, a count.
        num_read: the mean number of dimensions that a hidden unit reads, a scalar.
        num_context: numbers of context for each dimension, a count.
        num_in_use: the number of dimensions that are not masked, a scalar; for the context.
    """
    first, second = jax.random.split(key)
    fan_in = jnp.maximum(num_read, 1.0)
    lecun = jax.nn.initializers.lecun_normal()
    kernels = {
        "hidden_0": each_dimension(first, latent_dim, width).T / jnp.sqrt(fan_in),
        "hidden_1": lecun(second, (width, width)),
        "scale": jnp.zeros((width, latent_dim)),
        "shift": jnp.zeros((width, latent_dim)),
    }
    layer = {n: {"kernel": k, "bias": jnp.zeros(k.shape[1])} for n, k in kernels.items()}
    if num_context:
        keys = jax.random.split(jax.random.fold_in(key, 2), num_context)
        kernel = jnp.stack([each_dimension(own, latent_dim, width).T for own in keys])
        fan_in = jnp.maximum(num_context * num_in_use, 1.0)
        layer["context"] = {"kernel": kernel / jnp.sqrt(fan_in)}
    return layer


def scale_and_shift(
    layer: dict, connections: Connections, z: jax.Array, context: jax.Array | None = None
) -> tuple[jax.Array, jax.Array]:
    """(s, t) of a layer's network, [..., L] like z; 0 in dimensions that it does not move.

    Args:
        layer: from `init_network`.
        connections: those that are not cut.
        z: [..., L], or [..., B, L].
        context: None, or numbers for each example, [B, C, L], which the first hidden layer reads.
    """

    def apply(name, kept, values):
        own = layer[name]
        bias = own["bias"].reshape((1,) * (values.ndim - 1) + own["bias"].shape)
        return jnp.matmul(values, own["kernel"] * kept, precision="highest") + bias

    first = apply("hidden_0", connections.inputs, z)
    if context is not None:
        kernel = layer["context"]["kernel"]
        added = jnp.einsum("bcl,clh->bh", context, kernel, precision="highest")
        first = first + added.reshape((1,) * (first.ndim - 2) + added.shape)
    hidden = jax.nn.relu(first)
    hidden = jax.nn.relu(apply("hidden_1", connections.hidden, hidden))
    moved = connections.moved.reshape((1,) * (z.ndim - 1) + connections.moved.shape)
    scale = jnp.tanh(apply("scale", connections.outputs, hidden) / _MAX_LOG_SCALE)
    shift = apply("shift", connections.outputs, hidden)
    return _MAX_LOG_SCALE * scale * moved, shift * moved


def autoregressive_inverse(
    layer: dict, index: int, latent_mask, z: jax.Array, context: jax.Array | None = None
) -> tuple[jax.Array, jax.Array]:
    """ε_l = (z_l − t_l(z_<l)) exp(−s_l(z_<l)), in one pass; every second layer goes in reverse.

    Args:
        layer: from `init_network`.
        index: of the layer, a count.
        latent_mask: None or [L] of zeros and ones.
        z: [..., B, L].
        context: None, or numbers for each example, [B, C, L].

    Returns:
        (ε, the shape of z; log |∂ε/∂z|, its shape without L).

    Reference:
        Papamakarios et al. 2017, Masked Autoregressive Flow for Density Estimation, arXiv
        1705.07057, equations 3 to 5; Germain et al. 2015, MADE, arXiv 1502.03509, section 3.
    """
    scale, shift = _terms(layer, index, latent_mask, z, context)
    # ε = (z − t) exp(−s)
    return (z - shift) * jnp.exp(-scale), -jnp.sum(scale, axis=-1)


def autoregressive_forward(
    layer: dict, index: int, latent_mask, noise: jax.Array, context: jax.Array | None = None
) -> jax.Array:
    """z of `autoregressive_inverse` from ε [..., B, L], in L passes; arguments as there."""

    def settle(_, z):
        # after i rounds the first i dimensions are exact
        scale, shift = _terms(layer, index, latent_mask, z, context)
        return noise * jnp.exp(scale) + shift

    return jax.lax.fori_loop(0, noise.shape[-1], settle, jnp.zeros_like(noise))


def _terms(
    layer: dict, index: int, latent_mask, z: jax.Array, context: jax.Array | None
) -> tuple[jax.Array, jax.Array]:
    """(s, t) of a layer, each dimension from those before it in the layer's order: [..., L]."""
    width = layer["hidden_1"]["bias"].shape[0]
    connections = _connections(index, z.shape[-1], width, latent_mask)
    return scale_and_shift(layer, connections, z, context)


def _connections(index: int, latent_dim: int, width: int, latent_mask) -> Connections:
    """Connects dimension l to hidden units of degree ≥ its place, and these to later places.

    The degrees are a function of the dimensions in use, which come first in [L], so a masked model
    has the connections of an unmasked one of that size.
    """
    num = num_kept(latent_dim, latent_mask)
    place = jnp.arange(latent_dim, dtype=jnp.float32)
    place = place if index % 2 == 0 else num - 1.0 - place
    degree = jnp.arange(width, dtype=jnp.float32) % jnp.maximum(num - 1.0, 1.0)
    kept = jnp.ones(latent_dim) if latent_mask is None else latent_mask
    inputs = (place[:, None] <= degree[None, :]).astype(jnp.float32) * kept[:, None]
    hidden = (degree[:, None] <= degree[None, :]).astype(jnp.float32)
    outputs = (degree[:, None] < place[None, :]).astype(jnp.float32) * kept[None, :]
    return Connections(inputs, hidden, outputs, kept)
