"""Layers of an autoencoder and their mirrors, or stages of a cascade, trained one after another.

Layer i of n of the encoder takes h_i [B, D_i] to h_{i+1}, h_0 = x and h_n = z; its mirror is the
layer of the decoder that takes h_{i+1} to what stands for h_i. All mirrors in turn are the decoder.
A stage of a cascade is an autoencoder of x, see `networks.CascadeEncoder`, its mirror the decoder.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn

from vae_jax import corruptions, likelihoods, losses, networks, rbm
from vae_jax.errors import UsageError, any_of

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
    "loss": "what is minimised at that step: of the layer that is trained, or of the whole",
    "layer_error": "‖h − ĥ‖² per example, of the input h of the layer that is trained and what its "
    "mirror restores; of the whole, x",
}
_UNITS = {"sigmoid": "bernoulli", "tanh": "spin", "linear": "gaussian"}
"""Activations that are means of units of a Boltzmann machine."""


def num_layers(model) -> int:
    """n, of an `mlp` the layers, of a `cascade` the stages: a count, a scalar.

    Raises:
        UsageError: see `_pairs`.
    """
    return len(_pairs(model))


def _has_stages(model) -> bool:
    """Whether what is trained one after another are autoencoders of x (a scalar)."""
    return getattr(model.encoder, "has_stages", False)


def _pairs(model) -> tuple:
    """Where the parameters of each layer and of its mirror are, a `Pair` each.

    Raises:
        UsageError: the model has another network, or a decoder that does not mirror the encoder.
    """
    if model.likelihood.has_missing:
        raise UsageError(
            "layers are trained one by one of x without missing numbers: give objective=autoencoder"
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
    """The layer that is trained, ⌊p·n⌋, an integer scalar; n for the whole, p = 1 (a scalar)."""
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
    """h_{i+1} of h_i, what layer i of the encoder makes of it."""
    features = _dense(_get(params, _pairs(model)[layer].layer), h, model.encoder.dtype)
    features = features.astype(jnp.float32)
    if layer < num_layers(model) - 1:
        return model.encoder.activation(features)
    parts = (features,)
    return model.latent.posterior(params.get("latent"), parts, model.latent_mask).mode


def _down(model, params, layer: int, h: jax.Array) -> jax.Array:
    """What stands for h_i, of h_{i+1}; for x the outputs that a likelihood reads."""
    h = model.without_masked(h) if layer == num_layers(model) - 1 else h
    outputs = _dense(_get(params, _pairs(model)[layer].mirror), h, model.decoder.dtype)
    outputs = outputs.astype(jnp.float32)
    return model.decoder.activation(outputs) if layer > 0 else outputs


def _below(model, params, layer: int, x: jax.Array) -> jax.Array:
    """h_i [B, D_i] as the layers below make it of x [B, *shape], as data."""
    h = x.reshape(len(x), -1)
    for i in range(layer):
        h = _up(model, params, i, h)
    return jax.lax.stop_gradient(h)


def _restoring(model, params, layer: int, h, shown, batch) -> tuple[jax.Array, jax.Array]:
    """−log p of h_i from what is shown of it, and its squared error, [B] each."""
    restored = _down(model, params, layer, _up(model, params, layer, shown))
    if layer > 0:
        # −log N(h; ĥ, ½) but for a constant
        error = losses.squared_error(h, restored)
        return error, error
    return _of_outputs(model, params, restored, batch)


def _of_outputs(model, params, outputs, batch) -> tuple[jax.Array, jax.Array]:
    """−log p of x where a decoder's outputs are [B, D·num_outputs], and its squared error."""
    likelihood, own = model.likelihood, params["likelihood"]
    extra = () if likelihood.num_outputs == 1 else (likelihood.num_outputs,)
    outputs = outputs.astype(jnp.float32).reshape(-1, *model.shape, *extra)
    scale = likelihood.fit(own, outputs, batch["x"], batch["mask"])
    error = losses.squared_error(batch["x"], likelihood.mean(own, outputs))
    return -likelihood.log_prob(scale, outputs, batch["x"]), error


def _restaging(model, params, stage: int, batch) -> tuple[jax.Array, jax.Array]:
    """−log p of x from a stage of a cascade, those before it as they are, and its squared error."""
    still = jax.lax.stop_gradient(params)
    for path in _pairs(model)[stage]:
        still = _put(still, path, _get(params, path))
    params = {**still, "likelihood": params["likelihood"]}
    if stage == num_layers(model) - 1:
        z = model.encode(params, batch["x"]).mode
        return _of_outputs(model, params, model.decode(params, z), batch)
    held = {"params": params["encoder"]}
    _, kept = model.encoder.apply(held, batch["x"], mutable=["intermediates"])
    return _of_outputs(model, params, kept["intermediates"]["outputs"][stage], batch)


def _units(model, layer: int) -> str:
    """What the units of h_i are in a Boltzmann machine, one of `rbm.UNITS`."""
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
    """CD-k of the machine of layer i, and the squared error of h_i as its mean, [B] each."""
    visible, hidden = _units(model, layer), _units(model, layer + 1)
    own, mirror = (_get(params, path) for path in _pairs(model)[layer])
    if layer == num_layers(model) - 1 and model.latent_mask is not None:
        # a unit without weights has a constant free energy, and restores nothing
        mask = model.latent_mask
        own = {"kernel": own["kernel"] * mask[None], "bias": own["bias"] * mask}
    machine = own["kernel"], mirror["bias"], own["bias"]
    loss = rbm.contrastive_divergence(
        key, h, *machine, num_steps=num_gibbs, visible=visible, hidden=hidden
    )
    mean = rbm.UNITS[hidden].mean(h @ own["kernel"] + own["bias"][None])
    restored = rbm.UNITS[visible].mean(mean @ own["kernel"].T + mirror["bias"][None])
    return loss, jax.lax.stop_gradient(losses.squared_error(h, restored))


def by_layer(model, params, batch, key, whole, pretraining, pretrained, level, num_gibbs):
    """Loss [B] and terms of the layer that is trained, or those of the whole.

    Args:
        model, params, batch, key: as of `loss`.
        whole: params to (loss [B], {term: [B]}), once all layers are done.
        pretraining, pretrained, level, num_gibbs: see `stacked.loss`.

    Returns:
        The loss [B]; and the terms of `whole`, whatever is trained, with "layer_error" [B].
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
    """The layer that is trained, a scalar; of the whole n.

    Args:
        model: a `Model`.
        pretraining: see `loss`.
        pretrained: see `loss`.
    """
    return 0 if pretraining == "none" else current(model, pretrained)


def update(model, before, after, batch, key, *, pretraining, pretrained) -> dict:
    """Parameters after a step: layers that are not trained stay to the bit; machines are unrolled.

    Args:
        model: a `Model`.
        before: parameters before the step, of any shapes.
        after: parameters as the optimizer left them.
        batch: not used.
        key: not used.
        pretraining: see `loss`.
        pretrained: see `loss`.

    Returns:
        The parameters that stand; of a machine the mirror's kernel is the transpose of the layer's.

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
