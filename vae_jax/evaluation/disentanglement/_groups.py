"""Groups of rows that share the value of one factor, drawn by index from a table of all rows."""

import functools
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from vae_jax.evaluation.disentanglement import _common

__all__ = ["Groups", "Pairs", "map_rows", "sample_groups", "sample_pairs"]


class Groups(NamedTuple):
    """G groups of B rows; within each group one factor has one value.

    Args:
        rows: [G, B] row numbers.
        fixed: [G], the fixed factor.
    """

    rows: jax.Array
    fixed: jax.Array


class Pairs(NamedTuple):
    """G groups of B pairs of rows; all pairs of a group share the same factor.

    Args:
        first: [G, B] row numbers.
        second: [G, B] row numbers.
        fixed: [G], the shared factor.
    """

    first: jax.Array
    second: jax.Array
    fixed: jax.Array


def _positions(factors, num_values):
    """Rows sorted by each factor's values [F, N], and the start of each value [F, K + 1]."""
    order = np.argsort(factors, axis=0, kind="stable").T
    starts = [
        np.searchsorted(column[rows], np.arange(num_values + 1))
        for column, rows in zip(factors.T, order, strict=True)
    ]
    return order.astype(np.int32), np.stack(starts).astype(np.int32)


def _matching(key, order, starts, fixed, value):
    """Draws a row [...] among those whose factor `fixed` [...] has the value `value` [...]."""
    start = starts[fixed, value]
    count = starts[fixed, value + 1] - start
    return order[fixed, start + jax.random.randint(key, value.shape, 0, count)]


def _prepare(factors):
    factors, sizes = _common.relabel(np.asarray(factors))
    varying = jnp.asarray(np.flatnonzero(sizes > 1))
    return factors, *_positions(factors, sizes.max()), varying


@functools.partial(jax.jit, static_argnames=("num_groups", "group_size"))
def _groups(key, factors, order, starts, varying, *, num_groups, group_size):
    fixed_key, value_key, row_key = jax.random.split(key, 3)
    fixed = jax.random.choice(fixed_key, varying, (num_groups,))
    value = factors[jax.random.randint(value_key, (num_groups,), 0, len(factors)), fixed]
    fixed_rows, value_rows = (
        jnp.broadcast_to(each[:, None], (num_groups, group_size)) for each in (fixed, value)
    )
    return Groups(_matching(row_key, order, starts, fixed_rows, value_rows), fixed)


@functools.partial(jax.jit, static_argnames=("num_groups", "group_size"))
def _pairs(key, factors, order, starts, varying, *, num_groups, group_size):
    fixed_key, first_key, second_key = jax.random.split(key, 3)
    shape = (num_groups, group_size)
    fixed = jax.random.choice(fixed_key, varying, (num_groups,))
    first = jax.random.randint(first_key, shape, 0, len(factors))
    fixed_rows = jnp.broadcast_to(fixed[:, None], shape)
    second = _matching(second_key, order, starts, fixed_rows, factors[first, fixed_rows])
    return Pairs(first, second, fixed)


def sample_groups(key: jax.Array, factors, num_groups: int, group_size: int = 64) -> Groups:
    """Draws groups in which one factor is fixed and the others vary as in the table.

    The factor is drawn among those that vary, its value from a random row, and the rows of the
    group among those with that value, with replacement. On a full grid the other factors are
    uniform and independent.

    Args:
        key: PRNG key, scalar.
        factors: [N, F] integers, of all rows.
        num_groups: G, scalar.
        group_size: B, scalar.

    Returns:
        `Groups`.

    Reference:
        Kim & Mnih 2018, arXiv 1802.05983, section 4.
    """
    chex.assert_rank(factors, 2)
    return _groups(key, *_prepare(factors), num_groups=num_groups, group_size=group_size)


def sample_pairs(key: jax.Array, factors, num_groups: int, group_size: int = 64) -> Pairs:
    """Draws groups of pairs of rows; the rows of a pair share the value of the group's factor.

    The factor is drawn among those that vary, the first row of a pair among all rows, the second
    among those with the same value of the factor.

    Args:
        key: PRNG key, scalar.
        factors: [N, F] integers, of all rows.
        num_groups: G, scalar.
        group_size: B, number of pairs, scalar.

    Returns:
        `Pairs`.

    Reference:
        Higgins et al. 2017, beta-VAE, ICLR, section 3.
    """
    chex.assert_rank(factors, 2)
    return _pairs(key, *_prepare(factors), num_groups=num_groups, group_size=group_size)


@functools.partial(jax.jit, static_argnames=("function",))
def map_rows(function, codes: jax.Array, *rows: jax.Array) -> jax.Array:
    """Applies a function to the codes of each group, a few hundred groups at a time.

    Args:
        function: ([1, B, L], …) to [1, L].
        codes: [N, L].
        rows: [G, B] each.

    Returns:
        [G, L].
    """

    def one(rows):
        return function(*(codes[each][None] for each in rows))[0]

    return jax.lax.map(one, rows, batch_size=256)
