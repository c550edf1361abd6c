"""Decoded draws beside data: distances, neighborhoods, tests, copies and sharpness, with controls.

Each number of the draws stands beside that of real data and of samples that show what the number
rewards, in one named feature space and at the same number of rows: see `two_samples` and
`controls`.
"""

import zlib
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from vae_jax.blocks import by_blocks
from vae_jax.errors import UsageError, unknown
from vae_jax.evaluation import controls, feature_spaces, two_samples
from vae_jax.evaluation._cost import Cost
from vae_jax.evaluation._shared import require_finite
from vae_jax.evaluation.feature_spaces import Space
from vae_jax.evaluation.subject import AtMost, NotApplicableError

__all__ = ["DEFINITIONS", "SPACES", "evaluate", "measure"]

DRAWS = "draws"
SPACES = ("pca", "pixels", "codes", "classifier")
"""Names of feature spaces that are made from a trained model and its data."""
FEWEST = 20
"""The smallest sample that is compared, a count."""
MAX_TRAIN = 10_000
"""Training examples that spaces and controls are fit to, a count."""

COST = Cost(place=10, start=15.0, per_example=5e-3)

DEFINITIONS = {
    "num_examples": "n, the rows of each sample: the reference, the draws, each control",
    "space": "the feature space of all numbers but `sharpness`; none of them is FID or KID",
    "num_dimensions": "D, the dimensions of that space",
    "num_neighbours": "k, the size of a neighborhood",
    **{
        name: definition
        for measure, meaning in two_samples.DEFINITIONS.items()
        for name, definition in {
            measure: meaning,
            **{f"{measure}_of_{name}": told for name, told in controls.DEFINITIONS.items()},
        }.items()
    },
}
"""The meaning of each entry of `evaluate`; `name_standard_error` is the error of `name`."""


def evaluate(
    reference: np.ndarray,
    samples: Mapping[str, np.ndarray],
    space: Space,
    *,
    train: np.ndarray | None = None,
    num_neighbours: int = 5,
    num_bootstrap: int = 50,
    seed: int = 0,
) -> dict[str, Any]:
    """Compares each sample with a reference.

    Args:
        reference: data that were held out, [N, *event].
        samples: name → [N, *event]; "draws" is what is judged, the others are controls.
        space: in which they are compared.
        train: training data [T, *event], for `copies`.
        num_neighbours: k, a count.
        num_bootstrap: resamples for the error of the Fréchet distance, a count.
        seed: for halves and resamples, a scalar.

    Returns:
        The entries of `DEFINITIONS`, plain numbers: `sharpness` if rows are pictures [H, W, C].

    Raises:
        UsageError: the samples differ in size, or a value is not finite.
    """
    require_finite(reference=reference, **samples)
    own = space.features(reference)
    of_train = None if train is None else space.features(train)
    sizes = {"num_neighbours": num_neighbours, "num_bootstrap": num_bootstrap, "seed": seed}
    found: dict[str, Any] = {
        "num_examples": len(reference),
        "space": space.name,
        "num_dimensions": own.values.shape[1],
        "num_neighbours": num_neighbours,
    }
    for name, x in samples.items():
        values = two_samples.compare(own, space.features(x), train=of_train, **sizes)
        if reference.ndim == 4 and two_samples.has_gradient(reference):
            values["sharpness"] = two_samples.sharpness(reference, x)
        suffix = "" if name == DRAWS else f"_of_{name}"
        for entry, estimate in values.items():
            found[f"{entry}{suffix}"] = estimate.value
            found[f"{entry}{suffix}_standard_error"] = estimate.standard_error
    return found


def measure(
    subject,
    *,
    space: str = "pca",
    num_neighbours: int = AtMost(5),
    max_examples: int = 2000,
    sampler: str = "prior",
) -> dict[str, Any]:
    """Compares decoded draws with half of the test split, in random order, beside controls.

    Args:
        subject: a `vae_jax.evaluation.subject.Subject`.
        space: "pca" (at most 64 components of training data), "pixels", "codes" (of this model, so
            no space to compare models in), or "classifier" (a network trained on the labels).
        num_neighbours: k; by default at most (n − 1) / 2, a scalar.
        max_examples: n is at most this, and half of the test split, a scalar.
        sampler: where draws come from: "prior", or one of `samplers.names()`, fit to codes.

    Returns:
        The entries of `DEFINITIONS`, plain numbers.

    Raises:
        NotApplicableError: there are too few examples, or a code alone says nothing of x.
        UsageError: there is no such space or sampler, or k does not fit.
    """
    if space not in SPACES:
        raise unknown("space", space, SPACES)
    decode = subject.decode_mean
    x = subject.x()
    first, second = controls.shuffled_halves(len(x), max_examples, _seed(subject))
    if len(first) < FEWEST:
        raise NotApplicableError(
            f"half of {len(x)} test examples are compared with the others, {FEWEST} at least"
        )
    train = subject.x("train", MAX_TRAIN)
    labels = subject.labels("train", MAX_TRAIN)
    made = {DRAWS: _draws(subject, decode, sampler, len(first))}
    made |= controls.make(train, x[second], _seed(subject), labels)
    return evaluate(
        x[first],
        made,
        _space(space, subject, train, labels),
        train=train,
        num_neighbours=AtMost.fit(num_neighbours, (len(first) - 1) // 2),
        seed=_seed(subject),
    )


def _key(subject) -> jax.Array:
    return jax.random.fold_in(subject.key, zlib.crc32(b"samples"))


def _seed(subject) -> int:
    """A seed for NumPy from the subject's key, a scalar."""
    return int(jax.random.randint(_key(subject), (), 0, 2**31 - 1))


def _draws(subject, decode: Callable, sampler: str, num: int) -> np.ndarray:
    """The means of x for draws of the code, [num, *shape]."""
    onto = subject.onto if subject.model.latent.is_continuous else lambda z: z
    z = subject.draws_from(sampler).sample(_key(subject), num)
    decoded = jax.jit(lambda z: by_blocks(lambda rows: decode(onto(rows)), z, subject.num_rows))
    return np.asarray(decoded(z))


def _space(name: str, subject, train: np.ndarray, labels: np.ndarray | None) -> Space:
    """The feature space of a name, fit to training data [T, *event]."""
    if name == "pixels":
        return feature_spaces.pixels()
    if name == "pca":
        return feature_spaces.pca(train)
    if name == "codes":
        return feature_spaces.of_function("codes of this model", _encoder(subject))
    if labels is None:
        raise UsageError(
            "space=classifier: the data have no labels: choose space=pca, pixels or codes"
        )
    return feature_spaces.classifier(train, labels, seed=_seed(subject))


def _encoder(subject) -> Callable[[np.ndarray], np.ndarray]:
    """x [N, *shape] to the modes of q(z|x) over the dimensions in use, [N, L]."""
    subject.require_continuous()
    model, size = subject.model, subject.latent_dim

    def encode(rows):
        return model.encode(subject.params, rows).first(size).mode

    encoded = jax.jit(lambda x: by_blocks(encode, x, subject.num_rows))
    return lambda x: np.asarray(encoded(np.asarray(x, np.float32)))
