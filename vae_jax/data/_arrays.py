"""Arrays that users save: .npy files, folders of them, and .npz files."""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from vae_jax import memory
from vae_jax.data import _npy, _sparse, _spelling
from vae_jax.data._dataset import bytes_to_convert, is_streamed
from vae_jax.data._part import Part, Reading, complete
from vae_jax.errors import DataError

__all__ = ["read_npy", "read_npz"]

_REMEDY = (
    "call the data x, X, images, data or features (labels: y, labels, label, target, class), or"
    " series, with _train, _valid, _test behind where there are splits"
)


def read_npy(
    path: Path, files: Sequence[Path], reading: Reading
) -> tuple[dict[str, Part], list[str]]:
    """The array [N, …] of an .npy file, or those of a folder, by names such as "x_train.npy".

    Raises:
        DataError: the names say too little, or several say the same.
    """
    # a window is cut out of what lies in memory
    loading = reading.loading if reading.window is None else "memory"
    if [path] == [*files]:
        return _read_file(path, loading, reading.tally)
    by_name: dict[str, Path] = {}
    for file in files:
        if file.stem in by_name:
            raise DataError(
                f"{path}: {by_name[file.stem]} and {file} have one name: leave one of them out"
            )
        by_name[file.stem] = file

    def get(name: str):
        is_data = (_spelling.array(name) or ("",))[0] == "x"
        parts, _ = _read_file(by_name[name], loading if is_data else "memory", reading.tally)
        return parts["all"].x

    return _named(path, list(by_name), get, "files")


def _read_file(path: Path, loading: str, tally: memory.Tally) -> tuple[dict[str, Part], list[str]]:
    """The array of an .npy file, in memory or left in the file."""
    header = _npy.header(path)
    can_stay = loading == "auto" and header.has_rows
    is_large = can_stay and bytes_to_convert(header.shape, header.dtype) > memory.limit_bytes()
    if not is_large and not is_streamed(loading, header.nbytes):
        return {"all": Part(_npy.read(path, tally=tally))}, []
    if not header.has_rows:
        note = "lies in Fortran order, in which rows cannot be read alone: read into memory"
        return {"all": Part(_npy.read(path, tally=tally))}, [note]
    return {"all": Part(_npy.FileRows(path))}, [
        f"{header.nbytes / 1e9:.3g} GB stay in the file: rows are read when they are needed"
    ]


def read_npz(
    path: Path, files: Sequence[Path], reading: Reading
) -> tuple[dict[str, Part], list[str]]:
    """The arrays [N, …] of an .npz file by their keys, or the sparse matrix that SciPy saved there.

    Raises:
        DataError: the keys say too little, or several say the same.
    """
    del files
    names = _npy.names(path)

    def get(name: str) -> np.ndarray:
        return _npy.read(path, name, reading.tally)

    of_sparse = _sparse.parts(names)
    if not of_sparse:
        return _named(path, names, get, "keys")
    x, notes = _dense(path, _sparse.read(path, names, get, reading.tally), reading)
    others = [name for name in names if name not in of_sparse]
    parts, more = _named(path, others, get, "keys", x)
    return parts, [*notes, *more]


def _dense(
    path: Path, x: _sparse.SparseRows, reading: Reading
) -> tuple[np.ndarray | _sparse.SparseRows, list[str]]:
    num_bytes = x.shape[0] * x.shape[1] * np.dtype(np.float32).itemsize
    if reading.window is None and is_streamed(reading.loading, num_bytes):
        return x, ["a sparse matrix, kept sparse: rows are made dense when they are needed"]
    reading.tally.add(path, math.prod(x.shape) * x.dtype.itemsize, _sparse.REMEDY)
    return x[:], ["a sparse matrix, made dense"]


def _named(
    where: Path,
    names: Sequence[str],
    get: Callable[[str], np.ndarray],
    what: str,
    x: np.ndarray | _sparse.SparseRows | None = None,
) -> tuple[dict[str, Part], list[str]]:
    """Parts of the arrays that have these names, and notes on what is not used.

    Args:
        where: the file or folder, for messages.
        names: of the arrays.
        get: from a name to its array.
        what: the names are ("keys"), for messages.
        x: the data, where none of the arrays is to be it.
    """
    places = _places(where, names, what)
    of_data = {field: name for (field, _), name in places.items() if field in ("x", "series")}
    if len(of_data) > 1 or (of_data and x is not None):
        told = "those of a sparse matrix" if x is not None else repr(of_data.pop("series"))
        raise DataError(
            f"{where}: has the {what} {told} and {next(iter(of_data.values()))!r}: must be one of"
            " them, series or no series, sparse or not: leave the other out"
        )
    data = "series" if "series" in of_data else "x"
    splits = [split for field, split in places if field == data] if x is None else [None]
    if not splits or (None in splits and len(splits) > 1):
        raise DataError(
            f"{where}: has the {what} {_spelling.quoted(names) or 'none'}: must be one of data, or"
            f" some of splits: {_REMEDY}"
        )

    def of(field: str, split: str | None) -> np.ndarray | None:
        return get(places[field, split]) if (field, split) in places else None

    parts = {
        split or "all": Part(
            of(data, split) if x is None else x,
            of("labels", split),
            of("condition", split),
            is_series=data == "series",
        )
        for split in splits
    }
    used = {name for (_, split), name in places.items() if split in splits}
    unused = [name for name in names if name not in used]
    notes = [f"{what} that are not used: {_spelling.quoted(unused)}"] if unused else []
    if "all" in parts:
        return parts, notes
    parts, told = complete(where, parts, what)
    return parts, [*told, *notes]


def _places(where: Path, names: Sequence[str], what: str) -> Mapping[tuple[str, str | None], str]:
    """(field, split) → the name that says so, of those that say anything."""
    places: dict[tuple[str, str | None], str] = {}
    for name in names:
        place = _spelling.array(name)
        if place is None:
            continue
        if place in places:
            raise DataError(
                f"{where}: the {what} {_spelling.quoted([places[place], name])} both say the same:"
                " rename or leave out one of them"
            )
        places[place] = name
    return places
