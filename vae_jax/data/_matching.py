"""Rows of another table, by the schema of a first one: columns by name, cells by their kinds."""

import dataclasses
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from vae_jax.data import _cells, _notations, _spelling
from vae_jax.errors import DataError
from vae_jax.schema import Cells, Column, Schema

__all__ = ["UNSEEN", "Matcher", "Names", "are_words", "cells_of", "compared"]

_MOST_NAMED = 3
UNSEEN = ("refuse", "missing")
"""What becomes of a category that training did not have."""


class Names(NamedTuple):
    """What the names of the columns [N] of a table are, beside those of a schema.

    Attributes:
        twice: those of several columns.
        lost: those of the schema that it lacks, of columns that are learned from or given.
        extra: those that the schema does not have.
    """

    twice: list[str]
    lost: list[str]
    extra: list[str]


def compared(schema: Schema, names: Sequence[str]) -> Names:
    """Compares the names of the columns of a table, [N], with those of a schema."""
    known, there = {column.name for column in schema.columns}, {*names}
    return Names(
        [name for name, count in Counter(names).items() if count > 1],
        [c.name for c in (*schema.used, *schema.given) if c.name not in there],
        [name for name in names if name not in known],
    )


def are_words(column: Column) -> bool:
    """Whether the levels of a column are words, or some of them; a scalar."""
    return any(isinstance(level, str) for level in column.levels)


def cells_of(
    where: str | Path, column: Column, values: Any, first_row: int = 0, decimal: str | None = None
) -> Cells:
    """The cells of an Arrow column [N], of the type that a column of a schema has.

    Args:
        where: what the rows are called in messages, such as a path.
        column: of the schema.
        values: text, or of a type of its own; null where missing.
        first_row: index of the first row in the whole, a count, for messages.
        decimal: the decimal mark, if it is set.

    Raises:
        DataError: they should be numbers, and some are none.
    """
    import pyarrow as pa

    if are_words(column):
        return _cells.words(values if _cells.is_text(values.type) else values.cast(pa.string()))
    if column.kind == "date":
        return _cells.cells(values)
    found = None if column.notation or decimal else _quick_numbers(values)
    if found is None:
        values = _notations.plain(values, column.notation or _notations.find(values, decimal))
        found = _cells.numbers(column.name, values)
    if isinstance(found, _cells.Misfit) and not column.levels:
        _cells.refuse(Path(where), [found._replace(row=found.row + first_row)])
    are_truths = bool(column.levels) and pa.types.is_boolean(values.type)
    # no known number, or none that is: words, which are refused by the kind or are no level
    if isinstance(found, np.ndarray) and not are_truths:
        return Cells(found)
    return _cells.cells(values)


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
        found = compared(self.schema, names)
        if found.twice:
            raise DataError(
                f"{self.where}: has several columns called {_spelling.quoted(found.twice)}: give"
                " each a name of its own"
            )
        if found.lost:
            wanted = [column.name for column in (*self.schema.used, *self.schema.given)]
            raise DataError(
                f"{self.where}: has no column {_spelling.quoted(found.lost)}, from which the model"
                f" learned: give each of {_spelling.quoted(wanted)} by its name"
            )
        return found.extra

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
        cells = cells_of(self.where, column, values, first_row)
        known, is_odd = self.schema.known(column, cells)
        if not is_odd.any():
            return known
        if self.unseen == "refuse":
            row = int(np.argmax(is_odd))
            raise DataError(
                f"{self.where}: column {column.name!r} holds {_told(cells.values[row])} in row"
                f" {row + first_row + 1:,}, which training did not have"
                f" ({self.schema.kind_of(column.kind).told(column)}): correct it, or take it as"
                " missing with unseen=missing"
            )
        self.unknown[column.name] += int(is_odd.sum())
        return known

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


def _told(value: Any) -> str:
    """A value, a scalar, for a message: a whole number without a decimal point."""
    is_whole = isinstance(value, float) and value.is_integer()
    return repr(int(value)) if is_whole else repr(str(value) if hasattr(value, "item") else value)


def _quick_numbers(values: Any) -> np.ndarray | None:
    """The numbers [N] of an Arrow column of text that are plain numbers; None if some are not."""
    import pyarrow as pa

    if not _cells.is_text(values.type):
        return None
    try:
        return values.cast(pa.float64()).to_numpy()
    except pa.ArrowInvalid:
        return None
