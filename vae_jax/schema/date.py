"""Dates and times: elapsed time, and where each is in its day, week and year."""

import dataclasses
from collections.abc import Callable

import numpy as np

from vae_jax.schema._kind import SECONDS_OF_DAY, Cells, require
from vae_jax.schema._numbers import moments
from vae_jax.schema.real import Real

__all__ = ["Date"]

_THURSDAY = 3  # 1970-01-01, in days after a Monday
_REACH = 4  # days on each side of the elapsed time, in which a day of the week is looked for


def _hour(days: np.ndarray) -> np.ndarray:
    return days - np.floor(days)


def _weekday(days: np.ndarray) -> np.ndarray:
    return (np.floor(days) + _THURSDAY) % 7 / 7


def _month(days: np.ndarray) -> np.ndarray:
    months = np.floor(days).astype("datetime64[D]").astype("datetime64[M]")
    return months.astype(np.int64) % 12 / 12


_CYCLES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    **{"hour": _hour, "weekday": _weekday, "month": _month},
}
"""Name of a cycle → its share that has passed by days since 1970 [N], each in [0, 1)."""


class Date(Real):
    """Dates or times; in words: year-month-day, perhaps with a time. Codes are days since 1970.

    A date becomes the elapsed time, standardized, and for each of the hour of the day, the day of
    the week and the month, if it varies, sin 2πs and cos 2πs with s the share of the cycle that has
    passed. Each of these numbers has a Gaussian likelihood of its own.
    """

    name, rank = "date", 45
    done, density = "elapsed time, standardized", "Gaussian"

    @classmethod
    def fits(cls, cells):
        """Dates [N]."""
        return cells.type == "date"

    @classmethod
    def described(cls, column, cells):
        """Their range, whether all are whole days, and what varies."""
        require(column, cells.type != "number", "dates")
        days = cls.code(column, cells)
        known = days[~np.isnan(days)]
        low, high = (float(known.min()), float(known.max())) if len(known) else (None, None)
        is_day = bool(np.all(known == np.floor(known)))
        cycles = tuple(name for name, passed in _CYCLES.items() if _varies(passed(known)))
        return dataclasses.replace(column, low=low, high=high, is_day=is_day, cycles=cycles)

    @classmethod
    def stored(cls, column, codes, scaling):
        """By mean and deviation of known codes [n], whatever the scaling."""
        center, scale = moments(codes)
        return dataclasses.replace(column, center=center, scale=scale)

    @classmethod
    def width(cls, column):
        """The elapsed time, and two numbers for each cycle."""
        return 1 + 2 * len(column.cycles)

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
        found[is_missing] = "NaT"
        return found

    @classmethod
    def expand(cls, column, codes):
        """Days since 1970 [N] to elapsed time, sines and cosines, [N, width]."""
        is_missing = np.isnan(codes)
        days = np.where(is_missing, 0.0, codes)
        parts = [super().expand(column, codes)]
        for name in column.cycles:
            angle = 2 * np.pi * np.where(is_missing, np.nan, _CYCLES[name](days))
            parts += [np.sin(angle)[:, None], np.cos(angle)[:, None]]
        return np.concatenate(parts, axis=1)

    @classmethod
    def collapse(cls, column, x):
        """The time nearest to the elapsed one with its hour and its day of the week, [N]."""
        elapsed = super().collapse(column, x)
        passed = {
            name: np.arctan2(x[:, 1 + 2 * i], x[:, 2 + 2 * i]) / (2 * np.pi) % 1
            for i, name in enumerate(column.cycles)
        }
        is_missing = np.isnan(elapsed) | np.isnan(x).any(axis=1)
        if is_missing.all() or not passed:
            return np.where(is_missing, np.nan, elapsed)
        known = {name: share[~is_missing] for name, share in passed.items()}
        found = np.full(len(elapsed), np.nan)
        found[~is_missing] = _nearest(elapsed[~is_missing], known, _hour(np.float64(column.low)))
        return found

    @classmethod
    def told(cls, column):
        """The first and the last date."""
        if column.low is None:
            return ""
        first, last = cls.values(column, np.array([column.low, column.high]))
        return f"{first} … {last}"

    @classmethod
    def treated(cls, column):
        """What is done with its dates; a scalar in words."""
        told = f", angle of {', '.join(column.cycles)}" if column.cycles else ""
        return cls.done + told

    @classmethod
    def slots(cls, column):
        """The name, and that of the sine and the cosine of each cycle."""
        angles = [f"{name} {part}" for name in column.cycles for part in ("sine", "cosine")]
        return [column.name, *(f"{column.name} {angle}" for angle in angles)]


def _varies(shares: np.ndarray) -> bool:
    return len(shares) > 0 and bool(np.any(shares != shares[0]))


def _nearest(elapsed: np.ndarray, passed: dict[str, np.ndarray], of_day: float) -> np.ndarray:
    """The days since 1970 nearest to the elapsed ones [n] that are where their cycles say, [n].

    `of_day` is the share of the day that has passed if the hour does not vary.
    """
    days = np.floor(elapsed)[:, None] + np.arange(-_REACH, _REACH + 1)
    if "hour" in passed:
        # a second before midnight is no other day
        of_day = np.rint(passed["hour"] * SECONDS_OF_DAY) % SECONDS_OF_DAY / SECONDS_OF_DAY
    times = days + np.reshape(of_day, (-1, 1))
    away = np.abs(times - elapsed[:, None])
    if "weekday" in passed:
        wanted = np.rint(7 * passed["weekday"]) % 7
        away = np.where((days + _THURSDAY) % 7 == wanted[:, None], away, np.inf)
    return np.take_along_axis(times, np.argmin(away, axis=1)[:, None], axis=1)[:, 0]


def _dates(column, cells: Cells) -> np.ndarray:
    """Dates [N] of words, NaT if missing."""
    values = cells.values.tolist()
    try:
        return np.array(["NaT" if v is None else v for v in values], "datetime64[us]")
    except (TypeError, ValueError):
        raise column.refuse(next(v for v in values if v is not None), "dates") from None
