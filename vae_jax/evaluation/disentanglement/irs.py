"""The interventional robustness score (IRS): is a dimension stable while other factors change?"""

import functools
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from vae_jax.evaluation._shared import bootstrap, is_constant
from vae_jax.evaluation.disentanglement import _common

__all__ = ["DEFINITIONS", "Robustness", "evaluate", "robustness"]

DEFINITIONS = {
    "irs": "1 less a dimension's deviation while its best factor is fixed, over that of all data,"
    " 99 % quantiles both; weighted mean; 0 to 1. Figures of disentanglement_lib, over the maximum,"
    " are higher"
}
"""The meaning of each score, one line for a scalar."""


class Robustness(NamedTuple):
    """How far the dimensions move if one factor is fixed.

    Args:
        score: Σ_l w_l max_f R_lf / Σ_l w_l, a scalar; 0 if all dimensions are dead.
        matrix: R_lf = 1 − E_v[deviation given v_f = v] / w_l, [L, F]; 0 for a dead dimension.
        deviations: w_l, the quantile of |z_l − E z_l| over all data, [L].
    """

    score: jax.Array
    matrix: jax.Array
    deviations: jax.Array


def _deviation(codes, group, num_groups, quantile):
    """The quantile of |z − mean| in each group, averaged over groups of at least two: [N] to []."""
    ones = jnp.ones_like(codes)
    count = jax.ops.segment_sum(ones, group, num_groups)
    mean = jax.ops.segment_sum(codes, group, num_groups) / jnp.maximum(count, 1.0)
    sorted_group, distance = jax.lax.sort((group, jnp.abs(codes - mean[group])), num_keys=2)
    start = jnp.searchsorted(sorted_group, jnp.arange(num_groups))
    place = quantile * jnp.maximum(count - 1, 0.0)
    low = jnp.floor(place)

    def at(offset):
        return distance[jnp.minimum(start + offset.astype(jnp.int32), len(codes) - 1)]

    value = at(low) + (place - low) * (at(jnp.ceil(place)) - at(low))
    several = count > 1
    return _common.mean_over(value, several), jnp.any(several)


@functools.partial(jax.jit, static_argnames=("num_values",))
def robustness(
    codes: jax.Array, factors: jax.Array, *, num_values: int, quantile: float = 1.0
) -> Robustness:
    """The robustness of each dimension against changes of all factors but one.

    R_lf = 1 − E_v[Q(|z_l − E[z_l | v_f = v]| given v_f = v)] / Q(|z_l − E z_l|)

    Q is the quantile, 1 for the maximum of the paper. A value with a single example has no
    deviation and is left out; a factor with only such values gets 0.

    Args:
        codes: [N, L].
        factors: [N, F] integers in 0 … K − 1.
        num_values: K.
        quantile: in (0, 1], a scalar.

    Returns:
        `Robustness`.

    Reference:
        Suter et al. 2019, arXiv 1811.00007, definition 2 and section 4.
    """
    chex.assert_rank([codes, factors], 2)
    chex.assert_equal_shape_prefix([codes, factors], 1)
    constant = is_constant(codes)
    centred = jnp.where(constant[None], 0.0, codes - jnp.mean(codes, axis=0, keepdims=True))
    nobody = jnp.zeros(len(codes), factors.dtype)

    def one_dimension(column):
        whole, _ = _deviation(column, nobody, 1, quantile)

        def one_factor(group):
            within, known = _deviation(column, group, num_values, quantile)
            return jnp.where(known, within, whole)

        return whole, jax.lax.map(one_factor, factors.T)

    whole, within = jax.lax.map(one_dimension, centred.T)
    alive = whole > 0
    matrix = 1 - within / jnp.where(alive, whole, 1.0)[:, None]
    matrix = jnp.where(alive[:, None], matrix, 0.0)
    total = jnp.sum(whole)
    score = jnp.sum(whole * jnp.max(matrix, axis=1)) / jnp.where(total > 0, total, 1.0)
    return Robustness(score, matrix, whole)


@functools.cache
def _statistic(num_values):
    def statistic(rows, codes, factors, quantile):
        found = robustness(codes[rows], factors[rows], num_values=num_values, quantile=quantile)
        return found.score

    return statistic


def evaluate(
    codes,
    factors,
    key: jax.Array,
    *,
    num_points: int = 10_000,
    quantile: float = 0.99,
    num_bootstrap: int = 20,
) -> _common.Result:
    """The interventional robustness score of posterior means, with its bootstrap error.

    To intervene on a factor means to select the rows with its value. This is correct if the factors
    are independent, as on a grid. The quantile is used both within a value and over all data: an
    independent code scores about 0, with an upward bias that grows as the number of examples per
    value decreases.

    Most published numbers come from disentanglement_lib, which uses the 0.99 quantile within a
    value but the maximum over all data. This raises the score of any code with tails, for Gaussian
    noise from about 0 to about a third, so the two cannot be compared. The paper uses the maximum
    in both, which is quantile=1 here.

    Args:
        codes: posterior means, [N, L].
        factors: [N, F] integers.
        key: PRNG key, scalar.
        num_points: rows drawn without replacement; all if there are fewer.
        quantile: in (0, 1]; 1 is the maximum.
        num_bootstrap: resamples of the rows for the standard error; fewer than for other metrics,
            because each sorts the codes of every dimension for every factor.

    Returns:
        `Result`: irs; details matrix [L, F] of the factors that vary, deviations [L] in units of z.

    Raises:
        DataError: a code is not finite, or no factor varies.
        UsageError: the shapes or types do not fit, or a number is out of range.

    Reference:
        Suter et al. 2019, arXiv 1811.00007, definition 2 and section 4.
    """
    _common.check_counts(num_points=num_points)
    _common.check_share(quantile=quantile)
    table = _common.check(codes, factors)
    rows_key, bootstrap_key = jax.random.split(key)
    (rows,) = _common.split_rows(rows_key, len(table.codes), num_points)
    varies = _common.varying(table.factors[rows])
    values = table.factors[np.ix_(rows, np.flatnonzero(varies))]
    num_values = int(table.sizes[varies].max())
    drawn = jnp.asarray(table.codes[rows])
    found = robustness(drawn, values, num_values=num_values, quantile=jnp.float32(quantile))
    error = bootstrap(
        bootstrap_key,
        len(rows),
        num_bootstrap,
        _statistic(num_values),
        drawn,
        values,
        jnp.float32(quantile),
    )
    return _common.Result(
        {"irs": float(found.score)},
        {} if error is None else {"irs": float(error)},
        {
            "num_points": len(rows),
            "num_factors": int(varies.sum()),
            "num_dimensions": int((found.deviations > 0).sum()),
        },
        {"matrix": np.asarray(found.matrix), "deviations": np.asarray(found.deviations)},
    )
