"""The lock of a run directory, and short-term locks.

Locks use flock: they are advisory, and the kernel releases them even if the process is killed; pid,
host and time in the file are only for people. On NFS a lock works between hosts if the server
supports locks (version 4, or a lock service) and the mount uses them (no `nolock`, no
`local_lock`). After the crash of a host, version 4 releases locks within minutes, older versions
once the host is back.
"""

import contextlib
import datetime
import errno
import fcntl
import json
import os
import pathlib
import socket
import time
from collections.abc import Iterator

from vae_jax import disk
from vae_jax.errors import LockedError, StorageError
from vae_jax.storage import files

__all__ = ["NAME", "alone", "locked", "now", "sign"]

NAME = "lock"
"""Name of the lock file in a run directory."""

_MOST_ATTEMPTS = 1000


@contextlib.contextmanager
def alone(path: pathlib.Path) -> Iterator[None]:
    """Waits for a lock file, which is created if it is missing, and holds it in the context.

    It is for short operations: other processes wait.

    Raises:
        StorageError: the file cannot be created, or its file system does not support locks.
    """
    lock = locked(path, fcntl.LOCK_EX)
    try:
        yield
    finally:
        os.close(lock)


def locked(path: pathlib.Path, how: int) -> int:
    """Opens and locks a file, which is created if it does not exist.

    A file with several hard links, as in a copy by `cp -al`, is replaced once nobody holds it.
    Otherwise both directories would share the lock and what is written into it.

    Raises:
        LockedError: another process holds it, and `how` requests not to wait.
        StorageError: it cannot be opened, its file system does not support locks, or others keep
            putting another file in its place.
    """
    with files.storing(path), disk.folder(path.parent) as held:
        for _ in range(_MOST_ATTEMPTS):
            lock = _locked_if_alone(path, how, held)
            if lock is not None:
                return lock
    raise StorageError(
        f"{path}: another file took its place {_MOST_ATTEMPTS} times: end what writes there, or "
        "choose another place"
    )


def _locked_if_alone(path: pathlib.Path, how: int, held: int) -> int | None:
    """One attempt of `locked` in an open folder; None means: retry with a new file."""
    lock = disk.open_regular(path.name, os.O_RDWR | os.O_CREAT, held=held)
    try:
        _lock(lock, path, how)
        found = os.fstat(lock)
        # a process that was refused may have removed the file in the meantime
        is_there = os.path.samestat(found, os.lstat(path.name, dir_fd=held))
        if is_there and found.st_nlink == 1:
            return lock
        if is_there:
            disk.replace(held, path.name, b"")
    except FileNotFoundError:
        pass
    except BaseException:
        os.close(lock)
        raise
    os.close(lock)
    return None


def _lock(descriptor: int, path: pathlib.Path, how: int) -> None:
    """Locks an open file, or explains why its file system cannot, see `locked`."""
    try:
        fcntl.flock(descriptor, how)
    except BlockingIOError:
        raise LockedError(f"is in use by {_holder(descriptor)}") from None
    except OSError as error:
        remedy = "choose another place"
        if error.errno in (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS):
            remedy = (
                "its file system keeps no locks, and two processes could write here unseen: choose "
                "a place on a local disk, or have it mounted with locks (NFS: version 4)"
            )
        raise StorageError(f"{path} cannot be locked ({files.reason(error)}): {remedy}") from None


def _holder(lock: int) -> str:
    # The holder writes its name just after it has acquired the lock.
    for _ in range(10):
        try:
            holder = json.loads(os.pread(lock, 4096, 0))
            return "process {pid} on {host} since {start}".format(**holder)
        except (ValueError, KeyError, TypeError):
            time.sleep(0.05)
    return "another process"


def sign(lock: int, directory: pathlib.Path) -> None:
    """Writes pid, host and time into a lock that this process holds.

    Args:
        lock: file descriptor, a scalar.
        directory: directory of the run, for messages.
    """
    holder = {"pid": os.getpid(), "host": socket.gethostname(), "start": now()}
    with files.storing(directory / NAME):
        os.ftruncate(lock, 0)
        os.pwrite(lock, (json.dumps(holder) + "\n").encode(), 0)


def now() -> str:
    """Returns the time with its zone, to the second, in ISO 8601 format."""
    return datetime.datetime.now().astimezone().isoformat(timespec="seconds")
