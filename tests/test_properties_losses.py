"""Laws of the terms of the losses: any shape, extreme values, empty and single batches, padding."""

import dataclasses
import functools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
from hypothesis import strategies as st
from properties import all_finite, arrays, close, jitted, law, numbers, uncovered

from vae_jax import distributions, losses

REAL = numbers(1e4)
LOGVAR = st.one_of(numbers(100.0), st.sampled_from([1e4, -1e4]))
UNIT = st.one_of(st.floats(0, 1), st.sampled_from([0.0, 1.0, 0.5]))
LEVEL = st.integers(0, 255).map(lambda level: level / 255)
CATEGORY = st.integers(0, 4)
RATE = st.one_of(st.floats(0, 5), st.sampled_from([0.0, 1e4]))
JUNK = st.sampled_from([0.0, -7.0, 1e4, 1e30, -3e38, np.nan, np.inf, -np.inf])

B, K, L, V = 3, 4, 3, 5
EVENTS = ((2, 9), (), (3,), (33,))  # 18 values are 16 at a time and 2 that are left over
ACCURACY = {np.dtype(np.float32): 1e-5, np.dtype(jnp.bfloat16): 0.05}


# --- Terms of which each row is its own: [B, …] to [B]


@dataclasses.dataclass(frozen=True)
class Term:
    """A term that is computed row by row.

    Attributes:
        function: arrays to [B].
        arguments: (elements, axes) of each array; * stands for the event axes.
        expected: the arrays in float64 to (summands of the value, what rounding is relative to),
            [B, *event] each.
    """

    function: Callable
    arguments: tuple[tuple[st.SearchStrategy, str], ...]
    expected: Callable

    def shapes(self, event, batch=B):
        sizes = {"B": (batch,), "K": (K,), "V": (V,), "*": event}
        return [sum((sizes[axis] for axis in axes), ()) for _, axes in self.arguments]

    def draw(self, data, events=EVENTS, dtype=np.float32):
        shapes = self.shapes(data.draw(st.sampled_from(events)))
        own = [int if elements is CATEGORY else dtype for elements, _ in self.arguments]
        return [
            data.draw(arrays(elements, *rest))
            for (elements, _), *rest in zip(self.arguments, shapes, own, strict=True)
        ]

    def row(self, arrays, number):
        """The same of one row alone, a batch of one."""
        return [
            np.take(a, [number], axis=axes.index("B")) if "B" in axes else a
            for a, (_, axes) in zip(arrays, self.arguments, strict=True)
        ]


def bounded(logvar):
    return np.clip(logvar, -20.0, 20.0)


def of_bernoulli(x, logits):
    terms = x * np.logaddexp(0, -logits) + (1 - x) * np.logaddexp(0, logits)
    return terms, terms + 0.2 * np.abs(logits)


def of_gaussian(x, mean, logvar):
    terms = [np.log(2 * np.pi), bounded(logvar), (x - mean) ** 2 / np.exp(bounded(logvar))]
    return 0.5 * sum(terms), sum(map(np.abs, terms))


def of_laplace(x, mean, logvar):
    log_scale = 0.5 * (bounded(logvar) - np.log(2))
    terms = [np.log(2), log_scale, np.abs(x - mean) / np.exp(log_scale)]
    return sum(terms), sum(map(np.abs, terms))


def of_logistic(x, mean, logvar):
    """log(F(x + h) − F(x − h)) by the difference of two hyperbolic tangents."""
    half = 0.5 / 255
    scale = np.sqrt(3 * np.exp(bounded(logvar))) / np.pi
    above, below = (x - mean + half) / scale, (x - mean - half) / scale

    def log_cosh(t):
        return np.abs(t) + np.log1p(np.exp(-2 * np.abs(t))) - np.log(2)

    width = half / scale
    log_sinh = width + np.log(-np.expm1(-2 * width)) - np.log(2)
    inside = log_sinh - np.log(2) - log_cosh(above / 2) - log_cosh(below / 2)
    first, last = -np.logaddexp(0, -above), -np.logaddexp(0, below)
    logs = np.where(x < half, first, np.where(x > 1 - half, last, inside))
    return -logs, 1 + np.abs(above) + np.abs(below) + np.abs(logs)


def of_categorical(x, logits):
    chosen = np.take_along_axis(logits, x.astype(int)[..., None], axis=-1)[..., 0]
    terms = scipy.special.logsumexp(logits, axis=-1) - chosen
    return terms, terms + np.abs(logits).max(axis=-1) + 1


def of_rate(mean, logvar, prior_mean, prior_logvar):
    ratio = bounded(logvar) - bounded(prior_logvar)
    terms = 0.5 * (np.expm1(ratio) - ratio)
    terms = terms + 0.5 * (mean - prior_mean) ** 2 / np.exp(bounded(prior_logvar))
    return terms, terms * (1 + 0.1 * np.abs(ratio)) + 0.2 * np.abs(ratio)


def of_renyi(log_weights, alpha):
    """[1, B]: by the samples' logarithms in float64, centred."""
    order, mean = 1 - alpha, log_weights.mean(axis=0)
    centred = log_weights - mean
    if np.abs(order * centred).max() < 1e-6:
        values = mean + 0.5 * order * log_weights.var(axis=0)
    else:
        values = mean + (scipy.special.logsumexp(order * centred, axis=0) - np.log(K)) / order
    # log K of the two is rounded, then divided by what may be small
    return values[None], 10 * (1 + np.abs(log_weights).max(axis=0)[None])


