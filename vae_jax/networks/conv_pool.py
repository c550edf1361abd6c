"""Convolutions with max pooling, and up-sampling with convolutions: `conv_pool`."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from vae_jax.convolution import Conv
from vae_jax.networks._halving import check, halved
from vae_jax.networks._shared import Network, PosteriorHead, by_latent, flat, given

__all__ = ["NETWORKS", "ConvPoolDecoder", "ConvPoolEncoder", "build", "pool", "upsample"]


def pool(h: jax.Array) -> jax.Array:
    """The largest of each 2×2 pixels: [B, H, W, C] to [B, ⌈H/2⌉, ⌈W/2⌉, C]."""
    num, height, width, channels = h.shape
    rows, columns = halved((height, width), 1)
    # a block at the border has fewer pixels
    missing = ((0, 0), (0, 2 * rows - height), (0, 2 * columns - width), (0, 0))
    h = jnp.pad(h, missing, constant_values=-jnp.inf)
    return h.reshape(num, rows, 2, columns, 2, channels).max(axis=(2, 4))


def upsample(h: jax.Array, size: tuple[int, int]) -> jax.Array:
    """Repeats each pixel 2×2 times, cropped to the size: [B, h, w, C] to [B, *size, C]."""
    num, height, width, channels = h.shape
    blocks = (num, height, 2, width, 2, channels)
    h = jnp.broadcast_to(h[:, :, None, :, None, :], blocks)
    return h.reshape(num, 2 * height, 2 * width, channels)[:, : size[0], : size[1]]


class ConvPoolEncoder(nn.Module):
    """3×3 convolutions, each before 2×2 max pooling: x [B, H, W, C] to mean, logvar [B, L].

    Each of `widths` halves H and W, rounded up. A dense layer reads the last map.

    Reference:
        Masci et al. 2011, Stacked Convolutional Auto-Encoders, ICANN, sections 2.2 and 3.
    """

    latent_dim: int
    widths: Sequence[int] = (32, 64, 128)
    activation: Callable = nn.relu
    dtype: Any = jnp.float32
    num_parts: int = 2

    reads_classes = True

    @nn.compact
    def __call__(self, x, condition=None):
        h = x
        for i, width in enumerate(self.widths):
            h = Conv(width, (3, 3), dtype=self.dtype, name=f"conv_{i}")(h)
            h = pool(self.activation(given(h, condition) if i == 0 else h))
        return PosteriorHead(self.latent_dim, self.dtype, self.num_parts, name="head")(flat(h))


class ConvPoolDecoder(nn.Module):
    """3×3 convolutions, each before 2×2 up-sampling: z [B, L] to [B, H, W, num_channels].

    `size` is (H, W) of the image. A dense layer, named `latent`, makes the first map of z.
    """

    size: tuple[int, int]
    num_channels: int
    widths: Sequence[int] = (128, 64, 32)
    activation: Callable = nn.relu
    dtype: Any = jnp.float32

    reads_classes = True

    @nn.compact
    def __call__(self, z, condition=None):
        num_left = len(self.widths)
        height, width = halved(self.size, num_left)
        options = {"dtype": self.dtype, "kernel_init": by_latent(axis=0), "name": "latent"}
        h = nn.Dense(height * width * self.widths[0], **options)(z)
        h = self.activation(given(h, condition)).reshape(-1, height, width, self.widths[0])
        for i, width in enumerate(self.widths):
            h = self.activation(Conv(width, (3, 3), dtype=self.dtype, name=f"conv_{i}")(h))
            h = upsample(h, halved(self.size, num_left - 1 - i))
        return Conv(self.num_channels, (3, 3), dtype=self.dtype, name="output")(h)


def build(shape, latent_dim, num_outputs, widths, activation, dtype):
    """The modules for images of shape [H, W, C] of any size."""
    options = {"activation": activation, "dtype": dtype}
    check("conv_pool", shape, widths)
    encoder = ConvPoolEncoder(latent_dim, widths, **options)
    return encoder, ConvPoolDecoder(shape[:2], shape[2] * num_outputs, widths[::-1], **options)


NETWORKS = {"conv_pool": Network(ConvPoolEncoder, ConvPoolDecoder, build, (32, 64, 128), "relu")}
