"""Helpers of chapters: choose examples, restore them in three ways, compare in decibels."""

import functools

import jax
import numpy as np

from experiments import restorers
from experiments.lecture import Course, Told
from vae_jax import plots
from vae_jax.evaluation import controls, reconstruction
from vae_jax.evaluation._shared import mean_and_error

__all__ = [
    "NUM_REGRESSED",
    "NUM_SHOWN",
    "PSNR",
    "difference",
    "examples",
    "held_out_halves",
    "principal_components",
    "restored",
    "said",
    "training",
    "verdict",
]

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


def held_out_halves(course: Course, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Two samples of as many held-out images, [N, *shape] each in [0, 1], in random order."""
    dataset = course.dataset
    parts = [np.asarray(part.x[:]) for part in (dataset.valid, dataset.test) if len(part)]
    x = np.asarray(dataset.decode(np.concatenate(parts)))
    first, second = controls.shuffled_halves(len(x), most, course.seed)
    return x[first], x[second]


def said(pair: tuple[float, float | None]) -> str:
    """A number with its standard error, in a sentence."""
    value, error = pair
    return f"{value:.3g}" if not error else f"{value:.3g} ± {error:.1g}"


def difference(pair: tuple, other: tuple) -> tuple[float, float]:
    """The difference of two independent numbers, each with its standard error, and its own."""
    return pair[0] - other[0], float(np.hypot(pair[1] or 0.0, other[1] or 0.0))


def verdict(pair: tuple[float, float | None], near: float, words: tuple[str, str, str]) -> str:
    """The word for below, for within two standard errors of, or for above a number.

    Args:
        pair: a number and its standard error.
        near: what it is compared with, a scalar.
        words: for below, near and above.
    """
    value, error = pair
    apart = value - near
    below, alike, above = words
    if abs(apart) <= 2 * (error or 0.0):
        return alike
    return below if apart < 0 else above


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
        measured = ways
        if not np.array_equal(ways["shown"], shown):
            # pictures are drawn clipped, models read the noise as it is
            measured = {"shown, as models read it": shown, "shown, clipped": ways["shown"], **ways}
            measured.pop("shown")
        for way, values in measured.items():
            decibels = reconstruction.peak_signal_to_noise(x, values)
            rows.append((f"{called}: {way}", mean_and_error(decibels[np.isfinite(decibels)])))
        grid = np.concatenate([x[:NUM_SHOWN], *(v[:NUM_SHOWN] for v in ways.values())])
        names_of_rows = ("clean", *(way.partition(",")[0] for way in ways))
        words = {"title": called, "row_names": names_of_rows}
        pictures[called] = functools.partial(plots.samples, grid, **words)
    return Told(("", "PSNR"), rows, pictures, {"PSNR": PSNR})
