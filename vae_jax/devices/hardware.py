"""Properties of this machine, as far as the system provides them: macOS has no /proc."""

import hashlib
import os
import platform
from pathlib import Path

__all__ = [
    "lines_of_cpuinfo",
    "num_cores",
    "peak_bytes",
    "processor",
    "used_bytes",
]


def num_cores() -> int:
    """Cores that this process may use, a count; all cores if the system does not say which."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def lines_of_cpuinfo(*names: str) -> list[str]:
    """The distinct lines of /proc/cpuinfo that begin with one of the names; [] if there is no file.

    Args:
        names: such as "model name".
    """
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return []
    return list(dict.fromkeys(line for line in lines if line.startswith(names)))


def peak_bytes() -> int:
    """Peak memory of this program, in bytes.

    On Linux `getrusage` includes the parent's peak if that is larger, so /proc is used instead. On
    macOS a process starts without its parent's memory, and the unit is bytes, not kibibytes.
    """
    return _status_bytes("VmHWM:")


def used_bytes() -> int:
    """Memory of this program now, in bytes; its peak if the system does not say."""
    return _status_bytes("VmRSS:")


def _status_bytes(name: str) -> int:
    """A size in /proc/self/status, in bytes."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))


def processor() -> str:
    """A name for the processor's instruction set; compiled code can be shared if it is equal."""
    features = platform.machine() + platform.processor()
    features += "".join(lines_of_cpuinfo("model name", "flags", "Features"))
    return f"{platform.machine()}-{hashlib.sha256(features.encode()).hexdigest()[:8]}"
