"""The terms of the losses: reductions, known answers, masks, and the identities between scales."""

import functools

import jax
import jax.numpy as jnp
import keys
import numpy as np
import pytest
import scipy.special
import scipy.stats
from properties import jitted

from vae_jax import distributions, losses


def normal(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def test_distortions_sum_over_all_event_axes_and_keep_the_batch():
    shape = (4, 3, 2, 1)
    x, mean, logvar = np.float32(normal(0, *shape) > 0), normal(1, *shape), normal(2)
    level, logits = x.astype(int), normal(3, *shape, 5)
    parts = {"levels": (level, logits), "others": (x, mean, logvar)}

    @jax.jit
    def measured(levels, others):
        pairs = [
            (losses.bernoulli_distortion, distributions.bernoulli_log_prob, others[:2]),
            (losses.gaussian_distortion, distributions.gaussian_log_prob, others),
            (losses.laplace_distortion, distributions.laplace_log_prob, others),
            (
                functools.partial(losses.discretized_logistic_distortion, num_levels=2),
                functools.partial(distributions.discretized_logistic_log_prob, num_levels=2),
                others,
            ),
            (losses.categorical_distortion, distributions.categorical_log_prob, levels),
        ]
        return [(distortion(*own), log_prob(*own)) for distortion, log_prob, own in pairs]

    pairs = measured(**parts)
    for distortion, log_prob in pairs:
        assert distortion.shape == (4,)
        assert distortion.dtype == jnp.float32
        expected = [-float(np.sum(row)) for row in np.float64(log_prob)]
        np.testing.assert_allclose(distortion, expected, rtol=1e-5)


def test_known_distortions():
    zeros = np.zeros((2, 3), np.float32)

    @jax.jit
    def measured(x):
        level = x.astype(jnp.int32)
        return {
            "bernoulli": losses.bernoulli_distortion(x, x),
            "gaussian": losses.gaussian_distortion(x, x, 0.0),
            "laplace": losses.laplace_distortion(x, x, np.log(2.0)),
            "categorical": losses.categorical_distortion(level, jnp.zeros((2, 3, 7))),
        }

    known = {
        "bernoulli": 3 * np.log(2),
        "gaussian": 1.5 * np.log(2 * np.pi),
        # The density of a Laplace variable of variance 2 at its mean is ½.
        "laplace": 3 * np.log(2),
        "categorical": 3 * np.log(7),
    }
    for name, found in measured(zeros).items():
        np.testing.assert_allclose(found, [known[name]] * 2, rtol=1e-6)


@pytest.mark.parametrize("size", [1, 15, 16, 50, 784, 1030, 2049])
def test_bernoulli_distortion_of_any_number_of_pixels(size):
    x = np.random.default_rng(0).random((3, size)).astype(np.float32)
    x[:2] = np.round(x[:2])
    logits = np.stack([normal(1, size), 30 * normal(2, size), normal(3, size)])
    exact = np.float64(logits)

    @jax.jit
    def value_and_slopes(x, logits):
        value, vjp = jax.vjp(losses.bernoulli_distortion, x, logits)
        return value, vjp(jnp.ones_like(value))

    value, (of_x, of_logits) = value_and_slopes(x, logits)
    expected = np.sum(np.logaddexp(0, exact) - x * exact, axis=1)
    np.testing.assert_allclose(value, expected, rtol=2e-6)
    np.testing.assert_allclose(of_x, -logits, rtol=1e-6)
    np.testing.assert_allclose(of_logits, scipy.special.expit(exact) - x, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("size", [3, 784, 1030])
def test_bernoulli_distortion_of_certain_pixels(size):
    for logit in (20.0, 88.0, 1e4):
        logits = np.full((2, size), logit, np.float32)
        x = np.float32([[1.0], [0.0]]) * np.ones((1, size), np.float32)
        value = jitted(losses.bernoulli_distortion)(x, logits)
        # log σ(20) = −2.06e-9: no digit of it is lost
        expected = size * np.log1p(np.exp(np.float64([-logit, logit]).clip(max=700)))
        expected[1] = size * logit if logit > 700 else expected[1]
        np.testing.assert_allclose(value, expected, rtol=1e-5, atol=1e-30)


def test_bernoulli_distortion_has_second_derivatives():
    x, logits = np.float32(normal(0, 1, 20) > 0), normal(1, 1, 20)

    @jax.jit
    @jax.hessian
    def hessian_of(logits):
        return losses.bernoulli_distortion(x, logits)[0]

    hessian = hessian_of(logits)
    probability = scipy.special.expit(logits[0])
    np.testing.assert_allclose(
        hessian[0, :, 0], np.diag(probability * (1 - probability)), rtol=1e-5, atol=1e-7
    )


def test_logvar_of_each_allowed_shape():
    x, mean = normal(0, 4, 3, 2), normal(1, 4, 3, 2)
    for function in (losses.gaussian_distortion, losses.laplace_distortion):
        for logvar in (normal(2), normal(2, 3, 2), normal(2, 4, 3, 2)):
            full = np.broadcast_to(logvar, x.shape)
            both = (jitted(function)(x, mean, each) for each in (logvar, full))
            np.testing.assert_allclose(*both, rtol=1e-6)


def test_rate_sums_the_divergences_of_the_latent_dimensions():
    mean, logvar = normal(0, 4, 3), normal(1, 4, 3)
    for prior in ((), (normal(2, 3), normal(3, 3)), (normal(2, 4, 3), normal(3, 4, 3)), (1.0, 0.5)):
        per_dim = losses.rate_per_dimension(mean, logvar, *prior)
        assert per_dim.shape == (4, 3)
        np.testing.assert_allclose(
            losses.gaussian_rate(mean, logvar, *prior), np.sum(per_dim, axis=1), rtol=1e-6
        )


def test_elbo_of_a_linear_gaussian_model_is_its_log_likelihood():
    # z ~ N(0, 1), x|z ~ N(wz, c): with q the true posterior the elbo is log N(x; 0, w² + c).
    w, c = 1.7, 0.3
    x = np.float32([-2.0, 0.1, 0.9])
    precision = 1 + w**2 / c
    mean, var = x * w / c / precision, 1 / precision
    # E_q (x − wz)² = (x − w·mean)² + w²·var, by the two points mean ± √var
    points = [mean + sign * var**0.5 for sign in (-1, 1)]
    distortion = sum(losses.gaussian_distortion(x, w * z, np.log(c)) for z in points) / 2
    rate = losses.gaussian_rate(mean, np.full(3, np.log(var)))
    expected = scipy.stats.norm(0, np.sqrt(w**2 + c)).logpdf(x)
    np.testing.assert_allclose(losses.elbo(distortion, rate), expected, rtol=1e-5)


def test_beta_one_is_minus_the_elbo():
    distortion, rate = normal(0, 5), normal(1, 5)
    np.testing.assert_array_equal(
        losses.beta_elbo_loss(distortion, rate, 1.0), -losses.elbo(distortion, rate)
    )


def test_beta_weights_the_rate_alone():
    distortion, rate = np.float32([10.0, 20.0]), np.float32([3.0, 5.0])
    np.testing.assert_array_equal(losses.beta_elbo_loss(distortion, rate, 4.0), [22.0, 40.0])
    np.testing.assert_array_equal(losses.beta_elbo_loss(distortion, rate, 0.0), distortion)


@pytest.mark.parametrize("weight", [0.5, 10.0, 392.0])
def test_textbook_loss_has_our_gradient(weight):
    # ∇(C‖x − x̂‖² + KL) = ∇(distortion + rate) at variance c = 1/(2C)
    own = normal(1, 2, 4), normal(2, 6, 2), normal(3, 6, 2)
    actual, expected = both_slopes(np.float32(weight), normal(0, 6, 4), own)
    for a, e in zip(actual, expected, strict=True):
        np.testing.assert_allclose(a, e, rtol=1e-4, atol=1e-4 * np.abs(e).max())


@jax.jit
def both_slopes(weight, x, own):
    """The gradients of our loss and of the textbook's by w, mean and log variance."""

    def reconstruct(w, mean, logvar):
        return distributions.reparameterize(keys.quick(0), mean, logvar) @ w

    def textbook(own):
        _, mean, logvar = own
        squared_error = ((x - reconstruct(*own)) ** 2).sum(1)
        kl = -0.5 * (1 + logvar - mean**2 - jnp.exp(logvar)).sum(1)
        return (weight * squared_error + kl).mean()

    def ours(own):
        distortion = losses.gaussian_distortion(x, reconstruct(*own), -jnp.log(2 * weight))
        return losses.batch_mean(distortion + losses.gaussian_rate(*own[1:]))

    return jax.grad(ours)(own), jax.grad(textbook)(own)


def test_optimal_logvar_is_the_optimum():
    x, mean = normal(0, 6, 4), 0.5 * normal(1, 6, 4)

    def loss(mean, logvar):
        return losses.batch_mean(losses.gaussian_distortion(x, mean, logvar))

    best = losses.optimal_logvar(x, mean)
    slope = jax.jit(jax.grad(loss, 1))
    np.testing.assert_allclose(slope(mean, best), 0.0, atol=1e-5)
    assert slope(mean, best - 0.1) < -0.1
    assert slope(mean, best + 0.1) > 0.1
    # ½·D·(log 2πc + 1) at c = mean squared error
    np.testing.assert_allclose(loss(mean, best), 2 * (np.log(2 * np.pi) + best + 1), rtol=1e-5)
    np.testing.assert_allclose(np.exp(best), np.mean((x - mean) ** 2), rtol=1e-5)


def test_gradient_through_the_optimal_variance_is_that_of_a_fixed_one():
    x, mean = normal(0, 6, 4), 0.5 * normal(1, 6, 4)
    mask = np.float32([1.0, 1.0, 0.0, 1.0, 0.0, 1.0])

    def loss(mean, logvar):
        return losses.batch_mean(losses.gaussian_distortion(x, mean, logvar), mask)

    best = losses.optimal_logvar(x, mean, mask)
    fixed = jax.jit(jax.grad(loss))(mean, best)
    through = jax.jit(jax.grad(lambda mean: loss(mean, losses.optimal_logvar(x, mean, mask))))(mean)
    assert np.abs(fixed).max() > 0.1
    np.testing.assert_allclose(through, fixed, atol=1e-5)


def test_optimal_logvar_of_a_perfect_reconstruction_is_finite():
    x = normal(0, 3, 2)
    value, gradient = jax.jit(jax.value_and_grad(losses.optimal_logvar, 1))(x, x)
    np.testing.assert_allclose(value, -distributions.LOGVAR_BOUND, rtol=1e-6)
    np.testing.assert_array_equal(gradient, 0.0)


def test_batch_mean_of_known_weights():
    values = np.float32([1.0, 2.0, 4.0])
    np.testing.assert_allclose(losses.batch_mean(values), 7 / 3, rtol=1e-6)
    assert losses.batch_mean(values, np.float32([1.0, 0.0, 1.0])) == 2.5
    assert losses.batch_mean(values, np.array([True, False, True])) == 2.5
    assert losses.batch_mean(values, np.float32([3.0, 0.0, 1.0])) == 1.75
    per_dim = losses.batch_mean(np.stack([values, 2 * values], axis=1), np.float32([0.0, 1.0, 1.0]))
    np.testing.assert_array_equal(per_dim, [3.0, 6.0])


def test_a_short_batch_weighs_what_it_should():
    values = normal(0, 10)
    padded = np.concatenate([values[8:], np.full(6, 1e9)])
    mask = np.float32(np.arange(8) < 2)
    total = 8 * losses.batch_mean(values[:8]) + mask.sum() * losses.batch_mean(padded, mask)
    np.testing.assert_allclose(total / 10, values.mean(), rtol=1e-5)


MASK = np.array([1.0, 0.0, 1.0, 1.0, 0.0], np.float32)


def masked_losses(x, outputs, mean, logvar, mask):
    """Each loss that a mask enters, as a scalar of x, outputs [B, D] and mean, logvar [B, L]."""
    rate_per_dim = losses.rate_per_dimension(mean, logvar)
    rate = rate_per_dim.sum(1)
    distortion = losses.gaussian_distortion(x, outputs, losses.optimal_logvar(x, outputs, mask))
    return {
        "elbo": losses.batch_mean(losses.elbo(losses.bernoulli_distortion(x, outputs), rate), mask),
        "optimal": losses.batch_mean(distortion, mask),
        "free_bits": losses.batch_mean(losses.free_bits(rate_per_dim, 0.6, mask), mask),
        "capacity": losses.batch_mean(losses.capacity_penalty(rate, 0.5, 10.0, mask), mask),
    }


@functools.partial(jax.jit, static_argnums=0)
def masked_loss_and_slopes(name, mask, *arrays):
    def loss(*arrays):
        return masked_losses(*arrays, mask)[name]

    return jax.value_and_grad(loss, (0, 1, 2, 3))(*arrays)


@pytest.mark.parametrize("name", ["elbo", "optimal", "free_bits", "capacity"])
@pytest.mark.parametrize("garbage", [0.0, -7.0, 1e4])
def test_padded_rows_have_no_influence(name, garbage):
    arrays = [
        np.clip(normal(0, 5, 6), 0.0, 1.0),
        normal(1, 5, 6),
        normal(2, 5, 3),
        normal(3, 5, 3),
    ]
    kept = MASK > 0
    only = [a[kept] for a in arrays]
    padded = [np.where(kept[:, None], a, garbage) for a in arrays]

    expected, expected_gradients = masked_loss_and_slopes(name, None, *only)
    actual, gradients = masked_loss_and_slopes(name, MASK, *padded)
    np.testing.assert_allclose(actual, expected, rtol=1e-5)
    assert max(np.abs(g).max() for g in expected_gradients) > 1e-3
    for gradient, of_kept in zip(gradients, expected_gradients, strict=True):
        np.testing.assert_array_equal(gradient[~kept], 0.0)
        np.testing.assert_allclose(gradient[kept], of_kept, rtol=1e-4, atol=1e-6)


def test_an_overflow_in_a_padded_row_does_not_reach_the_mean():
    assert losses.batch_mean(np.float32([1.0, np.inf, 3.0]), np.float32([1.0, 0.0, 1.0])) == 2.0


# Batch means 2 and ½.
RATE_PER_DIM = np.array([[1.0, 0.9], [3.0, 0.1]], np.float32)


@pytest.mark.parametrize(
    ("threshold", "expected", "above"),
    [(0.0, 2.5, (1, 1)), (0.4, 2.5, (1, 1)), (1.0, 3.0, (1, 0)), (5.0, 10.0, (0, 0))],
)
def test_free_bits_known_answers(threshold, expected, above):
    def mean_rate(rate_per_dim):
        return losses.batch_mean(losses.free_bits(rate_per_dim, threshold))

    value, gradient = jax.jit(jax.value_and_grad(mean_rate))(RATE_PER_DIM)
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    # Σ_l max(λ, E[KL_l]): the gradient is 1/B where the mean is above the floor, else 0.
    np.testing.assert_allclose(gradient, np.tile(np.array(above) / 2, (2, 1)))


def test_free_bits_keep_each_examples_rate_where_the_mean_is_above():
    result = losses.free_bits(RATE_PER_DIM, 0.4)
    # Example 1 has 0.1 < λ in dimension 1: the floor is under the mean, not under the example.
    np.testing.assert_allclose(result, RATE_PER_DIM.sum(1), rtol=1e-6)


def test_free_bits_of_zero_are_the_plain_rate():
    mean, logvar = normal(0, 7, 4), normal(1, 7, 4)
    mean[:, 1] = logvar[:, 1] = 0.0
    np.testing.assert_array_equal(
        losses.free_bits(losses.rate_per_dimension(mean, logvar), 0.0),
        losses.gaussian_rate(mean, logvar),
    )


def test_capacity_known_answers():
    rate = np.float32([1.0, 3.0, 5.0])
    np.testing.assert_allclose(losses.capacity_penalty(rate, 5.0, 10.0), [20.0] * 3)
    np.testing.assert_allclose(losses.capacity_penalty(rate, 1.0, 10.0), [20.0] * 3)
    mask = np.float32([1.0, 1.0, 0.0])
    np.testing.assert_allclose(losses.capacity_penalty(rate, 5.0, 10.0, mask), [30.0] * 3)


def test_capacity_pulls_from_both_sides():
    rate = np.float32([1.0, 3.0, 5.0])
    for capacity, sign in ((2.0, 1), (4.0, -1)):
        slope = jax.jit(jax.grad(lambda r, c: losses.capacity_penalty(r, c, 6.0).mean()))
        gradient = slope(rate, np.float32(capacity))
        np.testing.assert_allclose(gradient, sign * 6.0 / 3)


def test_zero_capacity_is_gamma_times_the_rate():
    rate = np.float32([0.1, 0.2, 0.6])

    def penalty(rate):
        return losses.batch_mean(losses.capacity_penalty(rate, 0.0, 7.0))

    value, gradient = jax.jit(jax.value_and_grad(penalty))(rate)
    np.testing.assert_allclose(value, 7.0 * 0.3, rtol=1e-6)
    np.testing.assert_allclose(gradient, 7.0 / 3, rtol=1e-6)


def test_jit_equals_eager_and_runs_vmap():
    shapes = [(2, 5, 6), (2, 5, 6), (2, 5, 3), (2, 5, 3)]
    runs = [normal(i, *shape) for i, shape in enumerate(shapes)]

    def loss(*arrays):
        return masked_losses(*arrays, MASK)

    jitted, mapped = jax.jit(loss), jax.jit(jax.vmap(loss))(*runs)
    for r in range(2):
        arrays = [a[r] for a in runs]
        expected, actual = loss(*arrays), jitted(*arrays)
        for name, value in expected.items():
            assert value.dtype == jnp.float32
            assert abs(value) > 0.1
            np.testing.assert_allclose([actual[name], mapped[name][r]], value, rtol=1e-5)


def test_unequal_shapes_are_refused():
    with pytest.raises(AssertionError):
        losses.elbo(np.zeros(3), np.zeros(1))
    with pytest.raises(AssertionError):
        losses.beta_elbo_loss(np.zeros(3), np.zeros((3, 1)), 1.0)
    with pytest.raises(AssertionError):
        losses.batch_mean(np.zeros(3), np.ones((3, 1)))
    with pytest.raises(AssertionError):
        losses.free_bits(np.zeros(3), 0.1)
    with pytest.raises(AssertionError):
        losses.capacity_penalty(np.zeros((3, 2)), 0.1, 1.0)
    with pytest.raises(AssertionError):
        losses.optimal_logvar(np.zeros((3, 2)), np.zeros((3, 1)))


def test_no_rows_and_no_elements_are_shapes_like_others():
    for shape in ((0, 3), (0,), (0, 2, 5)):
        for term in (losses.bernoulli_distortion, losses.squared_error):
            value = jax.jit(term)(*np.zeros((2, *shape), np.float32))
            assert (value.shape, value.dtype) == ((0,), jnp.float32)
    nothing = np.zeros((3, 0), np.float32)
    np.testing.assert_array_equal(losses.bernoulli_distortion(nothing, nothing), np.zeros(3))


MASKS = {
    "optimal_logvar": lambda values, mask: losses.optimal_logvar(values, 0.5 * values, mask),
    "covariance": lambda values, mask: losses.covariance(values, mask),
    "aggregate_covariance": lambda values, mask: losses.aggregate_covariance(values, values, mask),
    "maximum_mean_discrepancy": lambda values, mask: losses.maximum_mean_discrepancy(
        values, 2 * values[:, ::-1], mask
    ),
    "sliced_wasserstein": lambda values, mask: losses.sliced_wasserstein(
        values, 2 * values[:, ::-1], jnp.eye(3, dtype=values.dtype), mask
    ),
    "rate_decomposition": lambda values, mask: losses.batch_mean(
        losses.rate_decomposition(
            values, 0.5 * values, values, losses.aggregate_weights(5, 50, mask)
        )[1],
        mask,
    ),
}


@functools.partial(jax.jit, static_argnames="name")
def value_and_slope(name, values, mask):
    value, vjp = jax.vjp(lambda values: MASKS[name](values, mask), values)
    return value, *vjp(jnp.ones_like(value))


@pytest.mark.parametrize("name", MASKS)
@pytest.mark.parametrize("junk", [1e30, np.nan, -np.inf])
def test_terms_with_a_mask_ignore_nan_in_padding(name, junk):
    def outcome(fill):
        values = np.where(MASK[:, None] > 0, normal(0, 5, 3), np.float32(fill))
        return value_and_slope(name, values, MASK)

    for clean, actual in zip(outcome(0.0), outcome(junk), strict=True):
        assert np.isfinite(clean).all()
        np.testing.assert_array_equal(actual, clean)


@pytest.mark.parametrize("name", MASKS)
def test_a_mask_may_be_true_and_false_and_values_of_half_precision(name):
    values, term = normal(0, 5, 3), jax.jit(MASKS[name])
    expected = term(values, MASK)
    np.testing.assert_array_equal(term(values, MASK > 0), expected)
    half = term(values.astype(jnp.bfloat16), MASK)
    assert half.dtype == jnp.bfloat16
    np.testing.assert_allclose(np.float32(half), expected, atol=0.1 * np.abs(expected).max())


def test_codes_are_counted_under_a_mask_of_true_and_false():
    counts = losses.code_counts(np.array([1, 1, 0, 1]), 3, np.array([True, True, True, False]))
    np.testing.assert_array_equal(counts, [1.0, 2.0, 0.0])


@jax.jit
@jax.value_and_grad
def renyi_and_slope(weights, alpha):
    return losses.renyi_bound(weights, alpha)[0]


@pytest.mark.parametrize("alpha", [0.9991, 0.99999, 1.0, 1.00001, 1.0009])
def test_the_renyi_bound_of_far_samples_near_the_elbo(alpha):
    """Of weights e^0 and e^-10000 no bound is above 0."""
    weights = np.float32([[0.0], [-1e4]])
    order = 1 - np.float64(np.float32(alpha))
    expected = -5000.0 if order == 0 else np.log((1 + np.exp(-1e4 * order)) / 2) / order
    value, slope = renyi_and_slope(weights, np.float32(alpha))
    np.testing.assert_allclose(value, expected, rtol=1e-3)
    share = 1 / (1 + np.exp(-1e4 * order))
    np.testing.assert_allclose(slope[:, 0], [share, 1 - share], atol=1e-3)


def test_the_divergence_of_a_unit_that_is_always_on_is_finite_in_half_precision():
    rates = jnp.asarray([0.0, 0.5, 1.0], jnp.bfloat16)
    half = losses.activation_divergence(rates, 0.1)
    assert half.dtype == jnp.bfloat16
    full = losses.activation_divergence(rates.astype(jnp.float32), 0.1)
    np.testing.assert_allclose(np.float32(half), full, rtol=0.01)


def test_the_mean_of_no_rows_is_not_a_number():
    assert np.isnan(losses.batch_mean(np.zeros(0, np.float32)))
    assert np.isnan(losses.batch_mean(np.ones(3, np.float32), np.zeros(3, np.float32)))
