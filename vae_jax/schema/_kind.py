"""What a column is: its cells as read, its description, and the base class of all kinds."""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from vae_jax import labels
from vae_jax.errors import DataError, UsageError

__all__ = ["SECONDS_OF_DAY", "Cells", "Column", "Kind", "as_cells", "is_missing"]

SECONDS_OF_DAY = 86_400.0


@dataclasses.dataclass(frozen=True, eq=False)
class Cells:
    """The cells of a column [N], all of one type.

    Attributes:
        values: float64, NaN if missing; datetime64[us], NaT if missing; or words and truth values
            as objects, None if missing.
        order: the levels in ascending order, if the file says so; else ().
        notation: how the file writes its numbers, see `Column`; or "".
    """

    values: np.ndarray
    order: tuple = ()
    notation: str = ""

    @property
    def type(self) -> str:
        """The type of the cells: "number", "date" or "word"."""
        return {"f": "number", "M": "date"}.get(self.values.dtype.kind, "word")

    @functools.cached_property
    def missing(self) -> np.ndarray:
        """Whether each cell is missing, [N]."""
        return is_missing(self.values)

    @functools.cached_property
    def known(self) -> np.ndarray:
        """The cells that are not missing, [n]; no copy if none is missing."""
        return self.values[~self.missing] if self.missing.any() else self.values

    @functools.cached_property
    def distinct(self) -> tuple:
        """The distinct known values, ascending, as Python values; whole numbers as int."""
        if self.type == "number":
            return tuple(map(_plain, np.unique(self.known).tolist()))
        if self.type == "date":
            return tuple(np.unique(self.known).tolist())
        return tuple(sorted(set(self.known.tolist())))

    @property
    def is_whole(self) -> bool:
        """Whether the known cells are whole numbers, and there are some."""
        known = self.known
        return self.type == "number" and len(known) > 0 and bool(np.all(known == np.floor(known)))


def _plain(value: float) -> int | float:
    return int(value) if value.is_integer() and abs(value) < 2**53 else value


def is_missing(values: np.ndarray) -> np.ndarray:
    """Whether each of a column's values [N] is missing: NaN, NaT or None."""
    if values.dtype.kind == "f":
        return np.isnan(values)
    if values.dtype.kind == "M":
        return np.isnat(values)
    return np.array([value is None for value in values.tolist()], bool)


def as_cells(values: Any) -> Cells:
    """The cells of a user's values [N]: numbers, dates, or words and truth values.

    None, NaN, NaT and words for an unknown value ("", "NA") are missing.
    """
    if isinstance(values, Cells):
        return values
    array = np.asarray(values)
    if array.dtype.kind in "iuf":
        return Cells(array.astype(np.float64))
    if array.dtype.kind == "M":
        return Cells(array.astype("datetime64[us]"))
    bare = [value.strip() if isinstance(value, str) else value for value in array.tolist()]
    known = [None if labels.is_blank(value) else value for value in bare]
    numbers = [v for v in known if v is not None]
    if numbers and all(isinstance(v, int | float) and not isinstance(v, bool) for v in numbers):
        return Cells(np.array([np.nan if v is None else v for v in known], np.float64))
    held = np.empty(len(known), object)
    held[:] = known
    return Cells(held)


@dataclasses.dataclass(frozen=True)
class Column:
    """One column of a table: its kind, and what is needed to encode new rows as in training.

    A cell is kept as one number, its code: a number itself, the index of a level, or days since
    1970. Codes become the input of a model: for most kinds (code − center) / scale.

    Attributes:
        name: name of the column in the file.
        kind: name of its kind, one of `schema.names()`.
        levels: the values of a column with levels, in the order of their indices.
        center, scale: units of storage, scalars.
        low, high: the smallest and the largest code; None if there is none.
        missing: share of missing cells, from 0 to 1.
        is_day: of dates, whether all are whole days.
        cycles: of dates, which of "hour", "weekday" and "month" vary.
        is_given: whether the model is given the column instead of learning it: a condition.
        why: why it is not learned from, or "".
        notation: how the file writes the number 1234.5 in this column, such as "1.234,5" or
            "1234.5 %"; "" if plainly.
    """

    name: str
    kind: str
    levels: tuple = ()
    center: float = 0.0
    scale: float = 1.0
    low: float | None = None
    high: float | None = None
    missing: float = 0.0
    is_day: bool = False
    cycles: tuple = ()
    is_given: bool = False
    why: str = ""
    notation: str = ""

    def refuse(self, value: Any, allowed: str) -> DataError:
        """The error for a value, a scalar, that this column cannot have."""
        return DataError(
            f"column {self.name!r}: holds {value!r}, but is {self.kind}: must be {allowed}: correct"
            " it"
        )


