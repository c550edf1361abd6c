"""Bits-back coding: rows to a file and back, with the model's own q(z|x), p(x|z) and p(z).

To push a row: pop a code z with q(z|x), push x with p(x|z), push z with p(z). On average this takes
−ELBO: the bits of z that are popped come back when the decoder, which then knows x, pushes them.
"""

import dataclasses
import hashlib
import itertools
import math
import os
import platform
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import numpy as np

from vae_jax import arguments, forms, memory
from vae_jax.applying import Worker
from vae_jax.devices import hardware
from vae_jax.errors import DataError, UsageError, printable, shown
from vae_jax.likelihoods import MANY_LEVELS
from vae_jax.lossless import ans, container
from vae_jax.lossless.baselines import Baselines
from vae_jax.lossless.tables import (
    PRECISION,
    PRIOR_BITS,
    Tables,
    batch_size_for,
    check,
    num_levels,
)
from vae_jax.uses import Score

__all__ = ["Compressed", "compress", "decompress", "decompressed"]

_BLOCK_BYTES = 2**22
_GROWTH = 4


class Compressed(NamedTuple):
    """A file, and what it takes for each number of the rows.

    Attributes:
        data: the bytes of the file, a scalar.
        bits: name → bits for each number, scalars: `file`; `coded`, without the header; `net`,
            without the initial bits, too; `elbo`, the negative ELBO; then other codes. {} without
            rows.
        initial_bits: bits that were popped before any was pushed, a count.
    """

    data: bytes
    bits: dict[str, float]
    initial_bits: int


class _Alphabet:
    """The rows of a user, [N, …], as indices of values, and back.

    Attributes:
        num_values: V, a count.

    Args:
        trained: see `compress`.
        dtype, shape: of all rows, [N, …].
        num_values: V if it is known.
        where: what the rows are called in messages.
    """

    def __init__(self, trained: Any, dtype: Any, shape: tuple, num_values: int | None, where: str):
        found = forms.of(trained.model, trained.dataset, trained.preprocess, trained.about)
        form = dataclasses.replace(found, where=where)
        if form.schema is not None:
            raise UsageError(
                f"{where}: the model was trained on a table with names, of which a file holds "
                "neither names nor words: train on an array of levels"
            )
        self._model, self._where = trained.model, where
        self._form, self._dtype, self._shape = form, np.dtype(dtype), shape
        self._is_count = trained.model.likelihood.requires == "counts"
        self.num_values = num_values

    def symbols(self, rows: np.ndarray) -> np.ndarray:
        """The index of each value, integers [b, D]; rows [b, …] that may be none are NaN."""
        stored = self._form.of_array(rows)
        x = np.asarray(self._form.preprocess(stored, jax.random.key(0)), np.float64)
        x = x.reshape(len(rows), math.prod(self._model.shape))
        if np.isnan(x).any():
            raise DataError(
                f"{self._where}: has missing values, which a file cannot hold: leave these rows out"
            )
        return np.rint(x if self._is_count else x * (self.num_values - 1)).astype(np.int64)

    def rows(self, symbols: np.ndarray) -> np.ndarray:
        """The rows [b, …] of indices [b, D]: the inverse of `symbols`."""
        x = symbols.astype(np.float32)
        x = x if self._is_count else x / np.float32(self.num_values - 1)
        like = np.empty(0, self._dtype)
        found = self._form.array(x.reshape(-1, *self._model.shape), like)
        return found.astype(self._dtype).reshape(len(symbols), *self._shape[1:])

    def check(self, rows: np.ndarray, symbols: np.ndarray, first_row: int) -> None:
        """Raises DataError unless rows [b, …] can be told from their symbols [b, D]."""
        found = self.rows(np.clip(symbols, 0, self.num_values - 1))
        if found.tobytes() == rows.tobytes():
            return
        size = rows.dtype.itemsize
        pair = (np.ascontiguousarray(v).view(np.uint8).reshape(-1, size) for v in (found, rows))
        place = int(np.flatnonzero((next(pair) != next(pair)).any(axis=1))[0])
        row = first_row + place // max(1, rows[0].size)
        raise DataError(
            f"{self._where}: {rows.ravel()[place]} in row {row + 1:,} is no value of the model, "
            f"which would give {found.ravel()[place]} back: give the values it was trained on, "
            "such as 0 and 1 for likelihood=bernoulli"
        )


