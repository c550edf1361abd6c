"""The order of the examples: a permutation that can be read at any position, not stored."""

import math

import jax
import jax.numpy as jnp

__all__ = ["shuffle"]

_NUM_ROUNDS = 8


def shuffle(key: jax.Array, position: jax.Array, num_examples: int) -> jax.Array:
    """The example at a position of a pseudo-random permutation of all examples.

    A Feistel network over pairs (left, right), left·width + right >= num_examples, is a bijection
    for any round function. A result beyond the examples is mapped again until it is one of them. No
    array of N numbers is made or sorted, so a permutation costs the same for any N, and the batch
    of a step depends on (key, positions) only.

    Args:
        key: PRNG key, scalar: another key gives another permutation.
        position: integers of any shape, each in [0, num_examples).
        num_examples: N, at least 1 and below 2³¹.

    Returns:
        int32, shaped as `position`, each in [0, N); distinct positions give distinct examples.

    Reference:
        Black & Rogaway 2002, "Ciphers with arbitrary finite domains", sections 3 (cycle walking)
        and 4 (generalized Feistel network).
    """
    width = math.isqrt(num_examples - 1) + 1
    height = -(-num_examples // width)
    round_keys = jax.random.bits(key, (_NUM_ROUNDS,), jnp.uint32)

    def permute(pair_index):
        left, right = pair_index // width, pair_index % width
        for k in range(0, _NUM_ROUNDS, 2):
            left = (left + _hash(right ^ round_keys[k]) % height) % height
            right = (right + _hash(left ^ round_keys[k + 1]) % width) % width
        return left * width + right

    def walk(found):
        return jnp.where(found < num_examples, found, permute(found))

    found = permute(jnp.asarray(position).astype(jnp.uint32))
    found = jax.lax.while_loop(lambda f: jnp.any(f >= num_examples), walk, found)
    return found.astype(jnp.int32)


def _hash(value: jax.Array) -> jax.Array:
    """Mixes 32 bits, any shape of uint32: the finalizer of MurmurHash3 (Appleby 2011)."""
    value = (value ^ (value >> 16)) * jnp.uint32(0x85EBCA6B)
    value = (value ^ (value >> 13)) * jnp.uint32(0xC2B2AE35)
    return value ^ (value >> 16)
