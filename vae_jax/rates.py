"""The rate of a code, KL(q(z|x) ‖ p(z)), in closed form if there is one, else from draws.

The estimate from draws is log q(z|x) − log p(z). It is unbiased, and so is its gradient through z.
"""

import math

import jax
import jax.numpy as jnp

from vae_jax import distributions, losses, sums
from vae_jax.errors import UnsupportedError

__all__ = [
    "draw",
    "has_closed_form",
    "has_dims",
    "parts",
    "per_dim",
    "per_dim_or_like_gaussian",
    "rate",
    "require_gaussian",
]


def has_closed_form(posterior, prior) -> bool:
    """Whether the rate of this pair of types is known in closed form; values of any shapes."""
    return (type(posterior), type(prior)) in distributions.CLOSED_FORM_KL


def draw(
    posterior, key: jax.Array, num_samples: int | None = None
) -> tuple[jax.Array, jax.Array | None]:
    """Draws z ~ q(z|x), with log q(z|x) if the posterior computes it together with the draw.

    Args:
        posterior: q(z|x), parameters of shape [B, …].
        key: PRNG key, scalar.
        num_samples: K; None draws once.

    Returns:
        (z [B, L] or [K, B, L], log q(z|x) in nats [B] or [K, B]; or None: ask `log_prob`).
    """
    together = getattr(posterior, "sample_and_log_prob", None)
    if together is not None:
        return together(key, num_samples)
    return posterior.sample(key, num_samples) if num_samples else posterior.sample(key), None


def rate(posterior, prior, z: jax.Array | None = None, log_q: jax.Array | None = None) -> jax.Array:
    """The rate of each example: in closed form, or the mean over the draws.

    Args:
        posterior: q(z|x), parameters of shape [B, L].
        prior: p(z) over [L].
        z: draws from q(z|x), [B, L] or [K, B, L]; used only if there is no closed form.
        log_q: log q(z|x) of the draws from `draw`, [B] or [K, B]; None computes it.

    Returns:
        Rates in nats, [B].

    Raises:
        UnsupportedError: there is no closed form, and no draws are given.
    """
    if z is None or has_closed_form(posterior, prior):
        return losses.sum_event(distributions.kl_divergence(posterior, prior))
    if hasattr(posterior, "rates_given"):
        ratio = sums.over_last(posterior.rates_given(prior, z))
    else:
        log_q = posterior.log_prob(z) if log_q is None else log_q
        ratio = log_q - prior.log_prob(z)
    return ratio if z.ndim == 2 else ratio.mean(axis=0)


def per_dim(posterior, prior, z: jax.Array | None = None) -> jax.Array:
    """The rate of each latent dimension given those before it; the sum has the mean of `rate`.

    With draws it follows the chain rule, log q(z_l|x) − log p(z_l | z_1 … z_{l−1}).

    Args:
        posterior, prior, z: see `rate`.

    Returns:
        Rates in nats, [B, L].

    Raises:
        UnsupportedError: there is no closed form, and no draws are given, or a density of single
            dimensions is unknown.
    """
    if z is None or has_closed_form(posterior, prior):
        return distributions.kl_divergence(posterior, prior)
    if not hasattr(posterior, "log_probs"):
        name = type(posterior).__name__
        raise UnsupportedError(
            f"the rate of single dimensions: q(z|x) is of type {name}, whose density is only known "
            "jointly: leave free_bits out, or leave posterior out"
        )
    if not has_dims(posterior, prior):
        name = type(prior).__name__
        raise UnsupportedError(
            f"the rate of single dimensions: p(z) is of type {name}, whose density is only known "
            "jointly: leave free_bits out, or take prior=normal or prior=mixture"
        )
    if hasattr(posterior, "rates_given"):
        rates = posterior.rates_given(prior, z)
    else:
        rates = posterior.log_probs(z) - prior.log_probs(z)
    return rates if z.ndim == 2 else rates.mean(axis=0)


def has_dims(posterior, prior) -> bool:
    """Whether `per_dim` knows the rate of single dimensions; values of any shapes."""
    is_known = all(hasattr(each, "log_probs") for each in (posterior, prior))
    return is_known or has_closed_form(posterior, prior)


def per_dim_or_like_gaussian(posterior, prior, z: jax.Array) -> jax.Array:
    """`per_dim`, or if it is unknown that of Gaussians with the mean and deviation of both.

    For pictures, which sort dimensions: the sum of the second is not `rate`.

    Args:
        posterior, prior, z: see `rate`.

    Returns:
        Rates in nats, [B, L].
    """
    if has_dims(posterior, prior):
        return per_dim(posterior, prior, z)
    return distributions.kl_divergence(_like(posterior), _like(prior))


def _like(density) -> distributions.DiagonalGaussian:
    """A Gaussian with the mean and deviation of a posterior [B, L] or a prior [L]."""
    if type(density) is distributions.DiagonalGaussian:
        return density
    logvar = 2.0 * jnp.log(jnp.maximum(density.deviation, 1e-6))
    return distributions.DiagonalGaussian(density.mean, logvar)


def require_gaussian(posterior, what: str) -> distributions.DiagonalGaussian:
    """Returns q(z|x), [B, L], if it is a Gaussian with independent dimensions.

    Args:
        posterior: of any type.
        what: who asks, for the message.

    Raises:
        UnsupportedError: it is of another type.
    """
    if type(posterior) is not distributions.DiagonalGaussian:
        raise UnsupportedError(
            f"{what}: q(z|x) is of type {type(posterior).__name__}, must be a Gaussian with "
            "independent dimensions: leave posterior out, or take another objective"
        )
    return posterior


def parts(
    posterior: distributions.DiagonalGaussian,
    prior,
    z: jax.Array,
    log_weights: jax.Array,
    latent_mask: jax.Array | None = None,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """`losses.rate_decomposition` under any prior.

    Args:
        posterior: of the B examples of a batch, [B, L].
        prior: p(z) over [L], independent N(0, 1) in masked dimensions.
        z: one draw per example, [B, L].
        log_weights: see `losses.aggregate_weights`, [B, B].
        latent_mask: None or [L] of zeros and ones.

    Returns:
        (mutual information, total correlation, Σ_l log q(z_l) − log p(z)) in nats, [B] each.
    """
    posterior = require_gaussian(posterior, "the parts of the rate")
    if type(prior) is distributions.DiagonalGaussian:
        own = {"prior_mean": prior.mean, "prior_logvar": prior.logvar}
    elif latent_mask is None:
        own = {"log_prior": prior.log_prob(z)}
    else:
        # a masked dimension adds log N(0; 0, 1) = −½ log 2π
        num_masked = sums.over_last(1.0 - latent_mask)
        joint = prior.log_prob(z * latent_mask[None, :])
        own = {"log_prior": joint + 0.5 * math.log(2 * math.pi) * num_masked}
    return losses.rate_decomposition(z, *posterior, log_weights, latent_mask, **own)
