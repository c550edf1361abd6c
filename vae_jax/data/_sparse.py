"""Sparse matrices saved by SciPy: kept sparse; rows become dense on access."""

import functools
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

import numpy as np

from vae_jax import memory
from vae_jax.data import _spelling
from vae_jax.data._dataset import is_streamed
from vae_jax.data._part import Reading
from vae_jax.errors import DataError, first_line

__all__ = ["REMEDY", "SparseRows", "Stem", "groups", "of_matrix", "read", "settled"]

Stem = tuple[str, ...]
"""The common words in the names of a matrix's arrays: "train" in "train_data", "train_indices"."""

_PARTS = {
    "csr": ("data", "indices", "indptr", "shape"),
    "csc": ("data", "indices", "indptr", "shape"),
    "bsr": ("data", "indices", "indptr", "shape"),
    "coo": ("data", "row", "col", "shape"),
    "dia": ("data", "offsets", "shape"),
}
"""Layout → its arrays, named as in scipy.sparse.save_npz, the shape last."""
_OTHERS = ("format", "_is_array")
_PART_OF = {
    tuple(_spelling.words(part)): part
    for part in (*(part for needed in _PARTS.values() for part in needed), *_OTHERS)
}
REMEDY = "leave out rows or columns"
"""The remedy for a matrix that would need too much memory."""
_MEMORY_SHARE = 1 / 12  # of the memory limit, for a dense row or the row pointers
_COPIES = 4  # of its arrays, while a matrix is sorted by row
_MOST_CELLS = 2**20  # for each nonzero value, if the matrix stays sparse
_BYTES_OF_BLOCKS = 2**27  # two blocks of a feed: data of this size need no less when streamed
_LEAST_SAVED = 4  # dense rows in float32 take this many times the bytes of a sparse matrix


class SparseRows:
    """The rows of a sparse matrix [N, D], which become dense on access."""

    def __init__(self, matrix):
        """Wraps a matrix.

        Args:
            matrix: scipy.sparse.csr_array, [N, D].
        """
        self._matrix = matrix
        self.shape: tuple[int, int] = matrix.shape
        self.dtype: np.dtype = matrix.dtype

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def held_bytes(self) -> int:
        """Bytes of its arrays (scalar)."""
        return sum(getattr(self._matrix, part).nbytes for part in ("data", "indices", "indptr"))

    @property
    def dense_bytes(self) -> int:
        """Bytes of its rows as float32 (scalar)."""
        return self.shape[0] * self.shape[1] * np.dtype(np.float32).itemsize

    @property
    def is_wide(self) -> bool:
        """Whether much memory is saved if rows become dense batch by batch (a scalar)."""
        is_large = self.dense_bytes > _BYTES_OF_BLOCKS
        return is_large and self.dense_bytes >= _LEAST_SAVED * self.held_bytes

    @property
    def density(self) -> float:
        """The share of cells that are stored (a scalar)."""
        return self._matrix.nnz / max(1, self.shape[0] * self.shape[1])

    def __getitem__(self, rows: slice | np.ndarray) -> np.ndarray:
        """Reads rows into memory.

        Args:
            rows: a slice, or integers [...], each in [-N, N).

        Returns:
            [..., D], dense, in the requested order.
        """
        if isinstance(rows, slice):
            return self._matrix[rows].toarray()
        rows = np.asarray(rows)
        return self._matrix[rows.ravel()].toarray().reshape(*rows.shape, self.shape[1])


def groups(names: Collection[str]) -> dict[Stem, dict[str, str]]:
    """The sparse matrices [N, D] formed by arrays with these names, with or without a shape.

    Args:
        names: keys of an archive, or stems of files.

    Returns:
        Common part of a matrix's names, () for SciPy's own: part → name.
    """
    found: dict[Stem, dict[str, str]] = {}
    for name in names:
        if told := _part_of(name):
            stem, part = told
            found.setdefault(stem, {}).setdefault(part, name)
    return {stem: own for stem, own in found.items() if _layouts(own)}


def _part_of(name: str) -> tuple[Stem, str] | None:
    """Splits a name into the part of a matrix, which it ends with, and the rest."""
    words = tuple(_spelling.words(name))
    for end in range(len(words), 0, -1):
        for start in (end - 1, end - 2):
            if start >= 0 and (part := _PART_OF.get(words[start:end])):
                return words[:start] + words[end:], part
    return None


def _layouts(parts: Collection[str]) -> list[str]:
    """The possible layouts of some parts, whether or not their shape is included."""
    return [layout for layout, needed in _PARTS.items() if set(needed[:-1]) <= set(parts)]


