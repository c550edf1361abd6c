"""Penalties on the weights of a network."""

from typing import Any

import jax
import jax.numpy as jnp

__all__ = ["squared_norm", "squared_spectral_norms"]

_NUM_ITERATIONS = 15


def squared_norm(params: Any) -> jax.Array:
    """Σ θ² of all parameters, a scalar.

    Args:
        params: any pytree of arrays.
    """
    return sum((jnp.sum(jnp.square(leaf)) for leaf in jax.tree.leaves(params)), jnp.float32(0))


def squared_spectral_norms(params: Any) -> jax.Array:
    """Σ σ(W)² of all kernels, σ the largest singular value; a scalar.

    A kernel [..., in, out] of more than two axes is read as a matrix [… · in, out]. The singular
    vectors are those of 15 power iterations and count as constants, so σ comes from below.

    Args:
        params: any pytree of arrays; those of fewer than two axes, such as biases, do not count.

    Reference:
        Yoshida & Miyato 2017, Spectral Norm Regularization for Improving the Generalizability of
        Deep Learning, arXiv 1705.10941, equation 7 and algorithm 1.
    """
    kernels = [leaf for leaf in jax.tree.leaves(params) if leaf.ndim > 1]
    norms = (_spectral_norm(kernel.reshape(-1, kernel.shape[-1])) for kernel in kernels)
    return sum((jnp.square(norm) for norm in norms), jnp.float32(0))


def _spectral_norm(kernel: jax.Array) -> jax.Array:
    """The largest singular value of [in, out], a scalar."""
    fixed = jax.lax.stop_gradient(kernel)

    def unit(vector):
        return vector / jnp.maximum(jnp.linalg.norm(vector), 1e-12)

    def iterate(_, right):
        return unit(
            jnp.matmul(
                fixed.T, unit(jnp.matmul(fixed, right, precision="highest")), precision="highest"
            )
        )

    start = unit(jax.random.normal(jax.random.key(0), kernel.shape[1:], kernel.dtype))
    right = jax.lax.fori_loop(0, _NUM_ITERATIONS, iterate, start)
    left = unit(jnp.matmul(fixed, right, precision="highest"))
    return left @ jnp.matmul(kernel, right, precision="highest")
