"""The variational autoencoder: codes, a density and new rows."""

import dataclasses
from typing import Any

import numpy as np
from sklearn.base import ClassNamePrefixFeaturesOutMixin, DensityMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from vae_jax import arguments, uses
from vae_jax.sklearn._estimator import Estimator, Scoring, seed_of
from vae_jax.uses import CELLS

__all__ = ["VAE"]


@dataclasses.dataclass(eq=False, repr=False, kw_only=True)
class VAE(ClassNamePrefixFeaturesOutMixin, TransformerMixin, Scoring, DensityMixin, Estimator):
    """A β-VAE of rows X [N, D]: codes as features, log-densities, samples.

    Attributes:
        beta: weight of the rate, a scalar or a schedule; 1 is the VAE.
        prior: p(z) of codes [L]: a name or one of `vae_jax.priors`; None is N(0, I).
        by: what `score_samples` bounds log p(x) with: elbo, or iwae, which is tighter.
        num_samples: K, draws of z for each row of `score_samples`.
    """

    beta: Any = 1.0
    prior: Any = None
    by: str = "elbo"
    num_samples: int = 10

    def _settings(self):
        return {"beta": self.beta}

    def _prior(self):
        return self.prior

    @property
    def _n_features_out(self) -> int:
        return self.trained_.model.latent_dim

    def transform(self, X: Any) -> np.ndarray:
        """The most likely code of each row: X [N, D] to [N, L]."""
        return self._codes(X)

    def inverse_transform(self, X: Any) -> np.ndarray:
        """E[x|z] of codes X [N, L], in the units of the training: [N, D]."""
        return self._decoded(X)

    def score_samples(self, X: Any) -> np.ndarray:
        """A lower bound of log p(x) of rows X [N, D], nats in the units of X: [N].

        Higher is more usual.
        """
        use = uses.Score(by=self.by, num_samples=self.num_samples)
        return self._log_density(use, self._rows(X))

    def sample(self, n_samples: int = 1, random_state: Any = None) -> np.ndarray:
        """New rows x ~ p(x|z), z ~ p(z), in the units of the training: [n_samples, D].

        Args:
            n_samples: a count.
            random_state: a seed, see `Estimator`; None takes that of the estimator.
        """
        check_is_fitted(self)
        num = arguments.integer("n_samples", n_samples, 1)
        seed = self.seed_ if random_state is None else seed_of(random_state)
        return self._restored(self._engine(uses.Sample(), seed).made(num)[CELLS], np.float64)
