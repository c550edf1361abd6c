"""The rows of another table, read by the schema of a table that was read before."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from vae_jax.data import _cells, _matching, _spelling, _table_files
from vae_jax.data._matching import are_words
from vae_jax.data._part import Part, Reading
from vae_jax.errors import DataError, UsageError
from vae_jax.schema import Cells, Schema

__all__ = ["Rows", "as_test", "read"]

_MOST_SHOWN = 3  # unknown values of a column


class Rows(NamedTuple):
    """Rows of a table that a schema describes.

    Attributes:
        cells: name of a column that the schema learns from → its cells [N].
        labels: [N], see `_cells.labels`; None if the schema has no label, or the file lacks it.
        notes: lines for the log.
    """

    cells: dict[str, Cells]
    labels: np.ndarray | None
    notes: list[str]


def as_test(
    where: Path, parts: Mapping[str, Part], reading: Reading
) -> tuple[dict[str, Part], list[str]]:
    """Parts [N, …] of a table, with the rows of `reading.test_data` as the test split; and notes.

    Raises:
        UsageError: the table has a test split, or no schema.
        DataError: the other table cannot be read by its schema.
    """
    path, (first, *_) = reading.test_data, parts.values()
    if first.schema is None:
        raise UsageError(
            f"test_data={path}: is read by the kinds of the columns of {where}, which has none"
            " with kinds=numeric, with window, or if two columns have one name: leave test_data out"
        )
    if "test" in parts:
        raise UsageError(
            f"test_data={path}: {where} names test rows of its own: leave test_data out, or drop"
            " what names them"
        )
    rows = read(path, where, first.schema, reading)
    with _table_files.named(path):
        x = first.schema.codes(rows.cells)
        given = first.schema.given_codes(rows.cells) if first.schema.given else None
    notes = rows.notes
    has_codes = first.has_codes or bool(np.isnan(x).any())
    labels = rows.labels
    if has_codes and not (kept := ~np.isnan(x).all(axis=1)).all():
        notes.append(f"{np.sum(~kept):,} of {len(x):,} rows have no known cell: left out")
        x, labels = x[kept], None if labels is None else labels[kept]
        given = None if given is None else given[kept]
    if not len(x):
        raise DataError(f"{path}: has no row with a known cell: give rows to test on")
    own = {k: dataclasses.replace(part, has_codes=has_codes) for k, part in parts.items()}
    own = {("train" if k == "all" else k): part for k, part in own.items()}
    told = {"labels": labels, "condition": given, "may_train": None}
    test = dataclasses.replace(own["train"], x=x, **told)
    notes.append(f"its {len(x):,} rows are the test split")
    return {**own, "test": test}, [f"{path}: {note}" for note in notes]


def read(path: Path, where: Path, schema: Schema, reading: Reading) -> Rows:
    """Reads the rows of a table [N, D] whose columns are those of a schema, matched by name.

    A level that the schema does not know is a missing cell, with a note. Columns that the schema
    does not have are not used, with a note; columns that it does not learn from may be missing.

    Args:
        path: the table.
        where: the table that the schema describes, for messages.
        schema: its columns.
        reading: marks of missing cells.

    Raises:
        DataError: it cannot be read, lacks a column, or has a cell that its kind does not allow.
    """
    words = [c.name for c in schema.columns if c.kind == "label" or c.notation or are_words(c)]
    source = _table_files.read(path, reading, words, reading.test_sheet)
    names = source.table.column_names
    columns = _matching.compared(schema, names)
    _refuse_other_columns(path, where, columns)
    notes, there = [*source.notes], {*names}
    if columns.extra:
        told = _spelling.quoted(columns.extra)
        notes.append(f"columns that {where} does not have are not used: {told}")
    if lost := [c.name for c in schema.columns if c.name not in there]:
        notes.append(f"lacks columns that are not learned from: {_spelling.quoted(lost)}")
    marks = reading.missing_values or ()
    table = dict(zip(names, source.table.columns, strict=True))
    table = {n: _cells.without_marks(_cells.as_text(c), marks) for n, c in table.items()}
    needed = (*schema.used, *schema.given)
    with _table_files.damage_named(path):
        found = {
            c.name: _matching.cells_of(path, c, table[c.name], decimal=reading.decimal)
            for c in needed
        }
        of_labels = [c.name for c in schema.columns if c.kind == "label" and c.name in table]
        labels = None
        if of_labels:
            labels = _cells.labels(table[of_labels[0]], is_untyped=source.is_untyped)
    known, unseen = schema.without_unseen(found)
    for name, values in unseen.items():
        told = _spelling.quoted([*dict.fromkeys(map(str, values))][:_MOST_SHOWN])
        notes.append(
            f"{len(values):,} cells of {name!r} are missing: {where} has no {told} in that column"
        )
    return Rows(known, labels, notes)


def _refuse_other_columns(path: Path, where: Path, found: _matching.Names) -> None:
    if found.twice:
        named = _spelling.quoted(sorted(found.twice))
        raise DataError(f"{path}: has several columns {named}: rename all but one of them")
    if found.lost:
        raise DataError(
            f"{path}: has no column {_spelling.quoted(found.lost)}, of which {where} is learned"
            f" from: add it, or leave it out of both with ignore={','.join(found.lost)}"
        )