TERMS = {
    "sum_event": Term(losses.sum_event, ((REAL, "B*"),), lambda v: (v, np.abs(v))),
    "bernoulli_distortion": Term(
        losses.bernoulli_distortion, ((UNIT, "B*"), (REAL, "B*")), of_bernoulli
    ),
    "gaussian_distortion": Term(
        losses.gaussian_distortion, ((REAL, "B*"), (REAL, "B*"), (LOGVAR, "B*")), of_gaussian
    ),
    "laplace_distortion": Term(
        losses.laplace_distortion, ((REAL, "B*"), (REAL, "B*"), (LOGVAR, "*")), of_laplace
    ),
    "discretized_logistic_distortion": Term(
        losses.discretized_logistic_distortion,
        ((LEVEL, "B*"), (REAL, "B*"), (LOGVAR, "")),
        of_logistic,
    ),
    "categorical_distortion": Term(
        losses.categorical_distortion, ((CATEGORY, "B*"), (REAL, "B*V")), of_categorical
    ),
    "gaussian_rate": Term(
        losses.gaussian_rate, ((REAL, "B*"), (LOGVAR, "B*"), (REAL, "*"), (LOGVAR, "B*")), of_rate
    ),
    "squared_error": Term(
        losses.squared_error, ((REAL, "B*"), (REAL, "B*")), lambda x, y: ((x - y) ** 2,) * 2
    ),
    "commitment": Term(
        losses.commitment, ((REAL, "B*"), (REAL, "B*")), lambda x, y: ((x - y) ** 2,) * 2
    ),
    "elbo": Term(losses.elbo, ((REAL, "B"), (RATE, "B")), lambda d, r: (-d - r, np.abs(d) + r)),
    "beta_elbo_loss": Term(
        losses.beta_elbo_loss,
        ((REAL, "B"), (RATE, "B"), (RATE, "")),
        lambda d, r, beta: (d + beta * r, np.abs(d) + beta * r),
    ),
    "discriminator_loss": Term(
        losses.discriminator_loss,
        ((REAL, "B"), (REAL, "B")),
        lambda a, b: (0.5 * (np.logaddexp(0, -a) + np.logaddexp(0, b)),) * 2,
    ),
    "importance_weighted_bound": Term(
        losses.importance_weighted_bound,
        ((REAL, "KB"),),
        lambda w: (
            scipy.special.logsumexp(w, axis=0) - np.log(K),
            1 + np.abs(w).max(axis=0),
        ),
    ),
    "renyi_bound": Term(
        losses.renyi_bound,
        (
            (REAL, "KB"),
            (st.one_of(st.floats(0, 5), st.sampled_from([0.0, 1.0, 0.9999, 1.0005, 100.0])), ""),
        ),
        lambda w, alpha: tuple(each[0] for each in of_renyi(w, alpha)),
    ),
}


@functools.cache
def value_and_slopes(name):
    """Compiled: the term, and the gradient of its sum by every argument that is not an integer."""
    term = TERMS[name]
    places = [i for i, (elements, _) in enumerate(term.arguments) if elements is not CATEGORY]

    def run(*arguments):
        def function(*moved):
            full = list(arguments)
            for place, each in zip(places, moved, strict=True):
                full[place] = each
            return term.function(*full)

        value, vjp = jax.vjp(function, *(arguments[place] for place in places))
        return value, vjp(jnp.ones_like(value))

    return jax.jit(run)


def expected_and_tolerance(name, arguments):
    wide = [np.float64(a) for a in arguments]
    values, sizes = (
        np.asarray(each).reshape(B, -1).sum(axis=1) for each in TERMS[name].expected(*wide)
    )
    dtype = arguments[-1].dtype
    return values, ACCURACY[dtype] * sizes + 1e-6 * (dtype == np.float32)


@pytest.mark.parametrize("name", TERMS)
@law(*TERMS, data=st.data())
def test_a_term_is_that_of_its_formula_row_by_row_with_finite_gradients(name, data, times):
    # a shape is compiled once: one for each term in the ordinary run
    first = [*TERMS].index(name) % 2
    arguments = TERMS[name].draw(data, EVENTS if times > 1 else EVENTS[first : first + 1])
    value, slopes = value_and_slopes(name)(*arguments)
    expected, tolerance = expected_and_tolerance(name, arguments)
    assert value.dtype == np.float32
    close(value, expected, tolerance)
    all_finite(slopes)
    row = data.draw(st.integers(0, B - 1))
    # a batch of one; op by op in the slow run
    function = TERMS[name].function if times > 1 else jitted(TERMS[name].function)
    alone = function(*TERMS[name].row(arguments, row))
    assert alone.dtype == np.float32
    close(alone, np.asarray(value)[[row]], 2 * tolerance[row])


HALF = ("bernoulli_distortion", "importance_weighted_bound")


@pytest.mark.parametrize(
    "name", [name if name in HALF else pytest.param(name, marks=pytest.mark.slow) for name in TERMS]
)
@law(data=st.data())
def test_a_term_of_half_precision_is_rounded_and_finite(name, data):
    arguments = TERMS[name].draw(data, EVENTS[:1], jnp.bfloat16)
    value, slopes = value_and_slopes(name)(*arguments)
    assert value.dtype == jnp.bfloat16
    close(value, *expected_and_tolerance(name, arguments))
    all_finite(slopes)


@pytest.mark.parametrize("name", TERMS)
def test_a_term_of_no_rows_is_empty(name):
    term = TERMS[name]
    for event in EVENTS[:2]:
        shapes = term.shapes(event, batch=0)
        dtypes = [int if e is CATEGORY else np.float32 for e, _ in term.arguments]
        value = jax.jit(term.function)(*map(np.zeros, shapes, dtypes))
        assert (value.shape, value.dtype) == ((0,), np.float32)


@pytest.mark.parametrize(
    "name", [name for name, term in TERMS.items() if "*" in term.arguments[0][1]]
)
def test_a_term_of_events_without_elements_is_zero(name):
    term = TERMS[name]
    dtypes = [int if e is CATEGORY else np.float32 for e, _ in term.arguments]
    value = jax.jit(term.function)(*map(np.zeros, term.shapes((2, 0)), dtypes))
    np.testing.assert_array_equal(value, np.zeros(B))


def pairs(*elements):
    """Arrays [B, L], one for each kind of elements."""
    return st.tuples(*(arrays(each, (B, L)) for each in elements))


@law("rate_per_dimension", four=pairs(REAL, LOGVAR, REAL, LOGVAR))
def test_the_rate_is_never_negative_zero_at_the_prior_and_a_sum(four):
    mean, logvar, *prior = four
    per_dim = jitted(losses.rate_per_dimension)(mean, logvar, *prior)
    assert (per_dim.shape, per_dim.dtype) == ((B, L), np.float32)
    expected, size = of_rate(*map(np.float64, four))
    close(per_dim, expected, 1e-5 * size)
    assert np.all(per_dim >= -1e-7)
    np.testing.assert_array_equal(jitted(losses.rate_per_dimension)(*prior, *prior), 0.0)
    empty = jitted(losses.rate_per_dimension)(*(a[:0] for a in four))
    assert (empty.shape, empty.dtype) == ((0, L), np.float32)


# --- Padding: what a mask leaves out does not matter, whatever it holds


def mean_rate(mask, mean, logvar, threshold):
    return losses.batch_mean(
        losses.free_bits(losses.rate_per_dimension(mean, logvar), threshold, mask), mask
    )


KERNELS = {"imq": lambda ratio: 1 / (1 + ratio), "rbf": lambda ratio: np.exp(-ratio)}


