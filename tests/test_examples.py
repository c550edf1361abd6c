"""The example on one page: it runs, it learns, and it stays one page."""

import importlib.util
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vae_jax import losses

PATH = pathlib.Path(__file__).parents[1] / "examples" / "vae.py"


@pytest.fixture(scope="module")
def vae():
    spec = importlib.util.spec_from_file_location("example_vae", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with jax.numpy_dtype_promotion("standard"):  # as its users have it
        yield module


def test_it_stays_one_page():
    assert len(PATH.read_text().splitlines()) <= 150


def test_it_explains_digits_better_than_independent_pixels_do(vae, capsys):
    x, x_test = vae.load_digits()
    mean = jnp.clip(x.mean(axis=0), 1e-3, 1 - 1e-3)
    logits = jnp.broadcast_to(jnp.log(mean / (1 - mean)), x_test.shape)
    independent = losses.batch_mean(losses.bernoulli_distortion(x_test, logits))
    terms = vae.main(["--epochs=8", "--learning_rate=5e-3"])
    assert terms.rate > 1
    assert terms.distortion + terms.rate < 0.9 * independent
    elbo, *drawn = capsys.readouterr().out.splitlines()
    assert elbo.startswith(f"test ELBO {-(terms.distortion + terms.rate):.2f} nats")
    assert len(drawn) == 8
    assert {len(line) for line in drawn} == {8 * 8 + 7 * 2}


def test_beta_weighs_the_rate(vae):
    heavy, light = (vae.main([f"--beta={beta}", "--epochs=2"]) for beta in (8, 0.1))
    assert heavy.rate < light.rate
    assert np.isfinite([*heavy, *light]).all()
