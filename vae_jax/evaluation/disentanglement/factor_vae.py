"""The FactorVAE score: how well the least varying dimension predicts the fixed factor."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np

from vae_jax.evaluation.disentanglement import _common, _groups

__all__ = ["DEFINITIONS", "evaluate", "least_varying", "majority_vote", "variances"]

DEFINITIONS = {
    "factor_vae": "accuracy of telling the fixed factor of a batch from the dimension of least"
    " relative variance, by majority vote; 1 / factors to 1"
}
"""The meaning of each score, one line for a scalar."""


@jax.jit
def variances(groups: jax.Array) -> jax.Array:
    """The unbiased variance of each dimension within each group: [G, B, L] to [G, L]; B >= 2."""
    chex.assert_rank(groups, 3)
    return jnp.var(groups, axis=1, ddof=1)


@jax.jit
def least_varying(within: jax.Array, overall: jax.Array, active: jax.Array) -> jax.Array:
    """The dimension with the smallest variance within a group, relative to that over all data.

    argmin_l s²_l(group) / s²_l

    Args:
        within: s²_l(group), [G, L].
        overall: s²_l, [L].
        active: the dimensions that may be chosen, [L] booleans.

    Returns:
        [G] integers; the first one in a tie; 0 if no dimension may be chosen.

    Reference:
        Kim & Mnih 2018, arXiv 1802.05983, section 4.
    """
    chex.assert_rank([within, overall, active], [2, 1, 1])
    chex.assert_axis_dimension(within, 1, len(overall))
    ratio = within / jnp.where(overall > 0, overall, 1.0)[None]
    return jnp.argmin(jnp.where(active[None], ratio, jnp.inf), axis=1)


@functools.partial(jax.jit, static_argnames=("num_dimensions", "num_factors"))
def majority_vote(
    train_dimension,
    train_fixed,
    test_dimension,
    test_fixed,
    *,
    num_dimensions: int,
    num_factors: int,
) -> tuple[jax.Array, jax.Array]:
    """The test groups that are correct if each dimension predicts its most frequent factor.

    Args:
        train_dimension: the chosen dimension of each training group, [G].
        train_fixed: the fixed factor of each training group, [G].
        test_dimension: the chosen dimension of each test group, [H].
        test_fixed: the fixed factor of each test group, [H].
        num_dimensions: L.
        num_factors: F.

    Returns:
        (correct [H] booleans, votes [L, F] of the training groups).

    Reference:
        Kim & Mnih 2018, arXiv 1802.05983, section 4.
    """
    chex.assert_rank([train_dimension, train_fixed, test_dimension, test_fixed], 1)
    chex.assert_equal_shape([train_dimension, train_fixed])
    chex.assert_equal_shape([test_dimension, test_fixed])
    votes = jnp.zeros((num_dimensions, num_factors), jnp.int32)
    votes = votes.at[train_dimension, train_fixed].add(1)
    return jnp.argmax(votes, axis=1)[test_dimension] == test_fixed, votes


def evaluate(
    codes,
    factors,
    key: jax.Array,
    *,
    num_train: int = 10_000,
    num_test: int = 5_000,
    num_variance: int = 10_000,
    batch_size: int = 64,
    prune_deviation: float = 0.05,
) -> _common.Result:
    """The FactorVAE score of a table of codes, with groups drawn from its rows.

    The standard error is that of an accuracy over the test groups, √(a (1 − a) / H). Chance is 1 /
    F. This is also the score of a code without active dimensions, or independent of the factors.

    Args:
        codes: posterior means of all rows, [N, L]: the more of the grid, the better.
        factors: [N, F] integers.
        key: PRNG key, scalar.
        num_train: G, groups that vote.
        num_test: H, groups to measure the accuracy on.
        num_variance: rows for the variance over all data; all if there are fewer.
        batch_size: B >= 2, rows per group.
        prune_deviation: a dimension is active if the standard deviation of its codes is at least
            this and not 0, in units of z.

    Returns:
        `Result`: factor_vae; details votes [L, F].

    Raises:
        DataError: a code is not finite, or no factor varies.
        UsageError: the shapes or types do not fit, or a number is too small.

    Reference:
        Kim & Mnih 2018, arXiv 1802.05983, section 4; Locatello et al. 2019, arXiv 1811.12359.
    """
    _common.check_counts(num_train=num_train, num_test=num_test)
    # a variance needs two rows
    _common.check_counts(**{"batch_size - 1": batch_size - 1, "num_variance - 1": num_variance - 1})
    table = _common.check(codes, factors)
    rows_key, groups_key = jax.random.split(key)
    (rows,) = _common.split_rows(rows_key, len(table.codes), num_variance)
    # centered and scaled, so that float32 is precise
    spread = np.var(table.codes[rows], axis=0, ddof=1, dtype=np.float64)
    (scaled,) = _common.standardize(table.codes)
    overall = variances(jnp.float32(scaled[rows])[None])[0]
    active = (spread > 0) & (np.sqrt(spread) >= prune_deviation)
    groups = _groups.sample_groups(groups_key, table.factors, num_train + num_test, batch_size)
    within = _groups.map_rows(variances, jnp.float32(scaled), groups.rows)
    dimension = least_varying(within, overall, active)
    correct, votes = majority_vote(
        dimension[:num_train],
        groups.fixed[:num_train],
        dimension[num_train:],
        groups.fixed[num_train:],
        num_dimensions=table.codes.shape[1],
        num_factors=table.factors.shape[1],
    )
    accuracy = float(np.mean(correct))
    return _common.Result(
        {"factor_vae": accuracy},
        {"factor_vae": (accuracy * (1 - accuracy) / num_test) ** 0.5},
        {
            "num_train": num_train,
            "num_test": num_test,
            "num_variance": len(rows),
            "batch_size": batch_size,
            "num_factors": int((table.sizes > 1).sum()),
            "num_dimensions": int(active.sum()),
        },
        {"votes": np.asarray(votes)},
    )
