import jax
import jax.numpy as jnp
import numpy as np
import pytest
from properties import slow

from vae_jax.shuffling import shuffle


@pytest.mark.parametrize("num_examples", [1, 2, 7, 1437, *slow(3, 50, 64, 100, 60_000)])
def test_an_order_holds_each_example_once(num_examples):
    for seed in (0, 1):
        order = shuffle(jax.random.key(seed), jnp.arange(num_examples), num_examples)
        assert order.dtype == jnp.int32
        np.testing.assert_array_equal(np.sort(order), np.arange(num_examples))


def test_an_order_is_read_at_any_position_alone():
    order = shuffle(jax.random.key(3), jnp.arange(1000), 1000)
    some = jnp.array([[7, 999], [0, 7]])
    np.testing.assert_array_equal(shuffle(jax.random.key(3), some, 1000), order[some])


def test_an_order_is_that_of_the_cipher_in_the_paper():
    """One number after another, in whole numbers of Python: what a run was trained on stays so."""
    num, width, height, key = 50, 8, 7, jax.random.key(5)
    round_keys = [int(bits) for bits in jax.random.bits(key, (8,), jnp.uint32)]

    def mixed(value):
        for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35), (16, 1)):
            value = (value ^ value >> shift) * factor % 2**32
        return value

    def enciphered(number):
        left, right = divmod(number, width)
        for k in range(0, 8, 2):
            left = (left + mixed(right ^ round_keys[k])) % height
            right = (right + mixed(left ^ round_keys[k + 1])) % width
        found = left * width + right
        return found if found < num else enciphered(found)

    want = [enciphered(number) for number in range(num)]
    np.testing.assert_array_equal(shuffle(key, jnp.arange(num), num), want)


def test_keys_give_different_orders():
    orders = [shuffle(jax.random.key(seed), jnp.arange(100), 100) for seed in range(20)]
    assert len({tuple(np.asarray(order)) for order in orders}) == 20


@pytest.mark.parametrize("num_examples", [10, 100])
def test_every_example_comes_to_every_position_equally_often(num_examples):
    """χ² of the N×N table of counts over 4,000 keys, against its mean and deviation."""
    keys = jax.random.split(jax.random.key(0), 4000)
    orders = jax.jit(jax.vmap(lambda key: shuffle(key, jnp.arange(num_examples), num_examples)))(
        keys
    )
    counts = np.zeros((num_examples, num_examples))
    for position in range(num_examples):
        counts[position] = np.bincount(np.asarray(orders[:, position]), minlength=num_examples)
    expected = len(keys) / num_examples
    chi_squared = np.square(counts - expected).sum() / expected
    degrees = (num_examples - 1) ** 2
    assert abs(chi_squared - degrees) < 5 * np.sqrt(2 * degrees)


def test_adjacent_examples_are_separated():
    """How far an example's successor lies: as for a uniform order, a third of N on average."""
    num = 10_000
    order = np.asarray(shuffle(jax.random.key(0), jnp.arange(num), num))
    steps = np.abs(np.diff(order)) / num
    # of two independent uniforms: mean 1/3, variance 1/18
    assert steps.mean() == pytest.approx(1 / 3, abs=5 * np.sqrt(1 / 18 / num))
    assert np.abs(np.corrcoef(order[:-1], order[1:])[0, 1]) < 5 / np.sqrt(num)
