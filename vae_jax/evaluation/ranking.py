"""How well the items that held-out users rated are ranked, beside the popularity of items.

A user's code is that of four fifths of the ratings, `Split.x`; the rest, `Split.aside`, is looked
for among all other items, ranked by E[x|z] at the mode of q(z|x).
"""

import functools
from typing import Any

import chex
import jax
import numpy as np

from vae_jax.evaluation._cost import Cost
from vae_jax.evaluation._shared import mean_and_error
from vae_jax.evaluation.subject import NotApplicableError

__all__ = ["COST", "DEFINITIONS", "evaluate", "measure", "ndcg", "ranked", "recall"]

NDCG_AT, RECALL_AT = 100, (20, 50)
"""Items at the top of a ranking, counts."""
_BLOCK_NUMBERS = 2**24  # numbers of train at a time

COST = Cost(place=3, is_quick=True)

DEFINITIONS = {
    "num_users": "held-out users of the test split with ratings that were kept aside",
    "num_items": "the items that are ranked, without those a user is known to have rated",
    f"ndcg_{NDCG_AT}": "Σ 1/log₂(r + 1) over the ranks r ≤ 100 of items kept aside, divided by its "
    "largest possible value, mean over users; as of Liang et al. 2018, not scikit-learn's",
    **{
        f"recall_{k}": f"share of the items kept aside among the first {k}, of min({k}, their "
        "number), mean over users"
        for k in RECALL_AT
    },
    f"popularity_ndcg_{NDCG_AT}": "the same if items are ranked by their ratings in train",
    **{f"popularity_recall_{k}": "the same if items are ranked by popularity" for k in RECALL_AT},
}
"""The meaning of each entry of `measure`; `name_standard_error` is the error of `name`."""


def ranked(scores: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Items in descending order of their scores; those that a user is known to have rated last.

    Args:
        scores: [B, D].
        seen: ratings that the model knows, 0 for none, [B, D].

    Returns:
        Indices of items, [B, D]; equal scores in the order of items.
    """
    chex.assert_equal_shape([scores, seen])
    hidden = np.where(np.asarray(seen) > 0, -np.inf, np.asarray(scores, np.float64))
    return np.argsort(-hidden, axis=1, kind="stable")


def _hits(order: np.ndarray, wanted: np.ndarray, k: int) -> np.ndarray:
    """Whether each of the first k items of a ranking is wanted, [B, min(k, D)]."""
    return np.take_along_axis(np.asarray(wanted) > 0, order[:, :k], axis=1)


def ndcg(order: np.ndarray, wanted: np.ndarray, k: int = NDCG_AT) -> np.ndarray:
    """Normalized discounted cumulative gain at k of wanted items, each of the gain 1.

    Σ_{r ≤ k} [wanted at rank r] / log₂(r + 1), divided by the sum over r ≤ min(k, wanted items).

    Args:
        order: see `ranked`, [B, D].
        wanted: above 0 for wanted items, [B, D]; at least one for each user.
        k: the ranks that count.

    Returns:
        [B], in [0, 1].

    Reference:
        Liang et al. 2018, Variational Autoencoders for Collaborative Filtering, arXiv 1802.05814,
        section 4.2, and the code of its authors.
    """
    found = _hits(order, wanted, k)
    gains = 1.0 / np.log2(np.arange(found.shape[1]) + 2.0)
    most = np.minimum(np.sum(np.asarray(wanted) > 0, axis=1), found.shape[1])
    return (found @ gains) / np.cumsum(gains)[most - 1]


def recall(order: np.ndarray, wanted: np.ndarray, k: int) -> np.ndarray:
    """The share of wanted items among the first k, of at most k: [B], in [0, 1].

    Args:
        order, wanted, k: see `ndcg`; arrays [B, D].

    Reference:
        Liang et al. 2018, arXiv 1802.05814, section 4.2.
    """
    found = _hits(order, wanted, k).sum(axis=1)
    return found / np.minimum(k, np.sum(np.asarray(wanted) > 0, axis=1))


def evaluate(scores: np.ndarray, seen: np.ndarray, wanted: np.ndarray) -> dict[str, np.ndarray]:
    """NDCG and recall of each user, by name: [B].

    Args:
        scores, seen: see `ranked`, [B, D].
        wanted: see `ndcg`, [B, D].
    """
    order = ranked(scores, seen)
    found = {f"ndcg_{NDCG_AT}": ndcg(order, wanted)}
    return found | {f"recall_{k}": recall(order, wanted, k) for k in RECALL_AT}


def measure(subject) -> dict[str, Any]:
    """Ranks the items for the held-out users of the test split, as the model and by popularity.

    Args:
        subject: a `vae_jax.evaluation.subject.Subject`.

    Returns:
        The entries of `DEFINITIONS`, scalars, with standard errors.

    Raises:
        NotApplicableError: the data are no ratings, or no user has ratings kept aside.
    """
    aside = getattr(subject.dataset.test, "aside", None)
    if aside is None:
        raise NotApplicableError("it ranks what was kept aside of ratings, and there is nothing")

    @jax.jit
    def restore(params, stored, positions):
        x = subject.inputs(stored, positions)
        return x, subject.given(params, stored, x).reconstruct(params, x)

    popularity = _popularity(subject)
    parts = []
    for stored, positions, num in subject.blocks("test"):
        x, scores = (np.asarray(v)[:num] for v in restore(subject.params, stored, positions))
        wanted = aside[positions[:num]]
        rows = wanted.any(axis=1)
        kept = x[rows], wanted[rows]
        by_model = evaluate(scores[rows], *kept)
        by_count = evaluate(np.broadcast_to(popularity, x[rows].shape), *kept)
        parts.append(by_model | {f"popularity_{name}": v for name, v in by_count.items()})
    users = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    num_users = len(users[f"ndcg_{NDCG_AT}"])
    if num_users == 0:
        raise NotApplicableError("no user of the test split has ratings that were kept aside")
    result: dict[str, Any] = {"num_users": num_users, "num_items": len(popularity)}
    for name, values in users.items():
        result[name], result[f"{name}_standard_error"] = mean_and_error(values)
    return result


def _popularity(subject) -> np.ndarray:
    """How many users of train rated each item, [D]; also of a model of x given a condition."""
    rows = subject.dataset.train.x
    num = max(1, _BLOCK_NUMBERS // rows.shape[1])
    counts = (
        np.sum(rows[first : first + num] > 0, axis=0, dtype=np.int64)
        for first in range(0, len(rows), num)
    )
    return functools.reduce(np.add, counts)
