"""Encoders and decoders as Linen modules, by name: `mlp`, `conv`, `conv_map`, `linear`.

An encoder maps x [B, *shape] to what the posterior is made of, arrays [B, L]: mean and logvar, or
the parts of other latents. A decoder maps z [B, L] to prod(shape)·num_outputs numbers per example,
in any layout whose flat order is [*shape, num_outputs]. A network is one builder in `NETWORKS`;
nothing else knows its name.

Each takes a second argument, a condition [M, C] that x and z are given: a layer without bias, named
`condition`, adds it to what the first dense layer makes of x or z, of a map to each of its places.
So W [v; c] = W_v v + W_c c keeps the weights that v alone would have, and the rows of v and c may
be repeated after that layer.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from vae_jax.convolution import Conv, ConvTranspose
from vae_jax.errors import UsageError, unknown

__all__ = [
    "ACTIVATIONS",
    "NETWORKS",
    "SPATIAL",
    "ConvDecoder",
    "ConvEncoder",
    "ConvMapDecoder",
    "ConvMapEncoder",
    "LinearEncoder",
    "MLPDecoder",
    "MLPEncoder",
    "build",
]

ACTIVATIONS: dict[str, Callable] = {
    "relu": nn.relu,
    "sigmoid": nn.sigmoid,
    "tanh": jnp.tanh,
    "gelu": nn.gelu,
    "silu": nn.silu,
    "leaky_relu": nn.leaky_relu,
}
"""Activations by name; each is elementwise, shape in = shape out."""


def _flat(x: jax.Array) -> jax.Array:
    return x.reshape(x.shape[0], -1)


_lecun = nn.initializers.lecun_normal()


def _given(features: jax.Array, condition: jax.Array | None, init=_lecun) -> jax.Array:
    """Features [N, …, F], not yet activated, and what a condition [M, C] adds: [max(N, M), …, F].

    The shorter is repeated as a whole: N = K·M of K samples, M = K·N of K conditions of a batch.
    """
    if condition is None:
        return features
    options = {"use_bias": False, "dtype": features.dtype, "kernel_init": init}
    added = nn.Dense(features.shape[-1], name="condition", **options)(condition)
    once = [1] * (features.ndim - 1)
    parts = features, added.reshape(len(added), *once[1:], -1)
    num_rows = max(map(len, parts))
    return sum(jnp.tile(part, (num_rows // len(part), *once)) for part in parts)


def _by_latent(axis: int, num_parts: int = 1) -> Callable:
    """LeCun-normal kernels drawn with a key for each latent dimension.

    So the draws of a dimension do not depend on how many there are, and a model whose last
    dimensions are masked starts with the numbers of its native twin (see `Model.init` for their
    scale where the latent is what comes in).

    Args:
        axis: of a kernel [in, out], 0 or 1, along which the latent dimensions lie.
        num_parts: how many blocks of L lie along that axis, a count.

    Returns:
        An initializer, (key, shape, dtype) to a kernel.
    """

    def init(key, shape, dtype=jnp.float32):
        num_latents = shape[axis] // num_parts

        def one(latent, part):
            latent_key = jax.random.fold_in(jax.random.fold_in(key, latent), part)
            # √fan_in times LeCun's draw is a draw of unit variance
            return _lecun(latent_key, (shape[1 - axis], 1), dtype)[:, 0] * shape[1 - axis] ** 0.5

        both = jax.vmap(lambda part: jax.vmap(lambda i: one(i, part))(jnp.arange(num_latents)))
        kernel = both(jnp.arange(num_parts)).reshape(num_parts * num_latents, -1)
        kernel = kernel / shape[0] ** 0.5
        return kernel if axis == 0 else kernel.T

    return init


class PosteriorHead(nn.Module):
    """The last layer of an encoder: features [B, F] to mean [B, L] and logvar [B, L].

    Or to another number of parts of the posterior, each [B, L].
    """

    latent_dim: int
    dtype: Any = jnp.float32
    num_parts: int = 2

    @nn.compact
    def __call__(self, features):
        size, num = self.latent_dim, self.num_parts
        init = _by_latent(axis=1, num_parts=num)
        layer = nn.Dense(num * size, dtype=self.dtype, kernel_init=init, name="posterior")
        parts = layer(features)
        return tuple(parts[:, i * size : (i + 1) * size] for i in range(num))


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
        h = _flat(x)
        for i, width in enumerate(self.widths):
            h = nn.Dense(width, dtype=self.dtype, name=f"hidden_{i}")(h)
            h = self.activation(_given(h, condition) if i == 0 else h)
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
            init = _by_latent(axis=0) if i == 0 else _lecun
            h = nn.Dense(width, dtype=self.dtype, kernel_init=init, name=name)(h)
            h = _given(h, condition) if i == 0 else h
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
        init = _by_latent(axis=1)
        mean = nn.Dense(self.latent_dim, dtype=self.dtype, kernel_init=init, name="mean")(_flat(x))
        mean = _given(mean, condition, init)
        if self.num_parts == 1:
            return (mean,)
        logvar = self.param("logvar", nn.initializers.zeros, (self.latent_dim,))
        return mean, jnp.broadcast_to(logvar[None, :], mean.shape)


def _halve(x, widths, activation, dtype, condition=None):
    """4×4 convolutions of stride 2, the last one given c: x [B, H, W, C] to [B, h, w, F]."""
    h = x
    for i, width in enumerate(widths):
        h = Conv(width, (4, 4), strides=(2, 2), dtype=dtype, name=f"conv_{i}")(h)
        h = activation(_given(h, condition) if i == len(widths) - 1 else h)
    return h


def _double(h, channels, activation, dtype):
    """Transposed 4×4 convolutions of stride 2, the last one, `output`, as it is."""
    for i, channel in enumerate(channels):
        name = "output" if i == len(channels) - 1 else f"conv_{i}"
        h = ConvTranspose(channel, (4, 4), strides=(2, 2), dtype=dtype, name=name)(h)
        h = h if name == "output" else activation(h)
    return h


class ConvEncoder(nn.Module):
    """4×4 convolutions of stride 2, then a dense layer: x [B, H, W, C] to mean, logvar [B, L].

    Each of `widths` halves H and W. Reference: Burgess et al. 2018, arXiv 1804.03599, appendix A.
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
        h = nn.Dense(self.hidden, dtype=self.dtype, name="hidden")(_flat(h))
        h = self.activation(_given(h, condition))
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
        factor = 2 ** len(self.widths)
        height, width = self.size[0] // factor, self.size[1] // factor
        init = _by_latent(axis=0)
        h = nn.Dense(self.hidden, dtype=self.dtype, kernel_init=init, name="latent")(z)
        h = self.activation(_given(h, condition))
        start = nn.Dense(height * width * self.widths[0], dtype=self.dtype, name="hidden")
        h = self.activation(start(h)).reshape(-1, height, width, self.widths[0])
        channels = (*self.widths[1:], self.num_channels)
        return _double(h, channels, self.activation, self.dtype)


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
        return tuple(map(_flat, parts))


