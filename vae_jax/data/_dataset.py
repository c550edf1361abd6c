"""The common form of all sources: three splits as stored, their decoding, and their values."""

import dataclasses
import functools
import hashlib
import html
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from vae_jax import labels, memory, ranges
from vae_jax.data._npy import FileRows
from vae_jax.errors import DataError, UsageError
from vae_jax.ratings import Ratings
from vae_jax.schema import Schema
from vae_jax.sounds import Framing

if TYPE_CHECKING:
    from vae_jax.data._compact import Columns

__all__ = [
    "Dataset",
    "Rows",
    "Scaling",
    "Split",
    "blocks",
    "bytes_to_convert",
    "check",
    "data_file",
    "decode_levels",
    "decode_real",
    "divide",
    "image_dataset",
    "is_streamed",
    "mismatch",
    "other_content",
    "rows_per_block",
    "sha256_of_arrays",
    "sha256_of_file",
    "sha256_of_folder",
    "to_float32",
]

_SEED = 0  # of the only permutation that makes the splits: other splits are another dataset
_BLOCK_BYTES = 2**24  # to examine at a time: sums round by their blocks
_CONVERTED_BYTES = 2**21  # to convert at a time
_ALIGNMENT = 64  # bytes; with it JAX uses host memory for a CPU device without a copy
_MEMORY_SHARE = 1 / 3  # of the memory limit; larger data are streamed by default
_BYTES_OF_ORDER = 24  # for each row, while rows are divided into splits
_BYTES_OF_PLACE = 64  # for each value of a row: extremes, mean and deviation, and a block of one


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Rows:
    """A read-only view of the rows of an array, selected and converted on access.

    Attributes:
        source: [M, *raw], in memory or in a file.
        index: [N], indices of these rows in the source, ascending; None means all.
        conversions: applied in order, each [B, *any] -> [B, *other], element by element.
    """

    source: "np.ndarray | FileRows | Columns"
    index: np.ndarray | None = None
    conversions: tuple[Callable[[np.ndarray], np.ndarray], ...] = ()

    def __repr__(self) -> str:
        return f"Rows({self.dtype}{list(self.shape)})"

    @functools.cached_property
    def _empty(self) -> np.ndarray:
        return self.convert(np.empty((0, *self.source.shape[1:]), self.source.dtype))

    @property
    def shape(self) -> tuple[int, ...]:
        """[N, *stored], after conversion."""
        return (len(self), *self._empty.shape[1:])

    @property
    def dtype(self) -> np.dtype:
        """Dtype of the converted values."""
        return self._empty.dtype

    @property
    def nbytes(self) -> int:
        """Bytes that the converted values would take in memory (scalar)."""
        return math.prod(self.shape) * self.dtype.itemsize

    def __len__(self) -> int:
        return len(self.source if self.index is None else self.index)

    def __getitem__(self, rows: slice | np.ndarray) -> np.ndarray:
        """Reads rows into an ordinary array in memory.

        Args:
            rows: a slice, or integers [...], each in [-N, N).

        Returns:
            [..., *stored], in the requested order.

        Raises:
            DataError: if the file that holds them has changed or cannot be read.
        """
        if self.index is None:
            return self.convert(self.source[rows])
        chosen = self.index[rows]
        is_read_once = isinstance(self.source, FileRows) and not self.source.stays
        if is_read_once and isinstance(rows, slice) and _are_close(chosen):
            # one read of all rows between, of which most are wanted
            first = chosen[0]
            return self.convert(self.source[first : chosen[-1] + 1][chosen - first])
        return self.convert(self.source[chosen])

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        """All rows [N, *stored] for np.asarray, which would otherwise read them one by one."""
        return np.array(self.in_memory(), dtype, copy=copy)

    def convert(self, x: np.ndarray) -> np.ndarray:
        """Converts values [B, *raw] of the source as these rows do, to [B, *stored]."""
        for conversion in self.conversions:
            x = conversion(x)
        return x

    def map(self, conversion: Callable[[np.ndarray], np.ndarray]) -> "Rows":
        """The same rows [N, *stored] with another conversion on access."""
        return dataclasses.replace(self, conversions=(*self.conversions, conversion))

    def select(self, rows: np.ndarray) -> "Rows":
        """A subset of these rows [N, *stored], not yet read: those at `rows`, [n] ascending."""
        return dataclasses.replace(self, index=rows if self.index is None else self.index[rows])

    def in_memory(self) -> np.ndarray:
        """All rows [N, *stored] as an ordinary array.

        Raises:
            DataError: it would take more memory than there is.
        """
        what = f"an array of all {len(self):,} rows, {' × '.join(map(str, self.shape[1:]))} each"
        memory.check(what, self.nbytes, "read them in blocks, x[start:stop]")
        if self.index is None and not self.conversions:
            return self.source[:]
        x = _aligned(self.shape, self.dtype)
        for start, block in blocks(self, _CONVERTED_BYTES):
            x[start : start + len(block)] = block
        return _sealed(x)


