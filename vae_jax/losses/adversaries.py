"""Terms that train a discriminator between two kinds of codes."""

import chex
import jax
import jax.numpy as jnp

from vae_jax.threefry import unrolled

__all__ = ["discriminator_loss", "permute_dimensions"]


def permute_dimensions(key: jax.Array, z: jax.Array, mask: jax.Array | None = None) -> jax.Array:
    """Shuffles each dimension of codes over the batch by itself: from q(z) to ∏_l q(z_l).

    Args:
        key: PRNG key, scalar.
        z: codes, shape [B, L].
        mask: rows that count, shape [B]; they are shuffled among themselves.

    Returns:
        Shape [B, L]; padded rows stay as they were.

    Reference:
        Kim & Mnih 2018, Disentangling by Factorising, arXiv 1802.05983, algorithm 1.
    """
    chex.assert_rank(z, 2)
    counts = jnp.ones(z.shape[0], bool) if mask is None else mask > 0
    # one key per dimension: the dimensions after it, masked or not, change nothing
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(z.shape[1]))
    draws = jax.vmap(lambda key: jax.random.uniform(key, z.shape[:1]))(unrolled(keys)).T
    # for each dimension, the rows that count in random order, before the others: [B, L]
    order = jnp.where(counts[:, None], draws, 2.0).argsort(axis=0)
    place = jnp.maximum(jnp.cumsum(counts) - 1, 0)
    return jnp.where(counts[:, None], jnp.take_along_axis(z, order[place], axis=0), z)


def discriminator_loss(real: jax.Array, fake: jax.Array) -> jax.Array:
    """Cross-entropy of a discriminator that sees equally many codes of both kinds.

    −½ log σ(d(real)) − ½ log(1 − σ(d(fake))); at the minimum, d = log p_real − log p_fake

    Args:
        real: logits d of the codes labeled real, shape [B].
        fake: logits d of the other codes, shape [B].

    Returns:
        In nats per pair, shape [B]; log 2 if the two kinds cannot be told apart.

    Reference:
        Goodfellow et al. 2014, Generative Adversarial Networks, arXiv 1406.2661, eq. 1.
    """
    chex.assert_rank([real, fake], 1)
    return 0.5 * (jax.nn.softplus(-real) + jax.nn.softplus(fake))
