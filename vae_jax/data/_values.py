"""The values of a user's data: checks that refuse, then conversions with notes."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from vae_jax import ranges
from vae_jax.data._dataset import Rows, Scaling, Split, blocks
from vae_jax.data._part import Part
from vae_jax.errors import DataError

__all__ = [
    "are_whole",
    "as_levels",
    "converted",
    "encode_conditions",
    "outweighed",
    "refuse_misshapen",
    "refuse_mixed",
    "rescaling",
    "scaling_of",
    "stored_range",
    "surveyed",
]

_LARGEST = float(np.finfo(np.float32).max)
_DEPTHS = (10, 12, 14, 16)  # bits of image sensors with more than one byte per value
_MOST_CHANNELS = 16  # of an image with channels first
_FAR = 20.0
"""Images with values beyond this were not scaled before."""
_FACTOR = 64.0
"""Splits whose values differ by a larger factor, as 0 … 1 and 0 … 255, have different scales."""
_SHARE_NEGATIVE = 1 / 20  # of images that have been centered
_MOST_VALUES = 2**21  # of a table whose quartiles are computed
_FEW = 5
_MARKS = {"NA": np.isnan, "inf": np.isposinf, "-inf": np.isneginf}
"""What `missing_values` calls cells of a table that are no finite number; an empty one is NaN."""


# --- What cannot be learned from


def encode_conditions(path: Path, parts: Mapping[str, Part]) -> dict[str, Part]:
    """Converts conditions to [N, C] float32; a single number per row may come as [N].

    Raises:
        DataError: they are not finite numbers, or not one row for each row of x.
    """
    given = [part for part in parts.values() if part.condition is not None]
    widths = {part.condition.shape[1:] or (1,) for part in given}
    for part in given:
        values, num_rows = part.condition, len(part.x) if len(part.x.shape) else 0
        has_rows = values.ndim in (1, 2) and len(values) == num_rows and 0 not in values.shape[1:]
        if not has_rows or values.dtype.kind not in "buif" or len(widths) > 1:
            raise DataError(
                f"{path}: condition is {values.dtype} of shape {values.shape} for {num_rows} "
                "rows: must be numbers [rows, C], C at least 1 and the same in every split"
            )
        if not np.all(np.abs(np.asarray(values, np.float64)) <= _LARGEST):
            raise DataError(
                f"{path}: condition holds values that are not finite, or beyond float32: fill them"
                " in or rescale them"
            )

    def encoded(part: Part) -> Part:
        if part.condition is None:
            return part
        values = part.condition[:, None] if part.condition.ndim == 1 else part.condition
        return dataclasses.replace(part, condition=values.astype(np.float32))

    return {name: encoded(part) for name, part in parts.items()}


def surveyed(path: Path, parts: Mapping[str, Part], *, has_gaps: bool = False) -> dict[str, Part]:
    """Parts with x as `Rows` [N, D] or [N, H, W, C], and the extremes at each position.

    Args:
        path: path for messages.
        parts: x of any shape.
        has_gaps: whether values may be NaN: missing; each position has others.

    Raises:
        DataError: x has another shape, a value that is not a finite number, or only one value.
    """
    viewed = {name: dataclasses.replace(p, x=_viewed(path, p.x)) for name, p in parts.items()}
    refuse_misshapen(path, viewed)
    is_bad = np.isinf if has_gaps else lambda x: ~np.isfinite(x)
    found = {k: _with_extremes(path, part, viewed.values(), is_bad) for k, part in viewed.items()}
    low, high = _range(found.values())
    if low == high:
        raise DataError(f"{path}: every value is {low:g}: there is nothing to learn from it")
    if max(-low, high) > _LARGEST:
        raise DataError(f"{path}: values reach {max(-low, high):.3g}, beyond float32: rescale them")
    return found


def _viewed(path: Path, x) -> Rows:
    """Views x as [N, D] or [N, H, W, C] without reading its values."""
    rank = len(x.shape)
    if x.dtype.kind not in "buif":
        raise DataError(f"{path}: holds {x.dtype}: must be real numbers or booleans")
    if rank not in (2, 3, 4):
        raise DataError(
            f"{path}: has shape {x.shape}: must be [rows, columns], [images, height, width] or"
            " [images, height, width, channels]"
        )
    if rank == 4 and _has_channels_first(x.shape):
        raise DataError(
            f"{path}: has shape {x.shape}, channels before height and width: must be channels"
            " last; save x.transpose(0, 2, 3, 1)"
        )
    if 0 in x.shape:
        raise DataError(f"{path}: has shape {x.shape}: there is nothing in it")
    rows = Rows(x)
    return rows.map(_with_channel) if rank == 3 else rows


def _has_channels_first(shape: tuple[int, ...]) -> bool:
    _, first, height, width = shape
    if width in (1, 3):
        return False
    return first in (1, 3) or (first <= _MOST_CHANNELS and first < min(height, width))


def _with_channel(x: np.ndarray) -> np.ndarray:
    return x[..., None]


def refuse_misshapen(path: Path, parts: Mapping[str, Part]) -> None:
    """Refuses parts with different shapes of x [N, …], or with fewer than three rows in total."""
    shapes = {part.x.shape[1:] for part in parts.values()}
    if len(shapes) > 1:
        raise DataError(
            f"{path}: examples of the splits have shapes {', '.join(map(str, sorted(shapes)))}:"
            " must be the same in all"
        )
    num_rows = sum(len(part.x) for part in parts.values())
    if num_rows < 3:
        raise DataError(
            f"{path}: has {num_rows} rows: must have at least 3, one each to train, validate and"
            " test"
        )


def _with_extremes(path: Path, part: Part, parts: Iterable[Part], is_bad: Callable) -> Part:
    """Adds low and high to a part, in one pass that refuses values that are not numbers.

    Args:
        path: path for messages.
        part: one of the parts.
        parts: all parts; the remedy applies to all.
        is_bad: which values [n, …] are refused.
    """
    x = part.x.source
    num_bad, first, low, high = 0, (), None, None
    for start, block in blocks(x):
        if x.dtype.kind == "f" and is_bad(block).any():
            bad = np.argwhere(is_bad(block))
            first = first or (start + int(bad[0, 0]), *(int(i) for i in bad[0, 1:]))
            num_bad += len(bad)
        low, high = _extremes(block, low, high)
        del block  # before the next is read
    if not num_bad:
        return dataclasses.replace(part, low=low, high=high)
    where, remedy = f"at index {first}", "remove those rows or fill them in"
    if part.columns:
        where = f"in row {first[0] + 1:,} of column {part.columns[first[1]]!r}"
        marks = [mark for mark, is_so in _MARKS.items() if not _nowhere(parts, is_so)]
        remedy = f"fill them in, or leave out their rows with missing_values={','.join(marks)}"
    raise DataError(
        f"{path}: {num_bad:,} values are missing, NaN or infinite, the first {where}: {remedy}"
    )


def _nowhere(parts: Iterable[Part], test: Callable[[np.ndarray], np.ndarray]) -> bool:
    """Whether no value of the sources satisfies a test."""
    return not any(test(x).any() for part in parts for _, x in blocks(part.x.source))


def refuse_mixed(path: Path, parts: Mapping[str, Part], kind: str) -> None:
    """Refuses splits whose values were clearly preprocessed differently.

    Args:
        path: path for messages.
        parts: surveyed, x [N, *stored].
        kind: "table" or "image". In a table, a single split may have far values.

    Raises:
        DataError: one of them holds integers, or values of 0 … 255, or none below 0, and another
            does not.
    """
    first, *others = parts
    for other in others:
        pair = parts[first], parts[other]
        is_mixed = _is_mixed_kind(*pair) or (
            (_is_mixed_scale(*pair) or _is_mixed_sign(*pair))
            if kind == "image"
            else _is_unit_and_levels(*pair) or _is_unit_and_levels(*pair[::-1])
        )
        if is_mixed:
            told = (
                f"{name} holds {part.x.source.dtype} in [{low:g}, {high:g}]"
                for name, part in zip((first, other), pair, strict=True)
                for low, high in [_bounds(part)]
            )
            raise DataError(
                f"{path}: {', '.join(told)}: must be on one scale in all splits: convert them alike"
                " before they are saved, x / 255 say"
            )


def _is_mixed_kind(first: Part, second: Part) -> bool:
    """Whether one has an integer dtype and the other has fractions."""
    of_floats = [part for part in (first, second) if part.x.source.dtype.kind == "f"]
    return len(of_floats) == 1 and not _everywhere({"": of_floats[0]}, _is_whole)


def _is_mixed_scale(first: Part, second: Part) -> bool:
    """Whether values of one are a multiple of the other's: the maximum and the mean."""
    reach = [_reach(part) for part in (first, second)]
    # zeros are on every scale
    if min(reach) == 0 or max(reach) < _FACTOR * min(reach):
        return False
    means = [_mean(part, np.abs) for part in (first, second)]
    return max(means) >= _FACTOR * min(means)


