"""Keys whose generator compiles in an instant; each call of JAX's own compiles to a loop.

The parameters of a small model take a few hundred calls, so their initialization compiles in a
fifth of the time. For tests of what holds for any generator.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend.random import define_prng_impl


def _mixed(words: jax.Array) -> jax.Array:
    """A bijection of words, uint32 [...], each bit of which depends on all bits."""
    for shift, factor in ((16, 0x21F0AAAD), (15, 0x735A2D97)):
        words = lax.bitwise_xor(words, lax.shift_right_logical(words, lax.full_like(words, shift)))
        words = lax.mul(words, lax.full_like(words, np.uint32(factor)))
    return lax.bitwise_xor(words, lax.shift_right_logical(words, lax.full_like(words, 15)))


def _seed(seed: jax.Array) -> jax.Array:
    return _mixed(lax.reshape(lax.convert_element_type(seed, np.uint32), (1,)))


def _fold_in(key: jax.Array, data: jax.Array) -> jax.Array:
    # another odd factor than that of the counters: a folded key is no draw
    data = lax.mul(lax.convert_element_type(data, np.uint32), np.uint32(0x85EBCA6B))
    return _mixed(lax.add(_mixed(key), lax.broadcast(data, (1,))))


def _random_bits(key: jax.Array, bit_width: int, shape: tuple[int, ...]) -> jax.Array:
    counters = lax.mul(lax.iota(np.uint32, math.prod(shape)), np.uint32(0x9E3779B9))
    words = lax.reshape(_mixed(lax.add(counters, jnp.broadcast_to(key, counters.shape))), shape)
    return lax.convert_element_type(words, np.dtype(f"uint{bit_width}"))


def _split(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    return _random_bits(_fold_in(key, np.uint32(0x5851F42D)), 32, (*shape, 1))


_IMPL = define_prng_impl(
    key_shape=(1,),
    seed=_seed,
    split=_split,
    random_bits=_random_bits,
    fold_in=_fold_in,
    name="quick",
    tag="quick",
)


def quick(seed: int) -> jax.Array:
    """A key of the generator, scalar, where `jax.random.key` would be JAX's."""
    return jax.random.key(seed, impl=_IMPL)
