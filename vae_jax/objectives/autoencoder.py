"""The plain autoencoder: reconstructs x from a code with fewer numbers than x."""

from vae_jax.objectives import _deterministic
from vae_jax.objectives._deterministic import latent, notes

__all__ = ["latent", "loss", "notes"]


def loss(model, params, batch, key):
    """Autoencoder: the distortion of a deterministic code, without other terms.

    loss = −log p(x|f(x)), z = f(x)

    Args:
        model: a `Model` with a deterministic code.
        params: its parameters.
        batch: {"x": [B, *shape], "mask": [B]}.
        key: not used: nothing is random.

    Returns:
        loss [B] and {"distortion", "squared_error"}, each [B]; the former in nats.

    Reference:
        Goodfellow et al. 2016, Deep Learning, section 14.1; Hinton & Salakhutdinov 2006, Science
        313 (deep); Baldi & Hornik 1989 (linear: the subspace of principal components).
    """
    del key
    z = model.encode(params, batch["x"]).mode
    terms = _deterministic.terms(model, params, z, batch)
    return terms["distortion"], terms
