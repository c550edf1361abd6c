"""Dense layers: `mlp`, and `linear` without a hidden one."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
from flax import linen as nn

from vae_jax.errors import UsageError
from vae_jax.networks._shared import PosteriorHead, by_latent, flat, given, lecun

__all__ = ["LinearEncoder", "MLPDecoder", "MLPEncoder", "linear", "mlp"]


class MLPEncoder(nn.Module):
    """Dense layers: x [B, *shape], flattened, to mean [B, L] and logvar [B, L]."""

    latent_dim: int
    widths: Sequence[int] = (200, 200)
    activation: Callable = jnp.tanh
    dtype: Any = jnp.float32
    num_parts: int = 2

    @nn.compact
    def __call__(self, x, condition=None):
        if condition is not None and not self.widths:
            raise UsageError("widths=(): a condition needs a hidden layer, or network='linear'")
        h = flat(x)
        for i, width in enumerate(self.widths):
            h = nn.Dense(width, dtype=self.dtype, name=f"hidden_{i}")(h)
            h = self.activation(given(h, condition) if i == 0 else h)
        return PosteriorHead(self.latent_dim, self.dtype, self.num_parts, name="head")(h)


class MLPDecoder(nn.Module):
    """Dense layers: z [B, L] to [B, output_dim]; no widths makes it linear.

    The layer that reads z is named `latent`: `Model.init` finds its fan-in there.
    """

    output_dim: int
    widths: Sequence[int] = (200, 200)
    activation: Callable = jnp.tanh
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, z, condition=None):
        h, widths = z, (*self.widths, self.output_dim)
        for i, width in enumerate(widths):
            name = "latent" if i == 0 else "output" if i == len(widths) - 1 else f"hidden_{i}"
            init = by_latent(axis=0) if i == 0 else lecun
            h = nn.Dense(width, dtype=self.dtype, kernel_init=init, name=name)(h)
            h = given(h, condition) if i == 0 else h
            h = h if i == len(widths) - 1 else self.activation(h)
        return h


class LinearEncoder(nn.Module):
    """q(z|x) = N(Vx + b, D): a mean [B, L] linear in x, one logvar for all x, given as [B, L].

    Reference: Lucas et al. 2019, arXiv 1911.02469, section 4. Where the posterior has one part, it
    is linear in x.
    """

    latent_dim: int
    dtype: Any = jnp.float32
    num_parts: int = 2

    @nn.compact
    def __call__(self, x, condition=None):
        init = by_latent(axis=1)
        mean = nn.Dense(self.latent_dim, dtype=self.dtype, kernel_init=init, name="mean")(flat(x))
        mean = given(mean, condition, init)
        if self.num_parts == 1:
            return (mean,)
        logvar = self.param("logvar", nn.initializers.zeros, (self.latent_dim,))
        return mean, jnp.broadcast_to(logvar[None, :], mean.shape)


def mlp(shape, latent_dim, num_outputs, widths, activation, dtype):
    """The builder of `mlp`, for examples of any shape."""
    widths = (200, 200) if widths is None else widths
    activation = activation or jnp.tanh
    encoder = MLPEncoder(latent_dim, widths, activation, dtype)
    return encoder, MLPDecoder(math.prod(shape) * num_outputs, widths[::-1], activation, dtype)


def linear(shape, latent_dim, num_outputs, widths, activation, dtype):
    """The builder of `linear`, for examples of any shape."""
    if widths or activation:
        raise UsageError("network 'linear' has no hidden layers: leave --widths and --activation")
    decoder = MLPDecoder(math.prod(shape) * num_outputs, (), dtype=dtype)
    return LinearEncoder(latent_dim, dtype), decoder
