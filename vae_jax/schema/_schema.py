"""The schema of a table: its columns, and from rows to the input of a model and back."""

import collections
import dataclasses
import shutil
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from vae_jax.errors import DataError, UsageError
from vae_jax.schema._kind import Cells, Column, Kind, as_cells

__all__ = ["Schema"]

_MOST_ROWS = 30  # of the table that is printed
_NARROWEST = 40
_MISSING = {"number": np.nan, "date": np.datetime64("NaT", "us"), "word": None}


@dataclasses.dataclass(frozen=True)
class Schema:
    """The columns of a table, in the order of the file; rows become the input of a model, [N, D].

    Rows become codes, one number for each column that is learned from (see `Column`), and codes
    become the input of a model: one or several numbers for each of these columns, D in all. A
    missing cell is NaN in both.

    Attributes:
        columns: all columns, also those that are left out.
        kind_of: name of a kind → the kind.
    """

    columns: tuple[Column, ...]
    kind_of: Callable[[str], type[Kind]] = dataclasses.field(repr=False, compare=False)

    @property
    def used(self) -> tuple[Column, ...]:
        """The C columns that are learned from."""
        each = (c for c in self.columns if self.kind_of(c.kind).likelihood)
        return tuple(c for c in each if not c.is_given)

    @property
    def given(self) -> tuple[Column, ...]:
        """The columns on which a model is conditioned."""
        return tuple(c for c in self.columns if c.is_given)

    @property
    def parts(self) -> tuple[tuple[str, int], ...]:
        """For each column that is learned from: the part of `likelihoods.Mixed`, and its width."""
        kinds = ((c, self.kind_of(c.kind)) for c in self.used)
        return tuple((kind.likelihood, kind.width(column)) for column, kind in kinds)

    @property
    def is_mixed(self) -> bool:
        """Whether some columns have another likelihood than a Gaussian."""
        return any(part != "gaussian" for part, _ in self.parts)

    @property
    def numbers(self) -> dict[int, Column]:
        """The columns that become one number each, by their place among those in use."""
        used = enumerate(self.used)
        return {place: c for place, c in used if self.kind_of(c.kind).width(c) == 1}

    @property
    def slots(self) -> tuple[str, ...]:
        """Names of the D numbers of a row in the input of a model."""
        return tuple(name for c in self.used for name in self.kind_of(c.kind).slots(c))

    # --- From rows to the input of a model, and back

    def codes(self, rows: Mapping[str, Any]) -> np.ndarray:
        """Codes [N, C] of rows, float64.

        Args:
            rows: name of a column → its values [N] or `Cells`; columns that the schema does not
                learn from are ignored.

        Raises:
            DataError: a column is missing, or holds a value that it cannot have.
        """
        return self._codes(self.used, rows)

    def _codes(self, columns: Sequence[Column], rows: Mapping[str, Any]) -> np.ndarray:
        lost = [c.name for c in columns if c.name not in rows]
        if lost:
            raise DataError(
                f"rows: have no column {', '.join(map(repr, lost[:6]))}: give each column that the"
                f" schema learns from: {', '.join(repr(c.name) for c in columns[:10])}"
            )
        known = [self.code(c.name, rows[c.name]) for c in columns]
        return np.column_stack(known) if known else np.zeros((0, 0))

    def code(self, name: str, values: Any) -> np.ndarray:
        """Codes [N] of one column, float64; see `codes`.

        Args:
            name: of the column.
            values: its values [N] or `Cells`.

        Raises:
            DataError: it holds a value that it cannot have.
        """
        column = next(c for c in self.columns if c.name == name)
        return self.kind_of(column.kind).code(column, as_cells(values))

    def expand(self, codes: np.ndarray, done: Collection[int] = ()) -> np.ndarray:
        """Codes [N, C] to the input of a model, [N, D] float32.

        Args:
            codes: see `codes`.
            done: places of columns, 0 … C − 1, that hold what `expand_number` returns.
        """
        return self._expand(self.used, codes, done)

    def expand_number(self, column: Column, codes: np.ndarray) -> np.ndarray:
        """Codes [N] of a column that becomes one number to this number, [N] float32."""
        return self._expand((column,), codes[:, None])[:, 0]

    def _expand(
        self, columns: Sequence[Column], codes: np.ndarray, done: Collection[int] = ()
    ) -> np.ndarray:
        parts = [
            codes[:, [place]] if place in done else self.kind_of(c.kind).expand(c, codes[:, place])
            for place, c in enumerate(columns)
        ]
        with np.errstate(over="ignore"):
            return np.concatenate(parts, axis=1).astype(np.float32)

    # --- Conditions

    def given_codes(self, rows: Mapping[str, Any]) -> np.ndarray:
        """Codes [N, G] of the columns on which a model is conditioned, float64; see `codes`."""
        return self._codes(self.given, rows)

    def expand_given(self, codes: np.ndarray) -> np.ndarray:
        """Codes [N, G] of conditions to the numbers that a model is given, [N, W] float32."""
        return self._expand(self.given, codes)

    def condition(self, rows: Mapping[str, Any]) -> np.ndarray:
        """The condition of rows, [N, W] float32; unit vectors for levels, numbers standardized.

        Args:
            rows: as for `codes`, with the columns of `given`.

        Raises:
            DataError: a column is missing, has a missing cell, or a value that it cannot have.
        """
        codes = self.given_codes(rows)
        self.refuse_missing(codes)
        return self.expand_given(codes)

    def refuse_missing(self, codes: np.ndarray) -> None:
        """Raises DataError if a code of a condition is missing, in [N, G]."""
        for place, column in enumerate(self.given):
            if num := int(np.isnan(codes[:, place]).sum()):
                raise DataError(
                    f"condition={column.name}: {num:,} of {len(codes):,} cells are missing: fill"
                    " them in, or learn the column in place of giving it: leave condition out"
                )

    def given_stored(self, codes: np.ndarray) -> "Schema":
        """The schema with the units of the conditions of training rows, codes [N, G]."""
        return self._stored(self.given, codes, "auto")

    def collapse(self, x: np.ndarray) -> np.ndarray:
        """The input or output of a model, [N, D], to codes [N, C]: the nearest ones."""
        x, start, found = np.asarray(x), 0, []
        for column in self.used:
            kind = self.kind_of(column.kind)
            stop = start + kind.width(column)
            found.append(kind.collapse(column, x[:, start:stop]))
            start = stop
        if x.ndim != 2 or x.shape[1] != start:
            raise UsageError(f"x: has shape {list(x.shape)}: must be [rows, {start}]")
        return np.column_stack(found).astype(np.float64)

    def encode(self, rows: Mapping[str, Any]) -> np.ndarray:
        """Rows to the input of a model, [N, D] float32; see `codes`."""
        return self.expand(self.codes(rows))

    def decode(self, x: np.ndarray) -> dict[str, np.ndarray]:
        """The input or output of a model, [N, D], to rows in each column's own units and words.

        Returns:
            Name of a column → its values [N]: numbers, datetime64, or levels as objects, None if
            missing. Columns that do not vary are added; other columns that are not learned from
            are not known.
        """
        codes = self.collapse(x)
        values = {
            c.name: self.kind_of(c.kind).values(c, codes[:, place])
            for place, c in enumerate(self.used)
        }
        constant = {c.name: c.levels[0] for c in self.columns if c.kind == "constant"}
        values |= {name: np.array([level] * len(codes), object) for name, level in constant.items()}
        return {c.name: values[c.name] for c in self.columns if c.name in values}

    def without_unseen(
        self, rows: Mapping[str, Any]
    ) -> tuple[dict[str, Cells], dict[str, np.ndarray]]:
        """Rows with missing cells in place of values that are none of a column's levels.

        Args:
            rows: as for `codes`.

        Returns:
            (name of a column that is learned from, or given → its cells [N], name → the n values of
            these cells); the second has only columns with such values.
        """
        known, unseen = {}, {}
        for column in (*self.used, *self.given):
            cells = as_cells(rows[column.name])
            known[column.name], is_unseen = self.known(column, cells)
            if is_unseen.any():
                unseen[column.name] = cells.values[is_unseen]
        return known, unseen

    def known(self, column: Column, cells: Cells) -> tuple[Cells, np.ndarray]:
        """The cells [N] of a column with missing ones in place of those that are no level of it.

        Returns:
            (cells [N], which have a value that the column's own levels lack, [N]).
        """
        is_unseen = self.kind_of(column.kind).unseen(column, cells)
        if not is_unseen.any():
            return cells, is_unseen
        values = cells.values.copy()
        values[is_unseen] = _MISSING[cells.type]
        return Cells(values, cells.order), is_unseen

    def stored(self, codes: np.ndarray, scaling: str = "auto") -> "Schema":
        """The schema with the units of storage of training rows, codes [N, C]."""
        return self._stored(self.used, codes, scaling)

    def _stored(self, columns: Sequence[Column], codes: np.ndarray, scaling: str) -> "Schema":
        found = {}
        for place, column in enumerate(columns):
            own = codes[:, place]
            kind = self.kind_of(column.kind)
            found[column.name] = kind.stored(column, own[~np.isnan(own)], scaling)
        columns = tuple(found.get(c.name, c) for c in self.columns)
        return dataclasses.replace(self, columns=columns)

    def in_units(self, centers: Sequence[float], scales: Sequence[float]) -> "Schema":
        """The schema with these units of storage for the C columns that are learned from, [C]."""
        pairs = zip(self.used, centers, scales, strict=True)
        found = {c.name: dataclasses.replace(c, center=a, scale=b) for c, a, b in pairs}
        return dataclasses.replace(self, columns=tuple(found.get(c.name, c) for c in self.columns))

    def as_binary(self, highest: int) -> "Schema":
        """The schema of a table of D columns whose values are all 0 or `highest`, which is 1."""
        binary = {"kind": "binary", "levels": (0, highest), "low": None, "high": None}
        used = {c.name: dataclasses.replace(c, **binary) for c in self.used}
        return dataclasses.replace(self, columns=tuple(used.get(c.name, c) for c in self.columns))

    # --- As text

    def lines(self, width: int | None = None) -> list[str]:
        """The schema as a table: name, kind, share missing, range or levels, what is done.

        Args:
            width: characters of a line, a count; None means those of the terminal.
        """
        width = max(_NARROWEST, width or shutil.get_terminal_size().columns)
        shown = self.columns
        if len(shown) > _MOST_ROWS:
            shown = shown[: _MOST_ROWS - 1]
        rows = [("column", "kind", "missing", "range or levels", "what is done")]
        rows += [self._row(column) for column in shown]
        lines = _aligned(rows, width)
        rest = collections.Counter(c.kind for c in self.columns[len(shown) :])
        if rest:
            told = ", ".join(f"{num:,} {kind}" for kind, num in sorted(rest.items()))
            lines.append(_cut(f"… and {sum(rest.values()):,} more columns: {told}", width))
        return lines

    def _row(self, column: Column) -> tuple[str, ...]:
        kind = self.kind_of(column.kind)
        done = f"left out: {column.why}" if column.why else kind.treated(column)
        if column.is_given:
            done = f"condition: {done}"
        elif self.is_mixed and kind.density:
            done = f"{done}, {kind.density}"
        missing = f"{100 * column.missing:.3g} %" if column.missing else "0"
        return column.name, column.kind, missing, kind.told(column), done

    def as_json(self) -> list[dict]:
        """The schema as plain JSON values; fields with their default are left out."""
        usual = {f.name: f.default for f in dataclasses.fields(Column)}
        return [
            {k: _plain(v) for k, v in dataclasses.asdict(c).items() if v != usual[k]}
            for c in self.columns
        ]


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _aligned(rows: Sequence[Sequence[str]], width: int) -> list[str]:
    """Rows of a table with aligned columns; long cells are cut until a line fits."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    gaps = 2 * (len(widths) - 1)
    while sum(widths) + gaps > width:
        # what is done is cut last
        widest = max(range(len(widths)), key=lambda i: widths[i] - (i == len(widths) - 1) * 15)
        widths[widest] -= 1
    return [
        "  ".join(
            _cut(cell, size).ljust(size) for cell, size in zip(row, widths, strict=True)
        ).rstrip()
        for row in rows
    ]


def _cut(text: str, width: int) -> str:
    text = "".join(c if c.isprintable() else "?" for c in text)
    return text if len(text) <= width else f"{text[: width - 1]}…"


def share_missing(cells: Cells) -> float:
    """The share of missing cells [N], a scalar."""
    return float(np.mean(cells.missing)) if len(cells.values) else 0.0


def names_of(columns: Iterable[Column], kind: str) -> list[str]:
    """The names of the columns of a kind."""
    return [column.name for column in columns if column.kind == kind]
