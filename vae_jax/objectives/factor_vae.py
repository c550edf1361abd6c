"""Disentangling by a penalty on total correlation, estimated by a discriminator."""

import jax

from vae_jax import losses, rates
from vae_jax.objectives import _adversary, _terms
from vae_jax.objectives._adversary import init, optimizer

__all__ = ["init", "loss", "optimizer"]


def loss(model, params, batch, key, *, gamma=10.0):
    """FactorVAE: the negative ELBO and the total correlation, estimated by a discriminator.

    loss = −log p(x|z) + KL(q(z|x) ‖ p(z)) + γ·d(z), d the logit of a discriminator between z and z
    with each dimension shuffled over the batch; the mean of d tends to TC(z). γ = 0 is the negative
    ELBO. The discriminator has its own loss and its own Adam

    Args:
        model: a `Model`.
        params: its parameters, and those of the discriminator under "objective".
        batch: {"x": [B, *shape], "mask": [B]}.
        key: PRNG key, for one sample of z and for the shuffling.
        gamma: weight γ of the total correlation.

    Returns:
        loss [B] and {"elbo", "rate", "distortion", "discriminator_logit", "discriminator_loss",
        "discriminator_accuracy"}, each [B]; all but the accuracy in nats.

    Reference:
        Kim & Mnih 2018, arXiv 1802.05983, equations 2 and 3, algorithm 2. Its discriminator gets
        shuffled codes of a second batch; ours gets those of the same batch.
    """
    z_key, shuffle_key = jax.random.split(key)
    posterior = model.encode(params, batch["x"])
    drawn, log_q = rates.draw(posterior, z_key)
    z = model.without_masked(drawn)
    distortion = model.distortion(params, z, batch)
    rate = _terms.rate(model, params, posterior, drawn, log_q)
    # TC(z) ≈ E d(z); this term does not train the discriminator
    logit = _adversary.logits(jax.lax.stop_gradient(params["objective"]), z)
    shuffled = losses.permute_dimensions(shuffle_key, z, batch["mask"])
    adversary, told = _adversary.terms(params["objective"], z, shuffled)
    return distortion + rate + gamma * logit + adversary, {
        **_terms.elbo_terms(distortion, rate),
        "discriminator_logit": logit,
        **told,
    }
