"""Separated attribute predictability (SAP): does one dimension alone predict a factor best?"""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np

from vae_jax.evaluation._shared import NUM_BOOTSTRAP, bootstrap
from vae_jax.evaluation.disentanglement import _common

__all__ = [
    "DEFINITIONS",
    "balanced_accuracy",
    "evaluate",
    "separation",
    "squared_correlation",
    "threshold_correct",
]

DEFINITIONS = {
    "sap": "balanced accuracy (disentanglement_lib: plain) of a linear SVM that predicts a factor"
    " from its best dimension alone, less that of the second best; mean; 0 to 1 - 1 / values, well"
    " below of many",
    "sap_r2": "squared correlation of a factor with its best dimension less that with the second"
    " best; mean over factors; 0 to 1",
}
"""The meaning of each score, one line for a scalar."""


@jax.jit
def squared_correlation(codes: jax.Array, factors: jax.Array) -> jax.Array:
    """The share of a factor's variance that a linear function of one dimension explains.

    R²_lf = Cov(z_l, v_f)² / (Var(z_l) Var(v_f))

    Args:
        codes: [N, L].
        factors: [N, F], used as numbers.

    Returns:
        [L, F] in 0 … 1; 0 if either is constant.

    Reference:
        Kumar et al. 2018, arXiv 1711.00848, section 4.
    """
    chex.assert_rank([codes, factors], 2)
    chex.assert_equal_shape_prefix([codes, factors], 1)

    def unit(x):
        greatest, least = (f(x, axis=0, keepdims=True) for f in (jnp.max, jnp.min))
        constant = greatest == least
        x = x.astype(jnp.float32)
        x = x - jnp.mean(x, axis=0, keepdims=True)
        # divide by the largest deviation first: squares may overflow or vanish
        x = x / jnp.where(constant, 1.0, jnp.max(jnp.abs(x), axis=0, keepdims=True))
        norm = jnp.sqrt(jnp.sum(jnp.square(x), axis=0, keepdims=True))
        return jnp.where(constant, 0.0, x / jnp.where(constant, 1.0, norm))

    product = jnp.matmul(unit(codes).T, unit(factors), precision=jax.lax.Precision.HIGHEST)
    return jnp.minimum(jnp.square(product), 1.0)


@jax.jit
def separation(scores: jax.Array, floor: jax.Array) -> jax.Array:
    """The best dimension's score minus the second best's, for each factor.

    Args:
        scores: S_lf, R² or accuracy, [L, F].
        floor: the score of a dead dimension, [F]; it is the second best if L is 1.

    Returns:
        [F].

    Reference:
        Kumar et al. 2018, arXiv 1711.00848, section 4.
    """
    return _common.gap(scores, floor)


def threshold_correct(train, train_factors, test, test_factors, *, strength: float = 0.01):
    """The test examples that a linear SVM classifies correctly, from each dimension alone.

    Each dimension is standardized on the training examples. The SVM is one-vs-rest, so a single
    dimension can separate little more than its two ends.

    Args:
        train: codes, [N, L].
        train_factors: [N, F] integers, each with at least two values.
        test: [M, L].
        test_factors: [M, F].
        strength: C of the SVM, a scalar.

    Returns:
        [M, L, F] booleans; a constant dimension predicts a single value.

    Reference:
        Kumar et al. 2018, arXiv 1711.00848, section 4; Locatello et al. 2019, arXiv 1811.12359.
    """
    from sklearn.svm import LinearSVC

    train, test = _common.standardize(np.asarray(train), np.asarray(test))
    train_factors, test_factors = np.asarray(train_factors), np.asarray(test_factors)
    correct = np.empty((len(test), train.shape[1], train_factors.shape[1]), bool)
    for dimension in range(train.shape[1]):
        for factor in range(train_factors.shape[1]):
            target = train_factors[:, factor]
            if np.ptp(train[:, dimension]) > 0:
                classifier = LinearSVC(C=strength, class_weight="balanced", dual=False)
                classifier.fit(train[:, [dimension]], target)
                guess = classifier.predict(test[:, [dimension]])
            else:
                guess = target.min()
            correct[:, dimension, factor] = guess == test_factors[:, factor]
    return correct


def balanced_accuracy(correct: jax.Array, factors: jax.Array, *, num_values: int) -> jax.Array:
    """The accuracy for the examples of each value, averaged over the values that occur.

    Args:
        correct: [M, L, F] booleans.
        factors: [M, F] integers in 0 … K − 1.
        num_values: K.

    Returns:
        [L, F] in 0 … 1.

    Reference:
        Kumar et al. 2018, arXiv 1711.00848, section 4.
    """
    chex.assert_rank([correct, factors], [3, 2])
    value = jax.nn.one_hot(factors, num_values)
    hits = jnp.einsum(
        "mlf,mfk->lfk",
        correct.astype(jnp.float32),
        value,
        precision=jax.lax.Precision.HIGHEST,
    )
    count = jnp.sum(value, axis=0)
    share = hits / jnp.maximum(count, 1.0)[None]
    return jnp.sum(share, axis=-1) / jnp.sum(count > 0, axis=-1, dtype=jnp.float32)[None]


