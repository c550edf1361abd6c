"""A function of many rows, a block of them at a time, so that what it holds has a bounded size."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

__all__ = ["by_blocks"]


def by_blocks(function: Callable, rows: Any, num_rows: int) -> Any:
    """Applies a function to blocks of at most `num_rows` rows, and joins the results.

    The blocks are of equal size, the last one padded with its last row, so one program serves all.

    Args:
        function: a pytree of [b, …] to another, each row alone.
        rows: a pytree of arrays [N, …], N >= 1.
        num_rows: a count.

    Returns:
        A pytree of arrays [N, …].
    """
    num = jax.tree.leaves(rows)[0].shape[0]
    num_blocks = -(-num // num_rows)
    if num_blocks == 1:
        return function(rows)
    size = -(-num // num_blocks)

    def cut(leaf):
        padding = ((0, num_blocks * size - num), *((0, 0) for _ in leaf.shape[1:]))
        return jnp.pad(leaf, padding, mode="edge").reshape(num_blocks, size, *leaf.shape[1:])

    result = jax.lax.map(function, jax.tree.map(cut, rows))
    return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:])[:num], result)
