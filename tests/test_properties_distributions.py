"""Laws of densities, divergences and draws: any shape, extreme values, empty and single batches."""

import dataclasses
import functools
import types
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats
from hypothesis import strategies as st
from numpyro import distributions as numpyro_distributions
from properties import all_finite, arrays, close, jitted, law, numbers, uncovered

from vae_jax import distributions
from vae_jax.distributions import DiagonalGaussian, FullGaussian, OneHotCategorical
from vae_jax.errors import UnsupportedError

REAL = numbers(1e4)
LOGVAR = st.one_of(numbers(100.0), st.sampled_from([1e4, -1e4]))
UNIT = st.one_of(st.floats(0, 1), st.sampled_from([0.0, 1.0, 0.5]))
LEVEL = st.integers(0, 16).map(lambda level: level / 16)
SEED = st.integers(0, 2**31 - 1)

B, L, K, V = 3, 4, 2, 5
SHAPES = ((B, L), (), (33,))
ACCURACY = {np.dtype(np.float32): 1e-5, np.dtype(jnp.bfloat16): 0.05}


def bounded(logvar):
    return np.clip(logvar, -distributions.LOGVAR_BOUND, distributions.LOGVAR_BOUND)


# --- Densities, element by element


@dataclasses.dataclass(frozen=True)
class Density:
    """An elementwise density.

    Attributes:
        function: arrays of one shape to values of that shape.
        elements: what each of the arrays holds.
        expected: the arrays in float64 to (values, what rounding is relative to).
        has_half: whether it is computed in half precision, too.
    """

    function: Callable
    elements: tuple[st.SearchStrategy, ...]
    expected: Callable
    has_half: bool = True


def of_gaussian(x, mean, logvar):
    value = scipy.stats.norm.logpdf(x, mean, np.exp(0.5 * bounded(logvar)))
    return value, np.abs(value) + np.abs(bounded(logvar)) + 2


def of_laplace(x, mean, logvar):
    # scipy takes the logarithm of a density that is 0 in its tails
    scale = np.exp(0.5 * bounded(logvar)) / np.sqrt(2)
    value = -np.log(2 * scale) - np.abs(x - mean) / scale
    return value, np.abs(value) + np.abs(bounded(logvar)) + 2


def of_bernoulli(x, logits):
    value = -x * np.logaddexp(0, -logits) - (1 - x) * np.logaddexp(0, logits)
    return value, np.abs(value) + 0.2 * np.abs(logits)


def of_logistic(x, mean, logvar):
    """By scipy's distribution function; where it says 0 by the slope of its tails."""
    half, scale = 0.5 / 16, np.sqrt(3 * np.exp(bounded(logvar))) / np.pi
    above, below = (x - mean + half) / scale, (x - mean - half) / scale
    # on the side where tails are small, so that nothing cancels: F(a) − F(b) = F(−b) − F(−a)
    high, low = np.where(below > 0, -below, above), np.where(below > 0, -above, below)
    logs = scipy.stats.logistic.logcdf(np.stack([high, low]))
    inside = logs[0] + np.log(-np.expm1(np.minimum(logs[1] - logs[0], -1e-300)))
    first, last = scipy.stats.logistic.logcdf(above), scipy.stats.logistic.logsf(below)
    value = np.where(x < half, first, np.where(x > 1 - half, last, inside))
    return value, 3 + np.abs(above) + np.abs(below) + np.abs(value)


def of_kl(mean, logvar, prior_mean, prior_logvar):
    ratio = bounded(logvar) - bounded(prior_logvar)
    value = 0.5 * (np.expm1(ratio) - ratio)
    value = value + 0.5 * (mean - prior_mean) ** 2 / np.exp(bounded(prior_logvar))
    return value, value * (1 + 0.1 * np.abs(ratio)) + 0.2 * np.abs(ratio)


def rate_bounded(log_rate):
    bound = distributions.LOG_RATE_BOUND
    return np.minimum(log_rate, bound) + np.log1p(np.maximum(log_rate - bound, 0))


def of_poisson(x, log_rate):
    log_rate = rate_bounded(log_rate)
    rate = np.exp(log_rate)
    value = x * log_rate - rate - scipy.special.gammaln(x + 1)
    # what a rounded log rate or log x changes
    return value, 2 + np.abs(value) + 0.02 * (1 + np.abs(log_rate) + np.log1p(x)) * np.abs(x - rate)


