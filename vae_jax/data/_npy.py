"""Arrays from .npy and .npz files of strangers: no pickle, and no allocation on a header's word."""

import contextlib
import math
import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np

from vae_jax.errors import DataError

__all__ = ["names", "read"]

_MAX_DEFLATE_RATIO = 1_032  # what a byte of a deflate stream can become at most
_DAMAGE = (
    EOFError,
    KeyError,
    MemoryError,
    NotImplementedError,
    OSError,
    RuntimeError,
    SyntaxError,
    UserWarning,
    ValueError,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
)


@contextlib.contextmanager
def _damage_named(path: Path) -> Iterator[None]:
    try:
        yield
    except _DAMAGE as error:
        reason = str(error).split("\n")[0] or type(error).__name__
        raise DataError(
            f"{path}: not a readable {path.suffix} file ({reason}): truncated, damaged or of"
            " another format; save it again with numpy.save or numpy.savez"
        ) from None


def _read_array(stream: IO[bytes], size: int, what: str) -> np.ndarray:
    version = np.lib.format.read_magic(stream)
    readers = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    if version not in readers:
        raise ValueError(f"version {version} of the format")
    shape, _, dtype = readers[version](stream)
    if dtype.hasobject:
        raise DataError(
            f"{what}: holds Python objects (pickle), which are never loaded: save plain numbers,"
            " for instance numpy.asarray(x, dtype='float32')"
        )
    claimed, left = math.prod(shape) * dtype.itemsize, size - stream.tell()
    if min(shape, default=0) < 0 or claimed > left:
        raise DataError(
            f"{what}: claims shape {shape} of {dtype}, {claimed} bytes, but holds {left}: the"
            " file is truncated or its header is wrong"
        )
    stream.seek(0)
    return np.lib.format.read_array(stream, allow_pickle=False)


def names(path: Path) -> tuple[str, ...]:
    """Names of the arrays (of any shape) in an .npz file.

    Args:
        path: the file.

    Returns:
        The keys, in the order of the file.

    Raises:
        DataError: if the file is not a readable archive.
    """
    with _damage_named(path), zipfile.ZipFile(path) as archive:
        return tuple(name.removesuffix(".npy") for name in archive.namelist())


def read(path: Path, name: str | None = None) -> np.ndarray:
    """One array of an .npz file, or the array of an .npy file.

    Args:
        path: the file.
        name: key in the .npz file; None for an .npy file.

    Returns:
        The array, of the shape and dtype in which it was saved.

    Raises:
        DataError: if the file is unreadable, truncated, lacks the key, holds Python objects, or
            claims more than it holds.
    """
    if name is None:
        with _damage_named(path), path.open("rb") as file:
            return _read_array(file, path.stat().st_size, str(path))
    if name not in names(path):
        found = ", ".join(map(repr, names(path))) or "none"
        raise DataError(f"{path}: has no key {name!r}, only {found}")
    with _damage_named(path), zipfile.ZipFile(path) as archive:
        member = archive.getinfo(f"{name}.npy")
        if member.file_size > member.compress_size * _MAX_DEFLATE_RATIO:
            raise ValueError(f"{name} claims to unpack to {member.file_size} bytes")
        with archive.open(member) as file:
            array = _read_array(file, member.file_size, f"{path}[{name}]")
            if file.read(1):  # the checksum is compared when the end has been read
                raise ValueError(f"{name} holds more than its header says")
            return array
