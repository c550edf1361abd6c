"""Batches gathered on the host while the device computes, for data larger than its memory."""

import concurrent.futures
import functools
from typing import Any

import jax
import numpy as np

from vae_jax.training import Block, Train

__all__ = ["BLOCK_BYTES", "Feed", "block_shapes"]

BLOCK_BYTES = 2**26
"""Maximum size of a prefetched block, over all runs, in bytes (a scalar)."""


def _sizes(x: Any, train: Train, num_slots: int, block_bytes: int) -> tuple[int, int]:
    """The number of steps in a block, and of rows in a step."""
    (num_rows,) = jax.eval_shape(train.rows, np.int32(0), np.int32(0)).shape
    row_bytes = sum(leaf.nbytes // max(1, len(leaf)) for leaf in jax.tree.leaves(x))
    step_bytes = num_slots * num_rows * max(1, row_bytes)
    return int(np.clip(block_bytes // step_bytes, 1, train.steps_per_epoch)), num_rows


def block_shapes(x: Any, train: Train, layout, block_bytes: int = BLOCK_BYTES) -> Block:
    """Shapes and dtypes of the blocks that a `Feed` makes, without reading a row.

    Args:
        x, train, layout, block_bytes: as of `Feed`.
    """
    num_steps, num_rows = _sizes(x, train, layout.num_slots, block_bytes)
    firsts = layout.shapes(jax.ShapeDtypeStruct((layout.num_slots,), np.int32))

    def batches(leaf):
        shape = (layout.num_slots, num_steps, num_rows, *leaf.shape[1:])
        return layout.batch_shapes(shape, leaf.dtype)

    return Block(firsts, jax.tree.map(batches, x))


class Feed:
    """The blocks of a training, prefetched: a function from a step to (`Block`, number of steps).

    The rows are those that `Train.chunk` would gather itself, so streaming does not change results.
    Runs with the same seed share the rows. Each process reads only the rows for its devices.

    Args:
        x: [N, *stored], anything that can be indexed by an array of rows: NumPy, or rows of a file;
            or a dictionary of these.
        train: its `rows` gives the examples of a step.
        seeds: seeds of the slots of the layout, [S].
        layout: a `vae_jax.devices.layout.Layout` with S slots.
        block_bytes: maximum size of a block, a scalar; a block has at least one step.
    """

    def __init__(self, x: Any, train: Train, seeds: np.ndarray, layout, block_bytes=BLOCK_BYTES):
        self._x = x
        self._seeds = np.asarray(seeds)
        self._layout = layout
        over_steps = jax.vmap(train.rows, (None, 0))
        self._rows = jax.jit(jax.vmap(over_steps, (0, None)))
        self.num_steps, _ = _sizes(x, train, len(self._seeds), block_bytes)
        self._pool = concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="feed")
        self._held: tuple[int, Block] | None = None
        self._next: tuple[int, concurrent.futures.Future] | None = None

    def __call__(self, step: int) -> tuple[Block, int]:
        """The block that holds a step (a scalar), and the number of steps from there to its end."""
        if self._held is None or not 0 <= step - self._held[0] < self.num_steps:
            if self._next is None or self._next[0] != step:
                self._next = step, self._pool.submit(self._gather, step)
            first, future = self._next
            self._held = None  # free its memory while the next block is read
            self._held = first, future.result()
            following = first + self.num_steps
            self._next = following, self._pool.submit(self._gather, following)
        first, block = self._held
        return block, first + self.num_steps - step

    def wait(self) -> None:
        """Waits until no block is being gathered; an error is raised where the block is used."""
        if self._next is not None:
            concurrent.futures.wait([self._next[1]])

    def close(self) -> None:
        """Ends the thread that prefetches blocks."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _gather(self, first: int) -> Block:
        unique, slot_of = np.unique(self._seeds, return_inverse=True)
        steps = np.arange(first, first + self.num_steps, dtype=np.int32)
        rows = np.asarray(self._rows(unique.astype(np.int32), steps))

        def gather(x):
            def part(runs, steps, batch):
                @functools.cache
                def of_seed(i):
                    return x[rows[i, steps, batch].ravel()].reshape(
                        *rows[i, steps, batch].shape, *x.shape[1:]
                    )

                return np.stack([of_seed(i) for i in slot_of[runs].tolist()])

            shape = (len(self._seeds), *rows.shape[1:], *x.shape[1:])
            return self._layout.spread_batches(part, shape, x.dtype)

        firsts = np.full(self._layout.num_runs, first, np.int32)
        return Block(self._layout.place(firsts), jax.tree.map(gather, self._x))
