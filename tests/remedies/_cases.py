"""What a case is: a message that is provoked, and each of its remedies carried out."""

import functools
import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from vae_jax.lab.flags import as_flags

from . import _messages

Key = tuple[str, str]
"""(file::function that says a message, words of it), as `_messages.Message` has them."""
Steps = Iterator[Callable[[], Any]]
"""What a case yields: what provokes the message, which is sent back to it; then, as often as there
are remedies, what passes once the remedy has been carried out."""


class Case(NamedTuple):
    """A message and its remedies.

    Attributes:
        name: of the test.
        keys: of the texts that the message is made of.
        steps: (an empty folder, pytest's monkeypatch) to `Steps`.
        is_slow: whether it trains.
    """

    name: str
    keys: tuple[Key, ...]
    steps: Callable[..., Steps]
    is_slow: bool = False


CASES: list[Case] = []
"""In the order in which their modules enter them."""


class SaidError(Exception):
    """A note or a warning, which ends nothing, as what provokes it raises it."""


def tries(*keys: Key, is_slow: bool = False) -> Callable:
    """Enters a function (folder, patch) → `Steps` as the case of its texts, see `Case`."""

    def enter(steps):
        CASES.append(Case(steps.__name__, keys, steps, is_slow))
        return steps

    return enter


def at(path: str, *others: str) -> Callable[[str], Key]:
    """Words to the key of a text: of a function of a file, or of the file itself."""
    function = ".".join(others)
    return lambda words: (f"{path}::{function}", words)


def said(lines, words: str) -> None:
    """Raises the one of some lines that holds words, if any does."""
    for line in lines:
        if words in line:
            raise SaidError(line)


def is_of(key: Key, message: _messages.Message) -> bool:
    """Whether a key is that of a message in the source."""
    place, words = key
    return place == message.place and words in message.text


def fits(words: str, told: str) -> bool:
    """Whether a message, as it was said, holds the words of a key, of which a part may be a gap."""
    return re.search(".*".join(map(re.escape, words.split(_messages.GAP))), told) is not None


def flags_of(message: str) -> dict[str, str]:
    """The flags that a message names with a value, as the command line says it: name → value."""
    told = as_flags(message, ("run", "member"))
    return dict(re.findall(r"--(\w+)=([^\s,;:()]+)", told))


def attempt(function: Callable, *arguments, **options) -> Callable[[], Any]:
    """What a step yields."""
    return functools.partial(function, *arguments, **options)
