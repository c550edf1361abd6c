"""Pauses Python's garbage collector during startup; imports nothing slow, to be first."""

import contextlib
import gc
from collections.abc import Iterator

__all__ = [
    "THRESHOLDS",
    "paused",
]

THRESHOLDS = (50_000, 20, 100)
"""New objects before a collection of the youngest generation, and collections before the older.

Tracing a program makes hundreds of thousands of objects, most of which survive: with Python's
default of 700, collections are frequent and find nothing.
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
