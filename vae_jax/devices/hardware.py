"""What this machine is, as far as its system tells: macOS has none of the files of /proc."""

import os
from pathlib import Path

__all__ = [
    "lines_of_cpuinfo",
    "num_cores",
    "peak_bytes",
]


def num_cores() -> int:
    """Cores that this process may use, a count; all of them if the system does not say which."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def lines_of_cpuinfo(*names: str) -> list[str]:
    """The distinct lines of /proc/cpuinfo that begin with one of the names; [] without the file.

    Args:
        names: such as "model name".
    """
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return []
    return list(dict.fromkeys(line for line in lines if line.startswith(names)))


def peak_bytes() -> int:
    """The most memory that this program has had in use, in bytes.

    Linux counts in `getrusage` the parent's peak too, if that is larger: there /proc says it.
    macOS starts a process without its parent's memory, and counts in bytes, not kibibytes.
    """
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
