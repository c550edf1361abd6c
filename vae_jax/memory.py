"""Memory limits: refuses to read files that would need more memory than there is.

A file of a few kilobytes may claim, or unpack to, more memory than any machine has. Code that reads
a file first estimates the memory that it needs and calls `check`.
"""

import contextlib
import ctypes
import dataclasses
import math
import os
from collections.abc import Iterator
from pathlib import Path

from vae_jax.errors import DataError, UsageError

__all__ = [
    "FEWER_ROWS",
    "VARIABLE",
    "Tally",
    "check",
    "limit_bytes",
    "physical_bytes",
    "release",
    "there_are",
    "told",
]

VARIABLE = "VAE_JAX_MEMORY"
"""The environment variable for the memory limit of reading, in GiB."""
FEWER_ROWS = "give fewer rows"
"""The default remedy."""
_SHARE = 3 / 4  # of all memory; the rest is for the system, the libraries and the model
_UNITS = (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10))
_OWN_GROUPS, _CGROUPS = Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")


def physical_bytes() -> int:
    """Bytes of memory of this machine (scalar)."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def limit_bytes() -> int:
    """Bytes of memory that reading a dataset or a model may take (scalar).

    $VAE_JAX_MEMORY in GiB; by default three quarters of the memory, see `there_are`.

    Raises:
        UsageError: the variable is not a number of GiB.
    """
    given = _given_bytes()
    return int(_SHARE * _system_bytes()) if given is None else given


def there_are() -> int:
    """Bytes of memory that this process may take before the system ends it (scalar).

    That of the machine, of the process's control groups (a container, a cluster job) or of its
    address space (`ulimit -v`), whichever is least; $VAE_JAX_MEMORY in GiB if that is more.

    Raises:
        UsageError: the variable is not a number of GiB.
    """
    return max(_system_bytes(), _given_bytes() or 0)


def release() -> None:
    """Returns freed memory (of any size) to the system.

    The C library of Linux keeps what its threads have freed, up to 32 MiB blocks of each. Other
    systems have no such function, and nothing happens.
    """
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def _system_bytes() -> int:
    return min([physical_bytes(), *_limits_of_process()])


def _given_bytes() -> int | None:
    """$VAE_JAX_MEMORY in bytes, or None."""
    given = os.environ.get(VARIABLE)
    if given is None:
        return None
    try:
        size = float(given)
    except ValueError:
        size = math.nan
    if not 0 < size < math.inf:
        raise UsageError(f"{VARIABLE}={given}: is no number of GiB > 0: set one, such as 8")
    return int(size * 2**30)


def _limits_of_process() -> Iterator[int]:
    with contextlib.suppress(ImportError):  # Windows
        import resource

        soft, _ = resource.getrlimit(resource.RLIMIT_AS)
        if soft != resource.RLIM_INFINITY:
            yield soft
    try:
        lines = _OWN_GROUPS.read_text().splitlines()
    except OSError:  # not Linux
        return
    for line in lines:
        _, kinds, name = line.split(":", 2)
        if kinds not in ("", "memory"):
            continue
        file = "memory.limit_in_bytes" if kinds else "memory.max"
        root = _CGROUPS / kinds
        folder = root / name.lstrip("/")
        for place in (folder, *folder.parents):
            if not place.is_relative_to(root):
                break
            with contextlib.suppress(OSError, ValueError):  # no limit, or "max"
                yield int((place / file).read_text())


def told(num_bytes: int) -> str:
    """A number of bytes (scalar) in words: "11.4 GiB"."""
    for unit, size in _UNITS:
        if num_bytes >= size:
            return f"{num_bytes / size:,.{2 if num_bytes < 10 * size else 1}f} {unit}"
    return f"{num_bytes} bytes"


def check(what: str | os.PathLike, num_bytes: int, remedy: str = FEWER_ROWS) -> None:
    """Raises an error unless reading may take this much memory.

    Args:
        what: the thing that is read, for the message.
        num_bytes: estimated peak memory (scalar).
        remedy: an additional remedy.

    Raises:
        DataError: it needs more than the limit.
    """
    limit = limit_bytes()
    if num_bytes > limit:
        raise DataError(
            f"{os.fspath(what)}: would take about {told(num_bytes)} of memory, reading may take"
            f" {told(limit)} here: {remedy}, or set {VARIABLE} to more GiB"
        )


@dataclasses.dataclass(eq=False)
class Tally:
    """Adds up the memory that the parts of one dataset need while they are read.

    Attributes:
        num_bytes: the sum so far (scalar).
    """

    num_bytes: int = 0

    def add(self, what: str | os.PathLike, num_bytes: int, remedy: str = FEWER_ROWS) -> None:
        """Adds a part before it is read; arguments as in `check`."""
        check(what, self.num_bytes + num_bytes, remedy)
        self.num_bytes += num_bytes
