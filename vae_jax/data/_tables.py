"""Tables of users, of one or several files: which columns to use."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vae_jax import schema as schema_lib
from vae_jax.data import (
    _cells,
    _compact,
    _notations,
    _other_rows,
    _ratings,
    _spelling,
    _splits,
    _table_files,
    _times,
)
from vae_jax.data._part import Part, Reading, complete, named_splits
from vae_jax.errors import DataError, UsageError, first_line, unknown

__all__ = ["read"]

_MOST_SEEN = 1000  # distinct words of a column
_MANY_ROWS = 30  # in this many rows, integers that are not identifiers rarely all differ


@dataclasses.dataclass
class _Columns:
    """The columns of a table by their role.

    Attributes:
        features: numbers [N] by name, `compact`, in the order of the table, NaN if missing.
        labels: [N], or None.
        unlabeled: why a column of labels was dropped, or "".
        splits: the split of each row, or None.
        left_out: reason → names of the columns that are not used.
        cells: the cells of every column by name, but for labels and splits.
        notations: how numbers are written, by name, if not plainly; see `schema.Column`.
        roles: the kind that a column has by its name, by name: "label", "split", "index", …
        notes: lines for the log.
    """

    features: list[tuple[str, np.ndarray]] = dataclasses.field(default_factory=list)
    labels: np.ndarray | None = None
    unlabeled: str = ""
    splits: _splits.Splits | None = None
    left_out: dict[str, list[str]] = dataclasses.field(default_factory=dict)
    cells: _compact.HeldCells = dataclasses.field(default_factory=_compact.HeldCells)
    notations: dict[str, str] = dataclasses.field(default_factory=dict)
    roles: dict[str, str] = dataclasses.field(default_factory=dict)
    notes: list[str] = dataclasses.field(default_factory=list)


def read(path: Path, files: Sequence[Path], reading: Reading) -> tuple[dict[str, Part], list[str]]:
    """Reads the columns of a table, its label column and its split columns.

    Complete numeric columns beside none of another kind become numbers. Other tables become codes,
    see `schema.Schema`.

    In a folder there are one or several tables per split ("train.csv", "data/test-0.parquet"), or
    shards of one table.

    Args:
        path: the table, or the folder given by the user.
        files: files with a suffix of `SUFFIXES`, sorted.
        reading: kinds that are set; if `is_numeric` and missing_values is set, rows with a missing
            cell are dropped, with a note, unless a window is cut from them.

    Returns:
        (parts, notes); x [N, D] float64, NaN for missing cells.

    Raises:
        DataError: a table cannot be read, or holds nothing to learn from; or names do not tell the
            splits, or tables have different columns.
    """
    by_split = {"all": list(files)} if len(files) == 1 else _by_split(path, files)
    whole, sizes = _whole(by_split, reading)
    if reading.window is not None:
        whole.notes.extend(_times.check(path, whole.table.column_names, whole.table.columns))
    with _table_files.released():
        return _parts(path, whole, sizes, reading)


def _whole(
    by_split: Mapping[str, Sequence[Path]], reading: Reading
) -> tuple[_table_files.Source, dict[str, int]]:
    """The table of all files, its rows sorted by split, and how many rows each split has."""
    tables, files = {}, []
    for split, own in by_split.items():
        held = [_table_files.read(file, reading, sheet=reading.sheet) for file in own]
        tables[split] = _joined(own, [file.table for file in held])
        files += held
    whole = _table_files.Source(
        _joined([own[0] for own in by_split.values()], list(tables.values())),
        list(dict.fromkeys(note for file in files for note in file.notes)),
        is_untyped=all(file.is_untyped for file in files),
        is_named=all(file.is_named for file in files),
        unlabeled=next((file.unlabeled for file in files if file.unlabeled), ""),
        orders=files[0].orders if all(f.orders == files[0].orders for f in files) else {},
    )
    return whole, {split: len(table) for split, table in tables.items()}


def _by_split(folder: Path, files: Sequence[Path]) -> dict[str, list[Path]]:
    """Split → its files; "all" → files that are shards of one table."""
    stems = {file: _spelling.shard(_spelling.stem(file)) for file in files}
    for names in (stems, {file: file.parent.relative_to(folder).name for file in files}):
        meanings = named_splits(folder, names.values(), "files")
        if not any(meanings.values()):
            continue
        by_split: dict[str | None, list[Path]] = {}
        for file in files:
            by_split.setdefault(meanings[names[file]], []).append(file)
        if lost := by_split.pop(None, []):
            own = [file.name for held in by_split.values() for file in held]
            raise DataError(
                f"{lost[0]}: lies beside {_spelling.quoted(own)}, which look like splits: move it"
                " away, or give the path of one file"
            )
        _refuse_scattered(folder, by_split)
        return by_split
    if len({*stems.values()}) > 1:
        raise DataError(
            f"{folder}: holds the tables {_spelling.quoted([file.name for file in files])}, none"
            " called train: give the path of one file, or call them train, valid and test"
        )
    return {"all": list(files)}


def _refuse_scattered(folder: Path, by_split: Mapping[str, Sequence[Path]]) -> None:
    """Refuses files of one split in several folders, which may be folds or several datasets."""
    for split, files in by_split.items():
        places = sorted({str(file.parent.relative_to(folder)) for file in files})
        if len(places) > 1:
            raise DataError(
                f"{folder}: the folders {_spelling.quoted(places)} both hold files of {split}: give"
                " the path of one of them, or move their files into one folder"
            )


def _joined(files: Sequence[Path], tables: Sequence) -> Any:
    """Concatenates tables with the same columns."""
    import pyarrow as pa

    names = tables[0].column_names
    for file, table in zip(files, tables, strict=True):
        if sorted(table.column_names) != sorted(names):
            odd = sorted({*table.column_names} ^ {*names}) or names
            raise DataError(
                f"{file}: has other columns than {files[0]} ({_spelling.quoted(odd)} in one of them"
                " alone): give both the same columns"
            )
    if len(tables) == 1:
        return tables[0]
    whole = tables[0]
    for file, table in zip(files[1:], tables[1:], strict=True):
        try:
            whole = pa.concat_tables([whole, table.select(names)], promote_options="permissive")
        except pa.ArrowException as error:
            raise DataError(
                f"{file}: its columns hold other kinds of values than those of {files[0]}"
                f" ({first_line(error)}): write them alike"
            ) from None
    return whole


def _parts(
    where: Path, source: _table_files.Source, sizes: Mapping[str, int], reading: Reading
) -> tuple[dict[str, Part], list[str]]:
    """Parts of a table whose rows are sorted by split: split → number of rows."""
    found = _ratings.columns(where, source.table.column_names, reading)
    if found is not None:
        parts, notes = _ratings.read(where, source.table, found, [*sizes], reading)
        return parts, [*source.notes, *notes]
    with _table_files.damage_named(where), _table_files.released():
        columns = _columns(where, source, list(sizes.values()), reading)
    notes = [*source.notes, *columns.notes]
    schema, has_codes = _schema(where, source.table.column_names, columns, reading)
    if columns.left_out and not has_codes:
        told = (f"{_spelling.quoted(own)} ({why})" for why, own in columns.left_out.items())
        notes.append(f"left out the columns {', '.join(told)}")
    if not (columns.features if schema is None else schema.used):
        raise DataError(
            f"{where}: has no {'numeric ' if reading.is_numeric else ''}column to learn from, only "
            f"{_spelling.quoted(source.table.column_names) or 'none'}"
        )
    may_train = reading.train_where and reading.train_where.rows(columns.cells)
    with _table_files.named(where):
        given = schema.given_codes(columns.cells) if schema is not None and schema.given else None
        names, x = _values(columns, schema, has_codes=has_codes)
    splits = [*sizes]
    of_rows = np.repeat(np.arange(len(splits), dtype=np.int8), [*sizes.values()])
    if columns.splits is not None and splits == ["all"]:
        splits, of_rows = columns.splits.names, columns.splits.numbers
    kept = np.ones(len(x), bool)
    if has_codes:
        kept, told = _known_rows(x)
        notes += told
    # without a row of a series, others would become neighbors in time
    elif reading.missing_values is not None and reading.window is None:
        kept, told = _complete_rows(where, names, x)
        notes += told
    told = {"unlabeled": columns.unlabeled, "schema": schema, "has_codes": has_codes}
    parts = {}
    for number, split in enumerate(splits):
        own = kept & (of_rows == number)
        labels = None if columns.labels is None else columns.labels[own]
        rows = x if own.all() else x.select(np.flatnonzero(own))
        rows = rows if reading.window is None else rows[:]
        condition = None if given is None else given[own]
        parts[split] = Part(rows, labels, condition, columns=names, **told)
        if may_train is not None and split != "test":
            parts[split] = dataclasses.replace(parts[split], may_train=may_train[own])
    if "all" not in parts:
        parts, told = complete(where, parts, "files" if len(sizes) > 1 else "rows")
        notes = [*told, *notes]
    if reading.test_data is None:
        return parts, notes
    parts, told = _other_rows.as_test(where, parts, reading)
    return parts, [*notes, *told]


def _values(
    columns: _Columns, schema: schema_lib.Schema | None, *, has_codes: bool
) -> tuple[tuple[str, ...], _compact.Columns]:
    """Names [C] of the columns that are learned from, and their numbers or codes, [N, C].

    The cells are released as they become codes.
    """
    if has_codes:
        columns.features.clear()
        names = tuple(c.name for c in schema.used)
        codes = (schema.code(name, columns.cells.pop(name)) for name in names)
        return names, _compact.Columns([*map(_compact.compact, codes)])
    given = () if schema is None else {c.name for c in schema.given}
    names, values = zip(*((n, v) for n, v in columns.features if n not in given), strict=True)
    return names, _compact.Columns([*values])


def _schema(
    where: Path, names: Sequence[str], columns: _Columns, reading: Reading
) -> tuple[schema_lib.Schema | None, bool]:
    """The schema of a table, and whether its rows are kept as codes.

    Complete columns of numbers, beside none of another kind, are real and stay numbers, unless a
    kind is set. So do the numbers of a table in which two columns have one name.
    """
    given = reading.condition or ()
    if given and (reading.is_plain or len({*names}) < len(names)):
        reading.refuse("condition", f"{where} has no kinds of columns, or two of one name")
    if reading.is_plain or len({*names}) < len(names):
        return None, False
    table = columns.cells.of(names)
    asked = {n: k for n, k in (reading.kinds or {}).items() if k not in ("label", "split")}
    numbers = _compact.HeldCells(
        (n, schema_lib.Cells(v, notation=columns.notations.get(n, "")))
        for n, v in columns.features
        if n not in asked and n not in given
    )
    others = table.of(name for name in names if name not in numbers)
    roles = {name: role for name, role in columns.roles.items() if name in others}
    try:
        is_plain = not any(cells.missing.any() for cells in numbers.values())
        own = {*given} & {*others}
        is_plain = is_plain and not schema_lib.infer(others, asked, roles, own).used
        if is_plain:
            table.update(numbers)
            asked = {**dict.fromkeys(numbers, "real"), **asked}
        return schema_lib.infer(table, asked, columns.roles, given), not is_plain
    except (DataError, UsageError) as error:
        raise type(error)(f"{where}: {error}") from None


def _known_rows(codes: _compact.Columns) -> tuple[np.ndarray, list[str]]:
    """The rows [N] of codes [N, C] with a known cell, and a note about the others."""
    kept = np.zeros(len(codes), bool)
    for column in codes.each():
        kept |= ~np.isnan(column)
    num = int(np.sum(~kept))
    return kept, [f"{num:,} of {len(kept):,} rows have no known cell: left out"] if num else []


def _complete_rows(
    where: Path, names: Sequence[str], x: _compact.Columns
) -> tuple[np.ndarray, list[str]]:
    """The rows [N] without missing cells, and a note about the others."""
    is_missing = np.column_stack([np.isnan(column) for column in x.each()])
    kept = ~is_missing.any(axis=1)
    if kept.all():
        return kept, []
    counts = is_missing.sum(axis=0)
    most = names[int(np.argmax(counts))]
    told = f"{np.sum(~kept):,} of {len(x):,} rows have missing cells, most in column {most!r}"
    if not kept.any():
        others = np.delete(is_missing, int(np.argmax(counts)), axis=1)
        # one row each to train, validate and test
        can_drop = others.shape[1] > 0 and np.sum(~others.any(axis=1)) >= 3
        remedy = ", or drop that column" if can_drop else ""
        raise DataError(f"{where}: {told}, and no row is left: fill them in{remedy}")
    return kept, [f"{told}: these rows are left out"]


def _columns(
    where: Path, source: _table_files.Source, sizes: Sequence[int], reading: Reading
) -> _Columns:
    """The role of each column of a table with splits of these sizes."""
    found, names = _Columns(unlabeled=source.unlabeled), source.table.column_names
    asked, marks = reading.kinds or {}, reading.missing_values or ()
    given = reading.condition or ()
    _refuse_unknown(where, [*asked, *given], names)
    of_index = _index_of_pandas(source.table)
    columns = [_cells.without_marks(_cells.as_text(c), marks) for c in source.taken()]
    of_labels = _label_column(where, names, {**dict.fromkeys(given, ""), **asked})
    if of_labels is not None:
        _take_labels(found, names[of_labels], columns[of_labels], source)
    others = [i for i in range(len(names)) if i != of_labels]
    others = _without_splits(where, found, names, columns, others, asked)
    misfits, unnamed = [], {}
    for place in others:
        # released as soon as its cells are known
        name, column, columns[place] = names[place], columns[place], None
        if _table_files.of_words(asked.get(name, "real")):
            found.cells[name] = _cells.cells(column, source.orders.get(name, ()))
            found.left_out.setdefault(f"is {asked[name]}", []).append(name)
            continue
        notation = _notations.find(column, reading.decimal)
        if notation:
            found.notations[name] = notation
            column = _notations.plain(column, notation)
        is_code = name not in asked and not reading.is_plain and _notations.has_codes(column)
        values = None if is_code else _cells.numbers(name, column)
        if is_code:
            found.notes.append(_told_code(name, column))
        if isinstance(values, _cells.Misfit):
            misfits.append(values)
            continue
        values = values if values is None else _compact.compact(values)
        is_number = values is not None and str(column.type) != "bool"
        if is_code:
            found.cells[name] = _cells.words(column)
        elif is_number:
            found.cells[name] = schema_lib.Cells(values, notation=notation)
        else:
            found.cells[name] = _cells.cells(column, source.orders.get(name, ()))
        _place(found, name, values, column, of_index, sizes, {*asked, *given}, source)
        if values is None and not source.is_named and found.labels is None:
            unnamed[name] = column
    _cells.refuse(where, misfits)
    _tell_notations(where, found, source, reading)
    _take_only_words(found, unnamed)
    return found


def _told_code(name: str, column) -> str:
    first = next(word for word in column.to_pylist() if word and word.strip()[:1] in "0+")
    return (
        f"column {name!r} holds codes of digits, such as {_spelling.quoted([first.strip()])}: read"
        f" as words; take kinds={name}=real if they are numbers"
    )


def _tell_notations(
    where: Path, found: _Columns, source: _table_files.Source, reading: Reading
) -> None:
    """Adds notes on columns whose numbers are written in another way than Python's."""
    with_commas = [name for name, own in found.notations.items() if own.endswith((",5", ",5 %"))]
    if with_commas and reading.decimal is None:
        _refuse_mixed_points(where, with_commas, found, source)
    groups: dict[str, list[str]] = {}
    for name, notation in found.notations.items():
        groups.setdefault(notation, []).append(name)
    if plain := groups.pop("1234,5", []):
        found.notes.append(f"commas in {_spelling.quoted(plain)} read as those of decimals")
    for notation, names in groups.items():
        found.notes.append(f"numbers in {_spelling.quoted(names)} read as written {notation}")


