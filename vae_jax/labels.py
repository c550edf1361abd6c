"""Labels: the user's own values, and their class indices 0 … C − 1.

Internally a label is its class index, int32, or −1 if unknown. `classes` holds the user's own
values in the order of their indices: a tuple of numbers or words, or the count C if the values are
the indices themselves.
"""

import collections
import math
from collections.abc import Collection, Hashable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vae_jax.errors import UsageError, refuse_masked

__all__ = [
    "MADE",
    "OWN",
    "UNKNOWN",
    "classes_in",
    "codes",
    "condition",
    "encoded",
    "indices",
    "is_blank",
    "is_minus_one",
    "minus_one_is_unknown",
    "named",
    "one_hot",
    "refuse_twice",
    "vectors",
]

OWN = ", or make the model with classes=(…), your own labels in order"
"""The remedy if a conditional model does not know the user's own labels [C]."""

UNKNOWN = {"", "?", "-", "--", "none", "null", "na", "n/a", "#n/a", "<na>", "nan"}
"""Words, in lower case, for an unknown label or cell."""

MADE = (
    "make it with make_model({'x': x, 'labels': y}, objective='cvae', likelihood=model.likelihood)"
)
"""The remedy if a model of x alone is given labels [B]."""
_MOST_NAMED = 10
_NUMBERS = "buif"
"""Kinds of NumPy dtypes for real numbers."""


def named(classes: tuple | int) -> str:
    """The allowed labels [C], for a message: "0 … 9", "10, 20, 30", "'cat', 'dog'"."""
    if isinstance(classes, int):
        return f"0 … {classes - 1}"
    first = ", ".join(map(repr, _values(classes[:_MOST_NAMED]).tolist()))
    return first if len(classes) <= _MOST_NAMED else f"{first}, … ({len(classes)} in all)"


def indices(
    labels: Any,
    classes: tuple | int,
    *,
    what: str,
    may_be_unknown: bool = False,
    remedy: str = "",
) -> np.ndarray:
    """Converts a user's labels to class indices.

    Args:
        labels: [N], numbers or words, not traced.
        classes: see the docstring of this module.
        what: the source of the labels, for messages: "labels".
        may_be_unknown: whether a label that is no class may be unknown: −1 as a number or a word,
            NaN, None, an empty label, or a word such as "NA".
        remedy: an additional remedy if the classes are 0 … C − 1, such as `OWN`.

    Returns:
        int32 [N], in [0, C), or −1 if unknown.

    Raises:
        UsageError: there is not one value for each row, or one is not one of the classes.
        DataError: values are masked.
    """
    array = _as_array(labels, what)
    if array.ndim != 1:
        raise UsageError(f"{what}: have shape {list(array.shape)}: give one for each row, [N]")
    values = _values(classes)
    kinds = {array.dtype.kind, values.dtype.kind}
    if "f" in kinds and kinds <= set(_NUMBERS):
        # compare in the dtype of the labels: 0.1 in float32 differs from 0.1 in float64
        dtype = array.dtype if array.dtype.kind == "f" else np.float64
        values, array = values.astype(dtype), array.astype(dtype)
    table, rows = {_bare(v): index for index, v in enumerate(values.tolist())}, array.tolist()
    codes = [table.get(_bare(value)) if _is_plain(value) else None for value in rows]
    if may_be_unknown:
        pairs = zip(codes, rows, strict=True)
        codes = [
            -1 if code is None and (is_blank(value) or is_minus_one(value)) else code
            for code, value in pairs
        ]
    wrong = [row for row, code in enumerate(codes) if code is None]
    if wrong:
        more = f" (and {len(wrong) - 1:,} more)" if len(wrong) > 1 else ""
        unknown = ", or −1 if unknown" if may_be_unknown else ""
        raise UsageError(
            f"{what}: {rows[wrong[0]]!r} in row {wrong[0]}{more} is none of the classes "
            f"{named(classes)}: give one of these{unknown}"
            f"{remedy if isinstance(classes, int) else ''}"
        )
    return np.array(codes, np.int32)


