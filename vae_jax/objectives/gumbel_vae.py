"""Categorical codes, relaxed during training so that they have a gradient."""

from vae_jax import latents
from vae_jax.objectives import _terms

__all__ = ["CHOICES", "DEFINITIONS", "INTERVALS", "latent", "loss"]

CHOICES = _terms.ESTIMATORS
DEFINITIONS = _terms.DEFINITIONS_OF_ONE_HOT
INTERVALS = _terms.TEMPERATURES


def latent(*, num_categories=10) -> latents.Categorical:
    """Codes [B, latent_dim]: latent_dim / num_categories categorical variables, one-hot.

    Args:
        num_categories: of each categorical variable; latent_dim must be a multiple of it.
    """
    return latents.Categorical(num_categories)


def loss(model, params, batch, key, *, beta=1.0, temperature=0.5, estimator="relaxed"):
    """Gumbel-softmax VAE: the distortion of relaxed one-hot codes + β·rate.

    loss = −log p(x|z_τ) + β·KL(q(z|x) ‖ p(z)), z_τ = softmax((logits + g)/τ) with Gumbel noise g,
    p(z) uniform; the ELBO uses the one-hot sample, τ → 0. A learned prior trains on these samples,
    −log p(z); the encoder gets the gradient of the uniform one

    Args:
        model: a `Model`.
        params: its parameters.
        batch: {"x": [B, *shape], "mask": [B]}.
        key: PRNG key, for the one sample of z.
        beta: weight of the rate.
        temperature: τ of the relaxation; a small τ increases the variance of the gradient.
        estimator: relaxed decodes relaxed codes in training, straight_through decodes one-hot codes
            with the gradient of the relaxed ones.

    Returns:
        loss [B] and {"elbo", "rate", "distortion"}, each [B], in nats; the terms use one-hot codes.

    Reference:
        Jang et al. 2017, arXiv 1611.01144, equation 2 and section 2.2; Maddison et al. 2017, arXiv
        1611.00712, section 3.
    """
    posterior = model.encode(params, batch["x"])
    distortion, trained = _terms.relaxed_distortion(
        model, params, posterior, batch, key, temperature, estimator
    )
    rate = _terms.rate(model, params, posterior, posterior.sample(key))
    return trained + beta * rate, _terms.elbo_terms(distortion, rate)
