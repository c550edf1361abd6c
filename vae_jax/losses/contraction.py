"""Penalties on how much a code changes with x: norms of the encoder's Jacobian."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp

from vae_jax.losses.reductions import sum_event

__all__ = ["estimated_jacobian_norm", "jacobian_norm"]


def jacobian_norm(function: Callable, x: jax.Array) -> jax.Array:
    """‖∂f/∂x‖²_F of each example, exactly.

    It takes one pass per number of x or of f(x), whichever are fewer.

    Args:
        function: x [B, *shape] to [B, L], row by row, differentiable.
        x: [B, *shape].

    Returns:
        Shape [B]; differentiable in the variables that the function closes over.

    Reference:
        Rifai et al. 2011, Contractive Auto-Encoders, ICML, equation 1.
    """
    num_inputs = math.prod(x.shape[1:])
    num_outputs = jax.eval_shape(function, x).shape[1]

    def in_all_rows(unit, like):
        return jnp.broadcast_to(unit.reshape(1, *like.shape[1:]), like.shape).astype(like.dtype)

    if num_inputs <= num_outputs:
        # column i of each Jacobian, forward
        def squares(unit):
            return sum_event(jnp.square(jax.jvp(function, (x,), (in_all_rows(unit, x),))[1]))

        units = jnp.eye(num_inputs)
    else:
        # row l of each, backward: rows of x do not affect each other
        codes, backward = jax.vjp(function, x)

        def squares(unit):
            return sum_event(jnp.square(backward(in_all_rows(unit, codes))[0]))

        units = jnp.eye(num_outputs)
    return jnp.sum(jax.vmap(squares)(units), axis=0)


def estimated_jacobian_norm(
    function: Callable, x: jax.Array, key: jax.Array, num_probes: int = 1
) -> jax.Array:
    """An unbiased estimate of ‖∂f/∂x‖²_F of each example: E_v ‖J v‖² with E v vᵀ = I.

    Args:
        function: x [B, *shape] to [B, L], row by row, differentiable.
        x: [B, *shape].
        key: PRNG key, scalar.
        num_probes: random signs v per example; each costs one forward pass.

    Returns:
        Shape [B].

    Reference:
        Hutchinson 1990, A stochastic estimator of the trace of the influence matrix, Communications
        in Statistics 19(2), applied to JᵀJ.
    """

    def squares(key):
        probe = jax.random.rademacher(key, x.shape, x.dtype)
        # ‖J v‖²
        return sum_event(jnp.square(jax.jvp(function, (x,), (probe,))[1]))

    return jnp.mean(jax.vmap(squares)(jax.random.split(key, num_probes)), axis=0)
