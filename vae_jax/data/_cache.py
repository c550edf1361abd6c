"""A disk cache of prepared arrays: found by the hash of their source, verified at each load.

An entry records dataset, source, version and the SHA-256 of each array, with an authentication code
that only this user can compute (see `vae_jax.cache`).
"""

import collections
import contextlib
import fcntl
import hashlib
import hmac
import json
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np

from vae_jax import cache, disk
from vae_jax.data import _npy
from vae_jax.data._dataset import sha256_of_file
from vae_jax.errors import DataError

__all__ = ["Block", "cached", "gathered"]

_RECORD = "record.json"
_CODE = "code"
_DRAFT = ".draft-"
_MAX_RECORD_BYTES = 2**20
_UNCACHED = "not cached, the next run reads the source again"

Block = tuple[str, int, np.ndarray]
"""The next rows [n, …] of an array: (its name, its total number of rows, the rows)."""


def cached(
    folder: Path,
    name: str,
    source: str,
    version: int,
    build: Callable[[], Iterable[Block]],
    *,
    on_disk: bool = False,
    is_needed: bool = True,
) -> tuple[dict[str, np.ndarray | _npy.FileRows], tuple[str, ...]]:
    """The arrays that `build` makes; read from disk if they were made before from the same source.

    Args:
        folder: the cache's folder; created if it is missing.
        name: name of the dataset, usable in a file name.
        source: SHA-256 of the source's content.
        version: version of the code that makes the arrays.
        build: makes the arrays [N, …], block by block.
        on_disk: whether the arrays stay on disk, with at most one block in memory at a time.
        is_needed: whether they must; else they are made in memory if the folder cannot be written.

    Returns:
        (arrays by name, notes): notes tell of a damaged copy or a changed source, each with both
            SHA-256, and of a folder that cannot be written.

    Raises:
        DataError: if the arrays are to stay on disk and the folder cannot be written.
    """
    key = hashlib.sha256(f"{source} {version}".encode()).hexdigest()
    entry = folder / f"{name}-{key[:16]}"
    record = {"name": name, "source": source, "version": version}
    notes = []
    if os.path.lexists(entry):
        try:
            _verify(entry, record)
            return _opened(entry, on_disk), ()
        except DataError as error:
            notes.append(f"{error}: made again from the source")
    elif earlier := _earlier_sources(folder, name) - {source}:
        notes.append(
            f"{name}: SHA-256 of the source is {source}, when cached before it was"
            f" {', '.join(sorted(earlier))}: the source has changed and is read again"
        )
    if on_disk:
        try:
            _write(entry, record, build())
        except OSError as error:
            if not is_needed:
                return gathered(build()), (*notes, f"{entry}: {_UNCACHED} ({error})")
            raise DataError(
                f"{entry}: cannot be written ({error}), where {name} is to be read from block by"
                " block: make room there, or name another folder for the cache by XDG_CACHE_HOME"
            ) from None
        return _opened(entry, on_disk), tuple(notes)
    arrays = gathered(build())
    try:
        _write(entry, record, ((name, len(x), x) for name, x in arrays.items()))
    except OSError as error:
        notes.append(f"{entry}: {_UNCACHED} ({error})")
    return arrays, tuple(notes)


def gathered(blocks: Iterable[Block]) -> dict[str, np.ndarray]:
    """Arrays [N, …] by name from their blocks, in memory."""
    arrays, filled = {}, collections.Counter()
    for name, num_rows, block in blocks:
        if name not in arrays:
            arrays[name] = np.empty((num_rows, *block.shape[1:]), block.dtype)
        arrays[name][filled[name] : filled[name] + len(block)] = block
        filled[name] += len(block)
    return arrays


def _record(entry: Path) -> dict:
    try:
        _refuse_special(entry, stat.S_ISDIR)
        _refuse_special(entry / _RECORD, stat.S_ISREG)
        with open(disk.open_regular(entry / _RECORD, os.O_RDONLY), "rb") as file:
            record = json.loads(file.read(_MAX_RECORD_BYTES))
        return {**record, "arrays": dict(record["arrays"]), "source": str(record["source"])}
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        raise DataError(f"{entry / _RECORD}: missing or damaged") from None


def _refuse_special(path: Path, is_right: Callable[[int], bool]) -> None:
    if not is_right(os.lstat(path).st_mode):
        raise DataError(f"{path}: is a link, a pipe or a device")


