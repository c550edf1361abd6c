"""Seals: hashes by which a file identifies its content and the run that it belongs to.

A seal is the SHA-256 of a value in JSON form with its owner. It detects damage, values that were
edited by hand, and files of another run, of another member or with another name. It is not a
signature: anyone who wants to forge a file can seal it again.
"""

import hashlib
import json
import math
import os
from collections.abc import Mapping
from typing import Any

__all__ = ["digest", "numbers", "plain", "scalar", "seal", "unseal"]

_SEAL = "seal"


def scalar(value: Any) -> Any:
    """Turns arrays of NumPy and JAX, of any shape, into Python numbers and lists."""
    return value.tolist() if hasattr(value, "tolist") else value


def plain(value: Any) -> Any:
    """Converts a value to JSON form, so that it does not change in a round trip.

    Args:
        value: scalars, strings, arrays of any shape, and lists and dicts of these.
    """
    value = scalar(value)
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    return value


def numbers(value: Any) -> Any:
    """The floats that JSON lacks as scalars again, where `plain` made words of them.

    Args:
        value: plain scalars, and lists and dicts of these; other words stay.
    """
    if isinstance(value, Mapping):
        return {key: numbers(item) for key, item in value.items()}
    if isinstance(value, list):
        return [numbers(item) for item in value]
    return float(value) if value in ("nan", "inf", "-inf") else value


def digest(value: Any) -> str:
    """SHA-256 of a plain value of any shape, independent of the order of keys: 64 hex digits."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def seal(body: Mapping, *owner: Any) -> dict:
    """A value with its seal.

    Args:
        body: values by name, as for `plain`.
        owner: its owner: a run's id, a file's name, a member; scalars and strings.

    Returns:
        The plain body, and "seal".
    """
    body = plain(body)
    return {**body, _SEAL: digest([list(owner), body])}


def unseal(stored: Any, *owner: Any) -> dict | None:
    """Checks a value from `seal` and removes the seal.

    Args:
        stored: the value that was read.
        owner: its required owner, scalars and strings.

    Returns:
        The body; None if there is no seal, or if it belongs to another body or owner.
    """
    if not isinstance(stored, dict) or _SEAL not in stored:
        return None
    body = {name: value for name, value in stored.items() if name != _SEAL}
    return body if stored[_SEAL] == digest([list(owner), body]) else None