def _is_mixed_sign(first: Part, second: Part) -> bool:
    """Whether one has many values below 0 and the other none."""
    lowest = [_bounds(part)[0] for part in (first, second)]
    if max(lowest) < 0 or min(lowest) >= 0:
        return False
    return _mean((first, second)[int(np.argmin(lowest))], lambda x: x < 0) >= _SHARE_NEGATIVE


def _is_unit_and_levels(first: Part, second: Part) -> bool:
    """Whether the first is within ±1, and the second holds levels of 8 or 16 bits."""
    low, high = _bounds(second)
    return bool(
        _reach(first) <= 1
        and low >= 0
        and (2**7 <= high < 2**8 or 2**15 <= high < 2**16)
        and _everywhere({"": second}, _is_whole)
    )


def _bounds(part: Part) -> tuple[float, float]:
    """Smallest and largest value of the source."""
    return float(part.low.min()), float(part.high.max())


def _reach(part: Part) -> float:
    low, high = _bounds(part)
    return max(-low, high)


def _mean(part: Part, function: Callable[[np.ndarray], np.ndarray]) -> float:
    """The mean of a function of each value of the source."""
    x = part.x.source
    total = sum(float(np.sum(function(block), dtype=np.float64)) for _, block in blocks(x))
    return total / np.prod(x.shape, dtype=np.float64)


