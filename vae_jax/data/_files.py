"""The user's own data: .npy and .npz arrays, tables, text, and folders of them."""

import dataclasses
import functools
import hashlib
import math
import os
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vae_jax import memory
from vae_jax.data import (
    _annotated,
    _arrays,
    _images,
    _label_files,
    _labels,
    _market,
    _npy,
    _recordings,
    _sequences,
    _spelling,
    _table_files,
    _tables,
    _values,
)
from vae_jax.data._compact import Columns
from vae_jax.data._dataset import (
    Dataset,
    Rows,
    Scaling,
    Split,
    bytes_to_convert,
    customary_likelihood,
    decode_levels,
    decode_real,
    divide,
    other_content,
    sha256_of_file,
    sha256_of_folder,
    to_float32,
)
from vae_jax.data._part import Part, Reading
from vae_jax.data._sparse import SparseRows
from vae_jax.data._where import Where
from vae_jax.errors import DataError, UsageError
from vae_jax.schema import Schema, as_cells

__all__ = ["SUFFIXES", "load", "restricted"]

_OF_FILES: dict[str, Callable] = {
    ".npy": _arrays.read_npy,
    ".npz": _arrays.read_npz,
    **dict.fromkeys(_market.SUFFIXES, _market.read),
    **dict.fromkeys(_annotated.SUFFIXES, _annotated.read),
    **dict.fromkeys(_table_files.SUFFIXES, _tables.read),
    **dict.fromkeys(_images.SUFFIXES, _images.read),
    **dict.fromkeys(_recordings.SUFFIXES, _recordings.read),
}
"""Suffix of a file → its reader, see `_part`."""
_OF_FOLDERS: dict[tuple[str, ...], Callable] = {
    _images.SUFFIXES: _images.read,
    _recordings.SUFFIXES: _recordings.read,
    _market.SUFFIXES: _market.read,
    _table_files.SUFFIXES: _tables.read,
    (".npy",): _arrays.read_npy,
}
"""Suffixes of the files in a folder → their reader; the first with any files is used."""
_WITH_TABLES = {_images.SUFFIXES: "pictures", _recordings.SUFFIXES: "recordings"}
"""Suffixes of files that may have a table of labels beside them → what they are."""
SUFFIXES = (*_OF_FILES, ".txt")
"""Suffixes of supported files, with contents of any shape."""
_BYTES_OF_VALUE = 24  # for a series while it is cut: source, steps, stored form, padded form
_BYTES_OF_SLOT = 24  # of a row of a table with a schema, while it is expanded and checked
_BYTES_OF_STEP = 48  # for the row index of each step


