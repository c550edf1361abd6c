"""The order of the examples: a permutation that can be read at any position, not stored."""

import functools
import math

import jax
import jax.numpy as jnp
from jax import lax

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

    permute = functools.partial(_permute, round_keys=round_keys, width=width, height=height)

    def walk(found):
        return jnp.where(found < num_examples, found, permute(found))

    found = permute(jnp.asarray(position).astype(jnp.uint32))
    found = lax.while_loop(lambda f: jnp.any(f >= num_examples), walk, found)
    return found.astype(jnp.int32)


@functools.partial(jax.jit, static_argnames=("width", "height"))
def _permute(pair_index: jax.Array, round_keys: jax.Array, width: int, height: int) -> jax.Array:
    """The Feistel network on left·width + right, uint32 of any shape, with keys [8].

    It is jitted, so that it is traced once, and written with `lax`, because tracing an operator of
    `jax.numpy` takes several times as long.
    """
    full = functools.partial(lax.full_like, pair_index)
    left, right = lax.div(pair_index, full(width)), lax.rem(pair_index, full(width))
    keys = [lax.index_in_dim(round_keys, k, keepdims=False) for k in range(_NUM_ROUNDS)]
    for first, second in zip(keys[::2], keys[1::2], strict=True):
        left = lax.rem(lax.add(left, _keyed(right, first, height)), full(height))
        right = lax.rem(lax.add(right, _keyed(left, second, width)), full(width))
    return lax.add(lax.mul(left, full(width)), right)


def _keyed(value: jax.Array, key: jax.Array, bound: int) -> jax.Array:
    """The round function: value, uint32 of any shape, and a key, scalar, to [0, bound)."""
    mixed = _hash(lax.bitwise_xor(value, lax.broadcast(key, value.shape)))
    return lax.rem(mixed, lax.full_like(value, bound))


def _hash(value: jax.Array) -> jax.Array:
    """Mixes 32 bits, any shape of uint32: the finalizer of MurmurHash3 (Appleby 2011)."""
    full = functools.partial(lax.full_like, value)

    def mix(value, distance):
        return lax.bitwise_xor(value, lax.shift_right_logical(value, full(distance)))

    value = lax.mul(mix(value, 16), full(0x85EBCA6B))
    value = lax.mul(mix(value, 13), full(0xC2B2AE35))
    return mix(value, 16)
