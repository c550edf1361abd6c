"""The user's own data: .npy and .npz arrays, CSV and Parquet tables, text, folders of images."""

import collections
import dataclasses
import functools
import os
import warnings
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import numpy as np

from vae_jax.data import _npy, _sequences
from vae_jax.data._dataset import (
    Dataset,
    Rows,
    Scaling,
    Split,
    blocks,
    customary_likelihood,
    decode_levels,
    decode_real,
    divide,
    is_streamed,
    sha256_of_file,
    sha256_of_folder,
)
from vae_jax.errors import DataError, UsageError, first_line

__all__ = ["SUFFIXES", "load"]

SUFFIXES = (".npy", ".npz", ".csv", ".parquet", ".txt")
"""Endings of the files that are read, whatever the shape of what they hold."""

_DATA_KEYS = ("x", "X", "images", "data")
_SERIES_KEY = "series"
_LABEL_KEYS = ("y", "labels", "label")
_CONDITION_KEYS = ("condition", "c")
_LABEL_COLUMNS = ("label", "y", "target", "class")
_PARTS = ("train", "valid", "test")
_IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp")
_IMAGE_FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP")  # none that runs a program
_LARGEST = float(np.finfo(np.float32).max)


@dataclasses.dataclass(frozen=True, eq=False)
class _Part:
    """What one part of the user's data says: x [N, …], labels [N] of any dtype, a condition [N, C],
    column names.

    low and high, [1, …], are the least and the greatest value in each place of the source of x.
    x may be series [N, T] or [N, T, C], whose steps follow in time.
    """

    x: np.ndarray | Rows
    labels: np.ndarray | None = None
    condition: np.ndarray | None = None
    columns: tuple[str, ...] | None = None
    low: np.ndarray | None = None
    high: np.ndarray | None = None
    is_series: bool = False


def load(
    path: Path,
    num_valid: int | None = None,
    scaling: str = "auto",
    loading: str = "auto",
    window: int | None = None,
    hop: int | None = None,
) -> Dataset:
    """A dataset of the user's own: a table [N, D], grey images [N, H, W] or images [N, H, W, C].

    Or sequences: lines of text [N, T], series in time [N, T, C].

    Args:
        path: a file ending as in `SUFFIXES`, or a folder of images, all of one size; subfolders are
            labels. An .npz has the key x, X, images or data, and y, labels or label where there are
            labels, and condition or c, [N, C], where x is to be given such numbers as they are; or
            the splits train, (valid,) test, or x_train, y_train, x_test, y_test. In a table numeric
            columns are features and label, y, target or class is the label. With the key series
            (or series_train, series_test) in place of x an .npz has series [N, T] or [N, T, C],
            NaN after the end of one that is shorter than T. Of a text each line is an example.
        num_valid: rows held out for validation (scalar); None means 10 %.
        scaling: 'auto': columns of a table are standardized by train, images of 0 … 255 (that reach
            128) go to [0, 1]; 'unit': the range of train goes to [0, 1]; 'none': values stay.
            Binary data and uint8 images are levels in [0, 1] whatever it says.
        loading: as `is_streamed` takes it. Rows of an .npy file can stay in the file; all else is
            read into memory whatever it says.
        window: cut a table, whose rows follow one another in time, into series of so many rows
            (scalar); the first are to train, the last to test.
        hop: rows from the start of a window to that of the next (scalar); None: the window's.

    Returns:
        The dataset; `notes` says what was converted.

    Raises:
        DataError: if the data cannot be read or cannot be learnt from: one line with the remedy.
        UsageError: if `num_valid` or `window` does not fit.
    """
    _refuse_special(path)
    suffix = path.suffix.lower()
    if suffix == ".txt" and not path.is_dir():
        _refuse_window(window, f"{path} is text")
        return _text(path, num_valid)
    if path.is_dir():
        files = _image_files(path)
        parts, notes = _read_folder(path, files)
        sha256 = sha256_of_folder(path, files)
    elif suffix not in SUFFIXES:
        raise DataError(
            f"{path}: cannot be read: must end in {', '.join(SUFFIXES)}, or be a folder of images"
        )
    elif suffix == ".npy":
        parts, notes = _read_npy(path, loading if window is None else "memory")
        sha256 = sha256_of_file(path)
    else:
        parts, notes = _read_npz(path) if suffix == ".npz" else _read_table(path)
        sha256 = sha256_of_file(path)
    is_series = any(part.is_series for part in parts.values())
    if is_series or window is not None:
        splits, settings = _series(path, parts, num_valid, scaling, window, hop)
        notes = tuple(f"{path}: {note}" for note in (*notes, *settings.pop("notes")))
        return Dataset(path.stem, *splits, sha256=sha256, notes=notes, **settings)
    on_disk = any(isinstance(part.x, _npy.FileRows) for part in parts.values())

    parts, label_names, label_notes = _encode_labels(path, parts)
    parts = _encode_conditions(path, parts)
    parts = {name: _viewed(path, part) for name, part in parts.items()}
    _refuse_misshapen(path, parts)
    parts = {name: _surveyed(path, part) for name, part in parts.items()}
    _refuse_hopeless(path, parts)
    kind = "table" if len(parts[next(iter(parts))].x.shape) == 2 else "image"
    parts, num_levels, level_notes = _find_levels(parts, kind, scaling)
    splits = divide(
        {name: Split(p.x, p.labels, condition=p.condition) for name, p in parts.items()},
        num_valid,
        name=str(path),
    )
    if num_levels is None:
        rescale, scaling_notes = _rescaling(splits, kind, scaling)
        splits = [dataclasses.replace(split, x=split.x.map(rescale)) for split in splits]
        parts = _converted(parts, rescale)
        low, high = _stored_range(path, parts)
        decode = decode_real
    else:
        scaling_notes, low, high = [], 0.0, 1.0
        decode = functools.partial(decode_levels, num_levels=num_levels)
    scaled = _scaling(splits[0].x)
    if not on_disk:
        splits = [dataclasses.replace(split, x=split.x.in_memory()) for split in splits]
    return Dataset(
        path.stem,
        *splits,
        shape=splits[0].x.shape[1:],
        kind=kind,
        low=low,
        high=high,
        num_levels=num_levels,
        sha256=sha256,
        likelihood=customary_likelihood(num_levels),
        decode=decode,
        label_names=label_names,
        scaling=scaled,
        notes=tuple(
            f"{path}: {note}" for note in (*notes, *label_notes, *level_notes, *scaling_notes)
        ),
        streamed=on_disk,
    )


