"""Bottleneck blocks on maps, and how maps are halved and doubled.

A map of h×w places is halved to ⌈h/2⌉×⌈w/2⌉ by the mean of four places, an odd border repeated; it
is doubled by repeating places, cropped to the size that it had before.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from vae_jax.convolution import Conv

__all__ = ["Bottleneck", "double", "halve", "sizes"]


class Bottleneck(nn.Module):
    """1×1, 3×3, 3×3 and 1×1 convolutions, GELU before each: [B, H, W, C] to [B, H, W, features].

    Maps of at most 2×2 places have 1×1 convolutions instead of 3×3.

    Attributes:
        width: channels between the first and the last convolution, a count.
        features: channels of the output, a count; 0 returns the GELU of the channels between.
        scale: factor of the initial kernel of the last convolution, a scalar.
        dtype: dtype of the computation.

    Reference:
        Child 2021, Very Deep VAEs Generalize Autoregressive Models and Can Outperform Them on
        Images, arXiv 2011.10650, figure 3.
    """

    width: int
    features: int = 0
    scale: float = 1.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x, added=None):
        """Runs the block; `added` [B, H, W, width] is added after the first convolution."""
        size = (3, 3) if max(x.shape[1:3]) > 2 else (1, 1)
        h = nn.Dense(self.width, dtype=self.dtype, name="first")(nn.gelu(x))
        h = h if added is None else h + added
        for name in ("second", "third"):
            h = _same(self.width, size, self.dtype, name)(nn.gelu(h))
        h = nn.gelu(h)
        if not self.features:
            return h
        lecun = nn.initializers.variance_scaling(self.scale**2, "fan_in", "truncated_normal")
        return nn.Dense(self.features, dtype=self.dtype, kernel_init=lecun, name="last")(h)


def _same(width: int, size: tuple[int, int], dtype: Any, name: str) -> nn.Module:
    """A convolution that keeps the size of a map; one of 1×1 is a dense layer of each place."""
    if size == (1, 1):
        return nn.Dense(width, dtype=dtype, name=name)
    return Conv(width, size, dtype=dtype, name=name)


def halve(x: jax.Array) -> jax.Array:
    """Means of 2×2 places: [B, H, W, C] to [B, ⌈H/2⌉, ⌈W/2⌉, C]."""
    num, height, width, channels = x.shape
    pads = [(0, 0), (0, height % 2), (0, width % 2), (0, 0)]
    x = jnp.pad(x, pads, mode="edge")
    return x.reshape(num, x.shape[1] // 2, 2, x.shape[2] // 2, 2, channels).mean(axis=(2, 4))


def double(x: jax.Array, size: Sequence[int]) -> jax.Array:
    """Repeats each place of [B, h, w, C] to 2×2, cropped to `size`: [B, *size, C]."""
    x = jnp.repeat(jnp.repeat(x, 2, axis=1), 2, axis=2)
    return x[:, : size[0], : size[1]]


def sizes(size: Sequence[int], last: Sequence[int]) -> list[tuple[int, int]] | None:
    """The sizes [H, W] of a map that is halved from `size` to `last`; None if it is not."""
    found = [(size[0], size[1])]
    while found[-1] != tuple(last):
        if found[-1] == (1, 1):
            return None
        found.append((-(-found[-1][0] // 2), -(-found[-1][1] // 2)))
    return found
