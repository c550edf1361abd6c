"""Wide sparse counts stay sparse: the rows of a batch become dense when it is made."""

import tracemalloc

import numpy as np
import pytest
import scipy.sparse
from test_streaming import batch, make_feed, no_pictures  # noqa: F401

from vae_jax import data, likelihoods, make_model
from vae_jax.data import _dataset, _sparse
from vae_jax.errors import UsageError
from vae_jax.lab import config, train

RNG = np.random.default_rng(0)
COUNTS = (RNG.poisson(0.2, (90, 40)) * RNG.integers(1, 5, (90, 40))).astype(np.uint16)


def saved(folder, x):
    scipy.sparse.save_npz(folder / "sparse.npz", scipy.sparse.csr_array(x))
    np.save(folder / "dense.npy", x)
    return str(folder / "sparse.npz"), str(folder / "dense.npy")


@pytest.mark.parametrize("least", [0, 2**27])
def test_a_wide_matrix_stays_sparse_where_that_saves_memory(tmp_path, monkeypatch, least):
    monkeypatch.setattr(_sparse, "_BYTES_OF_BLOCKS", least)
    sparse, _ = saved(tmp_path, COUNTS * (np.arange(90) % 3 == 0)[:, None])
    dataset = data.load(sparse, scaling="none")
    assert dataset.streamed == isinstance(dataset.train.x, data.Rows) == (least == 0)
    assert not data.load(sparse, scaling="none", loading="memory").streamed
    # a matrix of few zeros takes more than its dense form
    full, _ = saved(tmp_path, COUNTS + 1)
    assert not data.load(full, scaling="none").streamed


def run(path, folder, **values):
    flags = {"dataset": path, "likelihood": "nb", "loading": "stream", "widths": "4"}
    flags |= {"latent_dim": "2", "batch_size": "32", "epochs": "2", "learning_rate": "1e-3"}
    (result,) = train.train([config.from_flags({**flags, "workdir": str(folder), **values})])
    return result, (folder / "metrics.csv").read_bytes()


def test_the_feed_gives_the_batches_of_the_dense_form_at_any_step(tmp_path):
    feeds = []
    for path in saved(tmp_path, COUNTS):
        x = data.load(path, scaling="none", loading="stream").train.x
        feeds.append(make_feed(x, steps_at_once=3))
    for step in (0, 1, 7, 2, 3):
        rows = [batch(feed, step) for feed in feeds]
        np.testing.assert_array_equal(*rows, strict=True)
        assert rows[0].any()
    for feed in feeds:
        feed.close()


@pytest.mark.slow
def test_a_run_on_a_sparse_matrix_is_that_on_its_dense_form_to_the_bit(no_pictures, tmp_path):  # noqa: F811
    sparse, dense = saved(tmp_path, COUNTS)
    wanted, rows = run(dense, tmp_path / "dense")
    run(sparse, tmp_path / "sparse", epochs="1")
    found, resumed = run(sparse, tmp_path / "sparse")
    assert resumed == rows
    assert found["elbo"] == wanted["elbo"]
    assert found["step"] == wanted["step"] == 6


def test_memory_follows_the_stored_values(tmp_path, monkeypatch):
    monkeypatch.setattr(_sparse, "_BYTES_OF_BLOCKS", 0)
    monkeypatch.setattr(_dataset, "_BLOCK_BYTES", 2**18)
    place = RNG.integers(0, 1500, 7500), RNG.integers(0, 5000, 7500)
    x = scipy.sparse.coo_array((np.ones(7500, np.float32), place), (1500, 5000))
    scipy.sparse.save_npz(tmp_path / "a.npz", x.tocsr())
    dense_bytes = 1500 * 5000 * 4
    tracemalloc.start()
    dataset = data.load(tmp_path / "a.npz", scaling="none")
    batch = dataset.train.x[np.arange(0, 1000, 10)]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < dense_bytes / 5
    assert batch.shape == (100, 5000)
    assert batch.sum() > 0


def test_a_sparse_matrix_in_python_is_refused_with_what_keeps_it_sparse(tmp_path):
    x = scipy.sparse.csr_matrix(COUNTS)
    with pytest.raises(UsageError, match="x: is a sparse matrix: save it with scipy") as caught:
        make_model(x, likelihood=likelihoods.Poisson())
    assert len(str(caught.value).splitlines()) == 1