def _are_close(rows: np.ndarray) -> bool:
    """Whether ascending rows [n] are at least half of those between the first and the last."""
    return len(rows) > 1 and 0 < rows[-1] - rows[0] < 2 * len(rows)


def _aligned(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """An empty array, aligned so that JAX can use it on a CPU device without a copy."""
    num_bytes = math.prod(shape) * dtype.itemsize
    memory = np.empty(num_bytes + _ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % _ALIGNMENT
    return memory[start : start + num_bytes].view(dtype).reshape(shape)


def _sealed(x: np.ndarray) -> np.ndarray:
    """Makes an array read-only, because a device may share its memory."""
    x.flags.writeable = False
    return x


def _chosen(x: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Rows of x [N, *stored] at integers [n] in [0, N), aligned for a device: [n, *stored]."""
    into = _aligned((len(rows), *x.shape[1:]), x.dtype)
    # the indices are valid: mode "raise" would make a copy to check them
    return _sealed(np.take(x, rows, axis=0, out=into, mode="clip"))


def rows_per_block(shape: tuple[int, ...], dtype: np.dtype, num_bytes: int | None = None) -> int:
    """How many rows to examine or convert at a time, so that memory is limited.

    Args:
        shape: [N, *stored].
        dtype: dtype of the stored values.
        num_bytes: bytes of a block (scalar), or None for the default.

    Returns:
        The number (scalar), at least 1.
    """
    num_bytes = num_bytes or _BLOCK_BYTES
    return max(1, num_bytes // max(1, math.prod(shape[1:]) * dtype.itemsize))


def blocks(
    x: "np.ndarray | FileRows | Columns | Rows", num_bytes: int | None = None
) -> Iterator[tuple[int, np.ndarray]]:
    """Yields blocks of consecutive rows; the blocks do not depend on where the rows are stored.

    Args:
        x: [N, *stored].
        num_bytes: as in `rows_per_block`.

    Yields:
        (number of the block's first row, [n, *stored] in memory).
    """
    source = x.source if isinstance(x, Rows) else x
    num_rows = rows_per_block(source.shape, source.dtype, num_bytes)
    for start in range(0, len(x), num_rows):
        yield start, x[start : start + num_rows]


def is_streamed(loading: str, num_bytes: int) -> bool:
    """Whether data stays on disk and is read block by block.

    Args:
        loading: 'stream', 'memory', or 'auto': if it takes over a third of the memory limit.
        num_bytes: bytes of the training rows as stored (scalar).

    Returns:
        The answer.
    """
    if loading != "auto":
        return loading == "stream"
    return num_bytes > _MEMORY_SHARE * memory.limit_bytes()


def bytes_to_convert(
    shape: tuple[int, ...], dtype: np.dtype, *, stays: bool = False, is_held: bool = True
) -> int:
    """Estimates the memory that data need from reading until they are ready for training.

    It includes the source, the stored form, the order of the rows, and statistics per column.

    Args:
        shape: [N, *stored].
        dtype: dtype of the source.
        stays: whether the source stays in a file, and rows are converted on access.
        is_held: whether the source is in memory meanwhile.

    Returns:
        Peak memory in bytes (scalar).
    """
    width = math.prod(shape[1:])
    is_image = len(shape) > 2
    stored = 1 if dtype.itemsize == 1 and is_image else np.dtype(np.float32).itemsize
    rows = 0 if stays else shape[0] * width * (dtype.itemsize * is_held + stored)
    return rows + shape[0] * _BYTES_OF_ORDER + width * _BYTES_OF_PLACE


@dataclasses.dataclass(frozen=True, eq=False)
class Scaling:
    """The scaling of a source's values: (value − offset) / scale, float32.

    Attributes:
        offset: a scalar, or one per column, [1, D].
        scale: likewise.
        is_cut: whether results were clipped to [0, 1].
    """

    offset: np.ndarray | float
    scale: np.ndarray | float
    is_cut: bool = False

    def uncut(self, x: np.ndarray) -> np.ndarray:
        """Values [B, *stored], shifted and scaled in the precision of the source, not clipped."""
        values = x - self.offset
        with np.errstate(over="ignore"):  # the result is clipped, or refused by the caller
            values /= self.scale
        return values

    def of_column(self, place: int) -> "Scaling":
        """The scaling of one column of [B, D], at an index 0 … D − 1: of [B]."""
        each = (np.ravel(values) for values in (self.offset, self.scale))
        offset, scale = (values[place if len(values) > 1 else 0] for values in each)
        return Scaling(offset, scale, self.is_cut)

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Scales values [B, *stored] of the source to x, [B, *stored] float32."""
        values = self.uncut(x)
        with np.errstate(over="ignore"):
            return (np.clip(values, 0, 1) if self.is_cut else values).astype(np.float32)


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Split:
    """One part of a dataset, as stored.

    Attributes:
        x: [N, *stored], in the smallest dtype that loses nothing; in memory, or `Rows` of a file.
        labels: [N] int32, the class of each row, 0 … C − 1, or −1 if unknown; or None.
        factors: [N, F] int32, the index of each ground-truth factor, or None.
        condition: [N, C] float32, numbers on which x may be conditioned, or None.
        ids: [N] text, the user's own names of the rows, or None.
        aside: [N, *stored], of ratings, those of held-out users that x lacks; or None.
    """

    x: np.ndarray | Rows
    labels: np.ndarray | None = None
    factors: np.ndarray | None = None
    condition: np.ndarray | None = None
    ids: np.ndarray | None = None
    aside: Rows | None = None

    def __repr__(self) -> str:
        held = ("labels", "factors", "condition", "ids", "aside")
        beside = "".join(f", {name}" for name in held if getattr(self, name) is not None)
        return f"Split({len(self):,} × {self.x.dtype}{list(self.x.shape[1:])}{beside})"

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, rows: np.ndarray) -> "Split":
        """A subset of its rows: those at integers [n] in [0, N)."""
        return Split(
            self.x.select(rows) if hasattr(self.x, "select") else _chosen(self.x, rows),
            None if self.labels is None else self.labels[rows],
            None if self.factors is None else self.factors[rows],
            None if self.condition is None else self.condition[rows],
            None if self.ids is None else self.ids[rows],
            None if self.aside is None else self.aside.select(rows),
        )


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """A named dataset: its splits, and what a model and a likelihood must know about its values.

    Attributes:
        name: the requested name; for a user's file, the file's stem.
        train: rows to learn from, [N, *stored].
        valid: rows held out of training, [N, *stored]; N is 0 if none were requested.
        test: rows for reported results, [N, *stored].
        shape: shape of one decoded example: (H, W, C), or (D,) for a table; for a sequence the
            first axis is time: (T,) for text, else (T, C).
        kind: 'image', 'table' or 'sequence'.
        low: smallest decoded value of all splits; 0 by definition if `num_levels` is set.
        high: largest decoded value of all splits; 1 by definition if `num_levels` is set.
        num_levels: decoded values are k / (num_levels - 1), k = 0, 1, …; None if continuous.
        sha256: SHA-256 of the content of the source (a user's file itself), hexadecimal.
        likelihood: name of the default p(x|z).
        decode: stored [B, *stored] -> float32 [B, *shape]; pure, meant to run inside the jitted
            step, so that data on the device stays as small as it is stored.
        factor_names: names of the F factors, or None.
        factor_sizes: number of values of each of the F factors, or None.
        classes: the user's own values of the labels 0 … C − 1, ascending integers or words; or
            None.
        unlabeled: the reason why labels of the source were dropped, in words; or "".
        columns: names of the D numbers of a row of a table, or of the C channels of its windows; or
            None.
        alphabet: for text, the characters of the levels 1, 2, …; level 0 is the end; or None.
        has_missing: whether decoded values may be NaN: after the end of a sequence, or in missing
            cells of a table.
        scaling: for a user's own continuous data, the scaling of its values, or None.
        schema: for a user's own table, what each column of the file is, or None.
        notes: one line per conversion, for the log.
        streamed: whether the training rows must be sent to the device block by block, as for data
            larger than memory.
        is_whole: whether all decoded values are known to be whole numbers, as counts are.
        manifest: what became of each file of a folder (read, converted, skipped), one mapping per
            row; or empty.
        framing: how recordings became series of frames, or None.
        ratings: for users × items, the columns of the table, and which ratings count; or None.
    """

    name: str
    train: Split
    valid: Split
    test: Split
    shape: tuple[int, ...]
    kind: str
    low: float
    high: float
    num_levels: int | None
    sha256: str
    likelihood: str
    decode: Callable[[jax.Array], jax.Array]
    factor_names: tuple[str, ...] | None = None
    factor_sizes: tuple[int, ...] | None = None
    classes: tuple[int | str, ...] | None = None
    unlabeled: str = ""
    columns: tuple[str, ...] | None = None
    alphabet: tuple[str, ...] | None = None
    has_missing: bool = False
    scaling: Scaling | None = None
    schema: Schema | None = None
    notes: tuple[str, ...] = ()
    streamed: bool = False
    is_whole: bool = False
    manifest: tuple[Mapping[str, Any], ...] = ()
    framing: Framing | None = None
    ratings: Ratings | None = None

    def __post_init__(self):
        labels.refuse_twice(self.classes or ())

    @property
    def is_mixed(self) -> bool:
        """Whether the columns of a table are of kinds with several likelihoods (a scalar)."""
        return self.schema is not None and self.likelihood == "mixed"

    @property
    def parts(self) -> tuple[tuple[str, int], ...]:
        """For `likelihoods.make`: the likelihood and width of each column; () unless mixed."""
        return self.schema.parts if self.is_mixed else ()

    def wave(self, x: np.ndarray) -> np.ndarray:
        """A decoded series of frames as sound, see `Framing.wave`.

        Args:
            x: [T, C], as decoded.

        Returns:
            [n] samples in [−1, 1], `framing.rate` per second.

        Raises:
            UsageError: the data are no recordings.
        """
        if self.framing is None:
            raise UsageError(f"{self.name}: holds no recordings, which alone become sound")
        frames = np.asarray(x, np.float64)
        if self.scaling is not None:
            frames = frames * self.scaling.scale.ravel() + self.scaling.offset.ravel()
        return self.framing.wave(frames)

    def _lines(self) -> dict[str, str]:
        """A short summary, as name → value."""
        sizes = (f"{len(split):,}" for split in (self.train, self.valid, self.test))
        values = f"{self.low:.4g} to {self.high:.4g}"
        if self.num_levels is not None:
            values = f"{self.num_levels:,} levels from 0 to 1"
        if self.alphabet is not None:
            values = f"{len(self.alphabet):,} characters and an end"
        told = {
            "x": f"{self.kind}, {'×'.join(map(str, self.shape))}",
            "values": values,
            "train, valid, test": ", ".join(sizes),
            "customary p(x|z)": self.likelihood,
        }
        if self.classes is not None:
            told["classes"] = labels.named(self.classes)
        if self.factor_names is not None:
            told["factors"] = ", ".join(self.factor_names)
        return {name: text if len(text) <= 200 else f"{text[:199]}…" for name, text in told.items()}

    def __repr__(self) -> str:
        return f"Dataset({'; '.join([self.name, *(f'{n} {t}' for n, t in self._lines().items())])})"

    def _repr_html_(self) -> str:
        rows = (
            f"<tr><th>{html.escape(name)}</th><td>{html.escape(text)}</td></tr>"
            for name, text in self._lines().items()
        )
        return f"<table><caption>{html.escape(self.name)}</caption>{''.join(rows)}</table>"


def to_float32(x: np.ndarray) -> np.ndarray:
    """Values of any shape in float32."""
    return x.astype(np.float32)


def decode_real(x: jax.Array) -> jax.Array:
    """Decodes values that are stored unchanged: x.

    Args:
        x: [B, *shape], any real dtype.

    Returns:
        [B, *shape] float32.
    """
    return x.astype(jnp.float32)


def decode_levels(x: jax.Array, *, num_levels: int) -> jax.Array:
    """Decodes stored levels to the unit interval: x / (num_levels - 1).

    Args:
        x: [B, *shape], integers 0 … num_levels - 1.
        num_levels: number of levels (scalar).

    Returns:
        [B, *shape] float32 in [0, 1].
    """
    return x.astype(jnp.float32) / (num_levels - 1)


def divide(
    parts: Mapping[str, Split],
    num_valid: int | None = None,
    *,
    name: str,
    may_train: Mapping[str, np.ndarray] | None = None,
) -> tuple[Split, Split, Split]:
    """Makes train, valid and test from the splits of the source; the same rows every time.

    Args:
        parts: 'valid' and 'test' are kept; missing ones are held out of 'train'. A single part
            'all' is split 80 / 10 / 10. Each [N, *stored].
        num_valid: rows to hold out for validation (scalar); None means 10 % of the rows, at most
            5,000 if the source has its own train split.
        name: name of the dataset, for messages.
        may_train: which rows of a part may be in train or valid, [N]; the others are test rows if
            test is held out of that part, else they are left out. None: all may.

    Returns:
        (train, valid, test), each in the order of the source.

    Raises:
        UsageError: if `num_valid` leaves nothing to train on, or the source has its own 'valid'.
    """
    has_valid, has_test = ("valid" in parts), ("test" in parts)
    allowed = {k: np.flatnonzero(rows) for k, rows in (may_train or {}).items()}
    if has_valid and "valid" in allowed:
        parts = {**parts, "valid": parts["valid"][allowed["valid"]]}
    if has_valid and num_valid is not None:
        raise UsageError(
            f"num_valid={num_valid}: {name} comes with its own {len(parts['valid'])} rows for"
            " validation; leave num_valid out"
        )
    source = "all" if "all" in parts else "train"
    whole = parts[source]
    own = allowed.get(source, np.arange(len(whole)))
    if has_valid and has_test:
        train = whole[own] if source in allowed else whole
        return train, parts["valid"], parts["test"]

    order = own[np.random.default_rng(_SEED).permutation(len(own))]
    num_test = 0 if has_test else max(1, len(own) // 10)
    num_rows = len(own) - num_test
    if has_valid:
        num_valid = 0
    elif num_valid is None:
        num_valid = num_test or min(len(own) // 10, 5_000)
    if not 0 <= num_valid < num_rows:
        raise UsageError(
            f"num_valid={num_valid}: must be >= 0 and leave some of the {num_rows} rows of"
            f" {name} to train on"
        )
    test, valid, train = np.split(order, [num_test, num_test + num_valid])
    if len(own) < len(whole):
        test = np.append(test, np.setdiff1d(np.arange(len(whole)), own))
    return (
        whole[np.sort(train)],
        parts["valid"] if has_valid else whole[np.sort(valid)],
        parts["test"] if has_test else whole[np.sort(test)],
    )


def customary_likelihood(num_levels: int | None) -> str:
    """The default likelihood for this many levels (a scalar), if nothing else is known."""
    return "bernoulli" if num_levels == 2 else "gaussian"


def image_dataset(
    name: str,
    parts: Mapping[str, Split],
    num_valid: int | None,
    *,
    num_levels: int,
    sha256: str,
    likelihood: str | None = None,
    shape: tuple[int, ...] | None = None,
    decode: Callable[[jax.Array], jax.Array] | None = None,
    **metadata,
) -> Dataset:
    """A dataset of images whose values are levels in [0, 1].

    Args:
        name: name of the dataset.
        parts: the source's own splits, as for `divide`, each [N, *stored].
        num_valid: rows to hold out for validation (scalar), or None for the default.
        num_levels: number of levels (scalar).
        sha256: SHA-256 of the content of the source.
        likelihood: the default p(x|z); None means `customary_likelihood`.
        shape: (H, W, C) of a decoded image; None if it is stored in this shape.
        decode: stored [B, *stored] -> [B, *shape]; None if levels are stored as integers.
        **metadata: classes, factor_names, factor_sizes, notes and streamed, as in `Dataset`.

    Returns:
        The `Dataset`, its splits [N, *stored].

    Raises:
        UsageError: if `num_valid` does not fit.
    """
    train, valid, test = divide(parts, num_valid, name=name)
    return Dataset(
        name=name,
        train=train,
        valid=valid,
        test=test,
        shape=shape or train.x.shape[1:],
        kind="image",
        low=0.0,
        high=1.0,
        num_levels=num_levels,
        sha256=sha256,
        likelihood=likelihood or customary_likelihood(num_levels),
        decode=decode or functools.partial(decode_levels, num_levels=num_levels),
        **metadata,
    )


def check(dataset: Dataset, requires: str, *, what: str) -> None:
    """Refuses a dataset whose values do not fit a likelihood.

    Args:
        dataset: its range and levels are checked, not the values of its splits [N, *stored].
        requires: 'unit' (values in [0, 1]), 'open' (in (0, 1)), 'levels' (discrete values),
            'counts' (whole numbers of at least 0), 'text' (characters), 'columns' (of a table, of
            several kinds) or 'real' (numbers of a magnitude that a likelihood's variance supports).
        what: the setting that requires it, as the user wrote it: 'likelihood=bernoulli'.

    Raises:
        DataError: the values do not fit; the message names them, what is allowed and the remedy.
        ValueError: `requires` is not one of these.
    """
    values = ranges.Values(
        dataset.low,
        dataset.high,
        dataset.num_levels,
        is_text=dataset.alphabet is not None,
        is_whole=dataset.is_whole,
        is_mixed=dataset.is_mixed,
    )
    is_image = dataset.kind == "image"
    levels = "uint8 (binary data, or integers 0 … 255)" if is_image else "0 and 1 alone"
    remedies = {
        **_REMEDIES,
        "text": f"take likelihood={dataset.likelihood}",
        "columns": "take likelihood=mixed, or kinds=numeric for complete rows of numbers alone"
        if dataset.is_mixed
        else f"take likelihood={dataset.likelihood}",
        "levels": f"store the data as {levels}, or take likelihood=gaussian",
        "counts": f"{_of_counts(dataset)}take likelihood=gaussian",
    }
    ranges.check(values, requires, what=what, holder=dataset.name, remedies=remedies)


def _of_counts(dataset: Dataset) -> str:
    """How data that may be counts, splits [N, *stored], are read as counts, or ""."""
    if dataset.scaling is not None:
        return "if the data are counts, keep them with scaling=none, or "
    if dataset.num_levels is not None:
        return "if the data are counts, store them as int32 and take scaling=none, or "
    return ""


_REMEDIES = {
    "open": "move them inside, 0.01 + 0.98 · (x − low) / (high − low) say, or take "
    "likelihood=gaussian",
    "unit": "rescale them with scaling=unit, or take likelihood=gaussian",
    "large": "rescale them with scaling=unit",
    "small": "rescale them with scaling=unit",
}
"""Kind of problem → remedy, see `ranges.check`."""


def data_file(data_dir: Path, *parts: str) -> Path:
    """The path of a file below the data directory.

    Args:
        data_dir: the folder of all datasets.
        *parts: folder and file name below it (a path of any shape).

    Returns:
        The path of an existing file.

    Raises:
        DataError: there is no such file; the message names the path and how to use another folder.
    """
    path = data_dir.joinpath(*parts)
    if not path.is_file():
        raise DataError(
            f"{path}: no such file; put it there, or name the folder that holds"
            f" {'/'.join(parts)} with `data_dir` or VAE_JAX_DATA_DIR"
        )
    return path


def sha256_of_arrays(arrays: Iterable[np.ndarray | FileRows]) -> str:
    """SHA-256 of the dtype, shape and values of arrays, in order.

    Args:
        arrays: any number of arrays of any shape [N, …].

    Returns:
        64 hexadecimal digits.
    """
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        for _, block in blocks(array):
            digest.update(np.ascontiguousarray(block))
    return digest.hexdigest()


def sha256_of_file(path: Path) -> str:
    """SHA-256 of a file's content.

    Args:
        path: the file, with content of any shape.

    Returns:
        64 hexadecimal digits.

    Raises:
        DataError: if it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from None


def sha256_of_folder(folder: Path, paths: Iterable[Path]) -> str:
    """SHA-256 of the names and contents of files below a folder, in order.

    Args:
        folder: contains the files; its own name is not hashed.
        paths: the files, with content of any shape.

    Returns:
        64 hexadecimal digits.

    Raises:
        DataError: if one cannot be read.
    """
    lines = (f"{path.relative_to(folder).as_posix()} {sha256_of_file(path)}\n" for path in paths)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def other_content(name: str | Path, found: str, expected: str) -> DataError:
    """The error for data (of any shape) with another hash than required.

    Args:
        name: name of the dataset, or its path.
        found: SHA-256 of the data.
        expected: the required SHA-256.

    Returns:
        The error, to be raised.
    """
    return DataError(
        f"{name}: SHA-256 of the data is {found}, of those that are wanted {expected}: name the"
        " folder of those by `data_dir`"
    )


def mismatch(path: Path, found: str, expected: str) -> DataError:
    """The error for a file whose content (of any shape) is wrong.

    Args:
        path: the file.
        found: SHA-256 of its content.
        expected: the correct SHA-256.

    Returns:
        The error, to be raised.
    """
    return DataError(
        f"{path}: SHA-256 of its content is {found}, expected {expected}: the file is damaged or"
        " another one; fetch the original again"
    )
