"""Distances between two samples of codes, computed from the samples alone."""

import chex
import jax
import jax.numpy as jnp

from vae_jax.losses._masks import as_weights, zero_padding

__all__ = ["KERNELS", "maximum_mean_discrepancy", "sliced_wasserstein"]


KERNELS = {
    "imq": lambda squares, width: width / (width + squares),
    "rbf": lambda squares, width: jnp.exp(-squares / width),
}
"""Kernels of (‖a − b‖² of any shape, squared width C scalar): C / (C + ‖a − b‖²) and
exp(−‖a − b‖² / C). Reference: Tolstikhin et al. 2018, arXiv 1711.01558, section 4."""


def maximum_mean_discrepancy(
    x: jax.Array,
    y: jax.Array,
    mask: jax.Array | None = None,
    latent_mask: jax.Array | None = None,
    *,
    kernel: str = "imq",
    scales: tuple[float, ...] = (1.0,),
) -> jax.Array:
    """The unbiased squared maximum mean discrepancy of two samples; it may be negative.

    MMD² = 1/(n(n − 1)) Σ_{i≠j} [k(x_i, x_j) + k(y_i, y_j) − k(x_i, y_j) − k(x_j, y_i)]

    Args:
        x: codes, shape [B, L].
        y: draws from the prior, shape [B, L].
        mask: rows of x that count, shape [B]; y must have as many.
        latent_mask: dimensions that count, shape [L].
        kernel: one of `KERNELS`; its squared width is C = 2L, the mean squared distance between two
            draws from N(0, I).
        scales: factors of C; the kernels of all of them are summed, such as (0.1, 0.2, 0.5, 1, 2,
            5, 10).

    Returns:
        A scalar; 0 for x = y.

    Reference:
        Gretton et al. 2012, A kernel two-sample test, JMLR 13, lemma 6; Tolstikhin et al. 2018,
        arXiv 1711.01558, section 4 (kernels and width).
    """
    chex.assert_rank([x, y], 2)
    chex.assert_equal_shape([x, y])
    kept, rows = as_weights(latent_mask, x.shape[1], x), as_weights(mask, len(x), x)
    x, y = zero_padding(x, mask) * kept[None, :], zero_padding(y, mask) * kept[None, :]
    width = 2.0 * jnp.maximum(jnp.sum(kept), 1.0)

    def similarity(a, b):
        """Sums the kernels between [B, L] and [B, L]: [B, B]."""
        squares = jnp.sum(jnp.square(a[:, None, :] - b[None, :, :]), axis=2)
        return sum(KERNELS[kernel](squares, scale * width) for scale in scales)

    crossed = similarity(x, y)
    h = similarity(x, x) + similarity(y, y) - crossed - crossed.T
    pairs = rows[:, None] * rows[None, :] * (1.0 - jnp.eye(len(x), dtype=rows.dtype))
    return jnp.sum(jnp.where(pairs > 0, h, 0.0)) / jnp.maximum(jnp.sum(pairs), 1.0)


def sliced_wasserstein(
    x: jax.Array,
    y: jax.Array,
    directions: jax.Array,
    mask: jax.Array | None = None,
) -> jax.Array:
    """The squared sliced 2-Wasserstein distance of two samples.

    SW² = mean over directions u of 1/n Σ_i (sort(x·u)_i − sort(y·u)_i)²

    Args:
        x: codes, shape [B, L].
        y: draws from the prior, shape [B, L].
        directions: unit vectors, shape [P, L].
        mask: rows of x that count, shape [B]; y must have as many.

    Returns:
        A scalar ≥ 0.

    Reference:
        Kolouri et al. 2018, Sliced-Wasserstein Autoencoder, arXiv 1804.01947, section 3.
    """
    chex.assert_rank([x, y, directions], 2)
    chex.assert_equal_shape([x, y])
    rows = as_weights(mask, len(x), x)

    def projected(values):
        """Sorted projections [P, B]; padding comes last and is the same in both samples."""
        lines = jnp.matmul(directions, values.T, precision="highest")
        return jnp.sort(jnp.where(rows[None, :] > 0, lines, jnp.finfo(lines.dtype).max), axis=1)

    squares = jnp.square(projected(x) - projected(y))
    return jnp.mean(jnp.sum(squares, axis=1) / jnp.sum(rows))