def _code(record: dict) -> str:
    """The authentication code of a record, computed without the code itself."""
    body = {name: value for name, value in record.items() if name != _CODE}
    content = json.dumps(body, sort_keys=True).encode()
    # without a home there is no key, and the contents of a folder are trusted
    return cache.code(cache.key() or b"", "dataset", content).hex()


def _verify(entry: Path, wanted: dict) -> None:
    record = _record(entry)
    if not hmac.compare_digest(str(record.get(_CODE)), _code(record)):
        raise DataError(f"{entry / _RECORD}: was not written by this user")
    if {name: record.get(name) for name in wanted} != wanted:
        raise DataError(f"{entry / _RECORD}: is of another source, {record['source']}")
    recorded = record["arrays"]
    paths = {path.stem: path for path in entry.glob("*.npy")}
    if lost := sorted(set(recorded) - set(paths)):
        raise DataError(f"{entry}: {', '.join(lost)} is missing")
    for name in recorded:
        _refuse_special(paths[name], stat.S_ISREG)
        found = sha256_of_file(paths[name])
        if found != recorded[name]:
            raise DataError(f"{paths[name]}: SHA-256 is {found}, recorded {recorded[name]}")


def _opened(entry: Path, on_disk: bool) -> dict[str, np.ndarray | _npy.FileRows]:
    opened = _npy.FileRows if on_disk else _npy.read
    return {name: opened(entry / f"{name}.npy") for name in _record(entry)["arrays"]}


def _earlier_sources(folder: Path, name: str) -> set[str]:
    sources = set()
    for entry in folder.glob(f"{name}-{'[0-9a-f]' * 16}"):
        with contextlib.suppress(DataError):
            sources.add(_record(entry)["source"])
    return sources


def _write(entry: Path, record: dict, blocks: Iterable[Block]) -> None:
    entry.parent.mkdir(parents=True, exist_ok=True)
    with _draft(entry.parent) as draft:
        record = {**record, "arrays": _write_arrays(draft, blocks)}
        (draft / _RECORD).write_text(json.dumps({**record, _CODE: _code(record)}, indent=1))
        if entry.is_symlink() or not entry.is_dir():
            entry.unlink(missing_ok=True)
        shutil.rmtree(entry, ignore_errors=True)
        os.rename(draft, entry)


def _write_arrays(draft: Path, blocks: Iterable[Block]) -> dict[str, str]:
    """Writes one file per array, block by block; returns the SHA-256 of each by name."""
    files = {}
    with contextlib.ExitStack() as stack:
        for name, num_rows, block in blocks:
            if name not in files:
                files[name] = stack.enter_context((draft / f"{name}.npy").open("wb"))
                _npy.write_header(files[name], (num_rows, *block.shape[1:]), block.dtype)
            files[name].write(np.ascontiguousarray(block).data)
    return {name: sha256_of_file(draft / f"{name}.npy") for name in files}


@contextlib.contextmanager
def _draft(folder: Path) -> Iterator[Path]:
    """A temporary folder in `folder`; also removes those of killed processes."""
    with contextlib.ExitStack() as stack:
        with _locked(folder, fcntl.LOCK_EX) as alone:  # while drafts are created and removed
            if alone:
                _remove_abandoned(folder)
            made = tempfile.TemporaryDirectory(dir=folder, prefix=_DRAFT)
            draft = Path(stack.enter_context(made))
            stack.enter_context(_locked(draft, fcntl.LOCK_EX))
        yield draft


def _remove_abandoned(folder: Path) -> None:
    """Removes the drafts of killed processes: a lock is released when its process ends."""
    for draft in folder.glob(f"{_DRAFT}*"):
        with (
            contextlib.suppress(OSError),
            _locked(draft, fcntl.LOCK_EX | fcntl.LOCK_NB) as is_abandoned,
        ):
            if is_abandoned:
                shutil.rmtree(draft, ignore_errors=True)


@contextlib.contextmanager
def _locked(folder: Path, how: int) -> Iterator[bool]:
    """Whether the folder's lock was acquired: not if it is held elsewhere or unsupported."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(descriptor, how)
            held = True
        except OSError:
            held = False
        yield held
    finally:
        os.close(descriptor)