class ConvMapDecoder(nn.Module):
    """The mirror of `ConvMapEncoder`: z [B, L] to [B, H, W, num_channels], `size` is (H, W)."""

    size: tuple[int, int]
    num_channels: int
    widths: Sequence[int] = (64, 32)
    activation: Callable = nn.relu
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, z, condition=None):
        factor = 2 ** len(self.widths)
        height, width = self.size[0] // factor, self.size[1] // factor
        h = z.reshape(z.shape[0], height, width, -1)
        h = nn.Dense(self.widths[0], dtype=self.dtype, name="hidden")(h)
        h = self.activation(_given(h, condition))
        channels = (*self.widths[1:], self.num_channels)
        return _double(h, channels, self.activation, self.dtype)


def _mlp(shape, latent_dim, num_outputs, widths, activation, dtype):
    widths = (200, 200) if widths is None else widths
    activation = activation or jnp.tanh
    encoder = MLPEncoder(latent_dim, widths, activation, dtype)
    return encoder, MLPDecoder(math.prod(shape) * num_outputs, widths[::-1], activation, dtype)


def _linear(shape, latent_dim, num_outputs, widths, activation, dtype):
    if widths or activation:
        raise UsageError("network 'linear' has no hidden layers: leave --widths and --activation")
    decoder = MLPDecoder(math.prod(shape) * num_outputs, (), dtype=dtype)
    return LinearEncoder(latent_dim, dtype), decoder


