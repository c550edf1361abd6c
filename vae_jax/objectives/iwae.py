"""Importance-weighted autoencoder: a bound on log p(x) that tightens with the number of samples."""

from vae_jax import losses, rates
from vae_jax.objectives import _importance

__all__ = ["loss"]


def loss(model, params, batch, key, *, num_samples=5):
    """IWAE: the importance-weighted bound; one sample gives the negative ELBO.

    loss = −log 1/K Σ_k p(x|z_k) p(z_k) / q(z_k|x), z_k ~ q(z|x)

    Args:
        model: a `Model`.
        params: its parameters.
        batch: {"x": [B, *shape], "mask": [B]}.
        key: PRNG key, for the K samples of z.
        num_samples: samples of z for each example, K.

    Returns:
        loss [B] and {"bound", "elbo", "rate", "distortion"}, each [B], in nats; the distortion is
        the mean over the K samples, the rate in closed form.

    Reference:
        Burda et al. 2015, arXiv 1509.00519, equation 8, with the gradient of equation 14.
    """
    posterior = model.encode(params, batch["x"])
    z, log_q = rates.draw(posterior, key, num_samples)  # [K, B, L]
    log_weights, distortion = _importance.log_weights(model, params, posterior, z, batch, log_q)
    # bound = log 1/K Σ_k w_k
    bound = losses.importance_weighted_bound(log_weights)
    return -bound, {
        "bound": bound,
        **_importance.terms(model, params, posterior, z, distortion, log_q),
    }
