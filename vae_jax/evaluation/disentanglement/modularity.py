"""Modularity: does each latent dimension have information about only one factor?"""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np

from vae_jax.evaluation._shared import NUM_BOOTSTRAP, bootstrap
from vae_jax.evaluation.disentanglement import _common, _information

__all__ = ["DEFINITIONS", "deviations", "evaluate"]

DEFINITIONS = {
    "modularity": "1 less the squared information of a dimension about all factors but its best,"
    " relative to the best; mean over live dimensions (disentanglement_lib: dead ones count as 0);"
    " 0 to 1, of noise above 0"
}
"""The meaning of each score, one line for a scalar."""


@jax.jit
def deviations(information: jax.Array, counted: jax.Array) -> jax.Array:
    """How far each dimension is from having information about only one factor.

    δ_l = Σ_{f ≠ f*} I_lf² / (I_lf*² (F − 1)),  f* = argmax_f I_lf

    Args:
        information: I(z_l; v_f), [L, F], in any unit.
        counted: the factors that vary, [F] booleans; F is their number.

    Returns:
        [L] in 0 … 1; 0 for a dimension without information, or if F is 1.

    Reference:
        Ridgeway & Mozer 2018, arXiv 1802.05312, section 3.
    """
    chex.assert_rank([information, counted], [2, 1])
    chex.assert_axis_dimension(information, 1, len(counted))
    information = jnp.where(counted[None], information, 0.0)
    best = jnp.max(information, axis=1)
    # divide by the maximum first: squares of small numbers vanish
    relative = information / jnp.where(best > 0, best, 1.0)[:, None]
    others = jnp.sum(counted, dtype=jnp.float32) - 1
    total = jnp.sum(jnp.square(relative), axis=1) - 1
    return jnp.where((best > 0) & (others > 0), total / jnp.maximum(others, 1.0), 0.0)


@jax.jit
def _score(information, counted):
    knows = jnp.max(jnp.where(counted[None], information, 0.0), axis=1) > 0
    return _common.mean_over(1 - deviations(information, counted), knows)


@functools.cache
def _statistic(num_bins, num_values):
    def statistic(rows, bins, factors, counted):
        information, _ = _information.measure(
            bins[rows], factors[rows], num_bins=num_bins, num_values=num_values
        )
        return _score(information, counted)

    return statistic


def evaluate(
    codes,
    factors,
    key: jax.Array,
    *,
    num_points: int = 10_000,
    num_bins: int = 20,
    num_bootstrap: int = NUM_BOOTSTRAP,
) -> _common.Result:
    """The modularity of posterior means from a histogram, with its bootstrap error.

    1/L Σ_l (1 − δ_l), a mean over the dimensions that are not constant: dead dimensions do not
    count. (disentanglement_lib counts them as 0: its number is ours times num_dimensions over L.)
    It is scale-free in the information, so it ignores how much information a dimension has. Noise
    scores between 0 and 1, because the histogram's bias (B − 1)(K − 1) / 2N grows with the number K
    of a factor's values. Read it together with the explicitness. It is 0 if all dimensions are
    dead. Bins have equal width: num_crowded counts the dimensions whose codes an outlier moves into
    one bin.

    Args:
        codes: posterior means, [N, L].
        factors: [N, F] integers.
        key: PRNG key, scalar.
        num_points: rows drawn without replacement; all if there are fewer.
        num_bins: B, bins per dimension, from its smallest to its largest code.
        num_bootstrap: resamples of the rows, with fixed bins, for the standard error.

    Returns:
        `Result`: modularity; details information [L, F] in nats, deviation [L].

    Raises:
        DataError: a code is not finite, or no factor varies.
        UsageError: the shapes or types do not fit, or a number is below 1.

    Reference:
        Ridgeway & Mozer 2018, arXiv 1802.05312, section 3.
    """
    _common.check_counts(num_points=num_points, num_bins=num_bins)
    table = _common.check(codes, factors)
    rows_key, bootstrap_key = jax.random.split(key)
    (rows,) = _common.split_rows(rows_key, len(table.codes), num_points)
    bins = _information.discretize(table.codes[rows], num_bins)
    values = table.factors[rows]
    num_values = int(table.sizes.max())
    information, entropy = _information.measure(
        bins, values, num_bins=num_bins, num_values=num_values
    )
    counted = entropy > 0
    error = bootstrap(
        bootstrap_key,
        len(rows),
        num_bootstrap,
        _statistic(num_bins, num_values),
        bins,
        values,
        counted,
    )
    knows = np.asarray(information)[:, np.asarray(counted)].max(axis=1, initial=0) > 0
    return _common.Result(
        {"modularity": float(_score(information, counted))},
        {} if error is None else {"modularity": float(error)},
        {
            "num_points": len(rows),
            "num_factors": int(counted.sum()),
            "num_dimensions": int(knows.sum()),
            "num_crowded": _information.num_crowded(bins),
        },
        {
            "information": np.asarray(information),
            "deviation": np.asarray(deviations(information, counted)),
        },
    )
