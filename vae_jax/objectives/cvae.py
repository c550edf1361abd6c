"""Conditional VAE: a model of x given labels, factors or any array, and a code for the rest."""

from vae_jax.objectives import beta_vae
from vae_jax.objectives._conditions import beside, conditions, given

__all__ = ["CHOICES", "DEFINITIONS", "OTHERS", "beside", "conditions", "given", "loss"]

CHOICES = {"condition": ("labels", "factors", "array")}
"""Possible conditions of x, by name: labels [N], factors [N, F], an array [N, C]."""
OTHERS = {"condition": "columns of your own table, batch+age"}
"""What another word says."""
DEFINITIONS = {
    "elbo": "−(distortion + rate) in nats per example, a bound on log p(x|c), c the condition",
    "rate": "KL(q(z|x, c) ‖ p(z)) in nats per example, c the condition",
    "distortion": "−log p(x|z, c) in nats per example, one sample of z each, c the condition",
    "mutual_information": "of the rate, I(x, c; z) in nats, from a few examples (see latent_use)",
}


def loss(model, params, batch, key, *, beta=1.0):
    """Conditional VAE: distortion + β·rate of x given c; β = 1 is the negative ELBO.

    loss = −log p(x|z, c) + β·KL(q(z|x, c) ‖ p(z)), z ~ q(z|x, c)

    Args:
        model: a conditional `Model`.
        params: its parameters.
        batch: {"x": [B, *shape], "condition": class indices [B] or numbers [B, C], "mask": [B]}.
        key: PRNG key, for one sample of z.
        beta: weight of the rate; 1 trains the ELBO.

    Returns:
        loss [B] and {"elbo", "rate", "distortion"}, each [B], in nats; the ELBO is a bound on
        log p(x|c).

    Reference:
        Sohn et al. 2015 (Learning Structured Output Representation, NeurIPS), equation 4 with
        p(z|c) = p(z); Kingma et al. 2014, arXiv 1406.5298, equation 6 without the prior of y.
    """
    return beta_vae.loss(given(model, params, batch), params, batch, key, beta=beta)