def load(path: Path, reading: Reading) -> Dataset:
    """Loads the user's own data: a table [N, D], gray images [N, H, W] or images [N, H, W, C].

    Or sequences: lines of text [N, T], series in time [N, T, C].

    Args:
        path: a file with an ending in `SUFFIXES`, or a folder of images, tables or .npy files.
            Names of folders, files and keys may name splits, in the usual spellings; hidden files
            are skipped. In a table the numeric columns are features, except an index and
            identifiers; label, y, target or class is the label. In an archive, x, images, data,
            features or embeddings are data; y, labels, target and similar names are labels;
            condition, [N, C], is the condition of x; and series, [N, T] or [N, T, C], are time
            series, NaN after the end if shorter than T. In a text, each line is an example.
        reading: settings for reading.

    Returns:
        The dataset; `notes` lists conversions and what was left out.

    Raises:
        DataError: the data cannot be read or contain nothing to learn from: one line with the
            remedy.
        UsageError: if a setting does not fit the data.
    """
    _refuse_special(path)
    is_folder = path.is_dir()
    if path.suffix.lower() == ".txt" and not is_folder:
        of_tables = ("missing_values", "kinds", "csv", "condition", "test_data", "train_where")
        for setting in ("window", "layer", *of_tables):
            reading.refuse(setting, f"{path} is text")
        reading.look.refuse(f"{path} is text")
        reading.refuse_sound(f"{path} is text")
        reading.ratings.refuse(f"{path} is text")
        _refuse_other(path, [path], reading)
        return _text(path, reading)
    read, files, unused = _folder_reader(path, reading) if is_folder else _file_reader(path)
    if read is not _tables.read:
        reading.ratings.refuse(f"{path} is no table")
    if read is not _annotated.read:
        reading.refuse("layer", f"{path} is none")
    if read is not _tables.read:
        of_tables = ("missing_values", "csv", "test_data")
        own = of_tables if read is _annotated.read else ("kinds", "condition", *of_tables)
        for setting in own:
            reading.refuse(setting, f"{path} is none")
    elif reading.window is not None:
        reading.refuse("kinds", "all columns of series are numbers")
        reading.refuse("train_where", "windows follow one another in time")
    if reading.window is not None:
        reading.refuse("condition", "windows are given none")
    if read is not _images.read:
        reading.look.refuse(f"{path} holds none")
    if read is not _recordings.read:
        reading.refuse_sound(f"{path} holds none")
    _refuse_other(path, files, reading)
    if reading.window is not None and _are_several(path, files, read):
        read = functools.partial(_several, read)
    parts, told = read(path, files, reading)
    manifest = [row for part in parts.values() for row in part.manifest]
    manifest += [{"file": name, "what": "skipped"} for name in unused] if manifest else []
    notes = [f"files that are not used: {_spelling.quoted(unused)}"] if unused else []
    is_series = reading.window is not None or any(part.is_series for part in parts.values())
    has_codes = any(part.has_codes for part in parts.values())
    make = _series if is_series else _coded if has_codes else _examples
    if any(part.aside is not None for part in parts.values()):
        make = _rated
    splits, settings = make(path, parts, reading)
    notes = tuple(f"{path}: {note}" for note in (*told, *notes, *settings.pop("notes")))
    return Dataset(
        path.stem,
        *splits,
        sha256=_sha256(path, files, reading),
        notes=notes,
        manifest=tuple(manifest),
        framing=next(iter(parts.values())).framing,
        **settings,
    )


def _sha256(path: Path, files: Sequence[Path], reading: Reading) -> str:
    own = sha256_of_folder(path, files) if path.is_dir() else sha256_of_file(path)
    if reading.test_data is None:
        return own
    return hashlib.sha256(f"{own} {sha256_of_file(reading.test_data)}".encode()).hexdigest()


def _refuse_other(path: Path, files: Sequence[Path], reading: Reading) -> None:
    """Refuses data with another hash than required, before anything is parsed."""
    if reading.sha256 is None:
        return
    found = _sha256(path, files, reading)
    if found != reading.sha256:
        raise other_content(path, found, reading.sha256)


def _file_reader(path: Path) -> tuple[Callable, list[Path], list[str]]:
    suffix = next((own for own in _OF_FILES if path.name.lower().endswith(own)), None)
    if suffix is None:
        raise DataError(
            f"{path}: cannot be read: must end in {', '.join(SUFFIXES)}, or be a folder of images,"
            " tables or .npy files"
        )
    return _OF_FILES[suffix], [path], []


def _folder_reader(folder: Path, reading: Reading) -> tuple[Callable, list[Path], list[str]]:
    """The reader of a folder, its files, and the names of files that no reader uses."""
    files = _files_below(folder)
    by_reader = {
        suffixes: [file for file in files if file.name.lower().endswith(suffixes)]
        for suffixes in _OF_FOLDERS
    }
    chosen = next((suffixes for suffixes, own in by_reader.items() if own), None)
    if chosen is None:
        known = ", ".join(ending for suffixes in _OF_FOLDERS for ending in suffixes)
        raise DataError(
            f"{folder}: holds no images, tables or arrays: must hold files ending in {known},"
            " directly or in folders for splits and labels"
        )
    used = by_reader.pop(chosen)
    if chosen is _market.SUFFIXES:
        used = _market.with_names(folder, used)
    others = [file for own in by_reader.values() for file in own if file not in used]
    if others and chosen not in _WITH_TABLES:
        raise DataError(
            f"{folder}: holds tables and arrays ({used[0].name}, {others[0].name}): give the path"
            " of one file, or leave one kind out"
        )
    unused = [file for file in files if file not in {*used}]
    tables = []
    if chosen in _WITH_TABLES:
        tables = _label_files.beside(folder, used, unused, _WITH_TABLES[chosen])
    # a run of a version that read no tables of labels wants the hash without them
    if tables and (reading.sha256 is None or reading.sha256 != sha256_of_folder(folder, used)):
        used, unused = used + tables, [file for file in unused if file not in tables]
    return _OF_FOLDERS[chosen], used, [str(file.relative_to(folder)) for file in unused]


