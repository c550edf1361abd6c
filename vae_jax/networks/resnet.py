"""Residual bottleneck blocks on maps that are halved, and doubled again: `resnet`."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from vae_jax import residual
from vae_jax.convolution import Conv
from vae_jax.errors import UsageError
from vae_jax.networks._shared import Network, by_latent, flat, given

__all__ = ["NETWORKS", "ResNetDecoder", "ResNetEncoder", "build"]

_BLOCK = 2
"""A bottleneck has so many times fewer channels than the map, a count."""


class ResNetEncoder(nn.Module):
    """Residual blocks on x [B, H, W, C] and its halves, down to 1×1: to mean, logvar [B, L].

    If a hierarchy has groups on maps, each group reads the map of its size. The code lists D
    numbers for each place: L = D · places, all places of the first number, then of the second.

    `widths` are the channels of the maps, from the largest; the last one is of all further maps.

    Reference: Child 2021, arXiv 2011.10650, section 3 and figure 3.
    """

    latent_dim: int
    widths: Sequence[int] = (32,)
    dtype: Any = jnp.float32
    num_parts: int = 2
    maps: Sequence[int] = (1,)

    reads_classes = True

    @nn.compact
    def __call__(self, x, condition=None):
        smallest = min(self.maps)
        sizes = residual.sizes(x.shape[1:3], (smallest, smallest))
        options, found = {"dtype": self.dtype}, {}
        h = x
        for index, width in enumerate(_widths(self.widths, len(sizes))):
            h = residual.halve(h) if index else h
            if h.shape[-1] != width:
                h = Conv(width, (3, 3), name=f"conv_{index}", **options)(h)
            h = given(h, condition) if index == 0 else h
            block = residual.Bottleneck(_inner(width), width, name=f"block_{index}", **options)
            found[sizes[index]] = h = h + block(h)
        return self._parts(found)

    def _parts(self, found: dict[tuple[int, int], jax.Array]) -> tuple[jax.Array, ...]:
        """The parts [B, L] of the posterior from the maps, by their size."""
        channels = self.latent_dim // sum(size * size for size in self.maps)
        init = by_latent(axis=1, num_parts=self.num_parts)
        listed = []
        for index, size in enumerate(self.maps):
            name, num = f"posterior_{index}", self.num_parts * channels
            layer = nn.Dense(num, dtype=self.dtype, kernel_init=init, name=name)
            h = layer(nn.gelu(found[size, size]))
            h = h.reshape(len(h), size * size, self.num_parts, channels)
            listed.append(jnp.moveaxis(h, 1, -1))  # [B, parts, D, places]
        parts = jnp.concatenate(listed, axis=-1)
        return tuple(flat(parts[:, part]) for part in range(self.num_parts))


class ResNetDecoder(nn.Module):
    """The mirror of `ResNetEncoder`: z [B, L], or a map as [B, F], to [B, H, W, num_channels].

    `size` is (H, W) of the image. The layer that reads z is named `latent`.
    """

    size: tuple[int, int]
    num_channels: int
    widths: Sequence[int] = (32,)
    dtype: Any = jnp.float32
    maps: Sequence[int] = (1,)

    reads_classes = True

    @nn.compact
    def __call__(self, z, condition=None):
        largest = max(self.maps)
        sizes = residual.sizes(self.size, (largest, largest))
        options = {"dtype": self.dtype}
        h, widths = z.reshape(len(z), largest, largest, -1), _widths(self.widths, len(sizes))
        h = nn.Dense(widths[-1], kernel_init=by_latent(axis=0), name="latent", **options)(h)
        h = given(h, condition)
        for index, width in reversed([*enumerate(widths)]):
            h = residual.double(h, sizes[index]) if index < len(sizes) - 1 else h
            if h.shape[-1] != width:
                h = nn.Dense(width, name=f"dense_{index}", **options)(h)
            block = residual.Bottleneck(_inner(width), width, name=f"block_{index}", **options)
            h = h + block(h)
        return nn.Dense(self.num_channels, name="output", **options)(nn.gelu(h))


def _widths(widths: Sequence[int], num: int) -> list[int]:
    """The channels of so many maps, a count, from the largest; the last one given goes on."""
    return [widths[min(index, len(widths) - 1)] for index in range(num)]


def _inner(width: int) -> int:
    """Channels inside a bottleneck of a map with so many, a count."""
    return max(1, width // _BLOCK)


def build(shape, latent_dim, num_outputs, widths, activation, dtype):
    """The modules for images of shape [H, W, C] of any size."""
    if activation:
        raise UsageError("network 'resnet' has GELU between its layers: leave `activation`")
    if len(shape) != 3:
        raise UsageError(
            f"network 'resnet' needs images [H, W, C], the data has {[*shape]}: take mlp, or gru "
            "for sequences"
        )
    if not widths:
        raise UsageError("network 'resnet' needs at least one channel width, e.g. widths=32")
    encoder = ResNetEncoder(latent_dim, widths, dtype)
    return encoder, ResNetDecoder(shape[:2], shape[2] * num_outputs, widths, dtype)


NETWORKS = {"resnet": Network(ResNetEncoder, ResNetDecoder, build, (32,), has_maps=True)}
