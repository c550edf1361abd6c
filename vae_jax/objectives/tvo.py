"""Thermodynamic variational objective: a Riemann sum along a path from q(z|x) to p(z|x)."""

import jax
import jax.numpy as jnp

from vae_jax import losses, rates
from vae_jax.objectives import _importance

__all__ = ["loss"]

INTERVALS = {"first_beta": "(0, 1)", "num_samples": "[2, inf)"}


def loss(model, params, batch, key, *, first_beta=0.1, num_partitions=5, num_samples=10):
    """TVO: a lower Riemann sum of log p(x) = ∫₀¹ E_β[log w] dβ, under densities ∝ q(z|x) w^β.

    loss = −Σ_t (β_{t+1} − β_t) E_{π_t}[log w], w = p(x, z) / q(z|x); β_0 = 0, and T − 1 more lie at
    equal ratios from `first_beta` to β_T = 1; T = 1 is the negative ELBO. The gradient uses scores;
    samples are not differentiated.

    Args:
        model: a `Model`.
        params: its parameters.
        batch: {"x": [B, *shape], "mask": [B]}.
        key: PRNG key, for the K samples of z.
        first_beta: β_1, the first above 0.
        num_partitions: T, terms of the sum.
        num_samples: K, samples of z for each example; at least 2, for the gradient's covariance.

    Returns:
        loss [B] and {"bound", "elbo", "rate", "distortion"}, each [B], in nats.

    Raises:
        UsageError: `num_samples` is 1.

    Reference:
        Masrani et al. 2019, arXiv 1907.00031, sections 3 and 4.
    """
    posterior = model.encode(params, batch["x"])
    z, log_q = jax.lax.stop_gradient(rates.draw(posterior, key, num_samples))
    log_weights, distortion = _importance.log_weights(model, params, posterior, z, batch)
    # β_t = β_1^{1 − (t − 1)/(T − 1)}, t = 1 … T − 1
    exponents = 1.0 - jnp.arange(num_partitions - 1) / max(num_partitions - 1, 1)
    betas = jnp.append(0.0, jnp.asarray(first_beta, jnp.float32) ** exponents)
    bound, surrogate = losses.thermodynamic_bound(log_weights, posterior.log_prob(z), betas)
    loss = _importance.with_gradient_of(-bound, -surrogate)
    return loss, {
        "bound": bound,
        **_importance.terms(model, params, posterior, z, distortion, log_q),
    }
