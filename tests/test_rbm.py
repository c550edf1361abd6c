"""Restricted Boltzmann machines so small that every state is counted."""

import functools
import itertools

import jax
import jax.numpy as jnp
import keys
import numpy as np
import optax
import pytest
import scipy.special

from vae_jax import rbm
from vae_jax.errors import UsageError

V, H = 4, 3
STATES = {"bernoulli": (0.0, 1.0), "spin": (-1.0, 1.0)}


def machine(scale=1.0):
    draw = np.random.default_rng(0).normal
    return tuple(draw(0, scale, shape).astype(np.float32) for shape in ((V, H), (V,), (H,)))


def every(num, units):
    """All states of so many units, [2^num, num]."""
    return np.float32(list(itertools.product(STATES[units], repeat=num)))


@functools.partial(jax.jit, static_argnames=("visible", "hidden"))
def log_prob(machine, v, visible="bernoulli", hidden="bernoulli"):
    """log p(v) [B], all visible states counted."""
    states = -rbm.free_energy(every(V, visible), *machine, hidden=hidden)
    return -rbm.free_energy(v, *machine, hidden=hidden) - jax.nn.logsumexp(states)


chain = jax.jit(rbm.gibbs_chain, static_argnames=("num_steps", "visible", "hidden"))
energy_of = jax.jit(rbm.free_energy, static_argnames="hidden")


@pytest.mark.parametrize("hidden", STATES)
def test_free_energy_is_the_sum_over_all_hidden_states(hidden):
    kernel, a, b = machine()
    v = np.random.default_rng(1).random((5, V), np.float32)
    h = every(H, hidden)
    energy = -(v @ a)[:, None] - (h @ b)[None] - v @ kernel @ h.T  # [5, 2^H]
    want = -scipy.special.logsumexp(-energy, axis=1)
    np.testing.assert_allclose(energy_of(v, kernel, a, b, hidden=hidden), want, atol=1e-5)


def test_free_energy_of_gaussian_units_is_the_integral():
    kernel, a, b = machine()
    v = np.random.default_rng(1).random((5, V), np.float32)
    kernel, b = kernel[:, :1], b[:1]
    h = np.linspace(-15, 15, 4001)
    eta = np.asarray(v @ kernel)[:, 0] + b[0]
    density = np.exp(eta[:, None] * h[None] - 0.5 * np.square(h)[None])
    want = -np.asarray(v @ a) - np.log(np.trapezoid(density, h, axis=1))
    found = energy_of(v, kernel, a, b, hidden="gaussian")
    np.testing.assert_allclose(found, want, rtol=1e-4)


