"""Convolutions that halve an image, and transposed convolutions that double a map.

Images may have any size. Each layer of an encoder maps H rows to ⌈H/2⌉ and pads zeros below the
last row if H is odd. Its mirror in the decoder doubles the rows and crops the extra one, so every
layer of the decoder has the size of its mirror. Columns likewise.
"""

from collections.abc import Sequence

from flax import linen as nn

from vae_jax.convolution import Conv, ConvTranspose
from vae_jax.errors import UsageError
from vae_jax.networks._shared import by_latent, given

__all__ = ["WIDTHS", "check", "double", "halve", "halved", "unfold", "widths_by_shape"]

WIDTHS = (32, 64)
"""The default channels of small images, counts."""
_FURTHER = 128
"""The default channels of each layer after those, a count."""
_LARGEST_MAP = 8
"""The most rows and columns of the map that the default layers leave of larger images, a count."""


def halve(x, widths, activation, dtype, condition=None):
    """4×4 convolutions of stride 2; the last one takes c: x [B, H, W, C] to [B, h, w, F]."""
    h = x
    for i, width in enumerate(widths):
        h = Conv(width, (4, 4), strides=(2, 2), dtype=dtype, name=f"conv_{i}")(h)
        h = activation(given(h, condition) if i == len(widths) - 1 else h)
    return h


def double(h, size, channels, activation, dtype, last="output"):
    """Transposed 4×4 convolutions of stride 2, cropped to [B, H, W, C]; the last is linear.

    The map h [B, h, w, F] has the size `halved(size, len(channels))`.
    """
    for i, channel in enumerate(channels):
        num_left = len(channels) - 1 - i
        height, width = halved(size, num_left)
        name = f"conv_{i}" if num_left else last
        h = ConvTranspose(channel, (4, 4), strides=(2, 2), dtype=dtype, name=name)(h)
        h = h[:, :height, :width]
        h = activation(h) if num_left else h
    return h


def unfold(z, condition, size, channels, hidden, activation, dtype, last="output"):
    """Dense layers, then `double`: z [B, L] to [B, H, W, channels[-1]].

    The layer that reads z is named `latent`. It takes the condition.
    """
    height, width = halved(size, len(channels) - 1)
    h = nn.Dense(hidden, dtype=dtype, kernel_init=by_latent(axis=0), name="latent")(z)
    h = activation(given(h, condition))
    h = activation(nn.Dense(height * width * channels[0], dtype=dtype, name="hidden")(h))
    h = h.reshape(-1, height, width, channels[0])
    return double(h, size, channels[1:], activation, dtype, last)


def halved(size: tuple[int, int], num_layers: int) -> tuple[int, int]:
    """Rows and columns after `num_layers` convolutions of stride 2: [⌈H/2ⁿ⌉, ⌈W/2ⁿ⌉]."""
    return tuple(-(-length // 2**num_layers) for length in size)


def widths_by_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The default channels for images of shape [H, W, C]: 32, 64, 128, 128, …, counts.

    There are as many layers as halve the longer side to at most 8, at least two, so the dense layer
    after them does not grow with the image: 28×28 has (32, 64), 256×256 has (32, 64, 128, 128,
    128). Burgess et al. 2018, arXiv 1804.03599, appendix A, likewise halve 64×64 to 4×4.
    """
    num_layers = len(WIDTHS)
    while max(halved(shape[:2], num_layers)) > _LARGEST_MAP:
        num_layers += 1
    return WIDTHS + (_FURTHER,) * (num_layers - len(WIDTHS))


def check(name: str, shape: tuple[int, ...], widths: Sequence[int]) -> None:
    """Raises UsageError unless examples are images, [H, W, C], and there is at least one layer."""
    if len(shape) != 3:
        raise UsageError(
            f"network '{name}' needs images [H, W, C], the data has {[*shape]}: take mlp, or gru "
            "for sequences"
        )
    if not widths:
        raise UsageError(f"network '{name}' needs at least one channel width, e.g. widths=32,64")
