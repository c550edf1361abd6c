"""Networks and outputs of the samples of lectures: pooling, up-sampling, ReLU and sigmoid means."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from vae_jax import likelihoods, losses, make_model, networks
from vae_jax.errors import UsageError
from vae_jax.networks.conv_pool import pool, upsample

KEY = jax.random.key(0)
PAGE = (pathlib.Path(__file__).parents[1] / "docs" / "lectures.md").read_text(encoding="utf-8")


def num_parameters(module, *inputs):
    shapes = jax.eval_shape(module.init, KEY, *inputs)["params"]
    return {name: sum(leaf.size for leaf in jax.tree.leaves(own)) for name, own in shapes.items()}


def test_pooling_takes_the_largest_of_four():
    h = jax.random.normal(KEY, (2, 7, 6, 3))
    want = nn.max_pool(h, (2, 2), strides=(2, 2), padding="SAME")
    np.testing.assert_array_equal(pool(h), want)
    np.testing.assert_array_equal(pool(h)[0, 0, 0], h[0, :2, :2].max(axis=(0, 1)))
    # only the largest has a slope, also at the border
    slope = np.asarray(jax.grad(lambda h: pool(h).sum())(h))
    assert np.isfinite(slope).all()
    assert slope.sum() == 2 * 4 * 3 * 3
    assert set(np.unique(slope)) == {0, 1}


def test_what_is_repeated_is_restored_by_pooling():
    h = jax.random.normal(KEY, (2, 4, 3, 5))
    large = upsample(h, (8, 6))
    np.testing.assert_array_equal(large, np.repeat(np.repeat(h, 2, axis=1), 2, axis=2))
    np.testing.assert_array_equal(pool(large), h)
    np.testing.assert_array_equal(upsample(h, (7, 5)), large[:, :7, :5])
    np.testing.assert_array_equal(pool(upsample(h, (7, 5))), h)


def test_the_parameters_of_convolutions_are_those_of_keras():
    encoder, decoder = networks.build("conv_pool", shape=(28, 28, 1), latent_dim=10, num_parts=1)
    assert num_parameters(encoder, jnp.zeros((1, 28, 28, 1))) == {
        # 3·3·in·out + out
        "conv_0": 320,
        "conv_1": 18_496,
        "conv_2": 73_856,
        "head": 4 * 4 * 128 * 10 + 10,
    }
    assert num_parameters(decoder, jnp.zeros((1, 10))) == {
        "latent": 10 * 4 * 4 * 128 + 4 * 4 * 128,
        "conv_0": 3 * 3 * 128 * 128 + 128,
        "conv_1": 3 * 3 * 128 * 64 + 64,
        "conv_2": 3 * 3 * 64 * 32 + 32,
        "output": 3 * 3 * 32 + 1,
    }


def test_convolutions_ask_for_images():
    with pytest.raises(UsageError, match=r"network 'conv_pool' needs images \[H, W, C\]"):
        networks.build("conv_pool", shape=(64,), latent_dim=2)


@pytest.mark.parametrize(
    ("name", "activation"), [("linear", lambda a: a), ("relu", nn.relu), ("sigmoid", nn.sigmoid)]
)
def test_the_mean_is_the_activation_of_the_outputs(name, activation):
    likelihood = likelihoods.make("gaussian", variance=0.5, output_activation=name)
    outputs = jax.random.normal(KEY, (5, 3, 2))
    x = jax.random.uniform(jax.random.key(1), (5, 3, 2))
    mean = likelihood.mean({}, outputs)
    np.testing.assert_array_equal(mean, activation(outputs))
    # −log N(x; m, ½) = (x − m)² + ½ log π
    want = losses.squared_error(x, activation(outputs)) + 3 * np.log(np.pi)
    np.testing.assert_allclose(-likelihood.log_prob({}, outputs, x), want, rtol=1e-5)
    # outputs that give a mean inside of (0, 1) back
    np.testing.assert_allclose(likelihood.mean({}, likelihood.outputs_near(x)), x, atol=2e-3)
    scale = likelihoods.Gaussian("optimal", name).fit({}, outputs, x, jnp.ones(5))
    np.testing.assert_allclose(np.exp(scale["logvar"]), np.square(x - mean).mean(), rtol=1e-5)


def test_the_mean_is_linear_by_default():
    assert likelihoods.Gaussian().output_activation == "linear"
    assert repr(likelihoods.Gaussian(0.5)) == "Gaussian(variance=0.5)"
    with pytest.raises(UsageError, match="output_activation 'tanh' is unknown: choose from linear"):
        likelihoods.make("gaussian", output_activation="tanh")


@pytest.mark.parametrize(
    ("widths", "latent_dim", "objective", "num"),
    [
        ((500, 300, 150, 100), 64, "sparse", 1_219_748),
        ((128, 64), 32, "denoising", 222_384),
    ],
)
def test_samples_have_the_parameters_that_the_page_says(widths, latent_dim, objective, num):
    model = make_model(
        *((28, 28, 1),),
        **{"objective": objective, "widths": widths, "latent_dim": latent_dim},
        **{"likelihood": "gaussian", "variance": 0.5, "activation": "relu"},
    )
    assert sum(leaf.size for leaf in jax.tree.leaves(model.param_shapes())) == num
    assert f": {num:,} parameters" in PAGE
    assert f"--widths={','.join(map(str, widths))} --latent_dim={latent_dim}" in PAGE


def test_elu_is_exponential_below_0():
    x = jnp.array([-2.0, -0.5, 0.0, 3.0])
    want = [np.expm1(-2.0), np.expm1(-0.5), 0, 3]
    np.testing.assert_allclose(networks.ACTIVATIONS["elu"](x), want, rtol=1e-6)
    model = make_model((4,), likelihood="gaussian", activation="elu", widths=(3,))
    assert model.encoder.activation is networks.ACTIVATIONS["elu"]
