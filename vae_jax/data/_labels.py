"""Labels of users: their own values, the index of each, and unknown labels."""

import collections
import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from vae_jax import labels as user_labels
from vae_jax.data._part import Part
from vae_jax.data._spelling import may_be_unknown, quoted
from vae_jax.errors import DataError

__all__ = ["bytes_to_encode", "encode", "unseen"]

Label = int | str
_BYTES_OF_LABEL = 160  # as a Python value, in lists and sets, and its class


def bytes_to_encode(labels: np.ndarray | None) -> int:
    """Estimates the memory that `encode` needs for labels [N, …] of any dtype: bytes (scalar)."""
    return 0 if labels is None else labels.size * (_BYTES_OF_LABEL + labels.dtype.itemsize)


def encode(
    path: Path, parts: Mapping[str, Part]
) -> tuple[dict[str, Part], tuple[Label, ...] | None, list[str]]:
    """Converts labels to classes 0 … C − 1, −1 if unknown; also returns the classes and notes.

    A label is an integer or a word, without surrounding spaces. Unknown are empty labels, NaN, None
    and words for it ("?", "NA"); so is −1, unless other negative numbers, or only 1, occur with it.
    Labels that are none of these are dropped, with a note.

    Args:
        path: path for messages.
        parts: labels [N] or [N, 1] of any dtype, or None.

    Returns:
        (parts with labels [N] int32 or None, the user's C values ascending or None, notes).

    Raises:
        DataError: there are more or fewer labels than rows, or one split has numbers and another
            has words.
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
        why = f"labels are neither whole numbers nor words ({odd}): left out"
        left_out = {
            k: dataclasses.replace(part, labels=None, unlabeled=why) for k, part in parts.items()
        }
        return left_out, None, [why]
    _refuse_mixed(path, values)
    values, classes, notes = _settled(values)
    index = {value: i for i, value in enumerate(classes)}
    codes = {
        name: np.array([index.get(v, -1) for v in own], np.int32) for name, own in values.items()
    }
    encoded = {k: dataclasses.replace(part, labels=codes.get(k)) for k, part in parts.items()}
    if num_unknown := sum(int(np.sum(own < 0)) for own in codes.values()):
        total = sum(map(len, codes.values()))
        seen = {v for own in values.values() for v in own if v not in index}
        told = ", ".join(sorted(str(v) or "blank" for v in seen))
        notes.append(f"{num_unknown:,} of {total:,} labels are unknown ({told})")
    return encoded, classes, notes


def _refuse_mixed(path: Path, values: Mapping[str, list]) -> None:
    """Refuses data with numbers as labels in some splits and words in others."""
    known = {k: [v for v in own if not isinstance(v, _Unknown)] for k, own in values.items()}
    kinds = {name: {*map(type, own)} for name, own in known.items()}
    of_numbers = next((name for name, own in kinds.items() if own == {int}), None)
    of_words = next((name for name, own in kinds.items() if own == {str}), None)
    if of_numbers is None or of_words is None:
        return
    words, numbers = sorted({*known[of_words]}), sorted({*known[of_numbers]})
    if all(word.removeprefix("-").isdecimal() for word in words):
        return
    raise DataError(
        f"{path}: labels of {of_numbers} are numbers ({quoted([*map(str, numbers)])}), of"
        f" {of_words} words ({quoted(words)}): give the same labels in all splits, or none in one"
    )


def unseen(splits: Mapping[str, np.ndarray | None], classes: tuple[Label, ...] | None) -> list[str]:
    """Notes on classes that have rows but no training rows.

    Args:
        splits: "train" and others → labels [N] from `encode`, or None.
        classes: the user's C values.
    """
    known = {k: {*np.unique(own).tolist()} - {-1} for k, own in splits.items() if own is not None}
    notes = []
    for split, own in known.items():
        lost = sorted(own - known.get("train", own))
        if lost:
            told = quoted([str(classes[code]) for code in lost])
            notes.append(f"the classes {told} have rows in {split} and none in train")
    return notes


class _Odd(str):
    """A label that is neither an integer nor a word, as text."""


class _Unknown(str):
    """A label that means unknown, as text."""


def _values(labels: np.ndarray) -> list:
    """Labels [N] as Python values: int, str, `_Unknown`, or `_Odd` for anything else."""
    if labels.dtype.kind in "USOT":
        return [_value(v) for v in labels.tolist()]
    if labels.dtype.kind not in "buif":
        return [_Odd(labels.dtype)] * len(labels)
    # many rows have few distinct values
    found, places = np.unique(labels, return_inverse=True, equal_nan=True)
    known = [_value(v) for v in found.tolist()]
    return [known[place] for place in places.ravel().tolist()]


def _value(label) -> Label | _Odd | _Unknown:
    if label is None:
        return _Unknown()
    if isinstance(label, bool | int):
        return int(label)
    if isinstance(label, bytes):
        label = label.decode("utf-8", errors="replace")
    if isinstance(label, str):
        label = label.strip()
        return _Unknown(label) if user_labels.is_blank(label) else label
    if isinstance(label, float):
        if math.isnan(label):
            return _Unknown("NaN")
        if label.is_integer() and abs(label) < 2**31:
            return int(label)
        return _Odd(f"{label:g}")
    return _Odd(type(label).__name__)


def _settled(values: dict[str, list]) -> tuple[dict[str, list], tuple[Label, ...], list[str]]:
    """Converts values to one kind, with −1 as unknown if it means that; classes; notes."""
    found = {v for own in values.values() for v in own if not isinstance(v, _Unknown)}
    notes = []
    if any(isinstance(v, str) for v in found):
        # a column with words and numbers is a column of words
        values = {name: [_word(v) for v in own] for name, own in values.items()}
        found = {v for own in values.values() for v in own if not isinstance(v, _Unknown)}
    numbers = {v for v in found if isinstance(v, int)}
    if user_labels.minus_one_is_unknown(found):
        found = {v for v in found if not user_labels.is_minus_one(v)}
    elif min(numbers, default=0) < 0:
        notes.append(
            f"labels are numbers from {min(numbers)} to {max(numbers)}: those below 0 are labels"
            " like the others"
        )
    classes = tuple(sorted(found))
    folded = collections.Counter(str(v).casefold() for v in classes)
    if twins := [v for v in classes if folded[str(v).casefold()] > 1]:
        notes.append(f"the labels {quoted(twins)} differ in upper and lower case alone")
    if like := [v for v in classes if isinstance(v, str) and may_be_unknown(v)]:
        notes.append(f"{quoted(like)} is taken as a label: leave it blank where it says unknown")
    return values, classes, notes


def _word(value: Label | _Unknown) -> str:
    return value if isinstance(value, _Unknown) else str(value)