def _text(path: Path, num_valid: int | None) -> Dataset:
    x, alphabet, notes = _sequences.read_text(path)
    num_levels = len(alphabet) + 1
    return Dataset(
        path.stem,
        *divide({"all": Split(x)}, num_valid, name=str(path)),
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
        notes=tuple(f"{path}: {note}" for note in notes),
    )


def _refuse_window(window: int | None, what: str) -> None:
    if window is not None:
        raise UsageError(
            f"window={window}: cuts a table whose rows follow one another in time, {what}: leave "
            "it out"
        )


def _series(
    path: Path,
    parts: Mapping[str, _Part],
    num_valid: int | None,
    scaling: str,
    window: int | None,
    hop: int | None,
) -> tuple[list[Split], dict]:
    """Splits of series [N, T, C], and what else a `Dataset` says of them.

    Checks and conversions are those of a table, of which each step is a row.
    """
    notes, label_names = [], None
    if window is None:
        parts, label_names, notes = _encode_labels(path, parts)
        parts, spans, first = _encode_conditions(path, parts), {}, 0
        rows = []
        for name, part in parts.items():
            own, places = _sequences.spans_of(path, part.x)
            rows.append(own)
            places = places + np.array([first, 0])
            spans[name] = Split(places, part.labels, condition=part.condition)
            first += len(own)
        _refuse_misshapen(path, parts)
        table, num_steps = _Part(np.concatenate(rows)), part.x.shape[1]
        splits = divide(spans, num_valid, name=str(path))
    else:
        if set(parts) != {"all"} or parts["all"].is_series or parts["all"].x.ndim != 2:
            _refuse_window(window, f"{path} is none, or comes with its own splits")
        table, num_steps = dataclasses.replace(parts["all"], labels=None, condition=None), window
        splits = _sequences.divide_in_time(
            len(table.x), window, hop or window, num_valid, name=str(path)
        )
        if parts["all"].labels is not None:
            notes = ["labels are those of rows, not of windows: left out"]

    whole = {"all": _surveyed(path, _viewed(path, table))}
    _refuse_hopeless(path, whole)
    whole, num_levels, level_notes = _find_levels(whole, "table", scaling)
    low, high, scaling_notes = 0.0, 1.0, []
    if num_levels is None:
        held = [Split(whole["all"].x.select(_sequences.rows_of(split.x))) for split in splits]
        rescale, scaling_notes = _rescaling(held, "table", scaling)
        whole = _converted(whole, rescale)
        low, high = _stored_range(path, whole)
    steps = whole["all"].x.in_memory()
    has_missing = any((split.x[:, 1] < num_steps).any() for split in splits)
    splits = [
        dataclasses.replace(split, x=_sequences.gathered(steps, split.x, num_steps))
        for split in splits
    ]
    return splits, {
        "shape": splits[0].x.shape[1:],
        "kind": "sequence",
        "low": low,
        "high": high,
        "num_levels": num_levels,
        "likelihood": customary_likelihood(num_levels),
        # of two levels, 0 and 1, each is its own number
        "decode": decode_real,
        "label_names": label_names,
        "has_missing": has_missing,
        "scaling": _scaling(whole["all"].x),
        "notes": [*notes, *level_notes, *scaling_notes],
    }


