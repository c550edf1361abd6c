"""How alike two samples are: a distance, neighborhoods, two tests, copies, and sharpness.

No single number suffices. Completeness (`precision`, `density`, `coverage`) rewards blur: a mean of
several examples lies between them, in more of their neighborhoods than an example does. Distances
to the nearest example reward it, too. `classifier_test` and `sharpness` show it. So each number
belongs beside that of real against real, and of `controls`.

Both samples have the same number of rows, because the bias of most of these numbers depends on it,
and are features of the same space. scikit-learn is imported when the first test is made.
"""

import math
import warnings
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
import scipy.linalg

from vae_jax.errors import UsageError
from vae_jax.evaluation._shared import (
    NUM_BOOTSTRAP,
    mean_and_error,
    require_at_least,
    require_finite,
    share_and_error,
)
from vae_jax.evaluation.discrepancy import kernel_distance
from vae_jax.evaluation.latent_neighbours import nearest_distance, support

__all__ = [
    "DEFINITIONS",
    "Estimate",
    "Features",
    "classifier_test",
    "compare",
    "copies",
    "frechet_distance",
    "has_gradient",
    "nearest_neighbour_test",
    "neighbourhoods",
    "placement",
    "sharpness",
]

DEFINITIONS = {
    "frechet_distance": "between Gaussians fit to both; falls with n: lower is better",
    "kernel_distance": "MMD² with the kernel (aᵀb / D + 1)³; 0 in expectation if equal",
    "precision": "share of the sample within a neighborhood of the data; blur raises it",
    "recall": "share of the data within a neighborhood of the sample",
    "density": "neighborhoods of the data around a row of the sample, over k: 1 if equal; above 1 "
    "the sample keeps to where data are dense, as blurred data do",
    "coverage": "share of the data whose neighborhood holds a row of the sample; below 1 if equal",
    "neighbour_test": "accuracy of k nearest neighbors that tell both apart, held out: ½ if equal",
    "classifier_test": "the same of a trained network",
    "copies": "probability that a row of the sample is nearer to training data than one of the "
    "data is: ½ if equal; above, it copies or blurs",
    "sharpness": "gradient energy of a picture over that of the data: 1 if equal, below if blurred",
}
"""The meaning of each number that `compare` may return."""

_HIDDEN, _EPOCHS, _LEARNING_RATE, _PENALTY = 64, 100, 3e-3, 1e-2
"""The network that tells two samples apart."""


class Estimate(NamedTuple):
    """A number and its standard error, scalars; the error is None if it is not known."""

    value: float
    standard_error: float | None


class Features(NamedTuple):
    """Rows in a feature space.

    Attributes:
        space: name of the space.
        values: [N, D].
    """

    space: str
    values: np.ndarray


def _require_alike(real: np.ndarray, generated: np.ndarray) -> None:
    """Raises UsageError unless both are [N, …] with equal shapes and finite values."""
    if len(real) != len(generated):
        least = min(len(real), len(generated))
        raise UsageError(
            f"two samples of {len(real)} and {len(generated)} rows: must be equally many, since "
            f"the numbers depend on how many: take {least} of each"
        )
    if real.shape != generated.shape:
        raise UsageError(
            f"two samples of shape {list(real.shape)} and {list(generated.shape)}: must be rows of "
            "the same feature space"
        )
    require_finite(real=real, generated=generated)


def frechet_distance(
    real: np.ndarray,
    generated: np.ndarray,
    *,
    seed: int = 0,
    num_bootstrap: int = NUM_BOOTSTRAP,
) -> Estimate:
    """The Fréchet distance of two Gaussians with the means and covariances of two samples.

    ‖m − m′‖² + tr(C + C′ − 2 (C^½ C′ C^½)^½)

    It is biased upwards, the more the fewer rows, so compare it at equal N only. Of features of the
    Inception network it is called FID.

    Args:
        real, generated: [N, D] each, N >= 2.
        seed: for the resamples of the standard error, a scalar.
        num_bootstrap: resamples, a count; below 2 means no standard error.

    Returns:
        `Estimate`.

    Raises:
        UsageError: the shapes differ, or a value is not finite.

    Reference:
        Dowson & Landau 1982, The Fréchet distance between multivariate normal distributions;
        Heusel et al. 2017, arXiv 1706.08500 (FID).
    """
    _require_alike(real, generated)
    require_at_least(2, rows=len(real))
    both = [np.asarray(rows, np.float64) for rows in (real, generated)]
    random, num = np.random.default_rng(seed), len(real)

    def resampled():
        return _between_gaussians(*(rows[random.integers(0, num, num)] for rows in both))

    error = None
    if num_bootstrap >= 2:
        error = float(np.std([resampled() for _ in range(num_bootstrap)], ddof=1))
    return Estimate(_between_gaussians(*both), error)


