"""What the kinds with levels share: the code of a cell is the index of its level."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from vae_jax.schema._kind import Cells, Column, Kind, require

__all__ = ["MOST", "Levels"]

MOST = 1000
"""Most levels of a column, a count."""


class Levels(Kind):
    """A column with a few values, words or numbers."""

    is_lossless = True
    fewest = 2

    @classmethod
    def described(cls, column, cells):
        """The levels of cells [N], ascending, unless they are given."""
        levels = column.levels or cells.order or cells.distinct
        is_met = cls.fewest <= len(levels) <= MOST
        require(column, is_met, f"{cls.fewest} to {MOST:,} different values")
        column = dataclasses.replace(column, levels=tuple(map(plain, levels)))
        cls.code(column, cells)
        return column

    @classmethod
    def code(cls, column, cells):
        """The index of the level of each cell, [N]."""
        values = _plain_values(cells)
        known = _places(column, values)
        for value, place in known.items():
            if place is None:
                raise column.refuse(plain(value), f"one of {cls.told(column)}")
        return np.array([known[value] for value in values], np.float64)

    @classmethod
    def unseen(cls, column, cells):
        """Which cells [N] are none of the levels."""
        values = _plain_values(cells)
        known = _places(column, values)
        return np.array([known[value] is None for value in values], bool)

    @classmethod
    def values(cls, column, codes):
        """The levels of codes [N] as objects, None if missing."""
        held = np.empty(len(column.levels) + 1, object)
        held[:-1] = column.levels
        held[-1] = None
        return held[np.where(np.isnan(codes), len(column.levels), codes).astype(int)]


def _plain_values(cells: Cells) -> list:
    """The values of cells [N], None if missing."""
    values = cells.values.tolist()
    if cells.type == "number":
        return [None if value != value else value for value in values]
    if cells.type == "date":
        return [None if value is None else str(value) for value in values]
    return values


def _places(column: Column, values: Sequence) -> dict[Any, float | None]:
    """Each distinct value → the index of its level, None if it has none; NaN if it is missing."""
    places = {_key(level): float(index) for index, level in enumerate(column.levels)}
    found = {v: places.get(_key(v), places.get(_key(_as_number(v)))) for v in {*values} - {None}}
    return {None: np.nan, **found}


def plain(value: Any) -> Any:
    """A level as a Python value; a whole number as int."""
    value = value.item() if isinstance(value, np.generic) else value
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _as_number(value: Any) -> Any:
    """The number that a word spells; other values as they are."""
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value


def _key(value: Any) -> Any:
    """Equal for values that are the same level: 1 and 1.0, and True and "true"."""
    if isinstance(value, bool):
        return f"{value}".casefold()
    if isinstance(value, str) and value.strip().casefold() in ("true", "false"):
        return value.strip().casefold()
    return value.strip() if isinstance(value, str) else float(value)


def one_hot(codes: np.ndarray, num: int) -> np.ndarray:
    """Codes [N] to unit vectors [N, num]; rows of NaN if missing."""
    is_known = ~np.isnan(codes)
    x = np.zeros((len(codes), num))
    x[np.flatnonzero(is_known), codes[is_known].astype(int)] = 1.0
    x[~is_known] = np.nan
    return x


def names(column: Column, levels: Sequence) -> list[str]:
    """Names of the numbers of a cell, one for each of some levels."""
    return [f"{column.name}={level}" for level in levels]


def as_words(cells: Cells) -> bool:
    """Whether cells [N] are words or truth values."""
    return cells.type == "word"