def of_negative_binomial(x, log_mean, log_dispersion):
    log_mean, theta = rate_bounded(log_mean), np.exp(-bounded(log_dispersion))
    mean, gammaln = np.exp(log_mean), scipy.special.gammaln
    value = gammaln(x + theta) - gammaln(theta) - gammaln(x + 1) - theta * np.log1p(mean / theta)
    value = value + x * (log_mean - np.log(theta + mean))
    rounded = (1 + np.abs(log_mean) + np.log1p(x)) * np.abs(x - mean) * theta / (theta + mean)
    return value, 3 + np.abs(value) + np.abs(bounded(log_dispersion)) + 0.02 * rounded


def of_zero_inflated(x, gate_logits, log_prob, log_prob_of_zero):
    is_open, is_closed = -np.logaddexp(0, gate_logits), -np.logaddexp(0, -gate_logits)
    value = np.where(x > 0, is_open + log_prob, np.logaddexp(is_closed, is_open + log_prob_of_zero))
    return value, 1 + np.abs(value)


def of_student_t(x, center, logvar, log_degrees):
    logvar, degrees = bounded(logvar), np.exp(bounded(log_degrees))
    # log(1 + r²/ν) = log ν + … would cancel
    square = (x - center) ** 2 / np.exp(logvar) / degrees
    value = scipy.special.gammaln((degrees + 1) / 2) - scipy.special.gammaln(degrees / 2)
    value = value - 0.5 * np.log(degrees * np.pi) - logvar / 2
    value = value - (degrees + 1) / 2 * np.log1p(square)
    return value, 3 + np.abs(value) + np.abs(logvar) + np.abs(bounded(log_degrees))


def of_beta(x, logits, log_concentration):
    log_size = bounded(log_concentration)
    size, value = np.exp(log_size), scipy.special.gammaln(np.exp(log_size) + 1) - log_size
    rounding = 3 + np.abs(log_size) + np.abs(logits)
    for share, side in ((x, logits), (1 - x, -logits)):
        log_mean = -np.logaddexp(0, -side)
        part = size * np.exp(log_mean)
        # log Γ(a) of a that float64 cannot hold
        value = value - scipy.special.gammaln(part + 1) + (log_size + log_mean)
        value = value + (part - 1) * np.log(share)
        change = 1 + np.abs(np.log(share)) + np.abs(log_mean)
        rounding = rounding + np.abs(np.log(share)) + 0.02 * change * np.abs(size * share - part)
    return value, rounding + np.abs(value)


COUNT = st.one_of(st.integers(0, 20), st.sampled_from([0, 1, 1000, 10**6]), st.integers(0, 10**6))
LOG_RATE = st.one_of(numbers(30.0), st.sampled_from([-1e4, -100.0, 100.0, 1e4]))
SHARE = st.one_of(st.floats(1e-3, 1 - 1e-3), st.sampled_from([1e-30, 0.5, 1 - 2.0**-24]))
LOG_PROB = st.floats(-1e4, 0)

DENSITIES = {
    "bound_log_rate": Density(
        distributions.bound_log_rate,
        (LOG_RATE,),
        lambda v: (rate_bounded(v), 1 + np.abs(rate_bounded(v))),
    ),
    "bound_proportion": Density(
        distributions.bound_proportion,
        (UNIT,),
        lambda v: (np.clip(v, 2.0**-126, 1 - 2.0**-24), 1 + v),
        has_half=False,
    ),
    "poisson_log_prob": Density(
        distributions.poisson_log_prob, (COUNT, LOG_RATE), of_poisson, has_half=False
    ),
    "negative_binomial_log_prob": Density(
        distributions.negative_binomial_log_prob,
        (COUNT, LOG_RATE, LOGVAR),
        of_negative_binomial,
        has_half=False,
    ),
    "zero_inflated_log_prob": Density(
        distributions.zero_inflated_log_prob, (COUNT, REAL, LOG_PROB, LOG_PROB), of_zero_inflated
    ),
    "student_t_log_prob": Density(
        distributions.student_t_log_prob,
        (REAL, REAL, LOGVAR, LOGVAR),
        of_student_t,
        has_half=False,
    ),
    "beta_log_prob": Density(
        distributions.beta_log_prob, (SHARE, REAL, LOGVAR), of_beta, has_half=False
    ),
    "gaussian_log_prob": Density(
        distributions.gaussian_log_prob, (REAL, REAL, LOGVAR), of_gaussian
    ),
    "laplace_log_prob": Density(distributions.laplace_log_prob, (REAL, REAL, LOGVAR), of_laplace),
    "bernoulli_log_prob": Density(distributions.bernoulli_log_prob, (UNIT, REAL), of_bernoulli),
    "discretized_logistic_log_prob": Density(
        functools.partial(distributions.discretized_logistic_log_prob, num_levels=17),
        (LEVEL, REAL, LOGVAR),
        of_logistic,
    ),
    "gaussian_kl": Density(distributions.gaussian_kl, (REAL, LOGVAR, REAL, LOGVAR), of_kl),
    "bound_logvar": Density(
        distributions.bound_logvar, (LOGVAR,), lambda v: (bounded(v), np.abs(bounded(v)))
    ),
}


