"""Annealed importance sampling against models whose likelihood is known, from both sides."""

import subprocess
import sys

import compiling
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from properties import initial

from vae_jax import data, likelihoods, networks
from vae_jax.errors import UsageError
from vae_jax.evaluation import ais, exact, nll
from vae_jax.lab import build as building
from vae_jax.lab import config, train
from vae_jax.lab.resolved import resolve
from vae_jax.model import Model
from vae_jax.storage import members

SHAPE = (4, 4, 1)


def identity(stored, key):
    del key
    return stored


def normal(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


# ---------------------------------------------------------------- temperatures


@pytest.mark.parametrize("schedule", ais.SCHEDULES)
@pytest.mark.parametrize("number", [1, 2, 7, 1000])
def test_temperatures_rise_from_zero_to_one(schedule, number):
    betas = np.asarray(ais.temperatures(number, schedule))
    assert betas.shape == (number + 1,)
    assert (betas[0], betas[-1]) == (0, 1)
    assert np.all(np.diff(betas) > 0)
    np.testing.assert_allclose(betas + betas[::-1], 1, atol=1e-6)


def test_the_sigmoid_is_the_published_one():
    """β_t = (β'_t − β'_1)/(β'_T − β'_1), β'_t = σ(4 (2t/T − 1))."""
    raw = 1 / (1 + np.exp(-4 * (2 * np.arange(6) / 5 - 1)))
    expected = (raw - raw[0]) / (raw[-1] - raw[0])
    np.testing.assert_allclose(ais.temperatures(5), expected, atol=1e-6)


# ---------------------------------------------------------------- transitions


def gaussian(mean, root):
    """log N(mean, (root rootᵀ)⁻¹) without its constant, [..., L] to [...]."""

    def log_density(z):
        centred = z - jnp.expand_dims(jnp.float32(mean), range(z.ndim - 1))
        return -0.5 * jnp.sum(jnp.square(centred @ jnp.float32(root)), axis=-1)

    return log_density


INITIAL = gaussian(np.array([-1.0, 0.5]), np.eye(2))
ROOT = np.array([[1.5, 0.0], [1.0, 2.0]])
TARGET = gaussian(np.array([1.0, -1.0]), ROOT)


def between(beta):
    """Mean and covariance of f_β ∝ f_0^(1−β) f_1^β."""
    precision = (1 - beta) * np.eye(2) + beta * ROOT @ ROOT.T
    linear = (1 - beta) * np.array([-1.0, 0.5]) + beta * ROOT @ ROOT.T @ np.array([1.0, -1.0])
    covariance = np.linalg.inv(precision)
    return covariance @ linear, covariance


def bent(z):
    """A density that is no Gaussian, so that no step of leapfrog is linear."""
    return -jnp.log1p(jnp.sum(jnp.square(z), axis=-1)) - 0.25 * jnp.sum(z**4, axis=-1)


@jax.jit
def move(z):
    return ais.locate(INITIAL, bent, z)


leapfrog = jax.jit(ais.leapfrog, static_argnums=(0, 5))


def test_points_know_densities_and_slopes():
    z = normal(0, 3, 2, 2)
    point = move(z)
    for name, function in (("initial", INITIAL), ("target", bent)):
        np.testing.assert_allclose(getattr(point, f"log_{name}"), function(z))
        expected = jax.jit(jax.vmap(jax.vmap(jax.grad(function))))(z)
        np.testing.assert_allclose(getattr(point, f"{name}_slope"), expected, rtol=1e-6)


@pytest.mark.parametrize("num_leapfrog", [1, 2, 9])
@pytest.mark.parametrize("beta", [0.0, 0.3, 1.0])
def test_leapfrog_goes_back_the_way_it_came(num_leapfrog, beta):
    start, momentum = move(normal(0, 3, 4, 2)), normal(1, 3, 4, 2)
    step = np.broadcast_to(np.float32([0.1, 0.3]), (3, 4, 2))
    end, momentum_end = leapfrog(move, start, momentum, beta, step, num_leapfrog)
    back, reverse = leapfrog(move, end, -momentum_end, beta, step, num_leapfrog)
    assert np.max(np.abs(end.z - start.z)) > 0.1
    np.testing.assert_allclose(back.z, start.z, atol=1e-5)
    np.testing.assert_allclose(-reverse, momentum, atol=1e-5)


def test_leapfrog_keeps_volumes():
    def flow(state):
        z, momentum = state[:2].reshape(1, 1, 2), state[2:].reshape(1, 1, 2)
        step = jnp.array([0.2, 0.4]).reshape(1, 1, 2)
        end, momentum = leapfrog(move, move(z), momentum, 0.7, step, 5)
        return jnp.concatenate([end.z.ravel(), momentum.ravel()])

    derivative = np.float64(jax.jit(jax.jacfwd(flow))(normal(2, 4)))
    assert np.linalg.det(derivative) == pytest.approx(1, abs=1e-5)
    assert np.max(np.abs(derivative - np.eye(4))) > 0.1


def test_the_energy_is_kept_to_second_order():
    start, momentum = move(jnp.float32(normal(0, 1, 50, 2))), jnp.float32(normal(1, 1, 50, 2))

    def energy(point, momentum):
        return 0.5 * jnp.sum(momentum**2, axis=-1) - ais.log_density(point, 0.8)

    errors = []
    for num_leapfrog in (16, 32):
        step = jnp.full((1, 50, 2), 1.6 / num_leapfrog)
        end = leapfrog(move, start, momentum, 0.8, step, num_leapfrog)
        errors.append(np.abs(energy(*end) - energy(start, momentum)))
    assert np.median(errors[0]) / np.median(errors[1]) == pytest.approx(4, rel=0.25)


@jax.jit
def four_transitions(point, keys, beta, step):
    def one(point, index):
        return ais.transition(locate, point, keys, index, beta, step, 3)

    def locate(z):
        return ais.locate(INITIAL, TARGET, z)

    point, probability = jax.lax.scan(one, point, jnp.arange(4))
    return point, jnp.mean(probability)


@pytest.mark.parametrize("beta", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("step_size", [0.2, 0.8])
def test_transitions_leave_the_target_as_it_is(beta, step_size):
    """Exact draws of a Gaussian stay draws of it, however much is refused."""
    mean, covariance = between(beta)
    num_chains = 40_000
    z = np.random.default_rng(3).multivariate_normal(mean, covariance, num_chains)
    point = ais.locate(INITIAL, TARGET, jnp.float32(z)[:, None])
    keys = jax.random.split(jax.random.key(0), (num_chains, 1))
    step = jnp.array([[step_size, 0.7 * step_size]])

    point, acceptance = four_transitions(point, keys, jnp.float32(beta), step)
    if step_size == 0.8 and beta > 0:
        # what would be wrong without the correction
        assert 0.1 < float(acceptance) < 0.95
    end = np.float64(point.z[:, 0])
    assert np.mean(np.any(end != np.float32(z), axis=1)) > 0.5
    deviation = np.sqrt(np.diag(covariance) / num_chains)
    np.testing.assert_array_less(np.abs(end.mean(axis=0) - mean), 4.5 * deviation)
    spread = np.sqrt(2 / num_chains) * np.sqrt(np.outer(*[np.diag(covariance)] * 2))
    np.testing.assert_array_less(np.abs(np.cov(end.T) - covariance), 4.5 * spread)


def test_a_step_that_overflows_is_rejected():
    """A step that leads to infinity or to no number leaves the chain where it is."""

    def cliff(z):
        return -jnp.exp(jnp.sum(jnp.square(10 * z), axis=-1))

    z = jnp.float32(0.3 * normal(0, 8, 3, 2))
    keys = jax.random.split(jax.random.key(0), (8, 3))

    def locate(z):
        return ais.locate(INITIAL, cliff, z)

    point, probability = ais.transition(locate, locate(z), keys, 0, 1.0, jnp.full((3, 2), 1e3), 4)
    np.testing.assert_array_equal(probability, 0.0)
    np.testing.assert_array_equal(point.z, z)
    assert all(np.isfinite(value).all() for value in point)


# ---------------------------------------------------------------- chains


def posterior_problem(num_examples, variance=0.5, size=3):
    """x = Wz + b + noise: densities of B examples, exact z, x's true log p(x), in two latents."""
    weights, mean = normal(5, 2, size), normal(6, size)
    rng = np.random.default_rng(7)
    z = rng.standard_normal((num_examples, 2))
    noise = np.sqrt(variance) * rng.standard_normal((num_examples, size))
    x = jnp.float32(z @ weights + mean + noise)
    covariance = weights.T @ weights + variance * np.eye(size)
    log_p = scipy.stats.multivariate_normal(mean, covariance).logpdf(np.float64(x))

    def log_prior(z):
        return -0.5 * jnp.sum(jnp.square(z), axis=-1) - jnp.log(2 * jnp.pi)

    def log_joint(z):
        rest = x[None] - z @ weights - mean[None, None]
        constant = 0.5 * size * jnp.log(2 * jnp.pi * variance)
        return log_prior(z) - 0.5 * jnp.sum(jnp.square(rest), axis=-1) / variance - constant

    return log_prior, log_joint, jnp.float32(z), log_p


def unit(num_examples):
    return lambda beta: jnp.ones((num_examples, 2))


@pytest.mark.parametrize("direction", [1, -1])
def test_one_temperature_is_importance_sampling(direction):
    log_prior, log_joint, z, _ = posterior_problem(5)
    z = z[None] + jnp.float32(normal(0, 4, 5, 2))
    keys = jax.random.split(jax.random.key(0), 5)
    result = ais.anneal(
        log_prior,
        log_joint,
        z,
        keys,
        ais.temperatures(1)[::direction],
        jnp.zeros((0, 5)),
        unit(5),
        num_leapfrog=3,
    )
    expected = direction * (log_joint(z) - log_prior(z))
    np.testing.assert_array_equal(result.log_weights, expected)
    np.testing.assert_array_equal(result.z, z)
    assert np.isnan(result.acceptance).all()


@pytest.mark.parametrize(
    ("number", "schedule", "num_leapfrog"), [(2, "linear", 1), (9, "sigmoid", 3)]
)
def test_weights_are_unbiased_in_both_directions(number, schedule, num_leapfrog):
    """E[w] = p(x) upwards from the prior; E[1/w] = 1/p(x) downwards from exact samples.

    With the step sizes of a preliminary run, and with few steps, so that chains lag behind.
    """
    num = 20_000
    log_prior, log_joint, exact_z, log_p = posterior_problem(num, variance=3.0)
    betas = ais.temperatures(number, schedule)
    keys = [jax.random.split(jax.random.key(i), num) for i in range(3)]
    starts = [jnp.float32(normal(i, 2, num, 2)) for i in (1, 2)]

    @jax.jit
    def both():
        arguments = {"scale": unit(num), "num_leapfrog": num_leapfrog}
        steps = ais.tune(log_prior, log_joint, starts[0], keys[0], betas, **arguments)
        up = ais.anneal(log_prior, log_joint, starts[1], keys[1], betas, steps, **arguments)
        down = ais.anneal(
            log_prior, log_joint, exact_z[None], keys[2], betas[::-1], steps[::-1], **arguments
        )
        return up, down

    up, down = both()
    log_up, log_down = np.float64(up.log_weights), np.float64(down.log_weights)
    for log_ratio in (log_up - log_p, log_down + log_p):
        ratio = np.exp(log_ratio)
        standard_error = ratio.std() / ratio.size**0.5
        assert ratio.mean() == pytest.approx(1, abs=4 * standard_error)
        assert standard_error < 0.05
    # and the bounds hold: E[log w] < log p < −E[log 1/w], by many standard errors
    for gap in (log_p - log_up, -log_down - log_p):
        assert gap.mean() > 4 * gap.std() / gap.size**0.5


@pytest.mark.slow
def test_the_gap_closes_as_temperatures_grow():
    """From both sides, about as 1/T; what is known lies between."""
    num = 300
    log_prior, log_joint, exact_z, log_p = posterior_problem(num, variance=0.05)
    keys = [jax.random.split(jax.random.key(i), num) for i in range(3)]
    z = jnp.float32(normal(1, 4, num, 2))
    arguments = {"scale": unit(num), "num_leapfrog": 2}
    lower, upper = [], []
    for number in (8, 64, 512):
        betas = ais.temperatures(number)

        @jax.jit
        def both(betas=betas):
            steps = ais.tune(log_prior, log_joint, z, keys[0], betas, **arguments)
            up = ais.anneal(log_prior, log_joint, z, keys[1], betas, steps, **arguments)
            down = ais.anneal(
                log_prior, log_joint, exact_z[None], keys[2], betas[::-1], steps[::-1], **arguments
            )
            return up.log_weights, down.log_weights

        up, down = map(np.float64, both())
        lower.append(np.mean(log_p - up))
        upper.append(np.mean(-down[0] - log_p))
    assert lower == sorted(lower, reverse=True)
    assert upper == sorted(upper, reverse=True)
    assert 0 < lower[-1] < 0.15
    assert 0 < upper[-1] < 0.15
    assert lower[0] > 1
    assert 4 < lower[1] / lower[2] < 16


@pytest.mark.parametrize(("slope", "acceptance"), [(0.0, 1.0), (1e4, 0.0)])
def test_steps_grow_where_more_is_accepted_than_aimed_at_and_shrink_where_less_is(
    slope, acceptance
):
    """Where all is accepted, or nothing, each step has one ratio to the one before."""
    z, keys = jnp.zeros((2, 3, 2)), jax.random.split(jax.random.key(0), 3)

    def log_density(z):
        return -slope * jnp.sum(jnp.square(z), axis=-1)

    options = {"scale": unit(3), "num_leapfrog": 1}
    steps = ais.tune(log_density, log_density, z, keys, ais.temperatures(5), **options)
    ratio = np.exp(ais._GAIN * (acceptance - ais.TARGET_ACCEPTANCE))
    np.testing.assert_allclose(steps[:, 0], 2**-0.25 * ratio ** np.arange(4), rtol=1e-5)


@pytest.mark.slow
def test_tuning_finds_the_acceptance_that_it_aims_at():
    num = 50
    log_prior, log_joint, _, _ = posterior_problem(num, variance=1e-3)
    betas = ais.temperatures(200)
    keys = [jax.random.split(jax.random.key(i), num) for i in range(2)]
    z = jnp.float32(normal(1, 4, num, 2))
    arguments = {"scale": unit(num), "num_leapfrog": 3}
    steps = ais.tune(log_prior, log_joint, z, keys[0], betas, **arguments)
    result = ais.anneal(log_prior, log_joint, z, keys[1], betas, steps, **arguments)
    assert steps.shape == (199, num)
    assert np.mean(result.acceptance) == pytest.approx(ais.TARGET_ACCEPTANCE, abs=0.1)
    # the posterior is narrower than the prior by about √variance
    assert np.median(steps[0]) / np.median(steps[-1]) > 10


# ---------------------------------------------------------------- linear models


def ppca(*, inflation=1.0, size=6, q=3, variance=0.4):
    """A linear model with orthogonal columns, so that its exact posterior is diagonal."""
    basis, _ = np.linalg.qr(normal(3, size, size))
    weights = basis[:, :q] * np.array([2.0, 1.2, 0.7])
    mean = normal(4, size)
    m = weights.T @ weights + variance * np.eye(q)
    gain = np.linalg.solve(m, weights.T)
    params = {
        "encoder": {
            "mean": {"kernel": gain.T, "bias": -gain @ mean},
            "logvar": np.log(inflation * variance / np.diag(m)),
        },
        "decoder": {"latent": {"kernel": weights.T, "bias": mean}},
        "likelihood": {},
    }
    encoder, decoder = networks.build("linear", shape=(size,), latent_dim=q)
    model = Model(encoder, decoder, likelihoods.Gaussian(variance), (size,), q)
    covariance = weights @ weights.T + variance * np.eye(size)
    density = scipy.stats.multivariate_normal(mean, covariance)
    return model, jax.tree.map(jnp.float32, params), density


def estimate(model, params, x, key=2, preprocess=identity, **settings):
    settings = {"num_chains": 4, "num_temperatures": 6, **settings}
    return ais.sample(model, params, x, jax.random.key(key), preprocess=preprocess, **settings)


def test_with_the_exact_posterior_all_weights_are_equal():
    """f_0 ∝ f_1: every path gives p(x), from above and from below."""
    model, params, density = ppca()
    x = density.rvs(5, random_state=0)
    for number in (1, 9):
        result = estimate(model, params, jnp.float32(x), num_temperatures=number)
        np.testing.assert_allclose(result.nll, -density.logpdf(x), rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(result.effective_samples, 4, rtol=1e-4)
    bounds = ais.sandwich(model, params, jax.random.key(1), num_examples=5, num_temperatures=9)
    _, x = ais.simulate(model, params, jax.random.key(1), num_examples=5)
    expected = density.logpdf(np.float64(x))
    for value in (bounds.lower, bounds.upper, bounds.joint_upper):
        np.testing.assert_allclose(value, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(("initial", "num_chains"), [("posterior", 1), ("prior", 5)])
def test_bounds_hold_what_is_known_between_them(initial, num_chains):
    """lower ≤ log p(x) ≤ upper in expectation: not violated by 4 standard errors, and not loose.

    With several chains the joint bound is the nearer one.
    """
    model, params, density = ppca(inflation=3.0)
    settings = {"num_examples": 2000, "num_chains": num_chains, "num_rows": 10**4}
    bounds = ais.sandwich(
        model, params, jax.random.key(1), num_temperatures=8, initial=initial, **settings
    )
    _, x = ais.simulate(model, params, jax.random.key(1), num_examples=2000)
    log_p = density.logpdf(np.float64(x))
    below, above, joint = (
        np.float64(difference)
        for difference in (log_p - bounds.lower, bounds.upper - log_p, bounds.joint_upper - log_p)
    )
    for gap in (below, above, joint):
        assert gap.mean() > -4 * gap.std() / gap.size**0.5
        assert gap.mean() < 3
    if num_chains == 1:
        np.testing.assert_allclose(bounds.joint_upper, bounds.upper, rtol=1e-5, atol=1e-5)
        # one weight is a bound by itself, and it is strict
        assert below.mean() > 4 * below.std() / below.size**0.5
        assert above.mean() > 4 * above.std() / above.size**0.5
    else:
        assert joint.std() < above.std()


@pytest.mark.slow
def test_one_temperature_is_importance_sampling_from_the_model():
    """From q(z|x), the estimate of `nll.sample` in distribution; from p(z), of its own draws."""
    model, params, density = ppca(inflation=3.0)
    x = jnp.float32(density.rvs(4000, random_state=0))
    settings = {"num_chains": 8, "num_temperatures": 1, "num_rows": 10**5}
    ours = np.float64(estimate(model, params, x, **settings).nll)
    theirs = nll.sample(model, params, x, jax.random.key(7), preprocess=identity, num_samples=8)
    difference = ours - np.float64(theirs.nll)
    assert difference.mean() == pytest.approx(0, abs=4 * difference.std() / 4000**0.5)
    x, key = x[:3], jax.random.key(2)
    ours = estimate(model, params, x, initial="prior", **settings)
    for i in range(3):
        draw_key = jax.random.split(jax.random.split(jax.random.fold_in(key, i))[1], 4)[0]
        # the first ones are for tuning
        z = model.prior(params).sample(draw_key, ais.TUNING_CHAINS + 8)[ais.TUNING_CHAINS :]
        batch = {"x": jnp.broadcast_to(x[i], (8, 6)), "mask": jnp.ones(8)}
        log_prob = -np.float64(model.distortion(params, z, batch))
        expected = np.logaddexp.reduce(log_prob) - np.log(8)
        assert -float(ours.nll[i]) == pytest.approx(expected, rel=1e-5)


@pytest.mark.slow
def test_against_quadrature():
    """A Bernoulli decoder of two latents, with an encoder that knows nothing."""
    model, params = make(latent_dim=2)
    x = binary(20)
    known = exact.quadrature(model, params, x, jax.random.key(0), preprocess=identity)
    result = estimate(model, params, x, num_temperatures=60, num_chains=32)
    # a standard deviation of log p̂ is √(1/ESS − 1/C)
    tolerance = 5 / np.sqrt(np.asarray(result.effective_samples))
    np.testing.assert_array_less(np.abs(result.nll - known.nll), tolerance)
    assert abs(float(np.mean(result.nll - known.nll))) < 0.1


# ---------------------------------------------------------------- draws and chunks


def make(likelihood=None, latent_dim=3, dtype=jnp.float32, **settings):
    likelihood = likelihood or likelihoods.Bernoulli()
    encoder, decoder = networks.build(
        "mlp",
        shape=SHAPE,
        latent_dim=latent_dim,
        num_outputs=likelihood.num_outputs,
        widths=(8,),
        dtype=dtype,
    )
    model = Model(encoder, decoder, likelihood, SHAPE, latent_dim, **settings)
    params = initial(model)
    # far enough from the prior and from each other that weights differ
    return model, jax.tree.map(lambda leaf: 2 * leaf, params)


def binary(num_examples, seed=1):
    return jax.random.bernoulli(jax.random.key(seed), 0.4, (num_examples, *SHAPE)).astype(float)


@pytest.mark.slow
def test_the_result_does_not_depend_on_how_the_work_is_cut():
    """Neither on the chunks inside a program, nor on blocks of the data, which are one program."""
    model, params = make()
    gray = jax.random.uniform(jax.random.key(1), (5, *SHAPE))

    def both(stored, key):
        return data.binarize(key, stored)

    def block(first, num):
        return ais.sample(
            model,
            params,
            gray[first : first + num],
            jax.random.key(2),
            first,
            preprocess=both,
            num_chains=4,
            num_temperatures=6,
        )

    whole = estimate(model, params, gray, preprocess=both)
    cut = estimate(model, params, gray, preprocess=both, num_rows=11)
    with compiling.names() as compiled:
        first, second = block(0, 2), block(2, 2)
    assert compiled.count("sample") == 1
    for name in ais.Likelihoods._fields:
        expected = getattr(whole, name)
        np.testing.assert_allclose(getattr(cut, name), expected, rtol=1e-3)
        np.testing.assert_allclose(getattr(first, name), expected[:2], rtol=1e-3)
        np.testing.assert_allclose(getattr(second, name), expected[2:4], rtol=1e-3)


@pytest.mark.slow
def test_bounds_do_not_depend_on_how_the_work_is_cut():
    model, params = make()
    settings = {"num_temperatures": 4, "initial": "prior"}
    bounds = ais.sandwich(model, params, jax.random.key(0), num_examples=5, **settings)
    cut = ais.sandwich(model, params, jax.random.key(0), 2, num_examples=3, num_rows=16, **settings)
    for name in ais.Bounds._fields:
        np.testing.assert_allclose(getattr(cut, name), getattr(bounds, name)[2:], rtol=1e-3)


@pytest.mark.slow
def test_draws_differ_between_examples_chains_and_keys():
    model, params = make()
    same = jnp.broadcast_to(binary(1), (5, *SHAPE))
    first, again, other = (estimate(model, params, same, key) for key in (2, 2, 3))
    np.testing.assert_array_equal(first.nll, again.nll)
    assert len({*np.asarray(first.nll).tolist(), *np.asarray(other.nll).tolist()}) == 10
    assert np.all(first.effective_samples > 1.001)
    assert np.all(first.effective_samples < 3.999)


@pytest.mark.slow
def test_a_masked_model_equals_an_unmasked_one_of_that_size():
    wide, params = make(latent_mask=jnp.array([1.0, 1.0, 0.0]))
    narrow, _ = make(latent_dim=2)
    head = params["encoder"]["head"]["posterior"]
    kept = jnp.array([0, 1, 3, 4])
    latent = params["decoder"]["latent"]
    native = {
        **params,
        "encoder": {
            **params["encoder"],
            "head": {"posterior": jax.tree.map(lambda leaf: leaf[..., kept], head)},
        },
        "decoder": {**params["decoder"], "latent": {**latent, "kernel": latent["kernel"][:2]}},
    }
    expected = estimate(narrow, native, binary(4))
    actual = estimate(wide, params, binary(4))
    for name in ais.Likelihoods._fields:
        np.testing.assert_allclose(getattr(actual, name), getattr(expected, name), rtol=1e-3)


@pytest.mark.slow
def test_runs_are_an_axis():
    model, _ = make()
    keys = jax.random.split(jax.random.key(5), 2)
    params = jax.vmap(model.init)(keys)
    x = binary(3)

    def run(params, key):
        return ais.evaluate(
            model, params, x, key, preprocess=identity, num_chains=3, num_temperatures=3
        )["nll"]

    both = jax.jit(jax.vmap(run))(params, keys)
    for r in range(2):
        alone = run(jax.tree.map(lambda leaf, r=r: leaf[r], params), keys[r])
        np.testing.assert_allclose(both[r], alone, rtol=1e-3)


# ---------------------------------------------------------------- likelihoods, summaries


@pytest.mark.slow
@pytest.mark.parametrize("scale", [1e2, 1e4])
def test_values_are_finite_at_extreme_logits(scale):
    model, params = make()
    params["decoder"] = jax.tree.map(lambda leaf: scale * leaf, params["decoder"])
    result = estimate(model, params, binary(5))
    assert all(np.isfinite(value).all() for value in result)
    bounds = ais.sandwich(
        model, params, jax.random.key(0), num_examples=5, num_temperatures=4, initial="prior"
    )
    assert all(np.isfinite(value).all() for value in bounds)


@pytest.mark.slow
@pytest.mark.parametrize(
    "likelihood",
    [
        likelihoods.Gaussian(0.3),
        likelihoods.Laplace(0.3),
        likelihoods.DiscretizedLogistic(0.1, 5),
        likelihoods.Categorical(5),
    ],
)
def test_any_likelihood_will_do(likelihood):
    """Against quadrature."""
    model, params = make(likelihood, latent_dim=2)
    _, x = ais.simulate(model, params, jax.random.key(0), num_examples=8)
    known = exact.quadrature(model, params, x, jax.random.key(1), preprocess=identity)
    # an encoder that was never trained is no place to start from
    result = estimate(
        model, params, x, num_temperatures=400, num_chains=16, initial="prior", num_rows=200
    )
    assert float(np.mean(result.nll - known.nll)) == pytest.approx(0, abs=0.3)


@pytest.mark.slow
def test_half_precision():
    model, params = make()
    half, _ = make(dtype=jnp.bfloat16)
    expected = estimate(model, params, binary(5))
    result = estimate(half, params, binary(5))
    assert result.nll.dtype == jnp.float32
    assert float(np.mean(result.nll)) == pytest.approx(float(np.mean(expected.nll)), abs=0.3)


@pytest.mark.slow
def test_summaries_weigh_examples_the_same():
    model, params = make()
    x = binary(7)
    settings = {"num_chains": 4, "num_temperatures": 3, "num_rows": 12}
    each = estimate(model, params, x, **settings)
    result = ais.evaluate(model, params, x, jax.random.key(2), preprocess=identity, **settings)
    values = np.float64(each.nll)
    assert float(result["nll"]) == pytest.approx(values.mean(), rel=1e-5)
    expected = values.std(ddof=1) / 7**0.5
    assert float(result["standard_error"]) == pytest.approx(expected, rel=1e-4)
    assert 1 <= float(result["effective_samples"]) <= 4
    assert 0 < float(result["acceptance"]) <= 1
    assert (result["num_chains"], result["num_temperatures"]) == (4, 3)
    settings["num_examples"] = 7
    bounds = ais.sandwich(model, params, jax.random.key(2), **settings)
    result = ais.evaluate_sandwich(model, params, jax.random.key(2), **settings)
    gaps = np.float64(bounds.upper) - np.float64(bounds.lower)
    assert float(result["gap"]) == pytest.approx(gaps.mean(), rel=1e-4, abs=1e-5)
    expected = gaps.std(ddof=1) / 7**0.5
    assert float(result["gap_standard_error"]) == pytest.approx(expected, rel=1e-4)
    assert result["num_examples"] == 7
    for name in ("lower", "upper", "joint_upper"):
        assert float(result[name]) == pytest.approx(float(np.mean(getattr(bounds, name))), rel=1e-5)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_chains": 0}, "num_chains=0"),
        ({"num_temperatures": 0}, "num_temperatures=0"),
        ({"num_leapfrog": 0}, "num_leapfrog=0"),
        ({"num_rows": 0}, "num_rows=0"),
        ({"initial": "posteriori"}, "initial=posteriori"),
        ({"schedule": "cubic"}, "schedule=cubic"),
    ],
)
def test_invalid_settings_are_refused(settings, message):
    model, params = make()
    with pytest.raises(UsageError, match=message):
        estimate(model, params, binary(1), **settings)
    with pytest.raises(UsageError, match=message):
        ais.sandwich(model, params, jax.random.key(0), num_examples=1, **settings)


def test_a_variance_of_each_batch_is_refused():
    model, params = make(likelihoods.Gaussian("optimal"))
    with pytest.raises(UsageError, match="freeze_likelihood"):
        estimate(model, params, binary(1))


def test_the_chains_need_neither_flax_nor_our_model():
    program = (
        "import sys; from vae_jax.evaluation import ais, exact; "
        "loaded = {'flax', 'optax', 'orbax', 'vae_jax.model'} & set(sys.modules); "
        "sys.exit(', '.join(sorted(loaded)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


# ---------------------------------------------------------------- trained models


@pytest.mark.slow
@pytest.mark.parametrize("initial", ais.INITIALS)
@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
def test_the_sandwich_closes_on_a_trained_model(tmp_path, likelihood, initial):
    """On digits, after 50 epochs with 8 latents: with the defaults, to less than half a nat."""
    values = {
        "dataset": "digits",
        "likelihood": likelihood,
        "latent_dim": "8",
        "epochs": "50",
        "workdir": str(tmp_path),
    }
    asked = config.from_flags(values)
    train.train([asked])
    dataset = train.load(asked)
    experiment = building.build(resolve([asked], dataset))
    params = jax.tree.map(lambda leaf: leaf[None], members.load_member(tmp_path, 0).params)
    model, params, _ = building.member(experiment, 0, params)
    result = ais.evaluate_sandwich(model, params, jax.random.key(2), initial=initial)
    print({name: float(value) for name, value in result.items()})
    for gap in ("gap", "joint_gap"):
        mean, standard_error = float(result[gap]), float(result[f"{gap}_standard_error"])
        assert mean < 0.5
        assert mean > -4 * standard_error
