"""Penalties that keep most units of a code inactive for most examples."""

import chex
import jax
import jax.numpy as jnp

__all__ = ["activation_divergence"]


def activation_divergence(mean_activation: jax.Array, target: chex.Numeric) -> jax.Array:
    """Bernoulli KL between a target and the mean activation of each unit; at least 0.

    KL(ρ ‖ ρ̂) = ρ log ρ/ρ̂ + (1 − ρ) log (1 − ρ)/(1 − ρ̂)

    Args:
        mean_activation: ρ̂ in [0, 1], shape [L]; rescaled to [1e-6, 1 − 1e-6], so that a unit that
            is never or always active still has a gradient.
        target: ρ in (0, 1), a scalar.

    Returns:
        Shape [L], in nats.

    Reference:
        Ng 2011, Sparse autoencoder, CS294A lecture notes, section 3.
    """
    dtype = jnp.result_type(mean_activation)
    # in half precision 1 − 1e-6 would be 1
    wide = jnp.float32 if jnp.finfo(dtype).bits < 32 else dtype
    rate = 1e-6 + (1.0 - 2e-6) * mean_activation.astype(wide)
    # ρ log ρ/ρ̂ + (1 − ρ) log (1 − ρ)/(1 − ρ̂)
    own = target * (jnp.log(target) - jnp.log(rate))
    own = own + (1.0 - target) * (jnp.log1p(-target) - jnp.log1p(-rate))
    return own.astype(dtype)
