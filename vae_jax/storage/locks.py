"""The lock of a run directory, and locks of a moment.

The lock is that of flock: advisory, and released by the kernel even if the process is killed; what
the file says of pid, host and time is for people. On NFS it holds between hosts if the server keeps
locks (version 4, or a lock service) and the mount leaves them to it (no `nolock`, no
`local_lock`); after the crash of a host version 4 releases them within minutes, older ones once
the host is back.
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
"""Of the file in a run directory."""


@contextlib.contextmanager
def alone(path: pathlib.Path) -> Iterator[None]:
    """Waits for the lock that is a file, which is made where it is missing, and holds it meanwhile.

    For what takes a moment: others wait for its end.

    Raises:
        StorageError: the file cannot be made, or its file system keeps no locks.
    """
    lock = locked(path, fcntl.LOCK_EX)
    try:
        yield
    finally:
        os.close(lock)


def locked(path: pathlib.Path, how: int) -> int:
    """Opens a file, which is made if there is none, and locks it.

    One that has another name too, as in a copy by `cp -al`, is replaced once nobody holds it: what
    is signed would be written into both, and both directories would share the lock.

    Raises:
        LockedError: another process holds it, and `how` says not to wait.
        StorageError: it cannot be opened, or its file system keeps no locks.
    """
    with files.storing(path), disk.folder(path.parent) as held:
        while (lock := _locked_if_alone(path, how, held)) is None:
            pass
        return lock


def _locked_if_alone(path: pathlib.Path, how: int, held: int) -> int | None:
    """`locked`, tried once in a folder that is held; None: a new file has to be locked instead."""
    lock = disk.open_regular(path.name, os.O_RDWR | os.O_CREAT, held=held)
    try:
        _lock(lock, path, how)
        found = os.fstat(lock)
        # a process that was refused may have removed the file meanwhile
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
    """Locks a file that is open, or says why its file system cannot, see `locked`."""
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
    # The holder writes its name just after it has the lock.
    for _ in range(10):
        try:
            holder = json.loads(os.pread(lock, 4096, 0))
            return "process {pid} on {host} since {start}".format(**holder)
        except (ValueError, KeyError, TypeError):
            time.sleep(0.05)
    return "another process"


def sign(lock: int, directory: pathlib.Path) -> None:
    """Writes pid, host and time into a lock that is held.

    Args:
        lock: its descriptor, a scalar.
        directory: of the run, for messages.
    """
    holder = {"pid": os.getpid(), "host": socket.gethostname(), "start": now()}
    with files.storing(directory / NAME):
        os.ftruncate(lock, 0)
        os.pwrite(lock, (json.dumps(holder) + "\n").encode(), 0)


def now() -> str:
    """Returns the time with its zone, to the second, as ISO 8601 has it."""
    return datetime.datetime.now().astimezone().isoformat(timespec="seconds")
