"""The sparse autoencoder: a code that may be larger than x, with few active dimensions."""

import jax
import jax.numpy as jnp

from vae_jax import latents, losses
from vae_jax.objectives import _deterministic

__all__ = ["CHOICES", "DEFINITIONS", "INTERVALS", "latent", "loss"]

CHOICES = {"penalty": ("l1", "kl")}
INTERVALS = {"target_activation": "(0, 1)"}
DEFINITIONS = {
    "active_share": "share of an example's code that fires: above 0 (l1), above its target (kl)",
    "mean_activation": "mean of an example's code over its dimensions",
}


def latent(*, penalty="l1") -> latents.Deterministic:
    """Codes [B, L] that are at least 0: rectified for l1, between 0 and 1 for kl.

    Args:
        penalty: what keeps the code small: l1, the sum of its values, or kl, the divergence of each
            dimension's mean over the batch from `target_activation`.
    """
    return latents.Deterministic("relu" if penalty == "l1" else "sigmoid")


def loss(model, params, batch, key, *, penalty="l1", lambda_sparsity=1.0, target_activation=0.05):
    """Sparse autoencoder: the distortion and a penalty on activations of the code.

    loss = −log p(x|z) + λ·(Σ_l |z_l| or Σ_l KL(ρ ‖ ρ̂_l)), z = max(0, f(x)) for the first (l1), z =
    σ(f(x)) for the second (kl) and ρ̂_l its mean over the batch

    Args:
        model: a `Model` with the code of `latent`.
        params: its parameters.
        batch: {"x": [B, *shape], "mask": [B]}.
        key: not used: nothing is random.
        penalty: see `latent`.
        lambda_sparsity: weight λ of the penalty; add weight decay (adamw), because large weights of
            the decoder allow small codes: with kl also codes that are near the target for all x.
        target_activation: ρ of kl, between 0 and 1.

    Returns:
        loss [B] and {"distortion", "squared_error", "active_share", "mean_activation"}, each [B];
        the first in nats.

    Reference:
        Ng 2011, Sparse autoencoder, CS294A lecture notes, section 3 (kl); Goodfellow et al. 2016,
        Deep Learning, section 14.2.1 (l1).
    """
    del key
    z = model.encode(params, batch["x"]).mode
    terms = _deterministic.terms(model, params, z, batch)
    kept = model.per_latent(1.0)  # [L]
    if penalty == "l1":
        price = losses.sum_event(jnp.abs(z))
    else:
        rates = losses.activation_divergence(losses.batch_mean(z, batch["mask"]), target_activation)
        price = jnp.broadcast_to(jnp.sum(rates * kept), terms["distortion"].shape)
    is_active = z > (0.0 if penalty == "l1" else target_activation)
    return terms["distortion"] + lambda_sparsity * price, {
        **terms,
        "active_share": jnp.sum(jnp.where(is_active, 1.0, 0.0), axis=1) / jnp.sum(kept),
        "mean_activation": jax.lax.stop_gradient(jnp.sum(z, axis=1) / jnp.sum(kept)),
    }
