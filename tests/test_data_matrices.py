"""Matrices of counts with named rows and columns: Matrix Market and .h5ad files."""

import gzip
import sys

import numpy as np
import pytest
import scipy.io
import scipy.sparse

from vae_jax import data, objectives
from vae_jax.errors import DataError, UsageError

RNG = np.random.default_rng(0)
COUNTS = RNG.poisson(0.4, (30, 12))
GENES = [f"gene{i}" for i in range(12)]
CELLS = [f"cell{i}" for i in range(30)]


def load(path, **options):
    return data.load(str(path), **{"scaling": "none", **options})


def refused(path, match, error=DataError, **options):
    with pytest.raises(error, match=match) as caught:
        load(path, **options)
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


def lines(path, names):
    text = "".join(f"{name}\n" for name in names)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())


def assert_is_counts(dataset, *, has_names=True):
    """Each row is that of its name, wherever it was dealt."""
    whole = dict(zip(CELLS, COUNTS.tolist(), strict=True))
    found = []
    for split in (dataset.train, dataset.valid, dataset.test):
        ids = split.ids.tolist() if has_names else CELLS[: len(split)]
        found += ids if has_names else split.x.tolist()
        if has_names:
            assert [whole[name] for name in ids] == split.x.tolist()
    assert sorted(found) == sorted(CELLS if has_names else COUNTS.tolist())
    assert dataset.is_whole
    assert dataset.columns == (tuple(GENES) if has_names else None)


@pytest.mark.parametrize("names", ["", "GSM1_", "sample."])
def test_a_matrix_of_genes_and_cells_is_turned_by_the_files_beside_it(tmp_path, names):
    """As 10x Genomics writes it: genes × cells, compressed or not, with identifiers of genes."""
    for gz in ("", ".gz"):
        folder = tmp_path / f"of{gz}"
        folder.mkdir()
        scipy.io.mmwrite(folder / f"{names}matrix.mtx", scipy.sparse.coo_array(COUNTS.T))
        if gz:
            plain = folder / f"{names}matrix.mtx"
            (folder / f"{names}matrix.mtx.gz").write_bytes(gzip.compress(plain.read_bytes()))
            plain.unlink()
        kind = "features" if gz else "genes"
        lines(folder / f"{names}{kind}.tsv{gz}", [f"ENS{i}\t{g}" for i, g in enumerate(GENES)])
        lines(folder / f"{names}barcodes.tsv{gz}", CELLS)
        for path in (folder, folder / f"{names}matrix.mtx{gz}"):
            dataset = load(path)
            assert_is_counts(dataset)
            assert any("transposed" in note for note in dataset.notes)


def test_a_matrix_alone_has_an_example_in_each_row(tmp_path):
    scipy.io.mmwrite(tmp_path / "a.mtx", scipy.sparse.coo_array(COUNTS))
    assert_is_counts(load(tmp_path / "a.mtx"), has_names=False)
    scipy.io.mmwrite(tmp_path / "dense.mtx", COUNTS)
    assert_is_counts(load(tmp_path / "dense.mtx"), has_names=False)
    streamed = load(tmp_path / "a.mtx", loading="stream")
    np.testing.assert_array_equal(streamed.train.x[:], load(tmp_path / "a.mtx").train.x)
    # names of cells in rows, below a title
    lines(tmp_path / "a_cells.txt", ["name", *CELLS])
    dataset = load(tmp_path / "a.mtx")
    assert {*dataset.train.ids} <= {*CELLS}


def test_matrices_that_do_not_fit_are_refused(tmp_path):
    scipy.io.mmwrite(tmp_path / "a.mtx", scipy.sparse.coo_array(COUNTS))
    lines(tmp_path / "genes.tsv", GENES[:7])
    (tmp_path / "matrix.mtx").write_bytes((tmp_path / "a.mtx").read_bytes())
    refused(tmp_path / "matrix.mtx", r"is 30 × 12, but genes.tsv has 7 lines")
    refused(tmp_path, "holds the matrices 'a.mtx', 'matrix.mtx': give the path of one file")
    whole = (tmp_path / "a.mtx").read_bytes()
    for damaged in (b"", whole[:40], b"hello\n", whole.replace(b"integer", b"complex")):
        (tmp_path / "b.mtx").write_bytes(damaged)
        refused(tmp_path / "b.mtx", "is no readable Matrix Market file")


