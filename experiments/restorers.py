"""Baselines that restore pictures: interpolation, principal components, linear regression."""

from collections.abc import Callable

import jax
import numpy as np

from vae_jax.evaluation import reconstruction

__all__ = ["NUM_COMPONENTS", "best_components", "bicubic", "regression"]

NUM_COMPONENTS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
"""Numbers of components that PCA may use, counts."""


def bicubic(shown: np.ndarray, factor: int) -> np.ndarray:
    """Interpolates constant blocks [N, H, W, C] between their centers: the same shape.

    Args:
        shown: images of blocks of factor × factor equal pixels.
        factor: side of a block in pixels.

    Reference:
        Keys 1981, Cubic convolution interpolation for digital image processing, IEEE TASSP 29(6).
    """
    low = shown[:, ::factor, ::factor]
    return np.asarray(jax.image.resize(low, shown.shape, "bicubic"))


def best_components(
    every: reconstruction.Components, clean: np.ndarray, shown: np.ndarray
) -> reconstruction.Components:
    """As many components as restore corrupted images best: more also restore the noise.

    Args:
        every: components to choose the first of.
        clean: training images, [N, *shape].
        shown: the same, corrupted.
    """
    choices = [
        every._replace(directions=every.directions[:num])
        for num in NUM_COMPONENTS
        if num <= len(every.directions)
    ]
    errors = [reconstruction.squared_errors(clean, c.restore(shown)).mean() for c in choices]
    return choices[int(np.argmin(errors))]


def regression(clean: np.ndarray, shown: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """The best linear map from corrupted to clean images, which is more general than PCA.

    Args:
        clean: training images, [N, *shape].
        shown: the same, corrupted.

    Returns:
        A function of corrupted images, [N, *shape] to the same shape.
    """
    from sklearn.linear_model import RidgeCV

    rows = [each.reshape(len(each), -1).astype(np.float64) for each in (shown, clean)]
    fitted = RidgeCV(alphas=(1.0, 10.0, 100.0, 1000.0)).fit(*rows)
    return lambda x: fitted.predict(x.reshape(len(x), -1)).reshape(x.shape).astype(np.float32)