@functools.cache
def value_and_slopes(name):
    def run(*arguments):
        value, vjp = jax.vjp(DENSITIES[name].function, *arguments)
        return value, vjp(jnp.ones_like(value))

    return jax.jit(run)


@pytest.mark.parametrize("name", DENSITIES)
@law(*DENSITIES, data=st.data())
def test_a_density_is_that_of_scipy_element_by_element_with_finite_gradients(name, data, times):
    # a shape is compiled once: one in the ordinary run
    shapes = SHAPES if times > 1 else SHAPES[:1]
    density, shape = DENSITIES[name], data.draw(st.sampled_from(shapes))
    held = [data.draw(arrays(each, shape)) for each in density.elements]
    value, slopes = value_and_slopes(name)(*held)
    assert (value.shape, value.dtype) == (shape, np.float32)
    expected, size = density.expected(*map(np.float64, held))
    close(value, expected, 1e-5 * size)
    all_finite(slopes)
    place = tuple(data.draw(st.integers(0, n - 1)) for n in shape)
    alone = density.function(*(a[place] for a in held))  # eager
    close(alone, np.asarray(value)[place], 1e-5 * np.float64(size)[place])


HALF = ("gaussian_kl",)


@pytest.mark.parametrize(
    "name",
    [
        name if name in HALF else pytest.param(name, marks=pytest.mark.slow)
        for name, each in DENSITIES.items()
        if each.has_half
    ],
)
@law(data=st.data())
def test_a_density_of_half_precision_is_rounded_and_finite(name, data):
    density = DENSITIES[name]
    held = [data.draw(arrays(each, (B, L), jnp.bfloat16)) for each in density.elements]
    value, slopes = value_and_slopes(name)(*held)
    assert value.dtype == jnp.bfloat16
    expected, size = density.expected(*map(np.float64, held))
    close(value, expected, 0.05 * size)
    all_finite(slopes)


@pytest.mark.parametrize("name", DENSITIES)
def test_a_density_of_nothing_is_empty(name):
    density = DENSITIES[name]
    for shape in ((0,), (0, L), (B, 0)):
        value = jax.jit(density.function)(*[np.zeros(shape, np.float32)] * len(density.elements))
        assert (value.shape, value.dtype) == (shape, np.float32)


@law("multinomial_log_prob", x=arrays(COUNT, (B, V)), logits=arrays(REAL, (B, V)))
def test_counts_given_their_total_are_those_of_scipy_with_finite_gradients(x, logits):
    x[0] = 0
    value, (slope,) = value_and_slopes_of_logits(x, logits)
    shares = scipy.special.log_softmax(np.float64(logits), axis=1)
    wide = np.float64(x)
    expected = scipy.special.gammaln(wide.sum(axis=1) + 1)
    expected = expected + np.sum(wide * shares - scipy.special.gammaln(wide + 1), axis=1)
    gap = np.abs(wide - wide.sum(axis=1, keepdims=True) * np.exp(shares))
    close(value, expected, 1e-5 * (9 + np.abs(expected) + np.sum(gap * (1 - shares), axis=1)))
    assert value[0] == 0
    close(slope, wide - wide.sum(axis=1, keepdims=True) * np.exp(shares), 1e-4 * (1 + wide.max()))


@jax.jit
def value_and_slopes_of_logits(x, logits):
    value, vjp = jax.vjp(lambda own: distributions.multinomial_log_prob(x, own), logits)
    return value, vjp(jnp.ones_like(value))


@law("LOG_RATE_BOUND", log_rate=LOG_RATE)
def test_a_rate_beyond_the_bound_is_linear(log_rate):
    bound = distributions.LOG_RATE_BOUND
    value, slope = jax.value_and_grad(distributions.bound_log_rate)(np.float32(log_rate))
    rate = np.exp(np.float64(value) - bound)
    expected = np.exp(log_rate - bound) if log_rate < bound else 1 + log_rate - bound
    close(rate, expected, 1e-4 * expected + 1e-12)
    # of the rate, the slope is the rate itself up to the bound, and that at the bound from there
    close(slope * rate, min(rate, 1.0), 1e-4)


