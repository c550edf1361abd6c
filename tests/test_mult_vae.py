"""Mult-VAE as a scikit-learn estimator: what it recommends, sparse rows, its score."""

import numpy as np
import pytest
import scipy.sparse

from vae_jax import likelihoods
from vae_jax.sklearn import MultVAE

RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def mult_vae():
    x = (RNG.random((40, 8)) < 0.4) * RNG.integers(1, 6, (40, 8))
    settings = {"latent_dim": 2, "widths": (4,), "epochs": 2, "random_state": 0}
    return MultVAE(**settings, binarize=2.0).fit(x), x.astype(float)


def test_an_estimator_recommends_what_is_not_rated(mult_vae):
    estimator, x = mult_vae
    items = estimator.recommend(x, 3)
    assert items.shape == (40, 3)
    for row, chosen in zip(x, items, strict=True):
        known = chosen[chosen >= 0]
        assert (row[known] == 0).all()
        assert len(known) == min(3, (row == 0).sum())
    scores = np.where(x > 0, -np.inf, estimator.score_items(x))
    order = np.argsort(-scores, axis=1, kind="stable")[:, :3]
    np.testing.assert_array_equal(items[items >= 0], order[items >= 0])
    assert estimator.trained_.model.input_dropout == 0.5
    assert estimator.trained_.model.likelihood == likelihoods.Multinomial("l2")


def test_sparse_rows_are_as_dense_ones(mult_vae):
    estimator, x = mult_vae
    sparse = scipy.sparse.csr_matrix(x)
    again = MultVAE(**estimator.get_params()).fit(sparse)
    np.testing.assert_array_equal(again.transform(sparse), estimator.transform(x))
    np.testing.assert_array_equal(again.recommend(sparse), estimator.recommend(x))
    assert again.score(sparse) == estimator.score(x)


def test_a_score_is_the_gain_of_what_is_kept_aside(mult_vae, monkeypatch):
    """1 if the items kept aside come first."""
    estimator, x = mult_vae
    assert 0 < estimator.score(x) < 1
    counts = (x > 2).astype(np.float32)
    rows = iter(counts[counts.sum(axis=1) > 1])
    best = {"x": np.stack([*rows])}
    monkeypatch.setattr(estimator, "_applied", lambda use, known: best)
    assert estimator.score(x) == pytest.approx(1.0)
    assert np.isnan(estimator.score(np.eye(8) * 5))
