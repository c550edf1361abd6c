"""Our convolutions are lax's: values, derivatives of each kind, parameters, on each platform."""

import itertools

import jax
import jax.numpy as jnp
import keys
import numpy as np
import pytest
from flax import linen as nn
from jax import export, lax
from properties import slow

from vae_jax import convolution

LAYOUT = ("NHWC", "HWIO", "NHWC")
SIZES = [  # H, W, kernel, strides, padding, channels, features
    (8, 8, (4, 4), (2, 2), "SAME", 8, 5),
    (8, 8, (4, 4), (2, 2), "SAME", 1, 5),
    (8, 8, (4, 4), (2, 2), "SAME", 3, 2),
    (7, 10, (3, 3), (2, 2), "SAME", 5, 1),
    (7, 10, (3, 3), (1, 1), "SAME", 20, 4),
    (9, 6, (5, 2), (3, 2), "VALID", 3, 4),
    (9, 6, (1, 1), (2, 3), "SAME", 8, 3),
    (6, 7, (2, 4), (2, 1), "VALID", 17, 3),
    # what the networks make of pictures of odd sizes, down to a single pixel
    (3, 1, (4, 4), (2, 2), "SAME", 8, 3),
    *slow(
        (29, 37, (4, 4), (2, 2), "SAME", 3, 5),
        (5, 97, (4, 4), (2, 2), "SAME", 8, 2),
        (1, 6, (4, 4), (2, 2), "SAME", 1, 5),
        (1, 1, (4, 4), (2, 2), "SAME", 5, 2),
        ids=["29×37", "5×97", "1×6", "1×1"],
    ),
]


def by_lax(x, kernel, *, strides, padding):
    return lax.conv_general_dilated(x, kernel, strides, padding, dimension_numbers=LAYOUT)


def transpose_by_lax(x, kernel, *, strides, padding):
    return lax.conv_transpose(x, kernel, strides, padding, dimension_numbers=LAYOUT)


WAYS = [
    (convolution.convolve, by_lax),
    (convolution.convolve_transpose, transpose_by_lax),
]


def normal(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def assert_close(ours, theirs):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4), ours, theirs)


@pytest.mark.parametrize(("ours", "theirs"), WAYS, ids=["convolve", "transpose"])
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_values_and_gradients_are_those_of_lax(ours, theirs, size):
    height, width, window, strides, padding, channels, features = size
    x, kernel = normal(0, 3, height, width, channels), normal(1, *window, channels, features)
    dx, dkernel = normal(2, *x.shape), normal(3, *kernel.shape)

    def everything(operation):
        def call(x, kernel):
            return operation(x, kernel, strides=strides, padding=padding)

        def all_of_it(x, kernel, dx, dkernel):
            out, forward = jax.jvp(call, (x, kernel), (dx, dkernel))
            _, transpose = jax.vjp(call, x, kernel)
            return out, forward, transpose(jnp.sin(out))

        return jax.jit(all_of_it)(x, kernel, dx, dkernel)

    assert_close(everything(ours), everything(theirs))


@pytest.mark.parametrize(("ours", "theirs"), WAYS, ids=["convolve", "transpose"])
def test_a_jacobian_may_be_differentiated(ours, theirs):
    """What a contractive penalty needs: the gradient of a squared Jacobian-vector product."""
    x, kernel, v = normal(0, 2, 4, 4, 3), normal(1, 4, 4, 3, 2), normal(2, 2, 4, 4, 3)

    def penalty(operation):
        def squared(kernel):
            def layer(x):
                return jnp.tanh(operation(x, kernel, strides=(2, 2), padding="SAME"))

            return jnp.sum(jax.jvp(layer, (x,), (v,))[1] ** 2)

        return jax.jit(jax.grad(squared))(kernel)

    assert_close(penalty(ours), penalty(theirs))


