"""Two values, one number 0 or 1: with a Bernoulli likelihood."""

import numpy as np

from vae_jax.schema._kind import require
from vae_jax.schema._levels import Levels, names

__all__ = ["Binary"]


class Binary(Levels):
    """Words or truth values with two levels, or the numbers 0 and 1; the second level is 1."""

    name, likelihood, rank = "binary", "bernoulli", 10
    done, density = "0 or 1", "Bernoulli"

    @classmethod
    def fits(cls, cells):
        """Cells [N] with two values."""
        if cells.type == "number":
            known = cells.known
            is_unit = bool(known.min() == 0 and known.max() == 1)
            return is_unit and bool(np.all((known == 0) | (known == 1)))
        return cells.type == "word" and len(cells.distinct) == 2 and len(cells.known) > 2

    @classmethod
    def described(cls, column, cells):
        """The two levels of cells [N]."""
        column = super().described(column, cells)
        require(column, len(column.levels) == 2, "two different values")
        return column

    @classmethod
    def collapse(cls, column, x):
        """The likelier level, [N, 1] to [N]."""
        return np.where(np.isnan(x[:, 0]), np.nan, x[:, 0] >= 0.5)

    @classmethod
    def slots(cls, column):
        """The name of the number, with the level that is 1: [1]."""
        return names(column, column.levels[1:])
