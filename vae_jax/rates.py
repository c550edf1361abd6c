"""The rate of a code, KL(q(z|x) ‖ p(z)), in closed form if there is one, else from draws.

The estimate from draws is log q(z|x) − log p(z). It is unbiased, and so is its gradient through z.
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from vae_jax import distributions, losses, sums
from vae_jax.errors import UnsupportedError

__all__ = [
    "Draw",
    "by_group",
    "draw",
    "has_closed_form",
    "has_dims",
    "of_draw",
    "parts",
    "per_dim",
    "per_dim_of_draw",
    "per_dim_or_like_gaussian",
    "rate",
    "require_gaussian",
    "walk",
]


class Draw(NamedTuple):
    """A draw z ~ q(z|x), with what the posterior computed on its way; None is unknown.

    Attributes:
        z: [B, L] or [K, B, L].
        log_q: log q(z|x) in nats, [B] or [K, B].
        rates: the rate of each dimension given those before it, in nats, the shape of z.
        read: what the decoder reads of z, [B, F] or [K, B, F].
    """

    z: jax.Array
    log_q: Any = None
    rates: Any = None
    read: Any = None


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


def walk(posterior, prior, key: jax.Array, num_samples: int | None = None) -> Draw:
    """Draws z ~ q(z|x) like `draw`; a hierarchy runs its path once for the draw and the rates.

    Args:
        posterior, key, num_samples: see `draw`.
        prior: p(z) over [L].
    """
    if hasattr(posterior, "walk"):
        return posterior.walk(prior, key, num_samples)
    return Draw(*draw(posterior, key, num_samples))


def of_draw(posterior, prior, drawn: Draw) -> jax.Array:
    """`rate` of a draw from `walk`: nats, [B]."""
    if drawn.rates is None:
        return rate(posterior, prior, drawn.z, drawn.log_q)
    return _mean_of_draws(sums.over_last(drawn.rates), drawn.z)


def per_dim_of_draw(posterior, prior, drawn: Draw) -> jax.Array:
    """`per_dim` of a draw from `walk`: nats, [B, L]."""
    if drawn.rates is None:
        return per_dim(posterior, prior, drawn.z)
    return _mean_of_draws(drawn.rates, drawn.z)


def _mean_of_draws(values: jax.Array, z: jax.Array) -> jax.Array:
    """The mean over K of [K, …]; the same values for a single draw z [B, L]."""
    return values if z.ndim == 2 else values.mean(axis=0)


def by_group(rates_per_dim: jax.Array, groups: jax.Array) -> dict[str, jax.Array]:
    """The rate of each group by name: "rate_group_1" is the group nearest to x.

    Args:
        rates_per_dim: in nats, [B, L].
        groups: the dimensions of each group, zeros and ones [G, L].

    Returns:
        Nats, [B] for each of G names; they add up to the rate.
    """
    of_groups = jnp.matmul(rates_per_dim, groups.T, precision="highest")
    return {f"rate_group_{index + 1}": of_groups[:, index] for index in range(len(groups))}


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
    return _mean_of_draws(ratio, z)


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
    return _mean_of_draws(rates, z)


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
