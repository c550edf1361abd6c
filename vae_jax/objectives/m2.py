"""M2, semi-supervised: few labels, and a classifier that predicts the missing ones."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from vae_jax import networks
from vae_jax.errors import DataError, UsageError
from vae_jax.labels import OWN
from vae_jax.objectives import _conditions, _terms
from vae_jax.objectives._conditions import row_weights, rows
from vae_jax.training import Conditions

__all__ = [
    "DEFINITIONS",
    "beside",
    "conditions",
    "given",
    "init",
    "loss",
    "reveal",
    "row_weights",
    "rows",
]

_OF_Z = "of the rate of z alone, given the class that q(y|x) finds likeliest, "
DEFINITIONS = {
    "loss": "what was minimized, of an example without a label: −elbo",
    "elbo": "−(distortion + rate) in nats per example, a bound on log p(x)",
    "rate": "E KL(q(z|x, y) ‖ p(z)) + KL(q(y|x) ‖ p(y)) in nats per example, of z and of the "
    "class, E over q(y|x)",
    "distortion": "E −log p(x|z, y) in nats per example, E over q(y|x), one sample of z for each y",
    "mutual_information": f"{_OF_Z}I(x; z) in nats, from a few examples (see latent_use)",
    "total_correlation": f"{_OF_Z}KL(q(z) ‖ Π_l q(z_l)) in nats, from a few examples",
    "dimension_wise_kl": f"{_OF_Z}Σ_l KL(q(z_l) ‖ p(z_l)) in nats, from a few examples",
    **_conditions.DEFINITIONS,
}
_NUM_LABELED = 100  # the default, if there are as many labels
_SEED = 0  # of the order in which labels are revealed: every run uses the same rows


def loss(model, params, batch, key, *, alpha=1.0):
    """M2: the bound on log p(x, y) if y is known, on log p(x) if not, and a classifier's loss.

    loss = Σ_y r(y)·[−log p(x|z_y, y) + KL(q(z|x, y) ‖ p(z)) + log r(y)/p(y)] − α·N/N_l·log q(y|x),
    z_y ~ q(z|x, y), p(y) = 1/C. For a labeled example r is 1 at its label, and −log p(y) = log C
    remains; for another, r(y) = q(y|x), and the last term is 0

    So the mean over an epoch is 1/N of the paper's J^α, a sum over all N examples, each once. The
    weight of the mean cross-entropy of the N_l labeled examples is 0.1·N in the paper and α·N here.

    Args:
        model: a conditional `Model` of C classes.
        params: its parameters, and those of the classifier under "objective".
        batch: {"x": [B, *shape], "mask": [B]} and the result of `rows`: "labels", "truth",
        "weight".
        key: PRNG key, for one sample of z; all classes share its noise.
        alpha: weight of the classifier's cross-entropy, in nats per example: the paper's α over N,
            0.1 there. In short trainings 0.1 lets classes form that do not match the labels.

    Returns:
        loss [B] and {"elbo", "rate", "distortion", "accuracy", "cross_entropy"}, each [B]. The ELBO
        is a bound on log p(x); its rate is that of z and y. Accuracy and cross-entropy of q(y|x)
        are means over the examples with known `truth`; the others have weight 0. Labels are hidden
        during evaluation: the loss is then the negative ELBO of x alone.

    Reference:
        Kingma et al. 2014, arXiv 1406.5298, equations 6 to 9 and section 4.1 (α).
    """
    labels, truth, weight = (_conditions.taken(batch, n) for n in ("labels", "truth", "weight"))
    x, num_classes = batch["x"], model.num_conditions
    log_q = jax.nn.log_softmax(_logits(params["objective"], x, num_classes))  # [B, C]
    is_known = labels >= 0
    label = jax.nn.one_hot(labels, num_classes)
    # r(y), and KL(r ‖ p(y)) = Σ_y r log r + log C
    share = jnp.where(is_known[:, None], label, jnp.exp(log_q))
    negentropy = jnp.where(is_known, 0.0, jnp.sum(jnp.exp(log_q) * log_q, axis=1))

    # every class with every example, [C·B]
    num_rows = len(x)
    every = model.given(jnp.repeat(jnp.eye(num_classes), num_rows, axis=0))
    posterior = every.encode(params, x)
    by_class = _by_class(posterior, num_classes, num_rows)
    z = jax.vmap(lambda q: q.sample(key))(by_class).reshape(num_classes * num_rows, -1)
    repeated = jnp.tile(x, (num_classes, *[1] * (x.ndim - 1)))
    weighed = {"x": repeated, "mask": (share * batch["mask"][:, None]).T.reshape(-1)}
    distortion = every.distortion(params, z, weighed).reshape(num_classes, num_rows).T
    rate = _terms.rate(every, params, posterior, z).reshape(num_classes, num_rows).T

    distortion = jnp.sum(share * distortion, axis=1)
    rate = jnp.sum(share * rate, axis=1) + negentropy + jnp.log(float(num_classes))
    classification = -jnp.sum(label * log_q, axis=1)
    is_right = (jnp.argmax(log_q, axis=1) == truth).astype(jnp.float32)
    true_class = jax.nn.one_hot(truth, num_classes)
    return distortion + rate + alpha * weight * classification, {
        **_terms.elbo_terms(distortion, rate),
        "accuracy": weight * is_right,
        "cross_entropy": -weight * jnp.sum(true_class * log_q, axis=1),
    }


def _by_class(posterior, num_classes: int, num_rows: int):
    """q(z|x, y) of C·B rows with an axis for the classes: arrays [C·B, …] to [C, B, …]."""
    num = num_classes * num_rows
    if any(leaf.shape[:1] != (num,) for leaf in jax.tree.leaves(posterior)):
        raise UsageError(
            f"m2: q(z|x, y) is of type {type(posterior).__name__}, must hold numbers of each row "
            "alone: leave posterior out, or take posterior=full"
        )
    return jax.tree.map(
        lambda leaf: leaf.reshape(num_classes, num_rows, *leaf.shape[1:]), posterior
    )


def init(model, key, *, classifier_width=500, classifier_depth=1) -> dict:
    """Initializes the classifier q(y|x), x [B, *shape] to C classes; the model's optimizer is used.

    Args:
        model: a conditional `Model`.
        key: PRNG key.
        classifier_width: units of each hidden layer of the classifier.
        classifier_depth: hidden layers of the classifier, ReLU.

    Raises:
        UsageError: numbers of x may be missing.
    """
    if model.likelihood.has_missing:
        raise UsageError(
            "m2: its classifier asks for examples of one length: take cvae, of rows that all have "
            "a label"
        )
    network = _classifier(model.num_conditions, classifier_width, classifier_depth)
    return network.init(key, jnp.zeros((1, np.prod(model.shape, dtype=int))))["params"]


def _classifier(num_classes: int, width: int, depth: int) -> nn.Module:
    return networks.MLPDecoder(num_classes, (width,) * depth, nn.relu)


def _logits(own: dict, x: jax.Array, num_classes: int) -> jax.Array:
    """Logits of q(y|x): x [B, *shape] to [B, C]."""
    network = _classifier(num_classes, len(own["latent"]["bias"]), len(own) - 1)
    return network.apply({"params": own}, x.reshape(len(x), -1))


def given(model, params, batch: dict):
    """Conditions the model on the most likely class of each row [B] under q(y|x)."""
    logits = _logits(params["objective"], batch["x"], model.num_conditions)
    return model.given_encoded(jnp.argmax(logits, axis=1))


def beside(model, told: dict) -> dict:
    """What batches hold beside x, from a user's labels: all known labels are used.

    Args:
        model: a conditional `Model` of C classes.
        told: {"labels": the user's own labels [N], −1 if unknown}, or the result of `rows`.

    Raises:
        UsageError: there are no labels, none is known, or one is not one of the classes.
    """
    if "truth" in told:
        return told
    codes = _conditions.told_labels(told, _conditions.classes_of(model), OWN)
    return {**told, **rows(codes, codes)}


def conditions(dataset, *, num_labeled=_NUM_LABELED) -> Conditions:
    """The labels: the revealed ones in training; in evaluation they only measure the accuracy.

    Args:
        dataset: a dataset of `vae_jax.data.load`, its splits with labels [N]; below 0 means
        unknown.
        num_labeled: training examples that keep their label, equally many of each class if
            possible.

    Raises:
        DataError: the dataset has no labels, or too few.
    """
    codes, names = _conditions.classes(dataset, "objective=m2")
    num_known = int(np.sum(codes["train"] >= 0))
    told = f"the training split of {dataset.name} has {num_known} labels of {len(names)} classes"
    if num_known < len(names):
        raise DataError(f"objective=m2: {told}: label at least {len(names)} of its rows")
    notes = ()
    if num_labeled == _NUM_LABELED and not len(names) <= num_labeled <= num_known:
        num_labeled = min(max(num_labeled, len(names)), num_known)
        notes = (f"num_labeled={num_labeled}: {told}, of which so many are kept by default",)
    if not len(names) <= num_labeled <= num_known:
        raise DataError(
            f"num_labeled={num_labeled}: {told}: give at least {len(names)}, at most {num_known}"
        )
    train = reveal(codes["train"], num_labeled)
    hidden = functools.partial(np.full, fill_value=-1, dtype=np.int32)
    return Conditions(
        train=rows(train, train),
        **{split: rows(hidden(len(codes[split])), codes[split]) for split in ("valid", "test")},
        num=len(names),
        **_conditions.one_per_class(names),
        what="the class that q(y|x) finds likeliest",
        classes=_conditions.user_labels(dataset),
        notes=notes,
    )


def reveal(labels: np.ndarray, num_labeled: int) -> np.ndarray:
    """Hides all but some labels, taken from the classes in turn until they run out.

    Args:
        labels: [N] integers, below 0 if unknown.
        num_labeled: number of labels to keep, a count.

    Returns:
        [N] int32, −1 for the others; depends only on the labels and the number.
    """
    order = np.random.default_rng(_SEED).permutation(len(labels))
    order = order[labels[order] >= 0]
    grouped = order[np.argsort(labels[order], kind="stable")]
    counts = np.unique(labels[order], return_counts=True)[1]
    turns = np.concatenate([np.arange(count) for count in counts])
    kept = grouped[np.argsort(turns, kind="stable")][:num_labeled]
    revealed = np.full(len(labels), -1, np.int32)
    revealed[kept] = labels[kept]
    return revealed
