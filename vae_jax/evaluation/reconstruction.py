"""How well x is reconstructed from its code, compared with as many principal components.

PCA is the best of all linear codes, and exact: a baseline for any autoencoder, and a known answer
for a linear one, which finds the same subspace.
"""

import math
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg

from vae_jax.evaluation._cost import Cost
from vae_jax.evaluation._shared import mean_and_error, ratio_and_error, require_finite

__all__ = [
    "COST",
    "DEFINITIONS",
    "Components",
    "decoder_subspace",
    "evaluate",
    "measure",
    "peak_signal_to_noise",
    "principal_angles",
    "principal_components",
    "squared_errors",
]

MAX_NUMBERS = 2**27
"""Maximum number of training values for PCA, a count."""

COST = Cost(place=4, is_quick=True, per_example=5e-4)

DEFINITIONS = {
    "num_examples": "N, the examples of the test split",
    "num_components": "L, the dimensions of the code, and so the principal components",
    "num_train": "training examples that PCA is fit to",
    "squared_error": "‖x − x̂‖² per example, x̂ = E[x|z] at the mode of q(z|x), summed over x",
    "root_mean_squared_error": "√ of its mean over the numbers of x",
    "psnr": "peak signal-to-noise ratio, −10 log₁₀ of an image's mean squared error, mean, dB",
    "pca_squared_error": "the same error of as many principal components (scikit-learn)",
    "pca_psnr": "the same ratio of as many principal components",
    "ratio": "squared_error / pca_squared_error: 1 if as good as that linear code, below if better",
    "largest_angle": "between the subspaces of a linear decoder and of PCA, in degrees",
}
"""The meaning of each entry of `evaluate`; `name_standard_error` is the error of `name`."""


class Components(NamedTuple):
    """Principal components: x̂ = mean + (x − mean) · directionsᵀ · directions.

    Attributes:
        mean: [D].
        directions: orthonormal rows, by decreasing variance, [K, D].
    """

    mean: np.ndarray
    directions: np.ndarray

    def restore(self, x: np.ndarray) -> np.ndarray:
        """Reconstructs x [N, *event] from its K components: the same shape."""
        codes = (_flat(x) - self.mean) @ self.directions.T
        return (self.mean + codes @ self.directions).reshape(np.shape(x))


def _flat(x) -> np.ndarray:
    """[N, *event] as float32 rows [N, D]."""
    return np.asarray(x, np.float32).reshape(len(x), -1)


def principal_components(x: np.ndarray, num_components: int) -> Components:
    """The K directions with the largest variance of x.

    Args:
        x: [N, *event] of D numbers.
        num_components: K, clamped to min(N, D).

    Returns:
        `Components`.

    Reference:
        Jolliffe 2002, Principal Component Analysis, section 1.1; scikit-learn computes them.
    """
    from sklearn.decomposition import PCA

    require_finite(x=x)
    rows = _flat(x)
    fitted = PCA(min(num_components, *rows.shape), svd_solver="auto", random_state=0).fit(rows)
    return Components(fitted.mean_.astype(np.float32), fitted.components_.astype(np.float32))


def squared_errors(x: np.ndarray, restored: np.ndarray) -> np.ndarray:
    """‖x − x̂‖² of each example, [N, *event] twice to [N]."""
    chex.assert_equal_shape([x, restored])
    return np.square(_flat(x).astype(np.float64) - _flat(restored)).sum(axis=1)


def peak_signal_to_noise(x: np.ndarray, restored: np.ndarray) -> np.ndarray:
    """−10 log₁₀ (‖x − x̂‖² / D) of each example whose numbers lie between 0 and 1.

    Args:
        x, restored: [N, *event] of D numbers each.

    Returns:
        [N], in dB; ∞ if there is no difference.
    """
    means = squared_errors(x, restored) / math.prod(np.shape(x)[1:])
    with np.errstate(divide="ignore"):
        return -10.0 * np.log10(means)


