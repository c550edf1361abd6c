"""Sequences: lines of text, and the rows of tables as series in time."""

import contextlib
import math
from collections.abc import Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from vae_jax import memory
from vae_jax.data._dataset import Split, is_streamed
from vae_jax.errors import DataError, UsageError

__all__ = [
    "LONGEST",
    "Lines",
    "cut",
    "decode_text",
    "divide_in_time",
    "gaps",
    "gathered",
    "joined",
    "known",
    "read_text",
    "rows_of",
    "spans_of",
    "strings",
    "symbols_of",
]

_BYTES_OF_BYTE = 8  # of a text: bytes, characters and lines
_BYTES_OF_LINE = 256  # as a Python value, numbered, in lists
_MOST_SHOWN = 30  # characters of a line in a message
_BYTES_OF_CHARACTER = 40  # while it becomes a symbol
LONGEST = 4096
"""Most characters of a line, a count: steps run one after the other."""
_BYTES_OF_SYMBOL = 9  # of padded lines while they are filled: 2 × int32 and a bool
_LEAST_SAVED = (
    4  # padded lines of at least this many times the bytes of their characters stay apart
)
_BYTES_OF_BLOCKS = 2**27  # two blocks of a feed: data of this size need no less when streamed
_FAR = 4  # times the length of nearly all lines: what a longest line is told from


class Lines:
    """Lines of text, without padding in memory: rows are padded on access, like [N, T]."""

    def __init__(self, symbols: np.ndarray, lengths: np.ndarray):
        """Wraps the symbols of all lines, one line after the other.

        Args:
            symbols: [sum(lengths)].
            lengths: [N], at least 1.
        """
        self._symbols, self._lengths = symbols, lengths
        self._starts = np.cumsum(lengths) - lengths
        self.shape: tuple[int, int] = (len(lengths), int(lengths.max()))
        self.dtype: np.dtype = symbols.dtype

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice | np.ndarray) -> np.ndarray:
        """Reads lines, padded with 0 to the length of the longest of all.

        Args:
            rows: a slice, or integers [...], each in [-N, N).

        Returns:
            [..., T], in the requested order.
        """
        starts, lengths = self._starts[rows], self._lengths[rows]
        x = np.zeros((*starts.shape, self.shape[1]), self.dtype)
        is_known = np.arange(self.shape[1]) < lengths[..., None]
        # the places of the symbols of the chosen lines, one line after the other
        counts, firsts = lengths.ravel(), starts.ravel()
        before = np.repeat(np.cumsum(counts) - counts, counts)
        x[is_known] = self._symbols[np.repeat(firsts, counts) + np.arange(counts.sum()) - before]
        return x