@law("LOGVAR_BOUND", logvar=LOGVAR)
def test_all_that_is_beyond_the_bound_is_the_bound(logvar):
    value, slope = jax.value_and_grad(distributions.bound_logvar)(np.float32(logvar))
    assert value == np.float32(bounded(np.float32(logvar)))
    if abs(logvar) != distributions.LOGVAR_BOUND:
        assert float(slope) == (abs(logvar) < distributions.LOGVAR_BOUND)
    assert distributions.bound_logvar(value) == value


@law("discretized_logistic_log_prob", mean=REAL, logvar=LOGVAR, num_levels=st.sampled_from([2, 17]))
def test_probabilities_of_levels_sum_to_one(mean, logvar, num_levels):
    x = np.float32(np.arange(num_levels) / (num_levels - 1))
    log_prob = jitted(distributions.discretized_logistic_log_prob, "num_levels")
    logs = log_prob(x, np.full_like(x, mean), np.float32(logvar), num_levels=num_levels)
    close(scipy.special.logsumexp(np.float64(logs)), 0.0, 3e-5)


@law("bernoulli_log_prob", logits=arrays(REAL, (B, L)), x=arrays(UNIT, (B, L)))
def test_outcomes_of_a_coin_sum_to_one_and_mirror(logits, x):
    of_coins = jitted(distributions.bernoulli_log_prob)
    one, none = (
        np.float64(of_coins(np.full((B, L), value, np.float32), logits)) for value in (1.0, 0.0)
    )
    close(np.logaddexp(one, none), np.zeros((B, L)), 1e-6)
    own, mirrored = of_coins(x, logits), of_coins(1 - x, -logits)
    close(mirrored, np.float64(own), 2e-7 * (1 + np.abs(logits)))
    # of a soft target the expectation over the outcomes
    close(own, x * one + (1 - x) * none, 1e-5 * (1 + np.abs(logits)))


@jax.jit
def categorical(x, logits):
    """log p(x) and the gradient of its sum."""
    value, vjp = jax.vjp(lambda logits: distributions.categorical_log_prob(x, logits), logits)
    return value, *vjp(jnp.ones_like(value))


@law(
    "categorical_log_prob",
    logits=arrays(REAL, (B, L, V)),
    x=arrays(st.integers(0, V - 1), (B, L), int),
    shift=REAL,
)
def test_categories_sum_to_one_and_a_shift_is_nothing_to_them(logits, x, shift, times):
    value, slope = categorical(x, logits)
    assert (value.shape, value.dtype) == ((B, L), np.float32)
    expected = scipy.special.log_softmax(np.float64(logits), axis=-1)
    size = 1e-6 * (10 + np.abs(logits).max())
    close(value, np.take_along_axis(expected, x[..., None], axis=-1)[..., 0], size)
    every = [categorical(np.full((B, L), k), logits)[0] for k in range(V)]
    close(scipy.special.logsumexp(np.float64(every), axis=0), np.zeros((B, L)), size)
    moved, _ = categorical(x, logits + np.float32(shift))
    close(moved, np.float64(value), size + 1e-6 * abs(shift))
    all_finite(slope)
    # the gradient is one-hot less the probabilities
    close(slope, np.eye(V)[x] - np.exp(expected), 1e-5 + size)
    if times > 1:  # of other shapes and dtypes, which compile anew
        half, slope = categorical(x, logits.astype(jnp.bfloat16))
        assert half.dtype == slope.dtype == jnp.bfloat16
        all_finite(half, slope)
        close(distributions.categorical_log_prob(x[0, 0], logits[0, 0]), value[0, 0], size)
    assert categorical(x[:0], logits[:0])[0].shape == (0, L)


# --- Divergences


