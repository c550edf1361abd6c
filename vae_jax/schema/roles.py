"""Columns that are not learned from: labels, splits, indices, identifiers, and others."""

import dataclasses

import numpy as np

from vae_jax.schema._kind import Kind
from vae_jax.schema._levels import MOST, plain

__all__ = [
    "Constant",
    "Empty",
    "Identifier",
    "Ignored",
    "Index",
    "Label",
    "Split",
    "Text",
]


class Empty(Kind):
    """A column without a known cell."""

    name, rank = "empty", 0

    @classmethod
    def fits(cls, cells):
        """Cells [N] that are all missing."""
        return not len(cells.known)

    @classmethod
    def described(cls, column, cells):
        """Why it is left out."""
        return dataclasses.replace(column, why="has no known cell")


class Constant(Kind):
    """A column with the same value wherever it is known; it comes back when rows are decoded."""

    name, rank = "constant", 1
    is_lossless = True

    @classmethod
    def fits(cls, cells):
        """Known cells [n] that are all the same, of several."""
        known = cells.known
        return len(known) > 1 and bool(np.all(known == known[0]))

    @classmethod
    def described(cls, column, cells):
        """Its value."""
        level = cells.known[0] if cells.type == "date" else plain(cells.known[0])
        level = str(level) if cells.type == "date" else level
        return dataclasses.replace(column, levels=(level,), why="does not vary")


class Label(Kind):
    """What each row is a case of: not learned from, but kept as the class of the row."""

    name = "label"
    done = "the class of each row"

    @classmethod
    def described(cls, column, cells):
        """Its classes, unless they are many."""
        is_few = cells.type != "date" and len(cells.distinct) <= MOST
        levels = tuple(map(plain, cells.distinct)) if is_few else ()
        return dataclasses.replace(column, levels=levels)


class Split(Kind):
    """Whether a row is for training, validation or testing."""

    name = "split"
    done = "the split of each row"


class Index(Kind):
    """The number or name of each row."""

    name = "index"

    @classmethod
    def described(cls, column, cells):
        """Why it is left out."""
        return dataclasses.replace(column, why="numbers the rows")


class Identifier(Kind):
    """What tells one row from all others: by its name, words that all differ, codes of digits."""

    name, rank = "identifier", 60

    @classmethod
    def fits(cls, cells):
        """Words [N] without spaces that all differ, or that are all digits."""
        if cells.type != "word" or len(cells.known) < 3:
            return False
        if _are_codes(cells):
            return True
        has_space = any(" " in str(value) for value in cells.distinct)
        return len(cells.distinct) == len(cells.known) and not has_space

    @classmethod
    def described(cls, column, cells):
        """Why it is left out."""
        is_repeated = len(cells.distinct) < len(cells.known) and cells.type == "word"
        why = "holds many codes of digits" if is_repeated and _are_codes(cells) else ""
        return dataclasses.replace(column, why=why or "identifies the rows")


def _are_codes(cells) -> bool:
    """Whether all known words [n] are digits, perhaps after a plus sign."""
    return all(str(value).removeprefix("+").isdecimal() for value in cells.distinct)


class Ignored(Kind):
    """A column that the user leaves out."""

    name = "ignored"

    @classmethod
    def described(cls, column, cells):
        """Why it is left out."""
        return dataclasses.replace(column, why="as asked")


class Text(Kind):
    """Words with too many different values for levels: `schema.infer` refuses them."""

    name, rank = "text", 90

    @classmethod
    def fits(cls, cells):
        """Any other words [N]."""
        return True
