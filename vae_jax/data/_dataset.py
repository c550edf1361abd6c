"""What every source becomes: three splits as stored, how to decode them, what their values are."""

import dataclasses
import functools
import hashlib
import html
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from vae_jax import labels, memory, ranges
from vae_jax.data._npy import FileRows
from vae_jax.errors import DataError, UsageError

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
]

_SEED = 0  # of the one permutation that makes the splits: other splits are another dataset
_BLOCK_BYTES = 2**24  # what is looked at or converted at a time
_ALIGNMENT = 64  # bytes: from there JAX takes memory of the host for a CPU device's as it lies
_MEMORY_SHARE = 1 / 3  # of what reading may take; data that takes more is streamed by itself
_BYTES_OF_ORDER = 24  # of each row, while rows are dealt to splits
_BYTES_OF_PLACE = 64  # of each value of a row: its extremes, mean and deviation, and a block of one


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Rows:
    """A read-only view of an array's rows: chosen and converted when they are asked for.

    Attributes:
        source: [M, *raw], in memory or in a file.
        index: [N], which rows of the source these are, ascending; None means all.
        conversions: done one after another, each [B, *any] -> [B, *other], element by element.
    """

    source: np.ndarray | FileRows
    index: np.ndarray | None = None
    conversions: tuple[Callable[[np.ndarray], np.ndarray], ...] = ()

    def __repr__(self) -> str:
        return f"Rows({self.dtype}{list(self.shape)})"

    @functools.cached_property
    def _empty(self) -> np.ndarray:
        return self.convert(np.empty((0, *self.source.shape[1:]), self.source.dtype))

    @property
    def shape(self) -> tuple[int, ...]:
        """[N, *stored], as converted."""
        return (len(self), *self._empty.shape[1:])

    @property
    def dtype(self) -> np.dtype:
        """Of the converted values."""
        return self._empty.dtype

    @property
    def nbytes(self) -> int:
        """Bytes that the converted values would take in memory (scalar)."""
        return math.prod(self.shape) * self.dtype.itemsize

    def __len__(self) -> int:
        return len(self.source if self.index is None else self.index)

    def __getitem__(self, rows: slice | np.ndarray) -> np.ndarray:
        """Rows as an ordinary array in memory.

        Args:
            rows: a slice, or integers [...], each in [-N, N).

        Returns:
            [..., *stored], in the order asked for.

        Raises:
            DataError: if the file that holds them has changed or cannot be read.
        """
        return self.convert(self.source[rows if self.index is None else self.index[rows]])

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        """All rows [N, *stored] for np.asarray, which would ask for them one by one."""
        return np.array(self.in_memory(), dtype, copy=copy)

    def convert(self, x: np.ndarray) -> np.ndarray:
        """Values [B, *raw] of the source as these rows return them, [B, *stored]."""
        for conversion in self.conversions:
            x = conversion(x)
        return x

    def map(self, conversion: Callable[[np.ndarray], np.ndarray]) -> "Rows":
        """The same rows [N, *stored], converted once more when they are asked for."""
        return dataclasses.replace(self, conversions=(*self.conversions, conversion))

    def select(self, rows: np.ndarray) -> "Rows":
        """Some of these rows [N, *stored], still unread: those at `rows`, [n] ascending."""
        return dataclasses.replace(self, index=rows if self.index is None else self.index[rows])

    def in_memory(self) -> np.ndarray:
        """All rows [N, *stored] as an ordinary array."""
        if self.index is None and not self.conversions:
            return self.source[:]
        x = _aligned(self.shape, self.dtype)
        for start, block in blocks(self):
            x[start : start + len(block)] = block
        return _sealed(x)


