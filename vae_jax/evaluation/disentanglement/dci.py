"""Disentanglement, completeness, informativeness (DCI), from importances of a predictor."""

from collections.abc import Sequence
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from vae_jax.errors import UsageError
from vae_jax.evaluation._shared import NUM_BOOTSTRAP, bootstrap
from vae_jax.evaluation.disentanglement import _common

__all__ = [
    "CHANCE_ERRORS",
    "DEFINITIONS",
    "PREDICTORS",
    "Predictions",
    "completeness",
    "disentanglement",
    "evaluate",
    "is_predicted",
    "lasso",
    "logistic",
    "trees",
]

_SCORES = {
    "disentanglement": "1 less the entropy of a dimension's importances over the factors predicted"
    " beyond chance; mean by importance; 0 to 1; its error would take new fits",
    "completeness": "1 less the entropy of a factor's importances over dimensions, 0 if it is not"
    " predicted beyond chance; mean; 0 to 1; its error would take new fits",
    "informativeness": "how well the factors are predicted on rows not learnt from",
}
_PREDICTORS = {
    "trees": ("gradient boosted trees", "accuracy"),
    "lasso": ("L1 linear regression", "1 less root mean squared error over that of the mean"),
    "logistic": ("L1 logistic regression", "accuracy"),
}
PREDICTORS = tuple(_PREDICTORS)
"""Names of the predictors of factors, shape (3,)."""

CHANCE_ERRORS = 3.0
"""A factor counts as predicted if the gain on test rows exceeds this many of its standard errors (a
scalar)."""


def _name(predictor, score):
    return f"dci_{score}" if predictor == "trees" else f"dci_{predictor}_{score}"


DEFINITIONS = {
    _name(predictor, score): f"{what} ({', '.join(how if score == 'informativeness' else how[:1])})"
    for predictor, how in _PREDICTORS.items()
    for score, what in _SCORES.items()
}
"""The meaning of each score, one line for a scalar."""


class Predictions(NamedTuple):
    """The results of a predictor for each factor.

    Args:
        importance: R_lf >= 0, the importance of each dimension for each factor, [L, F].
        losses: loss of each test example and factor, [M, F]: 1 for a wrong class, or the squared
            error.
        scale: the losses if the training mean is predicted, [M, F]; None for classes.
        gains: for each test example and factor, the squared error of the training mean minus that
            of the prediction, [M, F]; for classes, both of probabilities.
    """

    importance: np.ndarray
    losses: np.ndarray
    scale: np.ndarray | None
    gains: np.ndarray


def is_predicted(gains) -> np.ndarray:
    """Which factors are predicted better than chance: mean gain > 3 of its standard errors.

    Without this test, an independent code with a single nonzero weight by chance would count as
    perfectly disentangled: the entropy of a single importance is 0.

    Args:
        gains: of each test example and factor, see `Predictions`, [M, F].

    Returns:
        [F] booleans; all False if M is 1.
    """
    gains = np.float64(gains)
    if len(gains) < 2:
        return np.zeros(gains.shape[1], bool)
    error = gains.std(axis=0, ddof=1) / np.sqrt(len(gains))
    return gains.mean(axis=0) > CHANCE_ERRORS * error


def _spread(importance) -> tuple[np.ndarray, np.ndarray]:
    """The spread of each row of importances, a normalized entropy: H(R_i / Σ_j R_ij) / log J.

    A difference of impurities that is 0 may round to a negative importance, which counts as 0.
    Importances far below single precision vanish when the scores, computed in double precision, are
    rounded to it.

    Args:
        importance: R_ij, [I, J].

    Returns:
        (the entropies [I], from 0 to 1, 0 for a row of zeros or if J is 1; Σ_j R_ij, [I]).
    """
    importance = np.maximum(np.float64(importance), 0.0)
    total = importance.sum(axis=1)
    p = importance / np.where(total > 0, total, 1.0)[:, None]
    entropy = -(p * np.log(np.where(p > 0, p, 1.0))).sum(axis=1)
    return np.clip(entropy / np.log(max(importance.shape[1], 2)), 0.0, 1.0), total


def _single(score) -> float:
    """Rounds a score, a scalar, to single precision."""
    return float(np.float32(score))


def disentanglement(importance) -> tuple[float, np.ndarray]:
    """The degree to which each dimension is important for only one factor.

    D = Σ_l ρ_l D_l,  D_l = 1 + Σ_f P_lf log_F P_lf,  P_lf = R_lf / Σ_f R_lf,
    ρ_l = Σ_f R_lf / Σ_lf R_lf

    Args:
        importance: R_lf, [L, F], finite; negative values count as 0.

    Returns:
        (D, a scalar, and D_l, [L]): 0 for a dimension that is important for no factor, and if all
            importances are 0; 1 if F is 1.

    Reference:
        Eastwood & Williams 2018, ICLR, section 2.
    """
    chex.assert_rank(importance, 2)
    spread, weight = _spread(importance)
    each = np.where(weight > 0, 1 - spread, 0.0)
    return _single(weight @ each / (weight.sum() or 1.0)), each


