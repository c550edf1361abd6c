"""Files below a folder that may be a stranger's, and what differs between systems in both.

A path is looked up anew at each use: between a check that no link leads out of a folder and the
write that follows, somebody may put one there. Here a folder is held open, names are looked up in
what is held, and no link below it is followed.
"""

import contextlib
import errno
import fcntl
import itertools
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

__all__ = [
    "LEFT_BY_BROWSERS",
    "append",
    "folder",
    "open_regular",
    "path_of",
    "replace",
    "set_aside",
    "sync_folder",
]

LEFT_BY_BROWSERS = frozenset({".DS_Store"})
"""Names of files that a file browser, Finder of macOS, leaves in each folder that it has shown."""
_FOLDER = os.O_RDONLY | os.O_DIRECTORY
"""How a folder is opened, and nothing else."""


@contextlib.contextmanager
def folder(
    root: str | os.PathLike, parts: Sequence[str] = (), *, make: bool = False
) -> Iterator[int]:
    """Holds a folder open.

    Args:
        root: that exists; links that lead to it are followed.
        parts: names from there to the folder, each of a folder and of no link.
        make: whether those are made that are missing.

    Yields:
        A descriptor, a scalar, for `dir_fd`.

    Raises:
        OSError: a part is missing, a link or no folder.
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
    """Opens a folder in one that is held, see `folder`; returns its descriptor."""
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
    """A path to a folder that is held, for libraries that take no descriptor.

    Args:
        held: from `folder`, a scalar.
        path: where it was found: what is left to name it by on systems without /proc.
    """
    own = Path("/proc/self/fd", str(held))
    try:
        os.close(os.open(own, _FOLDER))
    except OSError:
        return path
    return own


def open_regular(name: str | os.PathLike, flags: int, *, held: int | None = None) -> int:
    """Opens what is a file, and neither follows a link nor waits for what is none.

    Args:
        name: of the file, or its path.
        flags: as of `os.open`.
        held: the folder that the name is looked up in, from `folder`, a scalar.

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


def replace(
    held: int, name: str, content: bytes, check: Callable[[str], object] | None = None
) -> None:
    """Writes a file whole or not at all; what had its name, a link too, is gone.

    Args:
        held: the folder, from `folder`, a scalar.
        name: of the file.
        content: of any length, a scalar.
        check: reads the file by its temporary name before it takes its place; its error leaves
            what was there.

    Raises:
        OSError: it cannot be written.
    """
    temporary = f".{name}.tmp"
    _remove(temporary, held)  # what a killed process left, or a link
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666, dir_fd=held)
        with open(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if check is not None:
            check(temporary)
        os.replace(temporary, name, src_dir_fd=held, dst_dir_fd=held)
        sync_folder(held)
    except BaseException:
        _remove(temporary, held)
        raise


def set_aside(name: str, held: int, other: int) -> None:
    """Moves a file or a folder into another folder, under a name that is free there: 8, 8.1, ….

    Args:
        name: of what is moved.
        held: the folder that it is in, from `folder`, a scalar.
        other: the folder that receives it, likewise.

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
    """Opens a file to write at its end; one that has another name too is copied first.

    A hard link, of `cp -al` say or of somebody who means harm, would have the other file written.

    Args:
        held: the folder, from `folder`, a scalar.
        name: of the file, which is made if there is none.

    Returns:
        A descriptor, a scalar.

    Raises:
        OSError: it cannot be opened, or is no regular file.
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
    """Returns when the names in a folder are on its disk, and all files that were synced before.

    `fsync` of macOS leaves what it writes in the cache of the drive; F_FULLFSYNC empties that cache
    (its manual, fsync(2)). It is slower, so that only folders wait for it: they are synced last.

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
            with contextlib.suppress(OSError):  # file systems of other systems have no such call
                fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
    finally:
        if not is_held:
            os.close(descriptor)