def _place(
    found: _Columns, name: str, values, column, of_index, sizes, asked, source: _table_files.Source
) -> None:
    """Adds a column [N] to the features, or to those that are left out with a reason."""
    why = "index" if name in of_index else _why_left_out(name, values, sizes, column)
    if name in asked:
        why = None if values is not None else why
    elif why in ("index", "identifier"):
        found.roles[name] = why
    if why is None and not source.is_named:
        found.notes += _may_be_identifier(name, values)
    if why is None:
        found.features.append((name, values))
    else:
        found.left_out.setdefault(why, []).append(name)


def _refuse_unknown(where: Path, asked: Sequence[str], names: Sequence[str]) -> None:
    for name in asked:
        if name not in names:
            raise UsageError(f"{where}: {unknown('column', name, names)}")


def _without_splits(
    where: Path,
    found: _Columns,
    names: Sequence[str],
    columns: Sequence,
    others: Sequence[int],
    asked: Mapping[str, str],
) -> list[int]:
    """Takes the splits of the rows from some of the `others` columns; returns the rest of them."""
    tried = [i for i in others if names[i] not in asked]
    set_ones = [i for i in others if asked.get(names[i]) == "split"]
    tried = set_ones or tried
    found.splits = _splits.find(where, [names[i] for i in tried], [columns[i] for i in tried])
    if found.splits is None:
        if set_ones:
            raise DataError(
                f"{where}: column {names[set_ones[0]]!r} is set as the split of each row, but does"
                " not say so: write train, valid or test in each row"
            )
        return list(others)
    found.notes.append(found.splits.note)
    taken = [tried[place] for place in found.splits.columns]
    for place in taken:
        found.roles[names[place]] = "split"
        found.cells[names[place]] = _cells.cells(columns[place])
    return [i for i in others if i not in taken]