def completeness(importance) -> tuple[float, np.ndarray]:
    """The degree to which only one dimension is important for each factor.

    C = 1/F Σ_f C_f,  C_f = 1 + Σ_l Q_lf log_L Q_lf,  Q_lf = R_lf / Σ_l R_lf

    Args:
        importance: R_lf, [L, F], finite; negative values count as 0.

    Returns:
        (C, a scalar, and C_f, [F]): 0 for a factor without an important dimension; 1 if L is 1 and
            that dimension is important.

    Reference:
        Eastwood & Williams 2018, ICLR, section 2; Eastwood et al. 2023, arXiv 2210.00364 (the
        plain mean; disentanglement_lib weights factors by importance, which for trees is equal).
    """
    chex.assert_rank(importance, 2)
    spread, weight = _spread(np.transpose(importance))
    each = np.where(weight > 0, 1 - spread, 0.0)
    return _single(each.mean()), each


def trees(train, train_factors, test, test_factors, seed: int, *, num_trees: int = 100):
    """Gradient boosted trees of depth 3: the importance is the share of the impurity removed.

    Fitting takes about 25 ms per tree for 10,000 rows of 10 dimensions; each value of a factor with
    more than two values has its own `num_trees` trees.

    Args:
        train: codes, [N, L].
        train_factors: [N, F] integers, each with at least two values.
        test: [M, L].
        test_factors: [M, F].
        seed: seed for the order in which dimensions are tried, scalar.
        num_trees: number of trees for each value, scalar.

    Returns:
        `Predictions`; the importances for a factor sum to 1.

    Reference:
        Friedman 2001, Greedy function approximation; Locatello et al. 2019, arXiv 1811.12359.
    """
    from sklearn.ensemble import GradientBoostingClassifier

    def fit(target):
        model = GradientBoostingClassifier(n_estimators=num_trees, random_state=seed)
        model.fit(train, target)
        return model, model.feature_importances_

    return _classify(fit, train_factors, test, test_factors)


def logistic(train, train_factors, test, test_factors, seed: int, *, penalty: float = 0.002):
    """Multinomial logistic regression with an L1 penalty: the importance is Σ_k |w_lk|.

    min_w 1/N Σ_n −log p_w(v_n | z_n) + λ Σ_lk |w_lk|

    Args:
        train: codes, [N, L], standardized.
        train_factors: [N, F] integers, each with at least two values.
        test: [M, L], standardized in the same way.
        test_factors: [M, F].
        seed: seed for the order in which rows are visited, scalar.
        penalty: λ, a scalar.

    Returns:
        `Predictions`.

    Reference:
        Eastwood & Williams 2018, ICLR, section 2 (weights of a sparse linear predictor).
    """
    from sklearn.linear_model import LogisticRegression

    # before version 1.8 l1_ratio only works together with this name, which 1.8 deprecates
    is_named = LogisticRegression().l1_ratio is None
    elastic = {"penalty": "elasticnet"} if is_named else {}

    def fit(target):
        model = LogisticRegression(
            **elastic,
            solver="saga",
            l1_ratio=1.0,
            C=1 / (penalty * len(train)),
            tol=1e-3,
            max_iter=10_000,
            random_state=seed,
        )
        model.fit(train, target)
        return model, np.abs(model.coef_).sum(axis=0)

    return _classify(fit, train_factors, test, test_factors)


def _classify(fit, train_factors, test, test_factors):
    columns = []
    for target, truth in zip(train_factors.T, test_factors.T, strict=True):
        model, importance = fit(target)
        is_class = truth[:, None] == model.classes_[None]
        shares = (target[:, None] == model.classes_[None]).mean(axis=0)[None]
        # Brier score: the probability of a rare value is informative before it is ever predicted
        base, own = (
            np.square(p - is_class).sum(axis=1) for p in (shares, model.predict_proba(test))
        )
        columns.append((importance, np.float64(model.predict(test) != truth), base - own))
    importance, losses, gains = (np.stack(each, axis=1) for each in zip(*columns, strict=True))
    return Predictions(importance, losses, None, gains)


def lasso(train, train_factors, test, test_factors, seed: int, *, penalty: float = 0.02):
    """Linear regression with an L1 penalty: the importance is |w_lf|.

    min_w 1/2N Σ_n (v_nf − w_f · z_n)² + λ Σ_l |w_lf|, v is standardized, too

    Args:
        train: codes, [N, L], standardized.
        train_factors: [N, F] integers, taken as numbers, each with at least two values.
        test: [M, L], standardized in the same way.
        test_factors: [M, F].
        seed: not used: the solution is unique up to rounding.
        penalty: λ, a scalar.

    Returns:
        `Predictions`.

    Reference:
        Eastwood & Williams 2018, ICLR, section 2.
    """
    from sklearn.linear_model import Lasso

    del seed
    target, truth = _common.standardize(train_factors, test_factors)
    model = Lasso(alpha=penalty, fit_intercept=False).fit(train, target)
    weights = model.coef_.reshape(target.shape[1], -1)
    losses, scale = np.square(truth - test @ weights.T), np.square(truth)
    return Predictions(np.abs(weights).T, losses, scale, scale - losses)


