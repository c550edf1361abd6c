"""How the numbers of a column are written: "1,234.5", "1.234,5", "12 %"; and codes of digits.

A column is read in another notation than Python's only if all of its known cells are written in it
and no other reading is possible. "1,234" alone may be 1234 or 1.234: it is refused, unless the
decimal mark is set. Digits after a leading zero ("01234") and long numbers after a plus sign are
codes, such as those of places and telephones: words.
"""

from collections.abc import Iterable

from vae_jax.data._cells import are_all, is_text, known_words
from vae_jax.schema import NOTATION

__all__ = ["find", "has_codes", "plain", "written"]

_PERCENT = r"[ \x{a0}]?%$"
_PLAIN = r"^[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?$"
_COMMA = r"^[-+]?\d*,?\d+(?:[eE][-+]?\d+)?$"
_ONE_GROUP = r"^[-+]?[1-9]\d{0,2},\d{3}$"
_GROUPS = ("'", "\xa0", "\u202f")
"""Marks between groups of digits that mean nothing else."""
_CODE, _LIKE_CODE = r"^\+?\d+$", r"^0\d|^\+\d{7,}$"


def find(column, decimal: str | None = None) -> str:
    """How all known cells [N] of an Arrow column are written, see `schema.Column`; "" if plainly.

    Also "" if there are several readings, or cells that are no numbers.

    Args:
        column: text, or a type without notations.
        decimal: the decimal mark, if it is set.
    """
    if not is_text(column.type):
        return ""
    import pyarrow.compute as pc

    known = known_words(column).drop_null()
    percent = " %" if are_all(known, _PERCENT) else ""
    if percent:
        known = pc.replace_substring_regex(known, _PERCENT, "")
    if decimal != "," and are_all(known, _PLAIN):
        return f"1234.5{percent}" if percent else ""
    if decimal != "." and _is_decimal_comma(known, is_set=decimal == ","):
        return f"1234,5{percent}"
    for mark in (".", ",") if decimal is None else (decimal,):
        others = (",." if decimal is None else "., ").replace(mark, "")
        for group in (*others, *_GROUPS):
            if _is_grouped(known, group, mark, is_set=decimal is not None):
                return f"1{group}234{mark}5{percent}"
    return ""


def _is_decimal_comma(known, *, is_set: bool) -> bool:
    """Whether known words [n] have decimal commas and no groups, without another reading."""
    import pyarrow.compute as pc

    own = known.filter(pc.match_substring(known, ","))
    if not are_all(known, _COMMA) or not (is_set or len(own)):
        return False
    return is_set or not are_all(own, _ONE_GROUP)


def _is_grouped(known, group: str, decimal: str, *, is_set: bool) -> bool:
    """Whether known words [n] have digits in groups of three, without another reading."""
    one = f"[{group}]\\d{{3}}"
    whole = f"(?:0|[1-9]\\d{{0,2}}(?:{one})*)"
    if not are_all(known, f"^[-+]?{whole}(?:[{decimal}]\\d+)?$"):
        return False
    evidence = one if is_set or group in _GROUPS else f"{one}(?:{one}|[{decimal}])"
    return _is_any(known, evidence)


def _is_any(known, pattern: str) -> bool:
    import pyarrow.compute as pc

    return bool(pc.any(pc.match_substring_regex(known, pattern)).as_py())


def plain(column, notation: str):
    """A text column [N] of a notation in Python's; other columns as they are."""
    import pyarrow.compute as pc

    if not notation or not is_text(column.type):
        return column
    group, decimal, percent = NOTATION.fullmatch(notation).groups()
    column = pc.utf8_trim_whitespace(column)
    if percent:
        column = pc.replace_substring_regex(column, _PERCENT, "")
    column = pc.replace_substring(column, group, "") if group else column
    return pc.replace_substring(column, decimal, ".")


def written(numbers: Iterable[float | int | None], notation: str) -> list[str | None]:
    """Numbers [N] as words of a notation, the other way of `plain`; None stays."""
    group, decimal, percent = NOTATION.fullmatch(notation).groups()
    marks = {",": group or "", ".": decimal}

    def one(number):
        word = "".join(marks.get(letter, letter) for letter in f"{number:,}")
        return f"{word} %" if percent else word

    return [None if number is None else one(number) for number in numbers]


def has_codes(column) -> bool:
    """Whether a text column [N] holds digits alone, some after a leading zero: codes."""
    if not is_text(column.type):
        return False
    known = known_words(column).drop_null()
    return are_all(known, _CODE) and _is_any(known, _LIKE_CODE)
