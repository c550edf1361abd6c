"""Checks of what a caller in Python passes: each mistake is one line that says what to give.

The checks read types, shapes and dtypes only, so they cost nothing inside `jit` and never change a
value.
"""

import inspect
import math
import numbers
import os
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vae_jax import aliases
from vae_jax.errors import UsageError, refuse_masked, shown

__all__ = [
    "TRACING",
    "examples",
    "integer",
    "numeric",
    "place_of",
    "prng_key",
    "refuse_elsewhere",
    "rows",
    "takes",
    "takes_leading",
]

TRACING = (
    jax.errors.ConcretizationTypeError,
    jax.errors.TracerArrayConversionError,
    jax.errors.TracerIntegerConversionError,
)
"""Errors of a function that reads traced values of any shape as Python or NumPy numbers."""
_CALLS = ("make_model", "fit")
"""The calls of the face that take the hyperparameters of an objective beside settings."""


def integer(name: str, value: Any, least: int) -> int:
    """Converts a count to a Python integer.

    Args:
        name: name of the argument, for the message.
        value: an integer of Python, NumPy or JAX, a scalar.
        least: the smallest allowed value, a scalar.

    Raises:
        UsageError: it is no integer, or too small.
    """
    is_array = isinstance(value, jax.Array) and not isinstance(value, jax.core.Tracer)
    if is_array and value.ndim == 0 and jnp.issubdtype(value.dtype, jnp.integer):
        value = int(value)
    is_integer = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    if not is_integer or value < least:
        raise UsageError(f"{name}={shown(value)}: must be an integer, at least {least}")
    return int(value)


def prng_key(key: Any, name: str = "key") -> Any:
    """Returns a PRNG key, a scalar, as it is.

    Raises:
        UsageError: it is something else, such as an integer or several keys.
    """
    dtype, shape = getattr(key, "dtype", None), getattr(key, "shape", None)
    if dtype is not None and isinstance(key, jax.Array | np.ndarray):
        if jnp.issubdtype(dtype, jax.dtypes.prng_key) and shape == ():
            return key
        if dtype == np.uint32 and len(shape) == 1:  # of `jax.random.PRNGKey`
            return key
    if isinstance(key, numbers.Integral) and not isinstance(key, bool):
        raise UsageError(f"{name}={key}: must be a PRNG key: give jax.random.key({key})")
    if dtype is not None and jnp.issubdtype(dtype, jax.dtypes.prng_key):
        raise UsageError(f"{name}: is {list(shape)} keys: give one of them, such as {name}[0]")
    raise UsageError(f"{name}={shown(key)}: must be a PRNG key: give jax.random.key(0)")


def numeric(name: str, value: Any) -> Any:
    """Returns an array of numbers of any shape as it is; lists become NumPy arrays.

    Raises:
        UsageError: it is no array of numbers.
        DataError: values are masked.
    """
    if not isinstance(value, jax.Array | np.ndarray):
        value = _converted(name, value)
    refuse_masked(name, value)
    is_number = any(jnp.issubdtype(value.dtype, kind) for kind in (jnp.number, jnp.bool_))
    if not is_number:
        raise UsageError(f"{name}: holds {value.dtype}: must be an array of numbers: encode it")
    return value


def examples(data: Any) -> dict[str, Any]:
    """What a user gives for each example, by name: arrays [N, …] of whatever dtype.

    Args:
        data: x [N, …], or {"x": x, …} with more for each row.

    Raises:
        UsageError: it is something else, or there is no x.
        DataError: values are masked.
    """
    if isinstance(data, str | os.PathLike):
        raise UsageError(f"data={str(data)!r}: is a name: give vae_jax.data.load({str(data)!r})")
    if isinstance(data, tuple) and any(np.ndim(part) for part in data):
        raise UsageError(
            f"data: is a tuple of {len(data)}: give {{'x': x, 'labels': y}}, or x alone"
        )
    given = dict(data) if isinstance(data, Mapping) else {"x": data}
    if "x" not in given:
        raise UsageError(f"data: holds {', '.join(map(repr, given)) or 'nothing'}: give 'x'")
    for name in given:
        if not isinstance(name, str) or name == "mask":
            raise UsageError(f"data: holds {name!r}: give each array a name other than 'mask'")
    return {name: _array(name, values) for name, values in given.items()}


