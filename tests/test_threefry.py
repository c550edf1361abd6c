"""The same numbers as JAX's, bit by bit, computed in another way."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from properties import slow

from vae_jax import threefry

DRAWS = {
    "bits": lambda key, shape: jax.random.bits(key, shape),
    "bits of 8": lambda key, shape: jax.random.bits(key, shape, jnp.uint8),
    "uniform": jax.random.uniform,
    "normal": jax.random.normal,
    "bernoulli": lambda key, shape: jax.random.bernoulli(key, 0.3, shape),
    "permutation": lambda key, shape: jax.random.permutation(key, sum(shape) + 2),
    "split": lambda key, shape: jax.random.normal(jax.random.split(key)[1], shape),
    "fold_in": lambda key, shape: jax.random.normal(jax.random.fold_in(key, 3), shape),
}


def same(a, b):
    return np.array_equal(np.asarray(a), np.asarray(b))


@pytest.mark.parametrize("shape", [(), (5, 7), *slow((0,), (1,), (3, 28, 28, 1))])
@pytest.mark.parametrize("name", DRAWS)
def test_draws_are_those_of_jax(name, shape):
    draw = jax.jit(DRAWS[name], static_argnums=1)
    for seed in (0, 1, 2**31 - 1):
        key = jax.random.fold_in(jax.random.key(seed), 12345)
        assert same(draw(threefry.unrolled(key), shape), draw(key, shape))


def test_a_known_answer_of_the_cipher():
    # the vector that comes with the paper's Random123: key and counter are digits of π
    key = jnp.array([0x13198A2E, 0x03707344], jnp.uint32)
    counter = jnp.array([0x243F6A88], jnp.uint32), jnp.array([0x85A308D3], jnp.uint32)
    left, right = threefry._threefry(key, *counter)
    assert (int(left[0]), int(right[0])) == (0xC4923A9C, 0x483DF7A0)


def test_keys_are_mapped_as_those_of_jax():
    keys = jax.random.split(jax.random.key(7), 4)

    def draw(key):
        return jax.random.bits(threefry.unrolled(key), (6, 3))

    looped = jnp.stack([jax.random.bits(key, (6, 3)) for key in keys])
    assert same(jax.vmap(draw)(keys), looped)
    assert same(jax.lax.map(draw, keys), looped)


def test_another_generator_is_left_alone():
    key = jax.random.key(0, impl="rbg")
    assert threefry.unrolled(key) is key


def test_old_counters_are_those_of_jax():
    with jax.threefry_partitionable(False):
        key = jax.random.key(3)
        assert same(jax.random.bits(threefry.unrolled(key), (5, 3)), jax.random.bits(key, (5, 3)))


def test_the_rounds_are_no_loop():
    def draw(key):
        return jax.random.bernoulli(threefry.unrolled(key), 0.5, (100, 784))

    assert "while" not in jax.jit(draw).lower(jax.random.key(0)).as_text()
