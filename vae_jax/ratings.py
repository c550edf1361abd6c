"""The settings of ratings: which columns they are, and which of them are learned from."""

import dataclasses
import math
import numbers
from typing import Any

from vae_jax.errors import UsageError, shown

__all__ = ["LEAST", "Ratings", "make"]

LEAST = 5
"""Ratings of a user, a count: with fewer, no fifth of them can be kept aside."""
_NAMES = ("user", "item", "rating")
_COUNTS = ("min_ratings", "min_item_ratings")


@dataclasses.dataclass(frozen=True)
class Ratings:
    """How a table with a row for each rating is read, scalars named as in `vae_jax.data.load`.

    Attributes:
        user, item, rating: names of columns; None finds them by their names.
        rating_at_least: ratings of at least this (scalar) count as 1, others as 0; None: each does.
        min_ratings: users with fewer ratings are left out; None means `LEAST`.
        min_item_ratings: items with fewer ratings are left out; None means 1.
    """

    user: str | None = None
    item: str | None = None
    rating: str | None = None
    rating_at_least: float | None = None
    min_ratings: int | None = None
    min_item_ratings: int | None = None

    @property
    def names(self) -> tuple[str | None, ...]:
        """The columns that are set, in the order user, item, rating."""
        return self.user, self.item, self.rating

    def given(self) -> dict[str, Any]:
        """The settings that are given, by name."""
        values = ((field.name, getattr(self, field.name)) for field in dataclasses.fields(self))
        return {name: value for name, value in values if value is not None}

    def refuse(self, why: str) -> None:
        """Refuses settings that were given for data that are no ratings, with a reason in words."""
        for name, value in self.given().items():
            raise UsageError(f"{name}={value}: is a setting of ratings, {why}: leave it out")


def make(**settings: Any) -> Ratings:
    """Checks the settings of ratings.

    Args:
        **settings: as in `Ratings`, scalars.

    Raises:
        UsageError: a value is not allowed, or two do not go together.
    """
    for name in _NAMES:
        value = settings[name]
        if value is not None and not (isinstance(value, str) and value):
            raise UsageError(f"{name}={shown(value)}: must be the name of a column")
    for name in _COUNTS:
        value = settings[name]
        is_count = isinstance(value, numbers.Integral) and not isinstance(value, bool)
        if value is not None and not (is_count and value >= 1):
            raise UsageError(f"{name}={shown(value)}: must be an integer, at least 1")
    least = settings["rating_at_least"]
    is_number = isinstance(least, numbers.Real) and not isinstance(least, bool)
    if least is not None and not (is_number and math.isfinite(least)):
        raise UsageError(f"rating_at_least={shown(least)}: must be a number")
    if (settings["user"] is None) != (settings["item"] is None):
        given, other = ("user", "item") if settings["item"] is None else ("item", "user")
        raise UsageError(
            f"{given}={settings[given]}: ratings are of users and items: give `{other}` too"
        )
    return Ratings(**settings)