def discrepancy(kernel):
    def function(mask, x, y):
        return losses.maximum_mean_discrepancy(x, y, mask, kernel=kernel, scales=(0.5, 2.0))

    def expected(x, y):
        """Over pairs, one by one, and 0 of a single row."""
        width, total = 2.0 * x.shape[1], 0.0
        for i, j in np.ndindex(len(x), len(x)):
            if i != j:
                for scale in (0.5, 2.0):
                    total += sum(
                        sign * KERNELS[kernel](np.sum((a - b) ** 2) / (scale * width))
                        for sign, a, b in (
                            (1, x[i], x[j]),
                            (1, y[i], y[j]),
                            (-1, x[i], y[j]),
                            (-1, x[j], y[i]),
                        )
                    )
        return total / max(len(x) * (len(x) - 1), 1), 4.0

    return function, (REAL, REAL), expected


DIRECTIONS = np.float32([[1, 0, 0], [0.6, 0.8, 0], [-0.48, 0.6, 0.64]])


def of_sliced_wasserstein(x, y):
    lines = [np.sort(np.float64(DIRECTIONS) @ values.T, axis=1) for values in (x, y)]
    return np.mean((lines[0] - lines[1]) ** 2), 1 + max(np.abs(x).max(), np.abs(y).max()) ** 2


def of_variance(x, mean):
    return np.log(max(np.mean((x - mean) ** 2), np.exp(-20))), 1.0


def of_covariance(values):
    return np.cov(values.T, ddof=0), 1 + np.abs(values).max() ** 2


def of_aggregate_covariance(mean, logvar):
    variances = np.exp(bounded(logvar)).mean(axis=0)
    total = np.cov(mean.T, ddof=0) + np.diag(variances)
    return total, 1 + np.abs(mean).max() ** 2 + variances.max()


def of_mean_rate(mean, logvar):
    rates = of_rate(mean, logvar, 0.0, 0.0)[0].mean(axis=0)
    return np.maximum(rates, 0.7).sum(), 10 + rates.sum()


def of_capacity(mean, logvar):
    rate = of_rate(mean, logvar, 0.0, 0.0)[0].sum(axis=1).mean()
    return np.abs(rate - 2.0) * 3.0, 10 + 3 * rate


# (function of a mask and arrays [N, L], what the arrays hold, what it is of the rows that count
# and what rounding is relative to)
MASKED = {
    "batch_mean": (
        lambda mask, values: losses.batch_mean(values, mask),
        (REAL,),
        lambda values: (values.mean(axis=0), 1 + np.abs(values).max()),
    ),
    "optimal_logvar": (
        lambda mask, x, mean: losses.optimal_logvar(x, mean, mask),
        (REAL, REAL),
        of_variance,
    ),
    "free_bits": (functools.partial(mean_rate, threshold=0.7), (REAL, LOGVAR), of_mean_rate),
    "capacity_penalty": (
        lambda mask, mean, logvar: losses.capacity_penalty(
            jnp.sum(losses.rate_per_dimension(mean, logvar), axis=1), 2.0, 3.0, mask
        )[0],
        (REAL, LOGVAR),
        of_capacity,
    ),
    "covariance": (lambda mask, values: losses.covariance(values, mask), (REAL,), of_covariance),
    "aggregate_covariance": (
        lambda mask, mean, logvar: losses.aggregate_covariance(mean, logvar, mask),
        (REAL, LOGVAR),
        of_aggregate_covariance,
    ),
    "maximum_mean_discrepancy imq": discrepancy("imq"),
    "maximum_mean_discrepancy rbf": discrepancy("rbf"),
    "sliced_wasserstein": (
        lambda mask, x, y: losses.sliced_wasserstein(x, y, DIRECTIONS.astype(x.dtype), mask),
        (REAL, REAL),
        of_sliced_wasserstein,
    ),
}
COMPOSED = (
    "free_bits",
    "capacity_penalty",
)  # with another function, through whose gradient NaN goes
N = 4
MASKS = st.lists(st.sampled_from([0.0, 1.0]), min_size=N, max_size=N).filter(any).map(np.float32)


@functools.cache
def masked_value_and_slopes(name):
    def run(mask, *arrays):
        value, vjp = jax.vjp(functools.partial(MASKED[name][0], mask), *arrays)
        return value, vjp(jnp.ones_like(value))

    return jax.jit(run)


@pytest.mark.parametrize("name", MASKED)
@law(*{name.split()[0] for name in MASKED}, data=st.data(), mask=MASKS, junk=JUNK)
def test_rows_that_do_not_count_have_no_influence(name, data, mask, junk):
    _, elements, expected = MASKED[name]
    if name in COMPOSED and not abs(junk) < 1e5:
        junk = 1e4
    held = [data.draw(arrays(each, (N, L))) for each in elements]
    kept = mask > 0
    value, tolerance = expected(*(np.float64(a[kept]) for a in held))
    outcomes = jax.device_get(
        [
            masked_value_and_slopes(name)(
                mask, *(np.where(kept[:, None], a, np.float32(fill)) for a in held)
            )
            for fill in (0.0, junk)
        ]
    )
    actual, slopes = outcomes[0]
    assert actual.dtype == np.float32
    close(actual, value, 2e-5 * tolerance)
    all_finite(slopes)
    for a, b in zip(*map(jax.tree.leaves, outcomes), strict=True):
        np.testing.assert_array_equal(a, b)
    for slope in slopes:
        np.testing.assert_array_equal(slope[~kept], 0.0)


@pytest.mark.slow
@pytest.mark.parametrize("name", MASKED)
def test_a_mask_may_be_of_any_dtype_and_values_of_half_precision(name):
    function, elements, _ = MASKED[name]
    mask = np.array([True, False, True, True])
    values = [np.random.default_rng(i).normal(size=(N, L)) for i in range(len(elements))]
    arguments = [np.float32(a) for a in values]
    expected = jax.jit(function)(mask.astype(np.float32), *arguments)
    for dtype in (bool, np.int32):
        np.testing.assert_array_equal(jax.jit(function)(mask.astype(dtype), *arguments), expected)
    half = jax.jit(function)(mask.astype(np.float32), *(a.astype(jnp.bfloat16) for a in values))
    assert half.dtype == jnp.bfloat16
    close(half, np.asarray(expected), 0.1 * (1 + np.abs(expected).max()))


@law("batch_mean", values=arrays(REAL, (N,)), mask=MASKS, scale=st.floats(-5, 5))
def test_the_mean_moves_and_stretches_with_the_values(values, mask, scale):
    mean = np.float64(losses.batch_mean(values, mask))
    tolerance = 1e-5 * (1 + np.abs(values).max() * (1 + abs(scale)))
    close(losses.batch_mean(values + np.float32(scale), mask), mean + scale, tolerance)
    close(losses.batch_mean(values * np.float32(scale), mask), mean * scale, tolerance)
    close(losses.batch_mean(values, 2 * mask), mean, tolerance)
    weights = np.float64(mask) + 0.25
    expected = np.average(np.float64(values), weights=weights)
    close(losses.batch_mean(values, np.float32(weights)), expected, tolerance)


