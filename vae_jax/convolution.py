"""Strided convolutions and their transposes, as matrix products if that is fastest.

Everything is one bilinear map. With image [B, H, W, C], features [B, h, w, F], kernel
[k₁, k₂, C, F], strides s and p rows and columns of zeros before the image,

    features[b, i, j, f] = Σ_{u, v, c} image[b, s₁i + u − p₁, s₂j + v − p₂, c] · kernel[u, v, c, f]

A convolution computes the features from an image, a transposed convolution the image from features,
and the gradient of either with respect to the kernel is the third operation. Each of the three is a
JAX primitive whose derivatives, forward and reverse, are the other two.

On accelerators they are `lax.conv_general_dilated`. On CPU, XLA has no fast gradient of a strided
convolution, and inside a loop no fast convolution either. There the image is cut into a grid of
blocks of s₁×s₂ pixels, of which a kernel covers m₁×m₂. The rest is one matrix product before or
after a sum over m₁·m₂ shifted parts. The order is chosen by measurement:

    channels · s₁ · s₂ small (the picture itself)   blocks side by side, then the product
    else                                            the product, then the sum of shifted parts
"""

import functools
import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

__all__ = ["Conv", "ConvTranspose", "convolve", "convolve_transpose"]

THIN = 16
"""Blocks with at most this many numbers are concatenated before the product (a count)."""
MAX_PARTS = 2**22
"""Images of at most this many numbers, which fit in cache, are summed part by part (a count)."""


