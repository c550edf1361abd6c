"""Clusters of codes against labels that were not used, beside clusters of x and of components.

scikit-learn is imported when the first clusters are fit.
"""

import zlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from scipy.optimize import linear_sum_assignment

from vae_jax.errors import UsageError
from vae_jax.evaluation._cost import Cost
from vae_jax.evaluation._shared import require_at_least, require_finite, with_errors
from vae_jax.evaluation.subject import NotApplicableError

__all__ = ["COST", "DEFINITIONS", "Clusters", "agreement", "assignment", "evaluate", "measure"]

_WAYS = {
    "codes": "k-means of the codes",
    "prior": "the likeliest component of the prior at the code",
    "data": "k-means of x",
    "pca": "a mixture of Gaussians on as many principal components of x as the code has dimensions",
    "tsne": "k-means of a t-SNE map of x, of both splits at once",
}
_SCORES = {
    "accuracy": "share of test examples whose cluster is assigned their label on the train split",
    "nmi": "mutual information of clusters and labels over the mean of their entropies, test split",
    "ari": "Rand index of clusters and labels on the test split, adjusted for chance",
}
COST = Cost(place=7, per_example=2e-3)

DEFINITIONS = {
    "num_train": "the examples of known label that clusters were fit and assigned on",
    "num_test": "the examples of known label that they were scored on",
    "num_clusters": "the number of clusters: that of the distinct labels",
    **{
        f"{way}_{score}": f"{told}: {meaning}"
        for way, told in _WAYS.items()
        for score, meaning in _SCORES.items()
    },
}
"""The meaning of each entry of `evaluate`; `name_standard_error` is the error of `name`."""

_NUM_STARTS = {"codes": 10, "data": 3}


class Clusters(NamedTuple):
    """The clusters of the examples of two splits, integers from 0.

    Args:
        train: [N].
        test: [M].
    """

    train: np.ndarray
    test: np.ndarray


def assignment(clusters: np.ndarray, labels: np.ndarray) -> dict[int, Any]:
    """The label of each cluster: one to one, so that most examples have the label of theirs.

    Args:
        clusters: integers, [N].
        labels: [N], numbers or words.

    Returns:
        Cluster → label; a cluster has none if there are more clusters than labels.

    Reference:
        Kuhn 1955, The Hungarian method for the assignment problem.
    """
    names, columns = np.unique(labels, return_inverse=True)
    numbers, rows = np.unique(clusters, return_inverse=True)
    counts = np.zeros((len(numbers), len(names)), int)
    np.add.at(counts, (rows, columns), 1)
    return {
        int(numbers[row]): names[column].item()
        for row, column in zip(*linear_sum_assignment(counts, maximize=True), strict=True)
    }


def agreement(
    clusters: Clusters, train_labels: np.ndarray, test_labels: np.ndarray
) -> dict[str, Any]:
    """How well clusters agree with labels, {"accuracy": whether right [M], "nmi", "ari": scalars}.

    Args:
        clusters: of N and M examples.
        train_labels, test_labels: [N] and [M], numbers or words.
    """
    from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

    label_of = assignment(clusters.train, train_labels)
    said = [label_of.get(int(cluster)) for cluster in clusters.test]
    return {
        "accuracy": np.array([a == b for a, b in zip(said, test_labels.tolist(), strict=True)]),
        "nmi": float(normalized_mutual_info_score(test_labels, clusters.test)),
        "ari": float(adjusted_rand_score(test_labels, clusters.test)),
    }


def _k_means(train, test, num_clusters: int, num_starts: int, seed: int) -> Clusters:
    """Lloyd's algorithm on rows [N, D], the best of several starts by its own criterion."""
    from sklearn.cluster import KMeans

    fitted = KMeans(num_clusters, n_init=num_starts, random_state=seed).fit(train)
    return Clusters(fitted.labels_, fitted.predict(test))


def _mixture_of_components(train, test, num_clusters: int, num_dims: int, seed: int) -> Clusters:
    """Gaussians with any covariances on principal components of rows [N, D]."""
    from sklearn.decomposition import PCA
    from sklearn.mixture import GaussianMixture

    components = PCA(min(num_dims, *train.shape), random_state=seed).fit(train)
    seen = components.transform(train)
    fitted = GaussianMixture(num_clusters, random_state=seed, reg_covar=1e-4).fit(seen)
    return Clusters(fitted.predict(seen), fitted.predict(components.transform(test)))


def _map_of_neighbours(train, test, num_clusters: int, seed: int) -> Clusters:
    """k-means of a t-SNE map of rows [N, D] and [M, D], which has no place for rows it lacks."""
    from sklearn.manifold import TSNE

    both = np.concatenate([train, test])
    perplexity = min(30.0, (len(both) - 1) / 3)
    places = TSNE(perplexity=perplexity, random_state=seed).fit_transform(both)
    clusters = _k_means(places, places, num_clusters, _NUM_STARTS["codes"], seed).train
    return Clusters(clusters[: len(train)], clusters[len(train) :])


