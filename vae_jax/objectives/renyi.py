"""Variational Rényi bound: one family from the importance-weighted bound to the ELBO and below."""

from vae_jax import losses, rates
from vae_jax.objectives import _importance

__all__ = ["loss"]


def loss(model, params, batch, key, *, alpha=0.5, num_samples=5):
    """Rényi: the variational bound of order α; 0 is IWAE, 1 the negative ELBO.

    loss = −1/(1 − α) · log 1/K Σ_k w_k^{1−α}, w_k = p(x, z_k) / q(z_k|x)

    Args:
        model: a `Model`.
        params: its parameters.
        batch: {"x": [B, *shape], "mask": [B]}.
        key: PRNG key, for the K samples of z.
        alpha: order α of the divergence; a small α covers the posterior, a large one seeks
            its mode.
        num_samples: samples of z for each example, K.

    Returns:
        loss [B] and {"bound", "elbo", "rate", "distortion"}, each [B], in nats.

    Reference:
        Li and Turner 2016, arXiv 1602.02311, section 4.
    """
    posterior = model.encode(params, batch["x"])
    z, log_q = rates.draw(posterior, key, num_samples)
    log_weights, distortion = _importance.log_weights(model, params, posterior, z, batch, log_q)
    bound = losses.renyi_bound(log_weights, alpha)
    return -bound, {
        "bound": bound,
        **_importance.terms(model, params, posterior, z, distortion, log_q),
    }
