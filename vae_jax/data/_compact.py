"""The columns of a table, held apart and each as small as it can be, as one array of rows."""

import dataclasses
from collections.abc import Callable, Iterable, Iterator, MutableMapping

import numpy as np

from vae_jax.schema import Cells

__all__ = ["Columns", "HeldCells", "compact"]

_FIRST = 1000  # values that tell of most columns that float32 does not hold them


def compact(values: np.ndarray) -> np.ndarray:
    """Numbers [N] in float32 if it holds each of them exactly, otherwise as they are."""
    if values.dtype != np.float64 or not _fits(values[:_FIRST]) or not _fits(values):
        return values
    return values.astype(np.float32)


def _fits(values: np.ndarray) -> bool:
    with np.errstate(over="ignore"):  # beyond float32: does not fit
        return np.array_equal(values.astype(np.float32), values, equal_nan=True)


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Columns:
    """Rows [N, D] in float64 of columns that are held apart: only what is asked for is joined.

    Attributes:
        columns: D arrays [M] of numbers, from `compact`; a list that selections share.
        index: [N] integers, which rows of the columns these are; None: all.
    """

    columns: list[np.ndarray]
    index: np.ndarray | None = None

    @property
    def dtype(self) -> np.dtype:
        """Dtype of the joined values."""
        return np.dtype(np.float64)

    @property
    def shape(self) -> tuple[int, int]:
        """[N, D]."""
        return len(self.columns[0] if self.index is None else self.index), len(self.columns)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice | np.ndarray | tuple[slice, int]) -> np.ndarray:
        """Joins rows, a slice or integers [n], to [n, D]; or takes one column, x[:, place]."""
        if isinstance(rows, tuple):
            return self.column(rows[1])[rows[0]]
        rows = rows if self.index is None else self.index[rows]
        num = len(self.columns[0][rows])
        joined = np.empty((num, len(self.columns)))
        for place, column in enumerate(self.columns):
            joined[:, place] = column[rows]
        return joined

    def column(self, place: int) -> np.ndarray:
        """One of the columns, at an index 0 … D − 1: [N] float64."""
        own = self.columns[place]
        return (own if self.index is None else own[self.index]).astype(np.float64, copy=False)

    def each(self) -> Iterator[np.ndarray]:
        """The columns one after the other, [N] float64 each."""
        return map(self.column, range(len(self.columns)))

    def replace(self, place: int, conversion: Callable[[np.ndarray], np.ndarray]) -> None:
        """Replaces a column by what [M] float64 becomes, [M]: also in selections of the rows."""
        self.columns[place] = conversion(self.columns[place].astype(np.float64, copy=False))

    def select(self, rows: np.ndarray) -> "Columns":
        """A subset of the rows [N, D]: those at integers [n], not copied."""
        return dataclasses.replace(self, index=rows if self.index is None else self.index[rows])


class HeldCells(MutableMapping):
    """Cells [N] by the name of their column; numbers are kept `compact`, and read as float64."""

    def __init__(self, cells: Iterable[tuple[str, Cells]] = ()):
        self._held: dict[str, Cells] = {}
        self.update(cells)

    def __setitem__(self, name: str, cells: Cells) -> None:
        if cells.type == "number":
            cells = dataclasses.replace(cells, values=compact(cells.values))
        self._held[name] = cells

    def __getitem__(self, name: str) -> Cells:
        cells = self._held[name]
        if cells.type != "number":
            return cells
        return dataclasses.replace(cells, values=cells.values.astype(np.float64, copy=False))

    def __delitem__(self, name: str) -> None:
        del self._held[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._held)

    def __len__(self) -> int:
        return len(self._held)

    def of(self, names: Iterable[str]) -> "HeldCells":
        """The cells of some columns, in this order; not copied."""
        return HeldCells((name, self._held[name]) for name in names)