def _refuse_special(path: Path) -> None:
    if path.is_symlink():
        raise DataError(f"{path}: is a symbolic link: name what it points to, {path.resolve()}")
    if not path.is_file() and not path.is_dir():
        raise DataError(f"{path}: is neither a regular file nor a folder of images")


# --- Readers: each returns parts by name ('all', or 'train', 'valid', 'test') and notes.


def _read_npy(path: Path, loading: str) -> tuple[dict[str, _Part], list[str]]:
    header = _npy.header(path)
    if not is_streamed(loading, header.nbytes):
        return {"all": _Part(_npy.read(path))}, []
    if not header.has_rows:
        note = "lies in Fortran order, in which rows cannot be read alone: read into memory"
        return {"all": _Part(_npy.read(path))}, [note]
    return {"all": _Part(_npy.FileRows(path))}, [
        f"{header.nbytes / 1e9:.3g} GB stay in the file: rows are read when they are needed"
    ]


def _read_npz(path: Path) -> tuple[dict[str, _Part], list[str]]:
    names = _npy.names(path)
    series = [name for name in names if name in _beside(_SERIES_KEY)]
    others = [name for name in names if name in (*_PARTS, *_beside(*_DATA_KEYS))]
    if series and others:
        raise DataError(
            f"{path}: has the keys {series[0]!r} and {others[0]!r}: must be series or no series:"
            " leave one of them out"
        )
    is_series = bool(series)
    keys = (_SERIES_KEY,) if is_series else _DATA_KEYS

    def first(*candidates: str) -> np.ndarray | None:
        found = [name for name in candidates if name in names]
        return _npy.read(path, found[0]) if found else None

    def beside(part: str, keys: tuple[str, ...]) -> np.ndarray | None:
        return first(*(f"{key}_{part}" for key in keys))

    parts = {
        part: _Part(x, beside(part, _LABEL_KEYS), beside(part, _CONDITION_KEYS))
        for part in _PARTS
        if (x := first(part, *(f"{key}_{part}" for key in keys))) is not None
    }
    parts = {k: dataclasses.replace(part, is_series=is_series) for k, part in parts.items()}
    if {"train", "test"} <= set(parts):
        return parts, []
    x = first(*keys)
    if x is None or parts:
        raise DataError(
            f"{path}: has the keys {', '.join(map(repr, names)) or 'none'}: must be one of"
            f" {', '.join(_DATA_KEYS)} (labels: {', '.join(_LABEL_KEYS)}), or {_SERIES_KEY}, or"
            " train and test, with or without valid"
        )
    whole = _Part(x, first(*_LABEL_KEYS), first(*_CONDITION_KEYS), is_series=is_series)
    return {"all": whole}, []


def _beside(*keys: str) -> tuple[str, ...]:
    """Keys of an .npz file, and those of its parts."""
    return (*keys, *(f"{key}_{part}" for key in keys for part in _PARTS))


