"""Log-densities against scipy, divergences against quadrature, and what must hold at extremes."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats
from numpyro import distributions as numpyro_distributions

from vae_jax import distributions
from vae_jax.distributions import DiagonalGaussian

EXTREMES = np.float32([-1e4, -88, -20, 0, 20, 88, 1e4])
LOGISTIC = jax.jit(distributions.discretized_logistic_log_prob, static_argnames="num_levels")
SCALED = {
    "gaussian": distributions.gaussian_log_prob,
    "laplace": distributions.laplace_log_prob,
    "logistic": distributions.discretized_logistic_log_prob,
}


def normal(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def scale_of_logistic(logvar: float) -> float:
    return math.sqrt(3 * math.exp(logvar)) / math.pi


def logistic_level_probs(mean: float, logvar: float, num_levels: int) -> np.ndarray:
    """Differences of scipy's logistic distribution function, in float64: [num_levels]."""
    edges = (np.arange(1, num_levels) - 0.5) / (num_levels - 1)
    edges = np.concatenate([[-np.inf], edges, [np.inf]])
    logistic = scipy.stats.logistic(mean, scale_of_logistic(logvar))
    # The difference of the smaller pair of tails, so that neither end cancels.
    return np.where(edges[1:] < mean, np.diff(logistic.cdf(edges)), -np.diff(logistic.sf(edges)))


def test_gaussian_matches_scipy():
    x, mean, logvar = normal(0, 5, 3), normal(1, 5, 3), normal(2, 5, 3)
    expected = scipy.stats.norm(mean, np.exp(0.5 * logvar)).logpdf(x)
    np.testing.assert_allclose(
        distributions.gaussian_log_prob(x, mean, logvar), expected, rtol=1e-5, atol=1e-6
    )


def test_laplace_matches_scipy_of_the_same_variance():
    x, mean, logvar = normal(0, 5, 3), normal(1, 5, 3), normal(2, 5, 3)
    reference = scipy.stats.laplace(mean, np.exp(0.5 * logvar) / math.sqrt(2))
    np.testing.assert_allclose(reference.var(), np.exp(logvar), rtol=1e-6)
    np.testing.assert_allclose(
        distributions.laplace_log_prob(x, mean, logvar), reference.logpdf(x), rtol=1e-5, atol=1e-6
    )


def test_bernoulli_matches_scipy():
    logits = np.linspace(-10.0, 10.0, 41)
    for x in (0, 1):
        expected = scipy.stats.bernoulli(scipy.special.expit(np.float64(logits))).logpmf(x)
        actual = distributions.bernoulli_log_prob(np.full_like(logits, x), logits)
        np.testing.assert_allclose(actual, expected, rtol=1e-5)


def test_bernoulli_soft_target_is_the_mixture_of_both_outcomes():
    logits, x = normal(0, 50), np.linspace(0.0, 1.0, 50)
    of_one = distributions.bernoulli_log_prob(np.ones(50), logits)
    of_zero = distributions.bernoulli_log_prob(np.zeros(50), logits)
    np.testing.assert_allclose(
        distributions.bernoulli_log_prob(x, logits), x * of_one + (1 - x) * of_zero, rtol=1e-5
    )


def test_bernoulli_derivatives_at_logit_zero():
    first = jax.grad(distributions.bernoulli_log_prob, 1)
    second = jax.grad(first, 1)
    # d/dl log p = x − σ(l) = ±½ and d²/dl² log p = −σ(l) σ(−l) = −¼
    for x in (0.0, 1.0):
        x, logit = np.float32(x), np.float32(0.0)
        assert first(x, logit) == x - 0.5
        assert second(x, logit) == -0.25


