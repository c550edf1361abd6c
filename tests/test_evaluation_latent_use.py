"""What the aggregate posterior shares with x and the prior, against closed forms and loops."""

import functools
import json
import math
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
import scipy.special
import scipy.stats

from vae_jax import losses
from vae_jax.distributions import DiagonalGaussian, standard_gaussian
from vae_jax.errors import UsageError
from vae_jax.evaluation import latent_use


def normal(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@functools.partial(jax.jit, static_argnames=("num_samples", "num_rows", "num_columns"))
def compiled_terms(mean, logvar, key, prior, *, num_samples, **blocks):
    rows, z = latent_use.sample(mean, logvar, key, num_samples)
    density = latent_use.aggregate_log_density(z, mean, logvar, **blocks)
    posterior = DiagonalGaussian(mean[rows], logvar[rows])
    return rows, z, latent_use.decompose(z, posterior, density, prior)


def terms_of(mean, logvar, key=0, num_samples=4000, prior=None, **blocks):
    mean, logvar = np.asarray(mean, np.float32), np.asarray(logvar, np.float32)
    prior = prior or standard_gaussian(mean.shape[1])
    return compiled_terms(
        mean, logvar, jax.random.key(key), prior, num_samples=num_samples, **blocks
    )


def assert_is_mean(values, expected, bias=0.0):
    """Within four standard errors, which must be small enough to tell."""
    values = np.float64(values)
    error = values.std(ddof=1) / np.sqrt(len(values))
    assert error < 0.05
    assert abs(values.mean() - expected) < 4 * error + bias + 1e-5


# ---------------------------------------------------------------- the mixture


@pytest.mark.parametrize(("num_rows", "num_columns"), [(3, 4), (64, 256)])
@pytest.mark.parametrize("spread", [0.1, 1.0, 300.0])
def test_log_densities_equal_those_of_the_whole_mixture(num_rows, num_columns, spread):
    mean, logvar, z = spread * normal(0, 11, 3), 2 * normal(1, 11, 3), spread * normal(2, 7, 3)
    result = latent_use.aggregate_log_density(
        z, mean, logvar, num_rows=num_rows, num_columns=num_columns
    )
    exact = scipy.stats.norm.logpdf(
        np.float64(z)[:, None], np.float64(mean), np.exp(np.float64(logvar) / 2)
    )
    joint = scipy.special.logsumexp(exact.sum(axis=2), axis=1) - np.log(11)
    marginals = scipy.special.logsumexp(exact, axis=1) - np.log(11)
    np.testing.assert_allclose(result.joint, joint, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(result.marginals, marginals, rtol=1e-5, atol=1e-5)


def test_marginals_are_densities():
    mean, logvar = normal(0, 9, 1), normal(1, 9, 1)
    z, step = np.linspace(-12, 12, 20_001, retstep=True, dtype=np.float32)
    density = latent_use.aggregate_log_density(z[:, None], mean, logvar)
    assert np.exp(density.joint).sum() * step == pytest.approx(1, abs=1e-4)
    np.testing.assert_allclose(density.joint, density.marginals[:, 0], atol=1e-5)


def test_samples_are_of_the_examples_they_name():
    mean = 100 * jnp.arange(5.0)[:, None] * jnp.ones((1, 2))
    rows, z = latent_use.sample(mean, jnp.zeros((5, 2)), jax.random.key(0), 4000)
    np.testing.assert_array_less(np.abs(z - mean[rows]), 6.0)
    counts = np.bincount(rows, minlength=5)
    assert scipy.stats.chisquare(counts).pvalue > 1e-3
    noise = np.asarray(z - mean[rows]).ravel()
    assert scipy.stats.kstest(noise, "norm").pvalue > 1e-3
    again = latent_use.sample(mean, jnp.zeros((5, 2)), jax.random.key(0), 4000)
    np.testing.assert_array_equal(again[1], z)


# ---------------------------------------------------------------- the terms


def gaussian_codes(mixing, variance, num=4096):
    """Posteriors of one variance whose means are spread like N(0, A Aᵀ), as evenly as can be."""
    size = len(mixing)
    # scipy before 1.15 calls the generator of a scrambled engine by another name
    engine = scipy.stats.qmc.Sobol(size, scramble=False).fast_forward(1)
    normal = scipy.stats.qmc.MultivariateNormalQMC(np.zeros(size), engine=engine)
    mean = normal.random(num) @ np.transpose(mixing)
    return mean, np.broadcast_to(np.log(variance), mean.shape)


@pytest.mark.parametrize(
    ("mixing", "variance"),
    [
        ([[0.8, 0.0], [0.6, 0.3]], [0.3, 0.4]),
        ([[1.5, 0.0, 0.0], [1.0, 0.5, 0.0], [0.0, 0.0, 0.0]], [0.5, 0.9, 1.0]),
    ],
)
def test_gaussian_aggregate_has_closed_forms(mixing, variance):
    mean, logvar = gaussian_codes(mixing, variance)
    sigma = np.matmul(mixing, np.transpose(mixing)) + np.diag(variance)
    information = 0.5 * (np.linalg.slogdet(sigma)[1] - np.sum(np.log(variance)))
    correlation = 0.5 * (np.sum(np.log(np.diag(sigma))) - np.linalg.slogdet(sigma)[1])
    each = 0.5 * (np.diag(sigma) - 1 - np.log(np.diag(sigma)))
    _, _, terms = terms_of(mean, logvar, num_samples=2000)
    bias = 0.01  # of 4096 posteriors instead of infinitely many
    assert_is_mean(terms.mutual_information, information, bias)
    assert_is_mean(terms.total_correlation, correlation, bias)
    assert_is_mean(terms.marginal_kl, correlation + each.sum(), bias)
    for dimension in range(len(variance)):
        assert_is_mean(terms.dimension_wise_kl[:, dimension], each[dimension], bias)
    fitted = losses.aggregate_covariance(jnp.float32(mean), jnp.float32(logvar))
    np.testing.assert_allclose(fitted, sigma, atol=0.02)
    assert float(latent_use.gaussian_total_correlation(fitted)) == pytest.approx(
        correlation, abs=0.01
    )


def test_mutual_information_of_a_small_mixture_matches_quadrature():
    mean, scale = np.array([-1.0, 0.2, 0.5, 2.0]), np.array([0.3, 1.0, 0.2, 0.5])
    z = np.linspace(-8, 8, 40_001)
    each = scipy.stats.norm.pdf(z, mean[:, None], scale[:, None])
    mixture = each.mean(axis=0)
    entropy = scipy.integrate.trapezoid(scipy.special.entr(mixture), z)
    conditional = np.mean(0.5 * np.log(2 * np.pi * np.e * scale**2))
    to_prior = -entropy - scipy.integrate.trapezoid(mixture * scipy.stats.norm.logpdf(z), z)
    _, _, terms = terms_of(mean[:, None], 2 * np.log(scale)[:, None], num_samples=20_000)
    assert_is_mean(terms.mutual_information, entropy - conditional)
    assert_is_mean(terms.marginal_kl, to_prior)
    np.testing.assert_allclose(terms.total_correlation, 0, atol=1e-5)


@pytest.mark.slow
def test_standard_errors_are_those_of_repetition():
    mean, logvar = normal(3, 40, 2), normal(4, 40, 2) - 1
    runs = [terms_of(mean, logvar, key, 500)[2] for key in range(60)]
    for name in ("mutual_information", "marginal_kl", "total_correlation"):
        values = np.float64([getattr(terms, name) for terms in runs])
        claimed = np.mean(values.std(axis=1, ddof=1) / np.sqrt(500))
        # the spread of 60 runs is itself known to 1/√118
        assert values.mean(axis=1).std(ddof=1) == pytest.approx(claimed, rel=4 / np.sqrt(118))


def test_terms_add_up_for_the_same_samples():
    mean, logvar = normal(0, 50, 4), normal(1, 50, 4)
    prior = DiagonalGaussian(jnp.float32([0.3, -1, 0, 2]), jnp.float32([0, 0.5, -1, 1]))
    rows, z, terms = terms_of(mean, logvar, num_samples=300, prior=prior)
    rate = DiagonalGaussian(mean[rows], logvar[rows]).log_prob(z) - prior.log_prob(z)
    np.testing.assert_allclose(terms.mutual_information + terms.marginal_kl, rate, atol=1e-4)
    split = terms.total_correlation + terms.dimension_wise_kl.sum(axis=1)
    np.testing.assert_allclose(terms.marginal_kl, split, atol=1e-4)


def test_one_example_shares_nothing_and_all_of_its_rate_is_distance_to_the_prior():
    mean, logvar = normal(0, 1, 3), normal(1, 1, 3)
    _, _, terms = terms_of(mean, logvar, num_samples=3000)
    np.testing.assert_allclose(terms.mutual_information, 0, atol=1e-5)
    np.testing.assert_allclose(terms.total_correlation, 0, atol=1e-5)
    rate = 0.5 * (np.exp(logvar) - 1 - logvar + mean**2)
    for dimension in range(3):
        assert_is_mean(terms.dimension_wise_kl[:, dimension], rate[0, dimension])


def test_posteriors_far_apart_reach_the_bound():
    mean = 1000.0 * np.arange(300)[:, None] * np.ones(2)
    _, _, terms = terms_of(mean, np.zeros((300, 2)), num_samples=200)
    np.testing.assert_allclose(terms.mutual_information, np.log(300), rtol=1e-5)
    # each dimension names the example: TC = log N too
    np.testing.assert_allclose(terms.total_correlation, np.log(300), atol=2e-3)
    assert latent_use.is_saturated(float(terms.mutual_information.mean()), 300)
    # half of the examples mistaken for one other: just at the threshold
    assert not latent_use.is_saturated(math.log(300) - 0.7, 300)
    assert latent_use.is_saturated(math.log(300) - 0.68, 300)


def test_collapse_leaves_nothing():
    zeros = np.zeros((70, 3))
    _, _, terms = terms_of(zeros, zeros, num_samples=200)
    for values in terms:
        np.testing.assert_allclose(values, 0, atol=1e-5)
    result = latent_use.evaluate(zeros, zeros, jax.random.key(0), num_samples=200)
    assert result["rate"] == result["rate_standard_error"] == result["active_units"] == 0
    assert result["gaussian_tc_means"] == result["gaussian_tc_samples"] == 0
    assert result["collapsed"]
    assert not result["mutual_information_saturated"]


def test_a_rate_that_says_nothing_of_x_is_a_collapse():
    """q(z|x) = N(3, 0.1) for every x, up to trembling: 32 nats from the prior, I(x; z) near 0."""
    rng = np.random.default_rng(0)
    mean = np.float32(3 + 1e-3 * rng.standard_normal((200, 6)))
    result = latent_use.evaluate(
        mean, np.full_like(mean, math.log(0.1)), jax.random.key(0), num_samples=300
    )
    assert result["rate"] > 30
    assert result["mutual_information"] < 0.1
    assert result["collapsed"]
    assert result["verdict"].startswith("collapsed: of the rate of")
    used = latent_use.evaluate(
        mean + np.float32(rng.standard_normal(mean.shape)),
        np.full_like(mean, -3.0),
        jax.random.key(0),
        num_samples=300,
    )
    assert not used["collapsed"]


def test_extreme_posteriors_give_finite_terms():
    mean = np.float32([[1e4, -1e4], [0, 0], [3, -2]])
    logvar = np.float32([[1e4, -1e4], [-1e4, 1e4], [0, -30]])
    _, _, terms = terms_of(mean, logvar, num_samples=100)
    for values in terms:
        assert np.isfinite(values).all()


# ---------------------------------------------------------------- Gaussian total correlation


def test_gaussian_total_correlation_of_two_is_that_of_their_correlation():
    for rho in (0.0, 0.3, -0.9, 0.999):
        matrix = jnp.float32([[4.0, 2e-3 * rho], [2e-3 * rho, 1e-6]])
        expected = -0.5 * math.log1p(-rho * rho)
        value = float(latent_use.gaussian_total_correlation(matrix))
        assert value == pytest.approx(expected, rel=1e-3, abs=1e-6)


def test_gaussian_total_correlation_ignores_scale_and_constants():
    basis = normal(0, 4, 9)
    sigma = basis @ basis.T
    exact = np.float64(sigma)
    expected = 0.5 * (np.sum(np.log(np.diag(exact))) - np.linalg.slogdet(exact)[1])
    scale = np.diag([1.0, 1e-3, 1e3, 7.0]).astype(np.float32)
    wider = np.zeros((5, 5), np.float32)
    wider[:4, :4] = scale @ sigma @ scale
    assert float(latent_use.gaussian_total_correlation(wider)) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("value", [0.1, 0.7123, -3.3333, 1e3 / 7])
def test_dimensions_that_are_constant_are_independent(value):
    """Their variance in float32 is above 0, the square of a rounding that all of them share."""
    mean = np.full((501, 3), value, np.float32)
    mean[:, 2] = normal(0, 501)
    result = latent_use.evaluate(mean, np.full_like(mean, -2), jax.random.key(0), num_samples=5)
    assert result["gaussian_tc_means"] == result["gaussian_tc_means_standard_error"] == 0


def test_gaussian_total_correlation_of_copies_is_infinite():
    codes = normal(0, 100, 2)[:, [0, 1, 0]]
    matrix = losses.covariance(jnp.asarray(codes))
    np.testing.assert_allclose(matrix, np.cov(codes.T, ddof=0), rtol=1e-4, atol=1e-5)
    assert latent_use.gaussian_total_correlation(matrix) == np.inf


def test_the_error_of_a_gaussian_total_correlation_is_that_of_repetition():
    """Of two of correlation r the estimate is −½ log(1 − r²), of standard deviation r/√N."""
    rho, num = 0.6, 400
    mean = normal(0, num, 2)
    mean[:, 1] = rho * mean[:, 0] + math.sqrt(1 - rho**2) * mean[:, 1]
    settings = {"num_samples": 10}
    result = latent_use.evaluate(mean, np.full_like(mean, -9), jax.random.key(0), **settings)
    for name in ("gaussian_tc_means", "gaussian_tc_samples"):
        assert result[f"{name}_standard_error"] == pytest.approx(rho / num**0.5, rel=0.2)


def test_units_are_active_by_the_scale_of_the_prior():
    mean = 0.05 * normal(0, 300, 2)
    prior = DiagonalGaussian(np.zeros(2, np.float32), np.float32([0, math.log(0.01)]))
    logvar = np.full_like(mean, -9)
    settings = {"prior": prior, "num_samples": 10}
    result = latent_use.evaluate(mean, logvar, jax.random.key(0), **settings)
    assert result["active_units"] == 1


def test_covariance_of_the_aggregate_is_that_of_its_samples():
    mean, logvar = normal(0, 30, 3), normal(1, 30, 3)
    _, z = latent_use.sample(mean, logvar, jax.random.key(0), 200_000)
    exact = losses.aggregate_covariance(mean, logvar)
    np.testing.assert_allclose(np.cov(np.float64(z).T), exact, atol=0.06)


# ---------------------------------------------------------------- the summary


def test_summary_is_what_is_defined_and_plain():
    mean, logvar = normal(0, 60, 3), normal(1, 60, 3) - 1
    result = latent_use.evaluate(
        mean, logvar, jax.random.key(0), elbo=np.ones(9), floor=np.zeros(9), num_samples=400
    )
    assert {name.removesuffix("_standard_error") for name in result} == set(latent_use.DEFINITIONS)
    assert all(len(line) < 100 and "\n" not in line for line in latent_use.DEFINITIONS.values())
    assert json.loads(json.dumps(result)) == result
    sampled = result["mutual_information"] + result["marginal_kl"]
    assert sampled == pytest.approx(result["rate"], abs=0.6)
    split = result["total_correlation"] + result["dimension_wise_kl"]
    assert result["marginal_kl"] == pytest.approx(split, abs=1e-4)
    assert sum(result["kl_per_dim"]) == pytest.approx(result["dimension_wise_kl"], abs=1e-6)
    assert sum(result["rate_per_dim"]) == pytest.approx(result["rate"], abs=1e-6)
    exact = 0.5 * (np.exp(logvar) - 1 - logvar + mean**2).sum(axis=1)
    assert result["mutual_information_bound"] == math.log(60)
    assert result["rate"] == pytest.approx(exact.mean(), rel=1e-5)
    assert result["rate_standard_error"] == pytest.approx(exact.std(ddof=1) / 60**0.5, rel=1e-4)
    cut = latent_use.evaluate(
        mean, logvar, jax.random.key(0), num_samples=400, num_rows=7, num_columns=9
    )
    for name in ("mutual_information", "marginal_kl", "total_correlation", "mmd"):
        assert cut[name] == pytest.approx(result[name], abs=1e-4)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"mean": np.float32([[np.nan, 1]])}, r"mean: 1 of 2 values are not finite"),
        ({"logvar": np.float32([[np.inf, 1]])}, r"logvar: 1 of 2 values are not finite"),
        ({"mean": np.zeros((0, 2)), "logvar": np.zeros((0, 2))}, r"mean .* not be empty"),
        ({"num_samples": 2}, "num_samples=2: must be at least 3"),
        ({"num_rows": 0}, "num_rows=0: must be at least 1"),
        ({"elbo": np.float32([np.nan]), "floor": np.zeros(1)}, "elbo: 1 of 1"),
    ],
)
def test_invalid_arguments_are_refused_in_one_line(change, match):
    arguments = {"mean": np.zeros((1, 2)), "logvar": np.zeros((1, 2)), "key": jax.random.key(0)}
    with pytest.raises(UsageError, match=match) as caught:
        latent_use.evaluate(**(arguments | {"num_samples": 5} | change))
    assert "\n" not in str(caught.value)


def test_the_cores_need_neither_flax_nor_our_model():
    program = (
        "import sys; from vae_jax.evaluation import latent_use; "
        "loaded = {'flax', 'optax', 'orbax', 'sklearn', 'vae_jax.model'} & set(sys.modules); "
        "sys.exit(', '.join(sorted(loaded)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