def _files_below(folder: Path) -> list[Path]:
    """The files in a folder and its subfolders, sorted, without files of operating systems."""
    files = []
    for root, folders, names in os.walk(folder, onerror=_raise_unreadable):
        folders[:] = sorted(name for name in folders if not _spelling.is_hidden(name))
        for name in folders:
            _refuse_special(Path(root, name), folder)
        files += [Path(root, name) for name in sorted(names) if not _spelling.is_hidden(name)]
    for file in files:
        _refuse_special(file, folder)
        _refuse_misspelled(file, folder)
    return files


def _raise_unreadable(error: OSError):
    raise DataError(f"{error.filename}: cannot be read ({error.strerror})")


def _refuse_special(path: Path, folder: Path | None = None) -> None:
    """Refuses a link, a pipe or a device; `folder` is the user's path if it contains `path`."""
    if path.is_symlink() and folder is None:
        raise DataError(f"{path}: is a symbolic link: name what it points to, {path.resolve()}")
    if path.is_symlink():
        copy = folder.with_name(f"{folder.name}-copy")
        command = shlex.join(["cp", "-RL", str(folder), str(copy)])
        raise DataError(
            f"{path}: is a symbolic link: make a copy of the folder without links, {command}, and"
            " give its path"
        )
    if not path.is_file() and not path.is_dir():
        raise DataError(f"{path}: is neither a regular file nor a folder")


def _refuse_misspelled(path: Path, folder: Path) -> None:
    """Refuses names below a folder that are not text: they are hashed, and may be classes."""
    try:
        os.fspath(path.relative_to(folder)).encode()
    except UnicodeEncodeError:
        raise DataError(f"{path}: its name is not UTF-8: rename it") from None


def _text(path: Path, reading: Reading) -> Dataset:
    x, alphabet, notes = _sequences.read_text(path, reading.tally, reading.loading)
    num_levels, stays = len(alphabet) + 1, isinstance(x, _sequences.Lines)
    whole = {"all": Split(Rows(x) if stays else x)}
    return Dataset(
        path.stem,
        *divide(whole, reading.num_valid, name=str(path)),
        shape=x.shape[1:],
        kind="sequence",
        low=0.0,
        high=1.0,
        num_levels=num_levels,
        sha256=sha256_of_file(path),
        likelihood="text",
        decode=functools.partial(_sequences.decode_text, num_levels=num_levels),
        alphabet=alphabet,
        has_missing=True,
        streamed=stays,
        notes=tuple(f"{path}: {note}" for note in notes),
    )


