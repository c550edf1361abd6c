"""Convolutions that halve an image, and the transposed ones that double a map.

Images of any size: each layer of an encoder leaves ⌈H/2⌉ of H rows, reading zeros below the last
row where H is odd; its mirror in the decoder doubles them and crops the row that is too many, so
that every layer of the decoder has the size of its mirror. Columns likewise.
"""

from collections.abc import Sequence

from vae_jax.convolution import Conv, ConvTranspose
from vae_jax.errors import UsageError
from vae_jax.networks._shared import given

__all__ = ["check", "double", "halve", "halved"]


def halve(x, widths, activation, dtype, condition=None):
    """4×4 convolutions of stride 2, the last one given c: x [B, H, W, C] to [B, h, w, F]."""
    h = x
    for i, width in enumerate(widths):
        h = Conv(width, (4, 4), strides=(2, 2), dtype=dtype, name=f"conv_{i}")(h)
        h = activation(given(h, condition) if i == len(widths) - 1 else h)
    return h


def double(h, size, channels, activation, dtype):
    """Transposed 4×4 convolutions of stride 2, cropped to [B, H, W, C]; `output` is not activated.

    The map h [B, h, w, F] is that of `halved(size, len(channels))`.
    """
    for i, channel in enumerate(channels):
        num_left = len(channels) - 1 - i
        height, width = halved(size, num_left)
        name = f"conv_{i}" if num_left else "output"
        h = ConvTranspose(channel, (4, 4), strides=(2, 2), dtype=dtype, name=name)(h)
        h = h[:, :height, :width]
        h = activation(h) if num_left else h
    return h


def halved(size: tuple[int, int], num_layers: int) -> tuple[int, int]:
    """Rows and columns that so many convolutions of stride 2 leave: [⌈H/2ⁿ⌉, ⌈W/2ⁿ⌉]."""
    return tuple(-(-length // 2**num_layers) for length in size)


def check(name: str, shape: tuple[int, ...], widths: Sequence[int]) -> None:
    """UsageError unless the examples are images, of shape [H, W, C], and there is a layer."""
    if len(shape) != 3:
        raise UsageError(
            f"network '{name}' needs images [H, W, C], the data has {[*shape]}: take mlp, or gru "
            "for sequences"
        )
    if not widths:
        raise UsageError(f"network '{name}' needs at least one channel width, e.g. widths=32,64")