def _may_be_identifier(name: str, values: np.ndarray) -> list[str]:
    """A note on distinct integers [N] in a column whose name has no known meaning."""
    if np.any(values % 1 != 0) or not len(np.unique(values)) == len(values) >= _MANY_ROWS:
        return []
    return [
        f"column {name!r} holds another whole number in each row: if these are identifiers, name"
        " the columns in a first line, this one id"
    ]


def _take_labels(found: _Columns, name: str, column, source: _table_files.Source) -> None:
    found.labels = _cells.labels(column, is_untyped=source.is_untyped)
    if found.labels is None:
        found.unlabeled = f"column {name!r} is {column.type}: left out"
    found.notes.append(found.unlabeled or f"column {name!r} taken as labels")
    found.roles[name] = "label"
    found.cells[name] = _cells.cells(column)


def _take_only_words(found: _Columns, columns: Mapping[str, Any]) -> None:
    """Uses the only text column of a table without names as labels, if values repeat."""
    words = [name for why, own in found.left_out.items() if why.startswith("not") for name in own]
    if len(words) != 1 or words[0] not in columns:
        return
    labels = _cells.labels(columns[words[0]], is_untyped=True)
    if labels is not None and 1 < len({*labels.tolist()}) <= len(labels) / 2:
        found.labels = labels
        found.left_out = {why: own for why, own in found.left_out.items() if own != words}
        found.notes.append(f"column {words[0]!r}, the only one of words, taken as labels")
        found.roles[words[0]] = "label"


