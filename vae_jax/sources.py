"""Data as a training from Python takes them: looked at once, before anything is compiled."""

import contextlib
import functools
import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.core
import jax.numpy as jnp
import numpy as np

from vae_jax import arguments, assembly, likelihoods, ranges, training
from vae_jax import data as datasets
from vae_jax import program as programs
from vae_jax.data import Dataset
from vae_jax.errors import DataError, UsageError, shown

__all__ = ["Source", "check_values", "named", "of_arrays", "of_dataset", "rows", "undecoded"]

_BLOCK_BYTES = 2**24
"""What is looked at at a time, in bytes."""
_RESCALE = "rescale it, x = (x - x.min()) / (x.max() - x.min())"
_MOVE_INSIDE = "move it inside, x = 0.01 + 0.98 * (x - x.min()) / (x.max() - x.min())"
_REMEDIES = {
    "text": "give the k-th of V − 1 characters as k / (V − 1), 0 for the end and NaN after it, as "
    "vae_jax.data.load decodes a .txt file",
    "large": _RESCALE,
    "small": _RESCALE,
}
"""What to do by what is wrong, see `ranges.check`."""
_OF_FAR_COLUMNS = "take likelihoods.Laplace(), or rescale each column to [0, 1]"


class Source(NamedTuple):
    """Data as a training takes them.

    Attributes:
        splits: see `Program.splits`.
        preprocess: see `fit`.
        dataset, conditions: if the data are a `Dataset`; arrays [N, …].
    """

    splits: dict[str, Any]
    preprocess: Callable
    dataset: Dataset | None = None
    conditions: training.Conditions | None = None

    def size(self, split: str) -> int:
        """How many examples a split has, a count; 0 where there is no such split."""
        rows = self.splits.get(split, ())
        return len(rows["x"] if isinstance(rows, Mapping) else rows)


def named(data: Any) -> dict[str, Any]:
    """What the user gives, by name: arrays [N, …], of whatever dtype."""
    told = arguments.examples(data)
    num_examples = len(told["x"])
    if num_examples == 0:
        raise UsageError("x: has no rows, there is nothing to learn from")
    for name, values in told.items():
        if len(values) != num_examples:
            raise UsageError(
                f"{name}: has {len(values)} rows, x has {num_examples}: give one for each row of x"
            )
    return told


def of_arrays(
    told: dict,
    valid: Any,
    objective: training.Objective,
    model: Any,
    preprocess: Callable | None,
    binarization: str | None,
) -> Source:
    """Arrays [N, …] as a training takes them: x, and what the objective asks for of each row."""
    if binarization is not None:
        raise UsageError(f"binarization={binarization}: is for a Dataset: give preprocess=…")
    check_values(told["x"], model, preprocess)
    splits = {"train": rows(told, objective, model)}
    if valid is not None:
        with _as_valid():
            held = named(valid)
            check_values(held["x"], model, preprocess)
            splits["valid"] = rows(held, objective, model)
    return Source(splits, preprocess or undecoded)


@contextlib.contextmanager
def _as_valid() -> Iterator[None]:
    """Names the validation data in an error."""
    try:
        yield
    except (DataError, UsageError) as error:
        told = str(error).removeprefix("data: ").removeprefix("x: ")
        raise type(error)(f"valid: {told}") from None


def rows(told: dict, objective: training.Objective, model: Any) -> dict[str, np.ndarray]:
    """What batches are gathered from: x and what the objective asks for, [N, …] each.

    Args:
        told: see `named`.
        objective: bound; it checks what it asks for.
        model: see `check_values`.
    """
    beside = {name: values for name, values in told.items() if name != "x"}
    if objective.beside is not None:
        beside = objective.beside(model, beside)
    for name, values in beside.items():
        _check_numeric(name, values)
    return {name: _in_memory(values) for name, values in {"x": told["x"], **beside}.items()}


def _in_memory(values: Any) -> np.ndarray:
    """Numbers of any shape as a NumPy array, of 32 bits each if they have 64."""
    array = np.asarray(values)
    narrow = {"f8": "f4", "i8": "i4", "u8": "u4"}.get(array.dtype.str[1:])
    return array if narrow is None else array.astype(narrow)


def of_dataset(
    dataset: Dataset,
    valid: Any,
    objective: training.Objective,
    model: Any,
    preprocess: Callable | None,
    binarization: str | None,
) -> Source:
    """A dataset, splits [N, *stored], as the command line trains on it."""
    if valid is not None:
        raise UsageError("valid: a Dataset has its own validation split: leave it out")
    likelihood = model.likelihood
    found = {"shape": dataset.shape, "has_missing": dataset.has_missing}
    taken = {"shape": model.shape, "has_missing": likelihood.has_missing}
    if likelihood.requires in ("levels", "text"):
        found["num_levels"] = dataset.num_levels
        taken["num_levels"] = likelihood.num_levels
    datasets.check(dataset, likelihood.requires, what=f"likelihoods.{likelihood}")
    conditions = None if objective.conditions is None else objective.conditions(dataset)
    if conditions is not None and conditions.num > 0:
        found |= {"num_conditions": conditions.num, "classes": conditions.classes}
        taken |= {"num_conditions": model.num_conditions, "classes": model.classes}
    for name, value in found.items():
        if value != taken[name]:
            raise UsageError(
                f"{name}={taken[name]} of the model: {dataset.name} has {name}={value}: make it "
                "with make_model(dataset, objective=…)"
            )
    if preprocess is None:
        told = assembly.binarization(
            dataset.num_levels,
            is_bernoulli=isinstance(likelihood, likelihoods.Bernoulli),
            has_prior=model.latent.has_prior,
            asked=binarization,
        )
        preprocess = assembly.make_preprocess(dataset, told)
    splits = programs.make_splits(dataset, conditions)
    return Source(splits, preprocess, dataset, conditions)


