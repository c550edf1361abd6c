"""Clusters against labels: known answers, invariances, and what they are compared with."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.test_evaluation_subject import Rows, make
from vae_jax.errors import UsageError
from vae_jax.evaluation import clustering
from vae_jax.evaluation.subject import NotApplicableError
from vae_jax.priors import _components

KEY = jax.random.key(0)
CENTERS = np.array([[0.0, 0.0], [6.0, 0.0], [0.0, 6.0]])


def split(num, seed, noise=0.3):
    """Three clusters of unequal size: codes, x that are a rotation of them, labels."""
    rng = np.random.default_rng(seed)
    labels = rng.choice(3, num, p=[0.5, 0.3, 0.2])
    codes = CENTERS[labels] + noise * rng.normal(size=(num, 2))
    turn = np.linalg.qr(np.random.default_rng(7).normal(size=(5, 5)))[0][:2]
    return {"codes": codes, "x": codes @ turn, "labels": labels}


@pytest.fixture(scope="module")
def found():
    prior = _components.mixture(jnp.zeros(3), jnp.float32(CENTERS), jnp.zeros((3, 2)))
    return clustering.evaluate(split(300, 0), split(200, 1), KEY, prior=prior)


def test_clusters_far_apart_are_the_labels(found):
    for way in ("codes", "data", "pca", "prior"):
        for score in ("accuracy", "nmi", "ari"):
            assert found[f"{way}_{score}"] == pytest.approx(1.0), way
    assert (found["num_train"], found["num_test"], found["num_clusters"]) == (300, 200, 3)


def test_names_of_labels_do_not_matter(found):
    names = np.array(["c", "a", "b"])
    train, test = (
        {**each, "labels": names[each["labels"]]} for each in (split(300, 0), split(200, 1))
    )
    renamed = clustering.evaluate(train, test, KEY)
    assert renamed == {name: value for name, value in found.items() if "prior" not in name}


@pytest.mark.slow
def test_a_map_of_few_enough_examples_keeps_far_clusters_apart():
    parts = split(60, 0), split(40, 1)
    found = [clustering.evaluate(*parts, KEY, max_tsne=num) for num in (99, 100)]
    ways = [{name for name in each if name.startswith("tsne")} for each in found]
    assert ways[0] == set()
    for score in ("accuracy", "nmi", "ari"):
        assert found[1][f"tsne_{score}"] == pytest.approx(1.0)


def test_labels_that_say_nothing_of_the_clusters():
    train, test = split(600, 0), split(600, 1)
    labels = np.random.default_rng(2).integers(0, 3, 1200)
    train["labels"], test["labels"] = labels[:600], labels[600:]
    found = clustering.evaluate(train, test, KEY)
    assert found["codes_ari"] == pytest.approx(0.0, abs=0.02)
    assert found["codes_nmi"] == pytest.approx(0.0, abs=0.02)
    assert found["codes_accuracy"] == pytest.approx(1 / 3, abs=0.08)


def test_the_assignment_is_the_best_of_all():
    rng = np.random.default_rng(0)
    clusters, labels = rng.integers(0, 4, 50), rng.integers(0, 4, 50)
    said = clustering.assignment(clusters, labels)

    def right(label_of):
        return sum(
            label_of[cluster] == label for cluster, label in zip(clusters, labels, strict=True)
        )

    best = max(right(dict(enumerate(order))) for order in itertools.permutations(range(4)))
    assert sorted(said.values()) == [0, 1, 2, 3]
    assert right(said) == best


def test_more_clusters_than_labels_leave_some_without_one():
    clusters, labels = np.array([0, 0, 1, 2, 2, 2]), np.array(["a", "a", "b", "b", "b", "b"])
    assert clustering.assignment(clusters, labels) == {0: "a", 2: "b"}
    found = clustering.agreement(clustering.Clusters(clusters, clusters), labels, labels)
    np.testing.assert_array_equal(found["accuracy"], [True, True, False, True, True, True])


def test_scores_of_a_small_table_by_hand():
    """Clusters {aab}, {b}: 2 of 6 pairs lie together by chance in 1 of them."""
    clusters, labels = np.array([0, 0, 0, 1]), np.array([0, 0, 1, 1])
    found = clustering.agreement(clustering.Clusters(clusters, clusters), labels, labels)
    # pairs together in both: 1; in clusters 3, in labels 2; expected 3·2/6 = 1, so ARI is 0
    assert found["ari"] == pytest.approx(0.0)
    entropies = [-(0.75 * np.log(0.75) + 0.25 * np.log(0.25)), np.log(2)]
    joint = -(0.5 * np.log(0.5) + 2 * 0.25 * np.log(0.25))
    assert found["nmi"] == pytest.approx((sum(entropies) - joint) / (sum(entropies) / 2))


def test_components_are_clusters_only_if_they_are_as_many_as_labels():
    prior = _components.mixture(jnp.zeros(4), jnp.zeros((4, 2)), jnp.zeros((4, 2)))
    found = clustering.evaluate(split(60, 0), split(60, 1), KEY, prior=prior)
    assert not any("prior" in name for name in found)


def test_responsibilities_are_bayes_rule():
    mean, logvar = jnp.float32(CENTERS), jnp.float32([[0.0, 0.5]] * 3)
    prior = _components.mixture(jnp.float32([0.1, 0.7, -0.3]), mean, logvar)
    z = jnp.float32([[1.0, 2.0], [3.0, 3.0]])
    each = [
        _components.mixture(jnp.zeros(1), mean[k : k + 1], logvar[k : k + 1]).log_prob(z)
        for k in range(3)
    ]
    joint = np.exp(np.stack(each, axis=-1) + prior.log_weights[None])
    wanted = joint / joint.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(prior.responsibilities(z), wanted, rtol=1e-5)


def test_more_clusters_than_examples_are_refused():
    with pytest.raises(UsageError, match="num_clusters=61: must be at most the 60 examples of the"):
        clustering.evaluate(split(60, 0), split(60, 1), KEY, num_clusters=61)


@pytest.mark.parametrize(
    ("labels", "reason"),
    [
        (None, "the data have no labels"),
        (np.full(23, -1), "the labels of all train examples are unknown"),
        (np.zeros(23, int), "all training examples whose label is known have one label"),
    ],
)
def test_data_without_labels_have_no_clusters_to_compare_with(labels, reason):
    with pytest.raises(NotApplicableError, match=reason):
        clustering.measure(make(Rows(labels=labels)))
