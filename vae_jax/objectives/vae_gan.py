"""A VAE that reconstructs what a discriminator of images sees in them, and a GAN at once."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from vae_jax import losses, networks, rates
from vae_jax.objectives import _adversary, _surrogate, _terms
from vae_jax.objectives._adversary import optimizer

__all__ = ["DEFINITIONS", "init", "loss", "notes", "optimizer"]

DEFINITIONS = {
    **_surrogate.DEFINITIONS,
    "feature_error": "½‖f(x) − f(E[x|z])‖², f the last hidden layer of the discriminator: no "
    "likelihood, and f changes from step to step",
}
_CHANNELS = 32


def notes(model) -> list[str]:
    """Returns a warning, whatever the shape of x."""
    del model
    return _surrogate.warning("the error of the discriminator's features")


def _network(shape: tuple[int, ...], width: int, depth: int) -> nn.Module:
    """The discriminator of examples: convolutions for images, else dense layers; one logit."""
    if len(shape) == 3:
        widths = tuple(_CHANNELS << i for i in range(depth))
        return networks.ConvEncoder(1, widths, width, _adversary.leaky_relu, num_parts=1)
    return networks.MLPEncoder(1, (width,) * depth, _adversary.leaky_relu, num_parts=1)


def init(model, key, *, discriminator_width=256, discriminator_depth=2) -> dict:
    """Draws the parameters of a discriminator of examples x [B, *shape].

    Args:
        model: a `Model`.
        key: PRNG key.
        discriminator_width: units of its last hidden layer, whose values before the activation are
            the features.
        discriminator_depth: for images convolutions of stride 2 before that layer, of 32, 64, …
            channels; else hidden layers. Leaky ReLU of slope 0.2.

    Reference:
        Larsen et al. 2016, arXiv 1512.09300, table 1 (theirs has four convolutions, and batch
        normalization).
    """
    _surrogate.require_numbers(model, "vae_gan")
    network = _network(model.shape, discriminator_width, discriminator_depth)
    return network.init(key, jnp.zeros((1, *model.shape)))["params"]


def _seen(own: dict, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """(features [B, F] before the activation, logits [B]) of examples [B, *shape]."""
    # hidden alone, or the last of hidden_0, …, hidden_10
    last = max((n for n in own if n.startswith("hidden")), key=lambda name: (len(name), name))
    depth = sum(name.startswith(("conv_", "hidden_")) for name in own)
    network = _network(x.shape[1:], len(own[last]["bias"]), depth)
    (logits,), told = network.apply(
        {"params": own},
        x,
        capture_intermediates=lambda module, _: module.name == last,
        mutable=["intermediates"],
    )
    (features,) = told["intermediates"][last]["__call__"]
    return features, logits[:, 0]


def loss(model, params, batch, key, *, gamma=1.0, beta=1.0):
    """VAE-GAN: the rate, and the error of features that a discriminator sees; no likelihood of x.

    loss = ½‖f(x) − f(x̂)‖² + β·KL(q(z|x) ‖ p(z)), x̂ = E[x|z], z ~ q(z|x), f the last hidden layer of
    a discriminator d between x and both x̂ and E[x|z′], z′ ~ p(z). The encoder minimizes this; the
    decoder minimizes γ·½‖f(x) − f(x̂)‖² − ½ log σ(d(x̂)) − ½ log σ(d(E[x|z′])); the discriminator
    has its own loss and its own Adam. f changes while it is learned, so the loss is no bound on
    log p(x) and its values compare neither between runs nor between steps. The ELBO is reported:
    that of p(x|z), whose mean is trained by the features and whose variance fits the errors

    Args:
        model: a `Model`.
        params: its parameters, and those of the discriminator under "objective".
        batch: {"x": [B, *shape], "mask": [B]}.
        key: PRNG key, for one sample of z and the draws from the prior.
        gamma: weight γ of the features beside the discriminator's verdict, for the decoder.
        beta: weight of the rate, for the encoder.

    Returns:
        loss [B] and {"elbo", "rate", "distortion", "feature_error", "adversarial_loss",
        "discriminator_loss", "discriminator_accuracy"}, each [B]; in nats except the accuracy and
        the feature error. The ELBO is not weighted.

    Raises:
        UsageError: x is text, incomplete, or decoded step by step.

    Reference:
        Larsen et al. 2016, Autoencoding beyond pixels using a learned similarity metric, arXiv
        1512.09300, algorithm 1. There the decoder maximizes the discriminator's loss; here it
        maximizes log σ(d), and the discriminator sees as many real as other examples.
    """
    _surrogate.require_numbers(model, "vae_gan")
    x, own = batch["x"], params["objective"]
    z_key, prior_key = jax.random.split(key)
    posterior = model.encode(params, x)
    drawn, log_q = rates.draw(posterior, z_key)
    z = model.without_masked(drawn)
    rate = _terms.rate(model, params, posterior, drawn, log_q)
    draws = model.prior(params).sample(prior_key, len(z))

    fixed = jax.lax.stop_gradient(params)
    features, _ = _seen(fixed["objective"], x)

    def error(found):
        return 0.5 * losses.squared_error(features, found)

    # the encoder's gradient goes through a decoder that is not trained by it, and the other way
    of_encoder = error(_seen(fixed["objective"], model.decode_mean(fixed, z))[0])
    codes = jax.lax.stop_gradient(jnp.concatenate([z, model.without_masked(draws)]))
    decoded = model.decode_mean(params, codes)
    found, logits = _seen(fixed["objective"], decoded)
    adversarial = jax.nn.softplus(-logits).reshape(2, -1).mean(axis=0)
    of_decoder = gamma * error(found[: len(z)]) + adversarial
    term, told = _contest(own, x, jax.lax.stop_gradient(decoded))
    distortion = _surrogate.bound(model, params, z, batch)
    unseen = _surrogate.gradient_of(of_decoder + distortion) + term
    return of_encoder + beta * rate + unseen, {
        **_terms.elbo_terms(distortion, rate),
        "feature_error": of_encoder,
        "adversarial_loss": adversarial,
        **told,
    }


def _contest(own: dict, real: jax.Array, fake: jax.Array) -> tuple[jax.Array, dict]:
    """`_adversary.terms` of x [B, *shape] against reconstructions and samples [2B, *shape]."""
    _, of_real = _seen(own, real)
    _, of_fake = _seen(own, fake)
    both = (_adversary.contest(of_real, each) for each in of_fake.reshape(2, -1))
    return jax.tree.map(lambda *terms: 0.5 * sum(terms), *both)