def test_the_mean_of_no_rows_is_not_a_number():
    for values in (np.zeros(0, np.float32), np.ones((0, L), np.float32)):
        for mask in (None, np.zeros(0, np.float32)):
            mean = losses.batch_mean(values, mask)
            assert (mean.shape, mean.dtype) == (values.shape[1:], np.float32)
            assert np.isnan(mean).all()
    assert np.isnan(losses.batch_mean(np.ones(N, np.float32), np.zeros(N, np.float32)))


# --- Variance, floors and targets


@law(
    "optimal_logvar",
    x=arrays(numbers(10.0), (N, L)),
    mean=arrays(numbers(10.0), (N, L)),
    other=st.floats(-19, 19),
    scale=st.floats(0.01, 100),
)
def test_no_variance_is_better_than_the_optimal_one(x, mean, other, scale):
    best = jitted(losses.optimal_logvar)(x, mean)

    def loss(logvar):
        terms = jitted(losses.gaussian_distortion)(x, mean, np.float32(logvar))
        return float(np.mean(terms))

    assert loss(best) <= loss(other) + 1e-4 * (1 + abs(loss(other)))
    # of values stretched by s it is larger by log s², above the least
    stretched = jitted(losses.optimal_logvar)(np.float32(scale) * x, np.float32(scale) * mean)
    if min(best, stretched) > -19.9:
        close(stretched, best + 2 * math.log(scale), 1e-3)


@law("free_bits", rates=arrays(RATE, (B, L)), low=st.floats(0, 6), high=st.floats(0, 6))
def test_free_bits_are_the_rate_between_floors(rates, low, high):
    low, high = sorted((np.float32(low), np.float32(high)))
    plain, least, most = (
        float(losses.batch_mean(losses.free_bits(rates, floor))) for floor in (0.0, low, high)
    )
    close(plain, np.float64(rates).sum(axis=1).mean(), 1e-5 * (1 + plain))
    assert plain <= least * 1.00001 + 1e-6
    assert least <= most * 1.00001 + 1e-6
    assert most >= L * high * 0.99999
    # a floor for each dimension, of which none is reached
    each = losses.free_bits(rates, np.full(L, 1e5, np.float32))
    np.testing.assert_allclose(each, np.full(B, 3e5), rtol=1e-6)
    assert losses.free_bits(rates[:0], low).shape == (0,)


@law(
    "capacity_penalty",
    rate=arrays(RATE, (B,)),
    capacity=st.floats(0, 50),
    gamma=st.floats(0, 1000),
)
def test_the_penalty_of_a_capacity_is_the_same_for_all_and_zero_on_target(rate, capacity, gamma):
    penalty = losses.capacity_penalty(rate, capacity, gamma)
    assert np.ptp(penalty) == 0
    gap = abs(np.float64(rate).mean() - capacity)
    close(penalty, np.full(B, gamma * gap), 1e-5 * (1 + gamma * (rate.mean() + capacity)))
    target = losses.batch_mean(rate)
    np.testing.assert_array_equal(losses.capacity_penalty(rate, target, gamma), 0.0)
    assert losses.capacity_penalty(rate[:0], capacity, gamma).shape == (0,)


# --- Bounds of several samples


WEIGHTS = arrays(st.one_of(REAL, st.floats(-20, 0)), (K, B))


@law(
    "importance_weighted_bound",
    weights=WEIGHTS,
    shift=numbers(100.0),
    order=st.permutations(range(K)),
)
def test_the_importance_weighted_bound_lies_between_mean_and_maximum(weights, shift, order):
    bound = np.float64(jitted(losses.importance_weighted_bound)(weights))
    tolerance = 1e-5 * (10 + np.abs(weights).max() + abs(shift))
    assert np.all(bound >= weights.mean(axis=0, dtype=np.float64) - tolerance)
    assert np.all(bound <= weights.max(axis=0) + tolerance)
    moved = jitted(losses.importance_weighted_bound)(weights + np.float32(shift))
    close(moved, bound + shift, tolerance)
    close(jitted(losses.importance_weighted_bound)(weights[np.array(order)]), bound, tolerance)
    close(jitted(losses.importance_weighted_bound)(np.tile(weights, (2, 1))), bound, tolerance)
    np.testing.assert_allclose(
        jitted(losses.importance_weighted_bound)(weights[:1]), weights[0], rtol=1e-6
    )


ALPHA = st.one_of(
    st.floats(0, 4), st.floats(0.998, 1.002), st.sampled_from([0.0, 1.0, 0.9995, 1.0005])
)


@law("renyi_bound", examples=30, weights=WEIGHTS, alphas=st.tuples(ALPHA, ALPHA))
def test_the_renyi_bound_falls_from_the_maximum_to_the_minimum_as_alpha_grows(weights, alphas):
    low, high = sorted(map(np.float32, alphas))
    renyi = jax.jit(losses.renyi_bound)
    first, second = np.float64(renyi(weights, low)), np.float64(renyi(weights, high))
    tolerance = 1e-4 * (1 + np.abs(weights).max())
    assert np.all(first >= second - tolerance)
    assert np.all(first <= weights.max(axis=0) + tolerance)
    assert np.all(second >= weights.min(axis=0) - tolerance)
    close(renyi(weights, np.float32(1)), weights.mean(axis=0, dtype=np.float64), tolerance)
    importance = np.float64(jitted(losses.importance_weighted_bound)(weights))
    close(renyi(weights, np.float32(0)), importance, tolerance)


@jax.jit
def thermodynamic(weights, posterior, betas):
    """The bound, its surrogate, and the gradients of the surrogate's sum."""
    (bound, surrogate), vjp = jax.vjp(
        lambda *of: losses.thermodynamic_bound(*of, betas), weights, posterior
    )
    return bound, surrogate, *vjp((jnp.zeros_like(bound), jnp.ones_like(surrogate)))


