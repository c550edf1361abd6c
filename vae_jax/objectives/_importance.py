"""Helpers of objectives with several weighted samples of z.

Some of them have a gradient that differs from that of their value: `with_gradient_of` sets it, and
`scale_gradient` weights the gradient through z.
"""

import jax
import jax.numpy as jnp

from vae_jax import losses
from vae_jax.objectives import _terms

__all__ = ["log_weights", "mean_of_bounds", "scale_gradient", "terms", "with_gradient_of"]


def log_weights(
    model, params, posterior, z: jax.Array, batch: dict, log_q: jax.Array | None = None
) -> tuple[jax.Array, jax.Array]:
    """log w = log p(x|z) + log p(z) − log q(z|x) of a training batch.

    Args:
        model, params, batch: as in `loss`.
        posterior: q(z|x) of B examples.
        z: [K, B, L].
        log_q: log q(z|x) from `rates.draw`, [K, B]; None asks the posterior.

    Returns:
        (log w, the distortion −log p(x|z)), in nats, [K, B] each.
    """
    distortion = model.distortion(params, z, batch)
    log_q = posterior.log_prob(z) if log_q is None else log_q
    return model.prior(params).log_prob(z) - log_q - distortion, distortion


def mean_of_bounds(log_weights: jax.Array, num_bounds: int) -> jax.Array:
    """The mean of M importance-weighted bounds: log w in nats, [M·K, B], to [B]."""
    grouped = log_weights.reshape(num_bounds, -1, log_weights.shape[1])
    return jax.vmap(losses.importance_weighted_bound)(grouped).mean(axis=0)


def terms(
    model,
    params,
    posterior,
    z: jax.Array,
    distortion: jax.Array,
    log_q: jax.Array | None = None,
) -> dict[str, jax.Array]:
    """The terms that every run logs: {"elbo", "rate", "distortion"} [B], in nats.

    Args:
        model, params: as in `loss`.
        posterior: q(z|x) of B examples.
        z: its samples, [K, B, L]; used only if the rate has no closed form.
        distortion: of K samples, [K, B]; the mean is logged.
        log_q: see `log_weights`.
    """
    rate = _terms.rate(model, params, posterior, z, log_q)
    return _terms.elbo_terms(distortion.mean(axis=0), rate)


def with_gradient_of(value: jax.Array, surrogate: jax.Array) -> jax.Array:
    """Returns one array with the gradient of another, both of one shape [...]."""
    return jax.lax.stop_gradient(value - surrogate) + surrogate


@jax.custom_vjp
def scale_gradient(z: jax.Array, factors: jax.Array) -> jax.Array:
    """Returns z [K, B, L] unchanged; its gradient is multiplied by the factors [K, B]."""
    del factors
    return z


def _forward(z, factors):
    return z, factors


def _backward(factors, cotangent):
    return cotangent * factors[..., None], jnp.zeros_like(factors)


scale_gradient.defvjp(_forward, _backward)