def _extremes(
    x: np.ndarray, low: np.ndarray | None, high: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Extremes at each position, [1, …], of a block [n, …] merged with earlier blocks.

    Missing values, NaN, are ignored where there are others.
    """
    lows, highs = x.min(axis=0, keepdims=True), x.max(axis=0, keepdims=True)
    if x.dtype.kind == "f" and np.isnan(lows).any():
        lows, highs = (f.reduce(x, axis=0, keepdims=True) for f in (np.fmin, np.fmax))
    return (
        lows if low is None else np.fmin(low, lows),
        highs if high is None else np.fmax(high, highs),
    )


def _extremes_of(x: Rows) -> tuple[np.ndarray, np.ndarray]:
    """Smallest and largest value at each position of rows, [1, …]."""
    low = high = None
    for _, block in blocks(x):
        low, high = _extremes(block, low, high)
    return low, high


def _range(parts: Iterable[Part]) -> tuple[float, float]:
    """Smallest and largest value after conversion: conversions are monotonic at each position."""
    parts = list(parts)
    return (
        min(float(np.fmin.reduce(part.x.convert(part.low), axis=None)) for part in parts),
        max(float(np.fmax.reduce(part.x.convert(part.high), axis=None)) for part in parts),
    )


def stored_range(path: Path, parts: Mapping[str, Part]) -> tuple[float, float]:
    """Smallest and largest value (scalars) as stored, in float32.

    Raises:
        DataError: they are equal, or exceed float32.
    """
    low, high = _range(parts.values())
    if not np.isfinite([low, high]).all():
        raise DataError(
            f"{path}: standardized by what train varies, other rows reach beyond float32: leave out"
            " the columns that hardly vary in train, or take scaling=unit"
        )
    if low == high:
        raise DataError(
            f"{path}: every value is {low:g} as it is stored, in float32: subtract what the values"
            " have in common and rescale what is left"
        )
    return low, high


# --- Levels


def converted(parts: Mapping[str, Part], conversion: Callable) -> dict[str, Part]:
    """Parts with another conversion of their values [B, *any], element by element."""
    return {k: dataclasses.replace(part, x=part.x.map(conversion)) for k, part in parts.items()}


def as_levels(
    parts: Mapping[str, Part], kind: str, scaling: str
) -> tuple[dict[str, Part], int | None, list[str]]:
    """Parts [N, *stored] in their stored form, their number of levels or None, and notes.

    Values that are all 0 or 1 are binary. So are values that are all 0 or 255, as pixels are, of an
    image, and of a table unless scaling is "none". Integers of an image are levels of the smallest
    depth that holds them: 8 bits, 10, 12, 14 or 16; or the exact number of levels if it is below
    128, because an 8-bit sensor would use more.

    Args:
        parts: surveyed.
        kind: "table" or "image".
        scaling: as in `vae_jax.data.load`; "none" and "unit" do not treat values of more than 8
            bits as levels.
    """
    dtypes = {part.x.source.dtype for part in parts.values()}
    low, high = _range(parts.values())
    stays = kind == "table" and scaling == "none"
    tops = (1,) if stays else (1, 255)
    if low == 0 and high in tops and _everywhere(parts, lambda x: (x == 0) | (x == high)):
        note = f"all values are 0 or {high:g}: taken as binary"
        if kind == "table" and high > 1:
            note += f", {high:g} as 1; if they are numbers, take scaling=none"
        return converted(parts, lambda x: (x != 0).astype(np.uint8)), 2, [note]
    if kind == "image" and dtypes == {np.dtype(np.uint8)}:
        is_dark = high < 64
        note = f"values of 8 bits reach {high:g} of 255 only: saved as float they would be rescaled"
        return dict(parts), 256, [note] if is_dark else []
    if kind != "image" or scaling == "none" or low < 0:
        return dict(parts), None, []
    is_byte = 128 <= high <= 255
    if high < 2**16 and (is_byte or scaling == "auto") and _everywhere(parts, _is_whole):
        most = 255 if is_byte else int(high) if high < 128 else _deepest(high)
        note = f"values are whole numbers {low:g} … {high:g}: taken as {most + 1} levels"
        dtype = np.uint8 if most < 2**8 else np.uint16
        return converted(parts, lambda x: x.astype(dtype)), most + 1, [note]
    if is_byte:
        note = f"values lie in [{low:g}, {high:g}]: divided by 255"
        return converted(parts, Scaling(0.0, 255.0)), None, [note]
    return dict(parts), None, []


def _everywhere(parts: Mapping[str, Part], test: Callable[[np.ndarray], np.ndarray]) -> bool:
    """Whether all values of the sources satisfy a test."""
    sources = [part.x.source for part in parts.values()]
    return all(bool(np.all(test(x))) for source in sources for _, x in blocks(source))


def are_whole(parts: Mapping[str, Part], scaling: str) -> bool:
    """Whether all values of parts [N, *stored] stay as they are and are whole numbers."""
    return scaling == "none" and _everywhere(parts, _is_whole)


def _is_whole(x: np.ndarray) -> np.ndarray:
    return (x == np.floor(x)) | np.isnan(x)


def _deepest(high: float) -> int:
    """The largest value of the smallest depth that holds `high`."""
    return next(2**bits - 1 for bits in _DEPTHS if high < 2**bits)


# --- Continuous values


def rescaling(
    splits: tuple[Split, Split, Split], kind: str, scaling: str
) -> tuple[Callable[[np.ndarray], np.ndarray], list[str]]:
    """The conversion to float32 [B, *shape], from the training split [N, *shape], and notes.

    With "auto" a table is standardized. Images keep floats within 20 of 0, because they are
    probably scaled already; otherwise the range of the training split becomes [0, 1].
    """
    train = splits[0].x
    if scaling == "none":
        return _as_float32(train.dtype)
    if scaling == "auto" and kind == "table":
        offset, scale = _moments(train)
        notes = ["each column standardized by its mean and standard deviation in train"]
        return Scaling(offset, _divisor(scale, notes)), notes
    low, high = _extremes_of(train)
    if kind == "image":
        low, high = low.min(), high.max()
        is_scaled = train.dtype.kind == "f" and max(-low, high) <= _FAR
        if is_scaled if scaling == "auto" else (low >= 0 and high <= 1):
            return _as_float32(train.dtype)
    offset = low.astype(np.float64)
    which = "each column's range" if kind == "table" else f"the range {low:g} … {high:g}"
    notes = [f"{which} in train became [0, 1]"]
    rescale = Scaling(offset, _divisor(high - offset, notes), is_cut=True)
    if outside := _num_outside(splits[1:], rescale):
        notes.append(f"{outside} values of valid and test beyond train's range: clipped to it")
    return rescale, notes


def outweighed(train: Rows, columns: Sequence[str] | None) -> list[str]:
    """Notes on columns of a small table in which a few values dominate the variance.

    With few rows no value can be many standard deviations from the mean, because it contributes to
    the deviation itself. So here a value is far by the median and the quartiles of its column, and
    more than half of the column's variance must be due to such values.

    Args:
        train: before scaling, [N, D].
        columns: names of the columns, or None.
    """
    num_rows, width = train.shape
    if num_rows * width > _MOST_VALUES:
        return []
    x = np.asarray(train[:], np.float64)
    if np.isnan(x).any():
        return []
    low, middle, high = np.quantile(x, (0.25, 0.5, 0.75), axis=0)
    # the quartiles of a normal distribution are 1.349 standard deviations apart
    is_far = np.abs(x - middle) * 1.349 > ranges.DEVIATIONS * (high - low)
    with np.errstate(all="ignore"):  # constant columns are ignored
        squares = np.square(x - middle)
        share = np.sum(squares * is_far, axis=0) / np.sum(squares, axis=0)
        reach = np.abs(x - x.mean(axis=0)).max(axis=0) / x.std(axis=0)
    # even larger values are reported together with the likelihood
    found = (low < high) & (share > 1 / 2) & (reach <= ranges.DEVIATIONS)
    return [_outweighed(x[:, c], is_far[:, c], c, columns) for c in np.flatnonzero(found)[:_FEW]]


def _outweighed(x: np.ndarray, is_far: np.ndarray, place: int, columns) -> str:
    values = np.unique(x[is_far]).tolist()
    called = f"column {place}" if columns is None else f"column {columns[place]!r}"
    remedy = "correct them"
    if columns is not None and len(values) <= _FEW:
        marks = ",".join(str(int(v)) if v.is_integer() else repr(v) for v in values)
        remedy += f", or leave them out with missing_values={marks}"
    return (
        f"{called} has values as far as {max(values, key=abs):g} in {is_far.sum():,} of"
        f" {len(x):,} rows of train, which outweigh all others: {remedy}"
    )


def _as_float32(dtype: np.dtype) -> tuple[Callable[[np.ndarray], np.ndarray], list[str]]:
    notes = [] if dtype == np.float32 else [f"{dtype} stored as float32"]
    return lambda x: x.astype(np.float32), notes


def _divisor(scale: np.ndarray, notes: list[str]) -> np.ndarray:
    """Replaces scales of 0 by 1, with a note."""
    if num_constant := int(np.sum(scale == 0)):
        notes.append(f"{num_constant} columns are constant in train: shifted, not rescaled")
    return np.where(scale == 0, 1, scale)


def _num_outside(splits: Iterable[Split], rescale: Scaling) -> int:
    """The number of values in some splits that are scaled to below 0 or above 1."""
    outside = 0
    for split in splits:
        for _, block in blocks(split.x.map(rescale.uncut)):
            outside += int(np.sum((block < 0) | (block > 1)))
    return outside


def scaling_of(x: Rows) -> Scaling | None:
    """The scaling of these rows [N, *stored], or None if they were not scaled."""
    return next((each for each in x.conversions if isinstance(each, Scaling)), None)


def _moments(x: Rows) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each column [1, D]; exactly 0 for a constant column.

    Missing values, NaN, are left out; a column of nothing else has mean and deviation 0. For two
    blocks of m and n rows, with d the difference of their means,
    Σ (x − mean)² = Σ₁ + Σ₂ + d² m n / (m + n).
    """
    num_rows, mean, squares, low, high = 0, 0.0, 0.0, None, None
    for _, block in blocks(x):
        low, high = _extremes(block, low, high)
        count, own_mean, own_squares = _moments_of(block)
        total = num_rows + count
        step = own_mean - mean
        squares += own_squares
        squares += step**2 * (num_rows * count / np.maximum(total, 1))
        mean += step * (count / np.maximum(total, 1))
        num_rows = total
        del block  # before the next is read
    # The rounded mean of a constant column leaves a tiny deviation that is not 0.
    is_constant = (low == high) | np.isnan(low)
    return mean, np.where(is_constant, 0, np.sqrt(squares / np.maximum(num_rows, 1)))


def _moments_of(block: np.ndarray) -> tuple[int | np.ndarray, np.ndarray, np.ndarray]:
    """Of the columns of a block [n, D]: how many values are known, their mean, Σ (x − mean)²."""
    is_known = ~np.isnan(block)
    if is_known.all():
        mean = block.mean(axis=0, keepdims=True, dtype=np.float64)
        # the sum in `var`, without its copy if nobody else has this block
        is_own = block.base is None and block.dtype == np.float64 and block.flags.writeable
        squares = np.subtract(block, mean, out=block if is_own else None)
        np.multiply(squares, squares, out=squares)
        return len(block), mean, squares.sum(axis=0, keepdims=True) / len(block) * len(block)
    count = is_known.sum(axis=0, keepdims=True)
    values = np.where(is_known, block, 0).astype(np.float64)
    mean = values.sum(axis=0, keepdims=True) / np.maximum(count, 1)
    return count, mean, np.sum(np.square(values - mean), axis=0, keepdims=True, where=is_known)
