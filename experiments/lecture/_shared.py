"""Helpers of chapters: choose examples, restore them in three ways, compare in decibels."""

import functools

import jax
import numpy as np

from experiments import restorers
from experiments.lecture import Course, Told
from vae_jax import plots
from vae_jax.evaluation import reconstruction
from vae_jax.evaluation._shared import mean_and_error

__all__ = ["NUM_SHOWN", "PSNR", "examples", "principal_components", "restored", "training"]

NUM_SHOWN = 10
NUM_COMPARED = 2000
NUM_REGRESSED = 10_000
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


def restored(course: Course, names: dict[str, str], others=None) -> Told:
    """Restores corrupted images with a run, with PCA, and in other ways.

    Args:
        course: from the command.
        names: name of a run → name of its corruption.
        others: name of another way → (corrupted [N, H, W, C], name of the run) to restored images.
    """
    x, rows, pictures = examples(course), [], {}
    clean = training(course)[:NUM_REGRESSED]
    every = principal_components(course, max(restorers.NUM_COMPONENTS))
    for name, called in names.items():
        run = course.run(name)
        shown = np.asarray(run.corrupt(x, jax.random.key(course.seed)))
        learned = np.asarray(run.corrupt(clean, jax.random.key(course.seed + 1)))
        few = slice(NUM_COMPARED)
        components = restorers.best_components(every, clean[few], learned[few])
        ways = {
            "shown": shown,
            **{way: restore(shown, name) for way, restore in (others or {}).items()},
            "linear regression": restorers.regression(clean, learned)(shown),
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
