"""The Wasserstein autoencoder with a discriminator of codes; λ = 1: the adversarial autoencoder."""

import jax

from vae_jax import rates
from vae_jax.objectives import _adversary, _terms
from vae_jax.objectives._adversary import init, optimizer

__all__ = ["init", "loss", "optimizer"]


def loss(model, params, batch, key, *, lambda_gan=1.0):
    """WAE-GAN: the distortion, and a discriminator's loss between codes and the prior.

    loss = −log p(x|z) − λ·log σ(d(z)), d the logit of a discriminator between draws from the prior
    and codes, which has its own loss and its own Adam; λ = 1 is the adversarial autoencoder

    Args:
        model: a `Model`.
        params: its parameters, and those of the discriminator under "objective".
        batch: {"x": [B, *shape], "mask": [B]}.
        key: PRNG key, for one sample of z and the draws from the prior.
        lambda_gan: weight λ of the discriminator's term; a large one can drive all codes to one
            place far from the prior, from which training does not recover.

    Returns:
        loss [B] and {"elbo", "rate", "distortion", "adversarial_loss", "discriminator_loss",
        "discriminator_accuracy"}, each [B]; in nats except the accuracy. The rate is not penalized,
        and grows.

    Reference:
        Tolstikhin et al. 2018, arXiv 1711.01558, algorithm 1; Makhzani et al. 2015, arXiv
        1511.05644, section 2.
    """
    z_key, prior_key = jax.random.split(key)
    posterior = model.encode(params, batch["x"])
    drawn, log_q = rates.draw(posterior, z_key)
    z = model.without_masked(drawn)
    distortion = model.distortion(params, z, batch)
    rate = _terms.rate(model, params, posterior, drawn, log_q)
    draws = model.without_masked(model.prior(params).sample(prior_key, len(z)))
    # −log σ(d(z)); this term does not train the discriminator
    logits = _adversary.logits(jax.lax.stop_gradient(params["objective"]), z)
    adversarial = jax.nn.softplus(-logits)
    adversary, told = _adversary.terms(params["objective"], draws, z)
    return distortion + lambda_gan * adversarial + adversary, {
        **_terms.elbo_terms(distortion, rate),
        "adversarial_loss": adversarial,
        **told,
    }
