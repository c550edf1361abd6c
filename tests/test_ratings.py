"""Ratings become users × items: whose they are, who is held out, what is kept aside, and ranks."""

import math

import jax
import numpy as np
import pytest

from vae_jax import data, make_model
from vae_jax.data import _sparse
from vae_jax.errors import DataError, UsageError
from vae_jax.evaluation import ranking
from vae_jax.evaluation.subject import NotApplicableError, Subject

RNG = np.random.default_rng(0)
NUM_USERS, NUM_ITEMS = 40, 25
PAIRS = RNG.permutation(NUM_USERS * NUM_ITEMS)[:400]
USERS, ITEMS = PAIRS // NUM_ITEMS * 3 + 2, PAIRS % NUM_ITEMS + 100
STARS = RNG.integers(1, 11, 400) / 2


def write(path, users=USERS, items=ITEMS, stars=STARS, names=("userId", "movieId", "rating")):
    rows = "\n".join(f"{u},{i},{s}" for u, i, s in zip(users, items, stars, strict=True))
    path.write_text(f"{','.join(names)}\n{rows}\n")
    return path


def refused(path, match, error=DataError, **options):
    with pytest.raises(error, match=match) as caught:
        data.load(str(path), **options)
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


def by_loops(least, num_held):
    """The protocol of Liang et al. 2018, rating by rating: {split: {user: (x, aside)}}, items."""
    rows = [(u, i) for u, i, s in zip(USERS, ITEMS, STARS, strict=True) if s >= least]
    counts = {}
    for user, _ in rows:
        counts[user] = counts.get(user, 0) + 1
    rows = [(u, i) for u, i in rows if counts[u] >= 5]
    users = sorted({u for u, _ in rows})
    users = [users[i] for i in np.random.RandomState(98765).permutation(len(users))]
    groups = {
        "train": users[: -2 * num_held],
        "valid": users[-2 * num_held : -num_held],
        "test": users[-num_held:],
    }
    items = list(dict.fromkeys(i for u, i in rows if u in groups["train"]))
    splits = {}
    for split, own in groups.items():
        draw, found = np.random.RandomState(98765), {}
        for user in sorted(own):
            rated = [i for u, i in rows if u == user and i in items]
            aside = set()
            if split != "train" and len(rated) >= 5:
                chosen = draw.choice(len(rated), size=int(0.2 * len(rated)), replace=False)
                aside = {rated[place] for place in chosen}
            found[user] = ({*rated} - aside, aside)
        splits[split] = {user: found[user] for user in own if any(found[user])}
    return splits, items