def _read_table(path: Path) -> tuple[dict[str, _Part], list[str]]:
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.parquet

    notes, features, labels, left_out = [], [], None, []
    try:
        if path.suffix.lower() == ".parquet":
            table = pa.parquet.ParquetFile(pa.OSFile(str(path))).read()
        else:
            table = pa.csv.read_csv(str(path))
            if all(_is_number(name) for name in table.column_names):
                unnamed = pa.csv.ReadOptions(autogenerate_column_names=True)
                table = pa.csv.read_csv(str(path), unnamed)
                notes.append("the first line holds numbers, not names: taken as data")
        for name, column in zip(table.column_names, table.columns, strict=True):
            if labels is None and name.lower() in _LABEL_COLUMNS:
                labels = _labels_of(column)
                notes.append(f"column {name!r} taken as labels")
            elif pa.types.is_boolean(column.type):
                features.append((name, column.cast(pa.float64()).to_numpy()))
            elif pa.types.is_integer(column.type) or pa.types.is_floating(column.type):
                features.append((name, column.to_numpy().astype(np.float64)))
            else:
                left_out.append(name)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise DataError(
            f"{path}: not a readable {path.suffix} file ({first_line(error)}): truncated, damaged"
            " or of another format"
        ) from None

    if left_out:
        notes.append(f"left out the columns that are not numeric: {', '.join(map(repr, left_out))}")
    if not features:
        raise DataError(
            f"{path}: has no numeric column to learn from, only "
            f"{', '.join(map(repr, table.column_names)) or 'none'}"
        )
    names, columns = zip(*features, strict=True)
    return {"all": _Part(np.column_stack(columns), labels, columns=names)}, notes


def _labels_of(column) -> np.ndarray:
    """Labels of an Arrow column, [N]; of a kind that no class is of, such as a time, objects."""
    import pyarrow as pa

    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    tests = ("boolean", "integer", "floating", "string", "large_string", "null")
    if any(getattr(pa.types, f"is_{test}")(kind) for test in tests):
        return np.array(column.to_pylist())
    return np.full(len(column), None)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _image_files(folder: Path) -> list[Path]:
    files = []
    for root, folders, names in os.walk(folder, onerror=_raise_unreadable):
        folders.sort()
        for name in folders:
            _refuse_special(Path(root, name))
        files += [
            Path(root, name)
            for name in sorted(names)
            if name.lower().endswith(_IMAGE_SUFFIXES) and not name.startswith(".")
        ]
    if not files:
        raise DataError(
            f"{folder}: holds no images: must hold files ending in {', '.join(_IMAGE_SUFFIXES)},"
            " directly or in one subfolder for each label"
        )
    return files


def _raise_unreadable(error: OSError):
    raise DataError(f"{error.filename}: cannot be read ({error.strerror})")


def _read_folder(folder: Path, files: list[Path]) -> tuple[dict[str, _Part], list[str]]:
    images = [_read_image(file) for file in files]
    sizes = collections.Counter(image.shape[:2] for image in images)
    if len(sizes) > 1:
        (common, _), *_ = sizes.most_common()
        odd = next(i for i, image in enumerate(images) if image.shape[:2] != common)
        raise DataError(
            f"{files[odd]}: is {_size(images[odd].shape)} pixels, most of {folder} are"
            f" {_size(common)}: all must be of one size; resize or crop them first"
        )
    notes = []
    num_channels = max(image.shape[2] for image in images)
    if grey := sum(image.shape[2] < num_channels for image in images):
        notes.append(f"{grey} grey images taken as colour, as the others are")
        shape = (*images[0].shape[:2], num_channels)
        images = [np.broadcast_to(image, shape) for image in images]

    # <folder>/<label>/image, or <folder>/train/<label>/image beside <folder>/test/…
    paths = [file.relative_to(folder).parts[:-1] for file in files]
    where = ["all"] * len(files)
    if {"train", "test"} <= (tops := {path[0] for path in paths if path}) <= set(_PARTS):
        where, paths = [path[0] if path else "" for path in paths], [path[1:] for path in paths]
        if "" in where:
            raise DataError(
                f"{files[where.index('')]}: lies beside the folders {', '.join(sorted(tops))}:"
                " move it into one of them"
            )
    parts = {}
    for part in dict.fromkeys(where):
        rows = [i for i, name in enumerate(where) if name == part]
        labels = [paths[i][0] for i in rows if paths[i]]
        parts[part] = _Part(
            np.stack([images[i] for i in rows]),
            np.array(labels) if len(labels) == len(rows) else None,
        )
    return parts, notes