def evaluate(
    train: Mapping[str, np.ndarray],
    test: Mapping[str, np.ndarray],
    key: jax.Array,
    *,
    num_clusters: int | None = None,
    prior: Any = None,
    max_tsne: int = 0,
) -> dict:
    """How well clusters of codes agree with labels, beside clusters of the data themselves.

    Labels are used to assign clusters on the train split and to score them on the test split,
    never to choose among fits.

    Args:
        train: {"codes": [N, L], "x": [N, D], "labels": [N]}.
        test: the same of M examples.
        key: PRNG key, scalar, for the starts of the fits.
        num_clusters: a count; None is that of the distinct labels of the train split.
        prior: p(z) of components with `responsibilities`, over [L]; None has none.
        max_tsne: the largest N + M of which a t-SNE map is made, a count.

    Returns:
        The entries of `DEFINITIONS`, plain numbers; those of `prior` only if it has as many
            components as there are clusters, those of `tsne` only up to `max_tsne` examples.

    Raises:
        UsageError: a value is not finite, or there are more clusters than examples.

    Reference:
        Jiang et al. 2017, Variational Deep Embedding, arXiv 1611.05148, section 3.3 (the likeliest
        component) and 4.2 (accuracy).
    """
    for split in (train, test):
        require_finite(codes=split["codes"], x=split["x"])
    num = len(np.unique(train["labels"])) if num_clusters is None else num_clusters
    require_at_least(1, num_clusters=num)
    if num > len(train["codes"]):
        raise UsageError(
            f"num_clusters={num}: must be at most the {len(train['codes'])} examples of the train "
            "split"
        )
    seed = int(jax.random.randint(key, (), 0, 2**31 - 1))
    flat = {"codes": "codes", "data": "x"}
    found = {
        way: _k_means(train[name], test[name], num, _NUM_STARTS[way], seed)
        for way, name in flat.items()
    }
    num_dims = train["codes"].shape[1]
    found["pca"] = _mixture_of_components(train["x"], test["x"], num, num_dims, seed)
    if len(train["x"]) + len(test["x"]) <= max_tsne:
        found["tsne"] = _map_of_neighbours(train["x"], test["x"], num, seed)
    if prior is not None:
        of_split = [np.asarray(prior.responsibilities(s["codes"])) for s in (train, test)]
        if of_split[0].shape[1] == num:
            found["prior"] = Clusters(*(np.argmax(each, axis=1) for each in of_split))
    scores = {
        f"{way}_{name}": value
        for way in _WAYS
        if way in found
        for name, value in agreement(found[way], train["labels"], test["labels"]).items()
    }
    of_examples = {name: value for name, value in scores.items() if name.endswith("_accuracy")}
    return {
        "num_train": len(train["codes"]),
        "num_test": len(test["codes"]),
        "num_clusters": num,
        **{name: value for name, value in scores.items() if name not in of_examples},
        **with_errors(of_examples),
    }


def measure(subject, *, max_train: int = 10_000, max_tsne: int = 1) -> dict:
    """How well clusters of the codes agree with the labels.

    Args:
        subject: a `vae_jax.evaluation.subject.Subject`.
        max_train: the largest number of training examples, evenly spaced in the split, a scalar.
        max_tsne: the largest number of training and test examples of which a t-SNE map is made, a
            scalar; none by default, it takes minutes.

    Returns:
        The entries of `DEFINITIONS`, as of `evaluate`.

    Raises:
        NotApplicableError: z is not continuous, the data have no labels or only one, or they differ
            in length.
    """
    subject.require_continuous()
    subject.require_complete()
    splits = {}
    for name, most in (("train", max_train), ("test", None)):
        labels = subject.labels(name, num_examples=most)
        if labels is None:
            raise NotApplicableError("the data have no labels")
        is_known = labels >= 0
        if not is_known.any():
            raise NotApplicableError(f"the labels of all {name} examples are unknown (below 0)")
        x = subject.x(name, num_examples=most)
        splits[name] = {
            "codes": np.float64(subject.posterior(name, num_examples=most).mean)[is_known],
            "x": np.float64(x).reshape(len(x), -1)[is_known],
            "labels": labels[is_known],
        }
    if len(np.unique(splits["train"]["labels"])) < 2:
        raise NotApplicableError("all training examples whose label is known have one label")
    prior = subject.prior if hasattr(subject.prior, "responsibilities") else None
    key = jax.random.fold_in(subject.key, zlib.crc32(b"clustering"))
    return evaluate(splits["train"], splits["test"], key, prior=prior, max_tsne=max_tsne)