def _examples(
    path: Path, parts: Mapping[str, Part], reading: Reading
) -> tuple[Sequence[Split], dict]:
    """Splits of tables [N, D] or images [N, H, W, C], and the other fields of a `Dataset`."""
    stays = any(_stays(part.x) for part in parts.values())
    _refuse_large(path, parts)
    parts, classes, notes = _labels.encode(path, parts)
    unlabeled = _unlabeled(parts)
    schema = next(iter(parts.values())).schema
    if schema is None or not schema.given:
        parts = _values.encode_conditions(path, parts)
    parts = _values.surveyed(path, parts)
    kind = "table" if len(next(iter(parts.values())).x.shape) == 2 else "image"
    _values.refuse_mixed(path, parts, kind)
    highest = int(max(part.high.max() for part in parts.values()))
    parts, num_levels, told = _values.as_levels(parts, kind, reading.scaling)
    notes += told
    held = {
        name: Split(p.x, p.labels, condition=p.condition, ids=p.ids) for name, p in parts.items()
    }
    splits, told = _dealt(path, held, parts, classes, reading)
    notes += told
    splits, schema = _conditioned(path, splits, schema)
    low, high, is_whole = 0.0, 1.0, False
    decode = functools.partial(decode_levels, num_levels=num_levels)
    if num_levels is None:
        is_whole = _values.are_whole(parts, reading.scaling)
        splits, parts, told = _rescaled(splits, parts, kind, reading.scaling)
        low, high = _values.stored_range(path, parts)
        # counts have far values, for which a likelihood of counts allows
        notes += [] if is_whole and low >= 0 else told
        decode = decode_real
    scaling = _values.scaling_of(splits[0].x)
    schema = _scaled(schema, scaling)
    if not stays:
        splits = _in_memory(splits)
    return splits, {
        "shape": splits[0].x.shape[1:],
        "kind": kind,
        "low": low,
        "high": high,
        "num_levels": num_levels,
        "likelihood": customary_likelihood(num_levels),
        "decode": decode,
        "classes": classes,
        "unlabeled": unlabeled,
        "columns": next(iter(parts.values())).columns,
        "scaling": scaling,
        "schema": schema if num_levels is None else schema and schema.as_binary(highest),
        "streamed": stays,
        "is_whole": is_whole,
        "notes": notes,
    }


def _coded(path: Path, parts: Mapping[str, Part], reading: Reading) -> tuple[Sequence[Split], dict]:
    """Splits of a table with a schema, from codes [N, C], and the other fields of a `Dataset`."""
    _refuse_large(path, parts)
    parts, classes, notes = _labels.encode(path, parts)
    _values.refuse_misshapen(path, parts)
    draft = next(iter(parts.values())).schema
    held = {name: Split(p.x, p.labels, condition=p.condition) for name, p in parts.items()}
    splits, told = _dealt(path, held, parts, classes, reading)
    notes += told
    splits, draft = _conditioned(path, splits, draft)
    schema = draft.stored(splits[0].x, reading.scaling)
    num_rows, width = sum(map(len, splits)), len(schema.slots)
    memory.check(path, num_rows * width * _BYTES_OF_SLOT)
    num_missing, told = _missing(splits)
    notes += told
    rows = _expanded(splits, schema)
    low = min(float(np.nanmin(x, initial=np.inf)) for x in rows)
    high = max(float(np.nanmax(x, initial=-np.inf)) for x in rows)
    if not np.isfinite([low, high]).all():
        raise DataError(f"{path}: values reach beyond float32 when they are encoded: rescale them")
    splits = [_replaced(split, x) for split, x in zip(splits, rows, strict=True)]
    return splits, {
        "shape": (width,),
        "kind": "table",
        "low": low,
        "high": high,
        "num_levels": None,
        "likelihood": "mixed" if schema.is_mixed else "gaussian",
        "decode": decode_real,
        "classes": classes,
        "unlabeled": _unlabeled(parts),
        "columns": schema.slots,
        "has_missing": num_missing > 0,
        "schema": schema,
        "notes": notes,
    }


def _expanded(splits: Sequence[Split], schema: Schema) -> list[np.ndarray]:
    """What a model takes of splits of codes [N, C]: [N, D] each. Columns are replaced on the way.

    A number takes half as much in float32 as in a code, so less is held at once.
    """
    of_numbers, found = schema.numbers, []
    for x in _by_columns(split.x for split in splits):
        with _table_files.released():
            for place, column in of_numbers.items():
                x.replace(place, functools.partial(schema.expand_number, column))
    for split in splits:
        done = of_numbers if isinstance(split.x, Columns) else ()
        rows = Rows(split.x).map(functools.partial(schema.expand, done=done))
        found.append(rows.in_memory())
    return found