def test_bernoulli_certain_outcomes_are_exact():
    log_prob = distributions.bernoulli_log_prob
    certain = log_prob(np.float32([1.0, 1.0, 0.0]), np.float32([88.0, 1e4, -1e4]))
    np.testing.assert_allclose(certain, 0.0, atol=1e-37)
    assert log_prob(np.float32(0.0), np.float32(1e4)) == -1e4
    assert log_prob(np.float32(1.0), np.float32(-1e4)) == -1e4
    # log σ(20) = −2.06e-9 is lost by x·l − log(1 + e^l) in float32.
    np.testing.assert_allclose(
        log_prob(np.float32(1.0), np.float32(20.0)), -math.log1p(math.exp(-20)), rtol=1e-5
    )


def test_categorical_matches_numpyro():
    logits = 3 * normal(0, 4, 5, 7)
    x = np.random.default_rng(1).integers(0, 7, (4, 5))
    expected = numpyro_distributions.Categorical(logits=logits).log_prob(x)
    np.testing.assert_allclose(distributions.categorical_log_prob(x, logits), expected, rtol=1e-5)


def test_categorical_over_two_levels_is_bernoulli():
    x, logits = np.array([0, 1, 0, 1]), np.float32([-2.0, -2.0, 3.0, 3.0])
    two = np.stack([np.zeros(4), logits], axis=-1)
    np.testing.assert_allclose(
        distributions.categorical_log_prob(x, two),
        distributions.bernoulli_log_prob(x.astype(np.float32), logits),
        rtol=1e-5,
    )


@pytest.mark.parametrize("num_levels", [2, 17, 256])
@pytest.mark.parametrize(("mean", "logvar"), [(0.4, -3.0), (0.0, -8.0), (1.3, -5.0), (0.5, 3.0)])
def test_discretized_logistic_matches_scipy(mean, logvar, num_levels):
    x = np.arange(num_levels) / (num_levels - 1)
    actual = LOGISTIC(x, np.full_like(x, mean), logvar, num_levels=num_levels)
    expected = np.log(logistic_level_probs(mean, logvar, num_levels))
    np.testing.assert_allclose(actual, expected, rtol=2e-4, atol=1e-4)


@pytest.mark.parametrize("num_levels", [2, 256])
@pytest.mark.parametrize("mean", [-1e4, -0.2, 0.0, 0.37, 1.0, 1e4])
@pytest.mark.parametrize("logvar", [-1e4, -19.0, -10.0, -3.0, 0.0, 19.0, 1e4])
def test_discretized_logistic_sums_to_one(mean, logvar, num_levels):
    x = np.arange(num_levels) / (num_levels - 1)
    log_probs = LOGISTIC(x, np.full_like(x, mean), logvar, num_levels=num_levels)
    np.testing.assert_allclose(scipy.special.logsumexp(log_probs), 0.0, atol=2e-5)


@pytest.mark.parametrize("name", SCALED)
def test_scaled_densities_are_finite_at_extremes(name):
    mean, logvar = (a.ravel() for a in np.meshgrid(EXTREMES, EXTREMES))
    for level in (0.0, 0.2, 1.0):
        x = np.full_like(mean, level)
        check_finite(SCALED[name], x, mean, logvar)


def test_bernoulli_is_finite_at_extremes():
    x, logits = (a.ravel() for a in np.meshgrid(np.float32([0.0, 0.3, 1.0]), EXTREMES))
    check_finite(distributions.bernoulli_log_prob, x, logits)


def test_categorical_is_finite_at_extremes():
    logits = np.stack(np.meshgrid(EXTREMES, EXTREMES), axis=-1)
    for level in (0, 1):
        x = np.full(logits.shape[:-1], level)
        check_finite(lambda logits, x=x: distributions.categorical_log_prob(x, logits), logits)


def test_gaussian_kl_is_finite_at_extremes():
    grid = np.meshgrid(*[np.float32([-1e4, -20.0, 0.0, 20.0, 1e4])] * 4)
    check_finite(distributions.gaussian_kl, *(a.ravel() for a in grid))


def test_reparameterize_is_finite_at_extremes():
    mean, logvar = (a.ravel() for a in np.meshgrid(EXTREMES, EXTREMES))
    key = jax.random.key(0)
    check_finite(lambda *args: distributions.reparameterize(key, *args), mean, logvar)