# --- .h5ad


def test_a_file_that_needs_anndata_says_so(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "anndata", None)
    (tmp_path / "a.h5ad").write_bytes(b"")
    refused(tmp_path / "a.h5ad", r"pip install 'vae_jax\[anndata\]'", UsageError)


def annotated(path, x, **others):
    anndata = pytest.importorskip("anndata")
    import pandas as pd

    obs = pd.DataFrame({"batch": ["u", "v", "v"] * 10, "donor": np.arange(30) % 4}, index=CELLS)
    held = anndata.AnnData(x, obs=obs, var=pd.DataFrame(index=GENES), **others)
    held.write_h5ad(path)
    return path


@pytest.mark.parametrize("make", [np.asarray, scipy.sparse.csr_matrix, scipy.sparse.csc_matrix])
def test_an_annotated_matrix_is_read_with_its_names(tmp_path, make):
    path = annotated(tmp_path / "a.h5ad", make(COUNTS.astype(np.float32)))
    dataset = load(path)
    assert_is_counts(dataset)
    assert dataset.classes is None
    labeled = load(path, label="batch")
    assert labeled.classes == ("u", "v")
    for split in (labeled.train, labeled.test):
        own = [CELLS.index(name) % 3 > 0 for name in split.ids]
        np.testing.assert_array_equal(split.labels, own)
    refused(path, "column of obs 'dose' is unknown.*: choose from", UsageError, label="dose")
    refused(path, "leave the others out", UsageError, ignore="batch")


@pytest.mark.parametrize("make", [np.asarray, scipy.sparse.csr_matrix])
def test_columns_of_obs_are_conditions(tmp_path, make):
    """Levels as unit vectors, numbers standardized, beside a label, each row with its own."""
    path = annotated(tmp_path / "a.h5ad", make(COUNTS.astype(np.float32)))
    dataset = load(path, condition=["batch", "donor"], label="batch")
    assert_is_counts(dataset)
    assert [c.name for c in dataset.schema.given] == ["batch", "donor"]
    for split in (dataset.train, dataset.valid, dataset.test):
        rows = np.array([CELLS.index(name) for name in split.ids])
        np.testing.assert_array_equal(split.condition[:, 0], rows % 3 > 0)
        center, scale = dataset.schema.given[1].center, dataset.schema.given[1].scale
        np.testing.assert_allclose(split.condition[:, 1] * scale + center, rows % 4, atol=1e-6)
        np.testing.assert_array_equal(split.labels, rows % 3 > 0)
    np.testing.assert_allclose(dataset.train.condition[:, 1].std(), 1, atol=1e-6)
    objective = objectives.bind("cvae", num_examples=30, condition="batch+donor")
    assert objective.conditions(dataset).num == 2
    alone = load(path, condition="donor", kinds={"donor": "categorical"})
    donors = np.array([CELLS.index(name) % 4 for name in alone.test.ids])
    np.testing.assert_array_equal(alone.test.condition, np.eye(4)[donors])
    standardized = data.load(str(path), condition="batch")
    assert [c.name for c in standardized.schema.used] == GENES
    told = refused(path, "column of obs 'dose' is unknown", UsageError, condition=["batch", "dose"])
    assert told.endswith("choose from batch, donor")


def test_a_layer_is_chosen_by_its_name(tmp_path):
    scaled = (COUNTS / 3).astype(np.float32)
    path = annotated(tmp_path / "a.h5ad", scaled, layers={"counts": COUNTS})
    assert not load(path).is_whole
    assert any("other matrices by `layer`: 'counts'" in note for note in load(path).notes)
    assert_is_counts(load(path, layer="counts"))
    refused(path, "layer 'count' is unknown", UsageError, layer="count")
    np.save(tmp_path / "a.npy", COUNTS)
    refused(tmp_path / "a.npy", "layer=counts: chooses a matrix of an", UsageError, layer="counts")
    path.write_bytes(path.read_bytes()[:500])
    refused(path, "is no readable .h5ad file")
