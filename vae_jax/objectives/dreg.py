"""IWAE with the doubly reparameterized gradient, which gets better with more samples."""

import jax

from vae_jax import losses, rates
from vae_jax.objectives import _importance

__all__ = ["loss"]


def loss(model, params, batch, key, *, num_samples=5):
    """DReG: the importance-weighted bound, with a lower-variance gradient for the encoder.

    loss = −log 1/K Σ_k w_k, w_k = p(x, z_k) / q(z_k|x); with v_k = w_k / Σ_j w_j its gradient in
    the encoder is −Σ_k v_k² ∂log w_k/∂z_k ∂z_k/∂φ, in expectation that of the bound

    Args:
        model: a `Model`.
        params: its parameters.
        batch: {"x": [B, *shape], "mask": [B]}.
        key: PRNG key, for the K samples of z.
        num_samples: samples of z for each example, K; 1 is sticking the landing.

    Returns:
        loss [B] and {"bound", "elbo", "rate", "distortion"}, each [B], in nats.

    Reference:
        Tucker et al. 2018, arXiv 1810.04152, section 3 (IWAE-DReG).
    """
    posterior = model.encode(params, batch["x"])
    density = jax.lax.stop_gradient(posterior)
    z, log_q = rates.draw(posterior, key, num_samples)
    # the same values as below; the compiler computes them once
    log_weights, _ = _importance.log_weights(model, params, density, z, batch)
    shares = jax.lax.stop_gradient(jax.nn.softmax(log_weights, axis=0))  # v_k
    scaled = _importance.scale_gradient(z, shares)
    log_weights, distortion = _importance.log_weights(model, params, density, scaled, batch)
    bound = losses.importance_weighted_bound(log_weights)
    # its gradient is Σ_k v_k ∇ log w_k, and the part through z has another factor v_k
    return -bound, {
        "bound": bound,
        **_importance.terms(model, params, posterior, z, distortion, log_q),
    }
