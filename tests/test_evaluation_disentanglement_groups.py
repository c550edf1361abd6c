"""The BetaVAE and FactorVAE scores, and the groups that they are taken over."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from factor_tables import grid, noise, perfect, rotated, shuffled

from vae_jax import data
from vae_jax.errors import UsageError
from vae_jax.evaluation import disentanglement
from vae_jax.evaluation.disentanglement import beta_vae, factor_vae

KEY = jax.random.key(0)
SMALL = {"num_train": 800, "num_test": 800}

# ---------------------------------------------------------------- groups


def table():
    """Values of any size in any order, one factor that does not vary, rows that are missing."""
    factors = shuffled(grid((3, 4, 1, 5), 4))[:-30]
    return factors * np.array([7, -1, 1, 100]) - 50


def test_a_group_shares_one_factor_and_no_other():
    factors = table()
    groups = disentanglement.sample_groups(KEY, factors, 500, 32)
    assert groups.rows.shape == (500, 32)
    drawn = factors[np.asarray(groups.rows)]
    fixed = np.asarray(groups.fixed)
    assert set(fixed.tolist()) == {0, 1, 3}
    spread = np.ptp(drawn, axis=1)
    assert np.all(spread[np.arange(500), fixed] == 0)
    others = np.ones_like(spread, bool)
    others[np.arange(500), fixed] = False
    others[:, 2] = False
    # 32 draws of three values or more are all but never the same
    assert np.mean(spread[others] > 0) > 0.99


def test_pairs_share_one_factor_whose_value_changes_within_the_group():
    factors = table()
    pairs = disentanglement.sample_pairs(KEY, factors, 500, 32)
    first, second = factors[np.asarray(pairs.first)], factors[np.asarray(pairs.second)]
    fixed = np.asarray(pairs.fixed)
    differs = first != second
    assert not differs[np.arange(500), :, fixed].any()
    for factor, size in ((0, 3), (1, 4), (3, 5)):
        share = differs[fixed != factor][:, :, factor].mean()
        assert share == pytest.approx(1 - 1 / size, abs=0.03)
        assert np.all(np.ptp(first[fixed == factor][:, :, factor], axis=1) > 0)


def test_draws_are_uniform_over_the_rows_that_match():
    factors = grid((2, 3), 2)
    groups = disentanglement.sample_groups(KEY, factors, 4000, 5)
    rows, fixed = np.asarray(groups.rows), np.asarray(groups.fixed)
    assert scipy.stats.chisquare(np.bincount(fixed)).pvalue > 1e-4
    # by symmetry every row is drawn as often, whichever factor is fixed
    for factor in range(2):
        chosen = rows[fixed == factor]
        assert scipy.stats.chisquare(np.bincount(chosen[:, 0], minlength=12)).pvalue > 1e-4
        # within a group the rest of the row is independent of the first's
        same = chosen[:, 0] == chosen[:, 1]
        matches = (factors[:, factor] == 0).sum()
        assert same.mean() == pytest.approx(1 / matches, abs=0.04)


def test_groups_follow_from_the_key():
    factors = table()
    for sample in (disentanglement.sample_groups, disentanglement.sample_pairs):
        first, again = sample(KEY, factors, 7, 3), sample(KEY, factors, 7, 3)
        other = sample(jax.random.key(1), factors, 7, 3)
        for a, b in zip(first, again, strict=True):
            np.testing.assert_array_equal(a, b)
        assert not np.array_equal(first[0], other[0])


@pytest.mark.parametrize("num_groups", [1, 255, 256, 700])
def test_groups_are_mapped_some_at_a_time(num_groups):
    codes = np.float32(noise(50, 3))
    rows = np.random.default_rng(0).integers(0, 50, (num_groups, 6))
    got = disentanglement.map_rows(factor_vae.variances, codes, rows)
    np.testing.assert_allclose(got, np.var(codes[rows], axis=1, ddof=1), rtol=1e-4)


# ---------------------------------------------------------------- FactorVAE score


def test_votes_known_answers():
    within = jnp.float32([[1, 5, 2], [4, 1, 3], [9, 8, 1]])
    overall = jnp.float32([1, 10, 1])
    everyone = np.ones(3, bool)
    # relative to the whole: [1, .5, 2], [4, .1, 3], [9, .8, 1]
    np.testing.assert_array_equal(factor_vae.least_varying(within, overall, everyone), [1, 1, 1])
    without = np.array([True, False, True])
    np.testing.assert_array_equal(factor_vae.least_varying(within, overall, without), [0, 2, 2])
    correct, votes = factor_vae.majority_vote(
        jnp.array([0, 0, 0, 2, 2]),
        jnp.array([1, 1, 0, 0, 0]),
        jnp.array([0, 0, 2, 1]),
        jnp.array([1, 0, 0, 1]),
        num_dimensions=3,
        num_factors=2,
    )
    np.testing.assert_array_equal(votes, [[1, 2], [0, 0], [2, 0]])
    np.testing.assert_array_equal(correct, [True, False, True, False])


def test_factor_vae_equals_brute_force():
    factors = shuffled(grid((3, 4, 5), 10))
    codes = noise(600, 5) + 0.7 * np.eye(3, 5)[None].repeat(600, 0).swapaxes(1, 2).dot(np.ones(3))
    codes[:, :3] += 0.5 * factors
    codes[:, 4] *= 0.04
    result = factor_vae.evaluate(codes, factors, KEY, **SMALL)
    # the same groups, one at a time
    groups_key = jax.random.split(KEY)[1]
    groups = disentanglement.sample_groups(groups_key, factors, 1600, 64)
    overall = np.var(codes, axis=0, ddof=1)
    votes = np.zeros((5, 3), int)
    guesses = []
    for rows in np.asarray(groups.rows):
        ratio = np.var(codes[rows], axis=0, ddof=1) / overall
        guesses.append(np.argmin(np.where(np.sqrt(overall) >= 0.05, ratio, np.inf)))
    fixed = np.asarray(groups.fixed)
    np.add.at(votes, (guesses[:800], fixed[:800]), 1)
    expected = np.mean(votes.argmax(axis=1)[guesses[800:]] == fixed[800:])
    np.testing.assert_array_equal(result.details["votes"], votes)
    assert result.scores["factor_vae"] == pytest.approx(expected)
    assert 0.4 < expected < 1
    assert result.counts["num_dimensions"] == 4
    error = np.sqrt(expected * (1 - expected) / 800)
    assert result.standard_errors["factor_vae"] == pytest.approx(error)


@pytest.mark.parametrize("module", [beta_vae, factor_vae])
def test_a_perfect_code_scores_one(module):
    factors = shuffled(grid((3, 4, 5, 6), 2))
    codes, _ = perfect(factors)
    (score,) = module.evaluate(codes, factors, KEY, **SMALL).scores.values()
    assert score == 1


@pytest.mark.parametrize("module", [beta_vae, factor_vae])
def test_an_independent_code_scores_chance(module):
    factors = shuffled(grid((3, 4, 5, 6), 2))
    for codes in (noise(len(factors), 6), np.ones((len(factors), 6))):
        result = module.evaluate(codes, factors, KEY, num_train=2500, num_test=3500)
        (score,), (error,) = result.scores.values(), result.standard_errors.values()
        # that of an accuracy over the groups that were not learnt from
        assert error == pytest.approx((score * (1 - score) / 3500) ** 0.5)
        # that the table is finite leaves a trace of the value that is fixed
        assert abs(score - 1 / 4) < 4 * error + 0.03


@pytest.mark.parametrize("module", [beta_vae, factor_vae])
def test_two_mixed_factors_score_three_quarters(module):
    """45° between two factors of the same size: nothing tells one from the other."""
    factors = shuffled(grid((4, 4, 3, 5), 3))
    codes = rotated(factors)
    result = module.evaluate(codes, factors, KEY, num_train=3000, num_test=3000)
    (score,) = result.scores.values()
    assert score == pytest.approx(3 / 4, abs=0.04)


def test_the_scale_of_a_dimension_does_not_matter_unless_it_is_pruned():
    factors = shuffled(grid((3, 4, 5), 5))
    codes = noise(300, 5)
    codes[:, :3] += factors
    scale = np.array([2.0, 16.0, 0.5, 1.0, 1024.0])
    for module in (beta_vae, factor_vae):
        plain = module.evaluate(codes, factors, KEY, **SMALL).scores
        assert module.evaluate(codes * scale + 3, factors, KEY, **SMALL).scores == pytest.approx(
            plain, abs=0.01
        )
    tiny = np.where(np.arange(5) == 1, 0.01, 1.0)
    pruned = factor_vae.evaluate(codes * tiny, factors, KEY, **SMALL)
    assert pruned.counts["num_dimensions"] == 4
    kept = factor_vae.evaluate(codes * tiny, factors, KEY, prune_deviation=0, **SMALL)
    assert kept.counts["num_dimensions"] == 5
    assert kept.scores["factor_vae"] > pruned.scores["factor_vae"] + 0.1


def test_beta_vae_features_are_means_of_absolute_differences():
    first, second = np.float32(noise(30, 4, 0)), np.float32(noise(30, 4, 1))
    shape = (5, 6, 4)
    got = beta_vae.differences(first.reshape(shape), second.reshape(shape))
    np.testing.assert_allclose(got, np.abs(first - second).reshape(shape).mean(axis=1), rtol=1e-5)


@pytest.mark.parametrize("module", [beta_vae, factor_vae])
def test_one_varying_factor_is_always_told(module):
    factors = np.stack([np.arange(40) % 4, np.zeros(40, int)], axis=1)
    (score,) = module.evaluate(noise(40, 3), factors, KEY, **SMALL).scores.values()
    assert score == 1


@pytest.mark.parametrize(
    "settings", [{"num_train": 0}, {"num_test": 0}, {"batch_size": 1}, {"num_variance": 1}]
)
def test_factor_vae_refuses_what_has_no_variance(settings):
    with pytest.raises(UsageError, match="must be at least 1"):
        factor_vae.evaluate(noise(40, 3), grid((4, 10)), KEY, **settings)


def test_groups_of_the_sprites():
    split = data.load("sprites").test
    codes = split.factors[:, [3, 0, 4, 2, 1]] * np.float32([1, -3, 0.1, 2, 1])
    codes = np.concatenate([codes, noise(len(codes), 2)], axis=1)
    result = factor_vae.evaluate(codes, split.factors, KEY, num_train=500, num_test=500)
    assert result.scores["factor_vae"] == 1
    result = beta_vae.evaluate(codes, split.factors, KEY, num_train=500, num_test=500)
    assert result.scores["beta_vae"] == 1
