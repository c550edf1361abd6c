"""The deep belief network: layers trained without labels, then with a classifier on top."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from vae_jax import latents, losses, networks
from vae_jax.errors import DataError
from vae_jax.objectives import _conditions, _layers
from vae_jax.objectives._layers import CHOICES, INTERVALS, phase, update
from vae_jax.training import Conditions

__all__ = [
    "CHOICES",
    "DEFINITIONS",
    "INTERVALS",
    "SCHEDULES",
    "beside",
    "conditions",
    "init",
    "latent",
    "loss",
    "phase",
    "row_weights",
    "update",
]

DEFINITIONS = {
    **_layers.DEFINITIONS,
    "squared_error": "‖x − E[x|z]‖² per example, of the decoder as the pre-training left it",
    **_conditions.DEFINITIONS,
}
SCHEDULES = {"pretrained": "linear(0, 1, 50%)"}


def latent() -> latents.Deterministic:
    """Codes [B, L] between 0 and 1: the means of the top machine's hidden units."""
    return latents.Deterministic("sigmoid")


def loss(model, params, batch, key, *, pretraining="rbm", pretrained=1.0, level=0.25, num_gibbs=1):
    """Deep belief network: contrastive divergence layer by layer, then a classifier's loss.

    loss = F(h_i) − F(sg[v_k]) of one layer i = ⌊p·n⌋ after another and finally −log q(y|x), where
    h_0 = x, h_n = z, and v_k is the chain from h_i after k steps; q(y|x) = softmax of a layer on z.
    The value of contrastive divergence says nothing, so the layer_error takes its place

    The classifier trains all layers of the encoder and leaves the decoder unchanged. While a layer
    is trained, all others are frozen; the optimizer state is reset for each layer.

    Args:
        model: a `Model` of network mlp with the code of `latent`.
        params: its parameters, and those of the classifier under "objective".
        batch: {"x": [B, *shape], "mask": [B]} and "truth", "weight" of `_conditions.rows`.
        key: PRNG key, for the chains.
        pretraining: how each layer is trained: rbm, autoencoder, denoising or none; see
            `stacked.loss`.
        pretrained: p, the progress of the pre-training, from 0 to 1: each of n layers has an equal
            share; at 1 the classifier and all layers are trained.
        level: share of a layer's inputs that denoising masks.
        num_gibbs: k, steps of Gibbs sampling of a machine.

    Returns:
        loss [B] and {"cross_entropy", "accuracy", "squared_error", "layer_error"}, each [B]; the
        first in nats. At p = 1 an example without a label has a loss of 0; before, it contributes
        like the others.

    Reference:
        Hinton et al. 2006, A fast learning algorithm for deep belief nets, Neural Computation 18,
        section 4 (greedy layers); Bengio et al. 2007, Greedy Layer-Wise Training of Deep Networks
        (fine-tuning by a classifier).
    """
    truth, weight = (_conditions.taken(batch, name) for name in ("truth", "weight"))

    def whole(params):
        z = model.encode(params, batch["x"]).mode
        log_q = jax.nn.log_softmax(_classifier(params["objective"], z))  # [B, C]
        label = jax.nn.one_hot(truth, log_q.shape[1])
        cross_entropy = -weight * jnp.sum(label * log_q, axis=1)
        is_right = (jnp.argmax(log_q, axis=1) == truth).astype(jnp.float32)
        return cross_entropy, {
            "cross_entropy": cross_entropy,
            "accuracy": weight * is_right,
            "squared_error": losses.squared_error(
                batch["x"], model.decode_mean(params, z, batch["x"])
            ),
        }

    return _layers.by_layer(
        model, params, batch, key, whole, pretraining, pretrained, level, num_gibbs
    )


def row_weights(batch, *, pretraining, pretrained) -> dict:
    """The weights [B] of the terms over rows with a known label; and of the loss once p = 1.

    Args:
        batch: see `loss`.
        pretraining: see `loss`.
        pretrained: see `loss`.
    """
    known = _conditions.row_weights(batch)
    weight = known["accuracy"]
    is_whole = pretraining == "none" or jnp.asarray(pretrained) >= 1.0
    return {**known, "loss": jnp.where(is_whole, weight, jnp.ones_like(weight))}


def init(model, key, *, num_classes=10) -> dict:
    """Initializes the classifier, a layer from z [B, L] to the logits of C classes.

    Args:
        model: a `Model`.
        key: PRNG key.
        num_classes: C, the classes of the data.
    """
    own = _network(num_classes).init(key, jnp.zeros((1, model.latent_dim)))["params"]
    return model.scale_to_fan_in(own)


def _network(num_classes: int) -> nn.Module:
    return networks.MLPDecoder(num_classes, ())


def _classifier(own: dict, z: jax.Array) -> jax.Array:
    """Logits of q(y|x): z [B, L] to [B, C]."""
    return _network(len(own["latent"]["bias"])).apply({"params": own}, z)


def beside(model, told: dict, *, num_classes=10) -> dict:
    """What batches hold beside x, from a user's labels; the model does not see them.

    Args:
        model: not used.
        told: {"labels": class indices [N], −1 if unknown}, or the result of `_conditions.rows`.
        num_classes: see `init`.

    Raises:
        UsageError: there are no labels, none is known, or one is not a class index.
    """
    del model
    if "truth" in told:
        return told
    labels = _conditions.told_labels(told, num_classes)
    return {**told, **_conditions.rows(labels, labels)}


def conditions(dataset, *, num_classes=10) -> Conditions:
    """The labels, for the classifier only: the model does not see them.

    Args:
        dataset: a dataset of `vae_jax.data.load`, its splits with labels [N]; below 0 means
        unknown.
        num_classes: see `init`.

    Raises:
        DataError: the dataset has no labels, or another number of classes.
    """
    codes, names = _conditions.classes(dataset, "objective=dbn")
    if len(names) != num_classes:
        raise DataError(
            f"num_classes={num_classes}: {dataset.name} has {len(names)} classes: give "
            f"num_classes={len(names)}"
        )
    return Conditions(
        **{split: _conditions.rows(each, each) for split, each in codes.items()},
        num=0,
        shown=np.zeros((0, 0), np.float32),
        names=(),
    )