def read_text(
    path: Path, tally: memory.Tally, loading: str = "auto"
) -> tuple[np.ndarray | Lines, tuple[str, ...], list[str]]:
    """Reads the lines of a text as symbols, one per character.

    Args:
        path: a file in UTF-8.
        tally: the memory of everything that is read together.
        loading: as in `is_streamed`. 'auto' also keeps lines apart if padding them would take much
            memory.

    Returns:
        (symbols [N, T], T the length of the longest line, symbol k > 0 the k-th character, 0 the
            end and everything after it; the characters; notes).

    Raises:
        DataError: it cannot be read, or a line is too long.
    """
    try:
        tally.add(path, path.stat().st_size * _BYTES_OF_BYTE)
        raw = path.read_bytes()
        tally.add(path, raw.count(b"\n") * _BYTES_OF_LINE)
        text = raw.decode("utf-8-sig")
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}: byte {error.start:,} is not UTF-8: convert it, for instance with iconv"
        ) from None
    lines = text.replace("\r\n", "\n").removesuffix("\n").split("\n")
    told = [(number, line) for number, line in enumerate(lines, 1) if line]
    if len(told) < 3:
        raise DataError(
            f"{path}: has {len(told)} lines with characters: must have at least 3, one each to "
            "train, validate and test; an example is a line"
        )
    _refuse_numbers(path, [line for _, line in told])
    number, longest = max(told, key=lambda pair: len(pair[1]))
    if len(longest) > LONGEST:
        raise DataError(
            f"{path}: line {number:,} has {len(longest):,} characters: must be at most "
            f"{LONGEST:,}; break it into sentences, say"
        )
    lengths = np.array([len(line) for _, line in told])
    remedy = f"break its longest line, {number:,}, or leave it out"
    tally.add(path, int(lengths.sum()) * _BYTES_OF_CHARACTER, remedy)
    codes = np.frombuffer("".join(line for _, line in told).encode("utf-32-le"), "<u4")
    characters, symbols = np.unique(codes, return_inverse=True)
    dtype = np.uint8 if len(characters) < 256 else np.int32
    x = Lines((symbols + 1).astype(dtype), lengths)
    notes = [f"lines of {lengths.min()} to {lengths.max()} characters, {len(characters)} kinds"]
    if len(told) < len(lines):
        notes.append(f"{len(lines) - len(told)} empty lines left out")
    notes += _on_length(lengths)
    if _stay_apart(x, int(lengths.sum()), loading):
        notes.append("the lines of a batch are padded when it is made")
        return x, tuple(map(chr, characters.tolist())), notes
    tally.add(path, len(told) * len(longest) * _BYTES_OF_SYMBOL, remedy)
    return x[:], tuple(map(chr, characters.tolist())), notes


def _stay_apart(x: Lines, num_symbols: int, loading: str) -> bool:
    """Whether lines are padded batch by batch: if that is asked for, or saves much memory."""
    num_cells = math.prod(x.shape)
    is_wide = num_cells >= _LEAST_SAVED * num_symbols
    is_large = num_cells * np.dtype(np.int32).itemsize > _BYTES_OF_BLOCKS
    is_kept = loading == "auto" and is_wide and is_large
    return is_kept or is_streamed(loading, num_cells * x.dtype.itemsize)


def _on_length(lengths: np.ndarray) -> list[str]:
    """A note if a few long lines decide the time of each step: [N] counts."""
    usual, longest = int(np.quantile(lengths, 0.99, method="lower")), int(lengths.max())
    if longest < _FAR * usual:
        return []
    return [
        f"99 % of the lines have at most {usual:,} characters, and each step reads {longest:,}: "
        f"without longer lines training is about {longest / usual:.0f} times as fast"
    ]


def _refuse_numbers(path: Path, lines: Sequence[str]) -> None:
    """Refuses lines that are rows of a table: the same number of values, more than one, in each."""
    counts = {len(line.split()) for line in lines}
    if len(counts) > 1 or counts <= {0, 1}:
        return
    with contextlib.suppress(ValueError):
        for line in lines:
            np.array(line.split(), np.float64)
        raise DataError(
            f"{path}: holds {counts.pop()} numbers in every line, which would be read as text: save"
            " them as a table, numpy.save('table.npy', numpy.loadtxt(path)), and give its path"
        )


def decode_text(x: jax.Array, *, num_levels: int) -> jax.Array:
    """Decodes symbols to levels: x / (num_levels − 1), and NaN after the end.

    Args:
        x: [B, T], integers 0 … num_levels − 1, zeros from the end on.
        num_levels: number of symbols (scalar).

    Returns:
        [B, T] float32 in [0, 1], or NaN.
    """
    is_past = jnp.cumsum(x == 0, axis=1) > 1
    return jnp.where(is_past, jnp.nan, x.astype(jnp.float32) / (num_levels - 1))