def check_finite(function, *args):
    """Asserts that the value and the gradient with respect to every argument are finite."""
    value, vjp = jax.vjp(jax.jit(function), *args)
    for array in (value, *vjp(jnp.ones_like(value))):
        assert np.isfinite(array).all()


@jax.jit
def all_functions_of_logvar(logvar):
    x, mean = np.float32([0.0, 0.2, 0.6, 1.0]), np.float32([0.1, 0.2, 0.9, 0.4])
    key = jax.random.key(0)
    return [
        *(log_prob(x, mean, logvar) for log_prob in SCALED.values()),
        distributions.gaussian_kl(mean, logvar),
        distributions.gaussian_kl(mean, np.zeros(4), x, logvar),
        distributions.reparameterize(key, mean, logvar),
        DiagonalGaussian(mean, logvar).log_prob(x),
        DiagonalGaussian(mean, logvar).sample(key, 2),
        distributions.bound_logvar(logvar),
    ]


@pytest.mark.parametrize("excess", [1.0, 1e4])
@pytest.mark.parametrize("sign", [-1, 1])
def test_all_functions_agree_on_the_bound(excess, sign):
    bound = np.full(4, sign * distributions.LOGVAR_BOUND, np.float32)
    logvars = bound + sign * np.float32(excess), bound, 0.9 * bound
    for beyond, at, inside in zip(*map(all_functions_of_logvar, logvars), strict=True):
        np.testing.assert_array_equal(beyond, at)
        assert np.any(np.asarray(at) != np.asarray(inside))


def test_reparameterize_recovers_the_noise_of_the_key():
    key, mean, logvar = jax.random.key(3), normal(0, 6, 4), normal(1, 6, 4)
    z = distributions.reparameterize(key, mean, logvar)
    eps = jax.random.normal(key, (6, 4))
    np.testing.assert_allclose((z - mean) / np.exp(0.5 * logvar), eps, rtol=1e-4, atol=1e-5)


def test_sample_moments():
    posterior = DiagonalGaussian(np.float32([[1.0, -2.0]]), np.float32([[0.0, 2.0]]))
    num_samples = 40_000
    z = posterior.sample(jax.random.key(0), num_samples)
    assert z.shape == (num_samples, 1, 2)
    std = np.exp(0.5 * posterior.logvar)
    # Five standard errors of a mean and of a standard deviation.
    np.testing.assert_array_less(abs(z.mean(0) - posterior.mean), 5 * std / math.sqrt(num_samples))
    np.testing.assert_array_less(abs(z.std(0) - std), 5 * std / math.sqrt(2 * num_samples))


def test_samples_without_k_have_the_shape_of_the_mean():
    posterior = DiagonalGaussian(normal(0, 3, 2), normal(1, 3, 2))
    assert posterior.sample(jax.random.key(0)).shape == (3, 2)
    prior = distributions.standard_gaussian(2)
    assert prior.sample(jax.random.key(0)).shape == (2,)
    assert prior.sample(jax.random.key(0), 5).shape == (5, 2)


def test_gaussian_log_prob_sums_over_latent_dimensions():
    posterior = DiagonalGaussian(normal(0, 3, 2), normal(1, 3, 2))
    z = posterior.sample(jax.random.key(0), 4)
    reference = scipy.stats.norm(posterior.mean, np.exp(0.5 * posterior.logvar))
    expected = reference.logpdf(z).sum(-1)
    np.testing.assert_allclose(posterior.log_prob(z), expected, rtol=1e-5, atol=1e-5)
    prior = distributions.standard_gaussian(2)
    expected = scipy.stats.norm.logpdf(z).sum(-1)
    np.testing.assert_allclose(prior.log_prob(z), expected, rtol=1e-5, atol=1e-5)