def compress(
    trained: Any,
    rows: Any,
    *,
    batch_size: int | None = None,
    has_baselines: bool = False,
    where: str = "rows",
) -> Compressed:
    """Compresses rows without loss, by bits-back coding with a trained model.

    Memory holds the compressed words and a block of rows.

    Args:
        trained: a `vae_jax.Trained` with Gaussian codes and a p(x|z) of discrete values.
        rows: [N, *shape], the values of its training; an array, or what has `shape`, `dtype` and
            slices, such as a file.
        batch_size: rows at a time, a count; None takes what fits in 32 MiB, at most 64.
        has_baselines: whether other codes are measured, too.
        where: what the rows are called in messages.

    Raises:
        UsageError: the model cannot do it.
        DataError: the rows have values that the model cannot tell apart.

    Reference:
        Townsend, Bird & Barber 2019, Practical lossless compression with latent variables using
        bits back coding, arXiv 1901.04866.
    """
    check(trained.model, trained.params)
    if isinstance(rows, jax.Array | list | tuple):
        rows = np.asarray(rows)
    if not hasattr(rows, "dtype"):
        raise UsageError(f"rows={shown(rows)}: must be an array [N, …]: give numpy.asarray(rows)")
    values = num_levels(trained.model) or _num_counts(rows, where)
    alphabet = _Alphabet(trained, rows.dtype, rows.shape, values, where)
    bits, digest = _surveyed(trained, rows, alphabet, has_baselines)
    size = batch_size_for(trained.model, values)
    if batch_size is not None:
        size = min(size, arguments.integer("batch_size", batch_size, 1))
    tables = Tables(trained.model, trained.params, size, values)
    batches = _Batches.of(len(rows), size)
    heads = np.full(batches.num_lanes, ans.EMPTY, np.uint64)
    coder, stop = ans.Coder(heads, np.zeros(0, np.uint32), is_bottomless=True), len(rows)
    for num in batches:  # the decoder begins with what was pushed last, the first rows
        stop -= num
        _push(coder, tables, alphabet.symbols(rows[stop : stop + num]), stop)
    contents = container.Contents(
        tuple(rows.shape),
        rows.dtype.str,
        values,
        size,
        digest,
        _of_params(trained),
        tables.fingerprint().hex(),
        _machine(),
        coder.heads,
        coder.words,
    )
    data, initial = container.pack(contents), 32 * coder.num_initial
    coded, total = contents.num_bits, math.prod(rows.shape)
    if total:
        own = {"file": 8 * len(data), "coded": coded, "net": coded - initial}
        bits = {name: value / total for name, value in own.items()} | bits
    return Compressed(data, bits, initial)


def decompress(trained: Any, data: bytes, *, where: str = "data") -> np.ndarray:
    """The rows of a compressed file.

    Args:
        trained: the model that compressed them.
        data: the bytes of the file, a scalar.
        where: what it is called in messages.

    Returns:
        [N, …], bit for bit as they were.

    Raises:
        UsageError: it was compressed by another model, or on another machine.
        DataError: it is damaged.
    """
    shape, dtype, blocks = decompressed(trained, data, where=where)
    memory.check(where, math.prod(shape) * dtype.itemsize, "decompress to a file")
    return np.concatenate([np.zeros((0, *shape[1:]), dtype), *blocks], dtype=dtype)


def decompressed(
    trained: Any, data: bytes, *, where: str = "data"
) -> tuple[tuple[int, ...], np.dtype, Iterator[np.ndarray]]:
    """`decompress` block by block: (shape [N, …], dtype, the blocks [b, …] in their order).

    After the last block the rows are compared with the hash in the file.
    """
    if not isinstance(data, bytes | bytearray | memoryview):
        raise UsageError(
            f"data={shown(data)}: must be the bytes of a file: give pathlib.Path(path).read_bytes()"
        )
    contents = container.unpack(bytes(data), where)
    check(trained.model, trained.params)
    _check_origin(contents, trained, where)
    _check_sizes(contents, trained.model, where)
    tables = Tables(trained.model, trained.params, contents.batch_size, contents.num_values)
    if tables.fingerprint().hex() != contents.fingerprint:
        raise UsageError(
            f"{where}: this process rounds the probabilities of the model differently: decompress "
            "with the Python environment that compressed it"
        )
    dtype = np.dtype(contents.dtype)
    alphabet = _Alphabet(trained, dtype, contents.shape, contents.num_values, where)
    return contents.shape, dtype, _blocks(contents, tables, alphabet, where)


def _check_sizes(contents: container.Contents, model: Any, where: str) -> None:
    """Raises DataError if the sizes in a file are not those of the model's own files."""
    size, values = math.prod(contents.shape[1:]), contents.num_values
    lanes = _Batches.of(contents.shape[0], contents.batch_size).num_lanes
    if (
        size != math.prod(model.shape)
        or values != (num_levels(model) or values)
        or values > MANY_LEVELS
        or contents.batch_size > batch_size_for(model, values)
        or len(contents.heads) != lanes
    ):
        raise DataError(
            f"{where}: claims {len(contents.heads)} lanes of {size} numbers of {values} values in "
            f"batches of {contents.batch_size}, which the model does not take: make it again"
        )


