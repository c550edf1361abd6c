"""Named feature spaces, in which samples are compared.

A number of samples means nothing without the name of its space. A space is a pure function of rows
and of training data that it was fit to. Numbers in these spaces are not FID or KID, which are
defined by the Inception network. scikit-learn is imported when the first space is fit.
"""

import warnings
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from vae_jax.errors import UsageError
from vae_jax.evaluation._shared import require_finite
from vae_jax.evaluation.reconstruction import principal_components
from vae_jax.evaluation.two_samples import Features

__all__ = ["Space", "classifier", "of_function", "pca", "pixels"]

NUM_DIRECTIONS = 64
"""Principal components of the space `pca`, a count."""
NUM_HIDDEN = 64
"""Features of the space `classifier`, a count."""


class Space(NamedTuple):
    """A feature space.

    Attributes:
        name: its name, which stands beside every number.
        function: x [N, *event] to features [N, D].
    """

    name: str
    function: Callable[[np.ndarray], np.ndarray]

    def features(self, x: np.ndarray) -> Features:
        """The features of rows, [N, *event] to `Features` of [N, D].

        Raises:
            UsageError: the function returns another shape, or a value that is not finite.
        """
        values = np.asarray(self.function(x), np.float32)
        if values.ndim != 2 or len(values) != len(x):
            raise UsageError(
                f"space {self.name}: its function maps {len(x)} rows to shape "
                f"{list(values.shape)}: must be [{len(x)}, D]"
            )
        require_finite(**{f"features of {self.name}": values})
        return Features(self.name, values)


def _flat(x) -> np.ndarray:
    """[N, *event] as float32 rows [N, D]."""
    return np.asarray(x, np.float32).reshape(len(x), -1)


def pixels() -> Space:
    """The numbers of x [N, *event] themselves."""
    return Space("pixels", _flat)


def pca(train: np.ndarray, num_directions: int = NUM_DIRECTIONS) -> Space:
    """Coordinates on the first principal components of training data, not scaled.

    Args:
        train: [T, *event] of D numbers.
        num_directions: reduced to min(T, D), a count.
    """
    components = principal_components(train, num_directions)

    def project(x):
        return (_flat(x) - components.mean) @ components.directions.T

    return Space(f"pca-{len(components.directions)}", project)


def classifier(train: np.ndarray, labels: np.ndarray, *, seed: int = 0) -> Space:
    """The hidden layer of a network of one layer that was trained to tell the classes apart.

    Args:
        train: [T, *event].
        labels: [T]; below 0 if unknown.
        seed: of the network, a scalar.

    Raises:
        UsageError: fewer than two classes are known.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPClassifier

    is_known = np.asarray(labels) >= 0
    if len(np.unique(labels[is_known])) < 2:
        raise UsageError(
            "space=classifier: needs labels of two classes or more: choose space=pca or pixels"
        )
    network = MLPClassifier((NUM_HIDDEN,), max_iter=30, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        network.fit(_flat(train)[is_known], labels[is_known])
    weights, bias = network.coefs_[0], network.intercepts_[0]
    return Space(f"classifier-{NUM_HIDDEN}", lambda x: np.maximum(_flat(x) @ weights + bias, 0.0))


def of_function(name: str, function: Callable[[np.ndarray], np.ndarray]) -> Space:
    """A function of yours as a space.

    Args:
        name: its name.
        function: x [N, *event] to features [N, D], row by row.
    """
    return Space(name, function)
