"""Kernel distances between two samples, such as the aggregate posterior and the prior."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from vae_jax.blocks import by_blocks
from vae_jax.errors import UsageError
from vae_jax.losses import KERNELS

__all__ = ["Discrepancy", "kernel_distance", "maximum_mean_discrepancy"]


class Discrepancy(NamedTuple):
    """An estimate of the squared maximum mean discrepancy, scalars.

    Args:
        value: unbiased, so it is often negative if the distributions are equal.
        standard_error: standard error of that estimate.
    """

    value: jax.Array
    standard_error: jax.Array


@functools.partial(jax.jit, static_argnames=("kernel", "num_rows"))
def maximum_mean_discrepancy(
    x: jax.Array,
    y: jax.Array,
    *,
    kernel: str = "imq",
    scales: jax.Array | None = None,
    num_rows: int = 256,
) -> Discrepancy:
    """The unbiased squared maximum mean discrepancy of two samples of the same size.

    MMD² = 1/(n(n − 1)) Σ_{i≠j} h_ij,  h_ij = k(x_i, x_j) + k(y_i, y_j) − k(x_i, y_j) − k(x_j, y_i)

    The standard error is that of a U-statistic of degree 2 with both terms of its variance, so it
    also holds if the distributions are equal and the first term vanishes:

    Var = 4(n − 2)/(n(n − 1)) Var_i(E_j h_ij) + 2/(n(n − 1)) Var(h_ij)

    Args:
        x, y: independent samples, [n, L] each, n >= 3.
        kernel: one of `losses.KERNELS`. The squared width is C = 2L, the mean ‖a − b‖² of two draws
            from N(0, I): fixed, so that models can be compared.
        scales: [M], factors of C; the kernels of all of them are summed; [1] by default.
        num_rows: values of i at a time; num_rows · n numbers are held in memory.

    Returns:
        `Discrepancy`.

    Reference:
        Gretton et al. 2012, A kernel two-sample test, JMLR 13, lemma 6; Hoeffding 1948, section 5;
        Tolstikhin et al. 2018, arXiv 1711.01558, section 4 (kernel and width).
    """
    _require_pairs(x, y)
    if kernel not in KERNELS:
        raise UsageError(f"kernel={kernel!r}: must be one of {', '.join(KERNELS)}")
    widths = 2.0 * x.shape[1] * (jnp.ones(1) if scales is None else jnp.asarray(scales))
    # distances do not change under a shift, but rounding does
    centre = jnp.mean(jnp.concatenate([x, y]), axis=0, keepdims=True)

    def similarity(a, b):
        """k(a, b_j): a [L], b [n, L] to [n]."""
        squares = jnp.sum(jnp.square(a[None, :] - b), axis=1)
        return sum(KERNELS[kernel](squares, widths[m]) for m in range(len(widths)))

    return _estimate(similarity, x - centre, y - centre, num_rows)


@functools.partial(jax.jit, static_argnames=("num_rows",))
def kernel_distance(x: jax.Array, y: jax.Array, *, num_rows: int = 64) -> Discrepancy:
    """The squared maximum mean discrepancy with the kernel (aᵀb / D + 1)³, unbiased.

    Of features of the Inception network it is called KID. The kernel depends on the origin, so
    both samples must be features of the same function.

    Args:
        x, y: independent samples, [n, D] each, n >= 3.
        num_rows: rows at a time; num_rows · n numbers are held in memory.

    Returns:
        `Discrepancy`; see `maximum_mean_discrepancy` for the standard error.

    Reference:
        Bińkowski et al. 2018, Demystifying MMD GANs, arXiv 1801.01401, section 4.
    """
    _require_pairs(x, y)

    def similarity(a, b):
        """k(a, b_j): a [D], b [n, D] to [n]."""
        inner = jnp.matmul(b, a, precision="highest")
        return (inner / len(a) + 1.0) ** 3

    return _estimate(similarity, x, y, num_rows)


def _require_pairs(x: jax.Array, y: jax.Array) -> None:
    """Raises UsageError unless there are two samples [n, L] of n >= 3."""
    chex.assert_rank([x, y], 2)
    chex.assert_equal_shape([x, y])
    if len(x) < 3:
        raise UsageError(f"{len(x)} samples of each: must be at least 3 for a standard error")


def _estimate(similarity: Callable, x: jax.Array, y: jax.Array, num_rows: int) -> Discrepancy:
    """The U-statistic of a kernel: (a [L], b [n, L]) to [n]; of two samples [n, L]."""
    num = len(x)

    def row(index):
        """(mean [] of h_ij over j ≠ i, mean [] of its square)."""
        a, b = x[index], y[index]
        h = similarity(a, x) + similarity(b, y) - similarity(a, y) - similarity(b, x)
        h = jnp.where(jnp.arange(num) == index, 0.0, h)
        return jnp.sum(h) / (num - 1), jnp.sum(jnp.square(h)) / (num - 1)

    means, squares = by_blocks(jax.vmap(row), jnp.arange(num), num_rows)
    value = jnp.mean(means)
    both = jnp.maximum(jnp.mean(squares) - jnp.square(value), 0.0)
    # the variance of a row's mean includes that of its n − 1 terms: subtract it
    first = (jnp.var(means, ddof=1) - both / (num - 1)) * (num - 1) / (num - 2)
    first = jnp.maximum(first, 0.0)
    variance = (4.0 * (num - 2) * first + 2.0 * both) / (num * (num - 1))
    return Discrepancy(value, jnp.sqrt(variance))
