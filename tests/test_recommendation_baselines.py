"""Recommendation: baselines in closed form, users held out, the choice by validation users."""

import types

import numpy as np
import pytest

from experiments.applications import Trial, recommendation
from vae_jax.data import Split

RNG = np.random.default_rng(0)
HELD = ("valid", "test")


def test_each_weight_of_ease_is_a_ridge_regression():
    """Of an item on all others, without itself."""
    x = (RNG.random((30, 6)) < 0.4).astype(np.float64)
    weights = recommendation.ease(x, 2.0)(np.eye(6))
    for item in range(6):
        others = np.delete(np.arange(6), item)
        own = x[:, others]
        ridge = np.linalg.solve(own.T @ own + 2.0 * np.eye(5), own.T @ x[:, item])
        np.testing.assert_allclose(weights[others, item], ridge, rtol=1e-8)
        assert weights[item, item] == 0


def test_neighbors_of_an_item_are_the_most_similar_ones():
    x = (RNG.random((40, 7)) < 0.5).astype(np.float64)
    cosine = (x.T @ x) / np.outer(*[np.linalg.norm(x, axis=0)] * 2)
    np.fill_diagonal(cosine, 0)
    whole = recommendation.item_neighbors(x, 7, 0.0)(np.eye(7))
    np.testing.assert_allclose(whole, cosine, rtol=1e-8)
    few = recommendation.item_neighbors(x, 2, 0.0)(np.eye(7)).T  # of each item, in its row
    for own, row in zip(few, cosine, strict=True):
        assert np.count_nonzero(own) >= 2
        np.testing.assert_allclose(own[own > 0].min(), np.sort(row)[-2])
    shrunk = recommendation.item_neighbors(x, 7, 9.0)(np.eye(7))
    assert (shrunk <= whole).all()
    counts = recommendation.popularity(x)(np.zeros((2, 7)))
    np.testing.assert_array_equal(counts, np.stack([x.sum(axis=0)] * 2))


def test_users_are_held_out_and_a_fifth_is_kept_aside():
    ratings = (RNG.random((50, 40)) < 0.3).astype(np.float32)
    ratings[:, 7] = 0
    split = recommendation.divided(ratings, 3, 10)
    assert split.train.shape == (30, 39)
    assert split.train.any(axis=0).all()
    for users in (split.valid, split.test):
        assert not (users.known * users.aside).any()
        total = (users.known + users.aside).sum(axis=1)
        np.testing.assert_array_equal(users.aside.sum(axis=1), total // 5)
    again = recommendation.divided(ratings, 3, 10)
    np.testing.assert_array_equal(again.test.aside, split.test.aside)
    other = recommendation.divided(ratings, 4, 10)
    assert not np.array_equal(other.train, split.train[:, : other.train.shape[1]])


def test_methods_are_chosen_by_validation_users(monkeypatch):
    """The best of several settings for them, and measured on the others."""
    ratings = (RNG.random((40, 12)) < 0.6).astype(np.uint8)
    held = (Split(ratings[i : i + 1], aside=np.zeros((1, 12), np.uint8)) for i in (38, 39))
    dataset = types.SimpleNamespace(train=Split(ratings[:38]), **dict(zip(HELD, held, strict=True)))
    monkeypatch.setattr(recommendation.data, "load", lambda *_, **__: dataset)
    monkeypatch.setattr(recommendation, "_NUM_HELD", 5)
    monkeypatch.setattr(recommendation, "_SIZES", {"latent_dim": 2, "activation": "tanh"})
    monkeypatch.setattr(recommendation, "_WIDTHS", {"beta_vae": (3,), "autoencoder": ()})
    for name, value in {"_EPOCHS": 2, "_EVERY": 1, "_BETAS": (0.2,), "_DECAYS": (0.1,)}.items():
        monkeypatch.setattr(recommendation, name, value)
    methods = recommendation.methods(Trial("movielens-small", "default", 0, None))
    assert {*recommendation.OURS} <= methods.keys()
    for method in methods.values():
        found = method()
        assert found.keys() == {measure.name for measure in recommendation.MEASURES}
        assert all(0 <= value <= 1 for value in found.values())


def test_the_best_ranker_of_the_validation_users_is_taken():
    ratings = (RNG.random((60, 40)) < 0.3).astype(np.float32)
    split = recommendation.divided(ratings, 0, 10)
    perfect = lambda known: (  # noqa: E731
        split.valid.aside if known is split.valid.known else split.test.aside
    )
    worst = lambda known: -perfect(known)  # noqa: E731
    found = recommendation._of_best(lambda: iter([worst, perfect, worst]), split)
    assert all(value == pytest.approx(1.0) for value in found.values())
