"""Positive numbers of several orders of magnitude: with a log-normal likelihood."""

import dataclasses

import numpy as np

from vae_jax.schema._kind import require
from vae_jax.schema._numbers import Number, moments, skewness

__all__ = ["Positive"]

_SPAN = 100
"""The largest is at least this many times the smallest."""


class Positive(Number):
    """Numbers above 0 that span a factor of 100, and whose logarithms are less skewed than they."""

    name, likelihood, rank = "positive", "log_normal", 30
    done, density = "divided by the geometric mean", "log-normal"

    @classmethod
    def fits(cls, cells):
        """Numbers [N] above 0, not all whole."""
        if cells.type != "number" or cells.is_whole or not len(cells.known):
            return False
        low, high = cells.known.min(), cells.known.max()
        if not (low > 0 and np.isfinite(high) and high >= _SPAN * low):
            return False
        known = np.sort(cells.known)
        return skewness(np.log(known)) < skewness(known / high)

    @classmethod
    def described(cls, column, cells):
        """Numbers [N] above 0."""
        column = super().described(column, cells)
        require(column, bool(np.all(cells.known > 0)), "numbers above 0")
        return column

    @classmethod
    def stored(cls, column, codes, scaling):
        """By the geometric mean of known codes [n]."""
        if scaling == "none" or not len(codes):
            return column
        return dataclasses.replace(column, scale=float(np.exp(moments(np.log(codes))[0])))

    @classmethod
    def code(cls, column, cells):
        """The numbers [N] themselves."""
        codes = super().code(column, cells)
        if np.any(codes <= 0):
            raise column.refuse(float(codes[codes <= 0][0]), "numbers above 0")
        return codes
