"""Missing cells, filled in."""

import dataclasses
from typing import Any

import numpy as np
from sklearn.base import OneToOneFeatureMixin, TransformerMixin

from vae_jax import uses
from vae_jax.sklearn._estimator import Estimator
from vae_jax.uses import CELLS

__all__ = ["Imputer"]


@dataclasses.dataclass(eq=False, repr=False, kw_only=True)
class Imputer(OneToOneFeatureMixin, TransformerMixin, Estimator):
    """Fills in NaN in rows X [N, D] given the other cells of the row, which stay as they are.

    The model is trained on the observed cells alone, or with not_miwae on which they are, too.

    Attributes:
        objective: beta_vae, missing_iwae (MIWAE), not_miwae, or another bound by its name.
        beta: weight of the rate of beta_vae, a scalar or a schedule.
        hyperparameters: others of the objective, such as {"num_samples": 20}.
        num_samples: K, draws of z that are weighted, see `uses.Impute`.
        sample_posterior: whether cells are drawn from their distribution given the observed ones,
            for multiple imputation; else they are its mean.

    Reference:
        Mattei & Frellsen 2019, MIWAE: Deep Generative Modelling and Imputation of Incomplete Data
        Sets, arXiv 1812.02633, section 3; Ipsen, Mattei & Frellsen 2021, not-MIWAE, arXiv
        2006.12871.
    """

    objective: str = "beta_vae"  # type: ignore[misc]
    beta: Any = 1.0
    hyperparameters: Any = None
    num_samples: int = 100
    sample_posterior: bool = False

    takes_missing = True

    def _settings(self):
        of_beta = {"beta": self.beta} if self.objective in ("beta_vae", "vae") else {}
        return {**of_beta, **(self.hyperparameters or {})}

    def transform(self, X: Any) -> np.ndarray:
        """Rows X [N, D] with their missing cells filled in, in the units and the dtype of X."""
        X = self._rows(X)
        rows = self._standardized(X)
        if self.sample_posterior:
            use = uses.Impute(num_draws=1, num_samples=self.num_samples)
            # each row draws for itself
            cells = self._engine(use, self.seed_)(rows)[CELLS][:, 0]
        else:
            cells = self._applied(uses.Impute(num_samples=self.num_samples), rows)[CELLS]
        return np.where(np.isnan(X), self._restored(cells, X.dtype), X)
