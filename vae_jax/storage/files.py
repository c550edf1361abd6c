"""Files of a run: reads them with care, because they may be untrusted; replaces them atomically."""

import contextlib
import errno
import json
import os
import pathlib
import shutil
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from vae_jax import disk, memory
from vae_jax.errors import StorageError, UsageError
from vae_jax.storage import seals

__all__ = [
    "REMEDY",
    "check_space",
    "free_bytes",
    "inside",
    "make_folder",
    "parse_json",
    "read_bytes",
    "read_json",
    "reason",
    "storing",
    "write_bytes",
    "write_json",
    "write_text",
]

_LARGEST = 2**30
"""Maximum size of a file that is read as a whole, a count of bytes."""


_BYTES_OF_JSON = 48  # memory per byte of text at most: "[]," is an empty list in another


REMEDY = "choose another `workdir`"


def inside(directory: str | os.PathLike, *parts: str) -> pathlib.Path:
    """Joins names to a directory that may be untrusted.

    Raises:
        UsageError: the result lies outside, by `..`, an absolute path or a symbolic link.
    """
    root = pathlib.Path(directory)
    try:
        joined = root.joinpath(*parts)
        is_inside = joined.resolve().is_relative_to(root.resolve())
    except (ValueError, OSError, RuntimeError):
        is_inside = False
    if not is_inside or ".." in pathlib.PurePath(*parts).parts:
        raise UsageError(
            f"{'/'.join(parts)!r}: must stay inside {root}, name or link nothing outside of it"
        )
    return joined


def read_bytes(path: str | os.PathLike, *, remedy: str = "move it away") -> bytes:
    """Reads a file beside the checkpoints of a run, which may be untrusted.

    Args:
        path: path of the file, of any length.
        remedy: what to do if it cannot be read; moving it away helps if it can be recreated.

    Raises:
        FileNotFoundError: there is none.
        StorageError: it cannot be read, is a link, a pipe or a device, or larger than 1 GiB.
    """
    try:
        descriptor = disk.open_regular(path, os.O_RDONLY)
        try:
            size = os.fstat(descriptor).st_size
            if size > _LARGEST:
                raise OSError(errno.EFBIG, f"{size} bytes, at most {_LARGEST} are read")
            with open(descriptor, "rb", closefd=False) as file:
                return file.read(size)  # a larger number is allocated as a whole
        finally:
            os.close(descriptor)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise StorageError(f"{path} cannot be read ({reason(error)}): {remedy}") from None


def parse_json(raw: bytes) -> Any:
    """Parses JSON text to a value of any shape.

    Raises:
        ValueError: it is not JSON, is nested deeper than our files, or would need more memory than
            the limit.
    """
    needed, limit = len(raw) * _BYTES_OF_JSON, memory.limit_bytes()
    if needed > limit:
        raise ValueError(f"would take {memory.told(needed)}, reading may take {memory.told(limit)}")
    try:
        return json.loads(raw)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def read_json(path: str | os.PathLike) -> Any:
    """Reads a JSON file of a run, see `read_bytes`.

    Raises:
        FileNotFoundError: there is none.
        StorageError: it cannot be read.
    """
    try:
        return parse_json(read_bytes(path))
    except ValueError as error:
        raise StorageError(f"{path} cannot be read ({reason(error)}): move it away") from None


def make_folder(
    path: pathlib.Path, root: str | os.PathLike | None = None, *, mode: int = 0o777
) -> pathlib.Path:
    """Makes a folder and its parents unless they exist; returns it.

    Args:
        path: path of the folder.
        root: a folder above it, which no link may leave and which is made, too; None allows any
        link.
        mode: permissions of a new folder, before the umask, a scalar.

    Raises:
        StorageError: it cannot be made.
        UsageError: a link leads outside the root.
    """
    with storing(path):
        if root is None:
            path.mkdir(parents=True, exist_ok=True, mode=mode)
        else:
            pathlib.Path(root).mkdir(parents=True, exist_ok=True)
            *above, name = _below(root, path)
            there = contextlib.suppress(FileExistsError)
            with disk.folder(root, above, make=True) as held, there:
                os.mkdir(name, mode, dir_fd=held)
            with disk.folder(root, [*above, name]):
                pass  # it is a folder, not a link to one
    return path


