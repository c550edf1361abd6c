"""Continuous and categorical codes side by side, each with a target rate."""

import jax.numpy as jnp

from vae_jax import distributions, latents, losses
from vae_jax.objectives import _terms

__all__ = ["CHOICES", "DEFINITIONS", "INTERVALS", "SCHEDULES", "latent", "loss"]

CHOICES = _terms.ESTIMATORS
DEFINITIONS = {
    **_terms.DEFINITIONS_OF_ONE_HOT,
    "discrete_rate": "of the rate, what is of the categorical variables, in nats per example",
}
INTERVALS = _terms.TEMPERATURES
# With a full discrete target from the start, training tends to put all examples in one category.
SCHEDULES = {"capacity": "linear(0, 5, 50%)", "discrete_capacity": "linear(0, 5, 100%)"}


def latent(*, num_categories=10, num_variables=1) -> latents.Joint:
    """Codes [B, latent_dim]: categorical variables, one-hot, and Gaussian dimensions after them.

    Args:
        num_categories: of each categorical variable.
        num_variables: how many categorical variables there are; latent_dim holds their one-hot
            numbers and the continuous dimensions after them.
    """
    return latents.Joint(num_categories, num_variables)


def loss(
    model,
    params,
    batch,
    key,
    *,
    gamma=30.0,
    capacity=5.0,
    discrete_capacity=5.0,
    temperature=0.67,
    estimator="relaxed",
):
    """JointVAE: distortion + γ·|continuous rate − C| + γ·|discrete rate − C_d|.

    loss = −log p(x|z_τ) + γ·|E[KL(q(z_c|x) ‖ p(z_c))] − C| + γ·|E[KL(q(z_d|x) ‖ p(z_d))] − C_d|, E
    over the batch, z_c Gaussian, z_d categorical and relaxed as in `gumbel_vae`, C_d clamped to the
    largest possible discrete rate

    Args:
        model: a `Model`.
        params: its parameters.
        batch: {"x": [B, *shape], "mask": [B]}.
        key: PRNG key, for the one sample of z.
        gamma: weight of the distances between rates and capacities.
        capacity: C, the target of the continuous rate, in nats.
        discrete_capacity: C_d, the target of the discrete rate, in nats; clamped to log
            num_categories per variable.
        temperature: τ of the relaxation; a small τ increases the variance of the gradient.
        estimator: relaxed decodes relaxed codes in training, straight_through decodes one-hot codes
            with the gradient of the relaxed ones.

    Returns:
        loss [B] and {"elbo", "rate", "distortion", "discrete_rate"}, each [B], in nats; the terms
        use one-hot codes. The ELBO is not weighted.

    Reference:
        Dupont 2018, arXiv 1804.00104, the loss with capacities.
    """
    posterior = model.encode(params, batch["x"])
    distortion, trained = _terms.relaxed_distortion(
        model, params, posterior, batch, key, temperature, estimator
    )
    rates = distributions.kl_divergence(posterior, model.prior(params))  # [B, L]
    size = model.latent.num_discrete(model.latent_dim)
    discrete, continuous = losses.sum_event(rates[:, :size]), losses.sum_event(rates[:, size:])
    penalties = losses.capacity_penalty(
        discrete,
        jnp.minimum(discrete_capacity, model.latent.discrete_capacity),
        gamma,
        batch["mask"],
    ) + losses.capacity_penalty(continuous, capacity, gamma, batch["mask"])
    terms = _terms.elbo_terms(distortion, discrete + continuous)
    return trained + penalties, {**terms, "discrete_rate": discrete}
