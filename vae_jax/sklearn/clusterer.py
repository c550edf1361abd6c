"""Clusters: the components of a mixture prior."""

import dataclasses
from typing import Any

import numpy as np
from sklearn.base import ClusterMixin

from vae_jax import arguments, priors, uses
from vae_jax.sklearn._estimator import Estimator

__all__ = ["Clusterer"]


@dataclasses.dataclass(eq=False, repr=False, kw_only=True)
class Clusterer(ClusterMixin, Estimator):
    """Clusters of rows X [N, D]: a VAE whose p(z) is a mixture of Gaussians; `labels_` is [N].

    The codes are trained first, then the mixture, which starts at clusters of codes, then both.

    Attributes:
        n_clusters: K, a count; a batch must have as many rows.
        beta: weight of the rate, a scalar or a schedule.
        prior_phase: what is trained when, see `vae_jax.fit`.
        num_samples: draws of z for each row.

    Reference:
        Jiang et al. 2017, Variational Deep Embedding, arXiv 1611.05148.
    """

    n_clusters: int = 8
    beta: Any = 1.0
    prior_phase: Any = "linear(0, 2, 50%)"
    num_samples: int = 10

    def _settings(self):
        return {"beta": self.beta}

    def _training(self):
        return {"prior_phase": self.prior_phase}

    def _prior(self):
        return priors.Mixture(num_components=arguments.integer("n_clusters", self.n_clusters, 1))

    def _fit(self, X):
        if len(X) < self.n_clusters:
            raise ValueError(f"n_samples={len(X)} should be >= n_clusters={self.n_clusters}")
        super()._fit(X)
        self.labels_ = self._probabilities(X).argmax(axis=1)

    def _probabilities(self, X: np.ndarray) -> np.ndarray:
        if self.trained_.model.prior_family.num_components == 1:
            return np.ones((len(X), 1), np.float32)
        use = uses.Cluster(answer="probabilities", num_samples=self.num_samples)
        return self._applied(use, self._standardized(X))["cluster"]

    def predict(self, X: Any) -> np.ndarray:
        """The cluster of each row of X [N, D], from 0: [N]."""
        return self.predict_proba(X).argmax(axis=1)

    def predict_proba(self, X: Any) -> np.ndarray:
        """p(k|x) of rows X [N, D]: [N, K]."""
        return self._probabilities(self._rows(X))