def _array(name: str, values: Any) -> Any:
    """One of the arrays of `examples`, of any shape."""
    refuse_masked(name, values)
    if isinstance(values, jax.Array):
        return values
    if hasattr(values, "tocsr"):  # scipy.sparse need not be imported
        raise UsageError(
            f"{name}: is a sparse matrix: save it with scipy.sparse.save_npz and give "
            "vae_jax.data.load(path, scaling='none'), which keeps it sparse, or give "
            f"{name}.toarray()"
        )
    try:
        array = np.asarray(values)
    except (TypeError, ValueError):
        told = "has rows of several lengths" if isinstance(values, list) else "is no array"
        raise UsageError(f"{name}: {told}: must be an array with a row for each example") from None
    if array.ndim == 0:
        raise UsageError(
            f"{name}={shown(values)}: is no array: give one with a row for each example"
        )
    return array


def _converted(name: str, value: Any) -> np.ndarray:
    """Lists of numbers, and objects that NumPy can read, as an array of any shape."""
    is_known = isinstance(value, list | tuple | numbers.Number) or hasattr(value, "__array__")
    if not is_known:
        raise UsageError(f"{name}={shown(value)}: must be an array of numbers")
    try:
        array = np.asarray(value)
    except (TypeError, ValueError):
        raise UsageError(f"{name}: has rows of several lengths: must be an array") from None
    # as JAX reads Python's numbers
    return array.astype(np.float32) if array.dtype == np.float64 else array


def rows(name: str, value: Any, shape: tuple[int, ...], axis: str = "B") -> Any:
    """Returns numbers [B, *shape] as they are; lists become NumPy arrays.

    Args:
        name: name of the argument, for the message.
        value: [B, *shape].
        shape: shape of one row.
        axis: name of the first axis, for the message.

    Raises:
        UsageError: it is no array of numbers of this shape; the remedy fits what it is.
        DataError: values are masked.
    """
    array = numeric(name, value)
    if array.shape[1:] == tuple(shape) and array.ndim == len(shape) + 1:
        return array
    wanted = f"[{', '.join([axis, *map(str, shape)])}]"
    said = f"{name}: has shape {list(array.shape)}, must be {wanted}"
    remedy = f"give {axis} rows of {math.prod(shape)} number(s) each"
    if array.shape == tuple(shape):
        remedy = f"it is one example, give {name}[None]"
    elif array.ndim > 0 and array.size > 0 and array.size == len(array) * math.prod(shape):
        remedy = f"give {name}.reshape({', '.join(map(str, (-1, *shape)))})"
    raise UsageError(f"{said}: {remedy}")


def takes(function: Callable, num: int) -> bool:
    """Whether a function can be called with `num` positional arguments, a count.

    Returns:
        A scalar; True if Python does not know its parameters.
    """
    try:
        inspect.signature(function).bind(*[None] * num)
    except ValueError:
        return True
    except TypeError:
        return False
    return True


def takes_leading(function: Callable, num: int) -> bool:
    """Like `takes` (a scalar); keyword-only parameters do not matter."""
    try:
        inspect.signature(function).bind_partial(*[None] * num)
        missing = [
            p
            for p in [*inspect.signature(function).parameters.values()][num:]
            if p.kind is p.POSITIONAL_OR_KEYWORD and p.default is p.empty
        ]
    except ValueError:
        return not isinstance(function, type)
    except TypeError:
        return False
    return not missing


def place_of(error: BaseException, function: Callable) -> str:
    """Where in a user's function an error of a shape or a type arose: ", line 12", or ""."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    step, line = error.__traceback__, None
    while step is not None and code is not None:
        if step.tb_frame.f_code.co_filename == code.co_filename:
            line = step.tb_lineno
        step = step.tb_next
    return "" if line is None else f", line {line}"


def refuse_elsewhere(call: str, given: Mapping[str, Any]) -> None:
    """Refuses settings that have another name, or that another call takes; others pass.

    Args:
        call: the function of the face that got them, "fit"; "" checks nothing.
        given: values by name, none of which `call` has; scalars and arrays of any shape.

    Raises:
        UsageError: the message names the call and the setting that is meant.
    """
    if not call:
        return
    import vae_jax

    calls = sorted(_CALLS, key=lambda each: each != call)
    for name, value in given.items():
        meant = aliases.argument(name)
        for other in calls:
            parameters = inspect.signature(getattr(vae_jax, other)).parameters.values()
            if meant in [p.name for p in parameters if p.kind is p.KEYWORD_ONLY]:
                told = f"is called {meant}" if other == call else f"is a setting of {other}"
                raise UsageError(f"{name}={shown(value)}: {told}: give it to {other}(…, {meant}=…)")