@law(
    "gaussian_kl",
    "kl_divergence",
    posterior=st.tuples(arrays(REAL, (B, L)), arrays(LOGVAR, (B, L))),
    prior=st.tuples(arrays(REAL, (L,)), arrays(LOGVAR, (L,))),
    shift=st.integers(-64, 64),
)
def test_the_divergence_of_gaussians_is_not_negative_and_zero_at_the_prior(posterior, prior, shift):
    kl = jitted(distributions.kl_divergence)
    own = np.asarray(kl(DiagonalGaussian(*posterior), DiagonalGaussian(*prior)))
    assert (own.shape, own.dtype) == ((B, L), np.float32)
    assert np.all(own >= -1e-7)
    same = DiagonalGaussian(*(np.tile(each, (B, 1)) for each in prior))
    np.testing.assert_array_equal(kl(same, DiagonalGaussian(*prior)), 0.0)
    # both moved and stretched: by whole numbers, and by two
    small = [np.round(np.clip(each, -99, 99)) for each in (posterior[0], prior[0])]
    at = [bounded(each) / 2 for each in (posterior[1], prior[1])]
    start, moved, stretched = (
        np.float64(
            kl(
                *(
                    DiagonalGaussian(a * m + s, v + 2 * np.log(a))
                    for m, v in zip(small, at, strict=True)
                )
            )
        )
        for a, s in (
            (np.float32(1), np.float32(0)),
            (np.float32(1), np.float32(shift)),
            (np.float32(2), np.float32(0)),
        )
    )
    np.testing.assert_array_equal(moved, start)
    close(stretched, start, 1e-4 * (1 + start))
    empty = kl(DiagonalGaussian(*(each[:0] for each in posterior)), DiagonalGaussian(*prior))
    assert (empty.shape, empty.dtype) == ((0, L), np.float32)


@jax.jit
def divergence_of_categories(posterior, prior):
    """KL and the gradients of its sum."""
    value, vjp = jax.vjp(
        lambda *logits: distributions.kl_divergence(*(OneHotCategorical(a, V) for a in logits)),
        *(posterior, prior),
    )
    return value, vjp(jnp.ones_like(value))


@law(
    "kl_divergence",
    "CLOSED_FORM_KL",
    posterior=arrays(REAL, (B, 2 * V)),
    prior=arrays(REAL, (2 * V,)),
)
def test_the_divergence_of_categories_is_not_negative_and_zero_at_the_prior(posterior, prior):
    value, slopes = divergence_of_categories(posterior, prior)
    assert (value.shape, value.dtype) == ((B, 2 * V), np.float32)
    all_finite(slopes)
    groups = np.asarray(value).reshape(B, 2, V)
    np.testing.assert_array_equal(groups, np.broadcast_to(groups[..., :1], groups.shape))
    logs = [
        scipy.special.log_softmax(np.float64(each).reshape(-1, 2, V), axis=-1)
        for each in (posterior, prior)
    ]
    expected = np.sum(np.exp(logs[0]) * (logs[0] - logs[1]), axis=-1)
    size = 1e-5 * (1 + np.abs(logs[0]).max() + np.abs(logs[1]).max())
    close(groups.sum(axis=-1), expected, size)
    assert np.all(groups >= -size)
    at_prior, _ = divergence_of_categories(np.tile(prior, (B, 1)), prior)
    np.testing.assert_array_equal(at_prior, 0.0)
    assert divergence_of_categories(posterior[:0], prior)[0].shape == (0, 2 * V)


def test_each_closed_form_has_a_law():
    families = (DiagonalGaussian, OneHotCategorical)
    # other tests enter families of their own
    own = {p for p in distributions.CLOSED_FORM_KL if p[0].__module__ == distributions.__name__}
    assert own == {(each, each) for each in families}


# --- Draws


@jax.jit
def drawn(key, mean, logvar):
    """A draw and the gradients of its sum."""
    z, vjp = jax.vjp(lambda *of: distributions.reparameterize(key, *of), mean, logvar)
    return z, *vjp(jnp.ones_like(z))


@law("reparameterize", seed=SEED, mean=arrays(REAL, (B, L)), logvar=arrays(LOGVAR, (B, L)))
def test_a_draw_is_the_mean_and_noise_of_the_key_stretched(seed, mean, logvar, times):
    key = jax.random.key(seed)
    z, of_mean, of_logvar = drawn(key, mean, logvar)
    assert (z.shape, z.dtype) == ((B, L), np.float32)
    deviation = np.exp(0.5 * bounded(np.float64(logvar)))
    eps = np.float64(jax.random.normal(key, (B, L)))
    close(z, mean + deviation * eps, 1e-5 * (np.abs(mean) + deviation * np.abs(eps)) + 1e-7)
    np.testing.assert_array_equal(of_mean, 1.0)
    inside = np.abs(logvar) < 20
    close(
        np.where(np.abs(logvar) == 20, 0, of_logvar),
        inside * 0.5 * deviation * eps,
        1e-5 * deviation * np.abs(eps) + 1e-7,
    )
    assert drawn(key, mean[:0], logvar[:0])[0].shape == (0, L)
    if times > 1:
        half = drawn(key, mean.astype(jnp.bfloat16), logvar.astype(jnp.bfloat16))
        assert half[0].dtype == jnp.bfloat16
        all_finite(half)