@law(
    "thermodynamic_bound",
    weights=WEIGHTS,
    posterior=arrays(REAL, (K, B)),
    between=st.lists(st.floats(0.01, 0.99), min_size=2, max_size=2).map(sorted),
)
def test_the_thermodynamic_bound_lies_between_elbo_and_importance_weighted(
    weights, posterior, between
):
    betas = np.float32([0.0, *between])
    bound, surrogate, of_weights, of_posterior = thermodynamic(weights, posterior, betas)
    assert (bound.shape, bound.dtype, surrogate.shape) == ((B,), np.float32, (B,))
    tolerance = 1e-5 * (10 + np.abs(weights).max())
    assert np.all(bound >= weights.mean(axis=0, dtype=np.float64) - tolerance)
    assert np.all(bound <= jitted(losses.importance_weighted_bound)(weights) + tolerance)
    one = jitted(losses.thermodynamic_bound)(weights, posterior, np.float32([0.0]))[0]
    close(one, weights.mean(axis=0, dtype=np.float64), tolerance)
    # what is added to all weights is added to the bound; to all of log q, nothing is
    spread = 1e-4 * (10 + np.ptp(weights, axis=0))
    close(of_weights.sum(axis=0), np.ones(B), spread)
    close(of_posterior.sum(axis=0), np.zeros(B), spread)
    empty = jitted(losses.thermodynamic_bound)(weights[:, :0], posterior[:, :0], betas)
    assert [each.shape for each in empty] == [(0,), (0,)]


# --- Aggregate posterior


@law("aggregate_weights", "SAMPLINGS", mask=MASKS, more=st.integers(0, 10**6))
def test_weights_of_a_batch_stand_for_all_examples(mask, more):
    kept = mask > 0
    count = int(kept.sum())
    num_examples = count + more
    for sampling in losses.SAMPLINGS:
        aggregated = functools.partial(
            jitted(losses.aggregate_weights, "num_rows", "sampling"), sampling=sampling
        )
        logs = np.asarray(aggregated(num_rows=N, num_examples=num_examples, mask=mask))
        assert (logs.shape, logs.dtype) == ((N, N), np.float32)
        assert np.all(np.isneginf(logs[:, ~kept]))
        weights = np.exp(np.float64(logs))[np.ix_(kept, kept)]
        # q(z) of data of which all rows are alike is q(z|x); weighted ones are too small
        total = {"stratified": 1.0, "weighted": 1 / num_examples}[sampling]
        if count > 1:
            np.testing.assert_allclose(weights.sum(axis=1), total, rtol=1e-4)
        np.testing.assert_allclose(
            np.diag(weights),
            1 / num_examples / (count if sampling == "weighted" else 1),
            rtol=1e-5,
        )
        same = aggregated(num_rows=N, num_examples=num_examples, mask=kept)
        np.testing.assert_array_equal(same, logs)
        empty = aggregated(num_rows=0, num_examples=10)
        assert (empty.shape, empty.dtype) == ((0, 0), np.float32)
        if kept.all():
            same = aggregated(num_rows=N, num_examples=num_examples)
            np.testing.assert_array_equal(same, logs)


decomposed = jax.jit(losses.rate_decomposition)


@jax.jit
def decomposed_and_slopes(weights, rows, *codes):
    def total(*codes):
        parts = losses.rate_decomposition(*codes, weights)
        # of unequal shares, whose gradients do not cancel
        shares = zip((1.0, 3.0, 2.0), parts, strict=True)
        return sum(share * losses.batch_mean(part, rows) for share, part in shares)

    return jax.value_and_grad(total, (0, 1, 2))(*codes)


NEAR = numbers(100.0)


@law(
    "rate_decomposition",
    z=arrays(NEAR, (N, L)),
    mean=arrays(NEAR, (N, L)),
    logvar=arrays(LOGVAR, (N, L)),
    mask=MASKS,
    junk=JUNK,
    num_kept=st.integers(0, L),
)
def test_the_parts_of_the_rate_add_up_to_it(z, mean, logvar, mask, junk, num_kept):
    rows, dims = mask > 0, np.arange(L) < num_kept
    weights = jitted(losses.aggregate_weights, "num_rows")(num_rows=N, num_examples=10, mask=mask)
    latent_mask = dims.astype(np.float32)
    parts = jax.device_get(decomposed(z, mean, logvar, weights, latent_mask))
    wide = [np.float64(a) for a in (z, mean, logvar)]
    own = of_gaussian(*wide)
    prior = of_gaussian(wide[0], 0.0, 0.0)
    expected = ((prior[0] - own[0]) * dims).sum(axis=1)
    size = ((prior[1] + own[1]) * dims).sum(axis=1)
    # each part is a difference of densities, of which the widest is that of the farthest pair
    gap = (np.abs(wide[0]).max() + np.abs(wide[1]).max()) ** 2 / np.exp(bounded(wide[2]).min())
    close(np.sum(np.float64(parts), axis=0)[rows], expected[rows], 1e-5 * (10 + size + gap)[rows])
    if num_kept < 2:
        close(parts[1][rows], np.zeros(rows.sum()), 1e-5 * (10 + size + gap)[rows])
    # neither dimensions nor rows that are masked matter
    other = [np.where(dims, a, np.float32(1e4)) for a in (z, mean, logvar)]
    again = jax.device_get(decomposed(*other, weights, latent_mask))
    for a, b in zip(parts, again, strict=True):
        np.testing.assert_array_equal(a[rows], b[rows])
    outcomes = [
        decomposed_and_slopes(
            weights,
            mask,
            *(np.where(rows[:, None], a, np.float32(fill)) for a in (z, mean, logvar)),
        )
        for fill in (0.0, junk)
    ]
    all_finite(outcomes[0])
    for a, b in zip(*map(jax.tree.leaves, outcomes), strict=True):
        np.testing.assert_array_equal(a, b)


SQUARES = arrays(numbers(100.0), (N, L))


@law("covariance", "aggregate_covariance", values=SQUARES, logvar=arrays(LOGVAR, (N, L)))
def test_a_covariance_is_symmetric_not_negative_and_does_not_see_a_shift(values, logvar):
    found = np.float64(jitted(losses.covariance)(values))
    tolerance = 1e-5 * (1 + np.abs(values).max() ** 2)
    np.testing.assert_array_equal(found, found.T)
    assert np.linalg.eigvalsh(found).min() >= -tolerance
    close(jitted(losses.covariance)(values + np.float32(64)), found, tolerance + 0.1)
    close(jitted(losses.covariance)(3 * values), 9 * found, 9 * tolerance)
    close(jitted(losses.covariance)(values[::-1].copy()), found, tolerance)
    np.testing.assert_allclose(jitted(losses.covariance)(values[:1]), np.zeros((L, L)))
    more = np.float64(jitted(losses.aggregate_covariance)(values, logvar)) - found
    variances = np.exp(bounded(np.float64(logvar))).mean(axis=0)
    close(more, np.diag(variances), tolerance + 1e-6 * variances.max())


