"""Anomalies: rows that a VAE finds unlikely."""

import dataclasses
from typing import Any

import numpy as np
from sklearn.base import OutlierMixin

from vae_jax import uses
from vae_jax.errors import UsageError, shown
from vae_jax.sklearn._estimator import Estimator

__all__ = ["AnomalyDetector"]


@dataclasses.dataclass(eq=False, repr=False, kw_only=True)
class AnomalyDetector(OutlierMixin, Estimator):
    """Outliers among rows X [N, D] by the nats of a β-VAE; signs as scikit-learn has them.

    After `fit`, `offset_` is the score below which the share `contamination` of the training rows
    is. PyOD's scores have the opposite sign: its `decision_function` is −`score_samples` here, its
    labels are 1 for outliers and 0 for others.

    Attributes:
        beta: weight of the rate, a scalar or a schedule.
        contamination: the share of training rows that are outliers, in (0, 0.5].
        by: what is scored: elbo, iwae, reconstruction or rate, see `uses.Score`.
        num_samples: K, draws of z for each row.
    """

    beta: Any = 1.0
    contamination: float = 0.1
    by: str = "elbo"
    num_samples: int = 10

    def _settings(self):
        return {"beta": self.beta}

    def _fit(self, X):
        if not 0 < self.contamination <= 0.5:
            raise UsageError(
                f"contamination={shown(self.contamination)}: give a share in (0, 0.5], such as"
                " contamination=0.1"
            )
        super()._fit(X)
        self.offset_ = float(np.quantile(self._scores(X), self.contamination))

    def _scores(self, X: np.ndarray) -> np.ndarray:
        use = uses.Score(by=self.by, num_samples=self.num_samples)
        return self._log_density(use, X, has_units=self.by != "rate")

    def score_samples(self, X: Any) -> np.ndarray:
        """Minus the score of rows X [N, D], nats in the units of X: [N]; higher is more normal."""
        return self._scores(self._rows(X))

    def decision_function(self, X: Any) -> np.ndarray:
        """`score_samples` of X [N, D] minus `offset_`: [N], negative for outliers."""
        return self.score_samples(X) - self.offset_

    def predict(self, X: Any) -> np.ndarray:
        """−1 for outliers among rows X [N, D], 1 for the others: [N]."""
        return np.where(self.decision_function(X) < 0, -1, 1)
