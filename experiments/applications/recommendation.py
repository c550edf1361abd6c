"""Recommendation: which items will users of whom a few ratings are known rate highly?

The protocol of Liang et al. 2018 (arXiv 1802.05814): users are held out; four fifths of the ratings
of a held-out user are known to each method, which ranks all other items; the last fifth is looked
for. Beside popularity and item kNN there is EASE (Steck 2019, arXiv 1905.03375), a linear model in
closed form, which is hard to beat on few data. Each method has its settings chosen by NDCG@100 of
the validation users, and is trained on the training users alone. The seed decides which users are
held out, what is kept aside of them, and the draws of a model: so methods are compared by pairs.
"""

import functools
import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

import vae_jax
from experiments.applications import Measure, Trial
from vae_jax import data, likelihoods
from vae_jax.evaluation import ranking

PROTOCOLS = {
    "default": "ratings of at least 4 stars count, users of at least 5 of them, items of at least"
    " 3; 60 users each to validate and to test"
}
SEEDS = 3
MEASURES = (
    Measure("NDCG@100", "of the items kept aside, as Liang et al. define it, mean over users"),
    Measure("Recall@20", "the share of them among the first 20, of at most 20"),
    Measure("Recall@50", "the share of them among the first 50, of at most 50"),
)
OURS = ("Mult-VAE", "Mult-DAE")
_FILES = {"movielens-small": "ratings/ratings.csv"}
_READ: dict[str, Any] = {"rating_at_least": 4, "min_item_ratings": 3, "num_valid": 1}
_NUM_HELD, _FEWEST, _ASIDE = 60, 5, 0.2  # users each; ratings of a user with some aside; the share
_NEIGHBORS, _SHRINKAGE = (20, 50, 100, 200), (0.0, 20.0)
_PENALTIES = (30.0, 100.0, 300.0, 1000.0)
_BETAS, _DECAYS = (0.2, 0.5), (0.1, 3.0)
_WIDTHS = {"beta_vae": (600,), "autoencoder": ()}  # and a code of 200, as in the paper
_SIZES: dict[str, Any] = {"latent_dim": 200, "activation": "tanh"}
_EPOCHS, _EVERY, _BATCH = 30, 3, 100  # the users are few: in the paper, batches of 500
_RATE = "cosine(3e-3, 0, 100%)"

Ranker = Callable[[np.ndarray], np.ndarray]
"""Known ratings [B, D] to the scores of all items [B, D]."""


class Users(NamedTuple):
    """Users that are held out.

    Attributes:
        known: the ratings that methods see, 1 for each, [N, D].
        aside: those that are looked for, [N, D].
    """

    known: np.ndarray
    aside: np.ndarray


class Split(NamedTuple):
    """Ratings, 1 for each: of training users [N, D], and of users held out."""

    train: np.ndarray
    valid: Users
    test: Users


def tasks(protocol: str, data_dir: str | None) -> list[str]:
    """The tables of ratings."""
    return [*_FILES]


def methods(trial: Trial) -> dict:
    """Each method's measures."""
    dataset = data.load(_FILES[trial.task], data_dir=trial.data_dir, **_READ)
    split = divided(whole(dataset), trial.seed, _NUM_HELD)
    candidates = {
        "popularity": lambda: iter([popularity(split.train)]),
        "item kNN": lambda: itertools.starmap(
            functools.partial(item_neighbors, split.train),
            itertools.product(_NEIGHBORS, _SHRINKAGE),
        ),
        "EASE": lambda: map(functools.partial(ease, split.train), _PENALTIES),
        "Mult-VAE": lambda: _models("beta_vae", split, trial.seed),
        "Mult-DAE": lambda: _models("autoencoder", split, trial.seed),
    }
    return {name: functools.partial(_of_best, found, split) for name, found in candidates.items()}


def _of_best(candidates: Callable, split: Split) -> dict[str, float]:
    """The measures on the test users of what ranks best for the validation users."""
    best = max(candidates(), key=lambda rank: _mean_ndcg(rank, split.valid))
    found = ranking.evaluate(best(split.test.known), *split.test)
    names = ("ndcg_100", "recall_20", "recall_50")
    return {
        measure.name: float(found[name].mean())
        for measure, name in zip(MEASURES, names, strict=True)
    }


def _mean_ndcg(rank: Ranker, users: Users) -> float:
    return float(ranking.evaluate(rank(users.known), *users)["ndcg_100"].mean())


# --- Splits


