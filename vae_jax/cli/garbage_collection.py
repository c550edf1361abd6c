"""Python's garbage collector, out of the way of a start; imports nothing slow, to come first."""

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
    """For imports: what they make lives as long as the process, and is never to be searched."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.set_threshold(*THRESHOLDS)
        gc.enable()
