"""Words without an order, as unit vectors: with a categorical likelihood."""

import numpy as np

from vae_jax.schema._levels import MOST, Levels, names, one_hot

__all__ = ["Categorical"]


class Categorical(Levels):
    """Words with at most 1,000 levels, and at least two rows for each level on average."""

    name, likelihood, rank = "categorical", "one_hot", 50
    done, density = "one number for each level", "categorical"

    @classmethod
    def fits(cls, cells):
        """Words [N] that repeat."""
        num = len(cells.distinct) if cells.type == "word" else 0
        return 2 <= num <= min(MOST, max(2, len(cells.known) / 2))

    @classmethod
    def width(cls, column):
        """The number of levels."""
        return len(column.levels)

    @classmethod
    def expand(cls, column, codes):
        """Unit vectors, [N] to [N, levels]."""
        return one_hot(codes, len(column.levels))

    @classmethod
    def collapse(cls, column, x):
        """The likeliest level, [N, levels] to [N]."""
        is_missing = np.isnan(x).any(axis=1)
        best = np.argmax(np.where(is_missing[:, None], 0.0, x), axis=1)
        return np.where(is_missing, np.nan, best)

    @classmethod
    def slots(cls, column):
        """A name for each level."""
        return names(column, column.levels)
