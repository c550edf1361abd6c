"""Two samples against closed forms and loops, and what the controls are there to show."""

import itertools
import math

import jax
import numpy as np
import pytest
import scipy.linalg

from vae_jax import data
from vae_jax.errors import UsageError
from vae_jax.evaluation import controls, feature_spaces, samples, two_samples
from vae_jax.evaluation._shared import share_and_error
from vae_jax.evaluation.discrepancy import kernel_distance
from vae_jax.evaluation.two_samples import Features


def normal(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def with_moments(seed, num, mean, factor):
    """Rows [N, D] whose mean and covariance are exactly m and F Fᵀ."""
    rows = np.float64(normal(seed, num, len(mean)))
    rows -= rows.mean(axis=0)
    rows = rows @ np.linalg.inv(np.linalg.cholesky(np.cov(rows.T))).T
    return rows @ np.transpose(factor) + mean


@pytest.fixture(scope="module")
def digits():
    """Training pictures, and two disjoint halves of those that were held out."""
    dataset = data.load("digits")
    parts = dataset.train, np.concatenate([dataset.valid.x[:], dataset.test.x[:]])
    train, held = (np.asarray(dataset.decode(getattr(part, "x", part)[:])) for part in parts)
    first, second = controls.shuffled_halves(len(held), 150, 0)
    return train, held[first], held[second]


# ---------------------------------------------------------------- shares


def test_the_ends_of_a_share_solve_wilson_s_equation():
    for held, num in itertools.product((0, 3, 10), (10, 40)):
        share, half = share_and_error(np.arange(num) < held)
        assert share == held / num
        middle = (share + 0.5 / num) / (1 + 1 / num)
        for p in (middle - half, middle + half):
            assert (share - p) ** 2 == pytest.approx(p * (1 - p) / num, abs=1e-12)
    assert share_and_error(np.ones(9, bool)) == (1.0, pytest.approx(1 / 20))


# ---------------------------------------------------------------- distances


def test_the_frechet_distance_of_gaussians_in_closed_form():
    first, second = np.tril(normal(0, 4, 4)) + 2 * np.eye(4), np.tril(normal(1, 4, 4)) + np.eye(4)
    shift = np.array([1.0, -2.0, 0.0, 0.5])
    base = with_moments(2, 50, np.zeros(4), first)

    def distance(rows):
        return two_samples.frechet_distance(base, rows, num_bootstrap=0).value

    assert distance(base) == pytest.approx(0, abs=1e-9)
    assert distance(base + shift) == pytest.approx(5.25)
    # tr(C + C′ − 2 (C C′)^½) by the square root of the product, which is another algorithm
    covariances = first @ first.T, second @ second.T
    root = scipy.linalg.sqrtm(covariances[0] @ covariances[1]).real
    expected = 5.25 + np.trace(covariances[0] + covariances[1] - 2 * root)
    assert distance(with_moments(3, 50, shift, second)) == pytest.approx(expected)
    # of scales: Σ (s − s′)²
    assert distance(3 * base) == pytest.approx(4 * np.trace(covariances[0]))


def test_the_error_of_the_frechet_distance_is_that_of_repetition():
    draws = [(normal(2 * i, 200, 3), normal(2 * i + 1, 200, 3) + 1) for i in range(60)]
    values = [two_samples.frechet_distance(*pair, num_bootstrap=0).value for pair in draws]
    told = [two_samples.frechet_distance(*pair).standard_error for pair in draws[:10]]
    assert np.mean(told) == pytest.approx(np.std(values), rel=0.3)


def test_the_kernel_distance_is_that_of_loops():
    x, y = normal(0, 6, 2), normal(1, 6, 2) + 0.5

    def mean(a, b, is_own):
        pairs = [(i, j) for i in range(6) for j in range(6) if i != j or not is_own]
        return np.mean([(a[i] @ b[j] / 2 + 1) ** 3 for i, j in pairs])

    # the pairs (x_i, y_i) are left out as well: h_ij has i ≠ j
    across = np.mean([(x[i] @ y[j] / 2 + 1) ** 3 for i in range(6) for j in range(6) if i != j])
    found = kernel_distance(x, y)
    assert float(found.value) == pytest.approx(mean(x, x, True) + mean(y, y, True) - 2 * across)
    assert float(kernel_distance(x, y, num_rows=2).value) == pytest.approx(float(found.value))


@pytest.mark.slow
def test_the_kernel_distance_is_unbiased_and_its_error_that_of_repetition():
    keys = jax.random.split(jax.random.key(0), 400)

    def pair(key):
        x, y = jax.random.normal(key, (2, 60, 3))
        return kernel_distance(x, y)

    found = jax.jit(jax.vmap(pair))(keys)
    assert abs(np.mean(found.value)) < 4 * np.std(found.value) / 20
    assert float(np.mean(found.standard_error)) == pytest.approx(
        float(np.std(found.value)), rel=0.3
    )


# ---------------------------------------------------------------- neighborhoods


def test_neighbourhoods_are_those_of_the_papers():
    """Naeem et al. 2020, eq. 1 to 4, by their sums."""
    real, fake, k = normal(0, 23, 2), 0.8 * normal(1, 23, 2) + 0.3, 3

    def radii(rows):
        apart = np.linalg.norm(rows[:, None] - rows[None], axis=2)
        return np.sort(apart, axis=1)[:, k]

    apart = np.linalg.norm(real[:, None] - fake[None], axis=2)  # [real, fake]
    in_real, in_fake = apart <= radii(real)[:, None], apart <= radii(fake)[None]
    found = two_samples.neighbourhoods(real, fake, num_neighbours=k)
    assert found["precision"].value == pytest.approx(in_real.any(axis=0).mean())
    assert found["recall"].value == pytest.approx(in_fake.any(axis=1).mean())
    assert found["density"].value == pytest.approx(in_real.sum() / (k * 23))
    nearest = apart.min(axis=1)
    assert found["coverage"].value == pytest.approx((nearest <= radii(real)).mean())


# ---------------------------------------------------------------- tests


def test_a_test_of_equal_distributions_is_a_coin_and_of_others_is_sure():
    num = 200
    x, y, far = normal(0, num, 3), normal(1, num, 3), normal(2, num, 3) + 20
    for test in (two_samples.nearest_neighbour_test, two_samples.classifier_test):
        value, error = test(x, y)
        assert abs(value - 0.5) < 4 * error
        assert error == pytest.approx(0.5 / math.sqrt(2 * num), rel=0.02)
        value, error = test(x, far)
        assert value == 1.0
        assert 0 < error < 0.01  # never exactly known


def test_the_network_sees_a_scale_that_means_do_not_show():
    x, wide = normal(0, 400, 2), 3 * normal(1, 400, 2)
    # the best test: ½ + ½ of the total variation, by the radius where both densities are equal
    square = 2 * math.log(9) / (1 - 1 / 9)
    best = 0.5 + 0.5 * (math.exp(-square / 18) - math.exp(-square / 2))
    value, error = two_samples.classifier_test(x, wide)
    assert abs(value - best) < 4 * error


def test_copies_of_training_data_are_found():
    train, held, other = normal(0, 300, 4), normal(1, 300, 4), normal(2, 300, 4)
    assert two_samples.copies(train, held, train)[0] == 1.0
    assert two_samples.copies(train, held, train)[1] > 0
    value, error = two_samples.copies(train, held, other)
    assert abs(value - 0.5) < 4 * error < 0.15
    assert two_samples.copies(train, held, other + 50)[0] == 0.0


def test_a_placement_counts_pairs():
    first, second = np.array([1.0, 2.0, 5.0]), np.array([2.0, 3.0])
    pairs = [(a < b) + 0.5 * (a == b) for a in first for b in second]
    assert two_samples.placement(first, second).value == pytest.approx(np.mean(pairs))


# ---------------------------------------------------------------- sharpness and controls


def test_sharpness_of_steps_in_closed_form():
    edge = np.zeros((2, 4, 6, 1))
    edge[:, :, 3:] = 1.0
    # one step of 1 is 1, spread over two steps of ½ it is ½; half of the contrast is a quarter
    soft = edge.copy()
    soft[:, :, 3] = 0.5
    for other, expected in ((edge, 1), (soft, 0.5), (0.5 * edge, 0.25), (0 * edge, 0)):
        assert two_samples.sharpness(edge, other).value == pytest.approx(expected)
    # a picture twice as tall has twice the energy, along either axis
    tall = np.concatenate([edge, edge], axis=1)
    assert two_samples.sharpness(edge, tall).value == pytest.approx(2)
    turned = edge.transpose(0, 2, 1, 3)
    assert two_samples.sharpness(edge, turned).value == pytest.approx(1)


def test_blur_raises_precision_and_density_and_lowers_sharpness(digits):
    """The fault that the controls show: no generator is needed to win at completeness."""
    train, reference, other = digits
    blurred = controls.blurred(other, train, num_neighbours=60)
    flat = [rows.reshape(len(rows), -1) for rows in (reference, other, blurred)]
    real, blur = (two_samples.neighbourhoods(flat[0], rows) for rows in flat[1:])
    assert blur["precision"].value > real["precision"].value
    assert blur["density"].value > 1.5 * real["density"].value
    sharp, soft = (two_samples.sharpness(reference, rows) for rows in (other, blurred))
    assert abs(sharp.value - 1) < 4 * sharp.standard_error
    assert soft.value < 0.8 * sharp.value
    # what no blur passes
    for value, error in (
        two_samples.classifier_test(flat[0], flat[2]),
        two_samples.copies(train.reshape(len(train), -1), flat[0], flat[2]),
    ):
        assert value - 0.5 > 4 * error


def test_blurring_is_an_average_of_the_nearest():
    train = np.float32([[0.0], [1.0], [5.0]]).reshape(3, 1, 1, 1)
    x = np.float32([2.0]).reshape(1, 1, 1, 1)
    for k, expected in ((0, 2.0), (1, 1.5), (2, 1.0), (9, 2.0)):
        found = controls.blurred(x, train, num_neighbours=k)
        assert found.shape == x.shape
        assert float(found.squeeze()) == pytest.approx(expected)


def test_draws_have_the_moments_they_should():
    factor = np.array([[1.0, 0.0], [0.8, 0.6]])
    train = np.float32(with_moments(0, 300, [2.0, -1.0], factor))
    train[:2] = [[9, 9], [-9, -9]]  # so that next to nothing is clipped
    covariance = np.cov(train.T, bias=True)
    drawn = controls.gaussian(train, 20_000, 1)
    np.testing.assert_allclose(np.cov(drawn.T), covariance, rtol=0.06)
    alone = controls.independent(train, 20_000, 1)
    np.testing.assert_allclose(np.var(alone, axis=0), np.diag(covariance), rtol=0.06)
    assert abs(np.corrcoef(alone.T)[0, 1]) < 0.03
    assert set(alone[:, 0]) <= set(train[:, 0])


def test_halves_are_disjoint_shuffled_and_of_one_size():
    first, second = controls.shuffled_halves(101, 40, 3)
    assert len(first) == len(second) == 40
    assert not set(first) & set(second)
    assert (np.diff(first) < 0).any()
    assert [len(part) for part in controls.shuffled_halves(101, 2000, 3)] == [50, 50]


def test_one_class_is_the_commonest_of_those_known():
    labels = np.array([0, 1, 1, 2, -1, -1, -1])
    found = controls.one_class(np.arange(7.0), labels, 2, 0)
    assert set(found) == {1.0, 2.0}
    assert set(controls.one_class(np.arange(7.0), labels, 9, 0)) <= {1.0, 2.0}
    with pytest.raises(UsageError, match="labels: none is known"):
        controls.one_class(np.arange(7.0), np.full(7, -1), 2, 0)


# ---------------------------------------------------------------- spaces and the whole


def test_what_cannot_be_compared_is_refused_in_one_line():
    x = normal(0, 30, 3)
    with pytest.raises(UsageError, match="spaces pca-3 and pixels: must be features of the same"):
        two_samples.compare(Features("pca-3", x), Features("pixels", x))
    with pytest.raises(UsageError, match=r"of 30 and 20 rows: .*take 20 of each"):
        two_samples.compare(Features("pixels", x), Features("pixels", x[:20]))
    with pytest.raises(UsageError, match=r"shape \[30, 3\] and \[30, 2\]"):
        two_samples.frechet_distance(x, x[:, :2])
    with pytest.raises(UsageError, match=r"must be pictures, \[N, H, W, C\]"):
        two_samples.sharpness(x, x)
    with pytest.raises(UsageError, match=r"space mine: its function maps 30 rows to shape \[3\]"):
        feature_spaces.of_function("mine", lambda x: x[0]).features(x)
    with pytest.raises(UsageError, match="space=classifier: needs labels of two classes"):
        feature_spaces.classifier(x, np.zeros(30, int))
    with pytest.raises(UsageError, match=r"space 'pcaa' is unknown \(did you mean pca"):
        samples.measure(None, space="pcaa")


def test_a_space_keeps_what_its_name_says(digits):
    train, reference, _ = digits
    flat = reference.reshape(len(reference), -1)
    for space in (feature_spaces.pixels(), feature_spaces.pca(train, 99)):
        rows = space.features(reference).values
        # all components: distances stay
        np.testing.assert_allclose(
            np.linalg.norm(rows[0] - rows[1:], axis=1),
            np.linalg.norm(flat[0] - flat[1:], axis=1),
            rtol=1e-4,
        )
    assert feature_spaces.pca(train, 99).name == "pca-64"
    assert feature_spaces.pca(train, 5).features(reference).values.shape == (len(reference), 5)


def test_real_against_real_is_like_and_each_control_fails_somewhere(digits):
    train, reference, other = digits
    made = controls.make(train, other, 0)
    space = feature_spaces.pca(train, 20)
    found = samples.evaluate(reference, made, space, train=train, num_bootstrap=10)
    assert {name.removesuffix("_standard_error") for name in found} <= samples.DEFINITIONS.keys()
    assert found["space"] == "pca-20"
    for test in ("neighbour_test", "classifier_test", "copies"):
        error = found[f"{test}_of_real_standard_error"]
        assert abs(found[f"{test}_of_real"] - 0.5) < 4 * error
    for name in ("classifier_test_of_independent", "copies_of_blurred"):
        assert found[name] > 0.5 + 4 * found[f"{name}_standard_error"]
    assert found["sharpness_of_blurred"] < 0.8 < found["sharpness_of_real"]
    assert found["frechet_distance_of_independent"] > 2 * found["frechet_distance_of_real"]
    assert found["recall_of_independent"] < 0.5 * found["recall_of_real"]
