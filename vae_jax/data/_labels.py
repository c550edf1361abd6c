"""Labels as users have them: their own values, the index of each, and what is unknown."""

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from vae_jax.data._part import Part
from vae_jax.data._spelling import quoted
from vae_jax.errors import DataError

__all__ = ["bytes_to_encode", "encode"]

Label = int | str
_BYTES_OF_LABEL = 160  # as a value of Python, in lists and sets of them, and its class
_UNKNOWN_WORDS = {"", "nan", "<na>", "-1", "-1.0"}
_LOOK_UNKNOWN = {"none", "null", "na", "n/a", "unknown", "unlabeled", "unlabelled", "?"}


def bytes_to_encode(labels: np.ndarray | None) -> int:
    """What `encode` takes for labels [N, …] of any dtype, estimated: bytes (scalar)."""
    return 0 if labels is None else labels.size * (_BYTES_OF_LABEL + labels.dtype.itemsize)


def encode(
    path: Path, parts: Mapping[str, Part]
) -> tuple[dict[str, Part], tuple[Label, ...] | None, list[str]]:
    """Parts whose labels are classes 0 … C − 1, −1 where unknown; what the classes are; notes.

    A label is a whole number or a word. A blank, NaN or None is unknown, and so is −1 unless other
    negative numbers, or 1 alone, are beside it. Labels that are none of these are left out, which
    a note says.

    Args:
        path: for messages.
        parts: labels [N] or [N, 1] of any dtype, or None.

    Returns:
        (parts with labels [N] int32 or None, the user's C values ascending or None, notes).

    Raises:
        DataError: there are more or fewer labels than rows, or numbers in one split and words in
            another.
    """
    given = {name: part.labels for name, part in parts.items() if part.labels is not None}
    for name, labels in given.items():
        num_rows = len(parts[name].x) if len(parts[name].x.shape) else 0
        if labels.shape not in ((num_rows,), (num_rows, 1)):
            raise DataError(
                f"{path}: labels have shape {labels.shape} for {num_rows} rows: give one label for"
                " each row (of one-hot rows their argmax(axis=1)), or none at all"
            )
    if not given:
        return dict(parts), None, []
    values = {name: _values(labels.ravel()) for name, labels in given.items()}
    odd = next((v for own in values.values() for v in own if isinstance(v, _Odd)), None)
    if odd is not None:
        left_out = {k: dataclasses.replace(part, labels=None) for k, part in parts.items()}
        return left_out, None, [f"labels are neither whole numbers nor words ({odd}): left out"]
    _refuse_mixed(path, values)
    values, classes, notes = _settled(values)
    index = {value: i for i, value in enumerate(classes)}
    codes = {
        name: np.array([-1 if v is None else index[v] for v in own], np.int32)
        for name, own in values.items()
    }
    notes += _note_unseen(codes, classes)
    encoded = {k: dataclasses.replace(part, labels=codes.get(k)) for k, part in parts.items()}
    if unknown := sum(int(np.sum(own < 0)) for own in codes.values()):
        total = sum(map(len, codes.values()))
        notes.append(f"{unknown:,} of {total:,} labels are unknown (blank, NaN or -1)")
    return encoded, classes, notes


def _refuse_mixed(path: Path, values: Mapping[str, list]) -> None:
    """Refuses splits of which some have numbers for labels and others words that are none."""
    kinds = {name: {type(v) for v in own if v is not None} for name, own in values.items()}
    of_numbers = next((name for name, own in kinds.items() if own == {int}), None)
    of_words = next((name for name, own in kinds.items() if own == {str}), None)
    if of_numbers is None or of_words is None:
        return
    words = sorted({word for word in values[of_words] if word is not None})
    if all(word.strip().removeprefix("-").isdecimal() for word in words):
        return
    numbers = sorted({number for number in values[of_numbers] if number is not None})
    raise DataError(
        f"{path}: labels of {of_numbers} are numbers ({quoted([*map(str, numbers)])}), of"
        f" {of_words} words ({quoted(words)}): give the same labels in all splits, or none in one"
    )


def _note_unseen(codes: Mapping[str, np.ndarray], classes: tuple[Label, ...]) -> list[str]:
    """Notes on classes that other splits have and train has not; labels [N] by split."""
    if "train" not in codes:
        return []
    notes, known = [], {*codes["train"].tolist(), -1}
    for split, own in codes.items():
        if unseen := sorted({*own.tolist()} - known):
            told = quoted([str(classes[code]) for code in unseen])
            notes.append(f"the classes {told} have rows in {split} and none in train")
    return notes


class _Odd(str):
    """How a label reads that is neither a whole number nor a word."""


def _values(labels: np.ndarray) -> list:
    """Labels [N] as values of Python: int, str, None for a blank, `_Odd` for what is no label."""
    if labels.dtype.kind in "USOT":
        return [_value(v) for v in labels.tolist()]
    if labels.dtype.kind not in "buif":
        return [_Odd(labels.dtype)] * len(labels)
    # of many rows few values
    found, places = np.unique(labels, return_inverse=True, equal_nan=True)
    known = [_value(v) for v in found.tolist()]
    return [known[place] for place in places.ravel().tolist()]


def _value(label) -> Label | _Odd | None:
    if label is None:
        return None
    if isinstance(label, bool | int):
        return int(label)
    if isinstance(label, bytes):
        label = label.decode("utf-8", errors="replace")
    if isinstance(label, str):
        return None if label.strip().casefold() in _UNKNOWN_WORDS else label
    if isinstance(label, float):
        if math.isnan(label):
            return None
        if label.is_integer() and abs(label) < 2**31:
            return int(label)
        return _Odd(f"{label:g}")
    return _Odd(type(label).__name__)


def _settled(values: dict[str, list]) -> tuple[dict[str, list], tuple[Label, ...], list[str]]:
    """The same values of one kind each, −1 as None where it says unknown; the classes; notes."""
    found = {v for own in values.values() for v in own if v is not None}
    notes = []
    if {type(v) for v in found} == {int, str}:
        # a column of words and of numbers is one of words
        values = {name: [v if v is None else str(v) for v in own] for name, own in values.items()}
        found = set(map(str, found)) - _UNKNOWN_WORDS
        values = {name: [v if v in found else None for v in own] for name, own in values.items()}
    numbers = {v for v in found if isinstance(v, int)}
    negative = {v for v in numbers if v < 0}
    if negative == {-1} and numbers != {-1, 1}:
        found = found - {-1}
        values = {name: [None if v == -1 else v for v in own] for name, own in values.items()}
    elif negative:
        notes.append(
            f"labels are numbers from {min(numbers)} to {max(numbers)}: those below 0 are labels"
            " like the others"
        )
    classes = tuple(sorted(found))
    if like := [v for v in classes if isinstance(v, str) and v.strip().casefold() in _LOOK_UNKNOWN]:
        notes.append(f"{quoted(like)} is taken as a label: leave it blank where it says unknown")
    return values, classes, notes