def symbols_of(lines: np.ndarray, alphabet: Sequence[str], size: int) -> np.ndarray:
    """Converts lines to symbols, the inverse of `strings`.

    Args:
        lines: N strings.
        alphabet: the K characters of the symbols 1 … K.
        size: T, the most characters of a line, a count.

    Returns:
        [N, T] int32, zeros from the end on.

    Raises:
        DataError: a line is longer, or has another character.
    """
    lengths = np.char.str_len(lines).astype(int)
    if (lengths > size).any():
        line = str(lines[int(np.argmax(lengths > size))])
        raise DataError(
            f"the line {line[:_MOST_SHOWN]!r} … has more than the {size:,} characters of the"
            " longest line of training: break it, or leave it out"
        )
    x = np.zeros((len(lines), size), np.int32)
    place = {character: k for k, character in enumerate(alphabet, 1)}
    for row, line in enumerate(lines.tolist()):
        x[row, : len(line)] = [place.get(character, -1) for character in line]
    if (x < 0).any():
        row, column = np.argwhere(x < 0)[0]
        line = str(lines[row])
        raise DataError(
            f"the line {line[:_MOST_SHOWN]!r} has the character {line[column]!r}, which training"
            " did not have: correct it, or leave the line out"
        )
    return x


def strings(x: np.ndarray, alphabet: Sequence[str]) -> list[str]:
    """Converts decoded levels [N, T], with or without NaN after the end, to N strings.

    Args:
        x: [N, T] in [0, 1], level 0 the end.
        alphabet: the K characters of the other levels.
    """
    symbols = np.rint(np.nan_to_num(np.asarray(x)) * len(alphabet)).astype(int)
    lengths = np.argmax(np.pad(symbols, ((0, 0), (0, 1))) == 0, axis=1)
    return [
        "".join(alphabet[k - 1] for k in row[:length])
        for row, length in zip(symbols, lengths, strict=True)
    ]