def classes_in(labels: Any, *, what: str) -> tuple:
    """The distinct classes in a user's labels [N], ascending, without unknown labels.

    Args:
        labels: numbers or words, see `indices`.
        what: the source of the labels, for messages: "labels".

    Raises:
        UsageError: there is not one value for each row, or words and numbers are mixed.
        DataError: values are masked.
    """
    array = _as_array(labels, what)
    if array.ndim != 1:
        raise UsageError(f"{what}: have shape {list(array.shape)}: give one for each row, [N]")
    known = {_bare(value) for value in array.tolist() if not is_blank(value)}
    if minus_one_is_unknown(known):
        known = {value for value in known if not is_minus_one(value)}
    try:
        return tuple(sorted(known))
    except TypeError:
        raise UsageError(f"{what}: are words and numbers: give labels of one kind") from None


def refuse_twice(classes: tuple) -> None:
    """Refuses duplicate classes in the user's own labels, [C].

    Raises:
        UsageError: a class occurs twice; the message names it.
    """
    bare = [*map(_bare, classes)]
    if len({*bare}) < len(bare):
        counts = collections.Counter(bare)
        twice = next(value for value in bare if counts[value] > 1)
        raise UsageError(f"classes: {twice!r} stands more than once: name each class once")


def _is_plain(value: Any) -> bool:
    """Whether a value can be a label: not a list or a dict."""
    return isinstance(value, Hashable)


def _bare(value: Any) -> Any:
    """Strips spaces around a label: a word with and without them is the same label."""
    return value.strip() if isinstance(value, str) else value


def _as_array(labels: Any, what: str) -> np.ndarray:
    refuse_masked(what, labels)
    try:
        array = np.asarray(labels)
    except (TypeError, ValueError):
        raise UsageError(f"{what}: must be one label for each row, [N]") from None
    if array.dtype.kind == "S":
        return array.astype(str)
    is_half = array.dtype.kind == "V" and jnp.issubdtype(array.dtype, jnp.floating)
    return array.astype(np.float32) if is_half else array


def _values(classes: tuple | int) -> np.ndarray:
    """The user's own values, [C]; raises UsageError for duplicates."""
    if isinstance(classes, int):
        return np.arange(classes)
    refuse_twice(classes)
    is_mixed = len({isinstance(value, str) for value in classes}) > 1
    return np.array(classes, object if is_mixed else None)


def is_blank(value: Any) -> bool:
    """Whether a value, a scalar, always stands for an unknown label: None, NaN, "", "NA"."""
    if isinstance(value, str):
        return value.strip().casefold() in UNKNOWN
    return value is None or (isinstance(value, float) and math.isnan(value))


def is_minus_one(value: Any) -> bool:
    """Whether a value, a scalar, is −1 as a number or a word, see `minus_one_is_unknown`."""
    if isinstance(value, str):
        return value.strip() in ("-1", "-1.0")
    return isinstance(value, int | float) and value == -1


def minus_one_is_unknown(values: Collection) -> bool:
    """Whether −1 stands for an unknown label among distinct labels, in any order: scalars.

    It does beside words. Among numbers it does unless another negative number, or 1 alone, occurs
    with it: those are labels like the others.
    """
    if any(isinstance(value, str) for value in values):
        return True
    numbers = {value for value in values if isinstance(value, int | float)}
    return {value for value in numbers if value < 0} == {-1} and numbers != {-1, 1}


