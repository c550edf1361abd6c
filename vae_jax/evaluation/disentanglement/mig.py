"""The mutual information gap (MIG): is each factor in one latent dimension and in no other?"""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np

from vae_jax.evaluation._shared import NUM_BOOTSTRAP, bootstrap
from vae_jax.evaluation.disentanglement import _common, _information

__all__ = ["DEFINITIONS", "evaluate", "gaps"]

DEFINITIONS = {
    "mig": "information about a factor in its best dimension less that in the second best, over"
    " the factor's entropy; mean; 0 to 1, less if values outnumber the bins or codes are crowded"
}
"""The meaning of each score, one line for a scalar."""


@jax.jit
def gaps(information: jax.Array, entropy: jax.Array) -> jax.Array:
    """The normalized gap of each factor: (I(z_(1); v) − I(z_(2); v)) / H(v).

    Args:
        information: I(z_l; v_f), [L, F], in nats; with one dimension the second best is 0.
        entropy: H(v_f), [F], in nats.

    Returns:
        [F] in 0 … 1; 0 for a factor with one value.

    Reference:
        Chen et al. 2018, arXiv 1802.04942, eq. 6.
    """
    chex.assert_rank([information, entropy], [2, 1])
    chex.assert_axis_dimension(information, 1, len(entropy))
    varies = entropy > 0
    gap = _common.gap(information, jnp.zeros_like(entropy))
    return jnp.where(varies, gap / jnp.where(varies, entropy, 1.0), 0.0)


@functools.cache
def _statistic(num_bins, num_values):
    def statistic(rows, bins, factors, counted):
        information, entropy = _information.measure(
            bins[rows], factors[rows], num_bins=num_bins, num_values=num_values
        )
        return _common.mean_over(gaps(information, entropy), counted)

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
    """The mutual information gap of posterior means from a histogram, with its bootstrap error.

    MIG = 1/F Σ_f (I(z_(1); v_f) − I(z_(2); v_f)) / H(v_f), a mean over the factors that vary.
    The information is that of the histogram. It is biased up by about (B − 1)(K − 1) / 2N in every
    dimension, so the gap of an independent code is about this large. A constant dimension has no
    information. For a code of one dimension the second best is 0. A factor with more values than
    bins cannot reach 1. Bins have equal width: a single outlier moves all other codes into one bin,
    and the dimension loses its information; num_crowded counts such dimensions.

    Args:
        codes: posterior means, [N, L].
        factors: [N, F] integers, all factors, including the shape of the object.
        key: PRNG key, scalar.
        num_points: rows drawn without replacement; all if there are fewer.
        num_bins: B, bins per dimension, from its smallest to its largest code.
        num_bootstrap: resamples of the rows, with fixed bins, for the standard error.

    Returns:
        `Result`: mig; details information [L, F], entropy [F] in nats, gap [F].

    Raises:
        DataError: a code is not finite, or no factor varies.
        UsageError: the shapes or types do not fit, or a number is below 1.

    Reference:
        Chen et al. 2018, arXiv 1802.04942, eq. 6; Locatello et al. 2019, arXiv 1811.12359 (bins).
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
    each = gaps(information, entropy)
    error = bootstrap(
        bootstrap_key,
        len(rows),
        num_bootstrap,
        _statistic(num_bins, num_values),
        bins,
        values,
        counted,
    )
    return _common.Result(
        {"mig": float(_common.mean_over(each, counted))},
        {} if error is None else {"mig": float(error)},
        {
            "num_points": len(rows),
            "num_factors": int(counted.sum()),
            "num_crowded": _information.num_crowded(bins),
        },
        {
            "information": np.asarray(information),
            "entropy": np.asarray(entropy),
            "gap": np.asarray(each),
        },
    )