slope_of_penalty = jax.jit(jax.grad(losses.decorrelation_penalty))


@law(
    "decorrelation_penalty",
    found=arrays(numbers(1e4), (L, L)),
    weights=st.tuples(st.floats(0, 100), st.floats(0, 100)),
    mask=arrays(st.sampled_from([0.0, 1.0]), (L,)),
)
def test_the_penalty_of_a_covariance_is_the_sum_of_its_squares(found, weights, mask):
    penalty = jitted(losses.decorrelation_penalty)(found, *weights, mask)
    gap = (np.float64(found) - np.eye(L)) ** 2 * np.outer(mask, mask)
    expected = np.sum(gap * np.where(np.eye(L) > 0, weights[1], weights[0]))
    close(penalty, expected, 1e-5 * (1 + expected))
    one = np.eye(L, dtype=np.float32)
    assert jitted(losses.decorrelation_penalty)(one, *weights, mask) == 0
    all_finite(slope_of_penalty(found, *weights, mask))
    masked = jitted(losses.decorrelation_penalty)(
        np.where(np.outer(mask, mask), found, 1e4), *weights, mask
    )
    np.testing.assert_array_equal(masked, penalty)


# --- Distances of samples


CODES = arrays(numbers(100.0), (N, L))


@law("KERNELS", squares=arrays(st.floats(0, 1e8), (N,)), width=st.floats(1e-2, 1e4), codes=CODES)
def test_kernels_are_one_at_no_distance_fall_and_are_positive(squares, width, codes):
    for kernel in losses.KERNELS.values():
        values = np.asarray(kernel(np.sort(squares), np.float32(width)))
        assert np.all((values >= 0) & (values <= 1))
        assert np.all(np.diff(values) <= 0)
        assert kernel(np.float32(0), np.float32(width)) == 1
        distances = np.sum((codes[:, None] - codes[None]) ** 2, axis=2)
        assert np.linalg.eigvalsh(kernel(distances, np.float32(width))).min() > -1e-5


@law(
    "maximum_mean_discrepancy",
    x=CODES,
    y=CODES,
    shift=st.integers(-8, 8),
    mask=arrays(st.sampled_from([0.0, 1.0]), (L,)),
)
def test_the_discrepancy_is_symmetric_bounded_and_zero_of_the_same(x, y, shift, mask):
    for kernel in losses.KERNELS:

        def distance(x, y, mask=None, kernel=kernel):
            run = jitted(losses.maximum_mean_discrepancy, "kernel")
            return run(x, y, latent_mask=mask, kernel=kernel)

        found = float(distance(x, y))
        assert abs(found) <= 2
        assert distance(x, x) == 0
        close(distance(y, x), found, 1e-5)
        close(distance(x[::-1].copy(), y[::-1].copy()), found, 1e-5)
        close(distance(x + np.float32(shift), y + np.float32(shift)), found, 1e-3)
        assert distance(x[:1], y[:1]) == 0
        assert distance(x[:0], y[:0]) == 0
        # masked dimensions are nothing to it, and do not count for the width
        of_some = distance(x, y, mask)
        other = [np.where(mask > 0, a, np.float32(1e4)) for a in (x, y)]
        np.testing.assert_array_equal(distance(*other, mask), of_some)


@law(
    "info_nce",
    x=arrays(numbers(1e3), (N, L)),
    y=arrays(numbers(1e3), (N, L)),
    temperature=st.floats(0.05, 10),
    mask=MASKS,
)
def test_info_nce_treats_rows_and_versions_alike(x, y, temperature, mask):
    contrast = functools.partial(jitted(losses.info_nce), temperature=np.float32(temperature))
    found = np.asarray(contrast(x, y, mask))
    tolerance = 1e-4 * (1 + 1 / temperature)
    close(contrast(y, x, mask), found, tolerance)
    turned = [each[::-1].copy() for each in (x, y, mask)]
    close(contrast(*turned)[::-1], found, tolerance)
    others = 2 * mask.sum() - 2
    assert (found >= -tolerance).all()
    assert (found <= np.log1p(others * np.exp(2 / temperature)) + tolerance).all()
    np.testing.assert_array_equal(found[mask == 0], 0.0)


@law(
    "sliced_wasserstein",
    x=CODES,
    y=CODES,
    shift=arrays(numbers(10.0), (L,)),
    scale=st.floats(-3, 3),
)
def test_sliced_wasserstein_is_a_distance(x, y, shift, scale):
    distance = functools.partial(jitted(losses.sliced_wasserstein), directions=DIRECTIONS)
    found, scale = float(distance(x, y)), np.float32(scale)
    tolerance = 1e-4 * (1 + np.abs(x).max() + np.abs(y).max() + np.abs(shift).max()) ** 2
    assert found >= 0
    close(distance(y, x), found, tolerance)
    close(distance(scale * x, scale * y), scale**2 * found, 9 * tolerance)
    close(distance(x[::-1].copy(), x), 0.0, tolerance)
    moved = np.mean((np.float64(DIRECTIONS) @ np.float64(shift)) ** 2)
    close(distance(x, x + shift), moved, tolerance)
    # the triangle, of distances and not of squares
    third = x + shift
    sides = [math.sqrt(float(distance(*pair))) for pair in ((x, y), (x, third), (third, y))]
    assert sides[0] <= sides[1] + sides[2] + math.sqrt(tolerance)


@law(
    "permute_dimensions",
    z=arrays(st.one_of(REAL, JUNK), (N, L)),
    mask=MASKS,
    seed=st.integers(0, 99),
)
def test_each_dimension_is_shuffled_among_rows_that_count(z, mask, seed, times):
    key, rows = jax.random.key(seed), mask > 0
    moved = np.asarray(jitted(losses.permute_dimensions)(key, z, mask))
    np.testing.assert_array_equal(np.sort(moved[rows], axis=0), np.sort(z[rows], axis=0))
    np.testing.assert_array_equal(moved[~rows], z[~rows])
    # what follows a dimension changes nothing
    fewer = jitted(losses.permute_dimensions)(key, z[:, :2], mask)
    np.testing.assert_array_equal(fewer, moved[:, :2])
    if times > 1:  # of other shapes, which compile anew, and op by op
        np.testing.assert_array_equal(losses.permute_dimensions(key, z, rows), moved)
        np.testing.assert_array_equal(losses.permute_dimensions(key, z[:1]), z[:1])
        assert losses.permute_dimensions(key, z[:0]).shape == (0, L)


# --- Codes


SMALL = arrays(st.integers(-50, 50), (4, 2))