@pytest.mark.parametrize("units", rbm.UNITS)
def test_the_mean_is_the_slope_of_the_partition_and_that_of_the_draws(units):
    unit = rbm.UNITS[units]
    eta = jnp.array([-2.0, -0.3, 0.0, 0.7, 3.0, 50.0, -50.0])

    @jax.jit
    def facts(key):
        draws = jax.vmap(lambda own: unit.sample(own, eta))(jax.random.split(key, 4000))
        return jax.vmap(jax.grad(unit.log_partition))(eta), unit.mean(eta), draws

    slope, mean, draws = map(np.asarray, facts(keys.quick(0)))
    np.testing.assert_allclose(slope, mean, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(draws.mean(axis=0), mean, atol=0.08)
    if units in STATES:
        assert set(np.unique(draws)) <= set(STATES[units])


@pytest.mark.parametrize(("visible", "hidden"), [("bernoulli", "bernoulli"), ("spin", "spin")])
def test_a_long_chain_has_the_machines_own_mean(visible, hidden):
    own = machine(0.5)
    states = every(V, visible)
    want = np.exp(np.asarray(log_prob(own, states, visible, hidden))) @ states
    start = np.zeros((20_000, V), np.float32)
    options = {"visible": visible, "hidden": hidden}
    v = chain(keys.quick(2), start, *own, num_steps=30, **options)
    np.testing.assert_allclose(np.asarray(v).mean(axis=0), want, atol=0.02)


@pytest.mark.parametrize("num_steps", [1, 2, 3])
def test_a_short_chain_has_the_mean_of_so_many_steps_from_where_it_starts(num_steps):
    """All paths counted: p(h|v) and p(v|h) as matrices, the start far from the machine's mean."""
    kernel, a, b = machine(2.0)
    below, above = every(V, "bernoulli"), every(H, "bernoulli")
    joint = (below @ kernel @ above.T) + (below @ a)[:, None] + (above @ b)[None]  # [2^V, 2^H]
    up, down = (scipy.special.softmax(each, axis=1) for each in (joint, joint.T))
    start, num = 9, 20_000
    path = np.linalg.matrix_power(up @ down, num_steps)[start]
    v = np.tile(below[start], (num, 1))
    drawn = chain(keys.quick(2), v, kernel, a, b, num_steps=num_steps)
    mean = np.asarray(drawn).mean(axis=0)
    np.testing.assert_allclose(mean, path @ below, atol=5 * 0.5 / np.sqrt(num))


@pytest.mark.parametrize("hidden", rbm.UNITS)
@pytest.mark.parametrize("num_steps", [1, 3])
def test_the_gradient_is_the_difference_of_correlations(hidden, num_steps):
    own, key = machine(), keys.quick(3)
    v = np.float32(np.random.default_rng(1).random((6, V)) < 0.5)
    options = {"num_steps": num_steps, "hidden": hidden}

    @jax.jit
    def facts(own):
        def mean(own):
            return rbm.contrastive_divergence(key, v, *own, **options).mean()

        v_k = rbm.gibbs_chain(key, v, *own, **options)
        means = [rbm.UNITS[hidden].mean(each @ own[0] + own[2][None]) for each in (v, v_k)]
        return jax.grad(mean)(own), v_k, means

    found, v_k, (h, h_k) = jax.device_get(facts(own))
    want = (
        -(v.T @ h - v_k.T @ h_k) / len(v),
        -(v - v_k).mean(axis=0),
        -(h - h_k).mean(axis=0),
    )
    for a, b in zip(found, want, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


def test_with_the_machines_own_draws_it_is_the_gradient_of_the_likelihood():
    """∂ −log p(v) = ∂F(v) − E_p[∂F]: what the chain stands for."""
    own = machine()
    v, states = np.float32([[1.0, 0.0, 1.0, 1.0]]), every(V, "bernoulli")

    @jax.jit
    def slopes(own):
        p = jax.lax.stop_gradient(jnp.exp(log_prob(own, states)))
        functions = (
            lambda own: -log_prob(own, v)[0],
            lambda own: rbm.free_energy(v, *own)[0],
            lambda own: p @ rbm.free_energy(states, *own),
        )
        return [jax.grad(function)(own) for function in functions]

    exact, of_data, of_model = slopes(own)
    for want, plus, minus in zip(exact, of_data, of_model, strict=True):
        np.testing.assert_allclose(plus - minus, want, atol=1e-5)


@pytest.mark.parametrize("hidden", rbm.UNITS)
def test_the_likelihood_rises_under_contrastive_divergence(hidden):
    v = np.float32([[1, 1, 0, 0], [0, 0, 1, 1], [1, 1, 1, 1]] * 10)
    optimizer = optax.sgd(0.1)

    @jax.jit
    def train(own):
        def step(i, carried):
            own, state = carried

            def mean(own):
                key = jax.random.fold_in(keys.quick(4), i)
                return rbm.contrastive_divergence(key, v, *own, hidden=hidden).mean()

            updates, state = optimizer.update(jax.grad(mean)(own), state)
            return optax.apply_updates(own, updates), state

        return jax.lax.fori_loop(0, 500, step, (own, optimizer.init(own)))[0]

    own = machine(0.01)
    before, after = (log_prob(each, v, hidden=hidden).mean() for each in (own, train(own)))
    assert abs(float(before) + V * np.log(2)) < 0.05
    # three patterns alike have −log 3
    assert before + 0.8 < after < -np.log(3)


def test_unknown_units_are_refused():
    with pytest.raises(UsageError, match="did you mean spin"):
        rbm.free_energy(jnp.zeros((1, V)), *machine(), hidden="spins")