GAUSSIANS = st.builds(DiagonalGaussian, arrays(numbers(1e4), (B, L)), arrays(LOGVAR, (B, L)))


@law(
    "DiagonalGaussian",
    "DiagonalGaussian.mode",
    "DiagonalGaussian.deviation",
    "DiagonalGaussian.covariance_on",
    "DiagonalGaussian.first",
    "DiagonalGaussian.sample",
    "DiagonalGaussian.log_prob",
    "DiagonalGaussian.log_probs",
    "standard_gaussian",
    seed=SEED,
    gaussian=GAUSSIANS,
    z=arrays(REAL, (K, B, L)),
)
def test_a_gaussian_of_latents(seed, gaussian, z, times):
    key = jax.random.key(seed)
    sample = jitted(DiagonalGaussian.sample, "num_samples")
    density = jitted(DiagonalGaussian.log_prob)
    np.testing.assert_array_equal(gaussian.mode, gaussian.mean)
    deviation = np.exp(0.5 * bounded(np.float64(gaussian.logvar)))
    close(jitted(DiagonalGaussian.deviation.fget)(gaussian), deviation, 1e-5 * deviation)
    # of a sum and a difference of dimensions: their variances add, and the shared ones correlate
    plane, variance = np.eye(2, L) + np.eye(2, L, 1) * [[1], [-1]], deviation**2
    first, second, third = variance.T[:3]
    expected = [[first + second, second], [second, second + third]]
    spread = jitted(DiagonalGaussian.covariance_on)(gaussian, plane.astype(np.float32))
    close(spread, np.moveaxis(expected, 2, 0), 1e-5 * variance.max(axis=1)[:, None, None])
    # draws: of one or many, of the first dimensions and examples the same whatever follows
    one, many = jax.device_get((sample(gaussian, key), sample(gaussian, key, num_samples=K)))
    assert (one.shape, many.shape) == ((B, L), (K, B, L))
    assert one.dtype == many.dtype == np.float32
    all_finite(one, many)
    np.testing.assert_array_equal(sample(gaussian.first(2), key), one[:, :2])
    of_first = DiagonalGaussian(*(each[:1] for each in gaussian))
    np.testing.assert_array_equal(sample(of_first, key), one[:1])
    empty = DiagonalGaussian(*(each[:0] for each in gaussian))
    assert sample(empty, key, num_samples=K).shape == (K, 0, L)
    # a prior draws one noise, which mean and deviation move and stretch
    prior = distributions.standard_gaussian(L)
    assert [(each.shape, each.dtype) for each in prior] == [((L,), np.float32)] * 2
    noise = np.float64(sample(DiagonalGaussian(*np.zeros((2, B, L), np.float32)), key))
    expected = gaussian.mean + deviation * noise
    close(one, expected, 1e-5 * (np.abs(gaussian.mean) + deviation * np.abs(noise)) + 1e-7)
    assert sample(prior, key, num_samples=K).shape == (K, L)
    # densities: summed over the latent dimensions, of any rank
    log_prob = np.asarray(density(gaussian, z))
    value, size = of_gaussian(*map(np.float64, (z, *gaussian)))
    assert (log_prob.shape, log_prob.dtype) == ((K, B), np.float32)
    close(log_prob, value.sum(axis=2), 1e-5 * size.sum(axis=2))
    close(jitted(DiagonalGaussian.log_probs)(gaussian, z), value, 1e-5 * size)
    halves = gaussian.first(2), DiagonalGaussian(*(each[:, 2:] for each in gaussian))
    parts = [density(half, own) for half, own in zip(halves, np.split(z, 2, axis=2), strict=True)]
    close(np.sum(parts, axis=0), np.float64(log_prob), 1e-5 * size.sum(axis=2))
    at_mode = density(gaussian, np.stack([gaussian.mode] * K))
    assert np.all(np.asarray(at_mode) >= log_prob)
    normal = numpyro_distributions.Normal().log_prob(z).sum(axis=2)
    close(density(prior, z), np.float64(normal), 1e-5 * (10 + np.abs(normal)))
    assert density(gaussian, z[:0]).shape == (0, B)
    if times > 1:  # of other shapes and dtypes, which compile anew, and op by op
        few = sample(gaussian.first(2), key, num_samples=K)
        np.testing.assert_array_equal(few, many[..., :2])
        assert sample(gaussian, key, num_samples=0).shape == (0, B, L)
        half = DiagonalGaussian(*(each.astype(jnp.bfloat16) for each in gaussian))
        assert half.sample(key).dtype == half.log_prob(half.mean).dtype == jnp.bfloat16
        all_finite(half.sample(key), half.log_prob(half.mean))
        np.testing.assert_allclose(gaussian.sample(key), one, rtol=1e-5, atol=1e-5)


