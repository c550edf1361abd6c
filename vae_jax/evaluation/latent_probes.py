"""Probes: classifiers trained on codes, k nearest neighbors and a linear one, on a split of data.

scikit-learn is imported when the first probe is fit.
"""

import math
import warnings
from typing import NamedTuple

import numpy as np

from vae_jax.errors import UsageError
from vae_jax.evaluation._cost import Cost
from vae_jax.evaluation._shared import require_at_least, require_finite
from vae_jax.evaluation.subject import AtMost, NotApplicableError

__all__ = [
    "COST",
    "DEFINITIONS",
    "Accuracy",
    "Split",
    "evaluate",
    "knn_probe",
    "linear_probe",
    "measure",
    "split",
]

COST = Cost(place=6, is_quick=True, start=1.0, per_example=2e-3)

DEFINITIONS = {
    "num_train": "the examples of known label to whose codes the probes were fitted",
    "num_test": "the examples of known label on which they were scored, all of them unseen",
    "num_classes": "the distinct labels among the train examples",
    "num_neighbours": "k of the k-nearest-neighbours probe",
    "knn_accuracy": "test accuracy of the k nearest neighbours among the codes, Euclidean",
    "linear_accuracy": "test accuracy of logistic regression on the standardized codes",
    "linear_converged": "whether the fit of the logistic regression converged",
    "majority_accuracy": "test accuracy of always saying the commonest train label: chance",
}
"""The meaning of each entry of `evaluate`; `name_standard_error` is the error of `name`."""


class Accuracy(NamedTuple):
    """The accuracy of a probe, scalars.

    Args:
        value: the share of test examples with the correct label.
        standard_error: √(p (1 − p) / N) over the test examples; the training set is fixed.
        converged: whether the fit converged.
    """

    value: float
    standard_error: float
    converged: bool = True


class Split(NamedTuple):
    """The training and the test examples, disjoint and together all.

    Args:
        train: positions, int [N − M], ascending.
        test: positions, int [M], ascending.
    """

    train: np.ndarray
    test: np.ndarray


def split(num_examples: int, seed: int, *, test_fraction: float = 0.2) -> Split:
    """Splits examples at random; use one split for all probes that are compared.

    Args:
        num_examples: N, scalar.
        seed: scalar; the same seed gives the same split.
        test_fraction: the share of test examples, a scalar in (0, 1); each side gets at least one
            example.

    Returns:
        `Split`.

    Raises:
        UsageError: a number does not fit.
    """
    require_at_least(2, num_examples=num_examples)
    if not 0.0 < test_fraction < 1.0:
        raise UsageError(f"test_fraction={test_fraction}: must be above 0 and below 1")
    order = np.random.default_rng(seed).permutation(num_examples)
    num_test = min(max(1, round(test_fraction * num_examples)), num_examples - 1)
    return Split(np.sort(order[num_test:]), np.sort(order[:num_test]))


def _check(train_codes, train_labels, test_codes, test_labels):
    """Converts the four to arrays [N, L], [N], [M, L], [M]; raises UsageError if they misfit."""
    require_finite(train_codes=train_codes, test_codes=test_codes)
    arrays = [np.asarray(a) for a in (train_codes, train_labels, test_codes, test_labels)]
    shapes = [a.shape for a in arrays]
    fit = [len(shape) for shape in shapes] == [2, 1, 2, 1]
    if not (
        fit
        and shapes[0][0] == shapes[1][0]
        and shapes[2][0] == shapes[3][0]
        and shapes[0][1] == shapes[2][1]
    ):
        raise UsageError(
            f"codes and labels have shapes {', '.join(str(list(shape)) for shape in shapes)}: "
            "must be [N, L], [N], [M, L], [M]"
        )
    if len(np.unique(arrays[1])) < 2:
        raise UsageError(f"train_labels: all are {arrays[1][0]}, a probe needs two different ones")
    return arrays


def _accuracy(predicted: np.ndarray, labels: np.ndarray, converged: bool = True) -> Accuracy:
    value = float(np.mean(predicted == labels))
    return Accuracy(value, math.sqrt(value * (1.0 - value) / len(labels)), converged)


def knn_probe(
    train_codes: np.ndarray,
    train_labels: np.ndarray,
    test_codes: np.ndarray,
    test_labels: np.ndarray,
    *,
    num_neighbours: int = 10,
) -> Accuracy:
    """The accuracy of a majority vote of the k nearest training codes, with equal weights.

    Args:
        train_codes, train_labels: [N, L] and [N], labels numbers or words.
        test_codes, test_labels: [M, L] and [M].
        num_neighbours: k, at most N, scalar.

    Returns:
        `Accuracy` on the test examples.

    Raises:
        UsageError: a value is not finite, shapes or k do not fit, or there is only one label.

    Reference:
        Fix & Hodges 1951; for representations: Wu et al. 2018, arXiv 1805.01978, section 3.4.
    """
    arrays = _check(train_codes, train_labels, test_codes, test_labels)
    train_codes, train_labels, test_codes, test_labels = arrays
    if not 1 <= num_neighbours <= len(train_codes):
        raise UsageError(
            f"num_neighbours={num_neighbours}: must be from 1 to the {len(train_codes)} train "
            "examples"
        )
    from sklearn.neighbors import KNeighborsClassifier

    probe = KNeighborsClassifier(num_neighbours).fit(train_codes, train_labels)
    return _accuracy(probe.predict(test_codes), test_labels)


