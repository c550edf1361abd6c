"""Contrast: each code tells its own partner from the codes of all other rows."""

import chex
import jax
import jax.numpy as jnp

from vae_jax.losses._masks import as_weights, bound_padding

__all__ = ["info_nce"]


def info_nce(
    first: jax.Array,
    second: jax.Array,
    mask: jax.Array | None = None,
    *,
    temperature: chex.Numeric = 0.1,
) -> jax.Array:
    """InfoNCE of two codes for each row, with the cosine of their angle as the score.

    Each of the 2N codes looks for its partner among the 2N − 1 others. A row has the mean over its
    two codes of −log exp(s_ip/τ) / Σ_{k≠i} exp(s_ik/τ), where s is the cosine, p the partner. The
    mutual information of both codes is at least log(2N − 1) − the mean of the rows.

    Args:
        first, second: codes of the same rows in two versions, [B, L]. The direction of a code
            counts, its length does not: z/√(‖z‖² + 1e-6), for a code of zeros has no direction.
        mask: 1 for a row that counts, 0 for padding, [B]; None if all N = B rows count. Padding is
            nobody's partner and nobody's alternative.
        temperature: τ > 0, a scalar.

    Returns:
        Shape [B], in nats, between 0 and log(1 + (2N − 2)·exp(2/τ)); 0 for padding.

    Reference:
        van den Oord et al. 2018, arXiv 1807.03748, section 2.3; Chen et al. 2020, arXiv
        2002.05709, equation 1.
    """
    chex.assert_rank([first, second], 2)
    chex.assert_equal_shape([first, second])
    num = len(first)
    weights = as_weights(mask, num, first)
    counts = weights.astype(bool)
    codes = jnp.concatenate(
        [bound_padding(first, counts), bound_padding(second, counts)]
    )  # [2B, L]
    lengths = jnp.sum(jnp.square(codes), axis=1, keepdims=True)
    codes = codes * jax.lax.rsqrt(lengths + 1e-6)
    scores = codes @ codes.T / temperature  # [2B, 2B]
    # −inf would be −inf − −inf, for a row that is padding
    is_other = ~jnp.eye(2 * num, dtype=bool) & jnp.tile(counts, 2)[None, :]
    scores = jnp.where(is_other, scores, jnp.finfo(scores.dtype).min)
    partners = jnp.roll(jnp.arange(2 * num), num)
    own = jnp.take_along_axis(scores, partners[:, None], axis=1)[:, 0]
    each = jax.nn.logsumexp(scores, axis=1) - own
    return jnp.where(counts, 0.5 * (each[:num] + each[num:]), 0.0)