@jax.jit
def moments(own):
    """What a categorical says of itself, by name."""
    return {name: getattr(own, name) for name in ("log_probs", "mean", "mode", "deviation")}


@jax.jit
def rates_under_uniform(logits, z):
    """The rate of each dimension under a prior that knows equal probabilities, by its density."""
    prior = types.SimpleNamespace(log_probs=lambda z: jnp.full_like(z, -np.log(V) / V))
    return OneHotCategorical(logits, V).rates_given(prior, z)


@jax.jit
def relaxed(key, logits, temperature):
    """A smooth draw and the gradients of its sum."""
    value, vjp = jax.vjp(
        lambda logits, temperature: OneHotCategorical(logits, V).relaxed(key, temperature),
        *(logits, temperature),
    )
    return value, vjp(jnp.ones_like(value))


@law(
    "OneHotCategorical",
    "OneHotCategorical.log_probs",
    "OneHotCategorical.mean",
    "OneHotCategorical.mode",
    "OneHotCategorical.deviation",
    "OneHotCategorical.first",
    "OneHotCategorical.sample",
    "OneHotCategorical.relaxed",
    "OneHotCategorical.log_prob",
    "OneHotCategorical.rates_given",
    "LOWEST_TEMPERATURE",
    seed=SEED,
    logits=arrays(REAL, (B, 2 * V)),
    temperature=st.one_of(st.floats(0, 100), st.sampled_from([0.0, 1.0])),
)
def test_categories_of_latents(seed, logits, temperature, times):
    key, own = jax.random.key(seed), OneHotCategorical(logits, V)
    sample = jitted(OneHotCategorical.sample, "num_samples")
    density = jitted(OneHotCategorical.log_prob)
    found = jax.device_get(moments(own))
    expected = scipy.special.log_softmax(np.float64(logits).reshape(B, 2, V), axis=-1)
    size = 1e-6 * (10 + np.abs(logits).max())
    close(found["log_probs"], expected.reshape(B, -1), size)
    probabilities = np.exp(expected).reshape(B, -1)
    close(found["mean"], probabilities, size)
    close(found["deviation"], np.sqrt(probabilities * (1 - probabilities)), np.sqrt(size))

    def in_groups(values):
        return np.asarray(values).reshape(*np.shape(values)[:-1], -1, V)

    # a prior of equal probabilities costs log V less the entropy, at any draw
    entropy = -in_groups(probabilities * expected.reshape(B, -1)).sum(axis=-1)
    rates = rates_under_uniform(logits, np.float32(found["mode"]))
    close(in_groups(rates).sum(axis=-1), np.log(V) - entropy, 10 * size)

    # draws are one-hot; of the first groups the same whatever follows
    one, many = jax.device_get((sample(own, key), sample(own, key, num_samples=K)))
    assert (one.shape, many.shape, one.dtype) == ((B, 2 * V), (K, B, 2 * V), np.float32)
    for each in (one, many, found["mode"]):
        assert set(np.unique(each)) == {0.0, 1.0}
        np.testing.assert_array_equal(in_groups(each).sum(axis=-1), 1.0)
    np.testing.assert_array_equal(sample(own.first(V), key), one[:, :V])
    np.testing.assert_array_equal(moments(own.first(V))["log_probs"], found["log_probs"][:, :V])
    first = OneHotCategorical(logits[:1], V)
    np.testing.assert_array_equal(sample(first, key), one[:1])
    assert sample(OneHotCategorical(logits[:0], V), key, num_samples=K).shape == (K, 0, 2 * V)
    # the mode is the likeliest of all draws
    log_prob = density(own, many)
    assert (log_prob.shape, log_prob.dtype) == ((K, B), np.float32)
    close(log_prob, np.sum(many * expected.reshape(1, B, -1), axis=2), 2 * size)
    likeliest = density(own, np.stack([found["mode"]] * K))
    assert np.all(likeliest >= log_prob - 2 * size)
    # a smooth draw has the largest where the draw has its one, which at no temperature it is
    smooth, slopes = relaxed(key, logits, np.float32(temperature))
    assert smooth.dtype == np.float32
    all_finite(smooth, slopes)
    assert np.all((smooth >= 0) & (smooth <= 1))
    close(in_groups(smooth).sum(axis=-1), np.ones((B, 2)), 1e-5)
    best = np.take_along_axis(in_groups(smooth), in_groups(one).argmax(-1)[..., None], axis=-1)
    np.testing.assert_array_equal(best[..., 0], in_groups(smooth).max(axis=-1))
    cold = relaxed(key, logits, np.float32(distributions.LOWEST_TEMPERATURE))[0]
    np.testing.assert_array_equal(relaxed(key, logits, np.float32(0))[0], cold)
    if times > 1:
        half = OneHotCategorical(logits.astype(jnp.bfloat16), V)
        for each in (half.sample(key), half.relaxed(key, 0.5), half.mean, half.deviation):
            assert each.dtype == jnp.bfloat16
            all_finite(each)
        np.testing.assert_array_equal(own.sample(key), one)
        assert OneHotCategorical(logits[0], V).sample(key, K).shape == (K, 2 * V)