def linear_probe(
    train_codes: np.ndarray,
    train_labels: np.ndarray,
    test_codes: np.ndarray,
    test_labels: np.ndarray,
    *,
    max_steps: int = 1000,
    inverse_penalty: float = 1.0,
) -> Accuracy:
    """The accuracy of logistic regression on codes, standardized by the training examples.

    Args:
        train_codes, train_labels: [N, L] and [N], labels numbers or words.
        test_codes, test_labels: [M, L] and [M].
        max_steps: maximum number of L-BFGS steps, scalar.
        inverse_penalty: C of scikit-learn, the weight of the data relative to ½‖w‖², scalar.

    Returns:
        `Accuracy` on the test examples.

    Raises:
        UsageError: a value is not finite, shapes do not fit, or there is only one label.

    Reference:
        Alain & Bengio 2016, Understanding intermediate layers using linear classifier probes, arXiv
        1610.01644.
    """
    arrays = _check(train_codes, train_labels, test_codes, test_labels)
    train_codes, train_labels, test_codes, test_labels = arrays
    require_at_least(1, max_steps=max_steps)
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    regression = LogisticRegression(max_iter=max_steps, C=inverse_penalty)
    probe = make_pipeline(StandardScaler(), regression)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ConvergenceWarning)
        probe.fit(train_codes.astype(np.float64), train_labels)
    converged = not any(issubclass(each.category, ConvergenceWarning) for each in caught)
    return _accuracy(probe.predict(test_codes.astype(np.float64)), test_labels, converged)


def evaluate(
    train_codes: np.ndarray,
    train_labels: np.ndarray,
    test_codes: np.ndarray,
    test_labels: np.ndarray,
    *,
    num_neighbours: int = 10,
    max_steps: int = 1000,
) -> dict:
    """How well labels can be predicted from codes that were learned without labels.

    Args:
        train_codes, train_labels: [N, L] and [N], labels numbers or words.
        test_codes, test_labels: [M, L] and [M]; use `split` if the data have no split.
        num_neighbours, max_steps: scalars, see `knn_probe` and `linear_probe`.

    Returns:
        The entries of `DEFINITIONS`, plain numbers.

    Raises:
        UsageError: a value is not finite, shapes or k do not fit, or there is only one label.
    """
    arrays = _check(train_codes, train_labels, test_codes, test_labels)
    names, counts = np.unique(arrays[1], return_counts=True)
    commonest = np.broadcast_to(names[np.argmax(counts)], arrays[3].shape)
    knn = knn_probe(*arrays, num_neighbours=num_neighbours)
    linear = linear_probe(*arrays, max_steps=max_steps)
    majority = _accuracy(commonest, arrays[3])
    return {
        "num_train": len(arrays[0]),
        "num_test": len(arrays[2]),
        "num_classes": len(names),
        "num_neighbours": num_neighbours,
        "knn_accuracy": knn.value,
        "knn_accuracy_standard_error": knn.standard_error,
        "linear_accuracy": linear.value,
        "linear_accuracy_standard_error": linear.standard_error,
        "linear_converged": linear.converged,
        "majority_accuracy": majority.value,
        "majority_accuracy_standard_error": majority.standard_error,
    }


def measure(subject, *, num_neighbours: int = AtMost(10), max_train: int = 20_000) -> dict:
    """How well the labels of the test split can be predicted from its codes, by trained probes.

    The probes are fit on the training split. Rows with an unknown label, below 0, are dropped from
    both.

    Args:
        subject: a `vae_jax.evaluation.subject.Subject`.
        num_neighbours: see `evaluate`; by default at most the number of training examples.
        max_train: the largest number of training examples, evenly spaced in the split, a scalar.

    Returns:
        The entries of `DEFINITIONS`, as of `evaluate`.

    Raises:
        NotApplicableError: the data have no labels, or only one known label.
        UsageError: there are fewer training examples than `num_neighbours`.
    """
    train_labels, test_labels = subject.labels("train", num_examples=max_train), subject.labels()
    if train_labels is None or test_labels is None:
        raise NotApplicableError("the data have no labels")
    is_train, is_test = train_labels >= 0, test_labels >= 0
    for split, known in (("training", is_train), ("test", is_test)):
        if not known.any():
            raise NotApplicableError(
                f"the data have no labels: those of all {split} examples are unknown (below 0)"
            )
    if len(np.unique(train_labels[is_train])) < 2:
        raise NotApplicableError("all training examples whose label is known have one label")
    return evaluate(
        subject.posterior("train", num_examples=max_train).mean[is_train],
        train_labels[is_train],
        subject.posterior().mean[is_test],
        test_labels[is_test],
        num_neighbours=AtMost.fit(num_neighbours, int(is_train.sum())),
    )