@pytest.mark.parametrize("ours", [ours for ours, _ in WAYS])
def test_runs_mapped_are_runs_one_by_one(ours):
    x, kernels = normal(0, 3, 2, 8, 8, 2), normal(1, 3, 4, 4, 2, 5)

    def loss(kernel, x):
        return jnp.sum(jnp.sin(ours(x, kernel, strides=(2, 2))))

    single = jax.jit(jax.value_and_grad(loss))
    mapped = jax.jit(jax.vmap(jax.value_and_grad(loss)))(kernels, x)
    one_by_one = [single(k, one) for k, one in zip(kernels, x, strict=True)]
    assert_close(mapped, jax.tree.map(lambda *leaves: np.stack(leaves), *one_by_one))
    shared = jax.jit(jax.vmap(loss, in_axes=(0, None)))(kernels, x[0])
    assert_close(shared, np.stack([single(kernel, x[0])[0] for kernel in kernels]))


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [(convolution.Conv, nn.Conv), (convolution.ConvTranspose, nn.ConvTranspose)],
)
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_layers_have_the_parameters_of_linen(ours, theirs, dtype):
    x = normal(0, 2, 6, 6, 3)
    layers = [kind(5, (4, 4), strides=(2, 2), dtype=dtype) for kind in (ours, theirs)]
    params = jax.jit(lambda key: [layer.init(key, x) for layer in layers])(keys.quick(1))
    jax.tree.map(np.testing.assert_array_equal, *params)
    outs = jax.jit(lambda own: [layer.apply(own, x) for layer in layers])(params[0])
    assert outs[0].dtype == outs[1].dtype == dtype
    tolerance = 1e-5 if dtype == jnp.float32 else 0.05
    outs = [np.asarray(out, np.float32) for out in outs]
    np.testing.assert_allclose(*outs, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("channels", [1, 8])
@pytest.mark.parametrize("is_large", [False, True])
def test_each_platform_computes_the_same(monkeypatch, channels, is_large):
    monkeypatch.setattr(convolution, "MAX_PARTS", 0 if is_large else 2**22)
    geometry = convolution.Geometry((7, 6), (3, 4), (4, 3), (2, 2), (-1, 1))
    x, y, kernel = normal(0, 2, 7, 6, channels), normal(1, 2, 3, 4, 5), normal(2, 4, 3, channels, 5)
    operands = {"features": (x, kernel), "image": (y, kernel), "kernel": (x, y)}
    for name, pair in operands.items():
        ways = [getattr(convolution, f"_{name}_by_{way}") for way in ("products", "lax")]
        assert_close(
            *(jax.jit(way, static_argnames="geometry")(*pair, geometry=geometry) for way in ways)
        )


@pytest.mark.parametrize(("platform", "is_lax"), [("cpu", False), ("cuda", True), ("tpu", True)])
def test_accelerators_get_the_convolution_of_their_library(platform, is_lax):
    x, kernel = jnp.ones((2, 8, 8, 3)), jnp.ones((4, 4, 3, 5))

    def loss(x, kernel):
        return jnp.sum(convolution.convolve(x, kernel, strides=(2, 2)) ** 2)

    gradient = jax.grad(loss, argnums=(0, 1))
    for function, a in [(gradient, (x, kernel)), (jax.vmap(gradient), (x[None], kernel[None]))]:
        text = export.export(jax.jit(function), platforms=[platform])(*a).mlir_module()
        assert ("stablehlo.convolution" in text) == is_lax


def test_rows_beyond_the_last_kernel_have_no_influence():
    """Rows that no kernel reaches have no influence and no gradient."""
    x, kernel = normal(0, 1, 7, 7, 2), normal(1, 2, 2, 2, 3)

    def loss(x):
        return jnp.sum(convolution.convolve(x, kernel, strides=(2, 2), padding="VALID") ** 2)

    gradient = np.asarray(jax.jit(jax.grad(loss))(x))
    for rows, columns in itertools.product([slice(6, 7), slice(None)], repeat=2):
        if slice(6, 7) in (rows, columns):
            assert not np.any(gradient[:, rows, columns])
    assert np.all(np.any(np.asarray(gradient[0, :6, :6]), axis=-1))
