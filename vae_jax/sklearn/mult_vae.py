"""Recommendation: the Mult-VAE of counts or ratings, one row for each user."""

import dataclasses
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted, check_non_negative, validate_data

from vae_jax import arguments, likelihoods, uses
from vae_jax.evaluation import ranking
from vae_jax.sklearn._estimator import DTYPES, Estimator
from vae_jax.uses import CELLS, ITEM

__all__ = ["MultVAE"]

_SHARE_ASIDE = 0.2
_BYTES_OF_BLOCK = 2**24


def _decoded(stored: jax.Array, key: jax.Array) -> jax.Array:
    """Counts [B, D] as they are stored, as float32."""
    del key
    return stored.astype(jnp.float32)


@dataclasses.dataclass(eq=False, repr=False, kw_only=True)
class MultVAE(ClassNamePrefixFeaturesOutMixin, TransformerMixin, Estimator):
    """A Mult-VAE of users × items X [N, D]: what will a user like who likes these items?

    X has a row for each user and 0 for each item that is not known; it may be a sparse matrix. Rows
    of new users have the same items. The defaults are those of the paper but for `epochs`.

    Attributes:
        beta: weight of the rate, a scalar or a schedule.
        input_dropout: the share of a row that is dropped in training, a scalar.
        binarize: numbers above it count as 1, others as 0, a scalar; None takes X as counts.

    Reference:
        Liang et al. 2018, Variational Autoencoders for Collaborative Filtering, arXiv 1802.05814.
    """

    latent_dim: int = 200
    widths: Any = (600,)
    activation: str | None = "tanh"
    likelihood: str = "multinomial"
    batch_size: int = 500
    learning_rate: Any = 1e-3
    beta: Any = "linear(0, 0.2, 100%)"
    input_dropout: float = 0.5
    binarize: float | None = 0.0

    def _settings(self):
        return {"beta": self.beta}

    def _training(self):
        return {"preprocess": _decoded}

    def _likelihood(self):
        own = {"input_norm": "l2"} if self.likelihood == "multinomial" else {}
        return likelihoods.make(self.likelihood, **own)

    def _parts(self, num_columns, likelihood):
        return {**super()._parts(num_columns, likelihood), "input_dropout": self.input_dropout}

    def _rows(self, X, *, reset=False):
        if not reset:
            check_is_fitted(self)
        X = validate_data(self, X, reset=reset, dtype=DTYPES, accept_sparse="csr")
        check_non_negative(X, type(self).__name__)
        return X

    def _standardized(self, X):
        """Counts [N, D] as training stores them, dense."""
        dense = X.toarray() if hasattr(X, "toarray") else X
        if self.binarize is None:
            return dense.astype(np.float32)
        return (dense > self.binarize).astype(np.uint8)

    def _blocks(self, X: Any) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Blocks of rows [N, D], dense: as they are, and as the model takes them."""
        num = max(1, _BYTES_OF_BLOCK // (8 * X.shape[1]))
        for first in range(0, X.shape[0], num):
            block = X[first : first + num]
            block = block.toarray() if hasattr(block, "toarray") else block
            yield block, self._standardized(block).astype(np.float32)

    @property
    def _n_features_out(self) -> int:
        return self.trained_.model.latent_dim

    def transform(self, X: Any) -> np.ndarray:
        """The most likely code of each row: X [N, D] to [N, L]."""
        X = self._rows(X)
        parts = [self._applied(uses.Encode(), x)["z"] for _, x in self._blocks(X)]
        return np.concatenate(parts).astype(X.dtype)

    def score_items(self, X: Any) -> np.ndarray:
        """E[x|z] of all items at the most likely code of rows X [N, D]: [N, D], theirs too."""
        X = self._rows(X)
        parts = [self._applied(uses.Reconstruct(), x)[CELLS] for _, x in self._blocks(X)]
        return np.concatenate(parts).astype(X.dtype)

    def recommend(self, X: Any, n_items: int = 10) -> np.ndarray:
        """The columns of the items with the largest E[x|z] that are 0 in rows X [N, D].

        Args:
            X: [N, D]; what is not 0 is never recommended, whether it counts or not.
            n_items: K, a count.

        Returns:
            Integers [N, min(K, D)], the best first; −1 where fewer items are 0.
        """
        use = uses.Recommend(num_items=arguments.integer("n_items", n_items, 1))
        parts = []
        for block, x in self._blocks(self._rows(X)):
            known = np.where((block > 0) & (x == 0), np.float32(np.nan), x)
            parts.append(self._applied(use, known)[ITEM])
        return np.concatenate(parts)

    def score(self, X: Any, y: Any = None) -> float:
        """The mean NDCG@100 of a fifth of each row, at least an item, given the rest of the row.

        Which items are kept aside is drawn by the seed. Rows of one item are left out; NaN if there
        are no others.

        Args:
            X: rows of other users than those of the training, [N, D].
            y: not used.

        Reference:
            Liang et al. 2018, arXiv 1802.05814, section 4.2.
        """
        del y
        draw, found = np.random.default_rng(self._seed_of_rows()), []
        for _, x in self._blocks(self._rows(X)):
            aside = _aside(x, draw)
            x, aside = (rows[aside.any(axis=1)] for rows in (x, aside))
            if len(x):
                known = np.where(aside, 0.0, x).astype(np.float32)
                scores = self._applied(uses.Reconstruct(), known)[CELLS]
                found.append(ranking.ndcg(ranking.ranked(scores, known), aside))
        return float(np.concatenate(found).mean()) if found else float("nan")

    def _seed_of_rows(self) -> int:
        check_is_fitted(self)
        return self.seed_

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.input_tags.positive_only = True
        return tags


def _aside(x: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    """A fifth of what is not 0 in each row [N, D] of at least 2, at least one: booleans."""
    aside = np.zeros(x.shape, bool)
    for row, is_aside in zip(x, aside, strict=True):
        items = np.flatnonzero(row)
        if len(items) > 1:
            num = max(1, int(_SHARE_ASIDE * len(items)))
            is_aside[draw.choice(items, num, replace=False)] = True
    return aside
