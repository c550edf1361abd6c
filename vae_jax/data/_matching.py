"""New rows of a table that a model was trained on: columns by name, cells by the trained kinds."""

import dataclasses
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vae_jax.data import _cells, _notations, _spelling
from vae_jax.errors import DataError
from vae_jax.schema import Cells, Column, Schema

__all__ = ["UNSEEN", "Matcher"]

_MOST_NAMED = 3
UNSEEN = ("refuse", "missing")
"""What becomes of a category that training did not have."""


@dataclasses.dataclass
class Matcher:
    """Turns blocks of a table into codes [N, C], and counts what is unusual about them.

    Attributes:
        schema: that of the training.
        where: what the rows are called in messages, such as a path.
        marks: texts of a missing cell, in addition to empty cells and the usual words.
        unseen: one of `UNSEEN`.
        outside: name of a column → how many numbers lay outside the range of training.
        unknown: name of a column → how many categories were taken as missing.
    """

    schema: Schema
    where: str | Path = "rows"
    marks: Sequence[str] = ()
    unseen: str = "refuse"
    outside: Counter = dataclasses.field(default_factory=Counter)
    unknown: Counter = dataclasses.field(default_factory=Counter)

    def check(self, names: Sequence[str]) -> list[str]:
        """Checks the names of all columns of a table.

        Returns:
            Those of columns that training did not know.

        Raises:
            DataError: a column is missing, or a name occurs twice.
        """
        twice = [name for name, count in Counter(names).items() if count > 1]
        if twice:
            raise DataError(
                f"{self.where}: has several columns called {_spelling.quoted(twice)}: give each a"
                " name of its own"
            )
        wanted = [column.name for column in (*self.schema.used, *self.schema.given)]
        lost = [name for name in wanted if name not in names]
        if lost:
            raise DataError(
                f"{self.where}: has no column {_spelling.quoted(lost)}, from which the model"
                f" learned: give each of {_spelling.quoted(wanted)} by its name"
            )
        known = {column.name for column in self.schema.columns}
        return [name for name in names if name not in known]

    def codes(self, table: Any, first_row: int = 0) -> np.ndarray:
        """Codes of a block of rows, [N, C] float64, NaN where missing.

        Args:
            table: an Arrow table with the columns of the training among its own.
            first_row: index of its first row in the whole, a count, for messages.

        Raises:
            DataError: a cell cannot be of its column's kind, or is an unseen category.
        """
        codes = self._codes(self.schema.codes, self.schema.used, table, first_row)
        for place, column in enumerate(self.schema.used):
            if column.low is not None:
                own = codes[:, place]
                self.outside[column.name] += int(((own < column.low) | (own > column.high)).sum())
        return codes

    def given(self, table: Any, first_row: int = 0) -> np.ndarray:
        """The numbers that the model is given of a block of rows, [N, W] float32; see `codes`.

        Raises:
            DataError: a cell is missing or does not fit.
        """
        codes = self._codes(self.schema.given_codes, self.schema.given, table, first_row)
        try:
            self.schema.refuse_missing(codes)
        except DataError as error:
            raise DataError(f"{self.where}: {error}") from None
        return self.schema.expand_given(codes)

    def _codes(
        self, encode: Callable, columns: Sequence[Column], table: Any, first_row: int
    ) -> np.ndarray:
        rows = {c.name: self._cells(c, table.column(c.name), first_row) for c in columns}
        try:
            return encode(rows)
        except DataError as error:
            raise DataError(f"{self.where}: {error}") from None

    def _cells(self, column: Column, values: Any, first_row: int) -> Cells:
        """The cells of an Arrow column [N] as training read them."""
        values = _cells.without_marks(_cells.as_text(values), self.marks)
        if column.levels:
            return self._of_levels(column, _cells.cells(values), first_row)
        if column.kind == "date":
            return _cells.cells(values)
        found = None if column.notation else _quick_numbers(values)
        if found is None:
            values = _notations.plain(values, column.notation or _notations.find(values))
            found = _cells.numbers(column.name, values)
        if isinstance(found, _cells.Misfit):
            _cells.refuse(Path(self.where), [found._replace(row=found.row + first_row)])
        # a column of no known number, or of none that is: words, which the kind refuses by name
        return _cells.cells(values) if found is None else Cells(found)

    def _of_levels(self, column: Column, cells: Cells, first_row: int) -> Cells:
        """Cells [N] of which each is a level of training, or missing."""
        kind = self.schema.kind_of(column.kind)
        values = [
            None if bad else value
            for value, bad in zip(cells.values.tolist(), cells.missing.tolist(), strict=True)
        ]
        if cells.type == "date":
            values = [None if value is None else str(value) for value in values]
        odd = {v for v in {*values} - {None} if not _is_level(kind, column, v)}
        if not odd:
            return cells
        is_odd = np.array([value in odd for value in values], bool)
        if self.unseen == "refuse":
            row = int(np.argmax(is_odd))
            raise DataError(
                f"{self.where}: column {column.name!r} holds {values[row]!r} in row"
                f" {row + first_row + 1:,}, which training did not have"
                f" ({kind.told(column)}): correct it, or take it as missing with unseen=missing"
            )
        self.unknown[column.name] += int(is_odd.sum())
        held = np.empty(len(values), object)
        held[:] = [None if bad else value for value, bad in zip(values, is_odd, strict=True)]
        return Cells(held)

    def told(self) -> list[str]:
        """What was unusual about the rows so far, a line each."""
        lines = [self._told_outside()] if self.outside.total() else []
        lines += [
            f"column {name!r}: {count:,} cells of categories that training did not have, taken as"
            " missing"
            for name, count in self.unknown.items()
        ]
        return lines

    def _told_outside(self) -> str:
        """Where numbers lay outside the range of training, the columns with the most of them."""
        found = [(name, count) for name, count in self.outside.most_common() if count]
        columns = {column.name: column for column in self.schema.used}
        told = [
            f"{count:,} of {name!r} ({self.schema.kind_of(columns[name].kind).told(columns[name])})"
            for name, count in found[:_MOST_NAMED]
        ]
        more = f" and of {len(found) - _MOST_NAMED} more columns" if found[_MOST_NAMED:] else ""
        return f"values outside the range of training, used as they are: {', '.join(told)}{more}"


def _is_level(kind: Any, column: Column, value: Any) -> bool:
    """Whether a value, a scalar, is a level of a column."""
    held = np.empty(1, object)
    held[0] = value
    try:
        kind.code(column, Cells(held))
    except DataError:
        return False
    return True


def _quick_numbers(values: Any) -> np.ndarray | None:
    """The numbers [N] of an Arrow column of text that are plain numbers; None if some are not."""
    import pyarrow as pa

    if not _cells.is_text(values.type):
        return None
    try:
        return values.cast(pa.float64()).to_numpy()
    except pa.ArrowInvalid:
        return None
