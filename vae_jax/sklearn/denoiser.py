"""Noisy rows, restored."""

import dataclasses
from typing import Any

import numpy as np
from sklearn.base import OneToOneFeatureMixin, TransformerMixin

from vae_jax import uses
from vae_jax.sklearn._estimator import Estimator

__all__ = ["Denoiser"]


@dataclasses.dataclass(eq=False, repr=False, kw_only=True)
class Denoiser(OneToOneFeatureMixin, TransformerMixin, Estimator):
    """A denoising autoencoder: trained on clean rows X [N, D], it restores noisy ones.

    Attributes:
        corruption: what is done to rows in training: gaussian, masking or salt_and_pepper.
        level: its strength, a scalar: the deviation of the noise in standardized columns, or the
            share of the cells.

    Reference:
        Vincent et al. 2010, Stacked Denoising Autoencoders, JMLR 11, section 3.1.
    """

    corruption: str = "gaussian"
    level: float = 0.3

    objective = "denoising"

    def _settings(self):
        return {"corruption": self.corruption, "level": self.level}

    def transform(self, X: Any) -> np.ndarray:
        """E[x|z] at the codes of rows X [N, D]: [N, D] in the units and the dtype of X."""
        return self._cells(uses.Denoise(), self._rows(X))