def _size(shape: tuple[int, ...]) -> str:
    return f"{shape[1]}×{shape[0]}"


def _read_image(path: Path) -> np.ndarray:
    import PIL.Image

    _refuse_special(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", PIL.Image.DecompressionBombWarning)
            with PIL.Image.open(path, formats=_IMAGE_FORMATS) as image:
                mode = image.mode
                if mode in ("1", "L", "P", "RGB"):
                    pixels = np.asarray(image.convert("L" if mode in ("1", "L") else "RGB"))
                    return pixels.reshape(*pixels.shape[:2], -1)
    except (
        OSError,
        ValueError,
        SyntaxError,
        PIL.Image.DecompressionBombError,
        PIL.Image.DecompressionBombWarning,
    ) as error:
        raise DataError(f"{path}: not a readable image ({first_line(error)})") from None
    raise DataError(
        f"{path}: is of mode {mode}: must be grey or RGB with 8 bits and without transparency;"
        " convert it first"
    )


# --- What the data is: checks that refuse, then conversions that are noted.


def _encode_labels(
    path: Path, parts: Mapping[str, _Part]
) -> tuple[dict[str, _Part], tuple[str, ...] | None, list[str]]:
    given = {name: part.labels for name, part in parts.items() if part.labels is not None}
    for name, labels in given.items():
        num_rows = len(parts[name].x) if parts[name].x.ndim else 0
        if labels.shape not in ((num_rows,), (num_rows, 1)):
            raise DataError(
                f"{path}: labels have shape {labels.shape} for {num_rows} rows: give one label"
                " for each row, or none at all"
            )
    if not given:
        return dict(parts), None, []

    label_names, codes = _label_codes([labels.ravel() for labels in given.values()])
    if codes is None:
        notes = ["labels are neither whole numbers nor names: left out"]
        return {k: dataclasses.replace(part, labels=None) for k, part in parts.items()}, None, notes

    ends = np.cumsum([len(labels) for labels in given.values()])
    pieces = dict(zip(given, np.split(codes.astype(np.int32), ends[:-1]), strict=True))
    parts = {k: dataclasses.replace(part, labels=pieces.get(k)) for k, part in parts.items()}
    return parts, label_names, []


def _encode_conditions(path: Path, parts: Mapping[str, _Part]) -> dict[str, _Part]:
    """Parts whose conditions are [N, C] float32; those of one number may come as [N]."""
    given = [part for part in parts.values() if part.condition is not None]
    widths = {part.condition.shape[1:] or (1,) for part in given}
    for part in given:
        values, num_rows = part.condition, len(part.x) if part.x.ndim else 0
        has_rows = values.ndim in (1, 2) and len(values) == num_rows and 0 not in values.shape[1:]
        if not has_rows or values.dtype.kind not in "buif" or len(widths) > 1:
            raise DataError(
                f"{path}: condition is {values.dtype} of shape {values.shape} for {num_rows} "
                "rows: must be numbers [rows, C], C at least 1 and the same in every split"
            )
        if not np.all(np.abs(np.asarray(values, np.float64)) <= _LARGEST):
            raise DataError(
                f"{path}: condition holds values that are not finite, or beyond float32: fill them"
                " in or rescale them"
            )

    def encoded(part: _Part) -> _Part:
        if part.condition is None:
            return part
        values = part.condition[:, None] if part.condition.ndim == 1 else part.condition
        return dataclasses.replace(part, condition=values.astype(np.float32))

    return {name: encoded(part) for name, part in parts.items()}


def _label_codes(labels: list[np.ndarray]) -> tuple[tuple[str, ...] | None, np.ndarray | None]:
    """(names or None, codes [N] or None): of names their rank, of whole numbers themselves."""
    kinds = {each.dtype.kind for each in labels}
    if kinds == {"U"}:
        names, codes = np.unique(np.concatenate(labels), return_inverse=True)
        return tuple(str(name) for name in names), codes
    if kinds <= set("buif"):
        codes = np.concatenate(labels).astype(np.float64)
        if np.all((codes == np.floor(codes)) & (codes >= -(2**31)) & (codes < 2**31)):
            return None, codes
    return None, None


def _viewed(path: Path, part: _Part) -> _Part:
    """The part with x as `Rows` [N, D] or [N, H, W, C]; none of its values is looked at."""
    x = part.x
    rank = len(x.shape)
    if x.dtype.kind not in "buif":
        raise DataError(f"{path}: holds {x.dtype}: must be real numbers or booleans")
    if rank not in (2, 3, 4):
        raise DataError(
            f"{path}: has shape {x.shape}: must be [rows, columns], [images, height, width] or"
            " [images, height, width, channels]"
        )
    if rank == 4 and x.shape[1] in (1, 3) and x.shape[3] not in (1, 3):
        raise DataError(
            f"{path}: has shape {x.shape}, channels before height and width: must be channels"
            " last; save x.transpose(0, 2, 3, 1)"
        )
    if 0 in x.shape:
        raise DataError(f"{path}: has shape {x.shape}: there is nothing in it")
    rows = Rows(x)
    return dataclasses.replace(part, x=rows.map(_with_channel) if rank == 3 else rows)


def _with_channel(x: np.ndarray) -> np.ndarray:
    return x[..., None]


def _refuse_misshapen(path: Path, parts: Mapping[str, _Part]) -> None:
    shapes = {part.x.shape[1:] for part in parts.values()}
    if len(shapes) > 1:
        raise DataError(
            f"{path}: examples of the splits have shapes {', '.join(map(str, sorted(shapes)))}:"
            " must be the same in all"
        )
    num_rows = sum(len(part.x) for part in parts.values())
    if num_rows < 3:
        raise DataError(
            f"{path}: has {num_rows} rows: must have at least 3, one each to train, validate and"
            " test"
        )


def _surveyed(path: Path, part: _Part) -> _Part:
    """The part with low and high, found in one pass that refuses what is no number."""
    x = part.x.source
    num_bad, first, low, high = 0, (), None, None
    for start, block in blocks(x):
        if x.dtype.kind == "f" and not np.isfinite(block).all():
            bad = np.argwhere(~np.isfinite(block))
            first = first or (start + int(bad[0, 0]), *(int(i) for i in bad[0, 1:]))
            num_bad += len(bad)
        low, high = _extremes(block, low, high)
    if num_bad:
        column = f" (column {part.columns[first[1]]!r})" if part.columns else ""
        raise DataError(
            f"{path}: {num_bad} values are missing, NaN or infinite, the first at index"
            f" {first}{column}: remove those rows or fill them in"
        )
    return dataclasses.replace(part, low=low, high=high)


def _extremes(
    x: np.ndarray, low: np.ndarray | None, high: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Least and greatest value in each place, [1, …], of a block [n, …] and of those before it."""
    lows, highs = x.min(axis=0, keepdims=True), x.max(axis=0, keepdims=True)
    return (
        lows if low is None else np.minimum(low, lows),
        highs if high is None else np.maximum(high, highs),
    )


def _refuse_hopeless(path: Path, parts: Mapping[str, _Part]) -> None:
    low, high = _range(parts.values())
    if low == high:
        raise DataError(f"{path}: every value is {low:g}: there is nothing to learn from it")
    if max(-low, high) > _LARGEST:
        raise DataError(f"{path}: values reach {max(-low, high):.3g}, beyond float32: rescale them")


def _range(parts: Iterable[_Part]) -> tuple[float, float]:
    """Least and greatest value as converted: conversions keep the order within each place."""
    parts = list(parts)
    return (
        min(float(part.x.convert(part.low).min()) for part in parts),
        max(float(part.x.convert(part.high).max()) for part in parts),
    )


def _stored_range(path: Path, parts: Mapping[str, _Part]) -> tuple[float, float]:
    """Least and greatest value as stored, in float32, where there is something to learn from it."""
    low, high = _range(parts.values())
    if not np.isfinite([low, high]).all():
        raise DataError(
            f"{path}: standardized by what train varies, other rows reach beyond float32: leave out"
            " the columns that hardly vary in train, or take --scaling=unit or none"
        )
    if low == high:
        raise DataError(
            f"{path}: every value is {low:g} as it is stored, in float32: subtract what the values"
            " have in common and rescale what is left"
        )
    return low, high


def _converted(parts: Mapping[str, _Part], conversion: Callable) -> dict[str, _Part]:
    return {k: dataclasses.replace(part, x=part.x.map(conversion)) for k, part in parts.items()}


def _find_levels(
    parts: Mapping[str, _Part], kind: str, scaling: str
) -> tuple[dict[str, _Part], int | None, list[str]]:
    """Parts [N, *stored] as they will be stored, their number of levels or None, and notes."""
    sources = [part.x.source for part in parts.values()]
    low, high = _range(parts.values())

    def everywhere(test) -> bool:
        return all(bool(np.all(test(x))) for source in sources for _, x in blocks(source))

    if low == 0 and high in (1, 255) and everywhere(lambda x: (x == 0) | (x == high)):
        note = f"all values are 0 or {high:g}: taken as binary"
        return _converted(parts, lambda x: (x != 0).astype(np.uint8)), 2, [note]
    if kind == "image" and {source.dtype for source in sources} == {np.dtype(np.uint8)}:
        return dict(parts), 256, []
    if kind == "image" and scaling != "none" and low >= 0 and 128 <= high <= 255:
        if everywhere(lambda x: x == np.floor(x)):
            note = f"values are whole numbers {low:g} … {high:g}: taken as 256 levels"
            return _converted(parts, lambda x: x.astype(np.uint8)), 256, [note]
        note = f"values lie in [{low:g}, {high:g}]: divided by 255"
        return _converted(parts, Scaling(0.0, 255.0)), None, [note]
    return dict(parts), None, []


def _rescaling(
    splits: tuple[Split, Split, Split], kind: str, scaling: str
) -> tuple[Callable[[np.ndarray], np.ndarray], list[str]]:
    """The conversion to float32 [B, *shape], by what train [N, *shape] holds, and notes."""
    train = splits[0].x
    if scaling == "unit":
        low = high = None
        for _, block in blocks(train):
            low, high = _extremes(block, low, high)
        if kind == "image":
            low, high = low.min(), high.max()
        offset, scale = low.astype(np.float64), high - low.astype(np.float64)
        note = "each column's" if kind == "table" else "the"
        notes = [f"{note} range in train became [0, 1]"]
        needed = kind == "table" or low < 0 or high > 1
    elif scaling == "auto" and kind == "table":
        offset, scale = _moments(train)
        notes = ["each column standardized by its mean and standard deviation in train"]
        needed = True
    else:
        needed = False
    if not needed:
        notes = [] if train.dtype == np.float32 else [f"{train.dtype} stored as float32"]
        return lambda x: x.astype(np.float32), notes

    if num_constant := int(np.sum(scale == 0)):
        notes.append(f"{num_constant} columns are constant in train: shifted, not rescaled")
    scale = np.where(scale == 0, 1, scale)

    rescale = Scaling(offset, scale, is_cut=scaling == "unit")
    if not rescale.is_cut:
        return rescale, notes
    outside = 0
    for split in splits[1:]:
        for _, block in blocks(split.x.map(rescale.uncut)):
            outside += int(np.sum((block < 0) | (block > 1)))
    if outside:
        notes.append(f"{outside} values of valid and test beyond train's range: clipped to it")
    return rescale, notes


def _scaling(x: Rows) -> Scaling | None:
    """What was done to the values of these rows [N, *stored], where they were scaled."""
    return next((each for each in x.conversions if isinstance(each, Scaling)), None)


def _moments(x: Rows) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each column [1, D]; of a constant column exactly 0.

    Of two blocks of m and n rows, with d the difference of their means,
    Σ (x − mean)² = Σ₁ + Σ₂ + d² m n / (m + n).
    """
    num_rows, mean, squares, low, high = 0, 0.0, 0.0, None, None
    for _, block in blocks(x):
        low, high = _extremes(block, low, high)
        total = num_rows + len(block)
        step = block.mean(axis=0, keepdims=True, dtype=np.float64) - mean
        squares += block.var(axis=0, keepdims=True, dtype=np.float64) * len(block)
        squares += step**2 * (num_rows * len(block) / total)
        mean += step * (len(block) / total)
        num_rows = total
    # Of a constant column the rounded mean leaves a deviation that is tiny, not 0.
    return mean, np.where(low == high, 0, np.sqrt(squares / num_rows))
