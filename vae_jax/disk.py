"""Files below a folder that may belong to somebody else, on all systems.

A path is looked up anew at each use. Between a check that no link leads out of a folder and the
write that follows, somebody may create such a link. So a folder is held open here, names are looked
up in the open folder, and no link below it is followed.
"""

import contextlib
import errno
import fcntl
import itertools
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO

__all__ = [
    "LEFT_BY_BROWSERS",
    "append",
    "folder",
    "open_regular",
    "path_of",
    "replace",
    "replacing",
    "set_aside",
    "sync_folder",
]

LEFT_BY_BROWSERS = frozenset({".DS_Store"})
"""Names of files that a file browser (Finder on macOS) leaves in each folder that it shows."""
_FOLDER = os.O_RDONLY | os.O_DIRECTORY
"""Flags to open a folder, and only a folder."""


@contextlib.contextmanager
def folder(
    root: str | os.PathLike, parts: Sequence[str] = (), *, make: bool = False
) -> Iterator[int]:
    """Opens a folder and keeps it open.

    Args:
        root: an existing folder; links that lead to it are followed.
        parts: names of subfolders, from root to the folder; none may be a link.
        make: whether missing subfolders are made.

    Yields:
        A file descriptor, a scalar, for `dir_fd`.

    Raises:
        OSError: a part is missing, a link or not a folder.
    """
    held = os.open(root, _FOLDER)
    try:
        for part in parts:
            below = _open_below(held, part, make=make)
            os.close(held)
            held = below
        yield held
    finally:
        os.close(held)


def _open_below(held: int, part: str, *, make: bool) -> int:
    """Opens a subfolder of an open folder, see `folder`; returns its descriptor."""
    if make:
        with contextlib.suppress(FileExistsError):
            os.mkdir(part, dir_fd=held)
    try:
        return os.open(part, _FOLDER | os.O_NOFOLLOW, dir_fd=held)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENOTDIR):
            raise OSError(error.errno, f"{part} is a link or no folder") from None
        raise


def path_of(held: int, path: Path) -> Path:
    """A path to an open folder, for libraries that do not accept a descriptor.

    Args:
        held: from `folder`, a scalar.
        path: the original path of the folder, used on systems without /proc.
    """
    own = Path("/proc/self/fd", str(held))
    try:
        os.close(os.open(own, _FOLDER))
    except OSError:
        return path
    return own


def open_regular(name: str | os.PathLike, flags: int, *, held: int | None = None) -> int:
    """Opens a regular file; does not follow links or wait for pipes.

    Args:
        name: name or path of the file.
        flags: flags as in `os.open`.
        held: the folder in which the name is looked up, from `folder`, a scalar.

    Returns:
        A descriptor, a scalar.

    Raises:
        OSError: it cannot be opened, or is a link, a folder, a pipe or a device.
    """
    flags |= os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        descriptor = os.open(name, flags, 0o666, dir_fd=held)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise OSError(error.errno, "a symbolic link, must be a file") from None
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "no regular file")
    return descriptor


@contextlib.contextmanager
def replacing(
    held: int, name: str, check: Callable[[str], object] | None = None
) -> Iterator[IO[bytes]]:
    """Opens a file to be written, which takes its name only when it is whole.

    It replaces what had its name, even a link. If the block or the check raises, the old file
    stays; if the process is killed, a hidden file stays beside it, which the next writer removes.

    Args:
        held: the folder, from `folder`, a scalar.
        name: name of the file.
        check: reads the temporary file before it replaces the old one.

    Yields:
        The temporary file.

    Raises:
        OSError: it cannot be written.
    """
    temporary = f".{name}.tmp"
    _remove(temporary, held)  # left by a killed process, or a link
    try:
        descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666, dir_fd=held)
        with open(descriptor, "w+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if check is not None:
            check(temporary)
        os.replace(temporary, name, src_dir_fd=held, dst_dir_fd=held)
        sync_folder(held)
    except BaseException:
        _remove(temporary, held)
        raise


def replace(
    held: int, name: str, content: bytes, check: Callable[[str], object] | None = None
) -> None:
    """Writes a file atomically, see `replacing`; content of any length, a scalar.

    Raises:
        OSError: it cannot be written.
    """
    with replacing(held, name, check) as file:
        file.write(content)


def set_aside(name: str, held: int, other: int) -> None:
    """Moves a file or a folder into another folder, under a free name: 8, 8.1, ….

    Args:
        name: name of the file or folder.
        held: the folder that contains it, from `folder`, a scalar.
        other: the destination folder, from `folder`, a scalar.

    Raises:
        OSError: it cannot be moved.
    """
    taken = set(os.listdir(other))
    names = itertools.chain([name], (f"{name}.{n}" for n in itertools.count(1)))
    free = next(each for each in names if each not in taken)
    os.rename(name, free, src_dir_fd=held, dst_dir_fd=other)
    sync_folder(other)
    sync_folder(held)


def append(held: int, name: str) -> int:
    """Opens a file for appending; a file with several hard links is copied first.

    Otherwise a hard link, from `cp -al` or from an attacker, would make this write to another file.

    Args:
        held: the folder, from `folder`, a scalar.
        name: name of the file, which is created if it does not exist.

    Returns:
        A descriptor, a scalar.

    Raises:
        OSError: it cannot be opened, or is not a regular file.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND
    descriptor = open_regular(name, flags, held=held)
    if os.fstat(descriptor).st_nlink <= 1:
        return descriptor
    with open(descriptor, "rb") as file:
        file.seek(0)
        content = file.read()
    replace(held, name, content)
    return open_regular(name, flags, held=held)


def _remove(name: str, held: int) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(name, dir_fd=held)


def sync_folder(place: str | os.PathLike | int) -> None:
    """Returns when the names in a folder, and all files synced before, are on disk.

    On macOS `fsync` leaves data in the cache of the drive; F_FULLFSYNC flushes that cache (its
    manual, fsync(2)). It is slower, so only folders use it: they are synced last.

    Args:
        place: the folder's path, or a descriptor of it, a scalar.

    Raises:
        OSError: it cannot be opened or written.
    """
    is_held = isinstance(place, int)
    descriptor = place if is_held else os.open(place, _FOLDER)
    try:
        os.fsync(descriptor)
        if hasattr(fcntl, "F_FULLFSYNC"):
            with contextlib.suppress(OSError):  # not supported on file systems of other systems
                fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
    finally:
        if not is_held:
            os.close(descriptor)
