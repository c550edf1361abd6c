"""Convolutions that halve an image: `conv`, and `conv_map`, whose codes are places of a map.

Images of any size: each layer of an encoder leaves ⌈H/2⌉ of H rows, reading zeros below the last
row where H is odd; its mirror in the decoder doubles them and crops the row that is too many, so
that every layer of the decoder has the size of its mirror. Columns likewise.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
from flax import linen as nn

from vae_jax.convolution import Conv, ConvTranspose
from vae_jax.errors import UsageError
from vae_jax.networks._shared import PosteriorHead, by_latent, flat, given

__all__ = ["ConvDecoder", "ConvEncoder", "ConvMapDecoder", "ConvMapEncoder", "conv", "conv_map"]


def _halve(x, widths, activation, dtype, condition=None):
    """4×4 convolutions of stride 2, the last one given c: x [B, H, W, C] to [B, h, w, F]."""
    h = x
    for i, width in enumerate(widths):
        h = Conv(width, (4, 4), strides=(2, 2), dtype=dtype, name=f"conv_{i}")(h)
        h = activation(given(h, condition) if i == len(widths) - 1 else h)
    return h


def _double(h, size, channels, activation, dtype):
    """Transposed 4×4 convolutions of stride 2, cropped to [B, H, W, C]; `output` is not activated.

    The map h [B, h, w, F] is that of `_halved(size, len(channels))`.
    """
    for i, channel in enumerate(channels):
        num_left = len(channels) - 1 - i
        height, width = _halved(size, num_left)
        name = f"conv_{i}" if num_left else "output"
        h = ConvTranspose(channel, (4, 4), strides=(2, 2), dtype=dtype, name=name)(h)
        h = h[:, :height, :width]
        h = activation(h) if num_left else h
    return h


def _halved(size: tuple[int, int], num_layers: int) -> tuple[int, int]:
    """Rows and columns that so many convolutions of stride 2 leave: ⌈H/2ⁿ⌉, ⌈W/2ⁿ⌉."""
    return tuple(-(-length // 2**num_layers) for length in size)


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

    @nn.compact
    def __call__(self, x, condition=None):
        h = _halve(x, self.widths, self.activation, self.dtype)
        h = nn.Dense(self.hidden, dtype=self.dtype, name="hidden")(flat(h))
        h = self.activation(given(h, condition))
        return PosteriorHead(self.latent_dim, self.dtype, self.num_parts, name="head")(h)


class ConvDecoder(nn.Module):
    """The mirror of `ConvEncoder`: z [B, L] to [B, H, W, num_channels].

    `size` is (H, W) of the picture. The layer that reads z is named `latent`.
    """

    size: tuple[int, int]
    num_channels: int
    widths: Sequence[int] = (64, 32)
    hidden: int = 256
    activation: Callable = nn.relu
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, z, condition=None):
        height, width = _halved(self.size, len(self.widths))
        init = by_latent(axis=0)
        h = nn.Dense(self.hidden, dtype=self.dtype, kernel_init=init, name="latent")(z)
        h = self.activation(given(h, condition))
        start = nn.Dense(height * width * self.widths[0], dtype=self.dtype, name="hidden")
        h = self.activation(start(h)).reshape(-1, height, width, self.widths[0])
        channels = (*self.widths[1:], self.num_channels)
        return _double(h, self.size, channels, self.activation, self.dtype)


class ConvMapEncoder(nn.Module):
    """4×4 convolutions of stride 2, then features of each place: x [B, H, W, C] to parts [B, L].

    L = h·w·D lists the places of the map [h, w] that the convolutions leave, D numbers each: a code
    of D numbers is one of a place. Reference: van den Oord et al. 2017, arXiv 1711.00937, section
    4.1 (without its residual blocks).
    """

    latent_dim: int
    widths: Sequence[int] = (32, 64)
    activation: Callable = nn.relu
    dtype: Any = jnp.float32
    num_parts: int = 2

    @nn.compact
    def __call__(self, x, condition=None):
        h = _halve(x, self.widths, self.activation, self.dtype, condition)
        size = self.latent_dim // (h.shape[1] * h.shape[2])
        h = nn.Dense(self.num_parts * size, dtype=self.dtype, name="posterior")(h)
        parts = (h[..., i * size : (i + 1) * size] for i in range(self.num_parts))
        return tuple(map(flat, parts))


class ConvMapDecoder(nn.Module):
    """The mirror of `ConvMapEncoder`: z [B, L] to [B, H, W, num_channels], `size` is (H, W)."""

    size: tuple[int, int]
    num_channels: int
    widths: Sequence[int] = (64, 32)
    activation: Callable = nn.relu
    dtype: Any = jnp.float32

    @property
    def map_size(self) -> tuple[int, int]:
        """Rows and columns of the map whose places the code lists, (h, w)."""
        return _halved(self.size, len(self.widths))

    @nn.compact
    def __call__(self, z, condition=None):
        h = z.reshape(z.shape[0], *self.map_size, -1)
        h = nn.Dense(self.widths[0], dtype=self.dtype, name="hidden")(h)
        h = self.activation(given(h, condition))
        channels = (*self.widths[1:], self.num_channels)
        return _double(h, self.size, channels, self.activation, self.dtype)


def _check(name: str, shape: tuple[int, ...], widths: Sequence[int]) -> None:
    """UsageError unless the examples are images and there is a layer."""
    if len(shape) != 3:
        raise UsageError(
            f"network '{name}' needs images [H, W, C], the data has {[*shape]}: take mlp, or gru "
            "for sequences"
        )
    if not widths:
        raise UsageError(f"network '{name}' needs at least one channel width, e.g. --widths=32,64")


def conv(shape, latent_dim, num_outputs, widths, activation, dtype):
    """The builder of `conv`, for images of shape [H, W, C] of any size."""
    widths = (32, 64) if widths is None else widths
    options = {"activation": activation or nn.relu, "dtype": dtype}
    _check("conv", shape, widths)
    encoder = ConvEncoder(latent_dim, widths, **options)
    return encoder, ConvDecoder(shape[:2], shape[2] * num_outputs, widths[::-1], **options)


def conv_map(shape, latent_dim, num_outputs, widths, activation, dtype):
    """The builder of `conv_map`, for images of shape [H, W, C] of any size."""
    widths = (32, 64) if widths is None else widths
    options = {"activation": activation or nn.relu, "dtype": dtype}
    _check("conv_map", shape, widths)
    decoder = ConvMapDecoder(shape[:2], shape[2] * num_outputs, widths[::-1], **options)
    height, width = decoder.map_size
    num_places = height * width
    if latent_dim % num_places:
        near = max(1, round(latent_dim / num_places)) * num_places
        raise UsageError(
            f"--latent_dim={latent_dim}: network 'conv_map' needs a multiple of the "
            f"{height}×{width} places of its map: give --latent_dim={near} (of quantized codes "
            f"{num_places} × --code_dim), or more --widths, each of which halves the map"
        )
    return ConvMapEncoder(latent_dim, widths, **options), decoder
