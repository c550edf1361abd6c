"""Convolutions that halve an image; the code is the map that remains: `conv_map`."""

from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
from flax import linen as nn

from vae_jax.errors import UsageError
from vae_jax.networks._halving import check, double, halve, halved
from vae_jax.networks._shared import Network, flat, given

__all__ = ["NETWORKS", "ConvMapDecoder", "ConvMapEncoder", "build"]


class ConvMapEncoder(nn.Module):
    """4×4 convolutions of stride 2, then features of each place: x [B, H, W, C] to parts [B, L].

    L = h·w·D lists the places of the map [h, w] after the convolutions, D numbers each, so a
    quantized code of D numbers stands for one place. Reference: van den Oord et al. 2017, arXiv
    1711.00937, section
    4.1 (without its residual blocks).
    """

    latent_dim: int
    widths: Sequence[int] = (32, 64)
    activation: Callable = nn.relu
    dtype: Any = jnp.float32
    num_parts: int = 2

    reads_classes = True

    @nn.compact
    def __call__(self, x, condition=None):
        h = halve(x, self.widths, self.activation, self.dtype, condition)
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

    reads_classes = True

    @property
    def map_size(self) -> tuple[int, int]:
        """Rows and columns of the map that the code lists, (h, w)."""
        return halved(self.size, len(self.widths))

    @nn.compact
    def __call__(self, z, condition=None):
        h = z.reshape(z.shape[0], *self.map_size, -1)
        h = nn.Dense(self.widths[0], dtype=self.dtype, name="hidden")(h)
        h = self.activation(given(h, condition))
        channels = (*self.widths[1:], self.num_channels)
        return double(h, self.size, channels, self.activation, self.dtype)


def build(shape, latent_dim, num_outputs, widths, activation, dtype):
    """The modules for images of shape [H, W, C] of any size."""
    options = {"activation": activation, "dtype": dtype}
    check("conv_map", shape, widths)
    decoder = ConvMapDecoder(shape[:2], shape[2] * num_outputs, widths[::-1], **options)
    height, width = decoder.map_size
    num_places = height * width
    if latent_dim % num_places:
        near = max(1, round(latent_dim / num_places)) * num_places
        raise UsageError(
            f"latent_dim={latent_dim}: network 'conv_map' needs a multiple of the "
            f"{height}×{width} places of its map: give latent_dim={near} (of quantized codes "
            f"{num_places} × `code_dim`), or more `widths`, each of which halves the map"
        )
    return ConvMapEncoder(latent_dim, widths, **options), decoder


NETWORKS = {
    "conv_map": Network(
        ConvMapEncoder, ConvMapDecoder, build, (32, 64), "relu", has_fixed_codes=True
    )
}
