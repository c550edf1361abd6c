"""Explicitness: how well a linear classifier reads each value of each factor from the code."""

from typing import NamedTuple

import chex
import jax
import numpy as np

from vae_jax.errors import DataError
from vae_jax.evaluation.disentanglement import _common

__all__ = ["DEFINITIONS", "RankStatistic", "area_under_curve", "evaluate"]

DEFINITIONS = {
    "explicitness": "area under the ROC curve of a linear classifier of each value of each factor"
    " from the whole code; mean; 0.5 to 1"
}
"""The meaning of each score, one line for a scalar."""


class RankStatistic(NamedTuple):
    """An area under the ROC curve, and the contribution of each example to its error.

    Args:
        area: P(s⁺ > s⁻) + ½ P(s⁺ = s⁻), a scalar.
        influence: [M]; the root of the sum of their squares is the standard error.
    """

    area: float
    influence: np.ndarray


def area_under_curve(scores, positive) -> RankStatistic:
    """The area under the ROC curve, with the terms of its variance.

    Args:
        scores: [M], higher means more likely positive.
        positive: [M] booleans, both values present.

    Returns:
        `RankStatistic`.

    Reference:
        DeLong, DeLong & Clarke-Pearson 1988, Comparing the areas under two or more correlated
        receiver operating characteristic curves, eq. 4-6.
    """
    from scipy.stats import rankdata

    chex.assert_rank([scores, positive], 1)
    chex.assert_equal_shape([scores, positive])
    scores, positive = np.asarray(scores), np.asarray(positive, bool)
    num_positive = positive.sum()
    num_negative = len(positive) - num_positive
    ranks = rankdata(scores)
    # the share of the other class that is below, or above, an example
    component = np.empty(len(scores))
    component[positive] = (ranks[positive] - rankdata(scores[positive])) / num_negative
    below = (ranks[~positive] - rankdata(scores[~positive])) / num_positive
    component[~positive] = 1 - below
    area = component[positive].mean()
    # s.e.² = Σ⁺ (V − A)² / (n⁺ (n⁺ − 1)) + the same over the negatives
    count = np.where(positive, num_positive, num_negative)
    influence = (component - area) / np.sqrt(count * np.maximum(count - 1.0, 1.0))
    return RankStatistic(float(area), influence)


def evaluate(
    codes,
    factors,
    key: jax.Array,
    *,
    num_train: int = 10_000,
    num_test: int = 5_000,
) -> _common.Result:
    """The explicitness: the area under the ROC curve, averaged over values, then over factors.

    A multinomial logistic regression with scikit-learn's L2 penalty (C = 1) on standardized codes
    gives the probability of each value, one against the rest. Chance is 0.5 (not rescaled to 0),
    with a sampling error in both directions. A value counts if it occurs in the training rows, and
    in the test rows together with others. The standard error is over the test rows, with fixed
    classifiers (DeLong's).

    Args:
        codes: posterior means, [N, L].
        factors: [N, F] integers.
        key: PRNG key, scalar.
        num_train: rows to train on, drawn without replacement.
        num_test: rows to test on, disjoint from those; if there are too few rows, all are used in
            this proportion.

    Returns:
        `Result`: explicitness; details area [F] of the factors that count.

    Raises:
        DataError: a code is not finite, or no factor varies in both parts.
        UsageError: the shapes or types do not fit, or a number is below 1.

    Reference:
        Ridgeway & Mozer 2018, arXiv 1802.05312, section 3; Locatello et al. 2019,
        arXiv 1811.12359 (multinomial).
    """
    from sklearn.linear_model import LogisticRegression

    _common.check_counts(num_train=num_train, num_test=num_test)
    table = _common.check(codes, factors)
    train, test = _common.split_rows(key, len(table.codes), num_train, num_test)
    varies = _common.varying(table.factors[train])
    inputs, test_inputs = _common.standardize(table.codes[train], table.codes[test])
    areas, influences, num_values = [], [], 0
    for factor in np.flatnonzero(varies):
        truth = table.factors[test, factor]
        classifier = LogisticRegression(max_iter=10_000)
        classifier.fit(inputs, table.factors[train, factor])
        probability = classifier.predict_proba(test_inputs)
        each = [
            area_under_curve(probability[:, place], truth == value)
            for place, value in enumerate(classifier.classes_)
            if 0 < (truth == value).sum() < len(truth)
        ]
        if each:
            areas.append(np.mean([one.area for one in each]))
            influences.append(np.mean([one.influence for one in each], axis=0))
            num_values += len(each)
    if not areas:
        raise DataError(
            f"factors: none takes two values in the {len(test)} rows to test on; encode more"
        )
    error = np.sqrt(np.sum(np.mean(influences, axis=0) ** 2))
    return _common.Result(
        {"explicitness": float(np.mean(areas))},
        {"explicitness": float(error)},
        {
            "num_train": len(train),
            "num_test": len(test),
            "num_factors": len(areas),
            "num_values": num_values,
        },
        {"area": np.array(areas)},
    )