@law("nearest_codes", vectors=arrays(st.integers(-50, 50), (5, 2)), codebook=SMALL, shift=REAL)
def test_the_nearest_code_is_found_and_of_equals_the_first(vectors, codebook, shift):
    # sums and products of small integers are exact
    found = jitted(losses.nearest_codes)(vectors, codebook)
    distances = np.sum((vectors[:, None] - codebook[None]) ** 2, axis=2)
    np.testing.assert_array_equal(found, distances.argmin(axis=1))
    assert jnp.issubdtype(found.dtype, jnp.integer)
    np.testing.assert_array_equal(jitted(losses.nearest_codes)(vectors[:1], codebook), found[:1])
    assert jitted(losses.nearest_codes)(vectors[:0], codebook).shape == (0,)
    # far from 0 it is the nearest up to rounding
    codes = codebook + np.float32(shift)
    chosen = np.asarray(jitted(losses.nearest_codes)(vectors, codes))
    distances = np.sum((np.float64(vectors)[:, None] - np.float64(codes)[None]) ** 2, axis=2)
    excess = distances[np.arange(5), chosen] - distances.min(axis=1)
    assert np.all(excess <= 1e-5 * (1 + np.abs(codes).max() ** 2))


@law("straight_through", features=arrays(numbers(1e30), (B, L)), quantized=arrays(REAL, (B, L)))
def test_straight_through_are_the_quantized_values_with_the_features_gradient(features, quantized):
    value, vjp = jax.vjp(losses.straight_through, features, quantized)
    np.testing.assert_array_equal(value, quantized)
    of_features, of_quantized = vjp(np.float32(quantized))
    np.testing.assert_array_equal(of_features, quantized)
    np.testing.assert_array_equal(of_quantized, 0.0)
    assert losses.straight_through(features[:0], quantized[:0]).shape == (0, L)


@law("commitment", features=arrays(REAL, (B, L)), quantized=arrays(REAL, (B, L)))
def test_commitment_has_no_gradient_of_the_codes(features, quantized):
    slopes = jax.grad(lambda *a: losses.commitment(*a).sum(), (0, 1))(features, quantized)
    np.testing.assert_allclose(slopes[0], 2 * (features - quantized), rtol=1e-6)
    np.testing.assert_array_equal(slopes[1], 0.0)


@law(
    "code_counts",
    indices=arrays(st.integers(0, K - 1), (6,), np.int32),
    weights=arrays(st.sampled_from([0.0, 1.0]), (6,)),
)
def test_codes_are_counted(indices, weights):
    counts = losses.code_counts(indices, K, weights)
    np.testing.assert_array_equal(counts, np.bincount(indices, weights, minlength=K))
    np.testing.assert_array_equal(losses.code_counts(indices, K), np.bincount(indices, minlength=K))
    for dtype in (bool, np.int32):
        of_others = losses.code_counts(indices, K, weights.astype(dtype))
        np.testing.assert_array_equal(of_others, counts)
    parts = [losses.code_counts(indices[own], K, weights[own]) for own in (np.s_[:3], np.s_[3:])]
    np.testing.assert_array_equal(parts[0] + parts[1], counts)
    empty = losses.code_counts(indices[:0], K)
    np.testing.assert_array_equal(empty, np.zeros(K))


COUNTS = arrays(st.one_of(st.integers(0, 9), st.sampled_from([0, 1e6])), (K,)).filter(np.any)


perplexity_and_slope = jax.jit(jax.value_and_grad(losses.perplexity))


@law("perplexity", counts=COUNTS, scale=st.floats(1e-3, 1e3), order=st.permutations(range(K)))
def test_perplexity_is_the_number_of_codes_that_are_in_use(counts, scale, order):
    value, slope = perplexity_and_slope(counts)
    used = int((counts > 0).sum())
    assert 1 - 1e-6 <= value <= used * (1 + 1e-5)
    all_finite(slope)
    close(jitted(losses.perplexity)(counts * np.float32(scale)), value, 1e-4)
    close(jitted(losses.perplexity)(counts[np.array(order)]), value, 1e-5)
    close(jitted(losses.perplexity)((counts > 0).astype(np.float32)), np.float64(used), 1e-5)
    shares = np.float64(counts[counts > 0]) / counts.sum(dtype=np.float64)
    close(value, np.exp(-np.sum(shares * np.log(shares))), 1e-5 * K)


@jax.jit
def of_weights(kernel, bias):
    """Both penalties of a layer, and the gradient of the second in its kernel."""
    layer = {"kernel": kernel, "bias": bias}
    spectral, slope = jax.value_and_grad(losses.squared_spectral_norms)(layer)
    return losses.squared_norm(layer), spectral, slope["kernel"], slope["bias"]


@law(
    "squared_norm",
    "squared_spectral_norms",
    kernel=arrays(numbers(1e3), (K, L)),
    bias=arrays(numbers(1e3), (L,)),
)
def test_norms_of_weights_are_those_of_matrices(kernel, bias):
    whole, spectral, slope, of_bias = of_weights(kernel, bias)
    exact = np.float64(kernel)
    squares = np.square(exact).sum() + np.square(np.float64(bias)).sum()
    np.testing.assert_allclose(whole, squares, rtol=1e-5)
    largest = np.linalg.norm(exact, 2) ** 2
    # power iterations come from below
    assert 0.8 * largest <= spectral <= largest * (1 + 1e-4) or largest < 1e-20
    all_finite(slope)
    np.testing.assert_array_equal(of_bias, 0.0)
    # σ² is homogeneous of degree 2: ⟨∂σ²/∂W, W⟩ = 2σ²
    products = np.sum(np.float64(slope) * exact)
    np.testing.assert_allclose(products, 2 * np.float64(spectral), rtol=1e-3, atol=1e-20)


@jax.jit
def activations(rates, target):
    """The divergence and the gradient of its sum."""
    value, vjp = jax.vjp(lambda rates: losses.activation_divergence(rates, target), rates)
    return value, *vjp(jnp.ones_like(value))


@law(
    "activation_divergence",
    rates=arrays(UNIT, (L,)),
    target=st.floats(0.001, 0.999),
    half=st.booleans(),
)
def test_the_divergence_of_activations_is_that_of_coins(rates, target, half):
    dtype = jnp.bfloat16 if half else np.float32
    rates = rates.astype(dtype)
    own, slope = activations(rates, target)
    all_finite(slope)
    drawn_in = 1e-6 + (1 - 2e-6) * np.float64(rates)
    expected = scipy.special.rel_entr(target, drawn_in)
    expected += scipy.special.rel_entr(1 - target, 1 - drawn_in)
    # a rate near 0 or 1 is rounded before its logarithm is taken
    rounding = 1e-6 + 1.2e-7 / np.minimum(drawn_in, 1 - drawn_in)
    close(own, expected, (0.05 if half else 1e-5) * (2 + expected) + rounding)
    assert np.all(np.float64(own) >= (-0.02 if half else -1e-6))
    at_target, _ = activations(np.full(L, target, np.float32), target)
    close(at_target, np.zeros(L), 1e-6)
    mirrored, _ = activations(1 - np.float32(rates), 1 - target)
    close(mirrored, expected, 1e-5 * (2 + expected) + 2 * rounding)
    assert activations(rates[:0], target)[0].shape == (0,)


