"""Anomalies in series: a VAE of sliding windows beside distances, PCA, isolation forest and kNN.

Two series of the Numenta Anomaly Benchmark (Lavin & Ahmad 2015, arXiv 1510.03336), averaged to one
value in half an hour. A window is a day; its score belongs to its last point, so nothing later is
read. Every method is trained on the windows of the first half of the series that touch no labelled
anomaly, and measured on the points of the second half. A point is an anomaly if a label says so.
F1 is that of the best threshold, as is usual, although no user knows it. With point adjustment
(Xu et al. 2018, arXiv 1802.03903) one alarm counts for the whole labelled interval: the row of
random scores shows what that is worth (Kim et al. 2022, arXiv 2109.05257). It is reported for that
reason only.
"""

import csv
import datetime
import functools
import json
from typing import NamedTuple

import numpy as np
from sklearn.metrics import precision_recall_curve

from experiments.applications import Measure, Trial, _detectors

PROTOCOLS = {"default": "first half for training, without labelled intervals; second half is test"}
SEEDS = 5
MEASURES = (
    _detectors.AUROC,
    _detectors.AP,
    Measure("F1", "of points, best threshold, without point adjustment"),
    Measure("F1 adjusted", "the same after point adjustment, which flatters: compare with random"),
)
OURS = tuple(_detectors.OURS)
_SERIES = {"nyc_taxi": 1, "machine_temperature_system_failure": 6}
"""Name → points in half an hour."""
_WINDOW = 48
_SETTINGS = {
    "latent_dim": 8,
    "widths": (128, 64),
    "variance": "learned_per_dimension",
    "learning_rate": "cosine(2e-3, 0, 100%)",
    "epochs": 100,
    "patience": 10,
    "num_samples": 20,
}


class Series(NamedTuple):
    """A series of N points.

    Attributes:
        values: [N].
        is_anomaly: whether a label covers the point, [N].
    """

    values: np.ndarray
    is_anomaly: np.ndarray


def tasks(protocol: str, data_dir: str | None) -> list[str]:
    """The series."""
    return list(_SERIES)


def methods(trial: Trial) -> dict:
    """Each method's measures."""
    train, test, is_anomaly = windows(_read(trial.task, trial.data_dir))
    noise = np.random.default_rng(trial.seed).random(len(test))
    scores = {"random": lambda: noise}
    scores |= _detectors.baselines(train, test, _WINDOW // 4, trial.seed)
    scores |= _detectors.ours(train, test, _SETTINGS, trial.seed)
    return {name: functools.partial(_measured, each, is_anomaly) for name, each in scores.items()}


def _read(name: str, data_dir: str | None) -> Series:
    """A series in steps of half an hour; an interval is an anomaly if one of its points is."""
    values, labels = (
        _detectors.file_of(data_dir, f"nab/{file}", "github.com/numenta/NAB")
        for file in (f"{name}.csv", "combined_windows.json")
    )
    rows = list(csv.DictReader(values.read_text(encoding="utf-8").splitlines()))
    times = np.array([_time(row["timestamp"]) for row in rows])
    is_anomaly = np.zeros(len(rows), bool)
    for first, last in json.loads(labels.read_text())[f"realKnownCause/{name}.csv"]:
        is_anomaly |= (times >= _time(first)) & (times <= _time(last))
    values = np.array([float(row["value"]) for row in rows])
    size = _SERIES[name]
    num = len(values) // size
    return Series(
        values[: num * size].reshape(num, size).mean(axis=1),
        is_anomaly[: num * size].reshape(num, size).any(axis=1),
    )


def _time(text: str) -> datetime.datetime:
    return datetime.datetime.fromisoformat(text)


def windows(series: Series, size: int = _WINDOW) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Windows of training [N, size] and test [M, size], and the labels [M] of their last points.

    Values are standardized by those of the training half that are no anomalies.
    """
    half = len(series.values) // 2
    usual = series.values[:half][~series.is_anomaly[:half]]
    values = (series.values - usual.mean()) / usual.std()
    cut = np.lib.stride_tricks.sliding_window_view
    every, touched = cut(values, size), cut(series.is_anomaly, size).any(axis=1)
    last = np.arange(len(every)) + size - 1
    train = every[(last < half) & ~touched]
    is_test = last >= half
    return train, every[is_test], series.is_anomaly[last[is_test]]


def _measured(scores, is_anomaly: np.ndarray) -> dict[str, float]:
    """The measures of scores [M] of points, with labels [M]."""
    told = _detectors.measured(scores, is_anomaly)
    found = scores()
    return told | {
        "F1": best_f1(found, is_anomaly),
        "F1 adjusted": best_f1(adjusted(found, is_anomaly), is_anomaly),
    }


def best_f1(scores: np.ndarray, is_anomaly: np.ndarray) -> float:
    """The F1 of the best threshold of scores [M], with labels [M]."""
    precision, recall, _ = precision_recall_curve(is_anomaly, scores)
    return float((2 * precision * recall / np.maximum(precision + recall, 1e-12)).max())


def adjusted(scores: np.ndarray, is_anomaly: np.ndarray) -> np.ndarray:
    """Scores [M] in which each labelled interval has its highest: one alarm counts for all of it.

    Reference:
        Xu et al. 2018, Unsupervised Anomaly Detection via Variational Auto-Encoder for Seasonal
        KPIs in Web Applications, arXiv 1802.03903, section 4.2.
    """
    steps = np.diff(np.concatenate([[0], is_anomaly.astype(int), [0]]))
    found = np.array(scores, np.float64)
    for start, end in zip(np.flatnonzero(steps == 1), np.flatnonzero(steps == -1), strict=True):
        found[start:end] = found[start:end].max()
    return found
