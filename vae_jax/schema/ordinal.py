"""Levels in an order: as many ones as levels below, with a cumulative likelihood."""

import numpy as np

from vae_jax.schema._levels import Levels, names

__all__ = ["Ordinal"]


class Ordinal(Levels):
    """Levels with an order: only if it is set, or if the file has ordered categories.

    Reference: Nazábal et al. 2020, Handling incomplete heterogeneous data using VAEs, arXiv
    1807.03653, section 3.1 (thermometer encoding).
    """

    name, likelihood, rank = "ordinal", "ordinal", 5
    done, density = "a number for each step between levels", "ordinal"

    @classmethod
    def fits(cls, cells):
        """Cells [N] of a column whose file gives their order."""
        return len(cells.order) > 2

    @classmethod
    def width(cls, column):
        """The number of levels minus 1."""
        return len(column.levels) - 1

    @classmethod
    def expand(cls, column, codes):
        """1 for each step that the level is above: [N] to [N, levels − 1]."""
        steps = np.arange(len(column.levels) - 1)[None, :]
        return np.where(np.isnan(codes)[:, None], np.nan, codes[:, None] > steps)

    @classmethod
    def collapse(cls, column, x):
        """The level of the median, [N, levels − 1] to [N]."""
        is_missing = np.isnan(x).any(axis=1)
        return np.where(is_missing, np.nan, (x >= 0.5).sum(axis=1))

    @classmethod
    def slots(cls, column):
        """A name for each step."""
        return names(column, column.levels[1:])
