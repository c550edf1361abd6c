"""Helpers of chapters: choose examples, restore them in three ways, compare in decibels."""

import functools
from collections.abc import Callable

import jax
import numpy as np

from experiments.lecture import Course, Told
from vae_jax import plots
from vae_jax.evaluation import reconstruction
from vae_jax.evaluation._shared import mean_and_error

__all__ = ["NUM_SHOWN", "PSNR", "examples", "principal_components", "restored", "training"]

NUM_SHOWN = 10
NUM_COMPARED = 2000
NUM_REGRESSED = 10_000
NUM_COMPONENTS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
"""Numbers of components that PCA may use, counts."""
PSNR = "peak signal-to-noise ratio against the clean picture, dB: the mean over test examples"


def examples(course: Course, num: int = NUM_COMPARED) -> np.ndarray:
    """Test images as decoded by the dataset, [N, *shape] in [0, 1], one of each class first."""
    test = course.dataset.test
    x = np.asarray(course.dataset.decode(np.asarray(test.x[:num])))
    if test.labels is None:
        return x
    labels = test.labels[: len(x)]
    firsts = [int(np.argmax(labels == c)) for c in np.unique(labels)]
    rest = np.setdiff1d(np.arange(len(x)), firsts)
    return x[np.concatenate([firsts, rest])]


def training(course: Course) -> np.ndarray:
    """The training images, [N, *shape] in [0, 1]."""
    return np.asarray(course.dataset.decode(np.asarray(course.dataset.train.x[:])))


def principal_components(course: Course, num: int) -> reconstruction.Components:
    """The first `num` principal components of the training images."""
    return reconstruction.principal_components(training(course), num)


def restoring_components(course: Course, corrupt: Callable) -> reconstruction.Components:
    """The number of components that restores corrupted images best: more also restore noise.

    Args:
        course: from the command.
        corrupt: (x [N, *shape], key) to the corrupted input.
    """
    clean = training(course)[:NUM_COMPARED]
    shown = np.asarray(corrupt(clean, jax.random.key(course.seed + 1)))
    every = principal_components(course, max(NUM_COMPONENTS))
    choices = [
        every._replace(directions=every.directions[:num])
        for num in NUM_COMPONENTS
        if num <= len(every.directions)
    ]
    errors = [reconstruction.squared_errors(clean, c.restore(shown)).mean() for c in choices]
    return choices[int(np.argmin(errors))]


def regression(course: Course, corrupt: Callable) -> Callable:
    """The best linear map from corrupted to clean images, which is more general than PCA.

    Args:
        course: from the command.
        corrupt: (x [N, *shape], key) to the corrupted input.

    Returns:
        A function of corrupted images, [N, *shape] to the same shape.
    """
    from sklearn.linear_model import RidgeCV

    clean = training(course)[:NUM_REGRESSED]
    shown = np.asarray(corrupt(clean, jax.random.key(course.seed + 1)))
    rows = [each.reshape(len(each), -1).astype(np.float64) for each in (shown, clean)]
    fitted = RidgeCV(alphas=(1.0, 10.0, 100.0, 1000.0)).fit(*rows)
    return lambda x: fitted.predict(x.reshape(len(x), -1)).reshape(x.shape).astype(np.float32)


def restored(course: Course, names: dict[str, str], others=None) -> Told:
    """Restores corrupted images with a run, with PCA, and in other ways.

    Args:
        course: from the command.
        names: name of a run → name of its corruption.
        others: name of another way → (corrupted [N, H, W, C], name of the run) to restored images.
    """
    x, rows, pictures = examples(course), [], {}
    for name, called in names.items():
        run = course.run(name)
        shown = np.asarray(run.corrupt(x, jax.random.key(course.seed)))
        components = restoring_components(course, run.corrupt)
        ways = {
            "shown": shown,
            **{way: restore(shown, name) for way, restore in (others or {}).items()},
            "linear regression": regression(course, run.corrupt)(shown),
            f"PCA, {len(components.directions)} components": components.restore(shown),
            "autoencoder": run.restore(shown),
        }
        ways = {way: np.clip(values, 0.0, 1.0) for way, values in ways.items()}
        for way, values in ways.items():
            decibels = reconstruction.peak_signal_to_noise(x, values)
            rows.append((f"{called}: {way}", mean_and_error(decibels[np.isfinite(decibels)])))
        grid = np.concatenate([x[:NUM_SHOWN], *(v[:NUM_SHOWN] for v in ways.values())])
        names_of_rows = ("clean", *(way.partition(",")[0] for way in ways))
        words = {"title": called, "row_names": names_of_rows}
        pictures[called] = functools.partial(plots.samples, grid, **words)
    return Told(("", "PSNR"), rows, pictures, {"PSNR": PSNR})