PAIRS = [(0.0, 0.0, 0.0, 0.0), (1.5, -3.0, 0.0, 0.0), (-0.3, 1.0, 2.0, -1.0), (0.2, -1.0, 0.1, 2.0)]


@pytest.mark.parametrize("pair", PAIRS)
def test_gaussian_kl_matches_quadrature(pair):
    mean, logvar, prior_mean, prior_logvar = pair
    q = scipy.stats.norm(mean, math.exp(0.5 * logvar))
    p = scipy.stats.norm(prior_mean, math.exp(0.5 * prior_logvar))
    z, step = np.linspace(mean - 12 * q.std(), mean + 12 * q.std(), 20_001, retstep=True)
    expected = step * np.sum(q.pdf(z) * (q.logpdf(z) - p.logpdf(z)))
    actual = distributions.gaussian_kl(*(np.float32([a]) for a in pair))
    np.testing.assert_allclose(actual, [expected], rtol=1e-5, atol=1e-9)


def test_gaussian_kl_of_two_means_is_half_their_squared_distance_in_deviations():
    mean, prior_mean = np.float32([0.0, 3.0, -1.0]), np.float32([2.0, 3.0, 1.0])
    logvar = np.full(3, math.log(4.0), np.float32)
    found = distributions.gaussian_kl(mean, logvar, prior_mean, logvar)
    np.testing.assert_allclose(found, [0.5, 0.0, 0.5], rtol=1e-6)
    standard = distributions.gaussian_kl(mean, np.zeros(3))
    np.testing.assert_allclose(standard, np.square(mean) / 2, rtol=1e-6)


def test_gaussian_kl_is_standard_normal_by_default():
    mean, logvar = normal(0, 3, 2), normal(1, 3, 2)
    zeros = np.zeros((3, 2))
    np.testing.assert_array_equal(
        distributions.gaussian_kl(mean, logvar),
        distributions.gaussian_kl(mean, logvar, zeros, zeros),
    )


def test_gaussian_kl_keeps_its_digits_near_zero():
    # KL(N(0, e^r) ‖ N(0, 1)) = r²/4 + r³/12 + …; exp(r) − 1 − r has no digits left in float32.
    r = 1e-3
    actual = distributions.gaussian_kl(np.zeros(1), np.full(1, r))
    np.testing.assert_allclose(actual, r**2 / 4 + r**3 / 12, rtol=1e-3)


def test_kl_divergence_is_the_expectation_of_the_difference_of_log_probs():
    posterior = DiagonalGaussian(np.float32([[0.5, -1.0]]), np.float32([[-1.0, 0.4]]))
    for prior in (
        distributions.standard_gaussian(2),
        DiagonalGaussian(np.float32([[1.0, 0.0]]), np.float32([[0.5, -0.5]])),
    ):
        z = posterior.sample(jax.random.key(0), 40_000)
        samples = posterior.log_prob(z) - prior.log_prob(z)
        standard_error = samples.std() / math.sqrt(len(z))
        rate = distributions.kl_divergence(posterior, prior)
        assert rate.shape == (1, 2)
        assert abs(rate.sum() - samples.mean()) < 5 * standard_error


def test_kl_divergence_names_the_way_out_where_there_is_no_closed_form():
    with pytest.raises(TypeError, match=r"DiagonalGaussian, object.*log q\(z\|x\) − log p\(z\)"):
        distributions.kl_divergence(distributions.standard_gaussian(2), object())


def test_prior_of_shape_l_equals_the_broadcast_one():
    posterior = DiagonalGaussian(normal(0, 3, 2), normal(1, 3, 2))
    prior = DiagonalGaussian(np.float32([1.0, -1.0]), np.float32([0.5, -0.5]))
    full = DiagonalGaussian(*(np.broadcast_to(a, (3, 2)) for a in prior))
    np.testing.assert_array_equal(
        distributions.kl_divergence(posterior, prior), distributions.kl_divergence(posterior, full)
    )


