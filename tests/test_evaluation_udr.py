"""Which models of a sweep agree: copies, strangers, and the formula done another way."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from factor_tables import grid, noise

from vae_jax.errors import DataError, UsageError
from vae_jax.evaluation import udr

KEY = jax.random.key(0)


def copies(codes, count, seed=0):
    """The same codes with dimensions in other orders, of other signs and scales."""
    rng = np.random.default_rng(seed)
    size = codes.shape[1]
    return [
        codes[:, rng.permutation(size)] * rng.choice([-2.0, 0.5, 1.0], size) for _ in range(count)
    ]


def test_copies_of_one_model_agree_as_far_as_the_measure_goes():
    correlated = noise(500, 4) @ noise(4, 4, 1)
    found = udr.evaluate(copies(correlated, 4), KEY)
    np.testing.assert_allclose(found.scores, 0.9, rtol=1e-5)
    assert found.num_informative.tolist() == [4] * 4
    assert found.num_points == 500
    found = udr.evaluate(copies(correlated, 3), KEY, penalty=0.3)
    np.testing.assert_allclose(found.scores, 0.7, rtol=1e-5)
    uncorrelated = np.float64(grid((3, 4, 5), 3))
    # ranks of any monotone function of a dimension are the same
    bent = [np.sinh(each / 3) for each in copies(uncorrelated, 3)]
    found = udr.evaluate(bent, KEY, similarity="spearman")
    np.testing.assert_allclose(found.scores, 1, rtol=1e-5)
    np.testing.assert_array_equal(np.diag(found.pairwise), 0)


def test_strangers_do_not_agree():
    strangers = [noise(4000, 4 + seed, seed) for seed in range(3)]
    assert np.all(udr.evaluate(strangers, KEY).scores == 0)
    assert np.all(udr.evaluate(strangers, KEY, similarity="spearman").scores < 0.05)


def test_a_turned_model_is_the_last_of_its_sweep():
    codes = np.float64(grid((4, 4, 3), 5))
    turned = codes @ np.array([[1, 1, 0], [1, -1, 0], [0, 0, 1]])
    for similarity in ("lasso", "spearman"):
        scores = udr.evaluate([*copies(codes, 4), turned], KEY, similarity=similarity).scores
        assert scores.argmin() == 4
        assert scores[4] < scores[:4].min() - 0.1


def test_similarities_have_the_first_model_in_rows():
    codes = noise(2000, 3)
    second = np.stack([codes[:, 2], noise(2000, 1, 5)[:, 0], -codes[:, 0], 0 * codes[:, 0]], axis=1)
    expected = np.zeros((3, 4))
    expected[2, 0] = expected[0, 2] = 1
    np.testing.assert_allclose(udr.spearman_similarity(codes, second), expected, atol=0.07)
    np.testing.assert_allclose(udr.lasso_similarity(codes, second), 0.9 * expected, atol=1e-6)
    got = udr.spearman_similarity(codes, second)
    for i in range(3):
        for j in range(3):
            correlation = scipy.stats.spearmanr(codes[:, i], second[:, j]).statistic
            assert got[i, j] == pytest.approx(abs(correlation))
    assert np.all(got[:, 3] == 0)


def test_relative_strength_equals_the_formula():
    matrix = np.abs(noise(5, 3))
    rows, columns = np.array([1, 1, 0, 1, 1], bool), np.array([1, 0, 1], bool)
    kept = matrix[rows][:, columns]
    total = np.sum(kept.max(axis=0) ** 2 / kept.sum(axis=0))
    total += np.sum(kept.max(axis=1) ** 2 / kept.sum(axis=1))
    got = udr.relative_strength(jnp.float32(matrix), rows, columns)
    assert float(got) == pytest.approx(total / 6, rel=1e-5)
    with pytest.raises(AssertionError):
        udr.relative_strength(jnp.float32(matrix), columns, rows)
    assert float(udr.relative_strength(jnp.float32(matrix), 0 * rows > 0, 0 * columns > 0)) == 0
    # one of three dimensions of the one is that of the other; the rest has no partner
    single = jnp.zeros((3, 1)).at[1, 0].set(1.0)
    assert float(udr.relative_strength(single, np.ones(3, bool), np.ones(1, bool))) == 0.5


def test_dimensions_without_rate_do_not_count():
    codes = noise(800, 3)
    models = [
        np.concatenate([each, noise(800, 2, 7 + i)], axis=1)
        for i, each in enumerate(copies(codes, 3))
    ]
    rates = [np.array([2.0, 1.0, 0.5, 0.01, 0.001])] * 3
    found = udr.evaluate(models, KEY, rates=rates)
    np.testing.assert_allclose(found.scores, 0.9, rtol=1e-5)
    assert found.num_informative.tolist() == [3] * 3
    # each of the ten has a partner in six
    np.testing.assert_allclose(udr.evaluate(models, KEY).scores, 0.9 * 6 / 10, atol=0.01)
    dead = [np.concatenate([each, np.ones((800, 2))], axis=1) for each in copies(codes, 3)]
    for similarity in ("lasso", "spearman"):
        assert np.all(udr.evaluate(dead, KEY, similarity=similarity).scores > 0.85)
    nothing = udr.evaluate([np.ones((800, 2))] * 2, KEY)
    np.testing.assert_array_equal(nothing.scores, 0)


def test_scores_are_medians_over_the_others():
    models = [noise(300, 3, seed) + noise(300, 3, 9) for seed in range(4)]
    found = udr.evaluate(models, KEY, num_points=200)
    assert found.num_points == 200
    for j in range(4):
        others = [found.pairwise[i, j] for i in range(4) if i != j]
        assert found.scores[j] == np.median(others)
    again = udr.evaluate(models, KEY, num_points=200)
    np.testing.assert_array_equal(found.pairwise, again.pairwise)
    other = udr.evaluate(models, jax.random.key(1), num_points=200)
    assert not np.array_equal(found.pairwise, other.pairwise)


def test_the_error_of_a_score_is_that_of_a_median_over_the_others():
    """Similarities to a model are drawn anew with each other model: repeated, medians so differ."""
    rng = np.random.default_rng(0)
    columns = rng.uniform(size=(40, 300))
    expected = np.median(rng.uniform(size=(40, 5000)), axis=0).std()
    errors = udr._error_of_median(columns, KEY)
    assert errors.mean() == pytest.approx(expected, rel=0.1)
    found = udr.evaluate([noise(300, 3, seed) + noise(300, 3, 9) for seed in range(4)], KEY)
    assert (found.standard_errors > 0).all()
    # two others say nothing of a third
    assert np.isnan(
        udr.evaluate([noise(50, 3, seed) for seed in range(3)], KEY).standard_errors
    ).all()


def test_models_that_cannot_be_ranked_are_refused():
    codes = noise(20, 3)
    for bad, settings, message in (
        ([codes], {}, "must be of at least 2"),
        ([codes, codes[:9]], {}, "the same examples"),
        ([codes, codes], {"rates": [np.ones(3), np.ones(2)]}, "as the codes"),
        ([codes, codes], {"similarity": "pearson"}, "must be lasso or spearman"),
    ):
        with pytest.raises(UsageError, match=message):
            udr.evaluate(bad, KEY, **settings)
    with pytest.raises(DataError, match="codes of model 1") as failure:
        udr.evaluate([codes, np.where(codes > 0, np.nan, codes)], KEY)
    assert "\n" not in str(failure.value)
