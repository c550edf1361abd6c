"""Dates and times, as elapsed time: standardized, with a Gaussian likelihood."""

import dataclasses

import numpy as np

from vae_jax.schema._kind import SECONDS_OF_DAY, Cells, require
from vae_jax.schema._numbers import moments
from vae_jax.schema.real import Real

__all__ = ["Date"]


class Date(Real):
    """Dates or times; in words: year-month-day, perhaps with a time. Codes are days since 1970."""

    name, rank = "date", 45
    done, density = "elapsed time, standardized", "Gaussian"

    @classmethod
    def fits(cls, cells):
        """Dates [N]."""
        return cells.type == "date"

    @classmethod
    def described(cls, column, cells):
        """Their range, and whether all are whole days."""
        require(column, cells.type != "number", "dates")
        days = cls.code(column, cells)
        known = days[~np.isnan(days)]
        low, high = (float(known.min()), float(known.max())) if len(known) else (None, None)
        is_day = bool(np.all(known == np.floor(known)))
        return dataclasses.replace(column, low=low, high=high, is_day=is_day)

    @classmethod
    def stored(cls, column, codes, scaling):
        """By mean and deviation of known codes [n], whatever the scaling."""
        center, scale = moments(codes)
        return dataclasses.replace(column, center=center, scale=scale)

    @classmethod
    def code(cls, column, cells):
        """Days since 1970, [N]."""
        if cells.type != "date":
            cells = Cells(_dates(column, cells))
        seconds = cells.values.astype("datetime64[us]").astype(np.int64) / 1e6
        return np.where(cells.missing, np.nan, seconds / SECONDS_OF_DAY)

    @classmethod
    def values(cls, column, codes):
        """datetime64 [N]: of days, else of seconds."""
        is_missing = np.isnan(codes)
        days = np.where(is_missing, 0.0, codes)
        unit = 1.0 if column.is_day else SECONDS_OF_DAY
        whole = np.rint(days * unit).astype(np.int64)
        found = whole.astype("datetime64[D]" if column.is_day else "datetime64[s]")
        return np.where(is_missing, np.datetime64("NaT"), found)

    @classmethod
    def told(cls, column):
        """The first and the last date."""
        if column.low is None:
            return ""
        first, last = cls.values(column, np.array([column.low, column.high]))
        return f"{first} … {last}"


def _dates(column, cells: Cells) -> np.ndarray:
    """Dates [N] of words, NaT if missing."""
    values = cells.values.tolist()
    try:
        return np.array(["NaT" if v is None else v for v in values], "datetime64[us]")
    except (TypeError, ValueError):
        raise column.refuse(next(v for v in values if v is not None), "dates") from None
