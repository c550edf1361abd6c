"""Parts of the rate and penalties on the aggregate posterior, against enumeration and Gaussians."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from properties import initial, loss_of

from vae_jax import distributions, likelihoods, losses, networks, objectives
from vae_jax.losses import aggregate
from vae_jax.model import Model

SHAPE = (4, 4, 1)
B, L = 6, 3


def normal(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@pytest.fixture(scope="module")
def setting():
    encoder, decoder = networks.build("mlp", shape=SHAPE, latent_dim=L, widths=(16,))
    model = Model(encoder, decoder, likelihoods.Bernoulli(), SHAPE, L)
    params = jax.tree.map(lambda p: 2 * p, initial(model))
    x = jax.random.bernoulli(jax.random.key(1), 0.3, (B, *SHAPE)).astype(jnp.float32)
    return model, params, {"x": x, "mask": jnp.ones(B)}, jax.random.key(2)


# ---------------------------------------------------------------- the aggregate posterior


@pytest.mark.parametrize("sampling", losses.SAMPLINGS)
@pytest.mark.parametrize("num_valid", [1, 2, 5])
def test_weights_of_a_batch(sampling, num_valid):
    """Stratified ones stand for all of the data, weighted ones for an N-th of it."""
    mask = jnp.float32(np.arange(5) < num_valid)
    weights = np.exp(losses.aggregate_weights(5, 20, mask, sampling=sampling))
    assert (weights[:, num_valid:] == 0).all()
    if sampling == "weighted":
        np.testing.assert_allclose(weights[:, :num_valid], 1 / (20 * num_valid), rtol=1e-6)
    else:
        np.testing.assert_allclose(np.diag(weights)[:num_valid], 1 / 20, rtol=1e-6)
        total = 1 / 20 if num_valid == 1 else 1.0
        np.testing.assert_allclose(weights[:num_valid].sum(axis=1), total, rtol=1e-6)


@pytest.mark.parametrize("padding", [0, 2])
def test_the_stratified_estimate_of_the_density_is_unbiased(padding):
    """Over all ordered batches of 3 of 5 examples that begin with the one z was drawn from."""
    mean, logvar = normal(0, 5, 2), normal(1, 5, 2) - 1
    z = np.array([0.3, -0.2], np.float32)
    density = np.exp(
        distributions.gaussian_log_prob(jnp.broadcast_to(z, (5, 2)), mean, logvar).sum(axis=1)
    )
    mask = jnp.float32([1, 1, 1] + [0] * padding)
    weights = np.exp(losses.aggregate_weights(3 + padding, 5, mask))[0, :3]
    estimates = [
        weights @ density[[first, *others]]
        for first in range(5)
        for others in itertools.permutations(set(range(5)) - {first}, 2)
    ]
    assert np.mean(estimates) == pytest.approx(density.mean(), rel=1e-5)
    assert np.std(estimates) > 0.1 * density.mean()


def codes_with_a_known_aggregate(num_codes, covariance):
    """Posteriors N(m, ½I) whose means make N(0, C) of their mixture; z, means, logvars."""
    root = np.linalg.cholesky(covariance - 0.5 * np.eye(len(covariance)))
    mean = (normal(3, num_codes, len(covariance)) @ root.T).astype(np.float32)
    logvar = np.full_like(mean, math.log(0.5))
    return mean + math.sqrt(0.5) * normal(4, *mean.shape), mean, logvar


def test_the_decomposition_of_gaussians_is_known():
    """I, TC and Σ_l KL_l of q(z) = N(0, C), C = [[1.5, 0.6], [0.6, 1.2]]."""
    covariance = np.array([[1.5, 0.6], [0.6, 1.2]])
    num = 2000
    z, mean, logvar = codes_with_a_known_aggregate(num, covariance)
    weights = losses.aggregate_weights(num, num)
    decompose = jax.jit(losses.rate_decomposition)
    parts = decompose(z, mean, logvar, weights)
    determinant = np.linalg.slogdet(covariance)[1]
    variances = np.diag(covariance)
    expected = (
        0.5 * (determinant - 2 * math.log(0.5)),
        0.5 * (np.log(variances).sum() - determinant),
        0.5 * np.sum(variances - 1 - np.log(variances)),
    )
    for part, value in zip(parts, expected, strict=True):
        error = float(part.std()) / num**0.5
        assert abs(float(part.mean()) - value) < 4 * error + 0.01
    # without the dataset's size in the weights, all of it is off by that many nats and more
    shifted = decompose(z, mean, logvar, weights - math.log(num))
    assert float(shifted[1].mean() - parts[1].mean()) == pytest.approx(math.log(num), rel=1e-3)


def test_rows_in_blocks_are_rows_at_once(monkeypatch):
    """The parts and their gradient, with a number of rows that the blocks do not divide."""
    codes = normal(0, 7, 3), normal(1, 7, 3), normal(2, 7, 3)
    weights = losses.aggregate_weights(7, 50, jnp.float32([1, 1, 1, 1, 1, 1, 0]))

    def found():
        def total(codes):
            parts = losses.rate_decomposition(*codes, weights)
            return sum(jnp.sum(part[:6] ** 2) for part in parts), parts

        return jax.jit(jax.value_and_grad(total, has_aux=True))(codes)

    at_once = found()
    monkeypatch.setattr(aggregate, "_AT_ONCE", 2 * 7 * 3)
    in_blocks = found()
    for one, other in zip(jax.tree.leaves(at_once), jax.tree.leaves(in_blocks), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)


def test_the_memory_of_the_parts_does_not_grow_with_the_square_of_the_batch():
    codes = 3 * [jax.ShapeDtypeStruct((256, 2048), jnp.float32)]
    weights = jax.ShapeDtypeStruct((256, 256), jnp.float32)
    program = jax.jit(losses.rate_decomposition).lower(*codes, weights).compile()
    assert program.memory_analysis().temp_size_in_bytes < 2**26  # [B, B, L] are 2**29


@pytest.mark.parametrize("sampling", losses.SAMPLINGS)
def test_the_three_parts_add_up_to_the_sampled_rate(sampling):
    z, mean, logvar = normal(0, 7, 3), normal(1, 7, 3), normal(2, 7, 3)
    mask = jnp.float32([1, 1, 1, 1, 1, 0, 0])
    weights = losses.aggregate_weights(7, 50, mask, sampling=sampling)
    latent_mask = jnp.float32([1, 0, 1])
    parts = losses.rate_decomposition(z, mean, logvar, weights, latent_mask)
    rate = distributions.gaussian_log_prob(z, mean, logvar)
    rate = rate - distributions.gaussian_log_prob(z, jnp.zeros_like(z), 0.0)
    np.testing.assert_allclose(sum(parts), rate @ latent_mask, rtol=1e-4, atol=1e-4)


# ---------------------------------------------------------------- β-TCVAE


@pytest.mark.parametrize("sampling", losses.SAMPLINGS)
def test_beta_tc_of_one_is_the_elbo_in_expectation(sampling, setting):
    model, params, batch, _ = setting
    objective = objectives.bind("beta_tc_vae", num_examples=50, sampling=sampling)

    @jax.jit
    def difference(key):
        loss, aux = loss_of(objective, model, params, batch, key, beta=1.0)
        return (loss + aux["elbo"]).mean()

    draws = jax.lax.map(difference, jax.random.split(jax.random.key(0), 2000), batch_size=100)
    assert abs(draws.mean()) < 4 * draws.std() / 2000**0.5
    assert draws.std() > 0.05


@pytest.mark.parametrize("sampling", losses.SAMPLINGS)
def test_the_total_correlation_is_that_of_all_examples(sampling, setting):
    """By hand: the batch stands for N = 5000, log q(z) − Σ_l log q(z_l) is that of N."""
    model, params, batch, key = setting
    objective = objectives.bind("beta_tc_vae", num_examples=5000, sampling=sampling)
    _, aux = jax.jit(objective)(model, params, batch, key)
    posterior = model.encode(params, batch["x"])
    z, mean, logvar = (np.float64(v) for v in (posterior.sample(key), *posterior))
    # log q(z_i,l | x_j), [B, B, L]
    squares = (z[:, None] - mean[None]) ** 2 * np.exp(-logvar[None])
    each = -0.5 * (squares + logvar[None] + np.log(2 * np.pi))
    if sampling == "stratified":
        # 1/N for the example itself, the rest for the others alike (up to 1/N)
        weights = np.full((B, B), (1 - 1 / 5000) / (B - 1))
        np.fill_diagonal(weights, 1 / 5000)
    else:
        weights = np.full((B, B), 1 / (B * 5000))
    joint = np.log((weights * np.exp(each.sum(axis=2))).sum(axis=1))
    alone = np.log((weights[..., None] * np.exp(each)).sum(axis=1)).sum(axis=1)
    np.testing.assert_allclose(aux["total_correlation"], joint - alone, rtol=1e-3, atol=1e-3)


def test_beta_weighs_the_total_correlation_alone(setting):
    model, params, batch, key = setting
    objective = objectives.bind("beta_tc_vae", num_examples=50)
    one, aux = loss_of(objective, model, params, batch, key, beta=1.0)
    seven, same = loss_of(objective, model, params, batch, key, beta=7.0)
    np.testing.assert_allclose(seven - one, 6 * aux["total_correlation"], rtol=1e-4, atol=1e-3)
    jax.tree.map(np.testing.assert_array_equal, aux, same)


# ---------------------------------------------------------------- DIP-VAE


def test_the_penalty_of_a_covariance():
    assert float(losses.decorrelation_penalty(jnp.eye(3), 10.0, 100.0)) == 0.0
    covariance = jnp.float32([[1.5, 0.2, 9.0], [0.2, 0.0, 9.0], [9.0, 9.0, 9.0]])
    kept = jnp.float32([1, 1, 0])
    value = losses.decorrelation_penalty(covariance, 10.0, 100.0, kept)
    assert float(value) == pytest.approx(10 * 2 * 0.2**2 + 100 * (0.5**2 + 1))


@pytest.mark.parametrize(("name", "share"), [("dip_vae_i", 0.0), ("dip_vae_ii", 1.0)])
def test_the_penalty_is_that_of_the_covariance(name, share, setting):
    """Of the means, and for II of the code itself: the law of total variance."""
    model, params, batch, key = setting
    mask = jnp.float32([1, 1, 1, 1, 1, 0])
    loss, aux = loss_of(name, model, params, {**batch, "mask": mask}, key)
    posterior = model.encode(params, batch["x"][:5])
    covariance = np.cov(np.asarray(posterior.mean).T, bias=True)
    covariance = covariance + share * np.diag(np.exp(posterior.logvar).mean(axis=0))
    distance = np.square(covariance - np.eye(L))
    diagonal = np.trace(distance)
    off_diagonal = distance.sum() - diagonal
    weight = 100.0 if name == "dip_vae_i" else 10.0
    expected = 10 * off_diagonal + weight * diagonal
    np.testing.assert_allclose(aux["penalty"], expected, rtol=1e-4)
    np.testing.assert_allclose(loss + aux["elbo"], aux["penalty"], rtol=1e-4, atol=1e-3)
    without = loss_of(name, model, params, batch, key, lambda_od=0.0, lambda_d=0.0)
    np.testing.assert_allclose(without[0], -without[1]["elbo"], rtol=1e-6)


def test_words_and_counts_are_bound_and_told_apart():
    known = objectives.hyperparameters("beta_tc_vae")
    assert "num_examples" not in known
    assert known["sampling"].choices == losses.SAMPLINGS
    assert known["sampling"].is_static
    assert not known["beta"].is_static
    assert objectives.hyperparameters("iwae")["num_samples"].is_static
