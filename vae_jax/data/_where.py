"""Conditions on the rows of a table in words: "label==0 and (age>=18 or city!='Oslo')".

A condition is a comparison of a column with a value, or several joined by `and`, `or` and
parentheses; `and` binds tighter. Nothing of it is executed. Names and values with spaces or marks
stand in quotes.
"""

import operator
import re
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import numpy as np

from vae_jax.errors import DataError, UsageError, shown, unknown
from vae_jax.schema import Cells

__all__ = ["Where", "parse"]

_TOKEN = re.compile(
    r"\s*(?:(?P<mark>[()]|==|!=|<=|>=|<|>)|'(?P<single>[^']*)'|\"(?P<double>[^\"]*)\""
    r"|(?P<bare>[^\s()=!<>'\"]+))"
)
_TESTS = {
    **{"==": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le},
    **{">": operator.gt, ">=": operator.ge},
}
_JOINTS = {"or": np.logical_or, "and": np.logical_and}
_YEAR = re.compile(r"-?\d{4,}")
_DEEPEST = 50  # parentheses within parentheses
_ALLOWED = (
    "must compare columns with values, such as label==0 and city!='Oslo', by ==, !=, <, <=, > or"
    " >=, joined by and, or and parentheses"
)


class _Token(NamedTuple):
    text: str
    is_quoted: bool = False


class _Comparison(NamedTuple):
    name: str
    mark: str
    value: str


class Where(NamedTuple):
    """A condition on rows [N].

    Attributes:
        text: as it is written.
        tree: a comparison, or ("and" or "or", trees).
    """

    text: str
    tree: tuple

    def __str__(self) -> str:
        return self.text

    @property
    def names(self) -> list[str]:
        """The names of the columns that it compares, each once."""
        return list(dict.fromkeys(each.name for each in _comparisons(self.tree)))

    def rows(self, columns: Mapping[str, Cells]) -> np.ndarray:
        """Which rows meet the condition, [N]; a missing cell meets no comparison.

        Args:
            columns: name → cells [N].

        Raises:
            UsageError: there is no column of that name, or its cells are no such values.
            DataError: no row meets it.
        """
        for name in self.names:
            if name not in columns:
                raise UsageError(f"train_where={self.text}: {unknown('column', name, columns)}")
        found = _evaluated(self.tree, lambda each: self._compared(each, columns[each.name]))
        if not found.any():
            raise DataError(f"train_where={self.text}: none of {len(found):,} rows meets it")
        return found

    def _compared(self, comparison: _Comparison, cells: Cells) -> np.ndarray:
        """Whether each of the cells [N] of a column is as compared."""
        name, mark, value = comparison
        held, wanted = cells.values, value
        if cells.type == "word":
            if mark not in ("==", "!="):
                self._refuse(name, mark, "words, which have no order: take == or !=")
            held = np.array([_as_text(each) for each in held.tolist()], object)
            wanted = _as_text(value)
        elif cells.type == "number":
            try:
                wanted = float(value)
            except ValueError:
                self._refuse(name, shown(value), "numbers: give a number")
        else:
            try:
                wanted = np.datetime64(value if _YEAR.match(value) else "no date")
            except ValueError:
                self._refuse(name, shown(value), "dates: give one, 2025-01-31")
        return ~cells.missing & np.asarray(_TESTS[mark](held, wanted), bool)

    def _refuse(self, name: str, what: str, holds: str) -> None:
        raise UsageError(f"train_where={self.text}: {what} does not go with {name!r}, of {holds}")


def _as_text(value) -> str:
    """A word for comparison; truth values and words for them alike."""
    text = str(value).strip()
    return text.casefold() if text.casefold() in ("true", "false") else text


def _comparisons(tree: tuple) -> Iterator[_Comparison]:
    if isinstance(tree, _Comparison):
        yield tree
        return
    for each in tree[1]:
        yield from _comparisons(each)


def _evaluated(tree: tuple, compared: Callable) -> np.ndarray:
    """The rows [N] that a tree allows, by those of each comparison."""
    if isinstance(tree, _Comparison):
        return compared(tree)
    joint, parts = tree
    return _JOINTS[joint].reduce([_evaluated(each, compared) for each in parts])


# --- Parsing


def parse(text: str) -> Where:
    """The condition that a text says, for rows of any shape.

    Raises:
        UsageError: it is none.
    """
    if not isinstance(text, str):
        raise UsageError(f"train_where={shown(text)}: {_ALLOWED}")
    tokens = _tokens(text)
    tree, rest = _joined(text, tokens, [*_JOINTS], 0)
    if rest:
        _refuse_at(text, rest)
    return Where(text, tree)


def _tokens(text: str) -> list[_Token]:
    found, place = [], 0
    while text[place:].strip():
        match = _TOKEN.match(text, place)
        if match is None:
            raise UsageError(f"train_where={text}: {text[place:].strip()[:1]!r} in it: {_ALLOWED}")
        is_quoted = match["single"] is not None or match["double"] is not None
        found.append(_Token(match[match.lastgroup], is_quoted))
        place = match.end()
    return found


def _joined(
    text: str, tokens: list[_Token], joints: list[str], depth: int
) -> tuple[tuple, list[_Token]]:
    """The tree at the head of the tokens, and the rest; joints from the loosest to the tightest."""
    if not joints:
        return _single(text, tokens, depth)
    joint, *tighter = joints
    tree, rest = _joined(text, tokens, tighter, depth)
    parts = [tree]
    while rest and not rest[0].is_quoted and rest[0].text.casefold() == joint:
        tree, rest = _joined(text, rest[1:], tighter, depth)
        parts.append(tree)
    return (parts[0] if len(parts) == 1 else (joint, tuple(parts))), rest


def _single(text: str, tokens: list[_Token], depth: int) -> tuple[tuple, list[_Token]]:
    """A comparison or parentheses at the head of the tokens, and the rest."""
    if tokens and tokens[0] == _Token("(") and depth < _DEEPEST:
        tree, rest = _joined(text, tokens[1:], [*_JOINTS], depth + 1)
        if not rest or rest[0] != _Token(")"):
            _refuse_at(text, rest)
        return tree, rest[1:]
    if len(tokens) < 3 or not _is_word(tokens[0]):
        _refuse_at(text, tokens)
    name, mark, value = tokens[:3]
    if mark.is_quoted or mark.text not in _TESTS:
        _refuse_at(text, tokens[1:])
    if not _is_word(value):
        _refuse_at(text, tokens[2:])
    return _Comparison(name.text, mark.text, value.text), tokens[3:]


def _is_word(token: _Token) -> bool:
    return token.is_quoted or token.text.casefold() not in {*_TESTS, *_JOINTS, "(", ")"}


def _refuse_at(text: str, rest: list[_Token]) -> None:
    where = f"{rest[0].text!r} is out of place" if rest else "it ends too early"
    raise UsageError(f"train_where={text}: {where}: {_ALLOWED}")