def _refuse_mixed_points(
    where: Path, with_commas: Sequence[str], found: _Columns, source: _table_files.Source
) -> None:
    """Refuses a mix of decimal points and commas, one of which may separate thousands."""
    features = dict(found.features)
    others = [
        name
        for name, column in zip(source.table.column_names, source.table.columns, strict=True)
        if str(column.type) == "double" and name in features and np.any(features[name] % 1 != 0)
    ]
    if source.is_untyped and others:
        raise DataError(
            f"{where}: has decimal commas in {_spelling.quoted(with_commas)} and decimal points in"
            f" {_spelling.quoted(others)}: write points in both"
        )


def _label_column(where: Path, names: Sequence[str], asked: Mapping[str, str]) -> int | None:
    """The index of the label column, set or by its name, or None."""
    found = [place for place, name in enumerate(names) if asked.get(name) == "label"]
    if not found:
        free = [place for place, name in enumerate(names) if name not in asked]
        found = [place for place in free if _spelling.is_label(names[place])]
    if len(found) > 1:
        told = _spelling.quoted([names[place] for place in found])
        raise DataError(
            f"{where}: the columns {told} all look like labels: rename or drop all but one of them"
        )
    return found[0] if found else None


def _index_of_pandas(table) -> set[str]:
    """The columns of a Parquet file that were the index of a data frame."""
    told = (table.schema.pandas_metadata or {}).get("index_columns", [])
    return {name for name in told if isinstance(name, str)}


