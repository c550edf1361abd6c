"""Parsers for the text of settings; each refuses invalid text in one line."""

import math
from collections.abc import Callable, Sequence

import numpy as np

from vae_jax import aliases, likelihoods, looks, objectives, schedules
from vae_jax.errors import UsageError, did_you_mean

__all__ = [
    "ANY_UNITS",
    "AT_LEAST_ZERO",
    "LARGEST",
    "POSITIVE",
    "canonical",
    "choice",
    "each",
    "fraction",
    "in_float32",
    "integer",
    "integers",
    "names_of",
    "number",
    "plain_number",
    "size",
    "text",
    "variance",
    "word_or_number",
    "words",
]


ANY_UNITS = {"steps_per_epoch": 100, "num_steps": 1000}
"""Assumed numbers of steps for epochs and shares in a schedule before the data is known."""


LARGEST = 2**31 - 1
"""The largest integer that a setting may have (a scalar): the limit of 32 bits."""


AT_LEAST_ZERO = objectives.Interval.parse("[0, inf)")


POSITIVE = objectives.Interval.parse("(0, inf)")


def text(value: str) -> str:
    """Any nonempty string."""
    if not value:
        raise UsageError("must not be empty")
    return value


def words(value: str) -> tuple[str, ...]:
    """Distinct words, separated by commas."""
    found = tuple(dict.fromkeys(word.strip() for word in value.split(",")))
    if "" in found:
        raise UsageError("must be words with commas between them, none of them empty")
    return found


def each(parse: Callable[[str], str]) -> Callable[[str], tuple[str, ...]]:
    """Distinct words, separated by commas or in a tuple, each of which a parser accepts."""

    def parse_all(value: str | tuple[str, ...]) -> tuple[str, ...]:
        given = words(value) if isinstance(value, str) else value
        return tuple(dict.fromkeys(map(parse, given)))

    parse_all.names = getattr(parse, "names", tuple)  # see `names_of`
    return parse_all


def names_of(parse: Callable) -> tuple[str, ...]:
    """The words among which a parser chooses; () of other parsers."""
    return tuple(getattr(parse, "names", tuple)())


def choice(allowed: Sequence[str] | Callable[[], Sequence[str]], setting: str = ""):
    """One of the names in `allowed`, or an alias of a value of `setting`, which becomes its name.

    A function in place of `allowed` is called when there is a value to parse.
    """

    def parse(value: str) -> str:
        value, names = (
            aliases.canonical(setting, value),
            allowed() if callable(allowed) else allowed,
        )
        if value not in names:
            hint = did_you_mean(value, names)
            raise UsageError(f"unknown{hint}, choose from {', '.join(names)}")
        return value

    parse.names = lambda: allowed() if callable(allowed) else allowed  # see `names_of`
    return parse


def integer(low: int, high: int = LARGEST) -> Callable[[str], int]:
    """An integer in [low, high]."""

    def parse(value):
        try:
            number = int(value)
        except ValueError:
            number = None
        if number is None or not low <= number <= high:
            # mention the 32-bit limit only if it is exceeded
            is_told = high < LARGEST or (number is not None and number > high)
            limit = f", at most {high}" if is_told else ""
            raise UsageError(f"must be an integer, {low} or more{limit}")
        return number

    return parse


def integers(value: str) -> tuple[int, ...]:
    """Positive integers, separated by commas."""
    return tuple(integer(1)(item.strip()) for item in value.split(","))


def size(value: str) -> tuple[int, int]:
    """A height and a width in pixels; one number is both."""
    try:
        return looks.size(integers(value))
    except UsageError:
        raise UsageError(
            f"must be a height and a width in pixels, 1 to {looks.LARGEST:,}, such as 64,64"
        ) from None


def number(
    interval: objectives.Interval, *, somewhere: bool = False, note: str = ""
) -> Callable[[str], str]:
    """A finite number in an interval, or a schedule of such numbers; kept as text.

    With `somewhere`, a schedule may touch an excluded lower bound but not stay on it.
    """

    def parse(value):
        ends = schedules.extremes(schedules.parse(value, **ANY_UNITS), ANY_UNITS["num_steps"])
        if interval.first_outside(ends, touches_low=somewhere) is not None:
            raise UsageError(f"must be finite and {interval}{note}")
        return canonical(value)

    return parse


def canonical(value: str) -> str:
    """Normalizes a schedule, so that `4`, `4.0` and a default of 4.0 are the same run."""

    def spell(token):
        try:
            return repr(float(token)).removesuffix(".0")
        except ValueError:
            return token.strip()

    name, parenthesis, rest = value.partition("(")
    if not parenthesis:
        return spell(value)
    arguments = rest.strip().removesuffix(")").split(",")
    return f"{name.strip()}({', '.join(map(spell, arguments))})"


def in_float32(value: float) -> float:
    """Rounds a number as training does: close to 1 it may become 1, close to 0 it may become 0."""
    with np.errstate(over="ignore"):
        return float(np.float32(value))


def fraction(value: str) -> float:
    """A number in [0, 1)."""
    try:
        result = float(value)
    except ValueError:
        result = math.nan
    if not 0 <= in_float32(result) < 1:
        raise UsageError("must be a number >= 0 and < 1 in float32")
    return result


def plain_number(low: float = -math.inf, high: float = math.inf):
    """A finite number in [low, high], not a schedule."""

    def parse(value):
        try:
            result = float(value)
        except ValueError:
            result = math.nan
        if not math.isfinite(result) or not low <= result <= high:
            limits = {">=": low, "<=": high}
            told = (f" {sign} {limit:g}" for sign, limit in limits.items() if math.isfinite(limit))
            raise UsageError(f"must be a finite number{' and'.join(told)}")
        return result

    return parse


def variance(value: str) -> str | float:
    """A positive number, or the name of a way to learn the variance."""
    words = (word for cls in likelihoods.classes().values() for word in cls.variances)
    names = tuple(dict.fromkeys(word for word in words if word != "given"))
    return value if value in names else _positive(value, names)


def word_or_number(words: Sequence[str]) -> Callable[[str], str]:
    """One of the words, or a positive number; kept as text."""
    return lambda value: value if value in words else canonical(str(_positive(value, words)))


def _positive(value: str, names: Sequence[str]) -> float:
    """A positive number in place of one of the names."""
    try:
        result = float(value)
    except ValueError:
        result = math.nan
    if not 0 < in_float32(result) < math.inf:
        raise UsageError(f"must be a finite number > 0 in float32, or one of {', '.join(names)}")
    return result
