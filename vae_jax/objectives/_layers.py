"""Greedy layer-wise training: layers of an autoencoder, or stages of a cascade, in sequence.

Layer i of n of the encoder maps h_i [B, D_i] to h_{i+1}, with h_0 = x and h_n = z. Its mirror is
the layer of the decoder that maps h_{i+1} back to h_i; all mirrors together are the decoder. A
stage of a cascade is an autoencoder of x, and its mirror is the decoder, see
`networks.CascadeEncoder`.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn

from vae_jax import corruptions, likelihoods, losses, networks, rbm
from vae_jax.errors import UsageError, any_of
from vae_jax.objectives import _surrogate

__all__ = [
    "CHOICES",
    "DEFINITIONS",
    "INTERVALS",
    "by_layer",
    "current",
    "num_layers",
    "phase",
    "update",
]

CHOICES = {"pretraining": ("autoencoder", "denoising", "rbm", "none")}
INTERVALS = {"pretrained": "[0, 1]", "level": "[0, 1)"}
DEFINITIONS = {
    "loss": "what is minimized at that step: of the layer that is trained, or of the whole; of a "
    "machine its layer_error, since contrastive divergence is a gradient without a value",
    "layer_error": "‖h − ĥ‖² per example, of the input h of the layer that is trained and what its "
    "mirror restores; of the whole, x",
}
_UNITS = {"sigmoid": "bernoulli", "tanh": "spin", "linear": "gaussian"}
"""Activations that are means of units of a Boltzmann machine → kinds of units."""


def num_layers(model) -> int:
    """n, the number of layers of an `mlp` or of stages of a `cascade`: a count, a scalar.

    Raises:
        UsageError: see `_pairs`.
    """
    return len(_pairs(model))


def _has_stages(model) -> bool:
    """Whether the parts trained in sequence are autoencoders of x (a scalar)."""
    return getattr(model.encoder, "has_stages", False)


def _pairs(model) -> tuple:
    """The paths to the parameters of each layer and of its mirror, one `Pair` each.

    Raises:
        UsageError: the model has another network, or its decoder does not mirror the encoder.
    """
    if model.likelihood.has_missing:
        raise UsageError(
            "layers are trained one by one of x without missing numbers: give objective=autoencoder"
        )
    if model.is_tied:
        raise UsageError(
            "tied=True: layers are trained one by one with kernels of their own: leave tied out, "
            "or give objective=autoencoder"
        )
    encoder, decoder = model.encoder, model.decoder
    pairs = encoder.pairs(decoder) if hasattr(encoder, "pairs") else ()
    if not pairs:
        able = networks.names(lambda network: hasattr(network.encoder, "pairs"))
        raise UsageError(
            f"layers are trained one by one of network {any_of(able)}, the model has "
            f"{type(encoder).__name__} and {type(decoder).__name__}: give network=mlp, or "
            "objective=autoencoder"
        )
    return pairs


def current(model, pretrained) -> jax.Array:
    """The layer in training, ⌊p·n⌋, an integer scalar; n means all layers, p = 1 (a scalar)."""
    return jnp.floor(jnp.asarray(pretrained) * num_layers(model)).astype(jnp.int32)


def _get(params, path):
    for name in path:
        params = params[name]
    return params


def _put(params, path, value):
    first, *rest = path
    return {**params, first: _put(params[first], rest, value) if rest else value}


def _dense(own: dict, h: jax.Array, dtype) -> jax.Array:
    return nn.Dense(len(own["bias"]), dtype=dtype).apply({"params": own}, h)


def _up(model, params, layer: int, h: jax.Array) -> jax.Array:
    """Applies layer i of the encoder: h_i to h_{i+1}."""
    features = _dense(_get(params, _pairs(model)[layer].layer), h, model.encoder.dtype)
    features = features.astype(jnp.float32)
    if layer < num_layers(model) - 1:
        return model.encoder.activation(features)
    parts = (features,)
    return model.latent.posterior(params.get("latent"), parts, model.latent_mask).mode


def _down(model, params, layer: int, h: jax.Array) -> jax.Array:
    """Applies mirror i: h_{i+1} to a reconstruction of h_i, or to the outputs for x if i = 0."""
    h = model.without_masked(h) if layer == num_layers(model) - 1 else h
    outputs = _dense(_get(params, _pairs(model)[layer].mirror), h, model.decoder.dtype)
    outputs = outputs.astype(jnp.float32)
    return model.decoder.activation(outputs) if layer > 0 else outputs


def _below(model, params, layer: int, x: jax.Array) -> jax.Array:
    """h_i [B, D_i], computed from x [B, *shape] by the layers below, without a gradient."""
    h = model.likelihood.seen(x).reshape(len(x), -1)
    for i in range(layer):
        h = _up(model, params, i, h)
    return jax.lax.stop_gradient(h)


def _restoring(model, params, layer: int, h, shown, batch) -> tuple[jax.Array, jax.Array]:
    """−log p of h_i, reconstructed from its shown version, and the squared error, [B] each."""
    restored = _down(model, params, layer, _up(model, params, layer, shown))
    if layer > 0:
        # −log N(h; ĥ, ½) up to a constant
        error = losses.squared_error(h, restored)
        return error, error
    return _of_outputs(model, params, restored, batch)


def _of_outputs(model, params, outputs, batch) -> tuple[jax.Array, jax.Array]:
    """−log p of x from decoder outputs [B, D·num_outputs], and the squared error."""
    likelihood, own = model.likelihood, params["likelihood"]
    extra = () if likelihood.num_outputs == 1 else (likelihood.num_outputs,)
    outputs = outputs.astype(jnp.float32).reshape(-1, *model.shape, *extra)
    outputs = likelihood.sized(own, outputs, batch["x"])
    scale = likelihood.fit(own, outputs, batch["x"], batch["mask"])
    error = losses.squared_error(batch["x"], likelihood.mean(own, outputs))
    return -likelihood.log_prob(scale, outputs, batch["x"]), error


def _restaging(model, params, stage: int, batch) -> tuple[jax.Array, jax.Array]:
    """−log p of x from one stage of a cascade, earlier ones frozen, and the squared error."""
    still = jax.lax.stop_gradient(params)
    for path in _pairs(model)[stage]:
        still = _put(still, path, _get(params, path))
    params = {**still, "likelihood": params["likelihood"]}
    if stage == num_layers(model) - 1:
        z = model.encode(params, batch["x"]).mode
        return _of_outputs(model, params, model.decode(params, z), batch)
    held = {"params": params["encoder"]}
    seen = model.likelihood.seen(batch["x"])
    _, kept = model.encoder.apply(held, seen, mutable=["intermediates"])
    return _of_outputs(model, params, kept["intermediates"]["outputs"][stage], batch)


def _units(model, layer: int) -> str:
    """The kind of the units of h_i in a Boltzmann machine, one of `rbm.UNITS`."""
    if layer == 0:
        if not isinstance(model.likelihood, likelihoods.Bernoulli):
            raise UsageError(
                f"pretraining=rbm: x must be of Bernoulli units, the likelihood is "
                f"{model.likelihood}: give likelihood=bernoulli (your own real numbers with "
                "scaling=unit), or pretraining=denoising"
            )
        return "bernoulli"
    if layer == num_layers(model):
        return _UNITS[model.latent.activation]
    for name in ("sigmoid", "tanh"):
        if model.encoder.activation is networks.ACTIVATIONS[name]:
            return _UNITS[name]
    raise UsageError(
        "pretraining=rbm: units have a mean that is a sigmoid or a tanh: give activation=sigmoid "
        "or tanh, or pretraining=denoising"
    )


def _divergence(model, params, layer: int, h, key, num_gibbs) -> tuple[jax.Array, jax.Array]:
    """The loss of the machine of layer i, and the squared error of the mean of h_i, [B] each.

    The loss has the gradient of CD-k, which is that of no function, and the value of the error.

    Reference:
        Sutskever & Tieleman 2010, On the convergence properties of contrastive divergence, section
        3; Hinton 2012, A practical guide to training restricted Boltzmann machines, section 5
        (watching the reconstruction error).
    """
    visible, hidden = _units(model, layer), _units(model, layer + 1)
    own, mirror = (_get(params, path) for path in _pairs(model)[layer])
    if layer == num_layers(model) - 1 and model.latent_mask is not None:
        # a unit without weights has a constant free energy and reconstructs nothing
        mask = model.latent_mask
        own = {"kernel": own["kernel"] * mask[None], "bias": own["bias"] * mask}
    machine = own["kernel"], mirror["bias"], own["bias"]
    loss = rbm.contrastive_divergence(
        key, h, *machine, num_steps=num_gibbs, visible=visible, hidden=hidden
    )
    mean = rbm.UNITS[hidden].mean(h @ own["kernel"] + own["bias"][None])
    restored = rbm.UNITS[visible].mean(mean @ own["kernel"].T + mirror["bias"][None])
    error = jax.lax.stop_gradient(losses.squared_error(h, restored))
    return error + _surrogate.gradient_of(loss), error


def by_layer(model, params, batch, key, whole, pretraining, pretrained, level, num_gibbs):
    """Loss [B] and terms of the layer in training, or of the whole model.

    Args:
        model, params, batch, key: as in `loss`.
        whole: params to (loss [B], {term: [B]}), used after the last layer.
        pretraining, pretrained, level, num_gibbs: see `stacked.loss`.

    Returns:
        The loss [B]; and the terms of `whole`, in every phase, with "layer_error" [B].
    """

    def of_layer(layer):
        def terms(params):
            if _has_stages(model):
                loss, error = _restaging(model, params, layer, batch)
                return loss, {**whole(jax.lax.stop_gradient(params))[1], "layer_error": error}
            h = _below(model, params, layer, batch["x"])
            if pretraining == "rbm":
                loss, error = _divergence(model, params, layer, h, key, num_gibbs)
            else:
                is_hidden = pretraining == "denoising"
                shown = corruptions.masking(key, h, level) if is_hidden else h
                loss, error = _restoring(model, params, layer, h, shown, batch)
            return loss, {**whole(jax.lax.stop_gradient(params))[1], "layer_error": error}

        return terms

    def of_whole(params):
        loss, terms = whole(params)
        return loss, {**terms, "layer_error": jax.lax.stop_gradient(terms["squared_error"])}

    if pretraining == "none":
        return of_whole(params)
    if _has_stages(model) and pretraining != "autoencoder":
        raise UsageError(
            f"pretraining={pretraining}: stages of network cascade are autoencoders: give "
            "pretraining=autoencoder or none, or network=mlp"
        )
    branches = [*map(of_layer, range(num_layers(model))), of_whole]
    return jax.lax.switch(current(model, pretrained), branches, params)


def phase(model, *, pretraining, pretrained):
    """The index of the layer in training, a scalar; n for the whole model.

    Args:
        model: a `Model`.
        pretraining: see `loss`.
        pretrained: see `loss`.
    """
    return 0 if pretraining == "none" else current(model, pretrained)


def update(model, before, after, batch, key, *, pretraining, pretrained) -> dict:
    """Parameters after a step: layers not in training keep every bit; machines are unrolled.

    Args:
        model: a `Model`.
        before: parameters before the step, of any shapes.
        after: parameters as the optimizer left them.
        batch: not used.
        key: not used.
        pretraining: see `loss`.
        pretrained: see `loss`.

    Returns:
        The new parameters; after a machine's step, the mirror's kernel is the transpose of the
            layer's.

    Reference:
        Hinton & Salakhutdinov 2006, Science 313, figure 1 (unrolling).
    """
    del batch, key
    if pretraining == "none":
        return after
    layer, num = current(model, pretrained), num_layers(model)
    if "objective" in after:
        own = before["objective"], after["objective"]
        own = jax.tree.map(lambda old, new: jnp.where(layer == num, new, old), *own)
        after = {**after, "objective": own}
    for i in range(num):
        is_trained = (layer == i) | (layer == num)
        for path in _pairs(model)[i]:
            old, new = _get(before, path), _get(after, path)
            stands = jax.tree.map(lambda a, b, is_it=is_trained: jnp.where(is_it, a, b), new, old)
            after = _put(after, path, stands)
        if pretraining == "rbm":
            own, mirror = (_get(after, path) for path in _pairs(model)[i])
            kernel = jnp.where(layer == i, own["kernel"].T, mirror["kernel"])
            after = _put(after, _pairs(model)[i].mirror, {**mirror, "kernel": kernel})
    return after
