"""What differs between systems in files and folders."""

import contextlib
import fcntl
import os

__all__ = ["LEFT_BY_BROWSERS", "sync_folder"]

LEFT_BY_BROWSERS = frozenset({".DS_Store"})
"""Names of files that a file browser, Finder of macOS, leaves in each folder that it has shown."""


def sync_folder(folder: str | os.PathLike) -> None:
    """Returns when the names in a folder are on its disk, and all files that were synced before.

    `fsync` of macOS leaves what it writes in the cache of the drive; F_FULLFSYNC empties that cache
    (its manual, fsync(2)). It is slower, so that only folders wait for it: they are synced last.

    Args:
        folder: that exists.

    Raises:
        OSError: it cannot be opened or written.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
        if hasattr(fcntl, "F_FULLFSYNC"):
            with contextlib.suppress(OSError):  # file systems of other systems have no such call
                fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
    finally:
        os.close(descriptor)