def _blocks(contents, tables, alphabet, where) -> Iterator[np.ndarray]:
    """Blocks [b, …] of the rows; raises a DataError after the last if they are not right."""
    coder, digest = ans.Coder(contents.heads, contents.words), hashlib.sha256()
    batches = _Batches.of(contents.shape[0], contents.batch_size)
    start = 0
    try:
        for num in reversed(batches):
            block = alphabet.rows(_pop(coder, tables, num, start))
            start += num
            digest.update(block.tobytes())
            yield block
    except DataError as error:
        raise DataError(f"{where}: {error}: make it again") from None
    left = ans.initial_words(len(coder.words))[::-1]
    is_empty = (coder.heads == ans.EMPTY).all() and np.array_equal(coder.words, left)
    if not is_empty or digest.hexdigest() != contents.rows:
        raise DataError(f"{where}: its rows are not those that were compressed: make it again")


# --- A batch of rows, one to a lane


def _push(coder: ans.Coder, tables: Tables, symbols: np.ndarray, first_row: int) -> None:
    """Pushes rows, integers [b, D]; `first_row` is the index of the first."""
    noise = _noise(first_row, len(symbols), len(tables.kept))
    buckets = _pop_all(coder, tables.posterior(symbols), noise)
    _push_all(coder, tables.observation(buckets), symbols)
    uniform = np.ones(len(symbols), np.uint64)
    for place in reversed(range(buckets.shape[1])):
        coder.push(buckets[:, place], uniform, PRIOR_BITS)


def _pop(coder: ans.Coder, tables: Tables, num: int, first_row: int) -> np.ndarray:
    """Pops rows, integers [num, D]: each step of `_push` undone, the last first."""
    buckets = np.empty((num, len(tables.kept)), np.int64)
    uniform = np.ones(num, np.uint64)
    for place in range(buckets.shape[1]):
        buckets[:, place] = coder.peek(num, PRIOR_BITS)
        coder.pop(buckets[:, place], uniform, PRIOR_BITS)
    symbols = _pop_all(coder, tables.observation(buckets))
    noise = _noise(first_row, num, len(tables.kept))
    _push_all(coder, tables.posterior(symbols), buckets, noise)
    return symbols


def _noise(first_row: int, num: int, size: int) -> np.ndarray:
    """Words [num, size] for the code of each row.

    The code of the row before lies on top of a lane. Popped as it is, it would become the code of
    the next row, so that codes are no draws of q(z|x) and the rate is not −ELBO.
    """
    counts = np.arange(first_row * size, (first_row + num) * size, dtype=np.uint64)
    return ans.noise(counts.reshape(num, size))


def _push_all(
    coder: ans.Coder,
    frequencies: np.ndarray,
    symbols: np.ndarray,
    noise: np.ndarray | None = None,
) -> None:
    """Pushes symbols [b, D] with frequencies [b, D, V], the last first; noise [b, D] as popped."""
    own = np.take_along_axis(frequencies, symbols[..., None], axis=2)[..., 0]
    ends = np.cumsum(frequencies, axis=2, dtype=np.uint32)
    starts = np.take_along_axis(ends, symbols[..., None], axis=2)[..., 0] - own
    for place in reversed(range(symbols.shape[1])):
        coder.push(starts[:, place], own[:, place], PRECISION)
        if noise is not None:
            coder.whiten(noise[:, place])


def _pop_all(
    coder: ans.Coder, frequencies: np.ndarray, noise: np.ndarray | None = None
) -> np.ndarray:
    """Pops symbols [b, D] with frequencies [b, D, V], the first first; with noise [b, D] draws."""
    num, size = frequencies.shape[:2]
    ends, symbols = np.cumsum(frequencies, axis=2, dtype=np.uint32), np.empty((num, size), np.int64)
    lanes = np.arange(num)
    for place in range(size):
        if noise is not None:
            coder.whiten(noise[:, place])
        found = coder.peek(num, PRECISION).astype(np.uint32)
        symbol = np.count_nonzero(ends[:, place] <= found[:, None], axis=1)
        own = frequencies[lanes, place, symbol]
        coder.pop(ends[lanes, place, symbol] - own, own, PRECISION)
        symbols[:, place] = symbol
    return symbols


