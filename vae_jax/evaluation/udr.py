"""Unsupervised disentanglement ranking (UDR): which models of a sweep agree with the others."""

from collections.abc import Sequence
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from vae_jax.errors import UsageError
from vae_jax.evaluation._shared import bootstrap
from vae_jax.evaluation.disentanglement import _common

__all__ = [
    "DEFINITIONS",
    "INFORMATIVE_RATE",
    "Ranking",
    "evaluate",
    "lasso_similarity",
    "relative_strength",
    "spearman_similarity",
]

DEFINITIONS = {
    "udr": "median over the other models of how nearly each informative dimension of one is one"
    " dimension of the other; 0 to 1, with lasso 0 to 1 - penalty"
}
"""The meaning of the score, one line for a scalar."""

INFORMATIVE_RATE = 0.01
"""A dimension is informative if its mean rate exceeds this, a scalar, in nats.
Reference: Duan et al. 2020, arXiv 1905.12614, section 4."""


class Ranking(NamedTuple):
    """The agreement of M models.

    Args:
        scores: score of each model, [M]: the median of its column.
        pairwise: [M, M], row i and column j: the strength of the similarity between the codes of i
            and of j; with lasso, codes of j predicted from those of i; 0 on the diagonal.
        num_informative: number of informative dimensions of each model, [M].
        num_points: number of examples used, a scalar.
        standard_errors: bootstrap standard errors of the scores, [M], over the other models, with
            the model itself fixed; NaN if there are fewer than three others.
    """

    scores: np.ndarray
    pairwise: np.ndarray
    num_informative: np.ndarray
    num_points: int
    standard_errors: np.ndarray


def spearman_similarity(first, second) -> np.ndarray:
    """The absolute rank correlation between each dimension of one model and each of another.

    Args:
        first: [N, L].
        second: [N, M].

    Returns:
        [L, M] in 0 … 1; 0 if a dimension is constant.

    Reference:
        Duan et al. 2020, arXiv 1905.12614, section 4.
    """
    from scipy.stats import rankdata

    chex.assert_rank([first, second], 2)
    chex.assert_equal_shape_prefix([first, second], 1)
    ranks = [_common.standardize(rankdata(np.asarray(x), axis=0))[0] for x in (first, second)]
    return np.minimum(np.abs(ranks[0].T @ ranks[1]) / len(ranks[0]), 1.0)


def lasso_similarity(first, second, *, penalty: float = 0.1) -> np.ndarray:
    """The absolute weights that predict one model's codes from another's, both standardized.

    min_W 1/2N Σ_n ‖z'_n − Wᵀ z_n‖² + λ Σ_lm |W_lm|

    Args:
        first: z, [N, L].
        second: z', [N, M].
        penalty: λ, a scalar.

    Returns:
        W|, [L, M]; 1 − λ if a dimension is a copy; 0 if one is constant.

    Reference:
        Duan et al. 2020, arXiv 1905.12614, section 4.
    """
    from sklearn.linear_model import Lasso

    chex.assert_rank([first, second], 2)
    chex.assert_equal_shape_prefix([first, second], 1)
    (first,), (second,) = (_common.standardize(np.asarray(x)) for x in (first, second))
    weights = np.zeros((first.shape[1], second.shape[1]), first.dtype)
    varies = second.any(axis=0)
    if varies.any():
        model = Lasso(alpha=penalty, fit_intercept=False).fit(first, second[:, varies])
        weights[:, varies] = np.abs(model.coef_.reshape(-1, first.shape[1])).T
    return weights


@jax.jit
def relative_strength(similarity: jax.Array, rows: jax.Array, columns: jax.Array) -> jax.Array:
    """How close each informative dimension of two models is to a single dimension of the other.

    1 / (d_a + d_b) (Σ_b max_a R_ab² / Σ_a R_ab + Σ_a max_b R_ab² / Σ_b R_ab)

    Args:
        similarity: R_ab >= 0, [L, M].
        rows: the informative dimensions of one model, [L] booleans.
        columns: those of the other, [M] booleans.

    Returns:
        A scalar in 0 … max R; 0 if no dimension is informative.

    Reference:
        Duan et al. 2020, arXiv 1905.12614, eq. 2.
    """
    chex.assert_rank([similarity, rows, columns], [2, 1, 1])
    chex.assert_shape(similarity, (len(rows), len(columns)))
    kept = jnp.where(rows[:, None] & columns[None, :], similarity, 0.0)

    def strengths(axis):
        total = jnp.sum(kept, axis=axis)
        return jnp.sum(jnp.square(jnp.max(kept, axis=axis)) / jnp.where(total > 0, total, 1.0))

    count = jnp.sum(rows, dtype=jnp.float32) + jnp.sum(columns, dtype=jnp.float32)
    return (strengths(0) + strengths(1)) / jnp.maximum(count, 1.0)


