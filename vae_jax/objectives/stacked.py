"""The deep autoencoder: layers trained greedily in sequence, then all of them together."""

from vae_jax.objectives import _deterministic, _layers
from vae_jax.objectives._deterministic import latent, notes
from vae_jax.objectives._layers import CHOICES, DEFINITIONS, INTERVALS, phase, update

__all__ = [
    "CHOICES",
    "DEFINITIONS",
    "INTERVALS",
    "SCHEDULES",
    "latent",
    "loss",
    "notes",
    "phase",
    "update",
]

SCHEDULES = {"pretrained": "linear(0, 1, 30%)"}


def loss(
    model,
    params,
    batch,
    key,
    *,
    pretraining="autoencoder",
    pretrained=1.0,
    level=0.25,
    num_gibbs=1,
):
    """Stacked autoencoder: the distortion of one layer after another, finally of the whole model.

    loss = −log p(h_i|h_{i+1}) of one layer i = ⌊p·n⌋ after another and finally −log p(x|f(x)),
    where h_0 = x, h_n = z, and h_i is computed by the layers below without a gradient; p(h_i|·) =
    N(ĥ_i, ½) except for x. For a machine it has the gradient of F(h_i) − F(sg[v_k]), v_k the chain
    from h_i after k steps, and the value of its layer_error

    While a layer is trained, all others are frozen; the optimizer state is reset for each layer.

    Args:
        model: a `Model` with a deterministic code and the network mlp, or cascade, whose stages are
            the layers and reconstruct x.
        params: its parameters.
        batch: {"x": [B, *shape], "mask": [B]}.
        key: PRNG key, for the masking or for the chains.
        pretraining: how each layer is trained: autoencoder, it and its mirror in the decoder
            reconstruct its input; denoising, the same from a masked input; rbm, a restricted
            Boltzmann machine by contrastive divergence, whose kernel both share; none.
        pretrained: p, the progress of the pre-training, from 0 to 1: each of n layers has an equal
            share; at 1 all layers are trained together.
        level: share of a layer's inputs that denoising masks.
        num_gibbs: k, steps of Gibbs sampling of a machine.

    Returns:
        loss [B] and {"distortion", "squared_error", "layer_error"}, each [B]; the first in nats.
        The first and the second are those of the whole model in every phase.

    Reference:
        Hinton & Salakhutdinov 2006, Science 313 (rbm); Bengio et al. 2007, Greedy Layer-Wise
        Training of Deep Networks (autoencoder); Vincent et al. 2010, JMLR 11, section 3.5
        (denoising).
    """

    def whole(params):
        z = model.encode(params, batch["x"]).mode
        terms = _deterministic.terms(model, params, z, batch)
        return terms["distortion"], terms

    return _layers.by_layer(
        model, params, batch, key, whole, pretraining, pretrained, level, num_gibbs
    )