class Kind:
    """A kind of columns: how it is recognized, and how its cells become the input of a model.

    To add one, add a class below `Kind` to a file of this package; its `name` is its word in
    `kinds`. Without a `likelihood` its columns are not learned from.

    Attributes:
        name: its word in `kinds` and in a schema.
        likelihood: the name of the part of `likelihoods.Mixed` for its columns, or "".
        rank: kinds are tried in this order; the first that fits a column is used. None: a kind
            that is only used if it is set, or by the name of a column.
        done: what is done with its columns, in words.
        density: its likelihood in words, or "".
        is_lossless: whether encode and decode return the same values exactly.
    """

    name: ClassVar[str] = ""
    likelihood: ClassVar[str] = ""
    rank: ClassVar[int | None] = None
    done: ClassVar[str] = "left out"
    density: ClassVar[str] = ""
    is_lossless: ClassVar[bool] = False

    @classmethod
    def fits(cls, cells: Cells) -> bool:
        """Whether the cells of a column [N] are of this kind."""
        return False

    @classmethod
    def described(cls, column: Column, cells: Cells) -> Column:
        """The column with its levels and range, from its cells [N].

        Raises:
            UsageError: the cells cannot be of this kind.
        """
        return column

    @classmethod
    def stored(cls, column: Column, codes: np.ndarray, scaling: str) -> Column:
        """The column with its units of storage, from the known codes [n] of the training rows."""
        return column

    @classmethod
    def width(cls, column: Column) -> int:
        """How many numbers a cell becomes in the input of a model, a count."""
        return 1 if cls.likelihood else 0

    @classmethod
    def code(cls, column: Column, cells: Cells) -> np.ndarray:
        """Cells [N] to codes float64 [N], NaN if missing; the inverse of `values`."""
        raise NotImplementedError

    @classmethod
    def unseen(cls, column: Column, cells: Cells) -> np.ndarray:
        """Which cells [N] are values that the column's own levels lack, [N]."""
        return np.zeros(len(cells.values), bool)

    @classmethod
    def values(cls, column: Column, codes: np.ndarray) -> np.ndarray:
        """Codes [N] to the column's own values [N]."""
        raise NotImplementedError

    @classmethod
    def expand(cls, column: Column, codes: np.ndarray) -> np.ndarray:
        """Codes [N] to the input of a model, [N, width]."""
        return ((codes - column.center) / column.scale)[:, None]

    @classmethod
    def collapse(cls, column: Column, x: np.ndarray) -> np.ndarray:
        """The input or output of a model [N, width] to codes [N]; the nearest ones."""
        return x[:, 0].astype(np.float64) * column.scale + column.center

    @classmethod
    def told(cls, column: Column) -> str:
        """The range or the levels of a column, in words."""
        if column.levels:
            return _listed(column.levels)
        if column.low is None:
            return ""
        return f"{column.low:.6g} … {column.high:.6g}"

    @classmethod
    def treated(cls, column: Column) -> str:
        """What is done with a column, a scalar in words."""
        return cls.done

    @classmethod
    def slots(cls, column: Column) -> list[str]:
        """Names of the numbers that a cell becomes, [width]."""
        return [column.name] * cls.width(column)


def _listed(levels: Sequence, most: int = 6) -> str:
    first = ", ".join(map(str, levels[:most]))
    return first if len(levels) <= most else f"{first}, … ({len(levels)})"


def require(column: Column, is_met: bool, needs: str) -> None:
    """Raises UsageError unless the cells of a column can be of its kind."""
    if not is_met:
        raise UsageError(
            f"kinds={column.name}={column.kind}: the column must hold {needs}: leave it out"
        )
