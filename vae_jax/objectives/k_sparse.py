"""The k-sparse autoencoder: only the k largest dimensions of a code are kept."""

import jax.numpy as jnp

from vae_jax import latents
from vae_jax.objectives import _deterministic

__all__ = ["DEFINITIONS", "latent", "loss"]

DEFINITIONS = {"active_share": "share of an example's code that is not 0"}


def latent(*, num_active=5) -> latents.Deterministic:
    """Codes [B, L], linear in the features; all but the k largest dimensions are set to 0.

    Args:
        num_active: k, dimensions of a code that are kept.
    """
    return latents.Deterministic(num_active=num_active)


def loss(model, params, batch, key):
    """k-sparse autoencoder: the distortion of a code with k dimensions kept.

    loss = −log p(x|top_k f(x)), z = the k largest of f(x), the others 0

    Args:
        model: a `Model` with the code of `latent`.
        params: its parameters.
        batch: {"x": [B, *shape], "mask": [B]}.
        key: not used: nothing is random.

    Returns:
        loss [B] and {"distortion", "squared_error", "active_share"}, each [B]; the first in nats.

    Reference:
        Makhzani & Frey 2014, k-Sparse Autoencoders, arXiv 1312.5663, algorithm 1 (with the same k
        after training).
    """
    del key
    z = model.encode(params, batch["x"]).mode
    terms = _deterministic.terms(model, params, z, batch)
    num_used = jnp.sum(jnp.where(z != 0.0, 1.0, 0.0), axis=1)
    return terms["distortion"], {
        **terms,
        "active_share": num_used / jnp.sum(model.per_latent(1.0)),
    }