def _between_gaussians(x: np.ndarray, y: np.ndarray) -> float:
    """The distance of the Gaussians fit to [N, D] and [M, D]."""
    covariances = [np.atleast_2d(np.cov(rows, rowvar=False)) for rows in (x, y)]
    values, vectors = scipy.linalg.eigh(covariances[0])
    root = (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T
    inner = scipy.linalg.eigvalsh(root @ covariances[1] @ root)
    traces = sum(np.trace(covariance) for covariance in covariances)
    apart = np.square(x.mean(axis=0) - y.mean(axis=0)).sum()
    return float(apart + traces - 2.0 * np.sqrt(np.maximum(inner, 0.0)).sum())


def neighbourhoods(
    real: np.ndarray, generated: np.ndarray, *, num_neighbours: int = 5
) -> dict[str, Estimate]:
    """Precision, recall, density and coverage.

    Density may be above 1: a row near the middle of many data lies in more of their neighborhoods
    than a row of the data does. Coverage stays below 1 for equal distributions, see
    `latent_neighbours.support`.

    Args:
        real, generated: [N, D] each.
        num_neighbours: k, below N.

    Returns:
        Name → `Estimate`. The errors are over rows, without the error of the neighborhoods.

    Raises:
        UsageError: the shapes differ, k does not fit, or a value is not finite.

    Reference:
        Kynkäänniemi et al. 2019, arXiv 1904.06991, eq. 1 and 2 (precision and recall); Naeem et al.
        2020, arXiv 2002.09797, eq. 3 and 4 (density and coverage).
    """
    _require_alike(real, generated)
    held = support(real, generated, num_neighbours=num_neighbours)
    back = support(generated, real, num_neighbours=num_neighbours)
    return {
        "precision": Estimate(*share_and_error(held.num_balls > 0)),
        "recall": Estimate(*share_and_error(back.num_balls > 0)),
        "density": Estimate(*mean_and_error(np.asarray(held.num_balls) / num_neighbours)),
        "coverage": Estimate(*share_and_error(held.is_covered)),
    }


def _held_out(classifier, real: np.ndarray, generated: np.ndarray, seed: int) -> Estimate:
    """The accuracy of a classifier of scikit-learn on rows that it has not learned from.

    Each half of both samples is held out in turn, so all rows count.
    """
    random = np.random.default_rng(seed)
    halves: tuple[list, list] = ([], [])
    for is_generated, rows in enumerate((real, generated)):
        order = random.permutation(len(rows))
        for half, places in zip(halves, np.array_split(order, 2), strict=True):
            half.append((rows[places], np.full(len(places), bool(is_generated))))
    first, second = (
        [np.concatenate(parts) for parts in zip(*half, strict=True)] for half in halves
    )
    is_right = [
        classifier.fit(*learned).predict(held[0]) == held[1]
        for learned, held in ((first, second), (second, first))
    ]
    return Estimate(*share_and_error(np.concatenate(is_right)))


def nearest_neighbour_test(
    real: np.ndarray, generated: np.ndarray, *, num_neighbours: int = 5, seed: int = 0
) -> Estimate:
    """The held-out accuracy of k nearest neighbors that tell both samples apart.

    Each half of both samples is held out in turn. Equal distributions give ½, disjoint ones 1.

    Args:
        real, generated: [N, D] each, N >= 2.
        num_neighbours: k, reduced to the number of rows of a half.
        seed: for the halves, a scalar.

    Returns:
        `Estimate`; the error is that of a share of all rows.

    Raises:
        UsageError: the shapes differ, or a value is not finite.

    Reference:
        Lopez-Paz & Oquab 2017, Revisiting classifier two-sample tests, arXiv 1610.06545, section 3.
    """
    from sklearn.neighbors import KNeighborsClassifier

    _require_alike(real, generated)
    require_at_least(2, rows=len(real))
    classifier = KNeighborsClassifier(min(num_neighbours, len(real) // 2 * 2))
    return _held_out(classifier, real, generated, seed)


def classifier_test(real: np.ndarray, generated: np.ndarray, *, seed: int = 0) -> Estimate:
    """The held-out accuracy of a small network that is trained to tell both samples apart.

    Each half of both samples is held out in turn. Equal distributions give ½, disjoint ones 1. A
    better classifier could reach more. All dimensions are divided by one scale: numbers that hardly
    vary, such as pixels at the border, are not magnified.

    Args:
        real, generated: [N, D] each, N >= 2.
        seed: for the halves and the network, a scalar.

    Returns:
        `Estimate`; the error is that of a share of all rows.

    Raises:
        UsageError: the shapes differ, or a value is not finite.

    Reference:
        Lopez-Paz & Oquab 2017, Revisiting classifier two-sample tests, arXiv 1610.06545, section 3.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPClassifier

    _require_alike(real, generated)
    require_at_least(2, rows=len(real))
    network = MLPClassifier(
        (_HIDDEN,),
        alpha=_PENALTY,
        learning_rate_init=_LEARNING_RATE,
        max_iter=_EPOCHS,
        random_state=seed,
    )
    center, scale = real.mean(axis=0), real.std(axis=0).max() or 1.0
    scaled = [(rows - center) / scale for rows in (real, generated)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return _held_out(network, *scaled, seed)


def placement(first: np.ndarray, second: np.ndarray) -> Estimate:
    """P(a < b) + ½ P(a = b) of a value of the first sample and one of the second.

    Args:
        first: a, [N], N >= 2.
        second: b, [M], M >= 2.

    Returns:
        `Estimate`: the area under the ROC curve, and its standard error from placements.

    Reference:
        DeLong et al. 1988, Comparing the areas under two or more correlated receiver operating
        characteristic curves, Biometrics 44.
    """

    def below(values, others):
        others = np.sort(others)
        sides = [np.searchsorted(others, values, side=side) for side in ("left", "right")]
        return sum(sides) / 2 / len(others)

    of_second, of_first = below(second, first), 1.0 - below(first, second)
    variance = of_second.var(ddof=1) / len(second) + of_first.var(ddof=1) / len(first)
    # rows that are all on one side have no spread; their share still has an error
    least = share_and_error(np.ones(min(len(first), len(second))))[1]
    return Estimate(float(of_second.mean()), max(math.sqrt(variance), least))


def copies(train: np.ndarray, real: np.ndarray, generated: np.ndarray) -> Estimate:
    """The probability that a row of a sample is nearer to training data than a held-out one is.

    Args:
        train: training data, [T, D].
        real: data that were held out, [N, D].
        generated: [N, D].

    Returns:
        `Estimate`: ½ if both are equally far; above, the sample copies training data or is blurred.

    Raises:
        UsageError: the shapes differ, or a value is not finite.

    Reference:
        Meehan et al. 2020, A non-parametric test to detect data-copying in generative models,
        arXiv 2004.05675, section 3 (the test by ranks).
    """
    _require_alike(real, generated)
    of_generated, of_real = (
        np.asarray(nearest_distance(jnp.asarray(train), jnp.asarray(rows)))
        for rows in (generated, real)
    )
    return placement(of_generated, of_real)


def sharpness(real: np.ndarray, generated: np.ndarray) -> Estimate:
    """The mean gradient energy of pictures over that of real ones.

    The energy is Σ (x_{i+1,j} − x_{i,j})² + (x_{i,j+1} − x_{i,j})² over all places and channels.

    Args:
        real: [N, H, W, C].
        generated: [M, H, W, C].

    Returns:
        `Estimate`: 1 if equally sharp, below 1 if blurred, above 1 if noisy.

    Raises:
        UsageError: these are not pictures, or the real ones are even.
    """
    for rows in (real, generated):
        if np.ndim(rows) != 4:
            raise UsageError(f"shape {list(np.shape(rows))}: must be pictures, [N, H, W, C]")
    upper, lower = (mean_and_error(_gradient_energy(rows)) for rows in (generated, real))
    if not lower[0]:
        raise UsageError("the real pictures are even: they have no gradient to compare with")
    ratio = upper[0] / lower[0]
    if upper[1] is None or lower[1] is None:
        return Estimate(ratio, None)
    return Estimate(ratio, math.hypot(upper[1], ratio * lower[1]) / lower[0])


def has_gradient(x: np.ndarray) -> bool:
    """Whether any of the pictures [N, H, W, C] is not even, a scalar."""
    return bool(_gradient_energy(x).any())


def _gradient_energy(x: np.ndarray) -> np.ndarray:
    """Σ of squared differences of adjacent pixels of pictures [N, H, W, C]: [N]."""
    x = np.asarray(x, np.float64)
    return sum(np.square(np.diff(x, axis=axis)).sum(axis=(1, 2, 3)) for axis in (1, 2))


def compare(
    real: Features,
    generated: Features,
    *,
    train: Features | None = None,
    num_neighbours: int = 5,
    num_bootstrap: int = NUM_BOOTSTRAP,
    seed: int = 0,
) -> dict[str, Estimate]:
    """All numbers of `DEFINITIONS` that features admit.

    Args:
        real, generated: of N rows each.
        train: of the training data, for `copies`.
        num_neighbours: k, a count.
        num_bootstrap: resamples for the error of the Fréchet distance, a count.
        seed: for halves and resamples, a scalar.

    Returns:
        Name → `Estimate`.

    Raises:
        UsageError: the spaces or the numbers of rows differ, or a value is not finite.
    """
    samples = (real, generated) if train is None else (real, generated, train)
    spaces = list(dict.fromkeys(sample.space for sample in samples))
    if len(spaces) > 1:
        raise UsageError(
            f"samples in the spaces {' and '.join(spaces)}: must be features of the same one: "
            "compute both with one function"
        )
    pair = real.values, generated.values
    _require_alike(*pair)
    kernel = kernel_distance(*(jnp.asarray(values, jnp.float32) for values in pair))
    found = {
        "frechet_distance": frechet_distance(*pair, seed=seed, num_bootstrap=num_bootstrap),
        "kernel_distance": Estimate(float(kernel.value), float(kernel.standard_error)),
        **neighbourhoods(*pair, num_neighbours=num_neighbours),
        "neighbour_test": nearest_neighbour_test(*pair, num_neighbours=num_neighbours, seed=seed),
        "classifier_test": classifier_test(*pair, seed=seed),
    }
    return found if train is None else {**found, "copies": copies(train.values, *pair)}
