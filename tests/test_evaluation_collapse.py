"""The diagnosis of collapse, and what a model that ignores z scores."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
import scipy.stats

from vae_jax import data, likelihoods
from vae_jax.errors import UsageError
from vae_jax.evaluation import collapse


def normal(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def test_floors_are_the_densities_of_one_distribution():
    x = np.float32(normal(0, 6, 3, 2) > 0)
    mean = np.float32([[0.2, 0.0], [1.0, 0.5], [0.7, 0.3]])
    clipped = np.clip(mean, 1e-3, 1 - 1e-3)
    expected = scipy.stats.bernoulli.logpmf(x, clipped).sum(axis=(1, 2))
    np.testing.assert_allclose(collapse.bernoulli_floor(mean, x), expected, rtol=1e-4)
    for variance in (np.float32(0.3), np.float32(mean + 0.1)):
        expected = scipy.stats.norm.logpdf(x, mean, np.sqrt(variance)).sum(axis=(1, 2))
        np.testing.assert_allclose(collapse.gaussian_floor(mean, variance, x), expected, rtol=1e-4)


@pytest.mark.slow
def test_floor_of_binarized_mnist_is_the_known_one(data_dir):
    dataset = data.load("binarized_mnist", data_dir=data_dir)
    train, test = (dataset.decode(jnp.asarray(s.x)) for s in (dataset.train, dataset.test))
    floor = collapse.bernoulli_floor(jnp.mean(train, axis=0), test)
    assert float(-floor.mean()) == pytest.approx(205.952, abs=2e-3)


def test_diagnosis_counts_and_compares():
    rate = np.array([0.5, 0.0, 3.0, 0.5, 0.0])
    variance = np.array([0.2, 0.001, 0.9, 0.02, 0.0])
    floor = np.full(4, -200.0)
    elbo = floor + np.array([50.0, 54.0, 46.0, 50.0])
    result = collapse.diagnose(rate, variance, elbo=elbo, floor=floor, num_top_dims=1)
    assert (result.num_dims, result.active_units, result.rate) == (5, 3, 4.0)
    assert result.top_rate_share == pytest.approx(0.75)
    assert not result.collapsed
    assert result.elbo_above_floor == pytest.approx(50)
    assert result.elbo_above_floor_standard_error == pytest.approx(elbo.std(ddof=1) / 2)
    assert result.at_floor is False
    assert result.verdict == (
        "uses z: the rate is 4 nats, 75% of it in the top dimension; 3 of 5 active; "
        "ELBO 50 ± 1.6 nats above a model that ignores z"
    )
    # what it rests on where that is known
    result = collapse.diagnose(rate, variance, mutual_information=1.25, num_top_dims=1)
    assert result.verdict == (
        "uses z: I(x; z) is 1.25 nats, the rate is 4 nats, 75% of it in the top dimension; "
        "3 of 5 active"
    )
    assert collapse.diagnose(rate, variance).at_floor is None


def test_a_collapsed_model_is_called_so():
    result = collapse.diagnose(
        np.full(20, 1e-3), np.full(20, 1e-6), elbo=np.full(3, -206.1), floor=np.full(3, -206.0)
    )
    assert result.collapsed
    assert result.at_floor
    assert result.verdict == (
        "collapsed: the rate of 0.02 nats is below 0.1; 0 of 20 active; "
        "ELBO 0.1 ± 0 nats below a model that ignores z, so z does not pay"
    )
    # however far it is below
    result = collapse.diagnose(
        np.full(20, 1e-3), np.full(20, 1e-6), elbo=np.full(3, -256.0), floor=np.full(3, -206.0)
    )
    assert (result.elbo_above_floor, result.at_floor) == (-50, True)
    # a rate can be paid for nothing: the two signs are apart
    result = collapse.diagnose(
        np.ones(2), np.ones(2), elbo=np.full(3, -206.1), floor=np.full(3, -206.0)
    )
    assert (result.collapsed, result.at_floor) == (False, True)


def test_a_constant_posterior_far_from_the_prior_is_collapsed():
    """Its rate is 32 nats, which say nothing of x: the mutual information tells, or the means."""
    rate, still = np.full(20, 1.63), np.zeros(20)
    result = collapse.diagnose(rate, still, mutual_information=0.06)
    assert result.collapsed
    assert result.verdict == (
        "collapsed: of the rate of 32.6 nats, I(x; z) is 0.06; 0 of 20 active"
    )
    result = collapse.diagnose(rate, still)
    assert result.collapsed
    assert result.verdict == (
        "collapsed: the rate of 32.6 nats does not depend on x; 0 of 20 active"
    )
    # codes on a small scale are used all the same
    assert not collapse.diagnose(rate, still, mutual_information=3.0).collapsed
    assert not collapse.diagnose(rate, still + 0.1).collapsed


def test_diagnosis_wants_both_or_neither():
    with pytest.raises(UsageError, match="give both"):
        collapse.diagnose(np.ones(2), np.ones(2), elbo=np.ones(3))


# --- The best model that ignores z, of any likelihood

ROWS = np.random.default_rng(3)
COUNTS = ROWS.negative_binomial(2, 0.2, (400, 3)).astype(np.float32)
REALS = ROWS.standard_t(3, (400, 2)).astype(np.float32) + np.float32([1, -2])


def log_prob_of(likelihood, x):
    """Of all rows under the best constant outputs: a sum; and these, with the parameters."""
    own, outputs = collapse.best_constant(likelihood, jnp.asarray(x))
    value = collapse.constant_floor(likelihood, own, outputs, jnp.asarray(x))
    assert value.shape == (len(x),)
    return float(np.float64(value).sum()), own, outputs


def test_the_best_constant_rates_are_the_means():
    for likelihood in (likelihoods.Poisson(), likelihoods.NegativeBinomial()):
        outputs = log_prob_of(likelihood, COUNTS)[2]
        np.testing.assert_allclose(np.exp(outputs), COUNTS.mean(axis=0), rtol=1e-3)
    value = log_prob_of(likelihoods.Poisson(), COUNTS)[0]
    expected = scipy.stats.poisson.logpmf(COUNTS, np.float64(COUNTS.mean(axis=0))).sum()
    assert value == pytest.approx(expected, rel=1e-5)
    shares = log_prob_of(likelihoods.Multinomial(), COUNTS)[2]
    np.testing.assert_allclose(jax.nn.softmax(shares), COUNTS.sum(axis=0) / COUNTS.sum(), rtol=1e-3)


def test_the_best_constant_dispersion_is_that_of_each_column():
    value, own, _ = log_prob_of(likelihoods.NegativeBinomial(), COUNTS)

    def best(column):
        def cost(log_size):
            size, mean = np.exp(log_size), np.float64(column.mean())
            return -scipy.stats.nbinom.logpmf(column, size, size / (size + mean)).sum()

        return scipy.optimize.minimize_scalar(cost, (-2, 2))

    each = [best(column) for column in COUNTS.T]
    np.testing.assert_allclose(own["log_dispersion"], [-one.x for one in each], atol=0.02)
    assert value == pytest.approx(-sum(one.fun for one in each), rel=1e-4)
    inflated = log_prob_of(likelihoods.ZeroInflatedNegativeBinomial(), COUNTS)[0]
    assert inflated > value - 0.5


def test_the_best_constant_real_numbers_and_proportions_are_those_of_scipy():
    one = REALS[:, :1]
    expected = scipy.stats.t.logpdf(one, *scipy.stats.t.fit(one)).sum()
    assert log_prob_of(likelihoods.StudentT(), one)[0] > expected - 0.05
    medians = log_prob_of(likelihoods.Laplace(), REALS)[2]
    np.testing.assert_allclose(medians, np.median(REALS, axis=0), atol=0.05)
    shares = ROWS.beta(2, 5, (300, 1)).astype(np.float32)
    expected = scipy.stats.beta.logpdf(
        shares, *scipy.stats.beta.fit(shares, floc=0, fscale=1)
    ).sum()
    assert log_prob_of(likelihoods.Beta(), shares)[0] > expected - 0.05


def test_a_count_that_no_training_row_has_is_possible():
    x = COUNTS * np.float32([1, 1, 0])
    for likelihood in (likelihoods.Poisson(), likelihoods.NegativeBinomial("total")):
        own, outputs = collapse.best_constant(likelihood, jnp.asarray(x))
        floor = collapse.constant_floor(likelihood, own, outputs, jnp.asarray(COUNTS[:5]))
        assert np.all((floor > -1e3) & np.isfinite(floor))
