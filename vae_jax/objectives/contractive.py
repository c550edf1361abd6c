"""The contractive autoencoder: a code that changes with x only along the data manifold."""

from vae_jax import losses
from vae_jax.objectives import _deterministic
from vae_jax.objectives._deterministic import latent

__all__ = ["CHOICES", "DEFINITIONS", "latent", "loss"]

CHOICES = {"jacobian": ("exact", "hutchinson")}
DEFINITIONS = {"jacobian_norm": "‖∂z/∂x‖²_F per example: how much the code moves with x"}


def loss(model, params, batch, key, *, lambda_jacobian=0.1, jacobian="exact", num_probes=1):
    """Contractive autoencoder: the distortion and the squared norm of the encoder's Jacobian.

    loss = −log p(x|z) + λ·‖∂f/∂x‖²_F, z = f(x)

    Args:
        model: a `Model` with a deterministic code.
        params: its parameters.
        batch: {"x": [B, *shape], "mask": [B]}.
        key: PRNG key, for the probes of an estimate.
        lambda_jacobian: weight λ of the Jacobian's squared Frobenius norm; add tied, or weight
            decay (adamw), because large weights of the decoder allow small codes.
        jacobian: exact, with one pass per number of x or z, or hutchinson, an estimate from random
            probes.
        num_probes: probes of the estimate, one pass each.

    Returns:
        loss [B] and {"distortion", "squared_error", "jacobian_norm"}, each [B]; the first in nats.

    Reference:
        Rifai et al. 2011, Contractive Auto-Encoders, ICML, equation 2; Hutchinson 1990 (estimate).
    """

    def encode(x):
        return model.encode(params, x).mode

    _deterministic.require_numbers(model, "contractive: characters have no derivative")
    z = encode(batch["x"])
    terms = _deterministic.terms(model, params, z, batch)
    if jacobian == "exact":
        norm = losses.jacobian_norm(encode, batch["x"])
    else:
        norm = losses.estimated_jacobian_norm(encode, batch["x"], key, num_probes)
    return terms["distortion"] + lambda_jacobian * norm, {**terms, "jacobian_norm": norm}
