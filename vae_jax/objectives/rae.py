"""The regularized autoencoder: a VAE without noise, whose decoder is kept smooth by a penalty."""

import jax
import jax.numpy as jnp

from vae_jax import losses
from vae_jax.objectives import _deterministic
from vae_jax.objectives._deterministic import latent, notes

__all__ = ["CHOICES", "DEFINITIONS", "latent", "loss", "notes"]

CHOICES = {"penalty": ("l2", "gradient", "spectral")}
DEFINITIONS = {
    "code_norm": "½‖z‖² per example: how far the codes are from 0",
    "decoder_penalty": "what keeps the decoder smooth: see `penalty`; not in nats",
}


def loss(model, params, batch, key, *, lambda_code=0.1, lambda_decoder=0.01, penalty="l2"):
    """RAE: the distortion of a deterministic code, its norm, and a penalty on the decoder.

    loss = −log p(x|z) + λ_z·½‖z‖² + λ_D·R, z = f(x); R is Σ θ² of the decoder (l2), ‖∂E[x|z]/∂z‖²_F
    (gradient) or Σ σ(W)² of its kernels (spectral). New codes are drawn from a density that is fit
    to the codes after training, see `vae_jax.samplers`

    Args:
        model: a `Model` with a deterministic code.
        params: its parameters.
        batch: {"x": [B, *shape], "mask": [B]}.
        key: not used: nothing is random.
        lambda_code: weight λ_z of half the squared norm of the code.
        lambda_decoder: weight λ_D of the penalty on the decoder.
        penalty: what is penalized, l2, gradient or spectral.

    Returns:
        loss [B] and {"distortion", "squared_error", "code_norm", "decoder_penalty"}, each [B]; the
        first in nats, the last the same in each row unless it is the gradient.

    Raises:
        UsageError: x is text, whose characters have no derivative in z.

    Reference:
        Ghosh et al. 2020, From Variational to Deterministic Autoencoders, arXiv 1903.12436,
        equations 9 to 11; the spectral penalty stands for its spectral normalization.
    """
    del key
    z = model.encode(params, batch["x"]).mode
    terms = _deterministic.terms(model, params, z, batch)
    code_norm = 0.5 * losses.sum_event(jnp.square(z))
    smooth = _penalty(model, params, z, penalty)
    loss = terms["distortion"] + lambda_code * code_norm + lambda_decoder * smooth
    return loss, {**terms, "code_norm": code_norm, "decoder_penalty": smooth}


def _penalty(model, params, z: jax.Array, penalty: str) -> jax.Array:
    """R of each of B examples, [B]."""
    if penalty == "gradient":
        _deterministic.require_numbers(model, "penalty=gradient: characters have no derivative")
        return losses.jacobian_norm(
            lambda code: model.decode_mean(params, code).reshape(len(z), -1), z
        )
    of_weights = losses.squared_norm if penalty == "l2" else losses.squared_spectral_norms
    return jnp.broadcast_to(of_weights(_in_use(model, model.decoder_params(params))), z.shape[:1])


def _in_use(model, own: dict) -> dict:
    """Parameters of the decoder, of any shapes; those that read masked dimensions of z are 0."""
    if model.latent_mask is None or "latent" not in own:
        return own
    kernel = own["latent"]["kernel"] * model.latent_mask[:, None]
    return {**own, "latent": {**own["latent"], "kernel": kernel}}
