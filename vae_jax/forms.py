"""What a trained model takes and gives: from rows in their own units and words to x, and back.

The data of the training decide: the schema of a table, the levels of pictures, the scaling of
numbers. A model that was trained on plain arrays takes x as it is.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vae_jax import assembly, likelihoods, ratings, sources
from vae_jax import data as datasets
from vae_jax import schema as schema_lib
from vae_jax.data import Dataset, _sequences, _table_files
from vae_jax.data._dataset import Scaling
from vae_jax.errors import DataError, UsageError
from vae_jax.ratings import Ratings
from vae_jax.schema import Column, Schema

__all__ = ["Form", "of"]

_CUT = "below 0 made 0"
"""What an exported file says of a scaling that clips."""


@dataclasses.dataclass(frozen=True, eq=False)
class Form:
    """How rows of the user become x [B, *shape], and back.

    `stored` values are what training kept of the rows; `preprocess` makes x of them inside `jit`.

    Attributes:
        shape: of one example x.
        preprocess: (stored [B, *stored], key) to x [B, *shape].
        kind: "table", "image" or "sequence"; "" for plain arrays.
        has_missing: whether x may hold NaN.
        num_levels: as of `data.Dataset`, a count or None.
        scaling: of continuous values, or None.
        schema: of a table with names of columns, or None.
        alphabet: of text, or None.
        ratings: of users × items, how a table with a row for each rating is read, or None.
        items: names of the D items, if there are ratings.
        marks: texts of missing cells, as in training.
        where: what the rows are called in messages, such as a path.
    """

    shape: tuple[int, ...]
    preprocess: Callable = sources.undecoded
    kind: str = ""
    has_missing: bool = False
    num_levels: int | None = None
    scaling: Scaling | None = None
    schema: Schema | None = None
    alphabet: tuple[str, ...] | None = None
    ratings: Ratings | None = None
    items: tuple[str, ...] = ()
    marks: tuple[str, ...] = ()
    where: str = "rows"

    # --- To what training stored

    def of_codes(self, codes: np.ndarray) -> np.ndarray:
        """Codes [N, C] of a table, see `Schema.codes`, as stored: [N, D]."""
        assert self.schema is not None
        if self.num_levels is not None:
            return self._of_levels(codes)
        stored = self.schema.expand(codes)
        is_cut = self.scaling is not None and self.scaling.is_cut
        return np.clip(stored, 0, 1) if is_cut else stored

    def of_array(self, rows: Any, *, may_miss: bool = False) -> np.ndarray:
        """An array in the units of the training, as stored.

        Integers of data on levels are the levels, floats are x itself, from 0 to 1. Other numbers
        are scaled as in training.

        Args:
            rows: [N, *shape], without the channel if there is one; of a table [N, C]; of text also
                N strings.
            may_miss: whether NaN, a missing value, is allowed even if training had none.

        Raises:
            DataError: values are not finite, or no levels.
            UsageError: the shape does not fit, or columns need names.
        """
        array = np.asarray(rows)
        if self.alphabet is not None and array.dtype.kind == "U" and array.ndim == 1:
            with _table_files.named(Path(self.where)):
                return _sequences.symbols_of(array, self.alphabet, self.shape[0])
        if array.dtype.kind not in "buif":
            raise DataError(f"{self.where}: holds {array.dtype}, must be numbers: encode them")
        if self.schema is not None:
            return self._of_columns(array, may_miss)
        if self.shape[-1:] == (1,) and array.shape[1:] == self.shape[:-1]:
            array = array[..., None]
        is_plain = self.preprocess is sources.undecoded or self.kind
        if is_plain and array.shape[1:] != self.shape:
            raise UsageError(
                f"{self.where}: has shape {list(array.shape)}, the model takes [N"
                f"{''.join(f', {n}' for n in self.shape)}]: give rows of that shape"
            )
        self.refuse_missing(array, may_miss)
        if self.num_levels is not None:
            return self._of_levels(array)
        if self.scaling is not None:
            return self.scaling(array)
        return array if self.preprocess is not sources.undecoded else array.astype(np.float32)

    def _of_columns(self, array: np.ndarray, may_miss: bool) -> np.ndarray:
        """An array [N, C] of the columns of a table, in their order."""
        assert self.schema is not None
        if self.schema.is_mixed and self.num_levels is None:
            raise UsageError(
                f"{self.where}: is an array, and the columns of the training are of several"
                " kinds: give a table with names, such as a pandas or polars DataFrame"
            )
        num = len(self.schema.used)
        if array.shape[1:] != (num,):
            raise UsageError(
                f"{self.where}: has shape {list(array.shape)}, training had {num} columns: give"
                f" [N, {num}], or a table with names"
            )
        self.refuse_missing(array, may_miss)
        return self.of_codes(array.astype(np.float64))

    def _of_levels(self, array: np.ndarray) -> np.ndarray:
        """Levels [N, …] as the smallest integers; floats, which are x, as fractions of levels."""
        assert self.num_levels is not None
        most, is_level = self.num_levels - 1, array.dtype.kind in "bui" or self.schema is not None
        if most == 1 and is_level and array.size and array.max() == 255:
            array = np.where(array == 255, 1, array)
        known = array[~np.isnan(array)] if array.dtype.kind == "f" else array
        low, high = (known.min(), known.max()) if known.size else (0, 0)
        small = np.dtype(np.uint8 if most < 256 else np.uint16)
        if is_level and not (low >= 0 and high <= most and np.all(known == np.floor(known))):
            raise DataError(
                f"{self.where}: holds {low if low < 0 else high}, training had the levels"
                f" 0 … {most}: give integers in that range"
            )
        if not is_level and not (low >= 0 and high <= 1):
            raise DataError(
                f"{self.where}: holds floats from {low:.6g} to {high:.6g}, must be in [0, 1]: give"
                f" levels 0 … {most} as integers, rows.astype('{small.name}')"
            )
        if is_level:
            return array.astype(small if known.size == array.size else np.float32)
        return (array.astype(np.float64) * most).astype(np.float32)

    def refuse_missing(self, array: np.ndarray, may_miss: bool, first_row: int = 0) -> None:
        """Raises DataError for infinity, and for NaN in [N, …] unless it may be there.

        Args:
            array: numbers; `Schema.codes` of a table.
            may_miss: see `of_array`.
            first_row: index of the first row, a count, for the message.
        """
        if array.dtype.kind != "f" or np.isfinite(array).all():
            return
        is_bad = np.isinf(array)
        if not (may_miss or self.has_missing):
            is_bad |= np.isnan(array)
        if not is_bad.any():
            return
        row, *place = np.argwhere(is_bad)[0].tolist()
        value = array[(row, *place)]
        names = None if self.schema is None else [c.name for c in self.schema.used]
        column = f"column {names[place[0]]!r}" if names else f"place {place}"
        remedy = "correct it"
        if np.isnan(value):
            remedy = "training had no missing values: fill it in first, with the use impute"
        raise DataError(f"{self.where}: {value} in row {row + first_row + 1:,}, {column}: {remedy}")

    # --- And back

    def values(self, x: np.ndarray) -> dict[str, np.ndarray]:
        """x [N, D] as the columns of a table: name → values [N] in their own units and words."""
        assert self.schema is not None
        if self.num_levels is not None and not self.schema.is_mixed:
            levels = np.rint(np.clip(x, 0, 1) * (self.num_levels - 1))
            return {c.name: levels[:, place] for place, c in enumerate(self.schema.used)}
        return self.schema.decode(x)

    def array(self, x: np.ndarray, like: np.ndarray | None = None) -> np.ndarray:
        """x [N, *shape] in the units of `of_array`.

        Args:
            x: as the model gives it.
            like: rows as they were given, [N, …]; integers become levels again, strings become
                strings. None: as training has them; of text, N strings.
        """
        if self.schema is not None:
            values = self.values(x)
            return np.stack([values[c.name] for c in self.schema.used], axis=1)
        if self.alphabet is not None and (like is None or like.dtype.kind == "U"):
            return np.array(datasets.strings(x, self.alphabet))
        if self.num_levels is not None and (like is None or like.dtype.kind in "bui"):
            levels = np.rint(np.clip(x, 0.0, 1.0) * (self.num_levels - 1))
            small = np.uint8 if self.num_levels <= 256 else np.uint16
            return levels.astype(small if like is None else like.dtype)
        if self.scaling is not None:
            x = x * self.scaling.scale + self.scaling.offset
        return x.astype(like.dtype if like is not None and like.dtype.kind == "f" else np.float32)


def of(
    model: Any, dataset: Dataset | None, preprocess: Callable | None, about: Mapping[str, Any]
) -> Form:
    """The form of the rows of a trained model.

    Args:
        model: a `Model` over x [B, *shape].
        dataset: the data of the training, if they were a `Dataset`.
        preprocess: of the training, see `fit`.
        about: of `Trained`: the settings of a run, or the contents of an exported file.

    Raises:
        UsageError: a file describes data that do not fit its model.
    """
    settings = about.get("settings")
    marks = settings.get("missing_values") if isinstance(settings, Mapping) else None
    marks = tuple(marks) if isinstance(marks, list | tuple) else () if marks is None else (marks,)
    marks = tuple(word for mark in marks for word in str(mark).split(","))
    if dataset is not None:
        found = _of_dataset(model, dataset, preprocess)
    elif isinstance(about.get("data"), Mapping):
        found = _of_file(model, about["data"], settings)
    else:
        found = Form(model.shape, preprocess or sources.undecoded)
    has_missing = bool(model.likelihood.has_missing)
    return dataclasses.replace(found, has_missing=has_missing, marks=marks)


def _of_dataset(model: Any, dataset: Dataset, preprocess: Callable | None) -> Form:
    """The form of rows like those of a dataset."""
    is_stored = dataset.train.x.shape[1:] == dataset.shape
    if preprocess is None or not is_stored:
        preprocess = _preprocess(dataset.num_levels, _binarization(model, dataset.num_levels, None))
        if dataset.alphabet is not None:
            preprocess = _preprocess_of_text(len(dataset.alphabet) + 1)
    schema = dataset.schema
    has_names = dataset.columns is not None and len({*dataset.columns}) == len(dataset.columns)
    if schema is None and dataset.kind == "table" and has_names:
        schema = _of_numbers(dataset.columns or (), dataset.scaling)
    return Form(
        model.shape,
        preprocess,
        dataset.kind,
        num_levels=dataset.num_levels,
        scaling=dataset.scaling,
        schema=schema,
        alphabet=dataset.alphabet,
        ratings=dataset.ratings,
        items=() if dataset.ratings is None else dataset.columns or (),
    )


def _of_numbers(names: tuple[str, ...], scaling: Scaling | None) -> Schema:
    """The schema of columns that are all real, [D], with the units of a scaling."""
    schema = Schema(tuple(Column(name, "real") for name in names), schema_lib.load)
    if scaling is None:
        return schema
    both = (scaling.offset, scaling.scale)
    return schema.in_units(*(np.broadcast_to(np.ravel(v), len(names)).tolist() for v in both))


def _binarization(model: Any, num_levels: int | None, asked: str | None) -> str | None:
    is_bernoulli = isinstance(model.likelihood, likelihoods.Bernoulli)
    return assembly.binarization(
        num_levels, is_bernoulli=is_bernoulli, has_prior=model.latent.has_prior, asked=asked
    )


@functools.cache
def _preprocess(num_levels: int | None, binarization: str | None) -> Callable:
    """(stored [B, *shape], key) to x; the same function for the same settings."""

    def preprocess(stored: jax.Array, key: jax.Array) -> jax.Array:
        x = jnp.asarray(stored, jnp.float32)
        x = x if num_levels is None else x / (num_levels - 1)
        if binarization == "dynamic":
            return datasets.binarize(key, x)
        return (x > 0.5).astype(jnp.float32) if binarization == "threshold" else x

    return preprocess


@functools.cache
def _preprocess_of_text(num_levels: int) -> Callable:
    """(symbols [B, T], key) to x, NaN after the end; the same function for the same levels."""

    def preprocess(stored: jax.Array, key: jax.Array) -> jax.Array:
        del key
        return _sequences.decode_text(stored, num_levels=num_levels)

    return preprocess


# --- What an exported file says


def _of_file(model: Any, told: Mapping[str, Any], settings: Any) -> Form:
    """The form that a file describes, which may be anybody's.

    Raises:
        UsageError: it is none, or does not fit the model.
    """
    try:
        num_levels, kind = told.get("num_levels"), told.get("kind")
        is_count = type(num_levels) is int and 2 <= num_levels <= 2**16
        if not (num_levels is None or is_count) or kind not in ("table", "image", "sequence"):
            raise ValueError(f"num_levels {num_levels!r} of {kind!r}")
        scaling = _scaling_in(told, math.prod(model.shape))
        schema = None if told.get("schema") is None else _schema_in(told["schema"], model.shape)
        asked = settings.get("binarization") if isinstance(settings, Mapping) else None
        ratings, items = _ratings_in(told, model.shape)
        if ratings is not None and schema is None:
            schema = _of_numbers(items, scaling)
        alphabet = told.get("alphabet")
        preprocess = _preprocess(num_levels, _binarization(model, num_levels, asked))
        if alphabet is not None and len(alphabet) + 1 != num_levels:
            raise ValueError(f"{len(alphabet)} characters for {num_levels} levels")
        if alphabet is not None and num_levels is not None:
            preprocess = _preprocess_of_text(num_levels)
        return Form(
            model.shape,
            preprocess,
            kind,
            num_levels=num_levels,
            scaling=scaling,
            schema=schema,
            alphabet=None if alphabet is None else tuple(map(str, alphabet)),
            ratings=ratings,
            items=items,
        )
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as error:
        raise UsageError(
            f"about: describes no data that fit the model ({error}): export the run again"
        ) from None


def _scaling_in(told: Mapping[str, Any], size: int) -> Scaling | None:
    """The scaling of values of x of `size` numbers, a count."""
    numbers = told.get("scaling")
    if numbers is None:
        return None
    both = [np.asarray(numbers[name], np.float64) for name in ("offset", "scale")]
    for values in both:
        if values.ndim != 1 or len(values) not in (1, size) or not np.isfinite(values).all():
            raise ValueError(f"scaling of shape {values.shape}")
    if not both[1].all():
        raise ValueError("a scale of 0")
    offset, scale = (v[None] if len(v) > 1 else float(v[0]) for v in both)
    return Scaling(offset, scale, is_cut=_CUT in str(told.get("x", "")))


def _ratings_in(
    told: Mapping[str, Any], shape: tuple[int, ...]
) -> tuple[Ratings | None, tuple[str, ...]]:
    """How ratings are read, if the data were ratings, and the items that fit x [*shape]."""
    if told.get("ratings") is None:
        return None, ()
    given, items = dict(told["ratings"]), told["columns"]
    if not all(isinstance(item, str) for item in items) or shape != (len({*items}),):
        raise ValueError(f"{len(items)} items, the model takes {list(shape)}")
    unset = dict.fromkeys(field.name for field in dataclasses.fields(Ratings))
    return ratings.make(**{**unset, **given}), tuple(items)


def _schema_in(described: Any, shape: tuple[int, ...]) -> Schema:
    """A schema whose values are of the types that it needs, and that fits x [*shape]."""
    schema = schema_lib.from_json(described)
    for column in schema.columns:
        numbers = (column.center, column.scale, column.low or 0.0, column.high or 0.0)
        are_numbers = all(
            isinstance(n, int | float) and not isinstance(n, bool) and math.isfinite(n)
            for n in numbers
        )
        are_levels = all(isinstance(level, str | int | float) for level in column.levels)
        if (
            not are_numbers
            or not are_levels
            or not isinstance(column.name, str)
            or not column.scale
        ):
            raise ValueError(f"column {column.name!r}")
    if shape != (len(schema.slots),):
        raise ValueError(f"{len(schema.slots)} numbers in a row, the model takes {list(shape)}")
    return schema
