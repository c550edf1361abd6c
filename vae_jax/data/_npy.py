"""Untrusted .npy and .npz files: no pickle, and no allocation based on a header alone."""

import contextlib
import dataclasses
import math
import os
import tokenize
import weakref
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np

from vae_jax import memory
from vae_jax.errors import DataError, first_line

__all__ = ["FileRows", "Header", "header", "names", "read", "write_header"]

_MAX_DEFLATE_RATIO = 1_032  # largest expansion of one byte of a deflate stream
_LARGEST_SIZE = 2**63 - 1  # of an axis, in NumPy
_MOST_BYTES = 2**30  # per read: Linux returns 2 GiB at most, macOS refuses more
try:
    from lzma import LZMAError
except ImportError:  # a Python without it cannot read such archives
    LZMAError = EOFError

_DAMAGE = (
    EOFError,
    KeyError,
    LZMAError,
    MemoryError,
    NotImplementedError,
    OSError,
    OverflowError,
    RecursionError,
    RuntimeError,
    SyntaxError,
    TypeError,
    UserWarning,
    ValueError,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
)


_REMEDY = (
    "give fewer rows, or an .npy file in C order, whose rows can stay in the file (with"
    " loading=stream, without `window`)"
)


@contextlib.contextmanager
def _damage_named(path: Path) -> Iterator[None]:
    try:
        yield
    except PermissionError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from None
    except _DAMAGE as error:
        raise DataError(
            f"{path}: not a readable {path.suffix} file ({first_line(error)}): truncated, damaged"
            " or of another format; save it again with numpy.save or numpy.savez"
        ) from None