_FITS = {"trees": trees, "lasso": lasso, "logistic": logistic}


def _informativeness(rows, losses, scale):
    """1 − error on the resampled rows, averaged over factors: a scalar."""
    error = jnp.mean(losses[rows], axis=0)
    base = jnp.mean(scale[rows], axis=0)
    return jnp.mean(1 - error / jnp.where(base > 0, base, 1.0))


def _root_informativeness(rows, losses, scale):
    error = jnp.mean(losses[rows], axis=0)
    base = jnp.mean(scale[rows], axis=0)
    return jnp.mean(1 - jnp.sqrt(error / jnp.where(base > 0, base, 1.0)))


def evaluate(
    codes,
    factors,
    key: jax.Array,
    *,
    num_train: int = 10_000,
    num_test: int = 5_000,
    predictors: Sequence[str] = PREDICTORS,
    num_trees: int = 100,
    lasso_penalty: float = 0.02,
    logistic_penalty: float = 0.002,
    num_bootstrap: int = NUM_BOOTSTRAP,
) -> _common.Result:
    """Disentanglement, completeness and informativeness, with each of several predictors.

    Factors that are constant in the training rows are left out. Informativeness increases with
    quality (the paper reports the error): the accuracy on test rows, or for lasso 1 − √(Σ e² / Σ (v
    − v̄)²), which may be below 0 by chance. It has a bootstrap standard error over the test rows
    with fixed predictors. Disentanglement and completeness have none, since that would need new
    fits. Codes are standardized on the training rows, so their scale does not matter.

    Unlike in the paper and in disentanglement_lib, a factor that is not predicted better than
    chance (`is_predicted`) has no importances. On an independent code, trees still find some
    importances, and an L1 penalty leaves one or two weights, which alone would score 1. If nothing
    is predicted, D and C are 0.

    Args:
        codes: posterior means, [N, L].
        factors: [N, F] integers.
        key: PRNG key, scalar.
        num_train: rows to train on, drawn without replacement.
        num_test: rows to test on, disjoint from those; if there are too few rows, all are used in
            this proportion.
        predictors: some of `PREDICTORS`; the scores of trees have no prefix.
        num_trees: number of trees for each value of a factor; they take most of the time.
        lasso_penalty: λ of the linear regression.
        logistic_penalty: λ of the logistic regression.
        num_bootstrap: resamples for the standard errors.

    Returns:
        `Result`: dci_disentanglement, dci_completeness, dci_informativeness, and the same with
            dci_lasso_… and dci_logistic_…; details importance [L, F] of each predictor, 0 for
            factors that are not predicted.

    Raises:
        DataError: a code is not finite, or no factor varies.
        UsageError: the shapes or types do not fit, a number is too small or a predictor unknown.

    Reference:
        Eastwood & Williams 2018, A framework for the quantitative evaluation of disentangled
        representations, ICLR, section 2; Locatello et al. 2019, arXiv 1811.12359 (trees).
    """
    _common.check_counts(num_train=num_train, num_test=num_test, num_trees=num_trees)
    for predictor in predictors:
        if predictor not in PREDICTORS:
            raise UsageError(f"predictor {predictor!r}: must be one of {', '.join(PREDICTORS)}")
    table = _common.check(codes, factors)
    rows_key, seed_key, bootstrap_key = jax.random.split(key, 3)
    train, test = _common.split_rows(rows_key, len(table.codes), num_train, num_test)
    varies = _common.varying(table.factors[train])
    values = table.factors[:, varies]
    inputs = _common.standardize(table.codes[train], table.codes[test])
    settings = {
        "trees": {"num_trees": num_trees},
        "lasso": {"penalty": lasso_penalty},
        "logistic": {"penalty": logistic_penalty},
    }
    scores, errors, details = {}, {}, {}
    for predictor in predictors:
        fitted = _FITS[predictor](
            inputs[0],
            values[train],
            inputs[1],
            values[test],
            _common.seed_of(seed_key),
            **settings[predictor],
        )
        importance = np.where(is_predicted(fitted.gains)[None], fitted.importance, 0.0)
        squared = fitted.scale is not None
        statistic = _root_informativeness if squared else _informativeness
        losses = jnp.float32(fitted.losses)
        scale = jnp.float32(fitted.scale) if squared else jnp.ones_like(losses)
        all_rows = jnp.arange(len(test))
        scores[_name(predictor, "disentanglement")] = disentanglement(importance)[0]
        scores[_name(predictor, "completeness")] = completeness(importance)[0]
        name = _name(predictor, "informativeness")
        scores[name] = float(statistic(all_rows, losses, scale))
        error = bootstrap(bootstrap_key, len(test), num_bootstrap, statistic, losses, scale)
        if error is not None:
            errors[name] = float(error)
        details[f"{predictor}_importance"] = importance
    return _common.Result(
        scores,
        errors,
        {"num_train": len(train), "num_test": len(test), "num_factors": int(varies.sum())},
        details,
    )