def read(
    path: Path, parts: Mapping[str, str], get: Callable[[str], np.ndarray], tally: memory.Tally
) -> SparseRows:
    """Reads a sparse matrix from an archive.

    Args:
        path: path of the archive, for messages.
        parts: part → key, one of `groups`.
        get: maps a key to its array.
        tally: the memory of everything that is read together.

    Returns:
        The matrix, [N, D].

    Raises:
        DataError: its parts do not fit together, some are missing, or it is too large.
    """
    if "shape" not in parts:
        raise DataError(
            f"{path}: {_spelling.quoted(parts.values())} are a sparse matrix without its shape: add"
            f" it as {'shape'.join(parts['data'].rsplit('data', 1))!r}, save it with"
            " scipy.sparse.save_npz, or rename them if they are none"
        )
    held = {part: get(name) for part, name in parts.items()}
    if (dtype := held["data"].dtype).kind not in "buif":
        raise DataError(f"{path}: is a sparse matrix of {dtype}: must be real numbers or booleans")
    try:
        layout = _layout(held)
        shape = tuple(int(size) for size in np.ravel(held["shape"]))
        _refuse_huge(path, shape, held["data"])
        tally.add(path, (_COPIES - 1) * sum(array.nbytes for array in held.values()), REMEDY)
        matrix = _matrix(layout, held, shape)
    except (ValueError, TypeError, IndexError, OverflowError, KeyError) as error:
        raise DataError(
            f"{path}: its keys are those of a sparse matrix that does not fit together "
            f"({first_line(error)}): save it again with scipy.sparse.save_npz"
        ) from None
    return SparseRows(matrix)


def of_matrix(path: Path, matrix) -> SparseRows:
    """The rows of a matrix [N, D] that another library has read.

    Args:
        path: its file, for messages.
        matrix: one of scipy.sparse, in CSR layout.

    Raises:
        DataError: its values are no real numbers, or it is too large.
    """
    import scipy.sparse

    matrix = scipy.sparse.csr_array(matrix)
    if matrix.dtype.kind not in "buif":
        raise DataError(f"{path}: holds {matrix.dtype}: must be real numbers or booleans")
    _refuse_huge(path, matrix.shape, matrix.data)
    matrix.sum_duplicates()
    if matrix.dtype.itemsize > 4 and matrix.dtype.kind in "iu":
        narrow = np.iinfo(np.int32)
        if narrow.min <= matrix.data.min(initial=0) and matrix.data.max(initial=0) <= narrow.max:
            matrix = matrix.astype(np.int32)
    return SparseRows(matrix)


def settled(path: Path, x: SparseRows, reading: Reading) -> tuple[SparseRows | np.ndarray, str]:
    """A matrix as it is kept in memory, sparse if that saves much, or dense; and a note.

    Args:
        path: its file, for messages.
        x: [N, D].
        reading: settings for reading.

    Raises:
        DataError: its dense form, if it is needed, takes more memory than there is.
    """
    told = f"a sparse matrix, {100 * x.density:.3g} % of its cells hold a value"
    is_kept = is_streamed(reading.loading, x.dense_bytes)
    is_kept |= reading.loading == "auto" and x.is_wide
    # windows can only be cut from data in memory
    if is_kept and reading.window is None:
        return x, f"{told}: kept sparse, the rows of a batch become dense when it is made"
    reading.tally.add(path, x.shape[0] * x.shape[1] * x.dtype.itemsize, REMEDY)
    return x[:], f"{told}: made dense"


def _layout(held: dict[str, np.ndarray]) -> str:
    """The layout named in the archive, or the one that its arrays imply."""
    if "format" in held:
        name = held["format"].item()
        name = name.decode("ascii") if isinstance(name, bytes) else str(name)
        if name not in _PARTS or not set(_PARTS[name]) <= held.keys():
            raise ValueError(f"format {name!r} with the keys {', '.join(sorted(held))}")
        return name
    if "indptr" not in held:
        return "coo" if "row" in held else "dia"
    if held["data"].ndim == 3:
        return "bsr"
    num_pointers = len(held["indptr"]) - 1
    fits = [num_pointers == int(size) for size in np.ravel(held["shape"])]
    if fits == [True, True] or held["data"].ndim != 1:
        raise ValueError("without the key format it may be rows or columns")
    return "csr" if fits[0] else "csc"


def _refuse_huge(path: Path, shape: tuple[int, ...], data: np.ndarray) -> None:
    if len(shape) != 2 or min(shape) < 0:
        raise ValueError(f"shape {shape}")
    limit = int(_MEMORY_SHARE * memory.limit_bytes())
    if max(shape[0] * 8, shape[1] * data.dtype.itemsize) > limit:
        raise DataError(
            f"{path}: is a sparse matrix of shape {shape}: a dense row, and a pointer to each row,"
            f" must take at most {limit:,} bytes here: {REMEDY}"
        )
    # each pass over the data visits every cell
    if shape[0] * shape[1] > max(2**32, data.size * _MOST_CELLS):
        raise DataError(
            f"{path}: is a sparse matrix of shape {shape} with {data.size:,} values: at least one"
            f" cell in {_MOST_CELLS:,} must hold one: {REMEDY} that hold none"
        )


def _matrix(layout: str, held: dict[str, np.ndarray], shape: tuple[int, int]):
    """The matrix in CSR layout, without duplicates, fully checked."""
    import scipy.sparse

    make = functools.partial(getattr(scipy.sparse, f"{layout}_array"), shape=shape)
    data, *places = (held[name] for name in _PARTS[layout][:-1])
    if layout == "coo":
        matrix = make((data, tuple(places)))
    elif layout == "dia":
        matrix = make((data, *places))
    else:
        matrix = make((data, *places))
        matrix.check_format(full_check=True)
    matrix = matrix.tocsr()
    matrix.sum_duplicates()
    return matrix
