"""Pauses Python's garbage collector during startup; imports nothing slow, to be first."""

import contextlib
import gc
from collections.abc import Iterator

__all__ = [
    "THRESHOLDS",
    "paused",
]

THRESHOLDS = (50_000, 20, 100)
"""New objects before the youngest are searched, and how many such searches before the older are.

Tracing a program makes hundreds of thousands, most of which live: Python's own 700 searches often
and finds nothing.
"""


@contextlib.contextmanager
def paused() -> Iterator[None]:
    """For imports: objects made there live as long as the process, and need no collection."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.set_threshold(*THRESHOLDS)
        gc.enable()