def _by_columns(sources: Iterable) -> Iterable[Columns]:
    """The sources that are held by columns, one of those that share them."""
    return {id(x.columns): x for x in sources if isinstance(x, Columns)}.values()


def _in_memory(splits: Sequence[Split]) -> list[Split]:
    """Splits with their rows in memory, [N, *stored]; columns are scaled on the way."""
    (*others, scaling) = splits[0].x.conversions or (None,)
    if others or not isinstance(scaling, Scaling):
        return [_replaced(split, split.x.in_memory()) for split in splits]
    for x in _by_columns(split.x.source for split in splits):
        with _table_files.released():
            for place in range(x.shape[1]):
                x.replace(place, scaling.of_column(place))
    held = []
    for split in splits:
        is_scaled = isinstance(split.x.source, Columns)
        rows = dataclasses.replace(split.x, conversions=(to_float32,)) if is_scaled else split.x
        held.append(_replaced(split, rows.in_memory()))
    return held


def _rated(path: Path, parts: Mapping[str, Part], reading: Reading) -> tuple[Sequence[Split], dict]:
    """Splits of ratings, users × items [N, D], and the other fields of a `Dataset`."""
    splits = [
        Split(part.x, ids=part.ids, aside=part.aside)
        if isinstance(part.x, np.ndarray)
        else Split(Rows(part.x), ids=part.ids, aside=part.aside)
        for part in (parts[name] for name in _spelling.SPLITS)
    ]
    return splits, {
        "shape": splits[0].x.shape[1:],
        "kind": "table",
        "low": 0.0,
        "high": 1.0,
        "num_levels": 2,
        "likelihood": "multinomial",
        "decode": functools.partial(decode_levels, num_levels=2),
        "columns": parts["train"].columns,
        "ratings": parts["train"].ratings,
        "streamed": isinstance(splits[0].x, Rows),
        "notes": _note_no_valid(splits, reading),
    }


def _dealt(
    path: Path,
    held: Mapping[str, Split],
    parts: Mapping[str, Part],
    classes: tuple | None,
    reading: Reading,
) -> tuple[Sequence[Split], list[str]]:
    """The splits train, valid and test of the rows [N, …] that parts have, and notes."""
    may_train = None
    if reading.train_where is not None:
        may_train = _may_train(path, parts, classes, reading.train_where)
    splits = divide(held, reading.num_valid, name=str(path), may_train=may_train)
    notes = _note_no_valid(splits, reading)
    if may_train is not None:
        num = sum(int(np.sum(~rows)) for rows in may_train.values())
        total = sum(map(len, may_train.values()))
        done = "left out" if "test" in parts else "test rows"
        notes.append(f"{num:,} of {total:,} rows do not meet {reading.train_where}: {done}")
    notes += _labels.unseen(
        {name: split.labels for name, split in zip(_spelling.SPLITS, splits, strict=True)}, classes
    )
    return splits, notes


def _may_train(
    path: Path, parts: Mapping[str, Part], classes: tuple | None, where: Where
) -> dict[str, np.ndarray]:
    """Which rows of each part but test may be in train or valid: [N] each.

    The rows of a table say so. Those of other data are told apart by their labels alone.
    """
    own = {name: part for name, part in parts.items() if name != "test"}
    if all(part.may_train is not None for part in own.values()):
        return {name: part.may_train for name, part in own.items()}
    return _by_labels(str(path), own, classes, _unlabeled(parts), where)


def _by_labels(
    name: str,
    held: Mapping[str, Part | Split],
    classes: tuple | None,
    unlabeled: str,
    where: Where,
) -> dict[str, np.ndarray]:
    """Which rows of data with labels [N] meet a condition on these: [N] for each split."""
    if any(part.labels is None for part in held.values()):
        why = f" ({unlabeled})" if unlabeled else ""
        raise UsageError(
            f"train_where={where}: {name} has no labels{why}, by which alone rows are chosen that"
            " are none of a table: leave train_where out"
        )
    codes = np.concatenate([part.labels for part in held.values()]).tolist()
    own = [None if code < 0 else code if classes is None else classes[code] for code in codes]
    names = ("label", *filter(_spelling.is_label, where.names))
    rows = where.rows(dict.fromkeys(names, as_cells(own)))
    ends = np.cumsum([len(part.labels) for part in held.values()])
    return dict(zip(held, np.split(rows, ends[:-1]), strict=True))