def one_hot(labels: jax.Array, classes: tuple | int) -> jax.Array:
    """Unit vectors of numeric labels, which may be traced: [B] to float32 [B, C].

    A label that is not one of the classes becomes a row of NaN: nothing can be raised under `jit`,
    and a row of zeros would be a valid condition.
    """
    values = _values(classes)
    if values.dtype.kind not in _NUMBERS:
        raise UsageError(
            f"condition: the classes are words ({named(classes)}), which a traced array cannot "
            "hold: call model.given(…) outside of jit, or give unit vectors [B, C]"
        )
    is_real = values.dtype.kind == "f" or jnp.issubdtype(labels.dtype, jnp.floating)
    dtype = np.float32 if is_real else np.int32
    is_class = labels.astype(dtype)[:, None] == jnp.asarray(values.astype(dtype))[None, :]
    vectors = is_class.astype(jnp.float32)
    return jnp.where(is_class.any(axis=1, keepdims=True), vectors, jnp.nan)


def codes(labels: jax.Array, classes: tuple | int) -> jax.Array:
    """Class indices of numeric labels, which may be traced: [B] to int32 [B].

    A label that is not one of the classes becomes −1, which `vectors` makes a row of NaN.
    """
    values = _values(classes)
    if values.dtype.kind not in _NUMBERS:
        return jnp.argmax(one_hot(labels, classes), axis=1)  # raises
    if isinstance(classes, int):
        is_class = (labels >= 0) & (labels < classes) & (labels == jnp.floor(labels))
        return jnp.where(is_class, labels, -1).astype(jnp.int32)
    vectors = one_hot(labels, classes)
    return jnp.where(jnp.isnan(vectors[:, 0]), -1, jnp.argmax(vectors, axis=1)).astype(jnp.int32)


def vectors(condition: jax.Array, num: int) -> jax.Array:
    """A condition as numbers: class indices [B] or numbers [B, C] to [B, C]; see `encoded`.

    Args:
        condition: indices in [0, C), or numbers, which stay.
        num: C, a count.
    """
    return one_hot(condition, num) if condition.ndim == 1 else condition


def condition(
    given: Any, num: int, classes: tuple | None = None, what: str = "condition"
) -> jax.Array:
    """The condition of each row of a conditional model: labels [B] or numbers [B, C] to [B, C].

    Args:
        given, num, classes, what: see `encoded`.

    Raises:
        UsageError: a label is not one of the classes, or the shape does not fit.
    """
    return vectors(encoded(given, num, classes, what), num)


def encoded(
    given: Any, num: int, classes: tuple | None = None, what: str = "condition"
) -> jax.Array:
    """The condition of each row of a conditional model: class indices [B], or numbers [B, C].

    Args:
        given: the user's own labels, or numbers used as they are; a single label may be [].
        num: C, the size of the condition, a count.
        classes: see `Model`.
        what: the name under which they were given, for messages.

    Returns:
        int32 [B] in [0, C) of labels, −1 for traced ones that are not one of the classes; or
            floats [B, C].

    Raises:
        UsageError: a label is not one of the classes, or the shape does not fit.
    """
    array = given if isinstance(given, jax.Array) else _as_array(given, what)
    if array.ndim == 2 and array.shape[1] == num and _is_numeric(array.dtype):
        array = jnp.asarray(array)
        return array if jnp.issubdtype(array.dtype, jnp.floating) else array.astype(jnp.float32)
    takes_labels = classes != () and num > 0
    if array.ndim > 1 or not takes_labels:
        known = classes if classes else num
        labels = f"labels [B], each one of {named(known)}, or " if takes_labels else ""
        wanted = f"give {labels}numbers [B, {num}]" if num else MADE
        raise UsageError(
            f"{what}: has shape {list(array.shape)}, the model takes {num} numbers for each "
            f"row: {wanted}"
        )
    if classes is not None and len(classes) != num:
        raise UsageError(
            f"classes: the model has {len(classes)} for num_conditions={num}: give as many"
        )
    known, array = num if classes is None else classes, array.reshape(-1)
    if isinstance(array, jax.core.Tracer):
        return codes(array, known)
    return jnp.asarray(indices(array, known, what=what, remedy=OWN))


def _is_numeric(dtype: Any) -> bool:
    return jnp.issubdtype(dtype, jnp.number) or jnp.issubdtype(dtype, jnp.bool_)
