"""The plain autoencoder: codes as features, and back."""

import dataclasses
from typing import Any

import numpy as np
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin

from vae_jax import uses
from vae_jax.sklearn._estimator import Estimator, Scoring

__all__ = ["Autoencoder"]


@dataclasses.dataclass(eq=False, repr=False, kw_only=True)
class Autoencoder(ClassNamePrefixFeaturesOutMixin, TransformerMixin, Scoring, Estimator):
    """An autoencoder of rows X [N, D] with a deterministic code [N, L]; PCA if it is linear."""

    objective = "autoencoder"

    @property
    def _n_features_out(self) -> int:
        return self.trained_.model.latent_dim

    def transform(self, X: Any) -> np.ndarray:
        """The code of each row: X [N, D] to [N, L]."""
        return self._codes(X)

    def inverse_transform(self, X: Any) -> np.ndarray:
        """E[x|z] of codes X [N, L], in the units of the training: [N, D]."""
        return self._decoded(X)

    def score_samples(self, X: Any) -> np.ndarray:
        """log p(x|z) of rows X [N, D] given their codes, nats in the units of X: [N].

        It is no density of x: codes of more numbers have higher ones.
        """
        return self._log_density(uses.Score(by="reconstruction"), self._rows(X))
