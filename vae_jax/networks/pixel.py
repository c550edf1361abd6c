"""Convolutions, and a decoder that says an image pixel by pixel (gated PixelCNN): `pixel`."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from vae_jax.convolution import convolve
from vae_jax.networks._halving import WIDTHS, check, unfold, widths_by_shape
from vae_jax.networks._shared import Network, Weights, forget
from vae_jax.networks.conv import ConvEncoder

__all__ = ["NETWORKS", "PixelDecoder", "build"]


class PixelDecoder(nn.Module):
    """Decodes z [B, L] to outputs [B, H, W, C·num_outputs], each pixel given those before it.

    p(x|z) = Π_ij p(x_ij | rows above i, pixels left of j in row i, z), a gated PixelCNN with two
    stacks of layers of F features. The vertical stack reads the rows above a pixel, all columns
    alike, so nothing above is out of sight; the horizontal stack reads the pixels left of it and
    what the vertical stack says. Transposed convolutions as in `ConvDecoder` unfold z to a map
    [H, W, F], which adds to the gates of every layer.

    The channels of a pixel are independent given the pixels before it and z, unless the likelihood
    lets one channel depend on another, as `LogisticMixture` does.

    `x`, `feed` and `key` are those of `RecurrentDecoder`, with pixels as the steps. A pixel that is
    dropped, or outside the image, differs from a black one: each pixel is read with a number that
    says that it is there. Feeding back takes one pass in total: what is known of earlier pixels is
    kept.

    Attributes:
        shape: H, W, C of an image.
        widths: channels of the transposed convolutions; the last is F.
        hidden: units of the layer between z, which the layer `latent` reads, and the map.
        num_outputs: outputs per number of x.
        num_layers: layers of each stack; each but the first reads the neighbors only.
        reach: how far the first layer reads, in pixels.
        teacher_dropout: the share of pixels that are not read when a key is given; at 1 none ever
            is, and the pixels are independent given z.

    Reference:
        van den Oord et al. 2016, arXiv 1606.05328, sections 2.2 to 2.4; Gulrajani et al. 2016,
        arXiv 1611.05013 (given z).
    """

    shape: tuple[int, ...]
    widths: Sequence[int] = (64, 32)
    hidden: int = 256
    num_outputs: int = 1
    num_layers: int = 5
    reach: int = 3
    teacher_dropout: float = 0.0
    activation: Callable = nn.relu
    dtype: Any = jnp.float32

    num_step_axes = 2
    reads_classes = True

    @property
    def reads_x(self) -> bool:
        """Whether the outputs depend on x (a scalar)."""
        return self.teacher_dropout < 1

    @nn.compact
    def __call__(self, z, condition=None, *, x=None, feed=None, key=None):
        height, width, num_channels = self.shape
        size = self.widths[-1]
        channels = (*self.widths, size)
        options = self.hidden, self.activation, self.dtype
        read = unfold(z, condition, (height, width), channels, *options, last="map")
        read = self.activation(read)
        codes = [
            nn.Dense(4 * size, use_bias=False, dtype=self.dtype, name=f"code_{i}")(read)
            for i in range(self.num_layers)
        ]
        layers = [self._layer(i, num_channels + 1) for i in range(self.num_layers)]
        head = (
            self._weights("head", (size, size)),
            self._weights("output", (size, num_channels * self.num_outputs)),
        )
        if feed is not None:
            return _say(layers, codes, head, num_channels, feed)
        told = jnp.zeros((len(read), height, width, num_channels + 1), self.dtype)
        if x is not None and self.reads_x:
            told = forget(_told(x.astype(self.dtype)), self.teacher_dropout, key)
        above = jnp.pad(told[:, :-1], ((0, 0), (1, 0), (0, 0), (0, 0)))
        left = jnp.pad(told[:, :, :-1], ((0, 0), (0, 0), (1, 0), (0, 0)))
        from_above, _ = _rows(layers, codes, above, _nothing(layers, "vertical", told))
        h, _ = _columns(layers, from_above, left, _nothing(layers, "horizontal", told))
        return _outputs(head, h)

    def _layer(self, i: int, num_read: int) -> "_Layer":
        """The weights of layer i; the first reads pixels of `num_read` numbers."""
        size = self.widths[-1]
        num_read, reach = (size, 2) if i else (num_read, self.reach)
        num_columns = 3 if i else 2 * self.reach + 1
        return _Layer(
            self._weights(f"vertical_{i}", (reach, num_columns, num_read, 2 * size)),
            self._weights(f"horizontal_{i}", (1, reach, num_read, 2 * size)),
            Weights((2 * size, 2 * size), dtype=self.dtype, name=f"across_{i}")(),
            self._weights(f"back_{i}", (size, size)),
        )

    def _weights(self, name: str, shape: tuple[int, ...]):
        return Weights(shape, shape[-1], dtype=self.dtype, name=name)()


class _Layer(NamedTuple):
    """The weights of a layer of both stacks: (kernel, bias) each, or (kernel,).

    Attributes:
        vertical: [rows, columns, G, 2F]; the last row is that of the pixel's own values.
        horizontal: [1, columns, G, 2F]; likewise the last column.
        across: from the vertical stack to the gates of the horizontal one, [2F, 2F], no bias.
        back: from the gated features of the horizontal stack to its residual, [F, F].
    """

    vertical: tuple[jax.Array, jax.Array]
    horizontal: tuple[jax.Array, jax.Array]
    across: tuple[jax.Array]
    back: tuple[jax.Array, jax.Array]


def _rows(layers, codes, values, past):
    """The vertical stack over R rows, of a whole image or of the next one.

    Args:
        layers: `_Layer` each.
        codes: what z adds to the gates of each layer, [B, R, W, 4F].
        values: what is read, the row above each row, [B, R, W, C + 1].
        past: for each layer the rows that it read before these, [B, rows − 1, W, ·].

    Returns:
        (for each layer what it adds to the gates of the horizontal stack [B, R, W, 2F], `past` of
        the row after these).
    """
    from_above, kept = [], []
    for layer, code, before in zip(layers, codes, past, strict=True):
        seen = jnp.concatenate([before, values], axis=1)
        kept.append(seen[:, values.shape[1] :])
        side = layer.vertical[0].shape[1] // 2
        seen = jnp.pad(seen, ((0, 0), (0, 0), (side, side), (0, 0)))
        of_rows, of_columns = jnp.split(code, 2, axis=-1)
        features = _convolved(seen, layer.vertical) + of_rows
        from_above.append(features @ layer.across[0] + of_columns)
        values = _gated(features)
    return from_above, kept


def _columns(layers, from_above, values, past):
    """The horizontal stack over N columns, of whole rows or of the next pixel.

    Args:
        layers: `_Layer` each.
        from_above: from `_rows`, [B, R, N, 2F].
        values: what is read, the pixel left of each, [B, R, N, C + 1].
        past: for each layer the columns that it read before these, [B, R, columns − 1, ·].

    Returns:
        (features [B, R, N, F], `past` of the column after these).
    """
    kept = []
    for i, (layer, above, before) in enumerate(zip(layers, from_above, past, strict=True)):
        seen = jnp.concatenate([before, values], axis=2)
        kept.append(seen[:, :, values.shape[2] :])
        gated = _gated(_convolved(seen, layer.horizontal) + above)
        added = _product(gated, layer.back)
        values = values + added if i else added
    return values, kept


def _say(layers, codes, head, num_channels: int, feed):
    """Runs both stacks on what `feed` makes of the outputs, pixel by pixel.

    Args:
        layers, codes: as in `_rows`, of whole images.
        head: weights of the last two layers.
        num_channels: C.
        feed: (number of the pixel, outputs [B, C·num_outputs]) to the pixel, and what others read
            in its place, [B, C] each.

    Returns:
        (outputs [B, H, W, C·num_outputs], images [B, H, W, C]).
    """
    num, height, width, _ = codes[0].shape
    nothing = jnp.zeros((num, 1, 1, num_channels + 1), codes[0].dtype)
    row_of_nothing = jnp.tile(nothing, (1, 1, width, 1))

    def pixel(carry, inputs):
        (left, past), (t, from_above) = carry, inputs
        from_above = [each[:, None, None] for each in from_above]
        h, past = _columns(layers, from_above, left, past)
        outputs = _outputs(head, h)[:, 0, 0]
        said, seen = feed(t, outputs)
        told = _told(seen.astype(left.dtype)[:, None, None])
        return (told, past), (outputs, said, seen)

    def row(carry, inputs):
        (above, past), (i, of_row) = carry, inputs
        from_above, past = _rows(layers, [each[:, None] for each in of_row], above, past)
        columns = i * width + jnp.arange(width), [each[:, 0].swapaxes(0, 1) for each in from_above]
        start = nothing, _nothing(layers, "horizontal", nothing)
        _, (outputs, said, seen) = jax.lax.scan(pixel, start, columns)
        above = _told(seen.astype(above.dtype).swapaxes(0, 1)[:, None])
        return (above, past), (outputs, said)

    rows = jnp.arange(height), [code.swapaxes(0, 1) for code in codes]
    start = row_of_nothing, _nothing(layers, "vertical", row_of_nothing)
    _, of_pixels = jax.lax.scan(row, start, rows)
    # [H, W, B, …] to [B, H, W, …]
    return tuple(jnp.moveaxis(each, 2, 0) for each in of_pixels)


def _nothing(layers, stack: str, values) -> list[jax.Array]:
    """`past` at the first row or column of values [B, R, N, ·]: zeros."""
    axis = ("vertical", "horizontal").index(stack)
    found = []
    for layer in layers:
        kernel, _ = getattr(layer, stack)
        shape = [*values.shape[:3], kernel.shape[2]]
        shape[1 + axis] = kernel.shape[axis] - 1
        found.append(jnp.zeros(shape, values.dtype))
    return found


def _told(x):
    """What is read of pixels [..., C]: their numbers, and that they are there, [..., C + 1]."""
    return jnp.concatenate([x, jnp.ones_like(x[..., :1])], axis=-1)


def _outputs(head, h):
    """The last two layers, [B, R, N, F] to [B, R, N, C·num_outputs]."""
    for weights in head:
        h = _product(nn.relu(h), weights)
    return h


def _gated(features):
    """tanh(a)·σ(b) of features [..., 2F], (a, b)."""
    a, b = jnp.split(features, 2, axis=-1)
    return jnp.tanh(a) * jax.nn.sigmoid(b)


def _convolved(image, weights):
    kernel, bias = weights
    return convolve(image, kernel, strides=(1, 1), padding="VALID") + bias[None, None, None]


def _product(values, weights):
    kernel, bias = weights
    return values @ kernel + bias[None, None, None]


def build(shape, latent_dim, num_outputs, widths, activation, dtype):
    """The modules for images of shape [H, W, C] of any size."""
    options = {"activation": activation, "dtype": dtype}
    check("pixel", shape, widths)
    encoder = ConvEncoder(latent_dim, widths, **options)
    return encoder, PixelDecoder(shape, widths[::-1], num_outputs=num_outputs, **options)


NETWORKS = {
    "pixel": Network(
        ConvEncoder, PixelDecoder, build, WIDTHS, "relu", widths_by_shape=widths_by_shape
    )
}
