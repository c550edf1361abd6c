"""Applications on anomalies: which rows are seen when, known scores, adjustment of points."""

import functools
import json

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from experiments.applications import (
    Trial,
    _detectors,
    _table,
    anomalies,
    anomalies_pictures,
    anomalies_series,
)
from vae_jax import data
from vae_jax.errors import UsageError

RNG = np.random.default_rng(0)


class Detector:
    """In place of `AnomalyDetector`: the score of a row is its first cell."""

    fitted = 0

    def __init__(self, random_state, **settings):
        assert isinstance(random_state, int)
        self.settings = {"by": "elbo"} | settings

    def fit(self, x):
        Detector.fitted += 1
        self.is_held_out_ = np.arange(len(x)) == 0
        return self

    def set_params(self, by):
        self.settings["by"] = by
        return self

    def score_samples(self, x):
        return np.zeros(len(x)) if self.settings["by"] == "rate" else -x[:, 0]


@pytest.fixture
def detector(monkeypatch):
    monkeypatch.setattr(_detectors, "AnomalyDetector", Detector)
    monkeypatch.setattr(Detector, "fitted", 0)
    return Detector


def test_every_baseline_sees_what_is_far():
    train = RNG.normal(size=(60, 4)) + 3
    far = train.mean(axis=0) + np.array([30.0, -30, 30, -30])
    test = np.concatenate([train[:5] + 0.01, far[None]])
    for name, scores in _detectors.baselines(train, test, 1, seed=0).items():
        assert scores().argmax() == 5, name
    distance = _detectors.baselines(train, test, 1, seed=0)["distance to mean"]()
    np.testing.assert_allclose(distance[5], 60)
    # the squared error of all components is 0
    np.testing.assert_allclose(_detectors.baselines(train, test, 4, seed=0)["PCA"](), 0, atol=1e-20)


def test_one_training_serves_all_scores(detector):
    test = np.array([[1.0], [3.0], [2.0]])
    scores = _detectors.ours(np.zeros((4, 1)), test, {"beta": 2.0}, seed=5)
    assert detector.fitted == 0
    told = {name: each() for name, each in scores.items()}
    assert detector.fitted == 1
    assert told["VAE: −ELBO"].tolist() == [1, 3, 2]
    assert told["VAE: rate"].tolist() == [0, 0, 0]


def test_scores_that_overflow_are_the_strangest():
    is_anomaly = np.array([False, False, True, True])
    found = _detectors.measured(lambda: np.array([1.0, 2.0, np.inf, np.nan]), is_anomaly)
    assert found == {"AUROC": 1.0, "average precision": 1.0}


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(UsageError, match=r"has no a/b.npz: get it from example.org as /"):
        _detectors.file_of(str(tmp_path), "a/b.npz", "example.org")
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b.npz").touch()
    assert _detectors.file_of(str(tmp_path), "a/b.npz", "example.org").is_file()


# --- Tables


@pytest.fixture
def table(tmp_path):
    """Wine with 20 normals and 6 anomalies; the first column says which row it is."""
    x = np.stack([np.arange(26.0), np.full(26, 7.0), RNG.normal(size=26)], axis=1)
    y = np.zeros(26)
    y[[0, 3, 8, 9, 20, 25]] = 1
    (tmp_path / "adbench").mkdir()
    np.savez(tmp_path / "adbench" / "45_wine.npz", X=x, y=y)
    return tmp_path, y