@functools.cache
def _accuracy(num_values):
    def accuracy(correct, factors, floor, dead):
        scores = balanced_accuracy(correct, factors, num_values=num_values)
        return jnp.where(dead[:, None], floor[None], scores)

    def gap(rows, correct, factors, floor, dead):
        return jnp.mean(separation(accuracy(correct[rows], factors[rows], floor, dead), floor))

    return accuracy, gap


def _correlation_gap(rows, codes, factors):
    scores = squared_correlation(codes[rows], factors[rows])
    return jnp.mean(separation(scores, jnp.zeros(factors.shape[1])))


def evaluate(
    codes,
    factors,
    key: jax.Array,
    *,
    num_train: int = 10_000,
    num_test: int = 5_000,
    strength: float = 0.01,
    num_bootstrap: int = NUM_BOOTSTRAP,
) -> _common.Result:
    """The SAP score by classification and by squared correlation.

    Means over the factors that vary. `sap_r2` of a perfect code is 1. `sap` is at most 1 − 1/K,
    because the second best dimension guesses by chance. It is well below that for a factor with
    many values, because a linear SVM on one dimension separates little more than its two ends. So
    compare it between codes, not with 1. `sap_r2` uses the values as numbers, even for `shape`.

    Codes are standardized first, so C has the same meaning at any scale. disentanglement_lib does
    not standardize, and its penalty makes small codes less separable than large ones.

    A constant dimension has accuracy 1/K and R² 0. For an independent code both scores are about 0:
    the largest of L deviations of order 1/√M remains.

    Args:
        codes: posterior means, [N, L].
        factors: [N, F] integers.
        key: PRNG key, scalar.
        num_train: rows to fit on, and for R²; drawn without replacement.
        num_test: rows for the accuracy, disjoint from those; if there are too few rows, all are
            used in this proportion.
        strength: C of the SVM.
        num_bootstrap: resamples for the standard errors: of the test rows with fixed classifiers,
            and of the rows for R².

    Returns:
        `Result`: sap, sap_r2; details accuracy [L, F], squared_correlation [L, F] of the factors
        that vary.

    Raises:
        DataError: a code is not finite, or no factor varies.
        UsageError: the shapes or types do not fit, or a number is too small.

    Reference:
        Kumar et al. 2018, arXiv 1711.00848, section 4; Locatello et al. 2019, arXiv 1811.12359
        (the SVM; plain accuracy there, balanced here as in the paper).
    """
    _common.check_counts(num_train=num_train, num_test=num_test)
    table = _common.check(codes, factors)
    rows_key, accuracy_key, correlation_key = jax.random.split(key, 3)
    train, test = _common.split_rows(rows_key, len(table.codes), num_train, num_test)
    varies = _common.varying(table.factors[train])
    values = table.factors[:, varies]
    sizes = table.sizes[varies]
    floor = jnp.float32(1 / sizes)
    correct = threshold_correct(
        table.codes[train], values[train], table.codes[test], values[test], strength=strength
    )
    dead = np.ptp(table.codes[train], axis=0) == 0
    accuracy_of, accuracy_gap = _accuracy(int(sizes.max()))
    accuracy = accuracy_of(correct, values[test], floor, dead)
    (scaled,) = _common.standardize(table.codes[train])
    correlation = squared_correlation(jnp.float32(scaled), values[train])
    scores = {
        "sap": separation(accuracy, floor).mean(),
        "sap_r2": separation(correlation, jnp.zeros(len(sizes))).mean(),
    }
    errors = {}
    if num_bootstrap > 1:
        errors["sap"] = bootstrap(
            accuracy_key,
            len(test),
            num_bootstrap,
            accuracy_gap,
            correct,
            values[test],
            floor,
            dead,
        )
        errors["sap_r2"] = bootstrap(
            correlation_key,
            len(train),
            num_bootstrap,
            _correlation_gap,
            jnp.float32(scaled),
            values[train],
        )
    return _common.Result(
        {name: float(score) for name, score in scores.items()},
        {name: float(error) for name, error in errors.items()},
        {"num_train": len(train), "num_test": len(test), "num_factors": int(varies.sum())},
        {
            "accuracy": np.asarray(accuracy),
            "squared_correlation": np.asarray(correlation),
        },
    )
