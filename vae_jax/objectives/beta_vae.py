"""The variational autoencoder (β = 1), disentangling (β > 1), or a plain autoencoder (β = 0)."""

from vae_jax import losses, rates
from vae_jax.objectives._terms import elbo_terms, group_terms

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
        free_bits: λ, nats that are free of cost per latent dimension, or per group of a hierarchy.
        num_samples: samples of z over which the distortion of each example is averaged.

    Returns:
        loss [B] and {"elbo", "rate", "distortion"}, each [B], in nats; the ELBO is not weighted.
            Of a hierarchy also the rate of each group, "rate_group_1" and so on.

    Reference:
        Higgins et al. 2017 (β-VAE), equation 4; Kingma & Welling 2014, arXiv 1312.6114, equation 7;
        Kingma et al. 2016, arXiv 1606.04934, equation 15 (free bits).
    """
    posterior, prior = model.encode(params, batch["x"]), model.prior(params)
    drawn = rates.walk(posterior, prior, key, None if num_samples == 1 else num_samples)
    distortion = model.distortion(params, drawn.z, batch, drawn.read)
    if num_samples > 1:  # [K, B]
        distortion = distortion.mean(axis=0)
    priced_rate = rate = rates.of_draw(posterior, prior, drawn)
    least = model.per_group(free_bits)
    if not isinstance(least, int | float):  # the Python number 0 asks for no rates of dimensions
        rate_per_dim = rates.per_dim_of_draw(posterior, prior, drawn)  # [B, L]
        priced_rate = losses.free_bits(model.grouped(rate_per_dim), least, batch["mask"])
    # loss = D + β·R
    loss = losses.beta_elbo_loss(distortion, priced_rate, beta)
    return loss, elbo_terms(distortion, rate) | group_terms(model, posterior, prior, drawn)