def test_unequal_shapes_are_refused():
    x, wide = np.zeros((2, 3)), np.zeros((2, 1))
    for function in (
        *SCALED.values(),
        lambda x, mean, _: distributions.bernoulli_log_prob(x, mean),
    ):
        with pytest.raises(AssertionError):
            function(x, wide, np.zeros(()))
    with pytest.raises(AssertionError):
        distributions.gaussian_log_prob(x, x, np.zeros(2))
    with pytest.raises(AssertionError):
        distributions.categorical_log_prob(np.zeros(3, int), x)
    with pytest.raises(AssertionError):
        distributions.categorical_log_prob(np.zeros(2), x)


def test_jit_of_vmap_over_rows_equals_the_eager_batch():
    x, mean, logvar = np.clip(normal(0, 5, 3), 0.0, 1.0), normal(1, 5, 3), normal(2, 5, 3)
    for function in SCALED.values():
        np.testing.assert_allclose(
            jax.jit(jax.vmap(function))(x, mean, logvar), function(x, mean, logvar), rtol=1e-5
        )
    np.testing.assert_allclose(
        jax.jit(jax.vmap(distributions.gaussian_kl))(mean, logvar),
        distributions.gaussian_kl(mean, logvar),
        rtol=1e-5,
    )


def test_the_deviation_of_certain_categories_has_a_slope():
    logits = np.float32([[1e4, 0.0, -1e4], [0.0, 0.0, 0.0]])

    def deviation(logits):
        return distributions.OneHotCategorical(logits, 3).deviation

    value, vjp = jax.vjp(deviation, logits)
    np.testing.assert_allclose(value, [[0, 0, 0], [2**0.5 / 3] * 3], rtol=1e-6)
    (slope,) = vjp(np.float32([[1, 1, 1], [1, 0, 0]]))
    # d√(p(1−p)) = (1 − 2p)/(2√(p(1−p))) dp
    np.testing.assert_array_equal(slope[0], 0.0)
    expected = (1 / 3) / (2 * 2**0.5 / 3) * np.array([2 / 9, -1 / 9, -1 / 9])
    np.testing.assert_allclose(slope[1], expected, rtol=1e-5)


def test_categories_of_no_examples_are_none():
    empty = distributions.OneHotCategorical(np.zeros((0, 6), np.float32), 3)
    key = jax.random.key(0)
    for values in (empty.mean, empty.mode, empty.sample(key), empty.relaxed(key, 0.5)):
        assert values.shape == (0, 6)
    assert empty.sample(key, 2).shape == (2, 0, 6)
    assert distributions.kl_divergence(empty, empty).shape == (0, 6)


def test_draws_of_each_dimension_are_independent():
    """Each has a key of its own, and none shares its noise with another."""
    gaussian = DiagonalGaussian(jnp.zeros(4), jnp.zeros(4))
    draws = np.asarray(gaussian.sample(jax.random.key(0), 4000))
    np.testing.assert_allclose(np.corrcoef(draws.T), np.eye(4), atol=0.07)
    # examples are no copies of one another either
    draws = np.asarray(
        DiagonalGaussian(jnp.zeros((4, 1)), jnp.zeros((4, 1))).sample(jax.random.key(1), 4000)
    )
    np.testing.assert_allclose(np.corrcoef(draws[..., 0].T), np.eye(4), atol=0.07)


def test_draws_have_the_covariance_of_their_factor():
    factor = jnp.array([[2.0, 0.0, 0.0], [1.5, 0.5, 0.0], [-1.0, 0.3, 1.0]])
    gaussian = distributions.FullGaussian(jnp.array([1.0, -2.0, 0.0]), factor)
    draws = np.asarray(gaussian.sample(jax.random.key(0), 20_000))
    np.testing.assert_allclose(draws.mean(axis=0), gaussian.mean, atol=0.06)
    # the other product, factorᵀ · factor, has 7.25 in the first place
    np.testing.assert_allclose(np.cov(draws.T), factor @ factor.T, atol=0.15)
