"""Ratings of new users: a long table becomes rows of the items that a model was trained on."""

import contextlib
import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from vae_jax.data import _cells, _ratings, _spelling
from vae_jax.errors import DataError
from vae_jax.ratings import Ratings

__all__ = ["NewRatings", "Users"]

_MOST_NAMED = 3
_BYTES_OF_BLOCK = 2**22


class Users(NamedTuple):
    """New users.

    Attributes:
        x: a matrix of scipy.sparse, [N, D] float32: 1 for a rating that counts, NaN for a lower one
            if it may be missing.
        names: the user's own names of the rows, an Arrow table [N] with a column of them, in the
            order of the table.
        items: the names of the items of training in the type that the table has, Arrow [D].
    """

    x: Any
    names: Any
    items: Any

    def blocks(self) -> Iterator[tuple[int, Any, np.ndarray]]:
        """Yields (index of the first, names [n] as an Arrow table, x [n, D] dense) of users."""
        num = max(1, _BYTES_OF_BLOCK // (4 * self.x.shape[1]))
        for first in range(0, max(1, len(self.names)), num):
            rows = slice(first, first + num)
            yield first, self.names[rows], self.x[rows].toarray()


@dataclasses.dataclass
class NewRatings:
    """Reads tables with a row for each rating as x [N, D], and counts what is unusual.

    Attributes:
        ratings: the columns of the training, and which ratings count.
        items: names of the items of the training, D words.
        where: what the rows are called in messages, such as a path.
        marks: texts of a missing cell, in addition to empty cells.
        unseen: "refuse" or "missing": what an item becomes that training did not have.
    """

    ratings: Ratings
    items: Sequence[str]
    where: str | Path = "rows"
    marks: Sequence[str] = ()
    unseen: str = "refuse"
    _told: list[str] = dataclasses.field(default_factory=list)

    def is_of(self, names: Sequence[str]) -> bool:
        """Whether a table with columns of these names [N] has a row for each rating."""
        return {self.ratings.user, self.ratings.item} <= {*names}

    def users(self, tables: Iterable[Any], *, may_miss: bool) -> Users:
        """The users of consecutive tables of ratings, which may be spread over them.

        Args:
            tables: Arrow tables with the columns of the training among their own, at least one.
            may_miss: whether ratings that do not count are missing, NaN, in place of 0.

        Raises:
            DataError: a column is missing, ratings are no numbers, or training lacks an item.
        """
        import pyarrow as pa
        import scipy.sparse

        users, items, counts, kind, num = [], [], [], None, 0
        for table in tables:
            kind = self._columns(table)[1].type if kind is None else kind
            own = self._read(table, num)
            for into, part in zip((users, items, counts), own, strict=True):
                into.append(part)
            num += len(table)
        codes, distinct = _encoded(pa.chunked_array(users).combine_chunks())
        places, is_high = np.concatenate(items), np.concatenate(counts)
        rows = _ratings.last_of_each(codes, places, (codes >= 0) & (places >= 0))
        x = np.where(is_high[rows], 1.0, np.nan).astype(np.float32)
        x, rows = (x, rows) if may_miss else (x[is_high[rows]], rows[is_high[rows]])
        shape = (len(distinct), len(self.items))
        matrix = scipy.sparse.csr_array((x, (codes[rows], places[rows])), shape=shape)
        self._note_unknown(np.bincount(codes[rows][x == 1], minlength=len(distinct)))
        names = pa.table({self.ratings.user: distinct})
        return Users(matrix, names, _in_type(pa.array(self.items, pa.string()), kind))

    def _columns(self, table: Any) -> list[Any]:
        """The columns of users, items and ratings [N], without marks; ratings None if all count."""
        told, names = self.ratings, table.column_names
        reads_rating = told.rating_at_least is not None or told.rating in names
        wanted = [told.user, told.item, *([told.rating] if reads_rating else [])]
        for name in wanted:
            if names.count(name) != 1:
                raise DataError(
                    f"{self.where}: has {names.count(name)} columns {name!r}, training had one:"
                    " give one of that name"
                )
        return [_cells.without_marks(_cells.as_text(table[n]), self.marks) for n in wanted]

    def _read(self, table: Any, first_row: int) -> tuple[Any, np.ndarray, np.ndarray]:
        """Names of users as Arrow, places of items, and whether each rating counts: [N]."""
        import pyarrow.compute as pc

        user, item, *rating = self._columns(table)
        words = _words(item)
        places = pc.index_in(words, value_set=_words_of(self.items, words.type))
        places = np.asarray(places.fill_null(-1).to_numpy(), np.int64)
        self._note_unseen(words, places, first_row)
        is_high, user = np.ones(len(table), bool), user.combine_chunks()
        if rating:
            values = self._numbers(rating[0], first_row)
            least = self.ratings.rating_at_least
            is_high = np.full(len(table), True) if least is None else values >= least
            places = np.where(np.isnan(values), -1, places)
        return user, places, is_high

    def _numbers(self, column: Any, first_row: int) -> np.ndarray:
        """Ratings [N], NaN if missing."""
        name = self.ratings.rating
        assert name is not None
        values = _cells.numbers(name, column)
        if isinstance(values, _cells.Misfit):
            _cells.refuse(Path(self.where), [values._replace(row=values.row + first_row)])
        if values is None and column.null_count < len(column):
            raise DataError(
                f"{self.where}: column {name!r} of ratings holds no numbers: correct it"
            )
        return np.full(len(column), np.nan) if values is None else values

    def _note_unseen(self, words: Any, places: np.ndarray, first_row: int) -> None:
        """Refuses items that training lacks, or counts them."""
        is_odd = (places < 0) & words.is_valid().to_numpy(zero_copy_only=False)
        if not is_odd.any():
            return
        row, column = int(np.argmax(is_odd)), self.ratings.item
        if self.unseen == "refuse":
            raise DataError(
                f"{self.where}: column {column!r} holds {words[row].as_py()!r} in row"
                f" {row + first_row + 1:,}, which no user of the training rated: correct it, or"
                " leave such items out with unseen=missing"
            )
        odd = [*dict.fromkeys(words.filter(is_odd).to_pylist())]
        more = "" if len(odd) <= _MOST_NAMED else " and others"
        self._told.append(
            f"{np.sum(is_odd):,} ratings of items that training did not have are left out:"
            f" {_spelling.quoted(odd[:_MOST_NAMED])}{more}"
        )

    def _note_unknown(self, num_ratings: np.ndarray) -> None:
        """Counts users of whom the model knows nothing, from their ratings that count, [N]."""
        if lost := int(np.sum(num_ratings == 0)):
            self._told.append(
                f"{lost:,} users have no rating that counts: nothing is known of them"
            )

    def told(self) -> list[str]:
        """What was unusual about the ratings so far, a line each."""
        return [*dict.fromkeys(self._told)]


def _words(column: Any) -> Any:
    """Names of items [N] as text; whole numbers that are stored as floats without a point."""
    import pyarrow as pa

    if pa.types.is_floating(column.type):
        with contextlib.suppress(pa.ArrowInvalid):  # not whole
            column = column.cast(pa.int64())
    column = column if _cells.is_text(column.type) else column.cast(pa.string())
    return column.combine_chunks() if hasattr(column, "combine_chunks") else column


def _words_of(items: Sequence[str], kind: Any) -> Any:
    import pyarrow as pa

    return pa.array(items, kind)


def _encoded(names: Any) -> tuple[np.ndarray, Any]:
    """The index of each name [N] among the distinct ones in the order of their first, −1: none."""
    encoded = names if hasattr(names, "dictionary") else names.dictionary_encode()
    return encoded.indices.fill_null(-1).to_numpy().astype(np.int64), encoded.dictionary


def _in_type(items: Any, kind: Any) -> Any:
    """Names of items [D] in the type of a column if they have one, else as text."""
    import pyarrow as pa

    try:
        return items.cast(kind)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return items