def spans_of(path: Path, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Converts series to consecutive rows, and the span of each series.

    Args:
        path: path for messages.
        x: [N, T, C] or [N, T], numbers, NaN after the end of series shorter than T, and where a
            value is missing.

    Returns:
        (rows [M, C], spans [N, 2]: the first row and the number of rows of each series).

    Raises:
        DataError: it has another shape or no numbers, or a series has no value.
    """
    if x.dtype.kind not in "buif" or x.ndim not in (2, 3) or 0 in x.shape:
        raise DataError(
            f"{path}: series are {x.dtype} of shape {x.shape}: must be numbers [series, steps] or "
            "[series, steps, channels]"
        )
    x = x.reshape(*x.shape[:2], -1)
    is_known = np.ones(x.shape, bool) if x.dtype.kind != "f" else ~np.isnan(x)
    is_step = is_known.any(axis=2)
    if not is_step.any(axis=1).all():
        empty = int(np.argmin(is_step.any(axis=1)))
        raise DataError(f"{path}: series {empty} holds nothing but NaN: leave it out")
    lengths = x.shape[1] - np.argmax(is_step[:, ::-1], axis=1)
    is_before = np.arange(x.shape[1]) < lengths[:, None]
    return x[is_before], np.stack([np.cumsum(lengths) - lengths, lengths], axis=1)


def gaps(path: Path, rows: np.ndarray, columns: Sequence[str] | None) -> list[str]:
    """A note on the values that are missing in rows of series.

    Args:
        path: path for messages.
        rows: [M, C], NaN where a value is missing.
        columns: names of the C channels, or None.

    Raises:
        DataError: a channel has no value.
    """
    is_missing = np.isnan(rows)
    empty = np.flatnonzero(is_missing.all(axis=0))
    if len(empty):
        name = f"channel {empty[0]}" if columns is None else f"column {columns[empty[0]]!r}"
        raise DataError(f"{path}: {name} holds nothing but missing values: leave it out")
    num = int(is_missing.sum())
    if not num:
        return []
    steps = int(is_missing.all(axis=1).sum())
    return [
        f"{num:,} of {rows.size:,} values of series are missing ({steps:,} of {len(rows):,} whole"
        " steps): they cost nothing, encoders read 0 there"
    ]


def cut(spans: np.ndarray, window: int, hop: int) -> tuple[np.ndarray, np.ndarray]:
    """Windows within series; what does not fill one is dropped at the start.

    Args:
        spans: [N, 2], see `spans_of`; series shorter than a window stay as they are.
        window: W, rows per window, a count.
        hop: rows from the start of a window to the next, a count.

    Returns:
        (spans of the windows [K, 2], the number of the series of each [K]).
    """
    made, owners = [np.zeros((0, 2), int)], [np.zeros(0, int)]
    for number, (start, length) in enumerate(spans):
        size = min(window, length)
        starts = np.arange(start + length - size, start - 1, -hop)[::-1]
        made.append(np.stack([starts, np.full_like(starts, size)], axis=1))
        owners.append(np.full(len(starts), number))
    return np.concatenate(made), np.concatenate(owners)


def divide_in_time(
    num_rows: int, window: int, hop: int, num_valid: int | None, *, name: str
) -> tuple[Split, Split, Split]:
    """Windows of rows that are consecutive in time: the first to train, the last to test.

    No two splits share a row.

    Args:
        num_rows: M, a count.
        window: W, rows per window, a count.
        hop: rows from the start of a window to the next, a count.
        num_valid: number of non-overlapping windows for validation, a count; None: 10 %.
        name: name of the dataset, for messages.

    Returns:
        (train, valid, test), whose x is the spans [N, 2], see `spans_of`.

    Raises:
        DataError: there are fewer than three windows.
        UsageError: `num_valid` is below 0 or leaves nothing to train on.
    """
    num = num_rows // window
    if num_rows < 3:
        raise DataError(
            f"{name}: has {num_rows} rows: must have at least 3, one each to train, validate and "
            "test"
        )
    if num < 3:
        raise DataError(
            f"{name}: has {num_rows} rows, {num} windows of {window}: must have at least 3, one "
            f"each to train, validate and test; give window={num_rows // 3} or less"
        )
    num_test = max(1, num // 10)
    num_valid = num_test if num_valid is None else num_valid
    if num_valid < 0 or num_valid + num_test >= num:
        raise UsageError(
            f"num_valid={num_valid}: must be >= 0 and leave some of the {num - num_test} windows of"
            f" {name} to train on"
        )
    ends = num_rows - window * np.array([num_valid + num_test, num_test, 0])
    splits = []
    for start, end in zip([0, *ends[:-1]], ends, strict=True):
        # rows that do not fill a window are dropped at the start
        starts = np.arange(end - window, start - 1, -hop)[::-1]
        splits.append(Split(np.stack([starts, np.full_like(starts, window)], axis=1)))
    return tuple(splits)


def joined(each: Sequence[Sequence[Split]], lengths: Sequence[int]) -> list[Split]:
    """The splits of several series as those of their rows, one series after the other.

    Args:
        each: the splits of each series, x its spans [N, 2].
        lengths: rows of each series, counts.
    """
    starts = np.cumsum([0, *lengths[:-1]])
    pairs = list(zip(starts, each, strict=True))
    return [
        Split(np.concatenate([own[number].x + np.array([start, 0]) for start, own in pairs]))
        for number in range(len(each[0]))
    ]


def known(rows: np.ndarray, spans: np.ndarray) -> np.ndarray:
    """The numbers [n] of those of N spans [N, 2] in which some value of rows [M, C] is known."""
    counts = np.concatenate([[0], np.cumsum(~np.isnan(rows).all(axis=1))])
    return np.flatnonzero(counts[spans.sum(axis=1)] > counts[spans[:, 0]])


def rows_of(spans: np.ndarray) -> np.ndarray:
    """The distinct rows in spans [N, 2], ascending: [n]."""
    return np.unique(np.concatenate([np.arange(a, a + n) for a, n in spans] or [np.arange(0)]))


def gathered(rows: np.ndarray, spans: np.ndarray, num_steps: int) -> np.ndarray:
    """Rows [M, C] as series [N, T, C] by their spans [N, 2], padded with NaN."""
    steps = np.arange(num_steps)
    is_step = steps < spans[:, 1:]
    x = rows[np.where(is_step, spans[:, :1] + steps, 0)]
    if is_step.all():
        return x
    return np.where(is_step[..., None], x, np.float32(np.nan)).astype(np.float32)