def _aligned(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """An array to be written, which JAX need not copy to have it on a CPU device."""
    num_bytes = math.prod(shape) * dtype.itemsize
    memory = np.empty(num_bytes + _ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % _ALIGNMENT
    return memory[start : start + num_bytes].view(dtype).reshape(shape)


def _sealed(x: np.ndarray) -> np.ndarray:
    """The same array, no longer to be written: a device may hold this very memory."""
    x.flags.writeable = False
    return x


def _chosen(x: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Rows of x [N, *stored] at integers [n] in [0, N), ready for a device: [n, *stored]."""
    into = _aligned((len(rows), *x.shape[1:]), x.dtype)
    # the rows are there: "raise" would look for them in a copy
    return _sealed(np.take(x, rows, axis=0, out=into, mode="clip"))


def rows_per_block(shape: tuple[int, ...], dtype: np.dtype) -> int:
    """How many rows are looked at or converted at a time, so that their bytes are bounded.

    Args:
        shape: [N, *stored].
        dtype: of what is stored.

    Returns:
        The number (scalar), at least 1.
    """
    return max(1, _BLOCK_BYTES // max(1, math.prod(shape[1:]) * dtype.itemsize))


def blocks(x: np.ndarray | FileRows | Rows) -> Iterator[tuple[int, np.ndarray]]:
    """Blocks of consecutive rows, the same ones wherever the rows lie.

    Args:
        x: [N, *stored].

    Yields:
        (number of the block's first row, [n, *stored] in memory).
    """
    source = x.source if isinstance(x, Rows) else x
    num_rows = rows_per_block(source.shape, source.dtype)
    for start in range(0, len(x), num_rows):
        yield start, x[start : start + num_rows]


def is_streamed(loading: str, num_bytes: int) -> bool:
    """Whether data stays on disk, to be read block by block.

    Args:
        loading: 'stream', 'memory', or 'auto': if it takes over a third of what reading may.
        num_bytes: that the rows to learn from take as stored (scalar).

    Returns:
        The answer.
    """
    if loading != "auto":
        return loading == "stream"
    return num_bytes > _MEMORY_SHARE * memory.limit_bytes()


def bytes_to_convert(shape: tuple[int, ...], dtype: np.dtype, *, stays: bool = False) -> int:
    """What data take from when they are read until they are ready to learn from, estimated.

    As they lie, as they will be stored, the order of the rows, and what is known of each place.

    Args:
        shape: [N, *stored].
        dtype: as they lie.
        stays: whether they lie in a file, and rows are converted when they are needed.

    Returns:
        Bytes at the peak (scalar).
    """
    width = math.prod(shape[1:])
    is_image = len(shape) > 2
    stored = 1 if dtype.itemsize == 1 and is_image else np.dtype(np.float32).itemsize
    rows = 0 if stays else shape[0] * width * (dtype.itemsize + stored)
    return rows + shape[0] * _BYTES_OF_ORDER + width * _BYTES_OF_PLACE


@dataclasses.dataclass(frozen=True, eq=False)
class Scaling:
    """What was done to the values of a source: (value − offset) / scale, float32.

    Attributes:
        offset: a scalar, or one for each column, [1, D].
        scale: likewise.
        is_cut: whether what came out below 0 and above 1 became 0 and 1.
    """

    offset: np.ndarray | float
    scale: np.ndarray | float
    is_cut: bool = False

    def uncut(self, x: np.ndarray) -> np.ndarray:
        """Values [B, *stored], shifted and divided in the precision of the source."""
        values = x - self.offset
        with np.errstate(over="ignore"):  # clipped, or refused by who asked for it
            values /= self.scale
        return values

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Values [B, *stored] of the source as x, [B, *stored] float32."""
        values = self.uncut(x)
        with np.errstate(over="ignore"):
            return (np.clip(values, 0, 1) if self.is_cut else values).astype(np.float32)


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Split:
    """One part of a dataset, as stored.

    Attributes:
        x: [N, *stored], in the smallest dtype that loses nothing; in memory, or `Rows` of a file.
        labels: [N] int32, the class of each row, 0 … C − 1, and −1 where it is unknown; or None.
        factors: [N, F] int32, the index of each ground-truth factor, or None.
        condition: [N, C] float32, numbers that x may be given, or None.
    """

    x: np.ndarray | Rows
    labels: np.ndarray | None = None
    factors: np.ndarray | None = None
    condition: np.ndarray | None = None

    def __repr__(self) -> str:
        held = ("labels", "factors", "condition")
        beside = "".join(f", {name}" for name in held if getattr(self, name) is not None)
        return f"Split({len(self):,} × {self.x.dtype}{list(self.x.shape[1:])}{beside})"

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, rows: np.ndarray) -> "Split":
        """Some of its rows: those at integers [n] in [0, N)."""
        return Split(
            self.x.select(rows) if isinstance(self.x, Rows) else _chosen(self.x, rows),
            None if self.labels is None else self.labels[rows],
            None if self.factors is None else self.factors[rows],
            None if self.condition is None else self.condition[rows],
        )


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """A named dataset: its splits, and what a model and a likelihood must know about its values.

    Attributes:
        name: what it was asked for as; for a user's file the file's stem.
        train: rows to learn from, [N, *stored].
        valid: rows held out of training, [N, *stored]; N is 0 where none were wanted.
        test: rows for the reported numbers, [N, *stored].
        shape: of one decoded example: (H, W, C), or (D,) for a table; of a sequence the first axis
            is time, (T,) for text, else (T, C).
        kind: 'image', 'table' or 'sequence'.
        low: the least decoded value of any split; 0 by definition where `num_levels` is set.
        high: the greatest decoded value of any split; 1 by definition where `num_levels` is set.
        num_levels: decoded values are k / (num_levels - 1), k = 0, 1, …; None if continuous.
        sha256: of the content of the source (of a user's file, of the file), hexadecimal.
        likelihood: name of the customary p(x|z), taken where none is asked for.
        decode: stored [B, *stored] -> float32 [B, *shape]; pure, made to run inside the jitted
            step, so that what lies in the device's memory stays as small as what is stored.
        factor_names: of the F factors, or None.
        factor_sizes: how many values each of the F factors takes, or None.
        classes: the user's own values of the labels 0 … C − 1, ascending whole numbers or words; or
            None.
        unlabeled: why labels that the source has were left out, in words; or "".
        columns: what the D columns of a table, or the C channels of its windows, are called; or
            None.
        alphabet: of text the characters that the levels 1, 2, … stand for, level 0 is the end; or
            None.
        has_missing: whether decoded values may be NaN: what follows the end of a sequence.
        scaling: of a user's own continuous data, what was done to its values, or None.
        notes: one line for each conversion that was done, for the log.
        streamed: whether the rows to learn from are to be fed to the device block by block, as
            data larger than memory must be.
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
    notes: tuple[str, ...] = ()
    streamed: bool = False

    def __post_init__(self):
        labels.refuse_twice(self.classes or ())

    def _lines(self) -> dict[str, str]:
        """What there is to say, in a few words each."""
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


def decode_real(x: jax.Array) -> jax.Array:
    """Decode values that are stored as they are: x.

    Args:
        x: [B, *shape], any real dtype.

    Returns:
        [B, *shape] float32.
    """
    return x.astype(jnp.float32)


def decode_levels(x: jax.Array, *, num_levels: int) -> jax.Array:
    """Decode stored levels to the unit interval: x / (num_levels - 1).

    Args:
        x: [B, *shape], integers 0 … num_levels - 1.
        num_levels: how many levels there are (scalar).

    Returns:
        [B, *shape] float32 in [0, 1].
    """
    return x.astype(jnp.float32) / (num_levels - 1)


def divide(
    parts: Mapping[str, Split], num_valid: int | None = None, *, name: str
) -> tuple[Split, Split, Split]:
    """Make train, valid and test of what the source has; the same rows every time.

    Args:
        parts: 'valid' and 'test' are kept as they are; what is missing of them is held out of
            'train'. One part 'all' is dealt 80 / 10 / 10. Each [N, *stored].
        num_valid: rows to hold out for validation (scalar); None means 10 % of the rows, of a
            source's own train split at most 5,000.
        name: of the dataset, for messages.

    Returns:
        (train, valid, test), each in the order of the source.

    Raises:
        UsageError: if `num_valid` leaves nothing to train on, or the source has its own 'valid'.
    """
    has_valid, has_test = ("valid" in parts), ("test" in parts)
    if has_valid and num_valid is not None:
        raise UsageError(
            f"num_valid={num_valid}: {name} comes with its own {len(parts['valid'])} rows for"
            " validation; leave num_valid out"
        )
    if has_valid and has_test:
        return parts["train"], parts["valid"], parts["test"]

    whole = parts["all" if "all" in parts else "train"]
    order = np.random.default_rng(_SEED).permutation(len(whole))
    num_test = 0 if has_test else max(1, len(whole) // 10)
    num_rows = len(whole) - num_test
    if has_valid:
        num_valid = 0
    elif num_valid is None:
        num_valid = num_test or min(len(whole) // 10, 5_000)
    if not 0 <= num_valid < num_rows:
        raise UsageError(
            f"num_valid={num_valid}: must be >= 0 and leave some of the {num_rows} rows of"
            f" {name} to train on"
        )
    test, valid, train = np.split(order, [num_test, num_test + num_valid])
    return (
        whole[np.sort(train)],
        parts["valid"] if has_valid else whole[np.sort(valid)],
        parts["test"] if has_test else whole[np.sort(test)],
    )


def customary_likelihood(num_levels: int | None) -> str:
    """The likelihood for data of so many levels (a scalar) of which no more is known."""
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
        name: of the dataset.
        parts: the source's own splits as `divide` takes them, each [N, *stored].
        num_valid: rows to hold out for validation (scalar), or None for the default.
        num_levels: how many levels there are (scalar).
        sha256: of the content of the source.
        likelihood: the customary p(x|z); None means `customary_likelihood`.
        shape: (H, W, C) of a decoded image; None where it is stored so.
        decode: stored [B, *stored] -> [B, *shape]; None where the levels are stored as integers.
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
    """Refuse a dataset whose values do not fit what is to be done with them.

    Args:
        dataset: its range and levels are looked at; its splits [N, *stored] are not.
        requires: 'unit' (values in [0, 1]), 'levels' (discrete values), 'text' (characters) or
            'real' (numbers of a size that a likelihood's variance can have).
        what: who requires it, as the user wrote it: 'likelihood=bernoulli'.

    Raises:
        DataError: naming the values, what is allowed and the remedy.
        ValueError: if `requires` is none of the four.
    """
    values = ranges.Values(
        dataset.low, dataset.high, dataset.num_levels, is_text=dataset.alphabet is not None
    )
    is_image = dataset.kind == "image"
    levels = "uint8 (binary data, or integers 0 … 255)" if is_image else "0 and 1 alone"
    remedies = {
        **_REMEDIES,
        "text": f"take likelihood={dataset.likelihood}",
        "levels": f"store the data as {levels}, or take likelihood=gaussian",
    }
    ranges.check(values, requires, what=what, holder=dataset.name, remedies=remedies)


_REMEDIES = {
    "unit": "rescale them with scaling=unit, or take likelihood=gaussian",
    "large": "rescale them with scaling=unit",
    "small": "rescale them with scaling=unit",
}
"""What to do by what is wrong, see `ranges.check`."""


def data_file(data_dir: Path, *parts: str) -> Path:
    """The path of a file below the data directory.

    Args:
        data_dir: the folder of all datasets.
        *parts: folder and file name below it (of any shape of path).

    Returns:
        The path, which exists.

    Raises:
        DataError: naming the path that was looked for and how to point elsewhere.
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
        path: the file, whatever the shape of what it holds.

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
    """SHA-256 of files' names below a folder and of their contents, in order.

    Args:
        folder: holds the files; its own name does not count.
        paths: the files, whatever the shape of what they hold.

    Returns:
        64 hexadecimal digits.

    Raises:
        DataError: if one cannot be read.
    """
    lines = (f"{path.relative_to(folder).as_posix()} {sha256_of_file(path)}\n" for path in paths)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def other_content(name: str | Path, found: str, expected: str) -> DataError:
    """The error for data (of any shape) other than those that were asked for by their hash.

    Args:
        name: of the dataset, or its path.
        found: SHA-256 of what is there.
        expected: SHA-256 of what was asked for.

    Returns:
        The error, to be raised.
    """
    return DataError(
        f"{name}: SHA-256 of the data is {found}, of those that are wanted {expected}: name the"
        " folder of those by `data_dir`"
    )


def mismatch(path: Path, found: str, expected: str) -> DataError:
    """The error for a file whose content (of any shape) is not what it should be.

    Args:
        path: the file.
        found: SHA-256 of what it holds.
        expected: SHA-256 of what it should hold.

    Returns:
        The error, to be raised.
    """
    return DataError(
        f"{path}: SHA-256 of its content is {found}, expected {expected}: the file is damaged or"
        " another one; fetch the original again"
    )
