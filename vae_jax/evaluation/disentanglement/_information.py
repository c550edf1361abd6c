"""Mutual information between binned codes and factors, from counts."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np

__all__ = [
    "contingency",
    "discretize",
    "entropy",
    "measure",
    "mutual_information",
    "num_crowded",
]

_ROWS_AT_A_TIME = 4096


def discretize(codes: np.ndarray, num_bins: int = 20) -> np.ndarray:
    """The bin of each code, in a histogram of equal-width bins from its minimum to its maximum.

    ⌊B (z − min z) / (max z − min z)⌋; the maximum is in the last bin.

    Args:
        codes: [N, L].
        num_bins: B >= 1, a scalar.

    Returns:
        [N, L] int32 in 0 … B − 1; 0 if a dimension is constant.

    Reference:
        Locatello et al. 2019, arXiv 1811.12359, appendix C (20 bins).
    """
    chex.assert_rank(codes, 2)
    codes = np.float64(codes)
    low = codes.min(axis=0)
    span = codes.max(axis=0) - low
    share = (codes - low) / np.where(span > 0, span, 1.0)
    return np.minimum((share * num_bins).astype(np.int32), num_bins - 1)


def num_crowded(bins: np.ndarray, share: float = 0.9) -> int:
    """The number of dimensions with more than a share (a scalar) of their rows in one bin.

    Args:
        bins: [N, L] integers; a constant dimension, with a single bin, does not count.

    Returns:
        A scalar.
    """
    chex.assert_rank(bins, 2)
    fullest = np.array([np.bincount(column).max() for column in np.asarray(bins).T])
    return int(np.sum((fullest > share * len(bins)) & (np.ptp(bins, axis=0) > 0)))


@functools.partial(jax.jit, static_argnames=("num_bins", "num_values"))
def contingency(
    bins: jax.Array, factors: jax.Array, *, num_bins: int, num_values: int
) -> jax.Array:
    """Counts how often each bin of each dimension occurs with each value of each factor.

    Rows are processed a few thousand at a time: the memory does not grow with N.

    Args:
        bins: [N, L] integers in 0 … B − 1.
        factors: [N, F] integers in 0 … K − 1.
        num_bins: B.
        num_values: K, the largest number of values of a factor.

    Returns:
        Counts, [L, F, B, K] int32.
    """
    chex.assert_rank([bins, factors], 2)
    chex.assert_equal_shape_prefix([bins, factors], 1)
    num_rows, size = len(bins), min(len(bins), _ROWS_AT_A_TIME)
    num_blocks = -(-num_rows // size)

    def add(total, start):
        rows = start + jnp.arange(size)
        # padding rows of the last block are in no bin
        bin_ = jnp.where((rows < num_rows)[:, None], bins[jnp.minimum(rows, num_rows - 1)], -1)
        value = factors[jnp.minimum(rows, num_rows - 1)]
        counts = jnp.einsum(
            "nlb,nfk->lfbk",
            jax.nn.one_hot(bin_, num_bins),
            jax.nn.one_hot(value, num_values),
            precision=jax.lax.Precision.HIGHEST,
        )
        # float32 counts exactly within a block
        return total + counts.astype(jnp.int32), None

    shape = (bins.shape[1], factors.shape[1], num_bins, num_values)
    total = jnp.zeros(shape, jnp.int32)
    return jax.lax.scan(add, total, size * jnp.arange(num_blocks))[0]


@jax.jit
def entropy(counts: jax.Array) -> jax.Array:
    """The entropy of the empirical distribution: −Σ_k p_k log p_k.

    Args:
        counts: [..., K], not all 0.

    Returns:
        [...] in nats.
    """
    total = jnp.sum(counts, axis=-1, keepdims=True)
    p = counts / total
    # p may round below 1 if there is only one value
    return -jnp.sum(jnp.where(counts < total, jax.scipy.special.xlogy(p, p), 0.0), axis=-1)


@jax.jit
def mutual_information(counts: jax.Array) -> jax.Array:
    """The mutual information of the empirical joint distribution, which is biased up.

    I = Σ_bk p_bk log(p_bk / (p_b p_k)),  p = n / N

    For independent variables its mean is about (B − 1)(K − 1) / 2N.

    Args:
        counts: [..., B, K], not all 0.

    Returns:
        [...] in nats, >= 0.

    Reference:
        Miller 1955, Note on the bias of information estimates (the bias).
    """
    total = counts.sum((-2, -1), keepdims=True)
    in_bin, of_value = counts.sum(-1, keepdims=True), counts.sum(-2, keepdims=True)
    # if one bin or one value has all the mass, the logarithm is 0, but a quotient may round
    counted = (counts > 0) & (in_bin < total) & (of_value < total)
    ratio = counts / jnp.maximum(of_value, 1) * (total / jnp.maximum(in_bin, 1))
    terms = counts / total * jnp.log(jnp.where(counted, ratio, 1.0))
    return jnp.maximum(jnp.sum(terms, axis=(-2, -1)), 0.0)


@functools.partial(jax.jit, static_argnames=("num_bins", "num_values"))
def measure(
    bins: jax.Array, factors: jax.Array, *, num_bins: int, num_values: int
) -> tuple[jax.Array, jax.Array]:
    """The information of each dimension about each factor, and the entropy of the factors.

    Args:
        bins: [N, L] integers in 0 … B − 1.
        factors: [N, F] integers in 0 … K − 1.
        num_bins: B.
        num_values: K.

    Returns:
        (I(z_l; v_f) [L, F], H(v_f) [F]), in nats.
    """
    counts = contingency(bins, factors, num_bins=num_bins, num_values=num_values)
    return mutual_information(counts), entropy(counts[0].sum(axis=-2))
