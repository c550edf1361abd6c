"""Matrices in the Matrix Market format, with the names of their rows and columns beside them."""

import gzip
import itertools
import zlib
from collections.abc import Sequence
from inspect import signature
from pathlib import Path
from typing import NamedTuple

import numpy as np

from vae_jax.data import _sparse, _spelling
from vae_jax.data._part import Part, Reading
from vae_jax.errors import DataError, first_line

__all__ = ["SUFFIXES", "read", "with_names"]

SUFFIXES = (".mtx", ".mtx.gz")
"""Suffixes of matrices, of any shape."""
_NAMES = {
    "columns": ("features", "genes", "gene_names", "genenames", "var_names", "var"),
    "rows": ("barcodes", "cells", "cell_names", "cellnames", "obs_names", "obs"),
}
"""What a file of names is of → the words that its own name ends with."""
_NAME_SUFFIXES = (".tsv", ".txt", ".csv", ".tsv.gz", ".txt.gz", ".csv.gz")
_MATRIX = ("matrix", "counts")  # words for a matrix at the end of a name
_BYTES_OF_VALUE = 48  # while it is read: row, column and value, as text and twice as numbers
_DAMAGE = (OSError, EOFError, ValueError, OverflowError, IndexError, zlib.error)


class _Names(NamedTuple):
    """The names of the rows or columns of a matrix: their file and its cells, line by line."""

    file: Path
    lines: list[list[str]]

    def of(self, num: int) -> list[list[str]] | None:
        """The `num` lines without a line of titles; None if there are more or fewer."""
        if len(self.lines) not in (num, num + 1):
            return None
        return self.lines[len(self.lines) - num :]


def with_names(folder: Path, matrices: Sequence[Path]) -> list[Path]:
    """The only matrix of a folder, and the files that name its rows and columns [N, D].

    Raises:
        DataError: there are several matrices, or several files of the same names.
    """
    if len(matrices) > 1:
        raise DataError(
            f"{folder}: holds the matrices {_spelling.quoted([file.name for file in matrices])}:"
            " give the path of one file"
        )
    return [*matrices, *_beside(matrices[0]).values()]


def read(path: Path, files: Sequence[Path], reading: Reading) -> tuple[dict[str, Part], list[str]]:
    """Reads a matrix whose rows are examples, or genes if the files of names say so.

    Args:
        path: the matrix, or the folder that holds it.
        files: the matrix, and maybe the files of names.
        reading: settings for reading.

    Returns:
        (parts, notes); x [N, D], kept sparse as `_sparse.settled` decides.

    Raises:
        DataError: it is damaged, too large, or does not fit the files beside it.
    """
    file = next(each for each in files if each.name.lower().endswith(SUFFIXES))
    matrix = _read(file, reading)
    beside = {
        what: _Names(each, _lines(each, max(matrix.shape))) for what, each in _beside(file).items()
    }
    matrix, notes = _upright(file, matrix, beside)
    notes += [f"{names.file.name} names the {what}" for what, names in beside.items()]
    columns = ids = None
    if "columns" in beside:
        columns = _distinct(beside["columns"].of(matrix.shape[1]))
    if "rows" in beside:
        ids = np.array([cells[0] for cells in beside["rows"].of(matrix.shape[0])])
    x, told = _sparse.settled(path, _sparse.of_matrix(path, matrix), reading)
    return {"all": Part(x, columns=columns, ids=ids)}, [told, *notes]


def _read(file: Path, reading: Reading):
    """The matrix as SciPy reads it, in CSR layout."""
    import scipy.io
    import scipy.sparse

    try:
        num_rows, num_columns, num, layout, field, _ = scipy.io.mminfo(file)
        if field == "complex":
            raise ValueError("its values are complex")
        num = num_rows * num_columns if layout == "array" else num
        reading.tally.add(file, num * _BYTES_OF_VALUE, _sparse.REMEDY)
        # newer versions of SciPy ask which of its sparse classes is wanted
        asked = {"spmatrix": False} if "spmatrix" in signature(scipy.io.mmread).parameters else {}
        return scipy.sparse.csr_array(scipy.io.mmread(file, **asked))
    except _DAMAGE as error:
        raise DataError(
            f"{file}: is no readable Matrix Market file ({first_line(error)}): save it again with"
            " scipy.io.mmwrite"
        ) from None


def _beside(matrix: Path) -> dict[str, Path]:
    """ "columns" and "rows" → the file beside a matrix that names them, if there is one."""
    stem = _spelling.stem(matrix).lower()
    befores = {stem.removesuffix(word).strip("_-. ") for word in ("", *_MATRIX)}
    found: dict[str, Path] = {}
    for file in sorted(matrix.parent.iterdir()):
        if not file.name.lower().endswith(_NAME_SUFFIXES):
            continue
        own = _spelling.stem(file).lower()
        for what, words in _NAMES.items():
            if not any(
                own.endswith(w) and own.removesuffix(w).strip("_-. ") in befores for w in words
            ):
                continue
            if what in found:
                raise DataError(
                    f"{matrix}: {found[what].name!r} and {file.name!r} both name its {what}: move"
                    " one of them away"
                )
            found[what] = file
    return found


def _lines(file: Path, most: int) -> list[list[str]]:
    separator = "," if ".csv" in file.name.lower() else "\t"
    try:
        read = gzip.open if file.suffix == ".gz" else open
        with read(file, "rt", encoding="utf-8-sig") as lines:
            # one line more shows that there are too many
            kept = itertools.islice(lines, most + 2)
            return [line.rstrip("\r\n").split(separator) for line in kept]
    except _DAMAGE as error:
        raise DataError(f"{file}: cannot be read ({first_line(error)})") from None


def _upright(file: Path, matrix, beside: dict[str, _Names]):
    """The matrix with an example in each row, and notes; genes may be its rows."""

    def fits(shape: tuple[int, int]) -> bool:
        sizes = dict(zip(("rows", "columns"), shape, strict=True))
        return all(names.of(sizes[what]) is not None for what, names in beside.items())

    # 10x Genomics and most others write genes × cells
    if beside and fits(matrix.shape[::-1]):
        return matrix.T.tocsr(), ["is genes × cells: transposed"]
    if not fits(matrix.shape):
        told = ", ".join(f"{n.file.name} has {len(n.lines):,} lines" for n in beside.values())
        raise DataError(
            f"{file}: is {' × '.join(map(str, matrix.shape))}, but {told}: must be a line for each"
            " row or column; move files of other data away"
        )
    return matrix, []


def _distinct(lines: list[list[str]]) -> tuple[str, ...] | None:
    """The second words of all lines if these are all different, or the first, or None."""
    for place in (1, 0):
        words = tuple(cells[place] for cells in lines if len(cells) > place)
        if len(set(words)) == len(lines):
            return words
    return None