def _map_size(name: str, shape: tuple[int, ...], widths: Sequence[int]) -> tuple[int, int]:
    """The rows and columns that convolutions of stride 2 leave, or a UsageError."""
    if len(shape) != 3:
        raise UsageError(f"network '{name}' needs images [H, W, C], the data has {[*shape]}: mlp?")
    if not widths:
        raise UsageError(f"network '{name}' needs at least one channel width, e.g. --widths=32,64")
    factor = 2 ** len(widths)
    height, width, _ = shape
    if height % factor or width % factor:
        raise UsageError(
            f"network '{name}' with {len(widths)} layers needs height and width divisible by "
            f"{factor}, the data has {height}×{width}: give fewer --widths, or --network=mlp"
        )
    return height // factor, width // factor


def _conv(shape, latent_dim, num_outputs, widths, activation, dtype):
    widths = (32, 64) if widths is None else widths
    options = {"activation": activation or nn.relu, "dtype": dtype}
    _map_size("conv", shape, widths)
    encoder = ConvEncoder(latent_dim, widths, **options)
    return encoder, ConvDecoder(shape[:2], shape[2] * num_outputs, widths[::-1], **options)


def _conv_map(shape, latent_dim, num_outputs, widths, activation, dtype):
    widths = (32, 64) if widths is None else widths
    options = {"activation": activation or nn.relu, "dtype": dtype}
    height, width = _map_size("conv_map", shape, widths)
    if latent_dim % (height * width):
        near = max(1, round(latent_dim / (height * width))) * height * width
        raise UsageError(
            f"--latent_dim={latent_dim}: network 'conv_map' needs a multiple of the "
            f"{height}×{width} places of its map: give --latent_dim={near}, or other --widths"
        )
    encoder = ConvMapEncoder(latent_dim, widths, **options)
    return encoder, ConvMapDecoder(shape[:2], shape[2] * num_outputs, widths[::-1], **options)


NETWORKS: dict[str, Callable] = {
    "mlp": _mlp,
    "conv": _conv,
    "conv_map": _conv_map,
    "linear": _linear,
}
"""Builders by name: (shape, latent_dim, num_outputs, widths, activation, dtype) to a pair."""

SPATIAL = frozenset({"conv_map"})
"""Networks whose latent dimensions are places of a map: a mask [L] does not make a smaller one."""


def build(
    name: str,
    *,
    shape: tuple[int, ...],
    latent_dim: int,
    num_outputs: int = 1,
    widths: Sequence[int] | None = None,
    activation: str | None = None,
    dtype: Any = jnp.float32,
    num_parts: int = 2,
) -> tuple[nn.Module, nn.Module]:
    """An encoder and the decoder that mirrors it.

    Args:
        name: one of `NETWORKS`.
        shape: of one example, [H, W, C] or [D].
        latent_dim: L, the size of z.
        num_outputs: decoder outputs per number of x (`Likelihood.num_outputs`).
        widths: hidden units (mlp) or channels (conv) of the encoder; the decoder mirrors them.
            None is the network's default: 200,200 for mlp, 32,64 for conv and conv_map.
        activation: one of `ACTIVATIONS`; None is the network's default: tanh (mlp), relu (conv).
        dtype: of the computation; parameters stay float32.
        num_parts: arrays [B, L] that the posterior is made of, a count; of a Gaussian 2.

    Returns:
        (encoder, decoder).

    Raises:
        UsageError: the name is unknown or the shape does not fit the network.
    """
    if name not in NETWORKS:
        raise unknown("network", name, NETWORKS)
    widths = None if widths is None else tuple(widths)
    function = None if activation is None else ACTIVATIONS[activation]
    encoder, decoder = NETWORKS[name](shape, latent_dim, num_outputs, widths, function, dtype)
    return encoder if num_parts == 2 else encoder.clone(num_parts=num_parts), decoder