def write_bytes(
    path: pathlib.Path,
    content: bytes,
    *,
    root: str | os.PathLike | None = None,
    remedy: str = REMEDY,
    check: Callable[[pathlib.Path], Any] | None = None,
) -> None:
    """Replaces a file atomically, see `Run.write_json`; content of any length, a scalar.

    Args:
        path: path of the file.
        content: the new content.
        root: a folder above it, which no link may leave; folders below it are created. None allows
            any link, and creates no folders.
        remedy: what to do if it cannot be written.
        check: reads the temporary file before it replaces the old one; if it raises, the old file
            stays.

    Raises:
        StorageError: it cannot be written.
        UsageError: a link leads outside the root.
    """
    with storing(path, remedy), _parent(path, root) as held:
        look = check and (lambda name: check(path.with_name(name)))
        disk.replace(held, path.name, content, look)


def _parent(path: pathlib.Path, root: str | os.PathLike | None):
    """Opens the folder of a file; below a root it is created, and no link is followed."""
    if root is None:
        return disk.folder(path.parent)
    return disk.folder(root, _below(root, path.parent), make=True)


def _below(root: str | os.PathLike, folder: pathlib.Path) -> tuple[str, ...]:
    """The names from a folder to one below it, after resolving links that stay inside.

    Raises:
        UsageError: a link leads outside. Links created later are not followed.
    """
    place = inside(root, *folder.relative_to(root).parts)
    return place.resolve().relative_to(pathlib.Path(root).resolve()).parts


def write_text(
    path: pathlib.Path, lines: Iterable[str], *, root: str | os.PathLike | None = None
) -> None:
    """Replaces a text file atomically, see `write_bytes`; each line, a scalar, ends with a newline.

    Raises:
        StorageError: it cannot be written.
    """
    text = "".join(f"{line}\n" for line in lines)
    write_bytes(path, text.encode(errors="surrogateescape"), root=root)


def write_json(path: pathlib.Path, value: Any, *, root: str | os.PathLike | None = None) -> None:
    """Replaces a JSON file atomically, see `write_bytes`; arrays of any shape become lists.

    Raises:
        StorageError: it cannot be written.
    """
    write_bytes(
        path, (json.dumps(seals.plain(value), indent=1, allow_nan=False) + "\n").encode(), root=root
    )


def free_bytes(path: str | os.PathLike) -> int:
    """Counts the bytes (a scalar) that may still be written at a path, which need not exist."""
    place = pathlib.Path(os.path.abspath(path))
    # os.path: an impossible name counts as missing, while pathlib raises
    return shutil.disk_usage(next(p for p in (place, *place.parents) if os.path.exists(p))).free


def check_space(path: str | os.PathLike, needed: int) -> None:
    """Checks that a scalar number of bytes may still be written at a path.

    Raises:
        StorageError: there is less; the message names both numbers.
    """
    free = free_bytes(path)
    if free < needed:
        raise StorageError(
            f"{os.fspath(path)}: needs {needed} bytes, {free} are free: "
            "free some, or choose another `workdir`"
        )


@contextlib.contextmanager
def storing(path: pathlib.Path, remedy: str = REMEDY) -> Iterator[None]:
    """A context that converts system errors to `StorageError` with a remedy, a scalar."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            remedy = f"{free_bytes(path)} bytes are free: free some and run the same command again"
        raise StorageError(f"{path} cannot be written ({reason(error)}): {remedy}") from error


def reason(error: Exception) -> str:
    """Returns the reason of a system error, a scalar."""
    return getattr(error, "strerror", None) or " ".join(str(error).split()) or type(error).__name__
