"""SAP, DCI, explicitness and IRS: closed forms on matrices, and sums done another way."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from factor_tables import grid, noise, perfect, rotated, shuffled
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from vae_jax.errors import DataError, UsageError
from vae_jax.evaluation.disentanglement import dci, explicitness, irs, sap

KEY = jax.random.key(0)
FEW = {"num_train": 400, "num_test": 200}
ALONE = {"num_bootstrap": 0}

# ---------------------------------------------------------------- SAP


@pytest.mark.slow
def test_squared_correlation_equals_that_of_numpy():
    codes, factors = np.float32(noise(300, 5)), np.random.default_rng(0).integers(0, 9, (300, 3))
    codes[:, 1] = 1e20 * (codes[:, 1] + factors[:, 2])
    codes[:, 2] *= 1e-20
    expected = np.corrcoef(np.float64(codes), factors, rowvar=False)[:5, 5:] ** 2
    got = sap.squared_correlation(codes, factors)
    np.testing.assert_allclose(got, expected, atol=1e-6)
    dead = np.stack([codes[:, 0], np.full(300, 0.1, np.float32)], axis=1)
    np.testing.assert_array_equal(sap.squared_correlation(dead, factors)[1], 0)
    np.testing.assert_array_equal(sap.squared_correlation(dead, 0 * factors), 0)


def test_separation_known_answers():
    scores = jnp.float32([[0.9, 0.2, 0.5], [0.1, 0.8, 0.5]])
    floor = jnp.float32([0.5, 0.25, 0.1])
    np.testing.assert_allclose(sap.separation(scores, floor), [0.8, 0.6, 0], atol=1e-7)
    np.testing.assert_allclose(sap.separation(scores[:1], floor), [0.4, 0.05, 0.4], atol=1e-7)


@pytest.mark.slow
def test_balanced_accuracy_is_that_of_scikit_learn():
    rng = np.random.default_rng(0)
    truth = np.stack([rng.choice(3, 200, p=[0.8, 0.1, 0.1]), rng.choice([1, 2, 4], 200)], axis=1)
    guess = np.stack([rng.permuted(truth, axis=0) for _ in range(4)], axis=1)
    guess[:, 0] = np.where(rng.random((200, 2)) < 0.6, truth, guess[:, 0])
    # a value that never occurs does not count
    got = sap.balanced_accuracy(guess == truth[:, None], truth, num_values=6)
    for i in range(4):
        for j in range(2):
            expected = balanced_accuracy_score(truth[:, j], guess[:, i, j])
            assert got[i, j] == pytest.approx(expected, rel=1e-5)


@pytest.mark.slow
def test_sap_gap_of_constructed_correlations():
    """With noise of variance s² that is orthogonal to a factor of variance 1, R² = 1 / (1 + s²)."""
    signs = np.float64(2 * grid((2, 2, 2, 2), 5) - 1)
    a, b, first, second = signs.T
    codes = np.stack([a + 0.5 * first, a + 2 * second, 3 * b, b - 3 * first], axis=1)
    factors = np.int64(signs[:, :2])
    result = sap.evaluate(codes, factors, KEY, num_train=60, num_test=20, **ALONE)
    matrix = sap.squared_correlation(jnp.float32(codes), factors)
    expected = [[1 / 1.25, 0], [1 / 5, 0], [0, 1], [0, 1 / 10]]
    np.testing.assert_allclose(matrix, expected, atol=5e-6)
    gap = sap.separation(matrix, jnp.zeros(2))
    np.testing.assert_allclose(gap, [1 / 1.25 - 1 / 5, 1 - 1 / 10], atol=1e-5)
    assert result.scores["sap_r2"] == pytest.approx(float(gap.mean()), abs=0.15)
    assert result.counts == {"num_train": 60, "num_test": 20, "num_factors": 2}


@pytest.mark.slow
def test_sap_of_a_perfect_code_of_binary_factors_is_all_above_chance():
    factors = shuffled(np.concatenate([grid((2, 2, 2), 75), np.full((600, 1), 3)], axis=1))
    codes, _ = perfect(factors[:, :3])
    result = sap.evaluate(codes, factors, KEY, **FEW)
    assert result.scores["sap"] == pytest.approx(1 / 2, abs=0.1)
    assert result.scores["sap_r2"] > 0.95
    best = result.details["accuracy"].max(axis=0)
    np.testing.assert_array_equal(best, 1)
    assert result.details["accuracy"].shape == (4, 3)
    np.testing.assert_allclose(result.details["squared_correlation"].max(axis=0), 1, atol=1e-5)
    twice = np.concatenate([codes, -2 * codes], axis=1)
    scores = sap.evaluate(twice, factors, KEY, **FEW, **ALONE).scores
    assert scores["sap"] == 0
    assert scores["sap_r2"] == pytest.approx(0, abs=1e-5)


@pytest.mark.slow
def test_sap_of_codes_that_say_nothing():
    factors = shuffled(grid((2, 3), 100))
    scores = sap.evaluate(noise(600, 4), factors, KEY, **FEW, **ALONE).scores
    assert 0 <= scores["sap"] < 0.15
    assert 0 <= scores["sap_r2"] < 0.03
    scores = sap.evaluate(np.ones((600, 4)), factors, KEY, **FEW, **ALONE).scores
    assert scores == {"sap": 0, "sap_r2": 0}


def test_sap_of_one_dimension_is_above_a_dead_one():
    factors = shuffled(grid((2, 2), 150))
    result = sap.evaluate(factors[:, :1] * 2.0, factors, KEY, **FEW, **ALONE)
    assert result.details["accuracy"][0, 0] == 1
    other = result.details["accuracy"][0, 1]
    assert result.scores["sap"] == pytest.approx((0.5 + abs(other - 0.5)) / 2)


@pytest.mark.slow
def test_sap_of_a_rotated_code_is_between():
    factors = shuffled(grid((2, 2, 2), 75))
    scores = sap.evaluate(rotated(factors), factors, KEY, **FEW, **ALONE).scores
    assert 0.1 < scores["sap"] < 0.3
    assert 0.25 < scores["sap_r2"] < 0.5


@pytest.mark.slow
def test_standard_errors_of_sap_are_those_of_a_proportion():
    """With a dead second dimension the gap is one accuracy less a constant."""
    rng = np.random.default_rng(0)
    factors = np.arange(3000)[:, None] % 2
    code = np.where(rng.random((3000, 1)) < 0.8, factors, 1 - factors)
    codes = np.concatenate([code, np.zeros((3000, 1))], axis=1)
    result = sap.evaluate(codes, factors, KEY, num_bootstrap=400)
    assert result.counts["num_train"] == 2000
    accuracy = result.details["accuracy"][0, 0]
    assert accuracy == pytest.approx(0.8, abs=0.03)
    assert result.scores["sap"] == pytest.approx(accuracy - 0.5, abs=1e-6)
    expected = np.sqrt(accuracy * (1 - accuracy) / result.counts["num_test"])
    assert result.standard_errors["sap"] == pytest.approx(expected, rel=0.15)
    # Var r = (1 − r²) / N for two signs, and so 4 r² (1 − r²) / N for r²
    r2 = result.scores["sap_r2"]
    expected = np.sqrt(4 * r2 * (1 - r2) / 2000)
    assert result.standard_errors["sap_r2"] == pytest.approx(expected, rel=0.15)


# ---------------------------------------------------------------- DCI


def test_importances_known_answers():
    diagonal = np.zeros((6, 4), np.float32)
    diagonal[[5, 0, 2, 3], range(4)] = [1, 2, 3, 4]
    score, each = dci.disentanglement(diagonal)
    assert float(score) == pytest.approx(1)
    np.testing.assert_allclose(each, [1, 0, 1, 1, 0, 1], atol=1e-6)
    score, each = dci.completeness(diagonal)
    assert float(score) == pytest.approx(1)
    np.testing.assert_allclose(each, np.ones(4), atol=1e-6)

    # every factor in two dimensions: as disentangled, less complete
    twice = np.concatenate([diagonal, diagonal])
    assert float(dci.disentanglement(twice)[0]) == pytest.approx(1)
    expected = 1 - np.log(2) / np.log(12)
    assert float(dci.completeness(twice)[0]) == pytest.approx(expected, rel=1e-6)
    # every dimension for two factors: the reverse
    wide = np.concatenate([diagonal, diagonal], axis=1)
    expected = 1 - np.log(2) / np.log(8)
    assert float(dci.disentanglement(wide)[0]) == pytest.approx(expected, rel=1e-6)
    assert float(dci.completeness(wide)[0]) == pytest.approx(1)

    even = np.ones((3, 5), np.float32)
    assert float(dci.disentanglement(even)[0]) == pytest.approx(0, abs=1e-6)
    assert float(dci.completeness(even)[0]) == pytest.approx(0, abs=1e-6)


def test_scores_of_importances_equal_the_formulas():
    matrix = np.random.default_rng(0).gamma(0.5, size=(7, 3))
    matrix[4] = 0
    rows = [1 - scipy.stats.entropy(row, base=3) if row.any() else 0 for row in matrix]
    columns = [1 - scipy.stats.entropy(column, base=7) for column in matrix.T]
    weights = matrix.sum(axis=1) / matrix.sum()
    for scale in (1.0, 1e-30, 1e36):
        importance = jnp.float32(matrix * scale)
        score, each = dci.disentanglement(importance)
        np.testing.assert_allclose(each, rows, rtol=1e-4)
        assert float(score) == pytest.approx(weights @ rows, rel=1e-5)
        score, each = dci.completeness(importance)
        np.testing.assert_allclose(each, columns, rtol=1e-4)
        assert float(score) == pytest.approx(np.mean(columns), rel=1e-5)


def test_importances_that_are_missing():
    for shape in ((4, 3), (1, 3), (4, 1), (1, 1)):
        for score in (dci.disentanglement, dci.completeness):
            assert float(score(jnp.zeros(shape))[0]) == 0
    # a factor that nothing predicts is not complete
    matrix = jnp.float32([[1, 0], [0, 0], [0, 0]])
    assert float(dci.completeness(matrix)[0]) == pytest.approx(0.5)
    assert float(dci.disentanglement(matrix)[0]) == pytest.approx(1)
    # with one factor, or one dimension, there is nothing to be confused with
    assert float(dci.disentanglement(jnp.ones((4, 1)))[0]) == 1
    assert float(dci.completeness(jnp.ones((1, 4)))[0]) == 1


def importances(result):
    return {name: matrix.shape for name, matrix in result.details.items()}


@pytest.mark.slow
def test_dci_of_a_perfect_code():
    factors = shuffled(grid((2, 3, 2), 50))
    codes, order = perfect(factors)
    result = dci.evaluate(codes, factors, KEY, num_trees=10, **FEW)
    assert importances(result) == {
        "trees_importance": (4, 3),
        "lasso_importance": (4, 3),
        "logistic_importance": (4, 3),
    }
    for name in dci.PREDICTORS:
        best = result.details[f"{name}_importance"].argmax(axis=0)
        assert best.tolist() == np.argsort(order).tolist()
    scores = result.scores
    for name in ("disentanglement", "completeness", "informativeness"):
        assert scores[f"dci_{name}"] == pytest.approx(1, abs=1e-6)
        assert scores[f"dci_logistic_{name}"] == pytest.approx(1, abs=0.05)
    assert scores["dci_logistic_informativeness"] == 1
    # chance correlations of the training rows up to λ are set to exactly 0
    assert scores["dci_lasso_disentanglement"] > 0.85
    assert scores["dci_lasso_completeness"] > 0.85
    # the weights shrink by λ and leave that much of the deviation; sinh bends a little
    assert scores["dci_lasso_informativeness"] == pytest.approx(0.97, abs=0.02)
    assert result.standard_errors["dci_informativeness"] == 0


def test_lasso_shrinks_by_its_penalty_exactly():
    factors = grid((2, 3, 5), 10)
    (codes,) = [np.float64(factors[:, [2, 0, 1]])]
    (codes,) = sap._common.standardize(codes)
    for penalty in (0.02, 0.3):
        found = dci.lasso(codes, factors, codes, factors, 0, penalty=penalty)
        expected = (1 - penalty) * np.eye(3)[[2, 0, 1]]
        np.testing.assert_allclose(found.importance, expected, atol=1e-6)
        np.testing.assert_allclose(found.losses.mean(axis=0), penalty**2, rtol=1e-6)
        np.testing.assert_allclose(found.scale.mean(axis=0), 1, rtol=1e-6)


@pytest.mark.slow
def test_dci_of_an_independent_code():
    factors = shuffled(grid((2, 3, 2), 50))
    result = dci.evaluate(noise(600, 5), factors, KEY, num_trees=10, logistic_penalty=0.05, **FEW)
    scores = result.scores
    chance = np.mean([1 / 2, 1 / 3, 1 / 2])
    for name in ("dci", "dci_logistic"):
        error = result.standard_errors[f"{name}_informativeness"]
        assert 0 < error < 0.05
        assert abs(scores[f"{name}_informativeness"] - chance) < 4 * error
    assert scores["dci_lasso_informativeness"] == pytest.approx(0, abs=0.05)
    for name in ("dci", "dci_lasso", "dci_logistic"):
        assert scores[f"{name}_disentanglement"] == scores[f"{name}_completeness"] == 0
    dead = dci.evaluate(np.ones((600, 4)), factors, KEY, num_trees=2, **FEW).scores
    for name in ("dci", "dci_lasso", "dci_logistic"):
        assert dead[f"{name}_disentanglement"] == dead[f"{name}_completeness"] == 0
    assert dead["dci_lasso_informativeness"] == pytest.approx(0, abs=0.03)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_a_weight_that_chance_leaves_is_no_disentanglement(seed):
    """Of 30 weights one or two exceed the penalty: alone they would be perfectly disentangled."""
    factors = shuffled(grid((3, 3, 3, 2, 2), 20), seed)
    settings = {"num_train": 1500, "num_test": 600, "num_trees": 5, **ALONE}
    # penalties at which chance leaves something
    settings |= {"lasso_penalty": 0.04, "logistic_penalty": 0.02}
    codes = noise(len(factors), 6, seed)
    chance = dci.lasso(codes[:1500], factors[:1500], codes[1500:], factors[1500:], 0, penalty=0.04)
    assert chance.importance.any()
    scores = dci.evaluate(codes, factors, jax.random.key(seed), **settings).scores
    for name in ("dci", "dci_lasso", "dci_logistic"):
        assert scores[f"{name}_disentanglement"] == scores[f"{name}_completeness"] == 0
    # one factor that is told, the others by chance: complete as far as there is something
    codes[:, 2] = factors[:, 1] + 0.1 * codes[:, 2]
    result = dci.evaluate(codes, factors, jax.random.key(seed), **settings)
    for name in dci.PREDICTORS:
        told = result.details[f"{name}_importance"].any(axis=0)
        assert told.tolist() == [False, True, False, False, False]


def test_a_factor_is_predicted_beyond_three_standard_errors():
    gains = np.tile([[-1.0, -1.0, 0.0, 0.0], [1.0, 1.0, 0.0, 2.0]], (50, 1))
    # the mean is 3 ± 1 % errors above 0
    error = gains[:, 0].std(ddof=1) / 10
    gains[:, 0] += 3.03 * error
    gains[:, 1] += 2.97 * error
    assert dci.is_predicted(gains).tolist() == [True, False, False, True]
    assert not dci.is_predicted(np.ones((1, 2))).any()


@pytest.mark.slow
def test_dci_of_a_rotated_code_is_between():
    factors = shuffled(grid((3, 3, 3), 30))
    settings = {"num_train": 540, "num_test": 270, "num_trees": 20, **ALONE}
    rotation = dci.evaluate(rotated(factors), factors, KEY, **settings).scores
    plain = dci.evaluate(perfect(factors)[0], factors, KEY, **settings).scores
    for name in ("disentanglement", "completeness"):
        for predictor in ("", "lasso_", "logistic_"):
            score = f"dci_{predictor}{name}"
            assert 0.2 < rotation[score] < plain[score] - 0.15
    # nothing is lost by turning
    assert rotation["dci_informativeness"] > 0.99
    assert rotation["dci_lasso_informativeness"] > 0.95


@pytest.mark.slow
def test_the_error_of_informativeness_is_that_of_a_proportion():
    rng = np.random.default_rng(0)
    factors = np.arange(3000)[:, None] % 2
    codes = np.where(rng.random((3000, 1)) < 0.8, factors, 1 - factors) * np.ones((1, 2))
    result = dci.evaluate(codes, factors, KEY, predictors=("logistic",), num_bootstrap=400)
    accuracy = result.scores["dci_logistic_informativeness"]
    expected = np.sqrt(accuracy * (1 - accuracy) / 1000)
    assert result.standard_errors == {
        "dci_logistic_informativeness": pytest.approx(expected, rel=0.15)
    }


def test_rows_not_learnt_from_are_read_on_the_scale_of_those_that_were():
    """All that is told by a code is lost where the test rows of it are shifted, and only there."""
    factors = shuffled(grid((2, 3), 40))
    settings = {"num_train": 160, "num_test": 80, "predictors": ("lasso",), **ALONE}
    train, test = sap._common.split_rows(jax.random.split(KEY, 3)[0], len(factors), 160, 80)

    def informativeness(*shifted):
        codes = np.float64(factors)
        for rows in shifted:
            codes[rows] += 5.0
        return dci.evaluate(codes, factors, KEY, **settings).scores["dci_lasso_informativeness"]

    plain = informativeness()
    assert plain > 0.95
    assert informativeness(train, test) == pytest.approx(plain, abs=1e-5)
    assert informativeness(test) < -1


def test_dci_refuses_an_unknown_predictor():
    with pytest.raises(UsageError, match="predictor 'forest': must be one of trees, lasso"):
        dci.evaluate(noise(20, 2), grid((2, 10)), KEY, predictors=("forest",))


# ---------------------------------------------------------------- explicitness


def test_the_area_under_the_curve_and_its_error_equal_their_definitions():
    rng = np.random.default_rng(0)
    scores = np.round(rng.standard_normal(80), 1)
    positive = rng.random(80) < 1 / (1 + np.exp(-scores))
    found = explicitness.area_under_curve(scores, positive)
    assert found.area == pytest.approx(roc_auc_score(positive, scores))
    above = np.sign(scores[positive][:, None] - scores[~positive][None]) / 2 + 0.5
    variance = above.mean(axis=1).var(ddof=1) / positive.sum()
    variance += above.mean(axis=0).var(ddof=1) / (~positive).sum()
    assert np.sum(found.influence**2) == pytest.approx(variance)
    alone = explicitness.area_under_curve(np.arange(3.0), np.array([False, False, True]))
    assert alone.area == 1
    assert np.isfinite(alone.influence).all()


@pytest.mark.slow
def test_explicitness_of_perfect_and_of_independent_codes():
    factors = shuffled(grid((2, 3, 5), 40))
    sizes = {"num_train": 800, "num_test": 400}
    result = explicitness.evaluate(perfect(factors)[0], factors, KEY, **sizes)
    assert result.scores["explicitness"] > 0.995
    assert result.counts["num_values"] == 10
    # any invertible linear map is as explicit
    turned = explicitness.evaluate(rotated(factors), factors, KEY, **sizes)
    assert turned.scores["explicitness"] > 0.995
    result = explicitness.evaluate(noise(1200, 6), factors, KEY, **sizes)
    error = result.standard_errors["explicitness"]
    assert 0.003 < error < 0.03
    assert abs(result.scores["explicitness"] - 0.5) < 4 * error
    dead = explicitness.evaluate(np.ones((1200, 2)), factors, KEY, **sizes)
    assert dead.scores["explicitness"] == 0.5


def test_explicitness_of_one_binary_factor_is_the_area_of_the_code_itself():
    factors = np.arange(900)[:, None] % 2
    codes = np.concatenate([noise(900, 1) + factors, np.zeros((900, 1))], axis=1)
    result = explicitness.evaluate(codes, factors, KEY, num_train=600, num_test=300)
    _, test = sap._common.split_rows(KEY, 900, 600, 300)
    expected = roc_auc_score(factors[test, 0], codes[test, 0])
    assert result.scores["explicitness"] == pytest.approx(expected)
    found = explicitness.area_under_curve(np.float32(codes[test, 0]), factors[test, 0] == 1)
    # both values of it give the same area: their mean errs as one
    error = np.sqrt(np.sum(found.influence**2))
    assert result.standard_errors["explicitness"] == pytest.approx(error, rel=0.01)


def test_explicitness_leaves_out_values_that_cannot_be_tested():
    factors = np.concatenate([np.arange(58) % 2, [7, 8]])[:, None]
    result = explicitness.evaluate(noise(60, 2), factors, KEY, num_train=30, num_test=30)
    assert 2 <= result.counts["num_values"] <= 3
    rare = np.concatenate([np.zeros(59, int), [1]])[:, None]
    with pytest.raises(DataError, match="none takes two values"):
        explicitness.evaluate(noise(60, 2), rare, KEY, num_train=30, num_test=30)


# ---------------------------------------------------------------- IRS


def brute_force_robustness(codes, factors, quantile):
    whole = np.quantile(np.abs(codes - codes.mean(axis=0)), quantile, axis=0)
    matrix = np.zeros((codes.shape[1], factors.shape[1]))
    for j, factor in enumerate(factors.T):
        groups = [codes[factor == value] for value in np.unique(factor)]
        each = [np.quantile(np.abs(g - g.mean(axis=0)), quantile, axis=0) for g in groups]
        matrix[:, j] = 1 - np.mean(each, axis=0) / whole
    return np.sum(whole * matrix.max(axis=1)) / whole.sum(), matrix, whole


@pytest.mark.parametrize("quantile", [1.0, 0.99, 0.5])
def test_robustness_equals_brute_force(quantile):
    factors = np.random.default_rng(0).integers(0, [3, 7], (500, 2))
    codes = noise(500, 4) * [1, 10, 0.1, 1]
    codes[:, 1] += 5 * factors[:, 0] + 100
    codes[:, 3] += factors[:, 1]
    score, matrix, whole = brute_force_robustness(codes, factors, quantile)
    found = irs.robustness(jnp.float32(codes), factors, num_values=7, quantile=quantile)
    np.testing.assert_allclose(found.matrix, matrix, atol=2e-5)
    np.testing.assert_allclose(found.deviations, whole, rtol=2e-5)
    assert float(found.score) == pytest.approx(score, abs=1e-5)


@pytest.mark.slow
def test_irs_of_a_perfect_code_is_one():
    factors = shuffled(grid((2, 3, 5), 10))
    codes, order = perfect(factors)
    result = irs.evaluate(codes, factors, KEY)
    assert result.scores["irs"] == pytest.approx(1, abs=1e-5)
    assert result.standard_errors["irs"] < 1e-5
    assert result.details["matrix"][:3].argmax(axis=1).tolist() == order.tolist()
    np.testing.assert_array_equal(result.details["matrix"][3], 0)
    assert result.counts["num_dimensions"] == 3


@pytest.mark.slow
def test_irs_of_confounded_factors():
    """a + w b for signs a, b: fixing a leaves a deviation of w, of 1 + w in all."""
    signs = 2 * grid((2, 2, 2), 20) - 1
    for weight in (0.0, 0.25, 1.0):
        codes = (signs[:, :1] + weight * signs[:, 1:2]) * np.float64([[3.0, -1.0]])
        result = irs.evaluate(codes, signs, KEY, **ALONE)
        assert result.scores["irs"] == pytest.approx(1 / (1 + weight), abs=1e-6)
    # the dimension that moves further counts for more: 1 · 1 + 4 · 1/2 over 5
    codes = np.stack([signs[:, 2], 2 * signs[:, 0] + 2 * signs[:, 1]], axis=1)
    assert irs.evaluate(codes, signs, KEY, **ALONE).scores["irs"] == pytest.approx(3 / 5)


@pytest.mark.slow
def test_irs_of_codes_that_say_nothing():
    factors = np.random.default_rng(0).integers(0, [3, 5], (6000, 2))
    result = irs.evaluate(noise(6000, 3), factors, KEY, num_bootstrap=20)
    assert abs(result.scores["irs"]) < 0.03
    assert 0 < result.standard_errors["irs"] < 0.03
    assert irs.evaluate(np.ones((6000, 3)), factors, KEY, **ALONE).scores["irs"] == 0


@pytest.mark.slow
def test_a_factor_that_numbers_the_examples_explains_nothing():
    factors = np.stack([np.arange(300), np.arange(300) % 3], axis=1)
    result = irs.evaluate(noise(300, 2), factors, KEY, **ALONE)
    np.testing.assert_allclose(result.details["matrix"][:, 0], 0, atol=1e-6)
    with pytest.raises(UsageError, match=r"quantile=0: must be above 0 and at most 1"):
        irs.evaluate(noise(300, 2), factors, KEY, quantile=0)