def evaluate(
    codes: Sequence,
    key: jax.Array,
    *,
    rates: Sequence | None = None,
    similarity: str = "lasso",
    penalty: float = 0.1,
    num_points: int = 10_000,
) -> Ranking:
    """Ranks models of a sweep by their agreement with the others; needs no factors.

    UDR_i = median_{j ≠ i} of `relative_strength` of their similarity. Copies of one model, in any
    order and with any signs, score exactly 1 − λ with lasso; with Spearman they score 1 if the
    dimensions of the model are uncorrelated, otherwise less. The score uses M − 1 similarities: use
    at least five models (the minimum in the paper).

    Args:
        codes: posterior means of the same N examples by each model, M arrays [N, L_m].
        key: PRNG key, scalar, for the choice of examples.
        rates: mean rate of each dimension of each model in nats, M arrays [L_m]; dimensions with a
            rate up to `INFORMATIVE_RATE` are ignored. None ignores constant dimensions only.
        similarity: "lasso" or "spearman".
        penalty: λ of the lasso.
        num_points: examples drawn without replacement; all if there are fewer.

    Returns:
        `Ranking`.

    Raises:
        DataError: a code is not finite.
        UsageError: there are fewer than two models, or their shapes or the settings do not fit.

    Reference:
        Duan et al. 2020, arXiv 1905.12614, section 4; the direction of the regression is that of
            disentanglement_lib.
    """
    _common.check_counts(num_points=num_points)
    if similarity not in ("lasso", "spearman"):
        raise UsageError(f"similarity={similarity!r}: must be lasso or spearman")
    if len(codes) < 2:
        raise UsageError(f"codes of {len(codes)} models: must be of at least 2, better 5")
    codes = [_common.check_codes(each, f"codes of model {i}") for i, each in enumerate(codes)]
    if len({len(each) for each in codes}) > 1:
        raise UsageError(
            f"codes of {', '.join(str(len(each)) for each in codes)} rows: must be of the same"
            " examples"
        )
    (rows,) = _common.split_rows(key, len(codes[0]), num_points)
    codes = [each[rows] for each in codes]
    informative = [np.ptp(each, axis=0) > 0 for each in codes]
    if rates is not None:
        rates = [np.asarray(each) for each in rates]
        shapes = [each.shape for each in rates], [each.shape[1:] for each in codes]
        if shapes[0] != shapes[1]:
            raise UsageError(f"rates of shapes {shapes[0]}: must be {shapes[1]}, as the codes")
        informative = [
            alive & (rate > INFORMATIVE_RATE)
            for alive, rate in zip(informative, rates, strict=True)
        ]
    # dimensions that are not informative predict nothing
    codes = [np.where(kept[None], each, 0) for each, kept in zip(codes, informative, strict=True)]

    def strength(i, j):
        if similarity == "lasso":
            matrix = lasso_similarity(codes[i], codes[j], penalty=penalty)
        else:
            matrix = spearman_similarity(codes[i], codes[j])
        return float(relative_strength(jnp.float32(matrix), informative[i], informative[j]))

    count = len(codes)
    pairwise = np.array(
        [[strength(i, j) if i != j else 0.0 for j in range(count)] for i in range(count)]
    )
    others = ~np.eye(count, dtype=bool)
    columns = np.stack([pairwise[others[:, j], j] for j in range(count)], axis=1)
    return Ranking(
        np.median(columns, axis=0),
        pairwise,
        np.array([kept.sum() for kept in informative]),
        len(rows),
        _error_of_median(columns, key),
    )


def _error_of_median(columns: np.ndarray, key: jax.Array) -> np.ndarray:
    """The bootstrap standard error of the median of each column of [M − 1, M]: [M]."""
    if len(columns) < 3:
        return np.full(columns.shape[1], np.nan)
    return np.asarray(bootstrap(key, len(columns), 1000, _medians, jnp.float32(columns)))


def _medians(rows, columns):
    return jnp.median(columns[rows], axis=0)