def restricted(dataset: Dataset, where: Where) -> Dataset:
    """A dataset of our own without the rows of train and valid that do not meet a condition.

    Args:
        dataset: splits with labels [N].
        where: compares the label.

    Raises:
        UsageError: there are no labels, or it compares something else.
    """
    held = {"train": dataset.train, "valid": dataset.valid}
    kept = _by_labels(dataset.name, held, dataset.classes, dataset.unlabeled, where)
    parts = {name: held[name][np.flatnonzero(rows)] for name, rows in kept.items()}
    num, total = (sum(int(np.sum(rows == v)) for rows in kept.values()) for v in (False, True))
    note = f"{num:,} of {num + total:,} rows do not meet {where}: left out"
    return dataclasses.replace(dataset, **parts, notes=(*dataset.notes, note))


def _conditioned(
    path: Path, splits: Sequence[Split], schema: Schema | None
) -> tuple[Sequence[Split], Schema | None]:
    """Splits whose conditions, codes [N, G] of columns of a table, are what a model is given."""
    if schema is None or not schema.given:
        return splits, schema
    try:
        for split in splits:
            schema.refuse_missing(split.condition)
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
    schema = schema.given_stored(splits[0].condition)
    conditions = [schema.expand_given(split.condition) for split in splits]
    pairs = zip(splits, conditions, strict=True)
    return [dataclasses.replace(split, condition=each) for split, each in pairs], schema


def _missing(splits: Sequence[Split]) -> tuple[int, list[str]]:
    """The number of missing cells of codes [N, C], and a note on them."""
    each = (split.x.each() if isinstance(split.x, Columns) else (split.x,) for split in splits)
    num = sum(int(np.isnan(codes).sum()) for held in each for codes in held)
    total = sum(math.prod(split.x.shape) for split in splits)
    if not num:
        return 0, []
    return num, [
        f"{num:,} of {total:,} cells ({100 * num / total:.3g} %) are missing: they cost nothing,"
        " the encoder sees which"
    ]


def _note_no_valid(splits: Sequence[Split], reading: Reading) -> list[str]:
    """A note if validation [N, …] is empty although the user did not request that."""
    train, valid, _ = splits
    if len(valid) or reading.num_valid is not None:
        return []
    return [f"valid is empty, a tenth of {len(train)} rows is none: give num_valid=1 for a row"]


def _scaled(schema: Schema | None, scaling: Scaling | None) -> Schema | None:
    """The schema of a table of numbers with the units of their scaling, or without one."""
    if schema is None or scaling is None:
        return schema
    num = len(schema.used)
    center, scale = (np.broadcast_to(np.ravel(v), num) for v in (scaling.offset, scaling.scale))
    return schema.in_units(center.tolist(), scale.tolist())


def _unlabeled(parts: Mapping[str, Part]) -> str:
    """Why labels of parts [N, …] were dropped, or ""."""
    return next((part.unlabeled for part in parts.values() if part.unlabeled), "")


def _stays(x: Any) -> bool:
    """Whether rows [N, …] stay where they are, and are converted on access."""
    return isinstance(x, SparseRows) or (isinstance(x, _npy.FileRows) and x.stays)


def _refuse_large(path: Path, parts: Mapping[str, Part]) -> None:
    """Refuses parts [N, …] whose conversion would need more memory than there is."""
    num_bytes = 0
    for part in parts.values():
        is_held = not isinstance(part.x, _npy.FileRows)
        if len(part.x.shape):
            num_bytes += bytes_to_convert(
                part.x.shape, part.x.dtype, stays=_stays(part.x), is_held=is_held
            )
        num_bytes += _labels.bytes_to_encode(part.labels)
    memory.check(path, num_bytes)