@pytest.mark.parametrize("options", [{}, {"num_valid": 6, "loading": "stream"}], ids=str)
def test_users_are_held_out_by_the_protocol(tmp_path, options):
    dataset = data.load(write(tmp_path / "a.csv"), rating_at_least=2.5, **options)
    num_users = sum(len(getattr(dataset, split)) for split in ("train", "valid", "test"))
    splits, items = by_loops(2.5, options.get("num_valid", num_users // 10))
    assert dataset.columns == tuple(map(str, items))
    for split, users in splits.items():
        part = getattr(dataset, split)
        assert part.ids.tolist() == [str(user) for user in users]
        for place, (known, aside) in enumerate(users.values()):
            assert {items[i] for i in np.flatnonzero(part.x[[place]][0])} == known
            if split != "train":
                assert {items[i] for i in np.flatnonzero(part.aside[[place]][0])} == aside
        assert (part.aside is None) == (split == "train")
    assert dataset.likelihood == "multinomial"
    assert dataset.streamed == ("loading" in options)
    assert any("in an order drawn with seed 98765" in note for note in dataset.notes)


def test_columns_are_found_by_name_or_named(tmp_path):
    usual = data.load(write(tmp_path / "a.csv"))
    for names in (("reviewer_id", "item", "stars"), ("customer", "product_id", "score")):
        found = data.load(write(tmp_path / "b.csv", names=names))
        np.testing.assert_array_equal(found.train.x, usual.train.x)
    other = write(tmp_path / "c.csv", names=("who", "what", "liked"))
    named = data.load(other, user="who", item="what", rating="liked", rating_at_least=3)
    chosen = data.load(tmp_path / "a.csv", rating_at_least=3)
    np.testing.assert_array_equal(named.train.x, chosen.train.x)
    # without ratings each row counts
    np.testing.assert_array_equal(data.load(other, user="who", item="what").train.x, usual.train.x)
    # words of numbers are ordered as numbers, as a Parquet file of numbers has them
    words = data.load(write(tmp_path / "d.csv", users=[f"u{u}" for u in USERS]))
    assert {*words.train.ids} != {*usual.train.ids}
    # a table whose columns are set is one, whatever their names
    assert data.load(tmp_path / "a.csv", kinds={"rating": "real"}).shape != usual.shape


def test_rows_that_do_not_count_are_left_out_and_said(tmp_path):
    twice = [*STARS, 0.5]
    path = write(tmp_path / "a.csv", [*USERS, USERS[0]], [*ITEMS, ITEMS[0]], twice)
    dataset = data.load(path, rating_at_least=1)
    assert any("1 ratings of an item that the user rated later" in n for n in dataset.notes)
    path.write_text(path.read_text() + "7,,3\n,101,4\n8,101,\n")
    dataset = data.load(path, rating_at_least=1)
    assert any("3 rows without a user, an item or a rating" in n for n in dataset.notes)
    few = data.load(path, min_item_ratings=18, min_ratings=2)
    assert len(few.columns) < len(dataset.columns)
    assert min(len(few.train), len(few.test)) > 0


def test_settings_of_ratings_that_do_not_fit_are_refused(tmp_path):
    path = write(tmp_path / "a.csv")
    refused(path, "users are left.*: lower `rating_at_least`", rating_at_least=5.5)
    refused(path, "num_valid=20: as many users are held out to test", UsageError, num_valid=20)
    refused(path, "user=who: .*column 'who' is unknown", UsageError, user="who", item="movieId")
    refused(path, "give `item` too", UsageError, user="userId")
    refused(path, "rating_at_least=nan: must be a number", UsageError, rating_at_least=math.nan)
    refused(path, "window=3: cuts series.*holds ratings", UsageError, window=3)
    refused(path, "min_ratings=0: must be an integer, at least 1", UsageError, min_ratings=0)
    table = write(tmp_path / "b.csv", names=("a", "b", "c"))
    refused(table, "has no columns of users, items", UsageError, rating_at_least=4)
    np.save(tmp_path / "a.npy", np.eye(5))
    refused(tmp_path / "a.npy", "min_ratings=3: is a setting of ratings", UsageError, min_ratings=3)
    words = write(tmp_path / "c.csv", stars=["good", "bad"] * 200)
    refused(words, "column 'rating' of ratings holds no numbers")


# --- Ranks


def test_ranks_by_hand():
    """Five items, of which the first is known; the wanted ones are at the ranks 1 and 3."""
    scores = np.array([[9.0, 0.1, 0.4, 0.3, 0.2]])
    seen, wanted = np.array([[1, 0, 0, 0, 0]]), np.array([[0, 0, 1, 0, 1]])
    order = ranking.ranked(scores, seen)
    assert order.tolist() == [[2, 3, 4, 1, 0]]
    best = 1 + 1 / math.log2(3)
    assert ranking.ndcg(order, wanted, 5)[0] == pytest.approx((1 + 1 / 2) / best)
    assert ranking.ndcg(order, wanted, 2)[0] == pytest.approx(1 / best)
    # one item can be found at most, which scikit-learn's share of 2 denies
    assert ranking.ndcg(order, wanted, 1)[0] == 1.0
    assert ranking.recall(order, wanted, 1)[0] == 1.0
    assert ranking.recall(order, wanted, 2)[0] == 0.5
    assert ranking.recall(order, wanted, 3)[0] == 1.0


def test_the_best_ranking_scores_one_and_the_worst_zero():
    wanted = (RNG.random((6, 300)) < 0.1) * 1
    wanted[:, 0] = 1
    none = np.zeros_like(wanted)
    best = ranking.evaluate(wanted + RNG.random(wanted.shape) / 2, none, wanted)
    worst = ranking.evaluate(-wanted.astype(float), none, wanted)
    for name in best:
        np.testing.assert_allclose(best[name], 1.0)
        np.testing.assert_allclose(worst[name], 0.0)


class Copies:
    """A model that reconstructs some scores for each user, whatever it is given."""

    num_conditions, shape = 0, (NUM_ITEMS,)

    def __init__(self, scores):
        self.scores = scores

    def reconstruct(self, params, x):
        return x[:, :1] * 0 + self.scores[None]


def subject_of(dataset, scores):
    decode = {"preprocess": lambda stored, key: dataset.decode(stored)}
    model = Copies(np.asarray(scores, np.float32))
    model.shape = dataset.shape
    return Subject(model, {}, dataset, key=jax.random.key(0), **decode)


def test_a_model_of_popularity_scores_as_popularity(tmp_path):
    dataset = data.load(write(tmp_path / "a.csv"))
    counts = dataset.train.x.sum(axis=0)
    found = ranking.measure(subject_of(dataset, counts / counts.sum()))
    assert {name.removesuffix("_standard_error") for name in found} <= ranking.DEFINITIONS.keys()
    assert found["num_users"] == len(dataset.test)
    for name in ("ndcg_100", "recall_20", "recall_50"):
        assert found[name] == pytest.approx(found[f"popularity_{name}"])
    known = dataset.test.aside[:].argmax(axis=1)
    rows = np.arange(len(known))
    assert (dataset.test.x[rows, known] == 0).all()


def test_other_data_have_nothing_to_rank(tmp_path):
    np.save(tmp_path / "a.npy", RNG.integers(0, 2, (30, 4)))
    dataset = data.load(tmp_path / "a.npy")
    with pytest.raises(NotApplicableError, match="kept aside of ratings"):
        ranking.measure(subject_of(dataset, np.zeros(4)))


def test_wide_ratings_stay_sparse_and_make_a_model(tmp_path, monkeypatch):
    monkeypatch.setattr(_sparse, "_BYTES_OF_BLOCKS", 0)
    monkeypatch.setattr(_sparse, "_LEAST_SAVED", 0)
    dataset = data.load(write(tmp_path / "a.csv"))
    assert dataset.streamed
    assert make_model(dataset, widths=(3,), latent_dim=2).likelihood.requires == "counts"
