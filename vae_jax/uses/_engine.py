"""Maps a use over rows, in batches of one size: arrays in, arrays out."""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vae_jax import arguments
from vae_jax.errors import UsageError
from vae_jax.evaluation._shared import keys_of_example
from vae_jax.uses._use import Use

__all__ = ["Engine"]

_BATCH_BYTES = 2**21
"""What the decoder's outputs of a batch may take, in bytes."""
_MOST_ROWS = 4096


def _as_it_is(stored: jax.Array, key: jax.Array) -> jax.Array:
    """The preprocess of x [B, *shape] that is as the model takes it."""
    del key
    return stored


@functools.partial(jax.jit, static_argnames=("use", "preprocess"))
def _of_batch(use, model, params, stored, condition, key, positions, *, preprocess):
    """The results of a use for stored rows [B, *stored] at some positions [B]: [B, …] by name."""

    def one(row, given, position):
        data_key, draw_key = keys_of_example(key, position)
        own = model if given is None else model.given(given[None])
        x = None if row is None else preprocess(row[None], data_key)
        if use.takes_missing and x.shape[1:] == row.shape and row.dtype == jnp.float32:
            # a draw of what is missing would be observed
            x = jnp.where(jnp.isnan(row[None]), jnp.nan, x)
        return use.of_row(own, params, x, draw_key)

    return jax.vmap(one)(stored, condition, positions)


class Engine:
    """A use of a trained model, ready for rows.

    A row's result depends on the model, the settings, the seed and the row's index, never on the
    other rows: each batch has the same size, padded with its last row, so one program serves all.
    A second engine of an equal model and use shares the compiled program.

    Args:
        use: one of `vae_jax.uses`.
        model: a `Model` whose p(x|z) is a density.
        params: its parameters, arrays of any shape.
        seed: decides every draw, a count.
        preprocess: (stored [B, *stored], key) to x [B, *shape]; None if rows are x already.
        batch_size: rows at a time, a count; None takes as many as fit in 2 MiB of outputs.

    Raises:
        UsageError: the model cannot do it, or a count is none.
    """

    def __init__(
        self,
        use: Use,
        model: Any,
        params: Any,
        *,
        seed: int = 0,
        preprocess: Callable | None = None,
        batch_size: int | None = None,
    ):
        use.check(model)
        self.use, self.model = use, model
        self._params = jax.tree.map(jnp.asarray, params)
        self._key = jax.random.key(arguments.integer("seed", seed, 0))
        self._preprocess = preprocess or _as_it_is
        self.batch_size = _size(use, model) if batch_size is None else batch_size
        arguments.integer("batch_size", self.batch_size, 1)

    def __call__(
        self,
        stored: np.ndarray,
        places: int | np.ndarray = 0,
        condition: np.ndarray | None = None,
    ) -> dict[str, np.ndarray]:
        """The results for rows, by name.

        Args:
            stored: [N, *stored].
            places: index of the first row, a count, if rows are consecutive; or of each row, [N].
                Rows may come in blocks, in any order.
            condition: of a conditional model, numbers [N, C].

        Returns:
            [N, …] for each name, see `Use.of_row`.

        Raises:
            UsageError: the model is conditional and there is no condition, or the other way round.
        """
        return self._over(stored, len(stored), places, condition)

    def made(
        self, num: int, places: int | np.ndarray = 0, condition: np.ndarray | None = None
    ) -> dict[str, np.ndarray]:
        """The results of a use that takes no rows, [num, …] by name; see `__call__`."""
        return self._over(None, num, places, condition)

    def _over(self, stored, num: int, places, condition) -> dict[str, np.ndarray]:
        """The results of `num` rows, [num, …] by name."""
        self._check_condition(num, condition)
        places = np.arange(num, dtype=np.int64) + places if np.ndim(places) == 0 else places
        parts = [
            self._batch(slice(start, start + self.batch_size), places, stored, condition)
            for start in range(0, num, self.batch_size)
        ]
        if not parts:
            found = self._none(stored, condition)
        else:
            kept = [min(self.batch_size, num - i * self.batch_size) for i in range(len(parts))]
            found = {
                name: np.concatenate(
                    [np.asarray(part[name])[:n] for part, n in zip(parts, kept, strict=True)]
                )
                for name in parts[0]
            }
        return self.use.finished(self.model, found)

    def _batch(self, rows: slice, places, stored, condition) -> dict[str, jax.Array]:
        """The results of one batch, padded; they may still be under way."""

        def padded(values):
            own = np.asarray(values[rows])
            padding = ((0, self.batch_size - len(own)), *((0, 0) for _ in own.shape[1:]))
            return np.pad(own, padding, mode="edge") if padding[0][1] else own

        given = (None if values is None else padded(values) for values in (stored, condition))
        positions = padded((np.asarray(places) % 2**32).astype(np.uint32))
        fixed = self.use, self.model, self._params
        return _of_batch(*fixed, *given, self._key, positions, preprocess=self._preprocess)

    def _none(self, stored, condition) -> dict[str, np.ndarray]:
        """The results of no rows, with the shapes of others."""

        def one(values):
            shape = (1, *np.shape(values)[1:])
            return None if values is None else jax.ShapeDtypeStruct(shape, values.dtype)

        of = functools.partial(_of_batch, preprocess=self._preprocess)
        position = jax.ShapeDtypeStruct((1,), np.uint32)
        shapes = jax.eval_shape(
            lambda params, *given: of(self.use, self.model, params, *given),
            self._params,
            one(stored),
            one(condition),
            self._key,
            position,
        )
        return {name: np.zeros((0, *each.shape[1:]), each.dtype) for name, each in shapes.items()}

    def _check_condition(self, num: int, condition) -> None:
        size = self.model.num_conditions
        if size and condition is None:
            raise UsageError(
                f"labels: the model is conditional, on {size} numbers for each row: give the label "
                "of each row"
            )
        wanted = (num, size) if size else None
        found = None if condition is None else np.shape(condition)
        if found != wanted:
            raise UsageError(
                f"condition: has shape {list(found or ())}, must be "
                f"{list(wanted) if wanted else 'left out, the model is not conditional'}"
            )


def _size(use: Use, model: Any) -> int:
    """Rows of a batch: a power of two."""
    numbers = math.prod(model.shape) * model.likelihood.num_outputs * use.rows_per_row
    rows = max(1, min(_MOST_ROWS, _BATCH_BYTES // (4 * numbers)))
    return 1 << (rows.bit_length() - 1)