class Geometry(NamedTuple):
    """How an image and its features are aligned; each pair is (rows, columns).

    Attributes:
        image: H, W.
        features: h, w.
        kernel: k₁, k₂.
        strides: s₁, s₂.
        low: p₁, p₂; negative if rows or columns of the image are left out.
    """

    image: tuple[int, int]
    features: tuple[int, int]
    kernel: tuple[int, int]
    strides: tuple[int, int]
    low: tuple[int, int]

    @property
    def blocks(self) -> tuple[int, int]:
        """m₁, m₂: the number of blocks that a kernel covers."""
        return tuple(-(-k // s) for k, s in zip(self.kernel, self.strides, strict=True))

    @property
    def grid(self) -> tuple[int, int]:
        """The number of blocks."""
        return tuple(n + m - 1 for n, m in zip(self.features, self.blocks, strict=True))

    @property
    def shifts(self) -> list[tuple[int, int]]:
        """Offsets of the blocks that a kernel covers, relative to the first."""
        return [(a, b) for a in range(self.blocks[0]) for b in range(self.blocks[1])]

    def paddings(self, covered: tuple[int, int]) -> list[tuple[int, int]]:
        """Zeros before and after the image, so that `covered` rows and columns are covered."""
        sizes = zip(covered, self.low, self.image, strict=True)
        return [(low, n - low - size) for n, low, size in sizes]

    @property
    def covered_by_kernels(self) -> tuple[int, int]:
        """Rows and columns that the kernels of all features cover."""
        sizes = zip(self.features, self.strides, self.kernel, strict=True)
        return tuple((n - 1) * s + k for n, s, k in sizes)

    @property
    def covered_by_grid(self) -> tuple[int, int]:
        """Rows and columns of the grid, in pixels."""
        return tuple(n * s for n, s in zip(self.grid, self.strides, strict=True))


def _pad(x: jax.Array, pads) -> jax.Array:
    """Pads each axis with zeros before and after it; a negative number crops."""
    return lax.pad(x, jnp.zeros((), x.dtype), [(low, high, 0) for low, high in pads])


def _to_grid(image: jax.Array, g: Geometry) -> jax.Array:
    """[B, H, W, C] to blocks [B, *grid, s₁·s₂·C]."""
    num, _, _, channels = image.shape
    (rows, columns), (s, t) = g.grid, g.strides
    padded = _pad(image, [(0, 0), *g.paddings(g.covered_by_grid), (0, 0)])
    blocks = padded.reshape(num, rows, s, columns, t, channels).swapaxes(2, 3)
    return blocks.reshape(num, rows, columns, s * t * channels)


def _from_grid(blocks: jax.Array, g: Geometry) -> jax.Array:
    """The transpose of `_to_grid`."""
    (rows, columns), (s, t) = g.grid, g.strides
    num, channels = blocks.shape[0], blocks.shape[-1] // (s * t)
    image = blocks.reshape(num, rows, columns, s, t, channels).swapaxes(2, 3)
    image = image.reshape(num, rows * s, columns * t, channels)
    pads = [(-low, -high) for low, high in g.paddings(g.covered_by_grid)]
    return _pad(image, [(0, 0), *pads, (0, 0)])


def _gather(grid: jax.Array, g: Geometry) -> jax.Array:
    """Concatenates the blocks under each feature: [B, *grid, N] to [B, h, w, m₁·m₂·N]."""
    h, w = g.features
    return jnp.concatenate([grid[:, a : a + h, b : b + w] for a, b in g.shifts], axis=-1)


def _add_up(parts: jax.Array, g: Geometry) -> jax.Array:
    """The transpose of `_gather`."""
    return functools.reduce(jnp.add, _placed(jnp.split(parts, len(g.shifts), axis=-1), g))


def _scatter(features: jax.Array, g: Geometry) -> jax.Array:
    """Copies each feature to all blocks under it: [B, h, w, F] to [B, *grid, m₁·m₂·F]."""
    return jnp.concatenate(list(_placed([features] * len(g.shifts), g)), axis=-1)


def _sum_up(parts: jax.Array, g: Geometry) -> jax.Array:
    """The transpose of `_scatter`."""
    h, w = g.features
    parts = jnp.split(parts, len(g.shifts), axis=-1)
    pieces = (part[:, a : a + h, b : b + w] for part, (a, b) in zip(parts, g.shifts, strict=True))
    return functools.reduce(jnp.add, pieces)


def _placed(parts: list[jax.Array], g: Geometry) -> Iterator[jax.Array]:
    """Parts [B, h, w, N] on the grid, each at its shift: [B, *grid, N]."""
    for part, shift in zip(parts, g.shifts, strict=True):
        pads = [(a, m - 1 - a) for a, m in zip(shift, g.blocks, strict=True)]
        yield _pad(part, [(0, 0), *pads, (0, 0)])


def _in_blocks(kernel: jax.Array, g: Geometry) -> jax.Array:
    """[k₁, k₂, C, F] to [m₁, s₁, m₂, s₂, C, F], padded with zeros."""
    (m, n), (s, t) = g.blocks, g.strides
    kernel = _pad(kernel, [(0, m * s - g.kernel[0]), (0, n * t - g.kernel[1]), (0, 0), (0, 0)])
    return kernel.reshape(m, s, n, t, *kernel.shape[2:])


def _by_shift(kernel: jax.Array, g: Geometry) -> jax.Array:
    """The kernel as a matrix to use after `_gather`: [m₁·m₂·s₁·s₂·C, F]."""
    return _in_blocks(kernel, g).transpose(0, 2, 1, 3, 4, 5).reshape(-1, kernel.shape[-1])


def _by_block(kernel: jax.Array, g: Geometry) -> jax.Array:
    """The kernel as a matrix to use before `_sum_up`: [s₁·s₂·C, m₁·m₂·F]."""
    blocks = _in_blocks(kernel, g).transpose(1, 3, 4, 0, 2, 5)
    return blocks.reshape(math.prod(g.strides) * kernel.shape[2], -1)


def _of_shifts(matrix: jax.Array, g: Geometry) -> jax.Array:
    """The transpose of `_by_shift`."""
    (m, n), (s, t) = g.blocks, g.strides
    blocks = matrix.reshape(m, n, s, t, -1, matrix.shape[-1]).transpose(0, 2, 1, 3, 4, 5)
    return blocks.reshape(m * s, n * t, *blocks.shape[4:])[: g.kernel[0], : g.kernel[1]]


def _of_blocks(matrix: jax.Array, g: Geometry) -> jax.Array:
    """The transpose of `_by_block`."""
    (m, n), (s, t) = g.blocks, g.strides
    blocks = matrix.reshape(s, t, matrix.shape[0] // (s * t), m, n, -1).transpose(3, 0, 4, 1, 2, 5)
    return blocks.reshape(m * s, n * t, *blocks.shape[4:])[: g.kernel[0], : g.kernel[1]]


def _flat(x: jax.Array) -> jax.Array:
    return x.reshape(-1, x.shape[-1])


def _times(x: jax.Array, matrix: jax.Array) -> jax.Array:
    return (_flat(x) @ matrix).reshape(*x.shape[:-1], -1)


def _is_thin(channels: int, g: Geometry) -> bool:
    return channels * math.prod(g.strides) <= THIN


def _features_by_products(image, kernel, *, geometry: Geometry):
    grid = _to_grid(image, geometry)
    if _is_thin(image.shape[-1], geometry):
        return _times(_gather(grid, geometry), _by_shift(kernel, geometry))
    return _sum_up(_times(grid, _by_block(kernel, geometry)), geometry)


def _image_by_products(features, kernel, *, geometry: Geometry):
    matrix = _by_shift(kernel, geometry)
    num_parts = math.prod(features.shape[:3]) * len(matrix)
    if _is_thin(kernel.shape[2], geometry) or num_parts <= MAX_PARTS:
        grid = _add_up(_times(features, matrix.T), geometry)
    else:
        grid = _times(_scatter(features, geometry), _by_block(kernel, geometry).T)
    return _from_grid(grid, geometry)


def _kernel_by_products(image, features, *, geometry: Geometry):
    grid = _to_grid(image, geometry)
    if _is_thin(image.shape[-1], geometry):
        return _of_shifts(_flat(_gather(grid, geometry)).T @ _flat(features), geometry)
    return _of_blocks(_flat(grid).T @ _flat(_scatter(features, geometry)), geometry)


def _features_by_lax(image, kernel, *, geometry: Geometry):
    pads = geometry.paddings(geometry.covered_by_kernels)
    layout = ("NHWC", "HWIO", "NHWC")
    return lax.conv_general_dilated(image, kernel, geometry.strides, pads, dimension_numbers=layout)


def _image_by_lax(features, kernel, *, geometry: Geometry):
    shape = (features.shape[0], *geometry.image, kernel.shape[2])
    of_image = functools.partial(_features_by_lax, kernel=kernel, geometry=geometry)
    image = jax.ShapeDtypeStruct(shape, features.dtype)
    return jax.linear_transpose(of_image, image)(features)[0]


def _kernel_by_lax(image, features, *, geometry: Geometry):
    shape = (*geometry.kernel, image.shape[-1], features.shape[-1])
    of_kernel = functools.partial(_features_by_lax, image, geometry=geometry)
    kernel = jax.ShapeDtypeStruct(shape, features.dtype)
    return jax.linear_transpose(of_kernel, kernel)(features)[0]


def _primitive(name: str, by_products: Callable, by_lax: Callable) -> Primitive:
    """A primitive with an implementation per platform, also under `vmap`."""
    primitive = Primitive(name)
    primitive.def_impl(jax.jit(primitive.bind, static_argnames="geometry"))

    def abstract(*operands, geometry):
        shapes = [jax.ShapeDtypeStruct(x.shape, x.dtype) for x in operands]
        out = jax.eval_shape(functools.partial(by_lax, geometry=geometry), *shapes)
        return jax.core.ShapedArray(out.shape, out.dtype)

    def mapped(operands, axes, *, geometry):
        ways = {
            platform: jax.vmap(functools.partial(way, geometry=geometry), in_axes=axes)
            for platform, way in (("cpu", by_products), ("default", by_lax))
        }
        return lax.platform_dependent(*operands, **ways), 0

    primitive.def_abstract_eval(abstract)
    batching.primitive_batchers[primitive] = mapped
    mlir.register_lowering(primitive, mlir.lower_fun(by_lax, multiple_results=False))
    in_products = mlir.lower_fun(by_products, multiple_results=False)
    mlir.register_lowering(primitive, in_products, platform="cpu")
    return primitive


_features_p = _primitive("features_of_image", _features_by_products, _features_by_lax)
_image_p = _primitive("image_of_features", _image_by_products, _image_by_lax)
_kernel_p = _primitive("kernel_of_both", _kernel_by_products, _kernel_by_lax)

ad.defbilinear(
    _features_p,
    lambda out, image, kernel, **geometry: _image_p.bind(out, kernel, **geometry),
    lambda out, image, kernel, **geometry: _kernel_p.bind(image, out, **geometry),
)
ad.defbilinear(
    _image_p,
    lambda out, features, kernel, **geometry: _features_p.bind(out, kernel, **geometry),
    lambda out, features, kernel, **geometry: _kernel_p.bind(out, features, **geometry),
)
ad.defbilinear(
    _kernel_p,
    lambda out, image, features, **geometry: _image_p.bind(features, out, **geometry),
    lambda out, image, features, **geometry: _features_p.bind(image, out, **geometry),
)


def convolve(
    image: jax.Array, kernel: jax.Array, *, strides: tuple[int, int], padding: str = "SAME"
) -> jax.Array:
    """A convolution (no kernel is flipped), see the formula above.

    Args:
        image: [B, H, W, C].
        kernel: [k₁, k₂, C, F].
        strides: s₁, s₂, counts of pixels.
        padding: "SAME" (h = ⌈H/s₁⌉) or "VALID" (only positions with the whole kernel on the image).

    Returns:
        Features [B, h, w, F], equal to `lax.conv_general_dilated` up to rounding.
    """
    size, window = image.shape[1:3], kernel.shape[:2]
    pads = lax.padtype_to_pads(size, window, strides, padding)
    sizes = zip(size, window, strides, pads, strict=True)
    features = tuple((n + low + high - k) // s + 1 for n, k, s, (low, high) in sizes)
    geometry = Geometry(size, features, window, tuple(strides), tuple(low for low, _ in pads))
    return _features_p.bind(image, kernel, geometry=geometry)


def convolve_transpose(
    features: jax.Array, kernel: jax.Array, *, strides: tuple[int, int], padding: str = "SAME"
) -> jax.Array:
    """A transposed convolution, with the conventions of `lax.conv_transpose`.

    Args:
        features: [B, h, w, C].
        kernel: [k₁, k₂, C, F].
        strides: s₁, s₂, counts of pixels.
        padding: "SAME" (H = s₁·h) or "VALID" (everything that a kernel reaches).

    Returns:
        Image [B, H, W, F], equal to `lax.conv_transpose` up to rounding.
    """
    low, size = [], []
    for n, k, s in zip(features.shape[1:3], kernel.shape[:2], strides, strict=True):
        size.append(n * s if padding == "SAME" else n * s + max(k - s, 0))
        # lax dilates by s, pads, and slides the flipped kernel
        before = min(k - 1, -(-(k + s - 2) // 2)) if padding == "SAME" and s < k else k - 1
        low.append(k - 1 - before)
    geometry = Geometry(
        tuple(size), features.shape[1:3], kernel.shape[:2], tuple(strides), tuple(low)
    )
    return _image_p.bind(features, jnp.flip(kernel, (0, 1)).swapaxes(2, 3), geometry=geometry)


class Conv(nn.Module):
    """`flax.linen.Conv` using `convolve`, same parameters: [B, H, W, C] to [B, h, w, F]."""

    features: int
    kernel_size: tuple[int, int]
    strides: tuple[int, int] = (1, 1)
    padding: str = "SAME"
    dtype: Any = jnp.float32

    operation = staticmethod(convolve)

    @nn.compact
    def __call__(self, x):
        shape = (*self.kernel_size, x.shape[-1], self.features)
        kernel = self.param("kernel", nn.initializers.lecun_normal(), shape)
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        x, kernel, bias = (array.astype(self.dtype) for array in (x, kernel, bias))
        out = self.operation(x, kernel, strides=self.strides, padding=self.padding)
        return out + bias[None, None, None, :]


class ConvTranspose(Conv):
    """`flax.linen.ConvTranspose` using `convolve_transpose`: [B, h, w, C] to [B, H, W, F]."""

    operation = staticmethod(convolve_transpose)