class _Batches(NamedTuple):
    """The rows of each batch in the order in which they are pushed: small batches first.

    What a batch pops before it is pushed comes from the batches before it. So only the first row
    needs initial bits, and not every lane.

    Attributes:
        growing: counts.
        most: rows of the batches that follow, a count.
        num: how many of these there are, a count.
        rest: rows of the last batch, a count, perhaps 0.
    """

    growing: tuple[int, ...]
    most: int
    num: int
    rest: int

    @classmethod
    def of(cls, num_rows: int, most: int) -> "_Batches":
        """The batches of `num_rows` rows, `most` at a time; counts."""
        growing, done = [], 0
        while done // _GROWTH < most and done < num_rows:
            growing.append(min(max(1, done // _GROWTH), num_rows - done))
            done += growing[-1]
        return cls(tuple(growing), most, *divmod(num_rows - done, most))

    def __iter__(self) -> Iterator[int]:
        rest = (self.rest,) if self.rest else ()
        return itertools.chain(self.growing, itertools.repeat(self.most, self.num), rest)

    def __reversed__(self) -> Iterator[int]:
        rest = (self.rest,) if self.rest else ()
        full = itertools.repeat(self.most, self.num)
        return itertools.chain(rest, full, reversed(self.growing))

    @property
    def num_lanes(self) -> int:
        """Rows of the largest batch, a count."""
        full = self.most if self.num else 0
        return max((full, self.rest, *self.growing))


# --- What is known of the rows, the model and the machine


def _parts(rows: Any) -> Iterator[tuple[int, np.ndarray]]:
    """(index of its first row, block) of rows [N, …]."""
    width = max(1, math.prod(rows.shape[1:]) * rows.dtype.itemsize)
    num = max(1, _BLOCK_BYTES // width)
    for start in range(0, len(rows), num):
        yield start, np.ascontiguousarray(rows[start : start + num])


def _num_counts(rows: Any, where: str) -> int:
    """V of rows [N, …] of counts: one more than the largest."""
    if rows.dtype.kind not in "buif":  # the form of the rows refuses it
        return 2
    most = max((np.nanmax(block, initial=0) for _, block in _parts(rows)), default=0)
    if not most < MANY_LEVELS:
        raise DataError(
            f"{where}: holds counts up to {most:,}, must be below {MANY_LEVELS:,}: leave these "
            "rows out"
        )
    return max(2, int(most) + 1)


def _surveyed(trained, rows, alphabet, has_baselines: bool) -> tuple[dict[str, float], str]:
    """Checks rows [N, …]; the bits for each number that are not those of the file, and the hash."""
    worker = Worker(trained, Score(by="elbo", num_samples=1), where=alphabet._where)
    baselines = Baselines(alphabet.num_values) if has_baselines else None
    digest, nats = hashlib.sha256(), 0.0
    for start, block in _parts(rows):
        symbols = alphabet.symbols(block)
        alphabet.check(block, symbols, start)
        digest.update(block.tobytes())
        nats += float(worker.array(block, start).astype(np.float64).sum())
        if baselines is not None:
            baselines.add(block, symbols)
    total = math.prod(rows.shape)
    bits = {"elbo": nats / math.log(2) / total} if total else {}
    return bits | ({} if baselines is None else baselines.bits_per_value()), digest.hexdigest()


def _of_params(trained: Any) -> str:
    """SHA-256 of the parameters and the mask of a model, 64 hex digits."""
    found = hashlib.sha256(repr(trained.model).encode())
    held = {"params": trained.params, "mask": trained.model.latent_mask}
    for path, leaf in jax.tree_util.tree_leaves_with_path(held):
        array = np.ascontiguousarray(leaf)
        found.update(f"{jax.tree_util.keystr(path)} {array.dtype.str} {array.shape}".encode())
        found.update(array.tobytes())
    return found.hexdigest()


def _machine() -> dict[str, str]:
    """What the rounding of a program on the CPU may depend on."""
    import flax
    import jaxlib

    return {
        "system": platform.system(),
        "processor": hardware.processor(),
        "jax": jax.__version__,
        "jaxlib": jaxlib.__version__,
        "flax": flax.__version__,
        "XLA_FLAGS": os.environ.get("XLA_FLAGS", ""),
    }


def _check_origin(contents: container.Contents, trained: Any, where: str) -> None:
    """Raises UsageError unless a file was made by this model, on such a machine."""
    own = _of_params(trained)
    if contents.params != own:
        raise UsageError(
            f"{where}: was compressed by another model (parameters {contents.params[:8]}, these "
            f"are {own[:8]}): give the run that compressed it"
        )
    there = {printable(n)[:200]: printable(v)[:200] for n, v in contents.machine.items()}
    here = _machine()
    told = [
        f"{name} {there.get(name) or 'none'} there, {here.get(name) or 'none'} here"
        for name in dict.fromkeys((*here, *there))
        if there.get(name) != here.get(name)
    ]
    if contents.machine != here:
        raise UsageError(
            f"{where}: was compressed elsewhere ({'; '.join(told)}), and floating-point numbers "
            "may be rounded differently here: decompress where it was compressed"
        )