# --- Jacobians


@jax.jit
def of_layers(matrix, x):
    """‖J‖² of x -> tanh(Wx) and of x -> Wx, x [B, 1, D]."""

    def linear(x):
        return jnp.matmul(x[:, 0], matrix.T, precision="highest")

    return losses.jacobian_norm(lambda x: jnp.tanh(linear(x)), x), losses.jacobian_norm(linear, x)


@functools.partial(jax.jit, static_argnums=3)
def estimated(scales, x, key, num_probes):
    """The estimate of ‖J‖² of a stretch of each dimension, x [B, 1, D]."""
    return losses.estimated_jacobian_norm(lambda x: x[:, 0] * scales[None], x, key, num_probes)


@law(
    "jacobian_norm",
    "estimated_jacobian_norm",
    examples=6,
    tall=arrays(numbers(10.0), (4, 2)),
    x=arrays(numbers(100.0), (B, 1, 2)),
    seed=st.integers(0, 99),
)
def test_the_jacobian_of_a_layer_is_known(tall, x, seed, times):
    for matrix in (tall, tall.T):
        values = x if len(matrix) == 4 else np.concatenate([x, x], axis=2)
        flat = np.float64(values).reshape(B, -1)
        slope = 1 - np.tanh(flat @ np.float64(matrix).T) ** 2
        expected = np.sum(slope**2 * np.sum(np.float64(matrix) ** 2, axis=1), axis=1)
        size = np.sum(np.float64(matrix) ** 2)
        squashed, linear = of_layers(matrix, values)
        close(squashed, expected, 1e-3 * (1 + size))
        close(linear, np.full(B, size), 1e-5 * (1 + size))
    # a map whose columns are orthogonal is known from one probe
    scales = np.float32(tall[0])
    key = jax.random.key(seed)
    for num_probes in (1, 3) if times > 1 else (1,):
        found = estimated(scales, x, key, num_probes)
        close(found, np.full(B, np.sum(np.float64(scales) ** 2)), 1e-4 * (1 + np.sum(scales**2)))


def test_jacobians_of_no_rows_are_none():
    for shape in ((0, 1, 2), (0, 1, 4)):
        x, matrix = np.zeros(shape, np.float32), np.zeros((3, shape[2]), np.float32)
        assert [each.shape for each in of_layers(matrix, x)] == [(0,), (0,)]
        assert estimated(matrix[0], x, jax.random.key(0), 1).shape == (0,)


PICTURES = arrays(UNIT, (2, 5, 6, 2))


def windows(x, y, size):
    """Luminance, and contrast and structure, of each window, one by one: [B, h, w, C] each."""
    offsets = np.arange(size) - (size - 1) / 2
    line = np.exp(-(offsets**2) / (2 * 1.5**2))
    weights = np.outer(line, line)[None, :, :, None] / np.outer(line, line).sum()
    num, height, width, num_channels = x.shape
    maps = np.empty((2, num, height - size + 1, width - size + 1, num_channels))
    for i, j in np.ndindex(*maps.shape[2:4]):
        a, b = (np.float64(each)[:, i : i + size, j : j + size] for each in (x, y))
        mean_a, mean_b = ((weights * each).sum(axis=(1, 2)) for each in (a, b))
        a, b = a - mean_a[:, None, None], b - mean_b[:, None, None]
        both, own, other = ((weights * each).sum(axis=(1, 2)) for each in (a * b, a * a, b * b))
        maps[0, :, i, j] = (2 * mean_a * mean_b + 1e-4) / (mean_a**2 + mean_b**2 + 1e-4)
        maps[1, :, i, j] = (2 * both + 9e-4) / (own + other + 9e-4)
    return maps


@law(
    "structural_similarity",
    "multiscale_similarity",
    "num_possible_scales",
    "SCALE_WEIGHTS",
    x=PICTURES,
    y=PICTURES,
    sizes=st.sampled_from([(1, 3), (2, 2), (3, 1), (5, 1)]),
)
def test_similarity_is_that_of_windows(x, y, sizes):
    """As it is written down; 1 of equal images; symmetric; of channels one by one."""
    size, most = sizes
    assert losses.num_possible_scales(5, 6, size) == most
    similar = jitted(losses.structural_similarity, "window")
    luminance, contrast = windows(x, y, size)
    # a window of one pixel has no variance, but what rounding leaves of it
    close(similar(x, y, window=size), (luminance * contrast).mean(axis=(1, 2, 3)), 5e-4)
    close(similar(x, x, window=size), np.ones(2), 1e-6)
    close(similar(y, x, window=size), similar(x, y, window=size), 1e-6)

    multiscale = jitted(losses.multiscale_similarity, "window", "num_scales")
    exponents = np.array(losses.SCALE_WEIGHTS[:most]) / sum(losses.SCALE_WEIGHTS[:most])
    small, expected = (x, y), 1.0
    for scale, exponent in enumerate(exponents):
        luminance, contrast = windows(*small, size)
        own = contrast if scale < most - 1 else luminance * contrast
        own = own.mean(axis=(1, 2))
        expected = expected * np.where(own < 0.01, 0.01 * np.exp(own - 0.01), own) ** exponent
        even = (each[:, : 2 * (each.shape[1] // 2), : 2 * (each.shape[2] // 2)] for each in small)
        small = [
            sum(each[:, i::2, j::2] for i in (0, 1) for j in (0, 1)) / np.float32(4)
            for each in even
        ]
    found = multiscale(x, y, window=size, num_scales=most)
    close(found, expected.mean(axis=-1), 3e-3)
    close(multiscale(x, x, window=size, num_scales=most), np.ones(2), 1e-6)
    alone = [
        multiscale(x[..., c : c + 1], y[..., c : c + 1], window=size, num_scales=most)
        for c in range(2)
    ]
    close(found, np.mean(alone, axis=0), 1e-5)


def test_every_public_name_has_a_law():
    assert not uncovered(losses, globals())
    assert distributions.LOGVAR_BOUND == 20.0  # as `bounded` has it