def _check_numeric(name: str, values: Any) -> None:
    kinds = jnp.floating, jnp.integer, jnp.bool_
    if not any(jnp.issubdtype(values.dtype, kind) for kind in kinds):
        remedy = "encode it" if name == "x" else "encode it or leave it out"
        raise UsageError(f"{name}: holds {values.dtype}, must be real numbers: {remedy}")


def undecoded(stored: jax.Array, key: jax.Array) -> jax.Array:
    """The preprocess of x that is as the model takes it, [B, *shape]."""
    del key
    return stored


def check_values(x, model, preprocess: Callable | None) -> None:
    """Refuses values, as the likelihood sees them, that it cannot take; warns of far columns.

    Args:
        x: [N, *stored]; nothing is looked at if it is traced.
        model: its likelihood and shape decide, if it has them.
        preprocess: see `fit`; if it is random, one draw is checked.
    """
    if isinstance(x, jax.core.Tracer):
        return
    _check_numeric("x", x)
    if preprocess is None and not jnp.issubdtype(x.dtype, jnp.floating):
        raise UsageError(
            f"x holds {x.dtype}: give floats in the range of the likelihood, x.astype('float32') "
            "of numbers in it, or give preprocess=…, for a dataset of ours "
            "preprocess=lambda stored, key: dataset.decode(stored)"
        )
    likelihood = getattr(model, "likelihood", None)
    num_levels = getattr(likelihood, "num_levels", None)
    has_missing = getattr(likelihood, "has_missing", False)
    blocks = functools.partial(_blocks, np.asarray(x), preprocess, getattr(model, "shape", None))
    found = ranges.survey(blocks(), num_levels=num_levels, has_missing=has_missing)
    if found.first_bad is not None:
        row, place, value = found.first_bad
        column = f", column {place[0] if len(place) == 1 else list(place)}" if place else ""
        raise DataError(
            f"x: {found.num_bad:,} value(s) are not finite, the first is {value} in row {row}"
            f"{column}: fill them in, or leave these rows out"
        )
    if likelihood is None:
        return
    requires = likelihood.requires
    values = ranges.Values(
        found.low,
        found.high,
        num_levels if found.is_on_grid else None,
        is_text=requires == "text" and bool(found.is_on_grid),
        is_whole=found.is_whole,
        is_mixed=requires == "columns",
    )
    # which would begin too far from other values
    is_near = max(-found.low, found.high) <= ranges.DEVIATIONS
    other = ", or take likelihoods.Gaussian()" if is_near else ""
    level = f"give level k as k / {(num_levels or 2) - 1}{other}"
    remedies = {
        **_REMEDIES,
        "unit": f"{_RESCALE}{other}",
        "open": f"{_MOVE_INSIDE}{other}",
        "levels": level,
        "counts": f"give the counts themselves{other}",
    }
    ranges.check(values, requires, what=f"likelihoods.{likelihood}", holder="x", remedies=remedies)

    def seen():
        return (block for _, block in blocks())

    if requires == "real":
        far = ranges.far_values(values, seen, likelihood.initial_deviation)
        if far:
            warnings.warn(f"x: {far}: {_RESCALE}", stacklevel=5)
    if isinstance(likelihood, likelihoods.Gaussian):
        far = ranges.far_columns(values, {"x": seen})
        if far:
            warnings.warn(f"{far}: {_OF_FAR_COLUMNS}", stacklevel=5)


def _refuse_preprocess(preprocess: Callable, x: np.ndarray) -> None:
    """Raises UsageError unless a function maps stored values [n, *stored] to an array of floats."""
    try:
        found = jax.eval_shape(preprocess, x, jax.random.key(0))
    except arguments.TRACING as error:
        raise UsageError(
            f"preprocess={shown(preprocess)}{arguments.place_of(error, preprocess)}: cannot be "
            "traced, it runs inside the step: take jax.numpy in place of numpy, and "
            "jax.numpy.where in place of if"
        ) from None
    if not jnp.issubdtype(getattr(found, "dtype", np.dtype(object)), jnp.floating):
        told = getattr(found, "dtype", type(found).__name__)
        raise UsageError(
            f"preprocess={shown(preprocess)}: returns {told}, must be an array of floats: "
            "convert it with .astype('float32')"
        )


def _blocks(
    x: np.ndarray, preprocess: Callable | None, shape: tuple[int, ...] | None
) -> Iterator[tuple[int, np.ndarray]]:
    """(first row, values [n, *shape]) of x [N, *stored] as the model sees it, in blocks.

    Raises:
        UsageError: examples do not have the shape that the model takes.
    """
    num_rows = max(1, _BLOCK_BYTES // max(1, x.nbytes // len(x)))
    decode, key = None if preprocess is None else jax.jit(preprocess), jax.random.key(0)
    if preprocess is not None and len(x):
        _refuse_preprocess(preprocess, x[:num_rows])
    for start in range(0, len(x), num_rows):
        block = x[start : start + num_rows]
        block = np.asarray(block if decode is None else decode(jnp.asarray(block), key))
        if shape is not None and block.shape[1:] != shape:
            same_size = math.prod(block.shape[1:]) == math.prod(shape)
            remedy = f"x.reshape(-1, {', '.join(map(str, shape))})" if same_size else "another x"
            raise UsageError(
                f"x: has examples of shape {list(block.shape[1:])}, the model takes {list(shape)}: "
                f"give {remedy}, or a model of that shape"
            )
        # half precision has no kind of its own in NumPy
        yield start, block.astype(np.float32) if block.dtype.itemsize < 4 else block
