"""Scores of anomalies, of baselines and of a model: all see the same rows; higher is stranger."""

import functools
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.decomposition import PCA
from sklearn.ensemble import IsolationForest
from sklearn.metrics import average_precision_score, roc_auc_score
from sklearn.neighbors import LocalOutlierFactor, NearestNeighbors

from experiments.applications import Measure
from vae_jax.errors import UsageError
from vae_jax.sklearn import AnomalyDetector

__all__ = ["AP", "AUROC", "BASELINES", "OURS", "baselines", "file_of", "measured", "ours"]

AUROC = Measure("AUROC", "probability that an anomaly scores higher than a normal row")
AP = Measure("average precision", "mean over thresholds; by chance the share of anomalies")
_MOST = 1e300
_NUM_NEIGHBORS = {"kNN": 5, "LOF": 20}
OURS = {
    "VAE: −ELBO": "elbo",
    "VAE: IS-NLL": "iwae",
    "VAE: reconstruction": "reconstruction",
    "VAE: rate": "rate",
    "VAE: calibrated": "calibrated",
}
"""Name in the table → `by` of the detector."""
BASELINES = ("distance to mean", "PCA", "IsolationForest", "LOF", "kNN")


def baselines(
    train: np.ndarray, test: np.ndarray, num_components: int, seed: int
) -> dict[str, Callable[[], np.ndarray]]:
    """The scores [M] of each baseline, by its name.

    Args:
        train: rows of normals, [N, D].
        test: rows to score, [M, D].
        num_components: of PCA, a count.
        seed: of the forest, a count.
    """

    def distance_to_mean():
        return np.linalg.norm(test - train.mean(axis=0), axis=1)

    def residual_of_components():
        pca = PCA(num_components, svd_solver="full").fit(train)
        return np.square(test - pca.inverse_transform(pca.transform(test))).sum(axis=1)

    def forest():
        return -IsolationForest(random_state=seed).fit(train).score_samples(test)

    def local_outlier_factor():
        num = min(_NUM_NEIGHBORS["LOF"], len(train) - 1)
        return -LocalOutlierFactor(num, novelty=True).fit(train).score_samples(test)

    def distance_to_neighbor():
        found = NearestNeighbors(n_neighbors=_NUM_NEIGHBORS["kNN"]).fit(train)
        return found.kneighbors(test)[0][:, -1]

    scores = (
        distance_to_mean,
        residual_of_components,
        forest,
        local_outlier_factor,
        distance_to_neighbor,
    )
    return dict(zip(BASELINES, scores, strict=True))


def ours(
    train: np.ndarray, test: np.ndarray, settings: Mapping[str, Any], seed: int
) -> dict[str, Callable[[], np.ndarray]]:
    """The scores [M] of one detector, trained once; the first that is asked for trains it.

    Args:
        train: rows of normals, [N, D].
        test: rows to score, [M, D].
        settings: parameters of `AnomalyDetector`.
        seed: of training, a count.
    """

    @functools.cache
    def trained() -> AnomalyDetector:
        return AnomalyDetector(**settings, random_state=seed).fit(train)

    def scores(by: str) -> np.ndarray:
        return -trained().set_params(by=by).score_samples(test)

    return {name: functools.partial(scores, by) for name, by in OURS.items()}


def measured(scores: Callable[[], np.ndarray], is_anomaly: np.ndarray) -> dict[str, float]:
    """The measures of scores [M] of rows, of which some are anomalies, [M]."""
    # scores that overflow are of the strangest rows
    found = np.nan_to_num(scores(), nan=_MOST, posinf=_MOST)
    return {
        AUROC.name: roc_auc_score(is_anomaly, found),
        AP.name: average_precision_score(is_anomaly, found),
    }


def file_of(data_dir: str | None, path: str, source: str) -> Path:
    """The path of a file below the folder of datasets, see `Trial`; its `source` is a web page."""
    found = Path(data_dir or os.environ.get("VAE_JAX_DATA_DIR") or "data") / path
    if not found.is_file():
        raise UsageError(f"data_dir: has no {path}: get it from {source} as {found}")
    return found
