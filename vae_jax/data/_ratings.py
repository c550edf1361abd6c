"""Ratings: a table with a row for each becomes a sparse matrix of users and items, [N, D].

Users are held out as in the code of Liang et al. 2018: the same users, the same order, the same
fold-in, if the table has users in ascending order.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from vae_jax.data import _cells, _sparse, _spelling
from vae_jax.data._dataset import Rows
from vae_jax.data._part import Part, Reading
from vae_jax.errors import DataError, UsageError, unknown
from vae_jax.ratings import LEAST

__all__ = ["columns", "last_of_each", "read"]

_SEED = 98765
_SHARE_ASIDE = 0.2  # of the ratings of a user that is held out
_BYTES_OF_RATING = 120  # codes of its user and item, their order, and the matrices
_FEWEST = 3  # users: one each to train, validate and test


class _Triplets(NamedTuple):
    """Ratings, in the order of the table: codes [M] of users and items, and their names.

    Attributes:
        users, items: [M], indices of names.
        user_names, item_names: ascending, numbers or words.
    """

    users: np.ndarray
    items: np.ndarray
    user_names: Sequence[Any]
    item_names: Sequence[Any]

    def at(self, rows: np.ndarray) -> "_Triplets":
        """Some of the ratings: at booleans or integers [M]."""
        return self._replace(users=self.users[rows], items=self.items[rows])


def columns(where: Path, names: Sequence[str], reading: Reading) -> tuple[str | None, ...] | None:
    """The columns [M] of users, items and ratings, set or found by name; None if there are none.

    A column whose kind is set is one of a table. The column of ratings is None if only users and
    items are set.

    Args:
        where: path for messages.
        names: names of all columns.
        reading: settings for reading.

    Raises:
        UsageError: a column does not exist, or settings of ratings are given for another table.
    """
    told = reading.ratings
    found = _spelling.ratings(names)
    if told.user is None:
        if found is None or {*found} & {*(reading.kinds or {})}:
            told.refuse(f"{where} has no columns of users, items and ratings by name")
            return None
        return (*found[:2], told.rating or found[2])
    for setting, name in zip(("user", "item", "rating"), told.names, strict=True):
        if name is not None and name not in names:
            raise UsageError(f"{setting}={name}: {where}: {unknown('column', name, names)}")
    if told.rating is None and found is not None and {*told.names[:2]} == {*found[:2]}:
        return (*told.names[:2], found[2])
    return told.names


def read(
    where: Path, table: Any, found: Sequence[str | None], splits: Sequence[str], reading: Reading
) -> tuple[dict[str, Part], list[str]]:
    """Reads ratings as the matrix of 1 for each, [users, items], split by users.

    Args:
        where: path for messages.
        table: an Arrow table, a row for each rating.
        found: see `columns`.
        splits: of its rows; ["all"] if there are none.
        reading: settings for reading.

    Returns:
        (parts, notes): train, valid and test; x [N, D] uint8, `aside` of users that are held out.

    Raises:
        DataError: ratings are no numbers, or too few users are left.
        UsageError: a setting does not fit.

    Reference:
        Liang et al. 2018, Variational Autoencoders for Collaborative Filtering, arXiv 1802.05814,
        section 4 and https://github.com/dawenl/vae_cf: more than 3.5 stars, users of at least 5
        ratings, a fifth of the ratings of each held-out user kept aside.
    """
    if [*splits] != ["all"]:
        raise DataError(
            f"{where}: has splits of ratings, but users are held out: give one table of all ratings"
        )
    for setting in ("window", "condition", "test_data", "train_where"):
        reading.refuse(setting, f"{where} holds ratings")
    reading.tally.add(where, len(table) * _BYTES_OF_RATING)
    triplets, notes = _triplets(where, table, found, reading)
    triplets, told = _filtered(triplets, reading)
    notes += told
    num_users = len(np.unique(triplets.users))
    if num_users < _FEWEST:
        raise DataError(
            f"{where}: {num_users} users are left, must be at least {_FEWEST}: lower"
            " `rating_at_least` or `min_ratings`"
        )
    groups = _held_out(num_users, reading.num_valid)
    users = [np.unique(triplets.users)[group] for group in groups]
    items = _first_seen(triplets.items[np.isin(triplets.users, users[0])])
    parts = {
        name: _part(where, triplets, own, items, reading, is_held_out=name != "train")
        for name, own in zip(_spelling.SPLITS, users, strict=True)
    }
    ratings = dataclasses.replace(
        reading.ratings, **dict(zip(("user", "item", "rating"), found, strict=True))
    )
    parts = {name: dataclasses.replace(part, ratings=ratings) for name, part in parts.items()}
    lost = num_users - sum(len(part.x) for part in parts.values())
    notes += [f"{lost:,} held-out users rated no item of train: left out"] if lost else []
    sizes = ", ".join(f"{len(part.x):,} {name}" for name, part in parts.items())
    notes.append(
        f"users are held out, in an order drawn with seed {_SEED}: {sizes}; of held-out users, a"
        f" fifth of the ratings is kept aside, drawn with the same seed; {len(items):,} items of"
        " train, in the order of the table"
    )
    return parts, notes


def _triplets(
    where: Path, table: Any, found: Sequence[str | None], reading: Reading
) -> tuple[_Triplets, list[str]]:
    """The ratings that count, one for each user and item, and notes."""
    user, item, rating = found
    notes = [f"read as ratings, by the columns {_spelling.quoted([n for n in found if n])}"]
    kept = table[user].is_valid().to_numpy() & table[item].is_valid().to_numpy()
    if rating is not None:
        values = _cells.numbers(rating, _cells.as_text(table[rating]))
        if isinstance(values, _cells.Misfit):
            _cells.refuse(where, [values])
        if values is None:
            raise DataError(f"{where}: column {rating!r} of ratings holds no numbers: name another")
        kept &= ~np.isnan(values)
    num_lost = int(np.sum(~kept))
    notes += [f"{num_lost:,} rows without a user, an item or a rating: left out"] * (num_lost > 0)
    least = reading.ratings.rating_at_least
    if least is not None and rating is None:
        raise UsageError(f"rating_at_least={least:g}: no column holds ratings: name it by `rating`")
    rows = last_of_each(*(_codes(table[name])[0] for name in (user, item)), kept)
    num_twice = int(np.sum(kept)) - len(rows)
    notes += [f"{num_twice:,} ratings of an item that the user rated later: left out"] * (
        num_twice > 0
    )
    told = "each counts as 1: `rating_at_least` leaves the lower ones out"
    if least is not None:
        rows = rows[values[rows] >= least]
        told = f"{len(rows):,} of {len(table):,} ratings are at least {least:g} and count as 1"
    (users, names), (items, others) = _codes(table[user]), _codes(table[item])
    return _Triplets(users[rows], items[rows], names, others), [*notes, told]


def _codes(column: Any) -> tuple[np.ndarray, list]:
    """The index of each cell [M] among the distinct ones in ascending order, and these; −1: none.

    Words of whole numbers, of which none begins with 0, are ordered as numbers.
    """
    encoded = column.combine_chunks()
    encoded = encoded if hasattr(encoded, "dictionary") else encoded.dictionary_encode()
    names = encoded.dictionary.to_pylist()
    are_numbers = all(isinstance(n, str) and n.isdecimal() and str(int(n)) == n for n in names)
    order = sorted(range(len(names)), key=lambda i: int(names[i]) if are_numbers else names[i])
    rank = np.empty(len(names) + 1, np.int64)
    rank[order] = np.arange(len(names))
    rank[-1] = -1
    return rank[encoded.indices.fill_null(len(names)).to_numpy()], [names[i] for i in order]


def last_of_each(users: np.ndarray, items: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """The last of the kept rows [M] of each pair of a user and an item, ascending."""
    rows = np.flatnonzero(kept)[::-1]
    pairs = users[rows] * (items.max(initial=0) + 1) + items[rows]
    return np.sort(rows[np.unique(pairs, return_index=True)[1]])


def _filtered(triplets: _Triplets, reading: Reading) -> tuple[_Triplets, list[str]]:
    """The ratings of items, and then of users, with enough of them; and notes."""
    notes = []
    least = {"items": reading.ratings.min_item_ratings or 1}
    least["users"] = reading.ratings.min_ratings or LEAST
    for what, num in least.items():
        codes = getattr(triplets, what)
        counts = np.bincount(codes)
        if lost := int(np.sum((counts > 0) & (counts < num))):
            notes.append(f"{lost:,} {what} with fewer than {num:,} ratings are left out")
        triplets = triplets.at(counts[codes] >= num)
    return triplets, notes


def _held_out(num_users: int, num_valid: int | None) -> list[np.ndarray]:
    """Indices of the users of train, valid and test, of `num_users`: as many to test as to valid.

    Raises:
        UsageError: none is left to train on.
    """
    num_test = num_valid or max(1, num_users // 10)
    num_valid = num_test if num_valid is None else num_valid
    num_train = num_users - num_valid - num_test
    if num_valid < 0 or num_train < 1:
        raise UsageError(
            f"num_valid={num_valid}: as many users are held out to test: must be >= 0 and leave"
            f" some of the {num_users:,} users to train on"
        )
    order = np.random.RandomState(_SEED).permutation(num_users)
    return np.split(order, [num_train, num_train + num_valid])


def _first_seen(codes: np.ndarray) -> np.ndarray:
    """The distinct codes of [M] in the order in which they first occur."""
    distinct, first = np.unique(codes, return_index=True)
    return distinct[np.argsort(first)]


def _part(
    where: Path,
    triplets: _Triplets,
    users: np.ndarray,
    items: np.ndarray,
    reading: Reading,
    *,
    is_held_out: bool,
) -> Part:
    """The ratings of some users [N] of items [D]; of users held out, a fifth is aside."""
    own = triplets.at(np.isin(triplets.users, users) & np.isin(triplets.items, items))
    users = users[np.isin(users, own.users)]
    is_aside = _aside(own.users) if is_held_out else np.zeros(len(own.users), bool)
    x, aside = (_matrix(where, own.at(rows), users, items) for rows in (~is_aside, is_aside))
    return Part(
        _sparse.settled(where, x, reading)[0],
        columns=tuple(str(triplets.item_names[i]) for i in items.tolist()),
        ids=np.array([str(triplets.user_names[i]) for i in users.tolist()]),
        aside=Rows(aside) if is_held_out else None,
    )


def _aside(users: np.ndarray) -> np.ndarray:
    """Which ratings [M] are kept aside: a fifth of those of each user with at least 5.

    Users take turns in ascending order, their ratings in the order of the table.
    """
    draw = np.random.RandomState(_SEED)
    is_aside = np.zeros(len(users), bool)
    by_user = np.argsort(users, kind="stable")
    starts = np.flatnonzero(np.diff(users[by_user], prepend=-1))
    for rows in np.split(by_user, starts[1:]):
        if len(rows) >= LEAST:
            num = int(_SHARE_ASIDE * len(rows))
            is_aside[rows[draw.choice(len(rows), size=num, replace=False)]] = True
    return is_aside


def _matrix(
    where: Path, triplets: _Triplets, users: np.ndarray, items: np.ndarray
) -> _sparse.SparseRows:
    """The matrix of 1 for each rating, uint8 [N, D]."""
    import scipy.sparse

    rows, columns = (
        _places(codes, chosen)
        for codes, chosen in ((triplets.users, users), (triplets.items, items))
    )
    ones = np.ones(len(rows), np.uint8)
    shape = (len(users), len(items))
    return _sparse.of_matrix(where, scipy.sparse.csr_array((ones, (rows, columns)), shape=shape))


def _places(codes: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """The place of each code [M] among the chosen ones, all of which occur there."""
    place = np.zeros(max(codes.max(initial=0), chosen.max(initial=0)) + 1, np.int64)
    place[chosen] = np.arange(len(chosen))
    return place[codes]