def whole(dataset: Any) -> np.ndarray:
    """The ratings of all users of a dataset, what is kept aside among them: [N, D] of 0 and 1."""
    held = (dataset.valid, dataset.test)
    rows = [np.asarray(dataset.train.x), *(np.asarray(s.x) | np.asarray(s.aside) for s in held)]
    return np.concatenate(rows).astype(np.float32)


def divided(ratings: np.ndarray, seed: int, num_held: int) -> Split:
    """Holds out users, and keeps a fifth of the ratings of each of them aside.

    Items that no training user rated are left out, and then users with fewer than 5 ratings of the
    others, of whom nothing could be kept aside.

    Args:
        ratings: [N, D] of 0 and 1.
        seed: decides all, a count.
        num_held: users to validate, and as many to test, a count.
    """
    draw = np.random.default_rng(seed)
    order = draw.permutation(len(ratings))
    train, valid, test = np.split(order, [-2 * num_held, -num_held])
    ratings = ratings[:, ratings[train].any(axis=0)]
    return Split(ratings[train], *(_folded(ratings[rows], draw) for rows in (valid, test)))


def _folded(ratings: np.ndarray, draw: np.random.Generator) -> Users:
    ratings = ratings[ratings.sum(axis=1) >= _FEWEST]
    aside = np.zeros_like(ratings)
    for user, row in enumerate(ratings):
        items = np.flatnonzero(row)
        aside[user, draw.choice(items, int(_ASIDE * len(items)), replace=False)] = 1
    return Users(ratings - aside, aside)


# --- Baselines


def popularity(train: np.ndarray) -> Ranker:
    """Ranks items by how many of the users [N, D] rated them."""
    counts = train.sum(axis=0)
    return lambda known: np.broadcast_to(counts, known.shape)


def item_neighbors(train: np.ndarray, num: int, shrinkage: float) -> Ranker:
    """Ranks items by their similarity to those that are known, each item having few neighbors.

    The similarity is the cosine of two columns of the ratings [N, D], with a number added to the
    product of their lengths, so that items of few ratings are less similar.

    Args:
        train: [N, D] of 0 and 1.
        num: neighbors of an item, a count.
        shrinkage: the number that is added, a scalar.

    Reference:
        Deshpande & Karypis 2004, Item-based top-N recommendation algorithms, ACM TOIS 22.
    """
    products = train.T @ train
    lengths = np.sqrt(np.diag(products))
    similar = products / (np.outer(lengths, lengths) + shrinkage)
    np.fill_diagonal(similar, 0.0)
    if num < len(similar):
        least = np.partition(similar, -num, axis=1)[:, -num, None]
        similar = np.where(similar >= least, similar, 0.0)
    return lambda known: known @ similar.T


def ease(train: np.ndarray, penalty: float) -> Ranker:
    """The best linear model of each item from all others, by least squares with a penalty.

    With P = (XᵀX + λI)⁻¹ the weights are B_ij = −P_ij / P_jj, and B_jj = 0.

    Args:
        train: X, [N, D] of 0 and 1.
        penalty: λ, a scalar.

    Reference:
        Steck 2019, Embarrassingly shallow autoencoders for sparse data, arXiv 1905.03375, equation
        8.
    """
    gram = (train.T @ train).astype(np.float64)
    inverse = np.linalg.inv(gram + penalty * np.eye(len(gram)))
    weights = inverse / -np.diag(inverse)
    np.fill_diagonal(weights, 0.0)
    return lambda known: known @ weights


# --- Models


def _models(objective: str, split: Split, seed: int):
    """For each strength, the ranker of the epoch that ranks best for the validation users."""
    is_variational = objective == "beta_vae"
    model = vae_jax.make_model(
        (split.train.shape[1],),
        objective=objective,
        likelihood=likelihoods.Multinomial("l2"),
        input_dropout=0.5,
        widths=_WIDTHS[objective],
        **_SIZES,
    )
    rank = jax.jit(model.reconstruct)
    for strength in _BETAS if is_variational else _DECAYS:
        best: list = [-1.0, None]

        def keep(epoch, best=best):
            if epoch.epoch % _EVERY == 0:
                found = _mean_ndcg(lambda known: np.asarray(rank(epoch.params, known)), split.valid)
                if found > best[0]:
                    best[:] = found, epoch.params

        own = {"beta": f"linear(0, {strength}, 100%)"} if is_variational else {}
        decay = {} if is_variational else {"optimizer": "adamw", "weight_decay": strength}
        vae_jax.fit(
            objective,
            model,
            split.train,
            epochs=_EPOCHS,
            batch_size=_BATCH,
            learning_rate=_RATE,
            seed=seed,
            callbacks=[keep],
            progress=False,
            **decay,
            **own,
        )
        yield lambda known, params=best[1]: np.asarray(rank(params, known))
