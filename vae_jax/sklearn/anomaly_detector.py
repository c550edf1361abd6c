"""Anomalies: rows that a VAE finds unlikely."""

import dataclasses
from typing import Any

import numpy as np
from sklearn.base import OutlierMixin

from vae_jax import uses
from vae_jax.errors import UsageError, shown
from vae_jax.sklearn._estimator import Estimator

__all__ = ["AnomalyDetector"]

_PARTS = ("score_reconstruction", "score_rate")


@dataclasses.dataclass(eq=False, repr=False, kw_only=True)
class AnomalyDetector(OutlierMixin, Estimator):
    """Outliers among rows X [N, D] by the nats of a β-VAE; signs as scikit-learn has them.

    After `fit`, `offset_` is the score below which the share `contamination` of the training rows
    is. PyOD's scores have the opposite sign: its `decision_function` is −`score_samples` here, its
    labels are 1 for outliers and 0 for others.

    by="calibrated" is the sum of reconstruction and rate, each minus its mean and divided by its
    deviation over rows that are held out of training: both count the same, whatever their scales.
    `calibration_` holds these means and deviations, [2] each, once rows were held out.

    Attributes:
        beta: weight of the rate, a scalar or a schedule.
        contamination: the share of training rows that are outliers, in (0, 0.5].
        by: what is scored: elbo, iwae, reconstruction or rate, see `uses.Score`, or calibrated.
        num_samples: K, draws of z for each row.
        patience: training stops after this many epochs without a better ELBO of the rows that are
            held out, a count, and keeps the best parameters; None trains all epochs.
        validation_fraction: the share of rows that are held out, in (0, 1); none are unless
            `patience` or by="calibrated" asks for them.
    """

    beta: Any = 1.0
    contamination: float = 0.1
    by: str = "elbo"
    num_samples: int = 10
    patience: int | None = None
    validation_fraction: float = 0.1

    def _settings(self):
        return {"beta": self.beta}

    def _training(self):
        return {"patience": self.patience}

    def _is_held_out(self, X):
        """A random share of the rows, if anything needs them; at least one, and one is left."""
        is_held_out = np.zeros(X.shape[0], bool)
        if self.patience is None and self.by != "calibrated":
            return is_held_out
        if not 0 < self.validation_fraction < 1:
            raise UsageError(
                f"validation_fraction={shown(self.validation_fraction)}: give a share in (0, 1),"
                " such as validation_fraction=0.1"
            )
        num = min(max(1, round(self.validation_fraction * X.shape[0])), X.shape[0] - 1)
        if num < 1:
            raise ValueError(f"n_samples={X.shape[0]} should be >= 2: one row is held out")
        is_held_out[np.random.default_rng(self.seed_).permutation(X.shape[0])[:num]] = True
        return is_held_out

    def _fit(self, X):
        if not 0 < self.contamination <= 0.5:
            raise UsageError(
                f"contamination={shown(self.contamination)}: give a share in (0, 0.5], such as"
                " contamination=0.1"
            )
        super()._fit(X)
        self.calibration_ = None
        if self.is_held_out_.any():
            parts = self._parts_of(X[self.is_held_out_])
            self.calibration_ = parts.mean(axis=0), parts.std(axis=0)
        self.offset_ = float(np.quantile(self._scores(X), self.contamination))

    def _scores(self, X: np.ndarray) -> np.ndarray:
        if self.by == "calibrated":
            return -self._calibrated(self._parts_of(X))
        use = uses.Score(by=self.by, num_samples=self.num_samples)
        return self._log_density(use, X, has_units=self.by != "rate")

    def _parts_of(self, X: np.ndarray) -> np.ndarray:
        """Reconstruction and rate of rows [N, D], nats of the standardized columns: [N, 2]."""
        use = uses.Score(by="all", num_samples=self.num_samples)
        found = self._applied(use, self._standardized(X))
        return np.stack([found[name] for name in _PARTS], axis=1).astype(np.float64)

    def _calibrated(self, parts: np.ndarray) -> np.ndarray:
        """The sum [N] of parts [N, 2] in deviations of held-out rows from their mean."""
        if self.calibration_ is None:
            raise UsageError(
                "by=calibrated: no rows were held out of training: give by='calibrated' and fit the"
                " estimator again"
            )
        mean, deviation = self.calibration_
        return ((parts - mean) / np.where(deviation > 0, deviation, 1.0)).sum(axis=1)

    def score_samples(self, X: Any) -> np.ndarray:
        """Minus the score of rows X [N, D], nats in the units of X: [N]; higher is more normal.

        The calibrated sum has no unit.
        """
        return self._scores(self._rows(X))

    def decision_function(self, X: Any) -> np.ndarray:
        """`score_samples` of X [N, D] minus `offset_`: [N], negative for outliers."""
        return self.score_samples(X) - self.offset_

    def predict(self, X: Any) -> np.ndarray:
        """−1 for outliers among rows X [N, D], 1 for the others: [N]."""
        return np.where(self.decision_function(X) < 0, -1, 1)
