"""The variational autoencoder (β = 1), disentangling (β > 1), or a plain autoencoder (β = 0)."""

from vae_jax import losses, rates
from vae_jax.objectives._terms import elbo_terms

__all__ = ["loss"]


def loss(model, params, batch, key, *, beta=1.0, free_bits=0.0, num_samples=1):
    """β-VAE: distortion + β·rate; β = 1 is the negative ELBO.

    loss = −log p(x|z) + β·Σ_l max(λ, KL_l), z ~ q(z|x), KL_l averaged over the batch if λ > 0.

    Args:
        model: a `Model`.
        params: its parameters.
        batch: {"x": [B, *shape], "mask": [B]}.
        key: PRNG key, for the samples of z.
        beta: weight of the rate; 1 trains the ELBO, 0 trains a plain autoencoder.
        free_bits: λ, nats per latent dimension that are free of cost.
        num_samples: samples of z over which the distortion of each example is averaged.

    Returns:
        loss [B] and {"elbo", "rate", "distortion"}, each [B], in nats; the ELBO is not weighted.

    Reference:
        Higgins et al. 2017 (β-VAE), equation 4; Kingma & Welling 2014, arXiv 1312.6114, equation 7;
        Kingma et al. 2016, arXiv 1606.04934, equation 15 (free bits).
    """
    posterior, prior = model.encode(params, batch["x"]), model.prior(params)
    if num_samples == 1:
        z, log_q = rates.draw(posterior, key)
        distortion = model.distortion(params, z, batch)
    else:
        z, log_q = rates.draw(posterior, key, num_samples)  # [K, B, L]
        distortion = model.distortion(params, z, batch).mean(axis=0)
    priced_rate = rate = rates.rate(posterior, prior, z, log_q)
    least = model.per_latent(free_bits)
    if not isinstance(least, int | float):  # the Python number 0 asks for no rates of dimensions
        rate_per_dim = rates.per_dim(posterior, prior, z)  # [B, L]
        priced_rate = losses.free_bits(rate_per_dim, least, batch["mask"])
    # loss = D + β·R
    loss = losses.beta_elbo_loss(distortion, priced_rate, beta)
    return loss, elbo_terms(distortion, rate)
