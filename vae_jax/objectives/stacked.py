"""The deep autoencoder: layers trained greedily one after another, then all of them together."""

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
    """Stacked autoencoder: the distortion of one layer after another, at last of the whole.

    loss = −log p(h_i|h_{i+1}) of a layer i = ⌊p·n⌋ after another and at last −log p(x|f(x)), where
    h_0 = x, h_n = z, and h_i, what the layers below make of x, is data; p(h_i|·) = N(ĥ_i, ½) but
    for x. Of a machine it is F(h_i) − F(sg[v_k]), v_k the chain from h_i after k steps

    While a layer is trained all others stand still, and the optimizer begins anew with each.

    Args:
        model: a `Model` of network mlp, or cascade, whose stages are the layers and restore x, with
            a deterministic code.
        params: its parameters.
        batch: {"x": [B, *shape], "mask": [B]}.
        key: PRNG key, for the masking or for the chains.
        pretraining: what each layer is trained by: autoencoder, it and its mirror in the decoder
            restore its input; denoising, the same of an input that is masked; rbm, a restricted
            Boltzmann machine by contrastive divergence, whose kernel both share; none.
        pretrained: p, the share of the pre-training that is done, from 0 to 1: each of n layers has
            the same share of it; at 1 the whole is trained.
        level: share of a layer's inputs that denoising hides.
        num_gibbs: k, steps of Gibbs sampling of a machine.

    Returns:
        loss [B] and {"distortion", "squared_error", "layer_error"}, each [B]; the first in nats, it
        and the second of the whole whatever is trained.

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