@pytest.mark.parametrize("protocol", anomalies.PROTOCOLS)
def test_training_sees_normals_alone(table, protocol):
    folder, y = table
    train, test, is_anomaly = anomalies.rows(Trial("wine", protocol, 1, str(folder)))
    np.testing.assert_allclose(train.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(train.std(axis=0), [1, 0, 1], atol=1e-12)
    assert (len(train), len(test), is_anomaly.sum()) == (10, 16, 6)
    # a line through two rows gives all places back
    normal = np.flatnonzero(y == 0)
    line = np.polyfit(test[is_anomaly, 0], np.flatnonzero(y), 1)
    of_train, of_test = (np.rint(np.polyval(line, part[:, 0])) for part in (train, test))
    assert sorted([*of_train, *of_test]) == [*range(26)]
    assert set(of_train) <= set(normal)
    is_in_order = np.array_equal(of_train, normal[:10])
    assert is_in_order == (protocol == "dte")
    np.testing.assert_array_equal(y[of_test.astype(int)], is_anomaly)


def test_each_seed_has_a_split_of_its_own(table):
    folder, _ = table
    one, two, again = (
        anomalies.rows(Trial("wine", "clean", seed, str(folder)))[0] for seed in (0, 1, 0)
    )
    assert not np.array_equal(one, two)
    np.testing.assert_array_equal(one, again)


def test_all_methods_are_measured(table, detector):
    folder, _ = table
    methods = anomalies.methods(Trial("wine", "clean", 0, str(folder)))
    assert [*methods] == [*_detectors.BASELINES, *anomalies.OURS]
    told = {name: each() for name, each in methods.items()}
    assert told["VAE: rate"]["AUROC"] == 0.5
    assert all(0 <= found["AUROC"] <= 1 for found in told.values())


def test_candidates_are_compared_without_test_rows(table, monkeypatch):
    folder, _ = table
    monkeypatch.setattr(anomalies, "AnomalyDetector", Detector)
    trial = Trial("wine", "settings", 0, str(folder))
    methods = anomalies.methods(trial)
    assert anomalies._CHOSEN in methods
    train, *_ = anomalies.rows(trial)
    # the score of a row is its first cell, and the first is held out
    assert all(each() == {"held-out nats": train[0, 0]} for each in methods.values())


def test_the_steps_do_not_depend_on_the_rows():
    for num in (60, 1_000, 3_357):
        settings = anomalies.settings(num, 9, anomalies._CHOSEN)
        steps = settings["epochs"] * -(-int(0.9 * num) // settings["batch_size"])
        assert anomalies._STEPS <= steps < 1.02 * anomalies._STEPS


def test_the_notes_say_where_a_baseline_is_better():
    def result(ours, knn):
        return {"VAE: −ELBO": {"AUROC": ours}, "kNN": {"AUROC": knn}}

    results = {("a", seed): result(0.9, 0.95 + 0.002 * seed) for seed in range(3)}
    results |= {("b", seed): result(0.9, 0.8) for seed in range(3)}
    complete = {name: {"AUROC": 0.5} for name in _detectors.BASELINES}
    told = anomalies.notes({key: complete | found for key, found in results.items()})
    assert len(told) == len(_detectors.BASELINES)
    assert "VAE: −ELBO − kNN = +0.024 ± 0.001 of mean AUROC" in told[-1]
    assert told[-1].endswith("on: a by 0.052")
    assert told[0].endswith("on: no table")
    single = {key: complete | found for key, found in results.items() if key[1] == 0}
    assert "kNN = +0.025 of mean AUROC" in anomalies.notes(single)[-1]


# --- Series


def test_windows_do_not_read_what_comes_later():
    values = np.arange(20.0)
    is_anomaly = np.zeros(20, bool)
    is_anomaly[[4, 15, 16]] = True
    train, test, told = anomalies_series.windows(anomalies_series.Series(values, is_anomaly), 3)
    usual = np.delete(np.arange(10.0), 4)
    first = {round(row[0] * usual.std() + usual.mean()) for row in train}
    assert first == {0, 1, 5, 6, 7}  # none touches 4 or 10
    last = np.rint(test[:, -1] * usual.std() + usual.mean())
    assert last.tolist() == [*range(10, 20)]
    np.testing.assert_array_equal(told, is_anomaly[10:])


def test_labels_cover_the_intervals_of_a_file(tmp_path):
    folder = tmp_path / "nab"
    folder.mkdir()
    lines = [f"2014-07-01 {i // 2:02}:{30 * (i % 2):02}:00,{i}" for i in range(48)]
    (folder / "nyc_taxi.csv").write_text("timestamp,value\n" + "\n".join(lines))
    spans = [["2014-07-01 02:00:00.000000", "2014-07-01 03:00:00.000000"]]
    text = json.dumps({"realKnownCause/nyc_taxi.csv": spans})
    (folder / "combined_windows.json").write_text(text)
    series = anomalies_series._read("nyc_taxi", str(tmp_path))
    assert series.values.tolist() == [*range(48)]
    assert np.flatnonzero(series.is_anomaly).tolist() == [4, 5, 6]


def test_f1_and_its_adjustment_by_hand():
    is_anomaly = np.array([0, 1, 1, 1, 0, 0, 1, 0], bool)
    scores = np.array([3.0, 1, 9, 0, 2, 0, 1, 0])
    # thresholds 9: 1 of 1 right of 4, F1 2/5; 1: 3 of 5 right of 4, F1 6/9
    assert anomalies_series.best_f1(scores, is_anomaly) == pytest.approx(6 / 9)
    adjusted = anomalies_series.adjusted(scores, is_anomaly)
    assert adjusted.tolist() == [3, 9, 9, 9, 2, 0, 1, 0]
    assert scores[1] == 1
    # 3 of 3 right of 4
    assert anomalies_series.best_f1(adjusted, is_anomaly) == pytest.approx(6 / 7)


def test_adjustment_makes_a_random_score_look_good():
    is_anomaly = np.zeros(4_000, bool)
    is_anomaly[1_000:1_300] = is_anomaly[3_000:3_100] = True
    noise = RNG.random(4_000)
    assert roc_auc_score(is_anomaly, noise) == pytest.approx(0.5, abs=0.05)
    assert anomalies_series.best_f1(noise, is_anomaly) < 0.25
    adjusted = anomalies_series.adjusted(noise, is_anomaly)
    assert anomalies_series.best_f1(adjusted, is_anomaly) > 0.8


# --- Pictures


@pytest.mark.parametrize("protocol", ["one_class", "held_out"])
def test_one_digit_is_known_or_unknown(protocol, monkeypatch):
    load = functools.partial(data.load, "digits")
    monkeypatch.setattr(anomalies_pictures.data, "load", lambda name, data_dir: load())
    monkeypatch.setattr(anomalies_pictures, "_NUM_TEST", 100)
    monkeypatch.setitem(anomalies_pictures._NUM_TRAIN, protocol, 90)
    train, test, is_anomaly = anomalies_pictures._digits(Trial("digit 3", protocol, 0, None))
    assert (train.shape, test.shape) == ((90, 64), (100, 64))
    assert 0 <= train.min() < train.max() <= 1
    dataset = load()

    def labels_of(rows, part):
        every = np.asarray(dataset.decode(np.asarray(part.x[:]))).reshape(-1, 64)
        near = np.square(rows[:, None] - every[None]).sum(axis=2)
        assert near.min(axis=1).max() == 0
        return np.asarray(part.labels)[near.argmin(axis=1)]

    is_three = labels_of(test, dataset.test) == 3
    np.testing.assert_array_equal(is_anomaly, is_three != (protocol == "one_class"))
    of_train = labels_of(train, dataset.train) == 3
    assert (of_train.all() if protocol == "one_class" else not of_train.any()) == np.True_


def test_normal_xrays_are_for_training(tmp_path):
    (tmp_path / "medical").mkdir()
    path = tmp_path / "medical" / "pneumoniamnist_reassembled.npz"
    x = np.arange(6, dtype=np.uint8)[:, None, None] * np.full((1, 28, 28), 51, np.uint8)
    y = np.array([[0], [1], [0], [1], [1], [0]], np.uint8)
    np.savez(path, train_images=x, train_labels=y, test_images=x[:4], test_labels=y[:4])
    trial = Trial("pneumonia", "pneumonia", 0, str(tmp_path))
    train, test, is_anomaly = anomalies_pictures._xrays(trial)
    np.testing.assert_allclose(train[:, 0], [0, 0.4, 1])
    np.testing.assert_allclose(test[:, 783], [0, 0.2, 0.4, 0.6], rtol=1e-6)
    assert is_anomaly.tolist() == [False, True, False, True]


def test_independent_pixels_by_hand():
    train = np.array([[0.0, 0.2], [1.0, 0.6]])
    test = np.array([[1.0, 0.0], [0.5, 1.0]])
    expected = [np.log(2) - np.log(0.6), np.log(2) - np.log(0.4)]
    np.testing.assert_allclose(anomalies_pictures.independent_pixels(train, test), expected)


def test_the_notes_say_which_scores_invert():
    results = {
        ("digit 1", seed): {"kNN": {"AUROC": 0.9}, "PCA": {"AUROC": 0.3 + 0.1 * seed}}
        for seed in range(2)
    }
    told = anomalies_pictures.notes(results)
    assert told == ["digit 1: PCA inverts: AUROC 0.350 ± 0.050, below 0.5"]
    single = {("digit 1", 0): results["digit 1", 0]}
    assert anomalies_pictures.notes(single) == ["digit 1: PCA inverts: AUROC 0.300, below 0.5"]


def test_a_measure_of_another_protocol_has_no_table():
    results = {(task, 0): {"VAE: −ELBO": {"AUROC": 0.5}} for task in ("a", "b")}
    told = "\n".join(_table.lines(anomalies, ["a", "b"], results))
    assert "| AUROC |" in told
    assert "held-out" not in told
    assert "average precision" not in told
