"""Distances between samples: known answers, no bias, padding; and what objectives make of them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from properties import initial, loss_of

from vae_jax import likelihoods, losses, networks
from vae_jax.evaluation import discrepancy
from vae_jax.model import Model

SHAPE = (4, 4, 1)
B, L = 6, 3


def normal(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), jnp.float32)


@pytest.fixture(scope="module")
def setting():
    encoder, decoder = networks.build("mlp", shape=SHAPE, latent_dim=L, widths=(16,))
    model = Model(encoder, decoder, likelihoods.Bernoulli(), SHAPE, L)
    params = initial(model)
    x = jax.random.bernoulli(jax.random.key(1), 0.3, (B, *SHAPE)).astype(jnp.float32)
    return model, params, {"x": x, "mask": jnp.ones(B)}, jax.random.key(2)


@pytest.mark.parametrize("kernel", losses.KERNELS)
def test_the_discrepancy_of_a_sample_and_itself_is_zero(kernel):
    x = normal(0, 20, 3)
    assert abs(float(losses.maximum_mean_discrepancy(x, x, kernel=kernel))) < 1e-7


@pytest.mark.parametrize("kernel", losses.KERNELS)
@pytest.mark.parametrize("scales", [(1.0,), (0.1, 1.0, 5.0)])
def test_the_discrepancy_is_that_of_evaluation(kernel, scales):
    x, y = normal(0, 50, 3), 0.5 + 2 * normal(1, 50, 3)
    ours = losses.maximum_mean_discrepancy(x, y, kernel=kernel, scales=scales)
    theirs = discrepancy.maximum_mean_discrepancy(x, y, kernel=kernel, scales=jnp.array(scales))
    assert float(ours) == pytest.approx(float(theirs.value), rel=1e-4)


@pytest.mark.parametrize("kernel", losses.KERNELS)
def test_the_discrepancy_is_unbiased(kernel):
    """Around zero for equal distributions; with the diagonal left in it would be above."""
    x, y = normal(2, 4000, 8, 3), normal(3, 4000, 8, 3)
    values = jax.vmap(lambda a, b: losses.maximum_mean_discrepancy(a, b, kernel=kernel))(x, y)
    error = float(values.std()) / 4000**0.5
    assert abs(float(values.mean())) < 4 * error
    assert error < 0.01


def test_the_discrepancy_of_gaussians_is_known():
    """E k for the RBF kernel between N(a, I) and N(0, I) in L dimensions, C = 2L."""
    size, dim, shift = 2000, 3, 0.7
    x, y = shift + normal(4, size, dim), normal(5, size, dim)
    width = 2.0 * dim
    # E exp(−‖u‖²/C), u ~ N(m, 2I): (1 + 4/C)^{−L/2} exp(−‖m‖²/(C + 4))
    scale = (1 + 4 / width) ** (-dim / 2)
    expected = 2 * scale * (1 - np.exp(-dim * shift**2 / (width + 4)))
    found = discrepancy.maximum_mean_discrepancy(x, y, kernel="rbf")
    ours = losses.maximum_mean_discrepancy(x, y, kernel="rbf")
    assert float(ours) == pytest.approx(float(found.value), rel=1e-3)
    assert abs(float(ours) - expected) < 4 * float(found.standard_error)


@pytest.mark.parametrize("distance", ["mmd", "sw"])
def test_padding_and_masked_dimensions_do_not_count(distance):
    x, y, lines = normal(0, 5, 3), normal(1, 5, 3), normal(2, 7, 2)
    rows, dims = jnp.float32([1, 1, 0, 1, 0]), jnp.float32([1, 1, 0])
    kept = np.flatnonzero(rows)
    if distance == "mmd":
        ours = losses.maximum_mean_discrepancy(x, y, rows, dims)
        expected = losses.maximum_mean_discrepancy(x[kept, :2], y[kept, :2])
    else:
        padded = jnp.concatenate([lines, jnp.zeros((7, 1))], axis=1)
        ours = losses.sliced_wasserstein(x, y, padded, rows)
        expected = losses.sliced_wasserstein(x[kept, :2], y[kept, :2], lines)
    assert float(ours) == pytest.approx(float(expected), rel=1e-5)


def test_sliced_wasserstein_of_a_shift():
    """Along u a shift by δ costs (δ·u)²: on average over directions ‖δ‖²/L."""
    x, shift = normal(0, 40, 4), jnp.float32([1.0, -2.0, 0.5, 0.0])
    lines = normal(1, 20000, 4)
    lines = lines / jnp.linalg.norm(lines, axis=1, keepdims=True)
    permuted = x[::-1] + shift[None]
    value = losses.sliced_wasserstein(x, permuted, lines)
    assert float(value) == pytest.approx(float(shift @ shift) / 4, rel=0.03)
    exact = jnp.mean(jnp.square(lines @ shift))
    assert float(value) == pytest.approx(float(exact), rel=1e-5)


def test_info_vae_holds_the_elbo(setting):
    model, params, batch, key = setting
    loss, aux = loss_of("info_vae", model, params, batch, key, alpha=0.0, lambda_mmd=1.0)
    np.testing.assert_allclose(loss, -aux["elbo"], rtol=1e-6)
    loss, aux = loss_of("info_vae", model, params, batch, key, alpha=1.0, lambda_mmd=5.0)
    np.testing.assert_allclose(loss, aux["distortion"] + 5 * aux["mmd"], rtol=1e-5)


@pytest.mark.parametrize(
    ("name", "weight", "term"),
    [
        ("info_vae", "lambda_mmd", "mmd"),
        ("wae_mmd", "lambda_mmd", "mmd"),
        ("swae", "lambda_sw", "sliced_wasserstein"),
    ],
)
def test_the_penalty_draws_the_code_to_the_prior(name, weight, term, setting):
    """Posteriors shifted far away: a step against the gradient brings them nearer."""
    model, params, batch, key = setting
    head = params["encoder"]["head"]["posterior"]
    shifted = {**head, "bias": head["bias"] + jnp.float32([3, 3, 3, 0, 0, 0])}
    params = {**params, "encoder": {**params["encoder"], "head": {"posterior": shifted}}}

    def mean_loss(bias):
        moved = {**shifted, "bias": bias}
        inner = {**params, "encoder": {**params["encoder"], "head": {"posterior": moved}}}
        loss, aux = loss_of(name, model, inner, batch, key, **{weight: 1e5})
        return loss.mean(), aux[term].mean()

    slope, before = jax.jit(jax.grad(mean_loss, has_aux=True))(shifted["bias"])
    assert (slope[:3] > 0).all()
    after = jax.jit(mean_loss)(shifted["bias"] - 0.5 * slope / jnp.linalg.norm(slope))[1]
    assert after < before


@pytest.mark.parametrize(
    ("name", "term"),
    [("info_vae", "mmd"), ("wae_mmd", "mmd"), ("swae", "sliced_wasserstein")],
)
def test_codes_and_draws_of_the_prior_are_independent(name, term, setting):
    """Of posteriors that are the prior both are N(0, I): with one key they would be the same."""
    model, params, batch, key = setting
    encoder = jax.tree.map(jnp.zeros_like, params["encoder"])
    _, aux = loss_of(name, model, {**params, "encoder": encoder}, batch, key)
    np.testing.assert_array_equal(aux["rate"], 0.0)
    assert abs(float(aux[term][0])) > 1e-4
