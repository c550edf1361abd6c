"""Anomalies in tables: scores of a VAE beside distances, PCA, isolation forest, LOF and kNN.

Every method is trained on normal rows alone, and scores the other normal rows and all anomalies of
a table of ADBench (Han et al. 2022, arXiv 2206.09426). Columns are standardized by the training
rows. The VAE holds a tenth of the training rows out: they stop its training, and calibrate the sum
of reconstruction and rate; the baselines train on all. One setting serves all tables: that of the
highest bound of held-out normals of cardio and vowels together, see `--protocol=settings`. No
anomaly is used to choose anything.
Distance to mean is the norm of the standardized row, which a collapsed VAE scores: what does not
exceed it has learned nothing. PCA keeps a quarter of the dimensions and scores the squared error,
kNN the distance to the fifth neighbor. The first score of the VAE takes the seconds of training.
"""

import functools
import math

import numpy as np

from experiments.applications import Measure, Results, Trial, _detectors, _table
from vae_jax.sklearn import AnomalyDetector

PROTOCOLS = {
    "clean": "shuffled: half of the normals, drawn by the seed, are for training",
    "dte": "the first half of the normals in file order is for training (Livernoche et al. 2023, "
    "arXiv 2305.18593), without its resampling of small tables: that copies rows across the split",
    "settings": "candidates of the VAE, compared by the bound of held-out normals of clean; "
    "no test row is read",
}
SEEDS = 5
_BOUND = Measure("held-out nats", "−ELBO of normals that are held out of training", False, 2)
MEASURES = (_detectors.AUROC, _detectors.AP, _BOUND)
OURS = tuple(_detectors.OURS)
_HEADLINE = "VAE: −ELBO"
_TABLES = (
    *("18_Ionosphere", "26_optdigits", "28_pendigits", "2_annthyroid", "30_satellite"),
    *("31_satimage-2", "38_thyroid", "40_vowels", "42_WBC", "45_wine", "4_breastw", "6_cardio"),
)
_STEPS, _BATCH_SIZE = 2_000, 100
_CANDIDATES = {
    "one variance": {"variance": "learned"},
    "variances": {"variance": "learned_per_dimension"},
    "Student-t": {"variance": "learned_per_dimension", "likelihood": "student_t"},
}
_CHOSEN = "Student-t"


def tasks(protocol: str, data_dir: str | None) -> list[str]:
    """The tables."""
    return [name.partition("_")[2] for name in _TABLES]


def methods(trial: Trial) -> dict:
    """Each method's measures."""
    train, test, is_anomaly = rows(trial)
    if trial.protocol == "settings":
        candidates = {name: settings(*train.shape, name) for name in _CANDIDATES}
        return {
            name: functools.partial(_bound, train, each, trial.seed)
            for name, each in candidates.items()
        }
    num_components = max(1, train.shape[1] // 4)
    scores = _detectors.baselines(train, test, num_components, trial.seed)
    chosen = settings(*train.shape, _CHOSEN)
    scores |= _detectors.ours(train, test, chosen, trial.seed)
    return {
        name: functools.partial(_detectors.measured, each, is_anomaly)
        for name, each in scores.items()
    }


def rows(trial: Trial) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Training rows [N, D], test rows [M, D] and whether these are anomalies [M]; standardized."""
    name = next(name for name in _TABLES if name.partition("_")[2] == trial.task)
    source = "github.com/Minqi824/ADBench"
    with np.load(
        _detectors.file_of(trial.data_dir, f"adbench/{name}.npz", source), allow_pickle=False
    ) as file:
        x, y = file["X"].astype(np.float64), file["y"] == 1
    normal, strange = np.flatnonzero(~y), np.flatnonzero(y)
    if trial.protocol != "dte":
        normal = np.random.default_rng(trial.seed).permutation(normal)
    half = len(normal) // 2
    train, test = normal[:half], np.concatenate([normal[half:], strange])
    mean, deviation = x[train].mean(axis=0), x[train].std(axis=0)
    x = (x - mean) / np.where(deviation > 1e-12 * np.abs(mean), deviation, 1.0)
    return x[train], x[test], y[test]


def settings(num_rows: int, num_columns: int, candidate: str) -> dict:
    """The parameters of a detector for as many rows and columns, counts: the same steps for all."""
    per_epoch = -(-int(0.9 * num_rows) // _BATCH_SIZE)
    epochs = -(-_STEPS // per_epoch)
    return {
        "latent_dim": max(2, num_columns // 2),
        "widths": (128, 128),
        "learning_rate": "cosine(2e-3, 0, 100%)",
        "epochs": epochs,
        "patience": -(-epochs // 10),
        "batch_size": _BATCH_SIZE,
        "num_samples": 20,
        **_CANDIDATES[candidate],
    }


def _bound(train: np.ndarray, chosen: dict, seed: int) -> dict[str, float]:
    """−ELBO of the held-out rows of `train` [N, D], by a detector."""
    detector = AnomalyDetector(**chosen, random_state=seed).fit(train)
    return {_BOUND.name: -detector.score_samples(train[detector.is_held_out_]).mean()}


def notes(results: Results) -> list[str]:
    """The VAE's −ELBO against each baseline, over all tables; and where a baseline is better."""
    found = list(dict.fromkeys(task for task, _ in results))
    told = []
    for other in _detectors.BASELINES:
        if any(other not in methods for methods in results.values()):
            continue
        gap, error = _table.paired(results, found, _HEADLINE, other, _detectors.AUROC)
        pairs = {
            task: _table.paired(results, [task], other, _HEADLINE, _detectors.AUROC)
            for task in found
        }
        lost = [f"{t} by {g:.3f}" for t, (g, e) in pairs.items() if g > max(0.01, 2 * e)]
        spread = "" if math.isnan(error) else f" ± {error:.3f}"
        told.append(
            f"{_HEADLINE} − {other} = {gap:+.3f}{spread} of mean AUROC; loses more than 0.01 "
            f"on: {', '.join(lost) or 'no table'}"
        )
    return told
