"""Reads arrays saved by users: .npy files, folders of them, and .npz files."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from vae_jax import memory
from vae_jax.data import _npy, _sparse, _spelling
from vae_jax.data._dataset import bytes_to_convert, is_streamed
from vae_jax.data._part import Part, Reading, complete, named_splits
from vae_jax.errors import DataError

__all__ = ["read_npy", "read_npz"]

_READ_AT_ONCE = 2**26  # bytes of a file; a larger one is read block by block into its splits
_REMEDY = (
    "call the data x, X, images, data, features or embeddings (labels: y, labels, label, target,"
    " class), or series, with _train, _valid, _test behind where there are splits"
)


def read_npy(
    path: Path, files: Sequence[Path], reading: Reading
) -> tuple[dict[str, Part], list[str]]:
    """Reads the array [N, …] of an .npy file, or those of a folder, named like "x_train.npy".

    Raises:
        DataError: the names are not sufficient, or several mean the same.
    """
    # windows can only be cut from data in memory
    loading = reading.loading if reading.window is None else "memory"
    if [path] == [*files]:
        return _read_file(path, loading, reading.tally)
    by_name: dict[str, Path] = {}
    for name, file in zip(_names_of(path, files), files, strict=True):
        if name in by_name:
            raise DataError(
                f"{path}: {by_name[name]} and {file} have one name: leave one of them out, or call"
                " their folders train, valid and test if these are splits"
            )
        by_name[name] = file

    of_sparse = {name for own in _sparse.groups(by_name).values() for name in own.values()}

    def get(name: str):
        is_data = name not in of_sparse and (_spelling.array(name) or ("",))[0] == "x"
        parts, _ = _read_file(by_name[name], loading if is_data else "memory", reading.tally)
        return parts["all"].x

    return _named(path, list(by_name), get, "files", reading)


def _names_of(folder: Path, files: Sequence[Path]) -> list[str]:
    """Names for the arrays of a folder: file names, or with the folders of splits if needed.

    "arrays/x_train.npy" is "x_train"; "train/x.npy" is "train/x".
    """
    stems = [file.stem for file in files]
    if all(_spelling.split(stem).split for stem in stems):
        return stems
    places = [file.relative_to(folder).parts[:-1] for file in files]
    for depth in range(max(map(len, places))):
        names = {place[depth] for place in places if len(place) > depth}
        meanings = named_splits(folder, names, "folders")
        if any(meanings.values()):
            own = [place[depth] if place[depth:] else "" for place in places]
            return [
                f"{name}/{stem}" if meanings.get(name) and not _spelling.split(stem).split else stem
                for name, stem in zip(own, stems, strict=True)
            ]
    return stems


def _read_file(path: Path, loading: str, tally: memory.Tally) -> tuple[dict[str, Part], list[str]]:
    """Reads the array of an .npy file into memory, or leaves it in the file."""
    header = _npy.header(path)
    can_stay = loading == "auto" and header.has_rows
    is_large = can_stay and bytes_to_convert(header.shape, header.dtype) > memory.limit_bytes()
    if not is_large and not is_streamed(loading, header.nbytes):
        if can_stay and header.nbytes > _READ_AT_ONCE:
            return {"all": Part(_npy.FileRows(path, stays=False))}, []
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
    """Reads the arrays [N, …] of an .npz file by key, and sparse matrices saved by SciPy.

    Raises:
        DataError: the keys are not sufficient, or several mean the same.
    """
    del files
    names = _npy.names(path)

    def get(name: str) -> np.ndarray:
        return _npy.read(path, name, reading.tally)

    return _named(path, names, get, "keys", reading)


def _named(
    where: Path,
    names: Sequence[str],
    get: Callable[[str], np.ndarray],
    what: str,
    reading: Reading,
) -> tuple[dict[str, Part], list[str]]:
    """Parts made of the arrays with these names, and notes on unused ones.

    The arrays of a sparse matrix form one part, named after its values.

    Args:
        where: the file or folder, for messages.
        names: names of the arrays.
        get: maps a name to its array.
        what: the kind of names ("keys"), for messages.
        reading: settings for reading.
    """
    sparse = {own["data"]: (stem, own) for stem, own in _sparse.groups(names).items()}
    inner = {name for _, own in sparse.values() for name in own.values()} - sparse.keys()
    meanings = {name: _spelling.array(name) for name in names if name not in inner}
    for name, (stem, _) in sparse.items():
        meanings[name] = _spelling.array("_".join(stem)) if stem else ("x", None)
    places = _places(where, meanings, what)
    data, splits = _data_and_splits(where, places, names, what)
    notes = []

    def of(field: str, split: str | None) -> np.ndarray | _sparse.SparseRows | None:
        name = places.get((field, split))
        if name is None or name not in sparse:
            return None if name is None else get(name)
        if field != "x":
            raise DataError(
                f"{where}: {name!r} is that of a sparse matrix, {field} must be none: save it as"
                " an array, matrix.toarray()"
            )
        matrix = _sparse.read(where, sparse[name][1], get, reading.tally)
        x, note = _sparse.settled(where, matrix, reading)
        notes.append(note)
        return x

    parts = {
        split or "all": Part(
            of(data, split),
            of("labels", split),
            of("condition", split),
            is_series=data == "series",
        )
        for split in splits
    }
    used = {name for (_, split), name in places.items() if split in splits}
    used |= {name for own in used & sparse.keys() for name in sparse[own][1].values()}
    unused = [name for name in names if name not in used]
    notes = list(dict.fromkeys(notes))
    notes += [f"{what} that are not used: {_spelling.quoted(unused)}"] if unused else []
    if "all" in parts:
        return parts, notes
    parts, told = complete(where, parts, what)
    return parts, [*told, *notes]


def _data_and_splits(
    where: Path, places: Mapping[tuple[str, str | None], str], names: Sequence[str], what: str
) -> tuple[str, list[str | None]]:
    """The field to learn from, and its splits; [None] if it is not split.

    Raises:
        DataError: there is none, or more than one.
    """
    of_data = {field: name for (field, _), name in places.items() if field in ("x", "series")}
    if len(of_data) > 1:
        series = of_data.pop("series")
        raise DataError(
            f"{where}: has the {what} {series!r} and {next(iter(of_data.values()))!r}: must be one"
            " of them, series or no series: leave the other out"
        )
    data = "series" if "series" in of_data else "x"
    splits = [split for field, split in places if field == data]
    if splits and (None not in splits or len(splits) == 1):
        return data, splits
    remedy = _REMEDY
    if splits and "train" not in splits:
        whole = [name for (_, split), name in places.items() if split is None]
        remedy = (
            f"rename {_spelling.quoted(whole)} to {', '.join(f'{name}_train' for name in whole)} if"
            " no row of the other splits is there too"
        )
    raise DataError(
        f"{where}: has the {what} {_spelling.quoted(names) or 'none'}: must be one of data, or"
        f" some of splits: {remedy}"
    )


def _places(
    where: Path, meanings: Mapping[str, tuple[str, str | None] | None], what: str
) -> Mapping[tuple[str, str | None], str]:
    """(field, split) → the name that stands for it, for all meaningful names."""
    places: dict[tuple[str, str | None], str] = {}
    for name, place in meanings.items():
        if place is None:
            continue
        if place in places:
            raise DataError(
                f"{where}: the {what} {_spelling.quoted([places[place], name])} both say the same:"
                " rename or leave out one of them"
            )
        places[place] = name
    return places
