"""Matrices with annotated rows and columns: .h5ad files (extra: anndata)."""

import collections
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vae_jax import schema as schema_lib
from vae_jax.data import _sparse, _spelling
from vae_jax.data._part import Part, Reading
from vae_jax.errors import DataError, UsageError, first_line, unknown
from vae_jax.schema import Cells, Column, Schema

__all__ = ["SUFFIXES", "read"]

SUFFIXES = (".h5ad",)
"""Suffixes of supported files, with matrices of any shape."""
_COPIES = 2  # of everything in a file, while it is read
_ROLES = ("label", "identifier")
_RAW = "raw"


def read(path: Path, files: Sequence[Path], reading: Reading) -> tuple[dict[str, Part], list[str]]:
    """Reads X or a layer, [N, D], the names of its rows and columns, labels and conditions.

    Args:
        path: the file.
        files: the same.
        reading: `layer` is the matrix to read; `kinds` may say which column of obs holds labels or
            identifiers; `condition` names columns of obs on which a model is conditioned.

    Returns:
        (parts, notes); x kept sparse as `_sparse.settled` decides.

    Raises:
        DataError: the file is damaged or too large, or holds no such matrix.
        UsageError: anndata is not installed, or a column or layer is unknown.
    """
    import scipy.sparse

    del files
    held = _opened(path, reading)
    x, names, notes = _matrix(path, held, reading.layer)
    if scipy.sparse.issparse(x):
        x, told = _sparse.settled(path, _sparse.of_matrix(path, x.tocsr()), reading)
        notes = [told, *notes]
    labels, ids, told = _columns(path, held, reading)
    schema = _given(path, held, names, reading)
    given = None
    if schema is not None:
        given = schema.given_codes({c.name: _cells(held.obs[c.name]) for c in schema.given})
    part = Part(x, labels, given, columns=names, ids=ids, schema=schema)
    return {"all": part}, [*notes, *told]


def _opened(path: Path, reading: Reading) -> Any:
    """The whole file as anndata reads it, once its size is known to fit in memory."""
    try:
        import anndata
        import h5py
    except ImportError:
        raise UsageError(
            f"{path}: reading .h5ad needs anndata: pip install 'vae_jax[anndata]'"
        ) from None
    sizes = []

    def visit(_, node):
        if isinstance(node, h5py.Dataset):
            sizes.append(int(node.size or 0) * node.dtype.itemsize)

    try:
        with h5py.File(path) as file:
            file.visititems(visit)
        reading.tally.add(path, _COPIES * sum(sizes), _sparse.REMEDY)
        with warnings.catch_warnings():  # of names that occur twice, which may be so
            warnings.simplefilter("ignore", UserWarning)
            return anndata.read_h5ad(path)
    except DataError:
        raise
    except Exception as error:  # a damaged file fails in many ways
        raise DataError(
            f"{path}: is no readable .h5ad file ({first_line(error)}): write it again with"
            " anndata's write_h5ad"
        ) from None


def _matrix(path: Path, held: Any, layer: str | None) -> tuple[Any, tuple[str, ...], list[str]]:
    """X or a layer, [N, D], the names of its columns, and notes."""
    others = [*held.layers, *([_RAW] if held.raw is not None else [])]
    if layer is not None and layer not in others:
        raise UsageError(f"{path}: {unknown('layer', layer, others)}")
    if layer is None and held.X is None:
        raise DataError(
            f"{path}: has no X: choose one of its layers, {_spelling.quoted(others) or 'none'},"
            " with `layer`"
        )
    source = held.raw if layer == _RAW and _RAW not in held.layers else held
    x = held.X if layer is None else source.X if source is held.raw else held.layers[layer]
    names = tuple(map(str, source.var_names))
    if layer is not None or not others:
        return x, names, []
    return x, names, [f"X is read; other matrices by `layer`: {_spelling.quoted(others)}"]


def _columns(
    path: Path, held: Any, reading: Reading
) -> tuple[np.ndarray | None, np.ndarray, list[str]]:
    """Labels [N] or None, identifiers [N], and notes, from the annotations of rows."""
    names = [str(name) for name in held.obs.columns]
    asked, given = reading.kinds or {}, reading.condition or ()
    for name in (*asked, *given):
        if name not in names:
            raise UsageError(f"{path}: {unknown('column of obs', name, names)}")
    for name, kind in asked.items():
        if kind not in _ROLES and name not in given:
            raise UsageError(
                f"{path}: column {name!r} of obs is set as {kind}: must be the label or the id:"
                " leave the others out"
            )
    chosen = {kind: [n for n, own in asked.items() if own == kind] for kind in _ROLES}
    free = [name for name in names if name not in given]
    found = chosen["label"] or [name for name in free if _spelling.is_label(name)]
    if len(found) > 1:
        raise DataError(
            f"{path}: the columns {_spelling.quoted(found)} of obs all look like labels: name one"
            " of them with `label`"
        )
    ids = held.obs[chosen["identifier"][0]] if chosen["identifier"] else held.obs_names
    ids = np.array([str(each) for each in ids])
    if found:
        labels = np.array(held.obs[found[0]].astype(object).tolist(), object)
        return labels, ids, [f"column {found[0]!r} of obs taken as labels"]
    if not free:
        return None, ids, []
    return (
        None,
        ids,
        [f"obs has the columns {_spelling.quoted(names)}: `label` takes one as labels"],
    )


def _given(path: Path, held: Any, genes: Sequence[str], reading: Reading) -> Schema | None:
    """The schema of the columns of x and of those of obs that are conditions; None without one."""
    names = reading.condition
    if not names:
        return None
    counts = collections.Counter([*genes, *names])
    twice = sorted(name for name, num in counts.items() if num > 1)
    if twice:
        remedy = "make the names of X unique with anndata's var_names_make_unique"
        if {*twice} & {*names}:
            remedy = "rename the column of obs"
        raise DataError(
            f"{path}: with `condition` each column needs a name of its own, and several are"
            f" {_spelling.quoted(twice)}: {remedy}"
        )
    asked = (reading.kinds or {}).items()
    kinds = {name: kind for name, kind in asked if name in names and kind not in _ROLES}
    cells = {name: _cells(held.obs[name]) for name in names}
    try:
        own = schema_lib.infer(cells, kinds, given=names)
    except (DataError, UsageError) as error:
        raise type(error)(f"{path}: {error}") from None
    columns = tuple(Column(name, "real") for name in genes)
    return Schema((*columns, *own.columns), own.kind_of)


def _cells(series: Any) -> Cells:
    """The cells of a column of obs, a pandas Series [N]."""
    if isinstance(series.dtype, np.dtype) and series.dtype.kind in "iufM":
        return schema_lib.as_cells(series.to_numpy())
    known = series.astype(object)
    values = np.array(known.where(series.notna(), None).tolist(), object)
    levels = series.cat.categories.tolist() if getattr(series.dtype, "ordered", False) else []
    order = tuple(level for level in levels if isinstance(level, str))
    return Cells(schema_lib.as_cells(values).values, order)