def _why_left_out(name: str, values: np.ndarray | None, sizes: Sequence[int], column) -> str | None:
    """Why a column is not used as a feature; None if it is used."""
    if values is None:
        kinds = column.unique()
        words = (str(v or "") for v in kinds.slice(0, _MOST_SEEN).to_pylist())
        known = [word for word in words if not _spelling.is_unknown(word)]
        if not known:
            return "empty"
        facts = {"is_run": False, "is_counting": False}
        why = _spelling.column(name, is_distinct=len(kinds) == len(column), **facts)
        return why or f"not numeric, such as {_spelling.quoted(known[:1])}"
    known = np.isfinite(values)
    if not np.all(values[known] == np.floor(values[known])):
        return None
    blocks = [block[np.isfinite(block)] for block in np.split(values, np.cumsum(sizes)[:-1])]
    return _spelling.column(
        name,
        is_distinct=all(len(np.unique(block)) == len(block) for block in blocks),
        is_run=all(_runs(block) for block in blocks),
        is_counting=all(_counts(block) for block in blocks),
    )


def _runs(values: np.ndarray) -> bool:
    """Whether numbers [n] are consecutive, in any order."""
    return len(values) > 0 and bool(np.all(np.diff(np.sort(values)) == 1))


def _counts(values: np.ndarray) -> bool:
    """Whether numbers [n] count the rows, from 0 or 1."""
    return len(values) > 0 and values[0] in (0, 1) and bool(np.all(np.diff(values) == 1))
