"""Prepared arrays kept on disk: found by the content of their source, verified at each load."""

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from vae_jax.data import _npy
from vae_jax.data._dataset import sha256_of_file
from vae_jax.errors import DataError

__all__ = ["cached"]

_RECORD = "record.json"


def cached(
    folder: Path,
    name: str,
    source: str,
    version: int,
    build: Callable[[], dict[str, np.ndarray]],
) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """The arrays that `build` makes, from disk where they were made before of the same source.

    Args:
        folder: of the cache; made where it is missing.
        name: of the dataset, as it may stand in a file name.
        source: SHA-256 of the source's content.
        version: of the code that makes the arrays.
        build: makes the arrays (of any shape) by name.

    Returns:
        (arrays by name, notes): a note for a damaged copy and for a source that has changed, each
        with both SHA-256, and for a folder that cannot be written.
    """
    key = hashlib.sha256(f"{source} {version}".encode()).hexdigest()
    entry = folder / f"{name}-{key[:16]}"
    notes = []
    if entry.exists():
        try:
            return _read(entry), ()
        except DataError as error:
            notes.append(f"{error}: made again from the source")
    elif earlier := _earlier_sources(folder, name) - {source}:
        notes.append(
            f"{name}: SHA-256 of the source is {source}, when cached before it was"
            f" {', '.join(sorted(earlier))}: the source has changed and is read again"
        )
    arrays = build()
    try:
        _write(entry, {"name": name, "source": source, "version": version}, arrays)
    except OSError as error:
        notes.append(f"{entry}: not cached, the next run reads the source again ({error})")
    return arrays, tuple(notes)


def _record(entry: Path) -> dict:
    try:
        record = json.loads((entry / _RECORD).read_text())
        return {**record, "arrays": dict(record["arrays"]), "source": str(record["source"])}
    except (OSError, ValueError, KeyError, TypeError):
        raise DataError(f"{entry / _RECORD}: missing or damaged") from None


def _read(entry: Path) -> dict[str, np.ndarray]:
    recorded = _record(entry)["arrays"]
    paths = {path.stem: path for path in entry.glob("*.npy")}
    if lost := sorted(set(recorded) - set(paths)):
        raise DataError(f"{entry}: {', '.join(lost)} is missing")
    for name in recorded:
        found = sha256_of_file(paths[name])
        if found != recorded[name]:
            raise DataError(f"{paths[name]}: SHA-256 is {found}, recorded {recorded[name]}")
    return {name: _npy.read(paths[name]) for name in recorded}


def _earlier_sources(folder: Path, name: str) -> set[str]:
    sources = set()
    for entry in folder.glob(f"{name}-{'[0-9a-f]' * 16}"):
        with contextlib.suppress(DataError):
            sources.add(_record(entry)["source"])
    return sources


def _write(entry: Path, record: dict, arrays: dict[str, np.ndarray]) -> None:
    entry.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(dir=entry.parent, prefix=".draft-"))
    try:
        for name, array in arrays.items():
            np.save(draft / f"{name}.npy", array, allow_pickle=False)
        hashes = {name: sha256_of_file(draft / f"{name}.npy") for name in arrays}
        (draft / _RECORD).write_text(json.dumps({**record, "arrays": hashes}, indent=1))
        shutil.rmtree(entry, ignore_errors=True)
        os.rename(draft, entry)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