def principal_angles(directions: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Angles between the subspaces spanned by rows, descending: [min(K, J)] in degrees.

    Args:
        directions: [K, D].
        others: [J, D].

    Reference:
        Björck & Golub 1973, Numerical methods for computing angles between linear subspaces.
    """
    spans = [np.asarray(rows, np.float64).T for rows in (directions, others)]
    angles = np.degrees(scipy.linalg.subspace_angles(*spans))
    # a missing direction, because rows are linearly dependent, gets the largest angle
    missing = min(len(directions), len(others)) - len(angles)
    return np.concatenate([np.full(missing, 90.0), angles])


def decoder_subspace(decode_mean, latent_dim: int) -> np.ndarray | None:
    """The directions of a linear decoder: its change from z = 0 for each unit vector.

    Args:
        decode_mean: codes [B, L] to [B, *shape].
        latent_dim: L.

    Returns:
        [L, D]; None if random codes show that it is not linear.
    """
    draws = jax.random.normal(jax.random.key(0), (16, latent_dim))
    z = jnp.concatenate([jnp.zeros((1, latent_dim)), jnp.eye(latent_dim), draws])
    decoded = _flat(decode_mean(z)).astype(np.float64)
    weights = decoded[1 : latent_dim + 1] - decoded[0]
    linear = decoded[0] + np.asarray(draws, np.float64) @ weights
    actual = decoded[latent_dim + 1 :]
    size = np.abs(actual - decoded[0]).max()
    return weights if np.abs(linear - actual).max() < 1e-4 * size else None


def evaluate(
    x: np.ndarray,
    restored: np.ndarray,
    components: Components,
    *,
    weights: np.ndarray | None = None,
) -> dict[str, Any]:
    """The errors of a reconstruction, compared with those of principal components.

    Args:
        x: data, [N, *event].
        restored: the reconstruction, the same shape.
        components: of training data.
        weights: weights of a linear decoder, [L, D], or None.

    Returns:
        The entries of `DEFINITIONS` except counts, plain numbers: PSNR if x lies between 0 and 1,
            `largest_angle` if there are weights. The standard error of `ratio` is that of paired
            examples.
    """
    require_finite(x=x, restored=restored)
    ours, theirs = squared_errors(x, restored), squared_errors(x, components.restore(x))
    size = math.prod(np.shape(x)[1:])
    result: dict[str, Any] = {}

    def add(name, values):
        result[name], result[f"{name}_standard_error"] = mean_and_error(values)

    add("squared_error", ours)
    result["root_mean_squared_error"] = math.sqrt(ours.mean() / size)
    add("pca_squared_error", theirs)
    if theirs.mean() > 1e-6 * np.square(_flat(x)).sum(axis=1).mean():
        result["ratio"], result["ratio_standard_error"] = ratio_and_error(ours, theirs)
    if np.min(x) >= 0 and np.max(x) <= 1:
        for name, each in (("psnr", restored), ("pca_psnr", components.restore(x))):
            decibels = peak_signal_to_noise(x, each)
            if np.isfinite(decibels).all():
                add(name, decibels)
    if weights is not None and len(weights) <= len(components.directions):
        angles = principal_angles(weights, components.directions[: len(weights)])
        result["largest_angle"] = float(angles.max())
    return result


def measure(subject, *, max_train: int = 60_000) -> dict[str, Any]:
    """Compares reconstructions of the test split with PCA of the training split.

    Args:
        subject: a `vae_jax.evaluation.subject.Subject`.
        max_train: PCA is fit to at most this many training examples, evenly spaced; a scalar. For
            large examples to fewer, `MAX_NUMBERS` numbers in total.

    Returns:
        The entries of `DEFINITIONS`, scalars, with standard errors.

    Raises:
        NotApplicableError: numbers of x may be missing.
    """
    subject.require_complete()
    size = math.prod(subject.model.shape)
    train = subject.x("train", max(1, min(max_train, MAX_NUMBERS // size)))
    components = principal_components(train, subject.latent_dim)

    def restore(params, stored, positions):
        x = subject.inputs(stored, positions)
        return subject.given(params, stored, x).reconstruct(params, x)

    weights = None
    if not subject.model.num_conditions:
        weights = decoder_subspace(subject.decode_mean, subject.latent_dim)
    x = subject.x()
    counts = {"num_examples": len(x), "num_components": subject.latent_dim, "num_train": len(train)}
    return counts | evaluate(x, subject.over(restore), components, weights=weights)
