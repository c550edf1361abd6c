"""Helpers of all networks: layers that read or write a code such that it can be masked."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

__all__ = [
    "Network",
    "Pair",
    "PosteriorHead",
    "Weights",
    "by_latent",
    "flat",
    "forget",
    "given",
]


class Network(NamedTuple):
    """A pair of modules that `networks.build` makes by name.

    Attributes:
        encoder, decoder: the classes of the modules.
        build: (shape, latent_dim, num_outputs, widths, activation, dtype) to (encoder, decoder);
            `activation` is a function, or None if it cannot be chosen.
        widths: the default hidden units or channels, counts; () if there are no hidden layers.
        activation: the name of the default activation; None if it cannot be chosen.
        has_fixed_codes: whether a mask [L] cannot make a smaller network, because its latent
            dimensions are places of a map, or because it has other codes of L numbers inside.
        has_maps: whether both modules have `maps`, the sizes of maps with groups of a hierarchy.
        widths_by_shape: (shape [H, W, C]) to the default channels, if they depend on the shape:
            `widths` are then those of small images.
    """

    encoder: type[nn.Module]
    decoder: type[nn.Module]
    build: Callable[..., tuple[nn.Module, nn.Module]]
    widths: tuple[int, ...] = ()
    activation: str | None = None
    has_fixed_codes: bool = False
    has_maps: bool = False
    widths_by_shape: Callable[[tuple[int, ...]], tuple[int, ...]] | None = None

    def widths_for(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The default hidden units or channels for examples of a shape, counts.

        A shape that the network cannot read has `widths`: `build` refuses it.
        """
        is_image = len(shape) == 3
        return self.widths_by_shape(shape) if self.widths_by_shape and is_image else self.widths

    @property
    def reads_missing(self) -> bool:
        """Whether the encoder accepts NaN in x (a scalar)."""
        return getattr(self.encoder, "reads_missing", False)

    @property
    def can_tie(self) -> bool:
        """Whether the decoder's kernels may be the encoder's, transposed (a scalar)."""
        return hasattr(self.encoder, "layers") and hasattr(self.decoder, "tied_kernels")

    @property
    def has_teacher(self) -> bool:
        """Whether the decoder uses teacher forcing (a scalar), see `RecurrentDecoder`."""
        return hasattr(self.decoder, "teacher_dropout")


class Pair(NamedTuple):
    """Paths to the parameters of a layer and of its mirror, arrays of any shape.

    An encoder whose layers can be trained in sequence lists them in `pairs(decoder)`, from x to the
    code. If it `has_stages`, each pair is an autoencoder of x instead.

    Attributes:
        layer: a path of names; the first is "encoder".
        mirror: a path of names; the first is "encoder" or "decoder".
    """

    layer: tuple[str, ...]
    mirror: tuple[str, ...]


def flat(x: jax.Array) -> jax.Array:
    """Flattens x [B, *shape] to [B, D]."""
    return x.reshape(x.shape[0], -1)


lecun = nn.initializers.lecun_normal()


