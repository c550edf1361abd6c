"""Anomalies in pictures: one digit known, one digit unknown, pneumonia; VAEs beside PCA and kNN.

one_class: trained on one digit of MNIST, the nine others are anomalies (Ruff et al. 2018, Deep
SVDD, ICML). held_out: trained on nine digits, the tenth is the anomaly (An & Cho 2015). pneumonia:
trained on normal chest X-rays alone (PneumoniaMNIST of MedMNIST, Yang et al. 2023, Scientific Data
10), the anomalies are those with pneumonia. All methods read the same pixels in [0, 1]. Independent
pixels are what a collapsed VAE scores: what does not exceed them has learned nothing. A score may
invert: an AUROC below 0.5 means that anomalies look more usual than normal pictures.
"""

import functools
import math

import numpy as np

from experiments.applications import Results, Trial, _detectors, _table
from vae_jax import data

PROTOCOLS = {
    "one_class": "at most 2,000 training pictures of one digit, 2,000 test pictures of all digits",
    "held_out": "4,000 training pictures of nine digits, 2,000 test pictures of all digits",
    "pneumonia": "1,214 normal training pictures; 624 test pictures, 234 of them normal",
}
SEEDS = 3
MEASURES = (_detectors.AUROC, _detectors.AP)
OURS = tuple(_detectors.OURS)
_NUM_TRAIN = {"one_class": 2_000, "held_out": 4_000}
_NUM_TEST = 2_000
_NUM_COMPONENTS = 32
_PNEUMONIA = "pneumonia"
_SETTINGS = {
    "latent_dim": 16,
    "widths": (256, 128),
    "likelihood": "bernoulli",
    "learning_rate": "cosine(2e-3, 0, 100%)",
    "epochs": 60,
    "patience": 10,
    "num_samples": 10,
}


def tasks(protocol: str, data_dir: str | None) -> list[str]:
    """The digits, or the one set of X-rays."""
    return [_PNEUMONIA] if protocol == _PNEUMONIA else [f"digit {digit}" for digit in range(10)]


def methods(trial: Trial) -> dict:
    """Each method's measures."""
    read = _xrays if trial.protocol == _PNEUMONIA else _digits
    train, test, is_anomaly = read(trial)
    scores = _detectors.baselines(train, test, _NUM_COMPONENTS, trial.seed)
    scores["independent pixels"] = functools.partial(independent_pixels, train, test)
    scores |= _detectors.ours(train, test, _SETTINGS, trial.seed)
    return {
        name: functools.partial(_detectors.measured, each, is_anomaly)
        for name, each in scores.items()
    }


def independent_pixels(train: np.ndarray, test: np.ndarray) -> np.ndarray:
    """−log p [M] of pictures [M, D] under a Bernoulli of each pixel, its mean over `train` [N, D].

    What a VAE with this likelihood scores if it ignores z; gray levels have high scores.
    """
    mean = np.clip(train.mean(axis=0), 1e-3, 1 - 1e-3)
    return -(test @ np.log(mean) + (1 - test) @ np.log1p(-mean))


def _digits(trial: Trial) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Training pictures [N, 784], test pictures [M, 784], and which are anomalies [M]."""
    dataset, digit = data.load("mnist", data_dir=trial.data_dir), int(trial.task[-1])
    is_one_class = trial.protocol == "one_class"
    draws = np.random.default_rng(trial.seed)
    is_known = (np.asarray(dataset.train.labels) == digit) == is_one_class
    train = np.sort(draws.permutation(np.flatnonzero(is_known))[: _NUM_TRAIN[trial.protocol]])
    test = np.sort(draws.permutation(len(dataset.test.x))[:_NUM_TEST])
    is_digit = np.asarray(dataset.test.labels)[test] == digit
    return (
        _flat(dataset, "train", train),
        _flat(dataset, "test", test),
        is_digit != is_one_class,
    )


def _flat(dataset, part: str, rows: np.ndarray) -> np.ndarray:
    """Pictures of a part, flat [N, D] in [0, 1]."""
    x = np.asarray(dataset.decode(np.asarray(getattr(dataset, part).x[rows])))
    return x.reshape(len(x), -1)


def _xrays(trial: Trial) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Training pictures [N, 784], test pictures [M, 784], and which are anomalies [M]."""
    path = "medical/pneumoniamnist_reassembled.npz"
    with np.load(
        _detectors.file_of(trial.data_dir, path, "medmnist.com"), allow_pickle=False
    ) as file:
        train, test = (file[f"{part}_images"] for part in ("train", "test"))
        is_ill, is_anomaly = (file[f"{part}_labels"][:, 0] == 1 for part in ("train", "test"))
    scaled = (x.reshape(len(x), -1).astype(np.float32) / 255 for x in (train[~is_ill], test))
    return *scaled, is_anomaly


def notes(results: Results) -> list[str]:
    """Scores that invert: of which task, and how far."""
    told = []
    for task in dict.fromkeys(task for task, _ in results):
        of_task = [found for (name, _), found in results.items() if name == task]
        for method in of_task[0]:
            values = [found[method].get(_detectors.AUROC.name, np.nan) for found in of_task]
            mean, error = _table.mean_and_error(values)
            if mean < 0.5:
                spread = "" if math.isnan(error) else f" ± {error:.3f}"
                told.append(f"{task}: {method} inverts: AUROC {mean:.3f}{spread}, below 0.5")
    return told
