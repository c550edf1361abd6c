"""Time for the parts of a section: what does not fit is left out, with a line that says so."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any


def within(
    seconds: float,
    parts: Mapping[str, Callable[[], Iterable[Any]]],
    *,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Any]:
    """Yields the rows of parts, one part after the other, until the time is out.

    A part begins only if the longest part so far would still end in time. A part that fails says
    why in a remark, and the others go on: what was measured is worth more than an exit code.

    Args:
        seconds: the time for all parts, in seconds.
        parts: name → function that yields rows and remarks.
        clock: returns the time in seconds.

    Yields:
        What the parts yield, and remarks about parts that failed or were left out.
    """
    start, longest, left_out = clock(), 0.0, []
    for name, part in parts.items():
        begun = clock()
        if begun - start + longest > seconds:
            left_out.append(name)
            continue
        yield from _remarked(name, part)
        longest = max(longest, clock() - begun)
    if left_out:
        yield f"left out, because {seconds:g} s are over: {', '.join(left_out)}"


def _remarked(name: str, part: Callable[[], Iterable[Any]]) -> Iterator[Any]:
    """What a part yields; if it fails, a remark that says why."""
    try:
        yield from part()
    except Exception as error:
        words = " ".join(f"{type(error).__name__}: {error}".split())
        yield f"{name} failed: {words[:300]}"
