"""Counts: whole numbers from 0, as they are, with a Poisson likelihood."""

import numpy as np

from vae_jax.schema._kind import require
from vae_jax.schema._numbers import Number

__all__ = ["Count"]

_LARGEST = 2**24  # exact in float32


class Count(Number):
    """Whole numbers whose smallest is 0, more than two distinct ones."""

    name, likelihood, rank = "count", "poisson", 20
    done, density = "as it is", "Poisson"
    is_lossless = True

    @classmethod
    def fits(cls, cells):
        """Whole numbers [N] from 0 to 2^24."""
        return cells.is_whole and cells.known.min() == 0 and cells.known.max() < _LARGEST

    @classmethod
    def described(cls, column, cells):
        """Whole numbers [N] of at least 0."""
        column = super().described(column, cells)
        is_count = cells.is_whole and column.low >= 0 and column.high < _LARGEST
        require(column, is_count, "whole numbers from 0 to 2^24")
        return column

    @classmethod
    def code(cls, column, cells):
        """The counts [N] themselves."""
        codes = super().code(column, cells)
        known = codes[~np.isnan(codes)]
        odd = known[(known < 0) | (known != np.floor(known))]
        if len(odd):
            raise column.refuse(float(odd[0]), "whole numbers from 0")
        return codes

    @classmethod
    def collapse(cls, column, x):
        """The nearest counts, [N, 1] to [N]."""
        return np.maximum(np.rint(super().collapse(column, x)), 0.0)
