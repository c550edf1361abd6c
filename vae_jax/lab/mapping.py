"""A trained run as a function of a batch of rows, for engines that spread a table over machines."""

import os
from typing import Any

import numpy as np

from vae_jax import frames, uses
from vae_jax.applying import Worker
from vae_jax.errors import DataError, UsageError, shown
from vae_jax.lab import loading

__all__ = ["Mapper"]


class Mapper:
    """A use of a trained run on batches of a table: Dask `map_partitions`, Ray `map_batches`.

    It is pickled as a path and settings; each process loads the run at its first batch.

    Args:
        path: of a run or an exported file, which each machine finds there.
        use: one of `uses.names()`.
        index: name of a column with the index of each row, whole numbers, on which its draws
            depend: without one, rows at the same place of two batches have the same draws.
        settings: those of the use, and seed, unseen, missing_values, batch_size, see `Worker`.

    Raises:
        UsageError: there is no such use or setting.
    """

    def __init__(
        self, path: str | os.PathLike, use: str, *, index: str | None = None, **settings: Any
    ):
        options = ("seed", "unseen", "missing_values", "batch_size")
        self._options = {key: settings.pop(key) for key in options if key in settings}
        self._path, self._index = os.fspath(path), index
        self._use = uses.make(use, **settings)
        self._worker: Worker | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_worker": None}

    def __call__(self, rows: Any) -> Any:
        """The results for a batch, of the kind of the rows: pandas, polars, Arrow, or columns.

        Raises:
            DataError: the rows do not fit the training.
            UsageError: they are no table.
        """
        read = frames.read(rows)
        if read is None:
            raise UsageError(f"rows={shown(rows)}: must be a table: give batches of one")
        if self._worker is None:
            trained = loading.load(self._path)
            self._worker = Worker(trained, self._use, **self._options)
        table, back = read
        return back(*self._worker.results(table, places=self._places(table)))

    def _places(self, table: Any) -> np.ndarray | None:
        """The index of each row, [N], if a column has it."""
        if self._index is None:
            return None
        if self._index not in table.column_names:
            raise DataError(
                f"rows: have no column {self._index!r}, which index names: give one of integers"
            )
        places = table.column(self._index).to_numpy()
        if places.dtype.kind not in "iu" or (len(places) and places.min() < 0):
            raise DataError(
                f"rows: column {self._index!r} holds {places.dtype}, which index names: give whole"
                " numbers of at least 0"
            )
        return places
