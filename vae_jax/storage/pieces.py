"""Arrays of checkpoints in pieces: a few are in memory as they are written or read, not all.

Orbax copies all NumPy arrays of a tree, then encodes all of them at once; as it reads, it holds the
encoded and the decoded arrays of the whole tree. Here it gets some at a time. The format of the
files is the same. Importing this module imports Orbax.
"""

import functools
import hashlib
import inspect
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from vae_jax import memory

__all__ = ["NUM_BYTES", "Arrays", "checkpointer", "digests", "parts", "split"]

NUM_BYTES = 2**24
"""The most bytes of arrays that are written or read at a time, a scalar; one may have more."""


def split(sizes: Sequence[int]) -> Iterator[slice]:
    """Yields the slices of a sequence whose sizes add up to at most `NUM_BYTES`.

    Args:
        sizes: bytes of each element, a list of scalars; one that has more is alone.
    """
    first, held = 0, 0
    for index, size in enumerate(sizes):
        if index > first and held + size > NUM_BYTES:
            yield slice(first, index)
            first, held = index, 0
        held += size
    if sizes:
        yield slice(first, len(sizes))


def parts(tree: Any) -> Iterator[tuple[slice, Any]]:
    """Yields slices of the leaves of a tree, with the tree of these leaves for Orbax to restore.

    Args:
        tree: pytree of NumPy arrays of any shape.
    """
    leaves, structure = jax.tree.flatten(tree)
    for part in split([leaf.nbytes for leaf in leaves]):
        asked = [ocp.PLACEHOLDER] * len(leaves)
        asked[part] = leaves[part]
        yield part, structure.unflatten(asked)
        if part != slice(0, len(leaves)):
            memory.release()


def digests(tree: Any) -> list[bytes]:
    """The SHA-256 of each leaf of a tree of NumPy arrays of any shape, in order."""
    return [_digest(leaf) for leaf in jax.tree.leaves(tree)]


def _digest(leaf: np.ndarray) -> bytes:
    # not every dtype of JAX is one of Python's buffers
    return hashlib.sha256(np.ascontiguousarray(leaf).reshape(-1).view(np.uint8)).digest()


class Arrays(ocp.type_handlers.NumpyHandler):
    """Writes and reads NumPy arrays of any shape in pieces, without copies of them.

    A write ends when the arrays are in their files, so they must not change until then.
    """

    def __init__(self):
        # Orbax before 0.12 has no such option: it copies each piece
        option = "deepcopy_host_arrays"
        has = option in inspect.signature(ocp.type_handlers.NumpyHandler.__init__).parameters
        super().__init__(**({option: False} if has else {}))

    async def serialize(self, values, infos, args=None) -> Sequence[Any]:
        """Writes arrays of any shape; returns no futures, because nothing is left to wait for."""
        args = args or [ocp.SaveArgs()] * len(values)
        for part in split([value.nbytes for value in values]):
            for future in await super().serialize(values[part], infos[part], args[part]):
                future.result()
            if part != slice(0, len(values)):
                memory.release()
        return []

    async def deserialize(self, infos, args=None) -> Sequence[np.ndarray]:
        """Reads arrays of any shape."""
        args = args or [ocp.RestoreArgs()] * len(infos)
        found = []
        for info, arg in zip(infos, args, strict=True):
            found += await super().deserialize([info], [arg])
        return found


@functools.cache
def _registry() -> Any:
    # the second is not used, but Orbax warns without one
    handlers = ((np.ndarray, Arrays()), (jax.Array, ocp.type_handlers.ArrayHandler()))
    return ocp.type_handlers.create_type_handler_registry(*handlers)


def checkpointer() -> Any:
    """A `Checkpointer` of a state and a config, without barriers: one process saves all of it.

    (By default, with several processes, Orbax has each write its own shards.)
    """
    alone = ocp.options.MultiprocessingOptions()
    if jax.process_count() > 1:
        me = jax.process_index()
        alone = ocp.options.MultiprocessingOptions(
            primary_host=me, active_processes={me}, barrier_sync_key_prefix=f"process{me}"
        )
    handler = ocp.CompositeCheckpointHandler(
        state=ocp.PyTreeCheckpointHandler(
            type_handler_registry=_registry(), multiprocessing_options=alone
        ),
        config=ocp.JsonCheckpointHandler(multiprocessing_options=alone),
        composite_options=ocp.CompositeOptions(multiprocessing_options=alone),
    )
    return ocp.Checkpointer(handler, multiprocessing_options=alone)