@dataclasses.dataclass(frozen=True)
class Header:
    """The header of an .npy file, checked against the file's size.

    Attributes:
        shape: shape of the array.
        dtype: dtype of its values; never Python objects.
        fortran_order: whether the first axis varies fastest in the file.
        offset: offset of the first value in the file, in bytes (scalar).
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    fortran_order: bool
    offset: int

    @property
    def nbytes(self) -> int:
        """Bytes that the values take (scalar)."""
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def has_rows(self) -> bool:
        """Whether each row of the array [N, *stored] is contiguous in the file."""
        return bool(self.shape) and not self.fortran_order and self.dtype.subdtype is None


def _read_header(stream: IO[bytes], size: int, what: str) -> Header:
    version = np.lib.format.read_magic(stream)
    readers = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    if version not in readers:
        raise ValueError(f"version {version} of the format")
    shape, fortran_order, dtype = readers[version](stream)
    if dtype.hasobject:
        raise DataError(
            f"{what}: holds Python objects (pickle), which are never loaded: save plain numbers,"
            " numpy.asarray(x, dtype='float32'), or words, numpy.asarray(y, dtype='str')"
        )
    if any(isinstance(n, bool) or not 0 <= n <= _LARGEST_SIZE for n in shape):
        raise ValueError(f"shape {shape}")
    if not dtype.itemsize:
        raise DataError(f"{what}: holds {dtype} of no bytes: there is nothing in it")
    found = Header(shape, dtype, fortran_order, stream.tell())
    if found.nbytes > size - found.offset:
        raise DataError(
            f"{what}: claims shape {shape} of {dtype}, {found.nbytes} bytes, but holds"
            f" {size - found.offset}: the file is truncated or its header is wrong"
        )
    return found


def _read_array(stream: IO[bytes], size: int, what: str, tally: memory.Tally) -> np.ndarray:
    found = _read_header(stream, size, what)
    tally.add(what, found.nbytes, _REMEDY)
    stream.seek(0)
    return np.lib.format.read_array(stream, allow_pickle=False)


def header(path: Path) -> Header:
    """Reads the header of an .npy file (array of any shape), without its values.

    Args:
        path: the file.

    Returns:
        The header.

    Raises:
        DataError: as `read` does.
    """
    with _damage_named(path), path.open("rb") as file:
        return _read_header(file, path.stat().st_size, str(path))


def write_header(file: IO[bytes], shape: tuple[int, ...], dtype: np.dtype) -> None:
    """Writes the header of an .npy file; the values in C order must follow.

    Args:
        file: an empty file, open for writing.
        shape: shape of the whole array.
        dtype: dtype of its values.
    """
    descr = np.lib.format.dtype_to_descr(dtype)
    fields = {"descr": descr, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, fields)


def _positions(rows: slice | np.ndarray, num_rows: int) -> np.ndarray:
    if isinstance(rows, slice):
        return np.arange(*rows.indices(num_rows))
    rows = np.asarray(rows)
    if rows.size == 0:
        return rows.astype(np.int64)
    if rows.dtype.kind not in "iu" or rows.min() < -num_rows or rows.max() >= num_rows:
        raise IndexError(f"rows must be integers in [{-num_rows}, {num_rows})")
    return rows.astype(np.int64) % num_rows


def _read_at(file: int, into: memoryview, offset: int) -> int:
    """Reads bytes at an offset of an open file; returns how many were read."""
    if hasattr(os, "preadv"):
        return os.preadv(file, [into], offset)
    # macOS before 11, and Python builds for it
    content = os.pread(file, len(into), offset)
    into[: len(content)] = content
    return len(content)


class FileRows:
    """The array of an .npy file, which stays there: rows are read on access.

    It uses ordinary reads, not a memory map: a truncated file or a failing disk raises an error,
    while a map would kill the process (SIGBUS), and pages do not count as memory of this process.
    """

    def __init__(self, path: Path, *, stays: bool = True):
        """Opens an .npy file in C order.

        Args:
            path: the file, of an array [N, *stored].
            stays: whether rows stay in the file while they are used; otherwise they are read from
                it once, into the form in which they are kept.

        Raises:
            DataError: as `read` does, and if the array's `Header.has_rows` is false.
        """
        with _damage_named(path), path.open("rb") as file:
            found = _read_header(file, path.stat().st_size, str(path))
            if not found.has_rows:
                raise DataError(f"{path}: has no rows that lie together: save it in C order")
            self._file = os.dup(file.fileno())
        weakref.finalize(self, os.close, self._file)
        self.shape, self.dtype, self.stays = found.shape, found.dtype, stays
        self._path, self._offset = path, found.offset
        self._stamp = self._current_stamp()

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice | np.ndarray) -> np.ndarray:
        """Reads rows in the order of the file, and returns them in the requested order.

        Args:
            rows: a slice, or integers [...], each in [-N, N).

        Returns:
            [..., *stored], in memory.

        Raises:
            DataError: if the file has changed since it was opened, or cannot be read.
            IndexError: if `rows` are not integers in the range.
        """
        rows = _positions(rows, len(self))
        if self._current_stamp() != self._stamp:
            raise DataError(f"{self._path}: has changed while it was in use: start again")
        values = np.empty((*rows.shape, *self.shape[1:]), self.dtype)
        if values.size:
            self._read(rows.ravel(), memoryview(values.reshape(-1).view(np.uint8)))
        return values

    def _current_stamp(self) -> tuple[int, int]:
        found = os.fstat(self._file)
        return found.st_size, found.st_mtime_ns

    def _read(self, rows: np.ndarray, into: memoryview) -> None:
        width = math.prod(self.shape[1:]) * self.dtype.itemsize
        # In file order the system reads ahead: up to 5 times the rows/s from a cold disk.
        places = np.argsort(rows, kind="stable")
        rows = rows[places]
        # One read for each run of rows that are adjacent in the file and in the result.
        ends = np.flatnonzero((np.diff(rows) != 1) | (np.diff(places) != 1)) + 1
        starts = [0, *ends.tolist()]
        lengths = np.diff([*starts, len(rows)])
        for row, place, length in zip(
            rows[starts].tolist(), places[starts].tolist(), lengths.tolist(), strict=True
        ):
            self._read_into(into[place * width : (place + length) * width], row * width)

    def _read_into(self, into: memoryview, position: int) -> None:
        while into:
            try:
                count = _read_at(self._file, into[:_MOST_BYTES], self._offset + position)
            except OSError as error:
                raise DataError(f"{self._path}: cannot be read ({error.strerror})") from None
            if count == 0:
                raise DataError(f"{self._path}: ends early: it was cut short while in use")
            into, position = into[count:], position + count


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


def read(path: Path, name: str | None = None, tally: memory.Tally | None = None) -> np.ndarray:
    """Reads one array of an .npz file, or the array of an .npy file.

    Args:
        path: the file.
        name: key in the .npz file; None for an .npy file.
        tally: the memory of everything that is read together.

    Returns:
        The array, with its saved shape and dtype.

    Raises:
        DataError: the file is unreadable, truncated, lacks the key, holds Python objects, or claims
            more values than it holds, or more than the memory limit.
    """
    tally = memory.Tally() if tally is None else tally
    if name is None:
        with _damage_named(path), path.open("rb") as file:
            return _read_array(file, path.stat().st_size, str(path), tally)
    if name not in names(path):
        found = ", ".join(map(repr, names(path))) or "none"
        raise DataError(f"{path}: has no key {name!r}, only {found}")
    with _damage_named(path), zipfile.ZipFile(path) as archive:
        member = archive.getinfo(f"{name}.npy")
        if member.file_size > member.compress_size * _MAX_DEFLATE_RATIO:
            raise ValueError(f"{name} claims to unpack to {member.file_size} bytes")
        with archive.open(member) as file:
            array = _read_array(file, member.file_size, f"{path}[{name}]", tally)
            if file.read(1):  # the checksum is verified at the end of the data
                raise ValueError(f"{name} holds more than its header says")
            return array
