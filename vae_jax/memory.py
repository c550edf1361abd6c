"""What this machine has of memory."""

import os

__all__ = ["physical_bytes"]


def physical_bytes() -> int:
    """Bytes of memory that this machine has (scalar)."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
