"""The mutual information gap and modularity: closed forms, and sums over scikit-learn's counts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from factor_tables import grid, noise, perfect, rotated, shuffled
from sklearn.metrics import mutual_info_score

from vae_jax.evaluation.disentanglement import _information, mig, modularity

KEY = jax.random.key(0)
ALONE = {"num_bootstrap": 0}


def brute_force(codes, factors, num_bins=20):
    """I [L, F] and H [F], pair by pair, in float64."""
    information = np.zeros((codes.shape[1], factors.shape[1]))
    for i, code in enumerate(codes.T):
        bins = np.digitize(code, np.histogram(code, num_bins)[1][:-1])
        for j, factor in enumerate(factors.T):
            information[i, j] = mutual_info_score(factor, bins)
    return information, np.array([mutual_info_score(each, each) for each in factors.T])


def example(num_rows=5001):
    factors = np.random.default_rng(1).integers(0, [3, 6, 11], (num_rows, 3))
    codes = noise(num_rows, 5)
    codes[:, 0] += factors[:, 1]
    codes[:, 3] += factors[:, 2] - 0.5 * factors[:, 0]
    return codes, factors


# ---------------------------------------------------------------- counts


@pytest.mark.parametrize("num_rows", [2, 4095, 4096, 4097, 9000])
def test_counts_do_not_depend_on_how_the_rows_are_cut(num_rows):
    rng = np.random.default_rng(0)
    bins, factors = rng.integers(0, 7, (num_rows, 3)), rng.integers(0, 4, (num_rows, 2))
    counts = _information.contingency(bins, factors, num_bins=7, num_values=4)
    assert counts.shape == (3, 2, 7, 4)
    for i in range(3):
        for j in range(2):
            expected = np.zeros((7, 4), int)
            np.add.at(expected, (bins[:, i], factors[:, j]), 1)
            np.testing.assert_array_equal(counts[i, j], expected)


def test_bins_are_those_of_a_histogram():
    codes = np.float32(noise(4000, 3)) * np.float32([1, 1e30, 1e-30])
    for bins in (1, 7, 20):
        expected = [
            np.digitize(np.float64(c), np.histogram(np.float64(c), bins)[1][:-1]) - 1
            for c in codes.T
        ]
        np.testing.assert_array_equal(_information.discretize(codes, bins).T, expected)
    np.testing.assert_array_equal(_information.discretize(np.full((4, 2), 0.1)), 0)


def test_information_of_a_table_of_counts():
    # the same in every cell: independent; on the diagonal only: all of the entropy
    assert float(_information.mutual_information(jnp.full((4, 3), 5))) == pytest.approx(0, abs=1e-7)
    diagonal = jnp.diag(jnp.array([1, 2, 5]))
    entropy = float(_information.entropy(jnp.array([1, 2, 5])))
    p = np.array([1, 2, 5]) / 8
    assert entropy == pytest.approx(-np.sum(p * np.log(p)), rel=1e-6)
    assert float(_information.mutual_information(diagonal)) == pytest.approx(entropy, rel=1e-6)


def test_a_constant_has_exactly_zero_information():
    """A quotient n / n may round, and a dead dimension would count as one that knows something."""
    counts = np.random.default_rng(0).integers(1, 200, (1000, 1, 3))
    one_bin = np.concatenate([0 * counts, counts], axis=1)
    assert not np.any(_information.mutual_information(one_bin))
    assert not np.any(_information.mutual_information(one_bin.swapaxes(1, 2)))
    assert not np.any(_information.entropy(np.arange(1, 1000)[:, None] * np.array([[0, 1]])))


# ---------------------------------------------------------------- mutual information gap


def test_mig_equals_brute_force():
    codes, factors = example()
    information, entropy = brute_force(np.float32(codes), factors)
    result = mig.evaluate(codes, factors, KEY, **ALONE)
    assert result.counts == {"num_points": 5001, "num_factors": 3, "num_crowded": 0}
    np.testing.assert_allclose(result.details["information"], information, atol=2e-6)
    np.testing.assert_allclose(result.details["entropy"], entropy, rtol=1e-6)
    ordered = np.sort(information, axis=0)
    expected = np.mean((ordered[-1] - ordered[-2]) / entropy)
    assert result.scores["mig"] == pytest.approx(expected, abs=1e-5)
    # with the axes swapped it is another number, and shapes that do not fit are refused
    swapped = np.sort(information, axis=1)
    assert abs(np.mean(swapped[:, -1] - swapped[:, -2]) - expected) > 0.05
    with pytest.raises(AssertionError):
        mig.gaps(jnp.float32(information.T), jnp.float32(entropy))


def test_mig_of_a_perfect_code_is_one():
    factors = grid((2, 3, 4, 5), 3)
    codes, order = perfect(factors)
    result = mig.evaluate(codes, factors, KEY)
    assert result.scores["mig"] == pytest.approx(1, abs=1e-6)
    assert np.argmax(result.details["information"], axis=0).tolist() == np.argsort(order).tolist()
    # in a resample the factors are no longer independent, by the bias of the second best
    assert result.standard_errors["mig"] < 0.01


def test_one_code_far_out_crowds_the_others_and_is_told():
    factors = shuffled(grid((2, 5), 60))
    codes, _ = perfect(factors)
    plain = mig.evaluate(codes, factors, KEY, **ALONE)
    assert (plain.scores["mig"], plain.counts["num_crowded"]) == (pytest.approx(1), 0)
    codes[0, :2] = 1e4
    crowded = mig.evaluate(codes, factors, KEY, **ALONE)
    assert crowded.scores["mig"] < 0.1
    assert crowded.counts["num_crowded"] == 2
    assert modularity.evaluate(codes, factors, KEY, **ALONE).counts["num_crowded"] == 2


def test_mig_of_an_independent_code_is_its_bias():
    num_rows, num_bins, sizes = 5000, 10, (4, 12)
    factors = np.random.default_rng(0).integers(0, sizes, (num_rows, 2))
    codes = np.random.default_rng(1).uniform(size=(num_rows, 30))
    result = mig.evaluate(codes, factors, KEY, num_points=num_rows, num_bins=num_bins)
    expected = (num_bins - 1) * (np.array(sizes) - 1) / (2 * num_rows)
    np.testing.assert_allclose(result.details["information"].mean(axis=0), expected, rtol=0.15)
    assert result.scores["mig"] < 2 * np.mean(expected / np.log(sizes))


def symmetric_channel(num_values, right, wrong, second=0):
    """Rows (z, v) with z = v `right` times and each other value `wrong` times, for every v."""
    counts = np.full((num_values, num_values), wrong) + (right - wrong) * np.eye(num_values)
    pairs = np.argwhere(np.ones_like(counts))
    return np.repeat(pairs, np.int64(counts.reshape(-1)), axis=0)


@pytest.mark.parametrize(("num_values", "right", "wrong"), [(2, 9, 1), (4, 13, 1), (5, 3, 2)])
def test_mig_of_a_noisy_channel_is_its_mutual_information(num_values, right, wrong):
    """I = log K + (1 − ε) log(1 − ε) + ε log(ε / (K − 1))."""
    rows = symmetric_channel(num_values, right, wrong)
    factors = np.stack([rows[:, 1], np.zeros(len(rows), int), rows[:, 1] * 7 - 3], axis=1)
    codes = np.stack([np.zeros(len(rows)), rows[:, 0]], axis=1)
    error = (num_values - 1) * wrong / (right + (num_values - 1) * wrong)
    capacity = np.log(num_values) + (1 - error) * np.log(1 - error)
    capacity += error * np.log(error / (num_values - 1))
    result = mig.evaluate(codes, factors, KEY, **ALONE)
    assert result.scores["mig"] == pytest.approx(capacity / np.log(num_values), rel=1e-5)
    # the factor of one value has no gap and no part in the mean
    expected = np.array([1, 0, 1]) * capacity / np.log(num_values)
    np.testing.assert_allclose(result.details["gap"], expected, rtol=1e-5)
    assert result.counts["num_factors"] == 2


def test_mig_of_two_dimensions_with_one_factor_is_exactly_zero():
    factors = shuffled(grid((3, 4), 40))
    codes = np.stack([factors[:, 0], -2.0 * factors[:, 0], 0.3 * factors[:, 0]], axis=1)
    gap = mig.evaluate(codes[:, [0, 2]], factors, KEY, **ALONE).details["gap"]
    assert gap[0] == 0
    gap = mig.evaluate(
        np.concatenate([codes, factors[:, 1:]], axis=1), factors, KEY, **ALONE
    ).details["gap"]
    np.testing.assert_allclose(gap, [0, 1], atol=1e-6)


def test_mig_of_a_rotated_code_is_between():
    factors = grid((5, 5, 3), 4)
    result = mig.evaluate(rotated(factors), factors, KEY, num_bins=9, **ALONE)
    # both dimensions say the same of both factors
    np.testing.assert_allclose(result.details["gap"], [0, 0, 1], atol=1e-6)
    assert result.scores["mig"] == pytest.approx(1 / 3, abs=1e-6)
    assert result.details["information"][0, 0] > 0.3


def test_mig_of_one_dimension_is_its_share_of_the_entropy():
    factors = grid((2, 3), 5)
    result = mig.evaluate(factors[:, 1:] * 1.5, factors, KEY, **ALONE)
    np.testing.assert_allclose(result.details["gap"], [0, 1], atol=1e-6)


def test_mig_of_dead_codes_is_zero():
    factors = grid((2, 3), 5)
    result = mig.evaluate(np.ones((30, 4)), factors, KEY)
    assert result.scores["mig"] == 0
    assert result.standard_errors["mig"] == 0


def test_the_bootstrap_error_of_mig_is_that_of_the_delta_method():
    """Var Î = Var log p(z, v) / (p(z) p(v)) / N, and at a uniform factor H adds nothing."""
    rows = shuffled(np.tile(symmetric_channel(2, 9, 1), (100, 1)))
    codes = np.stack([rows[:, 0], np.zeros(len(rows))], axis=1)
    result = mig.evaluate(codes, rows[:, 1:], KEY, num_bootstrap=500)
    expected = np.sqrt(0.1 * 0.9 / len(rows)) * np.log(9) / np.log(2)
    assert result.standard_errors["mig"] == pytest.approx(expected, rel=0.12)
    assert mig.evaluate(codes, rows[:, 1:], KEY, num_bootstrap=0).standard_errors == {}


def test_mig_draws_as_many_points_as_it_says():
    codes, factors = example()
    first = mig.evaluate(codes, factors, KEY, num_points=800, num_bootstrap=0)
    again = mig.evaluate(codes, factors, KEY, num_points=800, num_bootstrap=0)
    other = mig.evaluate(codes, factors, jax.random.key(1), num_points=800, num_bootstrap=0)
    assert first.counts["num_points"] == 800
    assert first.scores == again.scores
    assert first.scores != other.scores


# ---------------------------------------------------------------- modularity


def test_deviations_equal_the_formula():
    information = np.abs(noise(6, 4))
    everyone = np.ones(4, bool)
    expected = [(np.sum(row**2) - row.max() ** 2) / (row.max() ** 2 * 3) for row in information]
    got = modularity.deviations(jnp.float32(information), everyone)
    np.testing.assert_allclose(got, expected, rtol=1e-5)
    # the unit does not matter, and what is tiny does not vanish
    got = modularity.deviations(jnp.float32(information * 1e-30), everyone)
    np.testing.assert_allclose(got, expected, rtol=1e-5)


def test_deviations_known_answers():
    matrix = jnp.float32([[2, 0, 0, 0], [3, 3, 0, 0], [1, 1, 1, 1], [0, 0, 0, 0], [4, 2, 0, 0]])
    got = modularity.deviations(matrix, np.ones(4, bool))
    np.testing.assert_allclose(got, [0, 1 / 3, 1, 0, 1 / 12], atol=1e-7)
    # a factor that does not vary is none
    got = modularity.deviations(matrix, np.array([True, True, False, False]))
    np.testing.assert_allclose(got, [0, 1, 1, 0, 1 / 4], atol=1e-7)
    np.testing.assert_array_equal(modularity.deviations(matrix[:, :1], np.ones(1, bool)), 0)
    with pytest.raises(AssertionError):
        modularity.deviations(matrix.T, np.ones(4, bool))


def test_modularity_equals_brute_force():
    codes, factors = example()
    squares = brute_force(np.float32(codes), factors)[0] ** 2
    best = squares.max(axis=1)
    expected = np.mean(1 - (squares.sum(axis=1) - best) / (2 * best))
    result = modularity.evaluate(codes, factors, KEY)
    assert result.scores["modularity"] == pytest.approx(expected, abs=1e-4)
    assert 0 < result.standard_errors["modularity"] < 0.1


def test_modularity_of_a_perfect_code_is_one_and_dead_dimensions_do_not_count():
    factors = grid((2, 3, 4, 5), 3)
    codes, _ = perfect(factors)
    result = modularity.evaluate(codes, factors, KEY, **ALONE)
    assert result.scores["modularity"] == pytest.approx(1, abs=1e-6)
    assert result.counts["num_dimensions"] == 4
    # two dimensions for one factor are modular all the same
    twice = np.concatenate([codes, codes], axis=1)
    assert modularity.evaluate(twice, factors, KEY, **ALONE).scores["modularity"] == pytest.approx(
        1
    )


def test_modularity_of_mixtures():
    factors = grid((5, 5, 3), 4)
    result = modularity.evaluate(rotated(factors), factors, KEY, num_bins=9, **ALONE)
    # two dimensions know two of three factors equally: δ = 1/2
    np.testing.assert_allclose(result.details["deviation"], [0.5, 0.5, 0, 0], atol=1e-5)
    assert result.scores["modularity"] == pytest.approx(2 / 3, abs=1e-5)
    assert modularity.evaluate(np.ones((300, 2)), factors, KEY).scores["modularity"] == 0
