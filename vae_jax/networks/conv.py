"""Convolutions that halve an image, then dense layers: `conv`."""

from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
from flax import linen as nn

from vae_jax.networks._halving import WIDTHS, check, halve, unfold, widths_by_shape
from vae_jax.networks._shared import Network, PosteriorHead, flat, given

__all__ = ["NETWORKS", "ConvDecoder", "ConvEncoder", "build"]


class ConvEncoder(nn.Module):
    """4×4 convolutions of stride 2, then a dense layer: x [B, H, W, C] to mean, logvar [B, L].

    Each of `widths` halves H and W, rounded up.

    Reference: Burgess et al. 2018, arXiv 1804.03599, appendix A.
    """

    latent_dim: int
    widths: Sequence[int] = (32, 64)
    hidden: int = 256
    activation: Callable = nn.relu
    dtype: Any = jnp.float32
    num_parts: int = 2

    reads_classes = True

    @nn.compact
    def __call__(self, x, condition=None):
        h = halve(x, self.widths, self.activation, self.dtype)
        h = nn.Dense(self.hidden, dtype=self.dtype, name="hidden")(flat(h))
        h = self.activation(given(h, condition))
        return PosteriorHead(self.latent_dim, self.dtype, self.num_parts, name="head")(h)


class ConvDecoder(nn.Module):
    """The mirror of `ConvEncoder`: z [B, L] to [B, H, W, num_channels].

    `size` is (H, W) of the image. The layer that reads z is named `latent`.
    """

    size: tuple[int, int]
    num_channels: int
    widths: Sequence[int] = (64, 32)
    hidden: int = 256
    activation: Callable = nn.relu
    dtype: Any = jnp.float32

    reads_classes = True

    @nn.compact
    def __call__(self, z, condition=None):
        channels = (*self.widths, self.num_channels)
        return unfold(z, condition, self.size, channels, self.hidden, self.activation, self.dtype)


def build(shape, latent_dim, num_outputs, widths, activation, dtype):
    """The modules for images of shape [H, W, C] of any size."""
    options = {"activation": activation, "dtype": dtype}
    check("conv", shape, widths)
    encoder = ConvEncoder(latent_dim, widths, **options)
    return encoder, ConvDecoder(shape[:2], shape[2] * num_outputs, widths[::-1], **options)


NETWORKS = {
    "conv": Network(
        ConvEncoder, ConvDecoder, build, WIDTHS, "relu", widths_by_shape=widths_by_shape
    )
}
