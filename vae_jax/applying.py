"""A trained model at work on new rows: tables and arrays in their own units, in and out."""

import collections
import dataclasses
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from vae_jax import arguments, forms, frames, labels, uses
from vae_jax.data import _cells, _notations
from vae_jax.data._matching import UNSEEN, Matcher
from vae_jax.data._new_ratings import NewRatings, Users
from vae_jax.errors import DataError, UsageError, shown, unknown
from vae_jax.schema import Column
from vae_jax.uses import CELLS, ITEM, Engine, Use

__all__ = ["Results", "Worker", "apply"]

_DRAW = "draw"
"""The name of the column that numbers several answers to one row, from 0."""
_BYTES_OF_BLOCK = 2**22
"""Of a sparse matrix, dense."""
_OPTIONS = ("seed", "unseen", "missing_values", "batch_size")


class Results(NamedTuple):
    """The results of a table [N].

    Attributes:
        table: an Arrow table of R rows.
        rows: index of the row that each is of, [R]; None if they are of users, of several rows.
    """

    table: Any
    rows: np.ndarray | None


class Worker:
    """A use of a trained model on rows as a user has them, tables or [N, *shape], by blocks.

    Args:
        trained: a `vae_jax.Trained`, or its like: `model`, `params`, `dataset`, `preprocess`,
            `about`.
        use: one of `vae_jax.uses`.
        seed: decides every draw, together with the index of a row, a count.
        unseen: "refuse" or "missing": what a category becomes that training did not have.
        missing_values: texts of missing cells; None takes those of the training.
        batch_size: see `Engine`.
        where: what the rows are called in messages, such as a path.

    Raises:
        UsageError: the model cannot do it, or a setting does not fit.
    """

    def __init__(
        self,
        trained: Any,
        use: Use,
        *,
        seed: int = 0,
        unseen: str = "refuse",
        missing_values: Sequence[str] | None = None,
        batch_size: int | None = None,
        where: str | Path = "rows",
    ):
        if unseen not in UNSEEN:
            raise unknown("unseen", unseen, UNSEEN)
        self.use, self.model, self.where = use, trained.model, where
        found = forms.of(trained.model, trained.dataset, trained.preprocess, trained.about)
        self.form = dataclasses.replace(found, where=str(where))
        self.engine = Engine(
            use,
            trained.model,
            trained.params,
            seed=seed,
            preprocess=self.form.preprocess,
            batch_size=batch_size,
        )
        marks = self.form.marks if missing_values is None else tuple(missing_values)
        schema = self.form.schema
        self.matcher = None if schema is None else Matcher(schema, where, marks, unseen)
        self.ratings = None
        if self.form.ratings is not None:
            self.ratings = NewRatings(self.form.ratings, self.form.items, where, marks, unseen)
        self._items = self._names_of_items()
        self._extra: dict[str, None] = {}

    def _names_of_items(self) -> Any:
        """The names of the D numbers of x as Arrow, or None."""
        import pyarrow as pa

        if self.form.schema is None:
            return None
        return pa.array([column.name for column in self.form.schema.used], pa.string())

    # --- Tables

    def table(self, table: Any, first_row: int = 0, places: np.ndarray | None = None) -> Any:
        """The results for a block of a table, as an Arrow table.

        Columns that the model does not learn from stay; the results follow them. A use that gives
        cells puts them in place of the columns that the model learns from.

        Args:
            table: an Arrow table of N rows.
            first_row: index of its first row in the whole, a count.
            places: index of each row in the whole, [N], if they are not consecutive.

        Raises:
            DataError: a column is missing, or a cell does not fit.
            UsageError: the model was not trained on a table with names.
        """
        return self.results(table, first_row, places).table

    def results(self, table: Any, first_row: int = 0, places: np.ndarray | None = None) -> Results:
        """The results for a block of a table, and the rows that they are of; see `table`.

        A table with a row for each rating gives those of each of its users, whose ratings must all
        be in it; see `users`.

        Args:
            table, first_row, places: as in `table`, N rows.
        """
        import pyarrow as pa

        if self.takes_users(table.column_names):
            users = self.users([table])
            parts = [self.beside(names, x, first) for first, names, x in users.blocks()]
            return Results(pa.concat_tables(parts), None)
        matcher = self._matcher()
        self._extra |= dict.fromkeys(matcher.check(table.column_names))
        codes = matcher.codes(table, first_row)
        self.form.refuse_missing(codes, self.use.takes_missing, first_row)
        condition = self._condition_of(table, first_row)
        places = first_row + np.arange(len(codes)) if places is None else places
        found = self._over(self.form.of_codes(codes), np.isnan(codes), places, condition)
        return self._joined(table, codes, found)

    def _matcher(self) -> Matcher:
        if self.matcher is None:
            told = "series" if self.form.kind == "sequence" else "arrays without names of columns"
            raise UsageError(
                f"rows: are a table, and the model was trained on {told}: give an array"
                f" [N{''.join(f', {n}' for n in self.form.shape)}]"
            )
        return self.matcher

    def _condition_of(self, table: Any, first_row: int) -> np.ndarray | None:
        """What the model is given for each row of a table: columns by name, or its label."""
        if self.form.schema is not None and self.form.schema.given:
            return self._matcher().given(table, first_row)
        return self._condition(self._labels_in(table))

    def _labels_in(self, table: Any) -> np.ndarray | None:
        """The labels [N] of a table, if the model is conditional."""
        if not self.model.num_conditions or self.form.schema is None:
            return None
        named = [c.name for c in self.form.schema.columns if c.kind == "label"]
        if not named or named[0] not in table.column_names:
            told = repr(named[0]) if named else "of labels"
            raise DataError(
                f"{self.where}: has no column {told}, and the model is conditional: give the label"
                " of each row"
            )
        return _cells.labels(_cells.as_text(table.column(named[0])), is_untyped=True)

    def _condition(self, given: Any, num: int | None = None) -> np.ndarray | None:
        """The condition of each row from labels [N], one label, or numbers [N, C]."""
        if given is None:
            return None
        if not self.model.num_conditions:
            raise UsageError(f"labels={shown(given)}: the model has no labels: leave them out")
        known = self.model.num_conditions, self.model.classes
        found = np.asarray(labels.condition(given, *known, what="labels"))
        return found if num is None else np.broadcast_to(found, (num, found.shape[1]))

    def _over(
        self, stored: np.ndarray, is_missing: np.ndarray, places: np.ndarray, condition: Any
    ) -> dict[str, np.ndarray]:
        """The results of stored rows, [N, …] by name; only rows with gaps if the others stay."""
        if not self.use.keeps_observed:
            return self.engine(stored, places, condition)
        chosen = np.flatnonzero(is_missing.any(axis=tuple(range(1, is_missing.ndim))))
        given = None if condition is None else condition[chosen]
        found = self.engine(stored[chosen], places[chosen], given)[CELLS]
        own = stored.reshape(len(stored), *(1,) * (found.ndim - stored.ndim), *stored.shape[1:])
        whole = np.broadcast_to(own, (len(stored), *found.shape[1:])).astype(np.float32)
        whole[chosen] = found
        return {CELLS: whole}

    def _joined(self, table: Any, codes: np.ndarray, found: dict[str, np.ndarray]) -> Results:
        """A table with the results."""
        rows = np.arange(len(table))
        if CELLS in found:
            table, columns = self._with_cells(table, codes, found.pop(CELLS))
            rows = np.repeat(rows, len(table) // len(rows) if len(rows) else 1)
            return Results(self._with(table, columns | _flat(found)), rows)
        used = {column.name for column in self.form.schema.used}
        table = table.drop_columns([name for name in table.column_names if name in used])
        return Results(*self._with_answers(table, found))

    def _with_answers(self, table: Any, found: dict[str, np.ndarray]) -> tuple[Any, np.ndarray]:
        """A table [N] with the results, several rows for each if it has several answers; which."""
        rows = np.arange(len(table))
        if ITEM not in found:
            return self._with(table, _flat(found)), rows
        rows, ranks = np.nonzero(found[ITEM] >= 0)
        columns: dict[str, Any] = {name: each[rows, ranks] for name, each in found.items()}
        if self._items is not None:
            columns[ITEM] = self._items.take(columns[ITEM])
        return self._with(table.take(rows), {**columns, "rank": ranks + 1}), rows

    def _with(self, table: Any, columns: dict[str, Any]) -> Any:
        """A table [N] with more columns."""
        for name, values in columns.items():
            if name in table.column_names:
                raise DataError(
                    f"{self.where}: column {name!r} has the name of a result: rename it"
                )
            table = table.append_column(name, [values])
        return table

    def _with_cells(self, table: Any, codes: np.ndarray, x: np.ndarray) -> tuple[Any, dict]:
        """A table [N] with cells x [N, D] in place of its own, or [N, M, D] in N·M rows."""
        draws = {}
        if x.ndim == 3:
            num_rows, num = x.shape[:2]
            places = np.repeat(np.arange(num_rows), num)
            table, codes, x = table.take(places), codes[places], x.reshape(-1, x.shape[-1])
            draws = {_DRAW: np.tile(np.arange(num), num_rows)}
        values, names = self.form.values(x), table.column_names
        index_of, columns = {name: index for index, name in enumerate(names)}, table.columns
        for place, column in enumerate(self.form.schema.used):
            index = index_of[column.name]
            own = _cells.as_text(columns[index])
            new = _as_arrow(column, values[column.name], own)
            if self.use.keeps_observed:
                new = _where(np.isnan(codes[:, place]), new, own)
            columns[index] = new
        # at once: to set one column copies the places of all
        made = type(table).from_arrays(columns, names=names)
        return made.replace_schema_metadata(table.schema.metadata), draws

    # --- Ratings

    def takes_users(self, names: Sequence[str]) -> bool:
        """Whether a table with columns of these names [N] has a row for each rating."""
        return self.ratings is not None and self.ratings.is_of(names)

    def users(self, tables: Iterable[Any]) -> Users:
        """The users of consecutive tables with a row for each rating, as rows [N, D].

        Raises:
            DataError: the ratings do not fit the training.
            UsageError: the use gives a number for each item.
        """
        assert self.ratings is not None
        if self.use.gives_cells:
            raise UsageError(
                f"{self.where}: has a row for each rating, and the use gives a number for each"
                " item: take the use recommend, or give an array [N, "
                f"{self.form.shape[0]}] of users and items"
            )
        found = self.ratings.users(tables, may_miss=self.use.takes_missing)
        self._items = found.items
        return found

    # --- Arrays

    def array(self, rows: np.ndarray, first_row: int = 0, given: Any = None) -> np.ndarray:
        """The results for an array, in the units of the rows.

        Args:
            rows: [N, *shape], or N strings, see `Form.of_array`.
            first_row: index of the first row, a count.
            given: labels [N] or numbers [N, C], of a conditional model.

        Returns:
            Cells [N, *shape] or [N, M, *shape]; or the results side by side, [N, F], [N] if F is 1;
            [N, M, F] of M answers.
        """
        rows = np.asarray(rows)
        if not self.use.gives_cells:
            found = self._of_array(rows, first_row, given)
            columns = [*(found if ITEM in found else _flat(found)).values()]
            return columns[0] if len(columns) == 1 else np.stack(columns, axis=-1)
        x = self._of_array(rows, first_row, given)[CELLS]
        draws = x.shape[1 : x.ndim - len(self.model.shape)]
        cells = self.form.array(x.reshape(-1, *self.model.shape), rows)
        cells = cells.reshape(len(rows), *draws, *rows.shape[1:])
        if not self.use.keeps_observed:
            return cells
        own = rows.reshape(len(rows), *(1 for _ in draws), *rows.shape[1:])
        return np.where(np.isnan(own) if rows.dtype.kind == "f" else np.False_, cells, own)

    def beside(self, names: Any, rows: np.ndarray, first_row: int = 0, given: Any = None) -> Any:
        """The results for an array as a table; not of a use that gives cells.

        Args:
            names: what names the rows, an Arrow table [N], whose columns come first.
            rows, first_row, given: see `array`; rows are [N, *shape].
        """
        return self._with_answers(names, self._of_array(np.asarray(rows), first_row, given))[0]

    def _of_array(self, rows: np.ndarray, first_row: int, given: Any) -> dict[str, np.ndarray]:
        """The results for an array as the engine gives them, [N, …] by name."""
        stored = self.form.of_array(rows, may_miss=self.use.takes_missing)
        is_missing = np.isnan(rows) if rows.dtype.kind == "f" else np.zeros(rows.shape, bool)
        places = first_row + np.arange(len(rows))
        return self._over(stored, is_missing, places, self._condition(given))

    # --- Rows that are made

    def made(self, num: int, given: Any = None, first_row: int = 0) -> Any:
        """New rows: an Arrow table if training had one with names, else an array.

        Args:
            num: N, a count.
            given: a label for all rows, labels [N] or numbers [N, C], of a conditional model.
            first_row: index of the first row, a count.
        """
        import pyarrow as pa

        num = arguments.integer("num", num, 1)
        condition = self._condition(given, num)
        x = self.engine.made(num, first_row, condition)[CELLS]
        if self.form.schema is None:
            return self.form.array(x)
        values = self.form.values(x)
        columns = {c.name: c for c in self.form.schema.columns}
        arrays = {name: _as_arrow(columns[name], each, None) for name, each in values.items()}
        return pa.table(arrays)

    def told(self) -> list[str]:
        """What was unusual about the rows so far, a line each."""
        lines = []
        if self._extra:
            named = ", ".join(map(repr, self._extra))
            lines.append(f"columns that training did not have, not read: {named}")
        lines += self.ratings.told() if self.ratings else []
        return [*lines, *(self.matcher.told() if self.matcher else [])]


def apply(trained: Any, name: str, rows: Any = None, **settings: Any) -> Any:
    """Applies a trained model to new rows; the result is of the kind of the rows.

    Args:
        trained: a `vae_jax.Trained`.
        name: one of `uses.names()`.
        rows: a table (pandas, polars, Arrow, columns by name), an array [N, *shape], a matrix of
            scipy.sparse, or {"x": x, "labels": y} for a conditional model; of `sample` their
            number, a count. If training had a row for each rating, so has a table.
        settings: those of the use, and seed, unseen, missing_values, batch_size, see `Worker`; of
            a conditional `sample` also label.

    Returns:
        A table of the same library, or an array, see `Worker`.

    Raises:
        UsageError: the model cannot do it, or a setting is unknown or does not fit.
        DataError: the rows do not fit the training.
    """
    options = {key: settings.pop(key) for key in _OPTIONS if key in settings}
    given = settings.pop("label", None)
    worker = Worker(trained, uses.make(name, **settings), **options)
    if not worker.use.takes_rows:
        return worker.made(rows, given)
    if given is not None:
        raise UsageError(f"label={shown(given)}: is for sample: give {{'x': x, 'labels': y}}")
    found = _on_table(worker, rows)
    for line in worker.told():
        warnings.warn(f"rows: {line}", stacklevel=3)
    return found


def _on_table(worker: Worker, rows: Any) -> Any:
    """The results of a table or an array."""
    if hasattr(rows, "tocsr"):  # scipy.sparse need not be imported
        return _of_sparse(worker, rows.tocsr())
    read = frames.read(rows)
    if read is None:
        told = arguments.examples(rows)
        odd = told.keys() - {"x", "labels", "condition"}
        if odd:
            raise UsageError(f"rows: hold {min(odd)!r} beside 'x': give 'labels' or 'condition'")
        return worker.array(told["x"], given=told.get("labels", told.get("condition")))
    table, back = read
    return back(*worker.results(table))


def _of_sparse(worker: Worker, rows: Any) -> np.ndarray:
    """The results of a sparse matrix [N, D], of which a block is dense at a time."""
    num = max(1, _BYTES_OF_BLOCK // (8 * max(1, rows.shape[1])))
    parts = [
        worker.array(rows[first : first + num].toarray(), first)
        for first in range(0, max(1, rows.shape[0]), num)
    ]
    return np.concatenate(parts)


def _flat(found: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Results [N] or [N, F] as columns [N]: name, or name0, name1, …."""
    columns = {}
    for name, values in found.items():
        if values.ndim == 1:
            columns[name] = values
        else:
            columns |= {f"{name}{i}": values[:, i] for i in range(values.shape[1])}
    return columns


# --- Cells as Arrow


def _as_arrow(column: Column, values: np.ndarray, own: Any) -> Any:
    """Values [N] of a column as Arrow has the user's own, so far as they fit.

    Numbers of a column of integers are rounded, those of a column of text are written out.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = None if own is None else own.type
    if column.levels:
        return _levels_as_arrow(column, values, kind)
    array = pa.array(values)
    if column.kind == "date":
        is_date = kind is not None and (pa.types.is_date(kind) or pa.types.is_timestamp(kind))
        return array if kind is None else array.cast(kind if is_date else pa.string(), safe=False)
    if column.kind == "count":
        array = array.cast(pa.int64(), safe=False)
    if kind is None or pa.types.is_boolean(kind) or pa.types.is_decimal(kind):
        return array
    if not _cells.is_text(kind):
        array = pc.round(array) if pa.types.is_integer(kind) else array
        return array.cast(kind, safe=False)
    notation = column.notation or _notations.find(own)
    if notation:
        return pa.array(_notations.written(array.to_pylist(), notation), kind)
    return array.cast(kind)


def _levels_as_arrow(column: Column, values: np.ndarray, kind: Any) -> Any:
    """Levels [N] as Arrow: in the type of the column if they fit it."""
    import pyarrow as pa

    types = collections.Counter(map(type, column.levels))
    plain = {bool: pa.bool_(), int: pa.int64(), float: pa.float64()}
    own = plain.get(next(iter(types)), pa.string()) if len(types) == 1 else pa.string()
    if set(types) == {int, float}:
        own = pa.float64()
    if pa.types.is_string(own) or (kind is not None and _cells.is_text(kind)):
        own = pa.string() if kind is None or not _cells.is_text(kind) else kind
        return pa.array([None if v is None else str(v) for v in values.tolist()], own)
    array = pa.array(values.tolist(), own)
    is_number = kind is not None and (pa.types.is_integer(kind) or pa.types.is_floating(kind))
    return array.cast(kind, safe=False) if is_number else array


def _where(is_missing: np.ndarray, new: Any, own: Any) -> Any:
    """New cells where the own ones are missing, which stay as they are elsewhere; Arrow, [N]."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if own.type != new.type:
        own = own.cast(new.type, safe=False)
    return pc.if_else(pa.array(is_missing), new, own)
