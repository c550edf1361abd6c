"""What a metric costs, and where it stands among the results."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

__all__ = ["OPERATIONS", "Cost"]

OPERATIONS = 3e10
"""Floating-point operations of a network in a second on two CPU cores, a scalar."""


class Cost(NamedTuple):
    """What a metric costs on two CPU cores; its module has one as `COST`.

    Attributes:
        place: where it stands among the results, best known first: they are sorted by it, a scalar.
        is_quick: whether it takes seconds, so that an evaluation begins with it.
        start: seconds that do not depend on the data, most of them compilation, a scalar.
        per_example: seconds of a test example beside those of `passes`, a scalar.
        passes: (number of test examples, settings) to how often a code is decoded.
    """

    place: int
    is_quick: bool = False
    start: float = 3.0
    per_example: float = 0.0
    passes: Callable[[int, Mapping[str, Any]], float] = lambda num_examples, settings: 0.0

    def seconds(self, num_examples: int, settings: Mapping[str, Any], operations: float) -> float:
        """The seconds that it takes, about.

        Args:
            num_examples: of the test split, a count.
            settings: of the metric, by name.
            operations: floating-point operations of decoding a code, a scalar.
        """
        decoding = self.passes(num_examples, settings) * operations / OPERATIONS
        return self.start + self.per_example * num_examples + decoding
