"""The columns of a table that tell the split of each row."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from vae_jax.data import _cells, _spelling
from vae_jax.errors import DataError

__all__ = ["Splits", "find"]

_MOST_NUMBERS = 20  # in a column called split; with more, it is a feature
_BOOLEANS = {"true": True, "false": False, "1": True, "0": False, "yes": True, "no": False}


class Splits(NamedTuple):
    """The splits of the rows, from certain columns.

    Attributes:
        columns: indices of these columns in the table.
        names: names of splits, in the order of their first rows.
        numbers: index of the split of each row, [N] integers.
        note: note for the log.
    """

    columns: tuple[int, ...]
    names: tuple[str, ...]
    numbers: np.ndarray
    note: str


def find(where: Path, names: Sequence[str], columns: Sequence) -> Splits | None:
    """Finds the splits of the rows, from words ("train", "test") or flags ("is_test").

    Args:
        where: path for messages.
        names: names of the columns, [D].
        columns: Arrow columns, [N] each, dictionaries and bytes as text.

    Raises:
        DataError: a column means splits by its name, or in some rows, but not for every row.
    """
    of_words = [i for i, own in enumerate(columns) if _names_splits(where, names[i], own)]
    flags = [(i, own) for i, name in enumerate(names) if (own := _spelling.flag_of_split(name))]
    if len(of_words) + bool(flags) > 1:
        own = [names[i] for i in [*of_words, *(i for i, _ in flags)]]
        raise DataError(
            f"{where}: the columns {_spelling.quoted(own)} all say splits: drop all but one of them"
        )
    if of_words:
        return _of_words(names, of_words[0], columns[of_words[0]])
    return _of_flags(where, names, columns, flags) if flags else None


def _names_splits(where: Path, name: str, column) -> bool:
    """Whether a column names the split of each row; refuses one that does so for some rows only."""
    says_so = _spelling.is_splits(name)
    if not _cells.is_text(column.type):
        if says_so:
            _refuse_numbers(where, name, column)
        return False
    # a column with many distinct words is not a column of splits
    found = column.unique().slice(0, 10 * _MOST_NUMBERS).to_pylist()
    known = {value for value in found if value is not None and _meaning(value)}
    others = [value for value in found if value not in known]
    # "Training" beside "PublicTest"
    says_so |= all(_spelling.split(value or "").split for value in found)
    if not known:
        return False
    if not others:
        return says_so or "train" in {_meaning(value) for value in known}
    if says_so:
        told = _spelling.quoted([value or "" for value in others])
        raise DataError(
            f"{where}: column {name!r} names the splits {_spelling.quoted(sorted(known))}, and"
            f" {told} in {_count(column, others):,} rows: write train, valid or test there, or"
            " drop the column"
        )
    return False


def _refuse_numbers(where: Path, name: str, column) -> None:
    found = column.unique().to_pylist()
    is_whole = all(value is None or float(value).is_integer() for value in found)
    if is_whole and len(found) <= _MOST_NUMBERS:
        told = ", ".join(map(str, found[:6])) + (", …" if len(found) > 6 else "")
        raise DataError(
            f"{where}: column {name!r} holds {told}, which do not say what is train: write train,"
            " valid and test, or rename the column if it says no split"
        )


def _meaning(value: str) -> str | None:
    return _spelling.folders([value])[value]


def _count(column, values: Sequence[str | None]) -> int:
    import pyarrow as pa
    import pyarrow.compute as pc

    return pc.sum(pc.is_in(column, pa.array(values, column.type))).as_py()


def _of_words(names: Sequence[str], place: int, column) -> Splits:
    import pyarrow.compute as pc

    values = column.unique()
    meanings = [_meaning(value) for value in values.to_pylist()]
    splits = tuple(dict.fromkeys(meanings))
    numbers = np.array([splits.index(split) for split in meanings], np.int8)
    of_rows = numbers[pc.index_in(column, values).to_numpy()]
    note = f"column {names[place]!r} taken as the splits of the rows"
    return Splits((place,), splits, of_rows, note)


def _flags(where: Path, name: str, column) -> np.ndarray:
    """Whether each row [N] is in the split of a flag."""
    import pyarrow.compute as pc

    values = column.unique()
    words = ["" if value is None else str(value).strip().casefold() for value in values.to_pylist()]
    odd = [word for word in words if word not in _BOOLEANS]
    if odd:
        raise DataError(
            f"{where}: column {name!r} holds {_spelling.quoted(odd)}: write true or false in each"
            " row, or rename the column if it says no split"
        )
    return np.array([_BOOLEANS[word] for word in words])[pc.index_in(column, values).to_numpy()]


def _of_flags(
    where: Path, names: Sequence[str], columns: Sequence, flags: Sequence[tuple[int, str]]
) -> Splits:
    """Splits from flags; rows without a set flag are in the missing split: test, or train."""
    told = _spelling.quoted([names[i] for i, _ in flags])
    held = {split: _flags(where, names[i], columns[i]) for i, split in flags}
    num_true = np.sum(list(held.values()), axis=0)
    left = [split for split in ("train", "test", "valid") if split not in held]
    is_full = not (num_true == 0).any()
    if len(held) < len(flags) or (num_true > 1).any() or not (left or is_full):
        raise DataError(
            f"{where}: the columns {told} do not say one split for each row: write train, valid or"
            " test in one column split, or rename them if they say no split"
        )
    splits = (*held, *left[:1])
    numbers = np.full(len(num_true), len(held), np.int8)
    for number, own in enumerate(held.values()):
        numbers[own] = number
    rest = f", the other rows are {left[0]}" if left and not is_full else ""
    present = np.unique(numbers)
    note = f"{told} taken as the splits of the rows{rest}"
    return Splits(
        tuple(i for i, _ in flags),
        tuple(splits[number] for number in present),
        np.searchsorted(present, numbers).astype(np.int8),
        note,
    )