@jax.jit
def slopes_of_moments(logits):
    """Gradients of the sum of each moment."""
    return {
        name: jax.grad(lambda own, name=name: getattr(OneHotCategorical(own, V), name).sum())(
            logits
        )
        for name in ("log_probs", "mean", "deviation")
    }


@law("OneHotCategorical.deviation", logits=arrays(REAL, (B, 2 * V)))
def test_moments_of_categories_have_finite_gradients(logits):
    all_finite(slopes_of_moments(logits))


@law(
    "FullGaussian",
    "FullGaussian.fit",
    "FullGaussian.deviation",
    "FullGaussian.first",
    "FullGaussian.sample",
    codes=arrays(numbers(1e4), (6, 3)),
    num_rows=st.sampled_from([1, 6]),
    seed=SEED,
)
def test_a_gaussian_of_any_covariance_has_that_of_the_codes(codes, num_rows, seed):
    key, codes = jax.random.key(seed), codes[:num_rows]
    fit = jitted(FullGaussian.fit)
    sample = jitted(FullGaussian.sample, "num_samples")
    deviation = jitted(FullGaussian.deviation.fget)
    own = fit(codes)
    wide = np.float64(codes)
    covariance = np.cov(wide.T, ddof=0)
    size = 1 + np.abs(wide).max()
    all_finite(own)
    close(own.mean, wide.mean(axis=0), 1e-6 * size)
    factor = np.float64(own.factor)
    close(factor @ factor.T, covariance, 1e-5 * size**2)
    close(np.float64(deviation(own)) ** 2, np.diag(covariance), 1e-5 * size**2)
    # the marginal of the first dimensions
    marginal = jitted(FullGaussian.first, "num")(own, num=2)
    assert (marginal.mean.shape, marginal.factor.shape) == ((2,), (2, 2))
    factor = np.float64(marginal.factor)
    close(factor @ factor.T, covariance[:2, :2], 2e-5 * size**2)
    # draws
    one, many = sample(own, key), sample(own, key, num_samples=K)
    assert (one.shape, many.shape, many.dtype) == ((3,), (K, 3), np.float32)
    assert sample(own, key, num_samples=0).shape == (0, 3)
    all_finite(one, many)
    if num_rows == 1:
        close(many, np.tile(wide, (K, 1)), 1e-6 * size)
    # codes that are moved and repeated
    moved = fit(np.concatenate([codes, codes]) + np.float32(64))
    close(moved.mean, wide.mean(axis=0) + 64, 1e-5 * size)
    close(np.float64(deviation(moved)) ** 2, np.diag(covariance), 1e-4 * (size + 64) ** 2)


@law("require_diagonal_gaussian", examples=5, mean=arrays(numbers(1e4), (3,)))
def test_only_a_diagonal_gaussian_is_let_through(mean):
    prior = DiagonalGaussian(mean, np.zeros_like(mean))
    assert distributions.require_diagonal_gaussian(prior, "it") is prior
    for other in (FullGaussian.fit(mean[None]), OneHotCategorical(mean[None], 3), None):
        with pytest.raises(UnsupportedError, match=r"^it: p\(z\) is of type .*, must be a Diag"):
            distributions.require_diagonal_gaussian(other, "it")


def test_every_public_name_has_a_law():
    assert not uncovered(distributions, globals())