def _series(
    path: Path, parts: Mapping[str, Part], reading: Reading
) -> tuple[Sequence[Split], dict]:
    """Splits of series [N, T, C], and the other fields of a `Dataset`.

    Checks and conversions are those of a table with one row per step.
    """
    _refuse_large(path, parts)
    if reading.window is None or any(part.is_series for part in parts.values()):
        table, splits, num_steps, classes, notes = _whole_series(path, parts, reading)
        unlabeled = _unlabeled(parts)
    else:
        table, splits, notes = _windows(path, parts, reading)
        num_steps, classes = reading.window, None
        unlabeled = notes[0] if notes else ""
    num_values = sum(len(split.x) for split in splits) * num_steps
    memory.check(
        path,
        num_values * (table.x.shape[1] * _BYTES_OF_VALUE + _BYTES_OF_STEP),
        "give fewer or shorter series, of windows a longer `hop`",
    )
    has_gaps = table.x.dtype.kind == "f" and bool(np.isnan(table.x).any())
    notes += _sequences.gaps(path, table.x, table.columns) if has_gaps else []
    whole = _values.surveyed(path, {"all": table}, has_gaps=has_gaps)
    if has_gaps:
        splits, told = _without_unknown(splits, table.x)
        notes += told
    whole, num_levels, told = _values.as_levels(whole, "table", reading.scaling)
    notes += told
    low, high = 0.0, 1.0
    if num_levels is None:
        held = [Split(whole["all"].x.select(_sequences.rows_of(split.x))) for split in splits]
        _, whole, told = _rescaled(held, whole, "table", reading.scaling)
        low, high = _values.stored_range(path, whole)
        notes += told
    steps = whole["all"].x.in_memory()
    has_missing = has_gaps or any((split.x[:, 1] < num_steps).any() for split in splits)
    splits = [_replaced(s, _sequences.gathered(steps, s.x, num_steps)) for s in splits]
    return splits, {
        "shape": splits[0].x.shape[1:],
        "kind": "sequence",
        "low": low,
        "high": high,
        "num_levels": num_levels,
        "likelihood": customary_likelihood(num_levels),
        # with two levels, 0 and 1, the index equals the value
        "decode": decode_real,
        "classes": classes,
        "unlabeled": unlabeled,
        "columns": table.columns,
        "has_missing": has_missing,
        "scaling": _values.scaling_of(whole["all"].x),
        "is_whole": num_levels is None and _values.are_whole(whole, reading.scaling),
        "notes": notes,
    }


def _without_unknown(splits: Sequence[Split], rows: np.ndarray) -> tuple[list[Split], list[str]]:
    """Splits without the series of which no value in rows [M, C] is known, and a note on these."""
    kept = [split[_sequences.known(rows, split.x)] for split in splits]
    num = sum(map(len, splits)) - sum(map(len, kept))
    return kept, [f"{num:,} series in which every value is missing are left out"] if num else []


def _whole_series(
    path: Path, parts: Mapping[str, Part], reading: Reading
) -> tuple[Part, Sequence[Split], int, tuple | None, list[str]]:
    """Series of different lengths: all steps as rows, splits as spans, T, classes, notes."""
    parts, classes, notes = _labels.encode(path, parts)
    parts, spans, rows = _values.encode_conditions(path, parts), {}, []
    for name, part in parts.items():
        own, places = _sequences.spans_of(path, part.x)
        places = places + np.array([sum(map(len, rows)), 0])
        spans[name] = Split(places, part.labels, condition=part.condition)
        rows.append(own)
    _values.refuse_misshapen(path, parts)
    steps = {name: Part(own) for name, own in zip(parts, rows, strict=True)}
    _values.refuse_mixed(path, _values.surveyed(path, steps, has_gaps=True), "table")
    splits, told = _dealt(path, spans, parts, classes, reading)
    notes += told
    num_steps = part.x.shape[1]
    if reading.window is not None:
        num_steps = min(reading.window, num_steps)
        splits, told = _cut(splits, reading)
        notes += told
    return Part(np.concatenate(rows)), splits, num_steps, classes, notes