def given(features: jax.Array, condition: jax.Array | None, init=lecun) -> jax.Array:
    """Adds a condition [M, C] to features [N, …, F] before activation: [max(N, M), …, F].

    Class indices [M] give the numbers of their unit vectors [M, C], by rows of the kernel: the
    product with unit vectors would take C times as long. The shorter one is repeated as a whole:
    N = K·M for K samples, M = K·N for K conditions of a batch.
    """
    if condition is None:
        return features
    options = {"use_bias": False, "dtype": features.dtype, "kernel_init": init}
    layer = nn.Dense(features.shape[-1], name="condition", **options)
    if condition.ndim == 1:
        kernel = layer.variables["params"]["kernel"]
        added = _rows(kernel, condition).astype(features.dtype)
    else:
        added = layer(condition)
    once = [1] * (features.ndim - 1)
    parts = features, added.reshape(len(added), *once[1:], -1)
    num_rows = max(map(len, parts))
    return sum(jnp.tile(part, (num_rows // len(part), *once)) for part in parts)


@jax.custom_vjp
def _rows(kernel: jax.Array, indices: jax.Array) -> jax.Array:
    """Rows of a kernel [C, F] at integers [M]: [M, F]; NaN for −1."""
    rows = jnp.take(kernel, jnp.maximum(indices, 0), axis=0, mode="clip")
    return jnp.where(indices[:, None] < 0, jnp.nan, rows)


def _rows_forward(kernel, indices):
    return _rows(kernel, indices), (kernel, indices)


def _rows_backward(held, gradient):
    """Sums rows of the gradient [M, F] by index: on a GPU by a product, whose order is fixed."""
    kernel, indices = held
    gradient = gradient.astype(kernel.dtype)

    def by_sum(indices, gradient):
        known = jnp.where(indices < 0, len(kernel), indices)
        return jnp.zeros_like(kernel).at[known].add(gradient, mode="drop")

    def by_product(indices, gradient):
        vectors = jax.nn.one_hot(indices, len(kernel), dtype=kernel.dtype)
        return vectors.T @ gradient

    ways = {"cpu": by_sum, "default": by_product}
    return jax.lax.platform_dependent(indices, gradient, **ways), None


_rows.defvjp(_rows_forward, _rows_backward)


def by_latent(axis: int, num_parts: int = 1) -> Callable:
    """Draws LeCun-normal kernels with one key per latent dimension.

    So the draws of a dimension do not depend on how many there are, and a masked model starts from
    the same initial values as an unmasked model of that size. If the latent is the layer's input,
    `Model.init` corrects the scale.

    Args:
        axis: the axis of a kernel [in, out], 0 or 1, that holds the latent dimensions.
        num_parts: the number of blocks of L along that axis.

    Returns:
        An initializer, (key, shape, dtype) to a kernel.
    """

    def init(key, shape, dtype=jnp.float32):
        num_latents = shape[axis] // num_parts

        def one(latent, part):
            latent_key = jax.random.fold_in(jax.random.fold_in(key, latent), part)
            # LeCun's draw times √fan_in has unit variance
            return lecun(latent_key, (shape[1 - axis], 1), dtype)[:, 0] * shape[1 - axis] ** 0.5

        both = jax.vmap(lambda part: jax.vmap(lambda i: one(i, part))(jnp.arange(num_latents)))
        kernel = both(jnp.arange(num_parts)).reshape(num_parts * num_latents, -1)
        kernel = kernel / shape[0] ** 0.5
        return kernel if axis == 0 else kernel.T

    return init


class Weights(nn.Module):
    """A kernel of any shape [..., F] and, if `bias` is F, a bias [F], for use in a loop."""

    shape: Sequence[int]
    bias: int = 0
    init: Callable = lecun
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self):
        kernel = self.param("kernel", self.init, self.shape).astype(self.dtype)
        if not self.bias:
            return (kernel,)
        bias = self.param("bias", nn.initializers.zeros, (self.bias,)).astype(self.dtype)
        return kernel, bias


def forget(told: jax.Array, share: float, key: jax.Array | None) -> jax.Array:
    """Teacher dropout: sets a random share of the steps to 0, [B, *steps, F] to the same.

    Without a key, or if the share is 0, nothing is random and nothing is dropped.

    Reference:
        Bowman et al. 2016, arXiv 1511.06349, section 3.1.
    """
    if key is None or share == 0:
        return told
    is_told = jax.random.bernoulli(key, 1 - share, told.shape[:-1])
    return jnp.where(is_told[..., None], told, 0)


class PosteriorHead(nn.Module):
    """The last layer of an encoder: features [B, F] to mean [B, L] and logvar [B, L].

    With another number of parts, it returns as many arrays [B, L].
    """

    latent_dim: int
    dtype: Any = jnp.float32
    num_parts: int = 2

    @nn.compact
    def __call__(self, features):
        size, num = self.latent_dim, self.num_parts
        init = by_latent(axis=1, num_parts=num)
        layer = nn.Dense(num * size, dtype=self.dtype, kernel_init=init, name="posterior")
        parts = layer(features)
        return tuple(parts[:, i * size : (i + 1) * size] for i in range(num))
