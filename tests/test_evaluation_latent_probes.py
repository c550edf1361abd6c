"""Probes on codes whose labels are known to be there, or not to be."""

import json

import numpy as np
import pytest
import scipy.stats

from vae_jax.errors import UsageError
from vae_jax.evaluation import latent_probes as probes


def separable(seed, num, num_classes=4):
    """Codes around points on a circle, far apart, and their labels."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(num_classes, size=num)
    angle = 2 * np.pi * labels / num_classes
    centre = 10 * np.stack([np.cos(angle), np.sin(angle), 0 * angle], 1)
    return (centre + rng.standard_normal((num, 3))).astype(np.float32), labels


def test_labels_that_are_there_are_read():
    train, test = separable(0, 200), separable(1, 100)
    for probe in (probes.knn_probe, probes.linear_probe):
        result = probe(*train, *test)
        assert (result.value, result.standard_error, result.converged) == (1.0, 0.0, True)
        words = np.array(["one", "two", "three", "four"])
        assert probe(train[0], words[train[1]], test[0], words[test[1]]).value == 1.0


def test_labels_that_are_not_there_are_guessed():
    rng = np.random.default_rng(0)
    codes, labels = rng.standard_normal((3000, 2)), rng.integers(4, size=3000)
    for probe in (probes.knn_probe, probes.linear_probe):
        result = probe(codes[:1500], labels[:1500], codes[1500:], labels[1500:])
        assert result.standard_error == pytest.approx((0.25 * 0.75 / 1500) ** 0.5, rel=0.1)
        assert abs(result.value - 0.25) < 4 * result.standard_error


def test_the_bayes_rate_of_two_gaussians_is_reached():
    rng = np.random.default_rng(0)
    labels = rng.integers(2, size=8000)
    codes = rng.standard_normal((8000, 2)) + 1.6 * labels[:, None] * [1, 0]
    best = scipy.stats.norm.cdf(0.8)
    parts = probes.split(8000, 0, test_fraction=0.5)
    halves = [(codes[rows], labels[rows]) for rows in parts]
    result = probes.linear_probe(*halves[0], *halves[1])
    assert abs(result.value - best) < 4 * result.standard_error
    result = probes.knn_probe(*halves[0], *halves[1], num_neighbours=150)
    assert abs(result.value - best) < 4 * result.standard_error


def test_knn_separates_rings_and_a_linear_probe_does_not():
    rng = np.random.default_rng(0)
    labels = rng.integers(2, size=800)
    angle = rng.uniform(0, 2 * np.pi, 800)
    codes = (1 + 2 * labels[:, None]) * np.stack([np.cos(angle), np.sin(angle)], 1)
    halves = [(codes[rows], labels[rows]) for rows in np.split(np.arange(800), 2)]
    assert probes.knn_probe(*halves[0], *halves[1]).value == 1.0
    assert probes.linear_probe(*halves[0], *halves[1]).value < 0.7


def test_one_neighbour_knows_what_it_has_seen():
    codes, labels = np.random.default_rng(0).standard_normal((50, 2)), np.arange(50) % 7
    assert probes.knn_probe(codes, labels, codes, labels, num_neighbours=1).value == 1.0


def test_the_linear_probe_does_not_see_scale():
    train, test = separable(0, 200), separable(1, 100)
    noise = np.random.default_rng(2).standard_normal((300, 3)) * 8
    scale = np.array([1e-3, 1e3, 1.0])

    def accuracy(factor):
        return probes.linear_probe(
            (train[0] + noise[:200]) * factor, train[1], (test[0] + noise[200:]) * factor, test[1]
        ).value

    assert accuracy(1.0) == accuracy(scale) < 1


def test_a_fit_cut_short_is_told():
    train, test = separable(0, 200), separable(1, 100)
    assert not probes.linear_probe(*train, *test, max_steps=1).converged


def test_splits_are_disjoint_and_follow_from_the_seed():
    for num, fraction in ((2, 0.01), (10, 0.3), (1001, 0.999)):
        parts = probes.split(num, 3, test_fraction=fraction)
        np.testing.assert_array_equal(np.sort(np.concatenate(parts)), np.arange(num))
        assert min(map(len, parts)) >= 1
    assert len(probes.split(10, 3, test_fraction=0.3).test) == 3
    first, again, other = (probes.split(100, seed).test for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_summary_is_what_is_defined_and_plain():
    train, test = separable(0, 200), separable(1, 100)
    result = probes.evaluate(*train, *test)
    assert {name.removesuffix("_standard_error") for name in result} == set(probes.DEFINITIONS)
    assert all(len(line) < 100 and "\n" not in line for line in probes.DEFINITIONS.values())
    assert json.loads(json.dumps(result)) == result
    assert (result["num_train"], result["num_test"], result["num_classes"]) == (200, 100, 4)
    assert result["knn_accuracy"] == result["linear_accuracy"] == 1
    commonest = np.argmax(np.bincount(train[1]))
    assert result["majority_accuracy"] == np.mean(test[1] == commonest)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"train_codes": np.full((4, 2), np.nan)}, "train_codes: 8 of 8 values are not finite"),
        ({"test_codes": np.zeros((3, 5))}, r"\[4, 2\], \[4\], \[3, 5\], \[3\]: must be"),
        ({"test_labels": np.zeros(2)}, "must be"),
        ({"train_labels": np.ones(4)}, "train_labels: all are 1.0"),
        ({"num_neighbours": 5}, "num_neighbours=5: must be from 1 to the 4"),
        ({"max_steps": 0}, "max_steps=0: must be at least 1"),
    ],
)
def test_invalid_probes_are_refused_in_one_line(change, match):
    arguments = {
        "train_codes": np.zeros((4, 2)),
        "train_labels": np.arange(4),
        "test_codes": np.zeros((3, 2)),
        "test_labels": np.arange(3),
        "num_neighbours": 1,
    }
    with pytest.raises(UsageError, match=match) as caught:
        probes.evaluate(**(arguments | change))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("num", "fraction"), [(1, 0.5), (5, 0.0), (5, 1.0), (5, float("nan"))])
def test_splits_that_leave_a_side_empty_are_refused(num, fraction):
    with pytest.raises(UsageError, match="must be"):
        probes.split(num, 0, test_fraction=fraction)
