"""Codes from a codebook: the nearest code, its gradients, and how many codes are in use."""

import chex
import jax
import jax.numpy as jnp

from vae_jax.losses.reductions import sum_event

__all__ = ["code_counts", "commitment", "nearest_codes", "perplexity", "straight_through"]


def nearest_codes(vectors: jax.Array, codebook: jax.Array) -> jax.Array:
    """The nearest code of each vector; the first one of several equally near.

    argmin_k ‖v − e_k‖²

    Args:
        vectors: v, shape [N, D].
        codebook: e, shape [K, D].

    Returns:
        Indices k, integers [N].

    Reference:
        van den Oord et al. 2017, Neural Discrete Representation Learning, arXiv 1711.00937, eq. 1.
    """
    chex.assert_rank([vectors, codebook], 2)
    # ‖v − e‖² = ‖v‖² − 2 v·e + ‖e‖²; the first term is the same for all codes
    products = jnp.matmul(vectors, codebook.T, precision="highest")
    return jnp.argmin(jnp.sum(jnp.square(codebook), axis=1)[None, :] - 2.0 * products, axis=1)


def straight_through(features: jax.Array, quantized: jax.Array) -> jax.Array:
    """Returns the quantized values; the gradient passes straight through to the features.

    Args:
        features: values before quantization, any shape.
        quantized: same shape; it gets no gradient.

    Returns:
        The values of `quantized`.

    Reference:
        Bengio et al. 2013, arXiv 1308.3432; van den Oord et al. 2017, arXiv 1711.00937, section
        3.2.
    """
    chex.assert_equal_shape([features, quantized])
    return jax.lax.stop_gradient(quantized) + (features - jax.lax.stop_gradient(features))


def commitment(features: jax.Array, quantized: jax.Array) -> jax.Array:
    """The squared distance between features and their codes; only the features get a gradient.

    ‖z_e − sg[e]‖², sg = stop gradient. With the arguments exchanged, ‖sg[z_e] − e‖² moves only the
    codes.

    Args:
        features: z_e, shape [B, *event].
        quantized: e, same shape.

    Returns:
        Shape [B].

    Reference:
        van den Oord et al. 2017, arXiv 1711.00937, eq. 3.
    """
    chex.assert_equal_shape([features, quantized])
    return sum_event(jnp.square(features - jax.lax.stop_gradient(quantized)))


def code_counts(indices: jax.Array, num_codes: int, weights: jax.Array | None = None) -> jax.Array:
    """How often each code was chosen.

    Args:
        indices: integers below K, shape [N].
        num_codes: K.
        weights: one per choice, 0 for padding, shape [N]; None counts all once.

    Returns:
        Shape [K], floating.
    """
    chex.assert_rank(indices, 1)
    weights = jnp.ones(indices.shape) if weights is None else jnp.asarray(weights, float)
    return jnp.zeros(num_codes, weights.dtype).at[indices].add(weights)


def perplexity(counts: jax.Array) -> jax.Array:
    """The effective number of codes in use: the exponential of the entropy of their use.

    exp(−Σ_k p_k log p_k),  p_k = counts_k / Σ counts

    Args:
        counts: ≥ 0, at least one positive, shape [K].

    Returns:
        A scalar from 1 to K.
    """
    chex.assert_rank(counts, 1)
    shares = counts / jnp.sum(counts)
    logs = jnp.log(jnp.where(shares > 0, shares, 1.0))
    return jnp.exp(-jnp.sum(shares * logs))
