"""A discriminator beside the model, usually of codes: its parameters, its optimizer, its loss."""

import functools

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from vae_jax import losses, networks

__all__ = ["contest", "init", "leaky_relu", "logits", "optimizer", "terms"]

leaky_relu = functools.partial(nn.leaky_relu, negative_slope=0.2)
"""The activation of discriminators; shape in = shape out."""


def _network(width: int, depth: int) -> nn.Module:
    return networks.MLPDecoder(1, (width,) * depth, leaky_relu)


def init(model, key, *, discriminator_width=1000, discriminator_depth=6) -> dict:
    """Draws the parameters of a discriminator of codes [B, L].

    Args:
        model: a `Model`.
        key: PRNG key.
        discriminator_width: units of each hidden layer of the discriminator.
        discriminator_depth: hidden layers of the discriminator, leaky ReLU of slope 0.2.

    Reference:
        Kim & Mnih 2018, arXiv 1802.05983, appendix A (size and activation).
    """
    network = _network(discriminator_width, discriminator_depth)
    return model.scale_to_fan_in(network.init(key, jnp.zeros((1, model.latent_dim)))["params"])


def optimizer(*, discriminator_learning_rate=1e-4) -> optax.GradientTransformation:
    """Adam with b1 = 0.5 and b2 = 0.9: short averages, because the codes keep changing.

    Args:
        discriminator_learning_rate: of the discriminator's Adam (b1 0.5, b2 0.9), scalar at a step.

    Reference:
        Kim & Mnih 2018, arXiv 1802.05983, appendix A.
    """
    return optax.adam(discriminator_learning_rate, b1=0.5, b2=0.9)


def logits(own: dict, z: jax.Array) -> jax.Array:
    """d(z), which estimates log p_real(z) − log p_fake(z): codes [B, L] to [B], in nats."""
    network = _network(len(own["latent"]["bias"]), len(own) - 1)
    return network.apply({"params": own}, z)[:, 0]


def terms(own: dict, real: jax.Array, fake: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Terms that train the discriminator only.

    Args:
        own: parameters of the discriminator.
        real, fake: codes [B, L]; they get no gradient.

    Returns:
        A term [B] to add to a loss: its value is 0, its gradient that of the discriminator's loss;
        and {"discriminator_loss", "discriminator_accuracy"}, [B].
    """
    return contest(*(logits(own, jax.lax.stop_gradient(z)) for z in (real, fake)))


def contest(of_real: jax.Array, of_fake: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
    """`terms` from the logits of a discriminator, [B] each, whose inputs get no gradient."""
    cross_entropy = losses.discriminator_loss(of_real, of_fake)
    is_right = [of_real > 0, of_fake <= 0]
    return cross_entropy - jax.lax.stop_gradient(cross_entropy), {
        "discriminator_loss": cross_entropy,
        "discriminator_accuracy": jnp.mean(jnp.stack(is_right), axis=0, dtype=jnp.float32),
    }