def _cut(splits: Sequence[Split], reading: Reading) -> tuple[list[Split], list[str]]:
    """Splits of series as splits of their windows, with the labels of the series; and a note."""
    window, made = reading.window, []
    for split in splits:
        spans, owners = _sequences.cut(split.x, window, reading.hop or window)
        made.append(_replaced(split[owners], spans))
    lengths = np.concatenate([split.x[:, 1] for split in splits])
    num = sum(map(len, made))
    note = (
        f"{len(lengths):,} series of {lengths.min():,} to {lengths.max():,} steps cut into {num:,}"
    )
    return made, [f"{note} of at most {window}, no series in two splits"]


def _are_several(path: Path, files: Sequence[Path], read: Callable) -> bool:
    """Whether the files of a folder are series of their own: no splits, no shards of one table."""
    names = [*(file.stem for file in files), *(file.parent.name for file in files)]
    if len(files) == 1 or read not in (_tables.read, _arrays.read_npy):
        return False
    has_splits = any(_spelling.folders(names).values())
    return not has_splits and len({_spelling.shard(file.stem) for file in files}) > 1


def _several(
    read: Callable, folder: Path, files: Sequence[Path], reading: Reading
) -> tuple[dict[str, Part], list[str]]:
    """Reads each file of a folder as one series: x [M, D] of all rows, with the length of each."""
    parts, notes = [], []
    for file in files:
        own, told = read(file, [file], reading)
        if set(own) != {"all"} or own["all"].x.ndim != 2:
            raise DataError(f"{file}: is no table of one series, or says splits: leave it out")
        if parts and _width(own["all"]) != _width(parts[0]):
            raise DataError(
                f"{file}: has other columns than {files[0]}: give both the same, in one order"
            )
        parts.append(own["all"])
        notes += [note for note in told if note not in notes]
    lengths = tuple(len(part.x) for part in parts)
    notes.insert(0, f"{len(files):,} files, a series each, of {min(lengths):,} to {max(lengths):,}")
    x = np.concatenate([part.x for part in parts])
    return {"all": Part(x, columns=parts[0].columns, lengths=lengths)}, notes


def _width(part: Part) -> tuple:
    """The columns of a table, or their number."""
    return part.columns or part.x.shape[1:]


def _windows(
    path: Path, parts: Mapping[str, Part], reading: Reading
) -> tuple[Part, Sequence[Split], list[str]]:
    """A table cut into windows: the table, splits as spans, notes."""
    if set(parts) != {"all"} or parts["all"].x.ndim != 2:
        reading.refuse("window", f"{path} is none, or comes with its own splits")
    table = parts["all"]
    notes = ["labels are those of rows, not of windows: left out"]
    lengths = table.lengths or (len(table.x),)
    settings = reading.window, reading.hop or reading.window, reading.num_valid
    each = [_sequences.divide_in_time(length, *settings, name=str(path)) for length in lengths]
    splits = _sequences.joined(each, lengths)
    has_labels = table.labels is not None
    table = dataclasses.replace(table, labels=None, condition=None)
    return table, splits, notes if has_labels else []


def _rescaled(
    splits: Sequence[Split], parts: Mapping[str, Part], kind: str, scaling: str
) -> tuple[Sequence[Split], dict[str, Part], list[str]]:
    """Scales continuous values of splits and parts by the training split; with notes."""
    rescale, notes = _values.rescaling(splits, kind, scaling)
    if kind == "table":
        columns = next(iter(parts.values())).columns
        notes = [*_values.outweighed(splits[0].x, columns), *notes]
    splits = [_replaced(split, split.x.map(rescale)) for split in splits]
    return splits, _values.converted(parts, rescale), notes


def _replaced(split: Split, x) -> Split:
    return dataclasses.replace(split, x=x)
