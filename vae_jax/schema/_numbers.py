"""What the kinds of numbers share: codes are the numbers themselves."""

import dataclasses
import re

import numpy as np

from vae_jax.errors import DataError
from vae_jax.schema._kind import Column, Kind, require

__all__ = ["NOTATION", "Number", "moments", "skewness"]

NOTATION = re.compile(r"1([.,' \xa0\u202f]?)234([.,])5( %)?")
"""How a file may write 1234.5: its mark of groups, its decimal mark, and a percent sign."""


class Number(Kind):
    """A column of numbers."""

    @classmethod
    def described(cls, column, cells):
        """Numbers [N], or words that are all numbers."""
        require(column, cells.type == "number", "numbers")
        low, high = float(cells.known.min()), float(cells.known.max())
        return dataclasses.replace(column, low=low, high=high)

    @classmethod
    def code(cls, column, cells):
        """The numbers [N] themselves."""
        values = cells.values
        if cells.type != "number":
            values = np.array([_as_number(column, value) for value in values.tolist()], np.float64)
        if np.isinf(values).any():
            value = float(values[np.isinf(values)][0])
            raise DataError(
                f"column {column.name!r}: holds {value}: must be finite: correct it, or leave it"
                f" out with missing_values={value}"
            )
        return values

    @classmethod
    def values(cls, column, codes):
        """Codes [N] are the values."""
        return codes

    @classmethod
    def treated(cls, column):
        """What is done with its numbers, if they are rescaled; a scalar in words."""
        done = "as it is" if (column.center, column.scale) == (0, 1) else cls.done
        notation = re.sub(r"\s", " ", column.notation)
        return f"{done}, written as {notation}" if notation else done


def _as_number(column: Column, value) -> float:
    if value is None:
        return np.nan
    try:
        return float(_plain(value, column.notation) if isinstance(value, str) else value)
    except (TypeError, ValueError):
        raise column.refuse(value, "numbers") from None


def _plain(text: str, notation: str) -> str:
    """A number in words in Python's notation: "1.234,5" in that notation is "1234.5"."""
    if not notation:
        return text
    group, decimal, percent = NOTATION.fullmatch(notation).groups()
    text = text.strip().removesuffix("%").strip() if percent else text
    return (text.replace(group, "") if group else text).replace(decimal, ".")


def moments(codes: np.ndarray) -> tuple[float, float]:
    """Mean and standard deviation of known codes [n], the same for each order of them.

    The deviation is 1 if the codes do not vary, or there are none.
    """
    if not len(codes) or codes.min() == codes.max():
        return (float(codes[0]) if len(codes) else 0.0), 1.0
    # rounding depends on the order of a sum
    codes = np.sort(codes)
    return float(codes.mean()), float(codes.std())


def skewness(values: np.ndarray) -> float:
    """The absolute skewness of values [n] that vary."""
    centered = values - values.mean()
    return abs(float(np.mean(centered**3))) / float(np.mean(centered**2)) ** 1.5
