"""Samples that show what a measure of samples rewards: real data, blurred data, simple models.

A number of a generator means little alone. These samples stand beside it, at the same number of
rows, so that a measure which a blurred picture or independent pixels satisfy is seen to be one.
scikit-learn is imported when the first sample is made.
"""

from collections.abc import Callable

import jax
import numpy as np

from vae_jax import samplers
from vae_jax.errors import UsageError
from vae_jax.evaluation._shared import require_at_least, require_finite
from vae_jax.evaluation.reconstruction import principal_components

__all__ = [
    "DEFINITIONS",
    "NUM_BLURRED",
    "blurred",
    "gaussian",
    "independent",
    "make",
    "mixture",
    "one_class",
    "shuffled_halves",
]

NUM_BLURRED = 20
"""Neighbors that a blurred example is averaged with, a count."""
NUM_COMPONENTS, NUM_DIRECTIONS = 20, 64

DEFINITIONS = {
    "real": "other examples of the same split",
    "blurred": f"these, each averaged with its {NUM_BLURRED} nearest training examples",
    "gaussian": "draws of a Gaussian with the mean and covariance of training data, clipped",
    "mixture": f"draws of {NUM_COMPONENTS} Gaussians on {NUM_DIRECTIONS} principal components",
    "independent": "each number drawn from training data alone",
    "one_class": "training examples of the commonest class",
}
"""Name of a control → what it is."""


def shuffled_halves(num: int, most: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Two disjoint sets of rows in random order, of min(N // 2, most) rows each.

    A split may be in order of class, of writer or of time, so its first rows are no sample of it.

    Args:
        num: N, the rows of the split.
        most: the largest size, a count.
        seed: a scalar.

    Returns:
        Positions [n] and [n].
    """
    order = np.random.default_rng(seed).permutation(num)
    size = min(num // 2, most)
    return order[:size], order[size : 2 * size]


def blurred(x: np.ndarray, train: np.ndarray, *, num_neighbours: int = NUM_BLURRED) -> np.ndarray:
    """Each example averaged with its k nearest training examples.

    Args:
        x: [N, *event].
        train: [T, *event], without the rows of x.
        num_neighbours: k, reduced to T; 0 returns x.

    Returns:
        (x + Σ of its k nearest) / (k + 1), [N, *event].

    Raises:
        UsageError: a value is not finite.
    """
    from sklearn.neighbors import NearestNeighbors

    require_finite(x=x, train=train)
    num = min(num_neighbours, len(train))
    if not num:
        return x
    rows, others = (np.asarray(part, np.float32).reshape(len(part), -1) for part in (x, train))
    places = NearestNeighbors(n_neighbors=num).fit(others).kneighbors(rows, return_distance=False)
    total = rows.copy()
    for column in places.T:
        total += others[column]
    return (total / (num + 1)).reshape(x.shape)


def gaussian(train: np.ndarray, num: int, seed: int) -> np.ndarray:
    """Draws from N(mean, covariance) of training data, clipped to their range.

    x = m + Σ_t ε_t (x_t − m) / √T with ε ~ N(0, I) has exactly this covariance, without its matrix.

    Args:
        train: [T, *event].
        num: N.
        seed: a scalar.

    Returns:
        [N, *event].
    """
    rows = _flat(train)
    noise = np.random.default_rng(seed).standard_normal((num, len(rows)), np.float32)
    mean = rows.mean(axis=0)
    drawn = mean + noise @ (rows - mean) / np.float32(np.sqrt(len(rows)))
    return _like(train, drawn)


def mixture(train: np.ndarray, num: int, seed: int) -> np.ndarray:
    """Draws from a mixture of Gaussians on principal components, clipped to the range of the data.

    Args:
        train: [T, *event].
        num: N.
        seed: a scalar.

    Returns:
        [N, *event].
    """
    rows = _flat(train)
    components = principal_components(rows, NUM_DIRECTIONS)
    codes = (rows - components.mean) @ components.directions.T
    count = max(1, min(NUM_COMPONENTS, len(rows) // 2))
    fit_key, draw_key = jax.random.split(jax.random.key(seed))
    fitted = samplers.make("mixture", num_components=count).fit(codes, fit_key)
    drawn = components.mean + np.asarray(fitted.sample(draw_key, num)) @ components.directions
    return _like(train, drawn)


def _flat(train: np.ndarray) -> np.ndarray:
    return np.asarray(train, np.float32).reshape(len(train), -1)


def _like(train: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """Rows [N, D], clipped to the range of the training data, in its shape: [N, *event]."""
    return np.clip(drawn, *np.float32([train.min(), train.max()])).reshape(-1, *train.shape[1:])


def independent(train: np.ndarray, num: int, seed: int) -> np.ndarray:
    """Rows whose numbers are drawn independently, each from its values in training data.

    Args:
        train: [T, *event].
        num: N.
        seed: a scalar.

    Returns:
        [N, *event].
    """
    rows = np.asarray(train).reshape(len(train), -1)
    places = np.random.default_rng(seed).integers(0, len(rows), (num, rows.shape[1]))
    return np.take_along_axis(rows, places, axis=0).reshape(num, *train.shape[1:])


def one_class(train: np.ndarray, labels: np.ndarray, num: int, seed: int) -> np.ndarray:
    """Training examples of the commonest class; with replacement if it has too few.

    Args:
        train: [T, *event].
        labels: [T]; below 0 if unknown.
        num: N.
        seed: a scalar.

    Returns:
        [N, *event].

    Raises:
        UsageError: no label is known.
    """
    known = labels[labels >= 0]
    if not len(known):
        raise UsageError("labels: none is known, so there is no class to take alone")
    names, counts = np.unique(known, return_counts=True)
    places = np.flatnonzero(labels == names[np.argmax(counts)])
    random = np.random.default_rng(seed)
    return np.asarray(train)[random.choice(places, num, replace=len(places) < num)]


def make(
    train: np.ndarray, real: np.ndarray, seed: int, labels: np.ndarray | None = None
) -> dict[str, np.ndarray]:
    """Every control of `DEFINITIONS`, as many rows as there are real ones.

    Args:
        train: training data, [T, *event].
        real: data that were held out, [N, *event].
        seed: a scalar.
        labels: of the training data, [T], below 0 if unknown; None leaves `one_class` out.

    Returns:
        Name → [N, *event], in the order of `DEFINITIONS`.

    Raises:
        UsageError: a value is not finite, or there are fewer than two training rows.
    """
    require_finite(train=train, real=real)
    require_at_least(2, rows=len(train))
    drawn: dict[str, Callable] = {
        "gaussian": gaussian,
        "mixture": mixture,
        "independent": independent,
    }
    found = {"real": real, "blurred": blurred(real, train)}
    found |= {name: draw(train, len(real), seed) for name, draw in drawn.items()}
    if labels is not None and (labels >= 0).any():
        found["one_class"] = one_class(train, labels, len(real), seed)
    return found
