"""Bounds on log p(x): what each is at its limits, and gradients against what they estimate."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from properties import initial

from vae_jax import distributions, likelihoods, losses, networks, objectives
from vae_jax.errors import UsageError
from vae_jax.model import Model
from vae_jax.objectives import _importance

SHAPE = (4, 4, 1)
B, L = 6, 3


@pytest.fixture(scope="module")
def setting():
    """A model whose posterior is far from exact."""
    encoder, decoder = networks.build("mlp", shape=SHAPE, latent_dim=L, widths=(16,))
    model = Model(encoder, decoder, likelihoods.Bernoulli(), SHAPE, L)
    params = jax.tree.map(lambda p: 2 * np.asarray(p), initial(model))
    x = np.random.default_rng(1).binomial(1, 0.3, (B, *SHAPE)).astype(np.float32)
    return model, params, {"x": x, "mask": np.ones(B, np.float32)}, jax.random.key(2)


def value_and_grad(name, setting, key=None, **settings):
    """The mean loss [], and its gradient."""
    model, params, batch, own_key = setting
    key = own_key if key is None else key

    def mean_loss(params):
        return objectives.load(name)(model, params, batch, key, **settings)[0].mean()

    return jax.jit(jax.value_and_grad(mean_loss))(params)


def assert_close(first, second, **tolerances):
    tolerances = {"rtol": 1e-4, "atol": 1e-6, **tolerances}
    jax.tree.map(functools.partial(np.testing.assert_allclose, **tolerances), first, second)


@jax.jit
def flat(tree):
    return jnp.concatenate([leaf.reshape(-1) for leaf in jax.tree.leaves(tree)])


def encoder_gradients(name, setting, num_draws=3000, **settings):
    """Gradients in the encoder under many keys, [num_draws, P]."""

    @jax.jit
    def all_draws(key):
        def draw(key):
            return flat(value_and_grad(name, setting, key, **settings)[1]["encoder"])

        return jax.lax.map(draw, jax.random.split(key, num_draws), batch_size=50)

    return np.asarray(all_draws(jax.random.key(7)))


@pytest.mark.parametrize(
    ("name", "settings", "same", "settings_of_same"),
    [
        ("miwae", {"num_bounds": 1, "num_samples": 6}, "iwae", {"num_samples": 6}),
        ("ciwae", {"beta": 0.0, "num_samples": 6}, "iwae", {"num_samples": 6}),
        ("piwae", {"num_bounds": 1, "num_samples": 6}, "iwae", {"num_samples": 6}),
        ("renyi", {"alpha": 0.0, "num_samples": 6}, "iwae", {"num_samples": 6}),
        ("ciwae", {"beta": 1.0, "num_samples": 6}, "renyi", {"alpha": 1.0, "num_samples": 6}),
        ("ciwae", {"beta": 1.0, "num_samples": 6}, "miwae", {"num_bounds": 6, "num_samples": 1}),
        ("dreg", {"num_samples": 1}, "stl", {"num_samples": 1}),
    ],
)
def test_limits_are_other_objectives(name, settings, same, settings_of_same, setting):
    """With the same draws: value and gradient."""
    first = value_and_grad(name, setting, **settings)
    assert_close(first, value_and_grad(same, setting, **settings_of_same))


@pytest.mark.parametrize("name", ["dreg", "stl"])
def test_another_gradient_of_the_same_value(name, setting):
    """The decoder's gradient is the same too; the encoder's is another."""
    same = ("iwae", {}) if name == "dreg" else ("ciwae", {"beta": 1.0})
    value, grads = value_and_grad(name, setting, num_samples=6)
    expected, expected_grads = value_and_grad(same[0], setting, num_samples=6, **same[1])
    assert_close(value, expected)
    assert_close(grads["decoder"], expected_grads["decoder"])
    difference = np.subtract(*map(flat, (grads["encoder"], expected_grads["encoder"])))
    assert np.abs(difference).max() > 1e-3


@pytest.mark.parametrize(
    ("name", "same", "settings"),
    [("dreg", "iwae", {}), ("stl", "ciwae", {"beta": 1.0})],
)
def test_gradients_are_unbiased(name, same, settings, setting):
    """In the encoder, with the same draws; a weight that is not squared would be a bias."""
    ours = encoder_gradients(name, setting, num_samples=4)
    expected = encoder_gradients(same, setting, num_samples=4, **settings)
    assert largest_bias(ours - expected) < 5
    if name == "dreg":
        # the score left out of IWAE without a second weight in its place
        biased = encoder_gradients_without_score(setting, num_samples=4)
        assert largest_bias(biased - expected) > 10


def largest_bias(differences):
    """Of any parameter, in standard errors: differences [N, P]."""
    error = differences.std(axis=0) / len(differences) ** 0.5
    return float(np.abs(differences.mean(axis=0) / error.clip(1e-7)).max())


def encoder_gradients_without_score(setting, num_samples, num_draws=3000):
    model, params, batch, _ = setting

    def mean_loss(params, key):
        posterior = model.encode(params, batch["x"])
        z = posterior.sample(key, num_samples)
        density = jax.lax.stop_gradient(posterior)
        log_weights, _ = _importance.log_weights(model, params, density, z, batch)
        return -losses.importance_weighted_bound(log_weights).mean()

    @jax.jit
    def all_draws(params, key):
        def draw(key):
            return flat(jax.grad(mean_loss)(params, key)["encoder"])

        return jax.lax.map(draw, jax.random.split(key, num_draws), batch_size=50)

    return np.asarray(all_draws(params, jax.random.key(7)))


def test_piwae_is_iwae_for_the_decoder_and_miwae_for_the_encoder(setting):
    value, grads = value_and_grad("piwae", setting, num_bounds=3, num_samples=4)
    whole, of_whole = value_and_grad("iwae", setting, num_samples=12)
    _, of_parts = value_and_grad("miwae", setting, num_bounds=3, num_samples=4)
    assert_close(value, whole)
    assert_close(grads["decoder"], of_whole["decoder"])
    assert_close(grads["encoder"], of_parts["encoder"])
    difference = np.subtract(*map(flat, (of_whole["encoder"], of_parts["encoder"])))
    assert np.abs(difference).max() > 1e-3


# ---------------------------------------------------------------- a posterior that is exact


@pytest.fixture(scope="module")
def exact_setting():
    """A linear Gaussian model of one latent dimension with its posterior: log w = log p(x)."""
    weights = np.float32([1.0, -0.5, 0.25, 2.0])
    bias, variance = np.float32([0.5, 0.0, -1.0, 0.25]), 0.5
    encoder, decoder = networks.build("linear", shape=(4,), latent_dim=1)
    model = Model(encoder, decoder, likelihoods.Gaussian(variance), (4,), 1)
    precision = 1 + weights @ weights / variance
    readout = weights / variance / precision
    params = initial(model)
    params["encoder"] = {
        "mean": {"kernel": readout[:, None], "bias": -(readout @ bias)[None]},
        "logvar": -np.log(precision)[None],
    }
    params["decoder"] = {"latent": {"kernel": weights[None], "bias": bias}}
    params = jax.tree.map(lambda leaf: np.asarray(leaf, np.float32), params)
    x = np.random.default_rng(3).normal(size=(B, 4)).astype(np.float32)
    covariance = np.outer(weights, weights) + variance * np.eye(4)
    distance = np.float64(x) - bias
    log_prob = -0.5 * (
        np.einsum("bi,ij,bj->b", distance, np.linalg.inv(covariance), distance)
        + np.linalg.slogdet(2 * np.pi * covariance)[1]
    )
    batch = {"x": x, "mask": np.ones(B, np.float32)}
    return (model, params, batch, jax.random.key(2)), log_prob


@pytest.mark.parametrize("name", ["iwae", "miwae", "ciwae", "piwae", "dreg", "stl", "renyi", "tvo"])
def test_with_the_exact_posterior_every_bound_is_the_likelihood(name, exact_setting):
    (model, params, batch, key), log_prob = exact_setting
    loss, _ = jax.jit(objectives.load(name))(model, params, batch, key)
    np.testing.assert_allclose(loss, -log_prob, rtol=1e-5)


@pytest.mark.parametrize("name", ["dreg", "stl"])
def test_with_the_exact_posterior_the_encoder_has_no_gradient(name, exact_setting):
    """For every draw; with the score left in it is 0 in expectation only."""
    setting, _ = exact_setting
    grads = value_and_grad(name, setting, num_samples=4)[1]["encoder"]
    assert np.abs(flat(grads)).max() < 1e-4
    noisy = value_and_grad("ciwae", setting, beta=1.0, num_samples=4)[1]["encoder"]
    assert np.abs(flat(noisy)).max() > 1e-2


# ---------------------------------------------------------------- orders between bounds


def bounds_of(name, setting, num_draws=400, **settings):
    """The mean bound under many keys, [num_draws]."""
    model, params, batch, _ = setting
    objective = objectives.load(name)

    @jax.jit
    def draw(key):
        return -objective(model, params, batch, key, **settings)[0].mean()

    return jax.lax.map(draw, jax.random.split(jax.random.key(11), num_draws))


def assert_rising(values):
    """Each clearly below the next, and no further than it can be told from noise."""
    for lower, upper in itertools.pairwise(values):
        difference = upper - lower
        assert difference.mean() > 3 * difference.std() / difference.size**0.5


@pytest.mark.slow
def test_the_renyi_bound_falls_as_alpha_grows(setting):
    alphas = (2.0, 1.0, 0.9995, 0.5, 0.0)
    values = [bounds_of("renyi", setting, alpha=alpha, num_samples=8) for alpha in alphas]
    for lower, upper in itertools.pairwise(values):
        # for the same draws, whatever they are
        assert (upper >= lower - 1e-3).all()
    assert_rising([values[i] for i in (0, 1, 3, 4)])


@jax.jit
def renyi_bound_and_slopes(values, alpha):
    def total(values, alpha):
        bound = losses.renyi_bound(values, alpha)
        return bound.sum(), bound

    slopes, bound = jax.grad(total, argnums=(0, 1), has_aux=True)(values, alpha)
    return bound, slopes


@pytest.mark.parametrize("alpha", [0.9989, 0.9991, 1.0, 1.0009, 1.0011])
def test_the_renyi_bound_and_its_slopes_near_the_elbo(alpha):
    """Against float64, where the limit takes over from the formula."""
    values = np.random.default_rng(0).normal(-100, 3, (7, 5))
    order = 1 - alpha
    if order == 0:
        expected, slope = values.mean(axis=0), np.full(values.shape, 1 / 7)
    else:
        weights = np.exp(order * (values - values.max(axis=0)))
        expected = np.log(weights.mean(axis=0)) / order + values.max(axis=0)
        slope = weights / weights.sum(axis=0)
    bound, (gradient, slope_of_alpha) = renyi_bound_and_slopes(np.float32(values), alpha)
    np.testing.assert_allclose(bound, expected, atol=3e-3)
    np.testing.assert_allclose(gradient, slope, atol=1e-4)
    assert np.isfinite(slope_of_alpha)


@pytest.mark.slow
def test_the_thermodynamic_sum_rises_from_the_elbo_to_the_likelihood(setting):
    """T = 1 is the ELBO of the same draws; finer sums are larger, and stay below log p(x)."""
    of_parts = [
        bounds_of("tvo", setting, num_partitions=parts, num_samples=200) for parts in (1, 2, 5, 50)
    ]
    elbo = bounds_of("ciwae", setting, beta=1.0, num_samples=200)
    np.testing.assert_allclose(of_parts[0], elbo, rtol=1e-5)
    assert_rising([*of_parts, bounds_of("iwae", setting, num_samples=1000)])


GAUSSIANS = {"mean": np.float32(-0.5), "logvar": np.float32(0.4), "shift": np.float32(0.3)}
"""q = N(mean, e^logvar) against p(x, z) = e^shift N(z; shift, 0.5²)."""


def _gaussian_terms(params, z):
    log_posterior = distributions.gaussian_log_prob(
        z, jnp.broadcast_to(params["mean"], z.shape), params["logvar"]
    )
    center = jnp.broadcast_to(params["shift"], z.shape)
    log_joint = params["shift"] + distributions.gaussian_log_prob(z, center, jnp.log(0.25))
    return log_joint - log_posterior, log_posterior


@pytest.mark.parametrize("betas", [(0.0,), (0.0, 0.3), (0.0, 0.1, 0.5, 0.9)])
def test_the_thermodynamic_gradient_against_an_integral(betas):
    """On a path of Gaussians: E_{π_β}[log w] on a fine grid, differentiated as it stands."""
    betas = np.float32(betas)
    grid = np.linspace(-12, 12, 20001, dtype=np.float32)
    widths = np.diff([*betas, np.float32(1)])

    def integral(params):
        log_weights, log_posterior = _gaussian_terms(params, grid)
        total = 0.0
        for beta, width in zip(betas, widths, strict=True):
            density = jax.nn.softmax(log_posterior + beta * log_weights)
            total += width * jnp.sum(density * log_weights)
        return total

    def estimate(key):
        def surrogate(params):
            scale = jnp.exp(0.5 * params["logvar"])
            z = params["mean"] + scale * jax.random.normal(key, (2000, 1))
            log_weights, log_posterior = _gaussian_terms(params, jax.lax.stop_gradient(z))
            bound, surrogate = losses.thermodynamic_bound(log_weights, log_posterior, betas)
            return surrogate[0], bound[0]

        grads, bound = jax.grad(surrogate, has_aux=True)(GAUSSIANS)
        return jnp.stack([bound, *jax.tree.leaves(grads)])

    @jax.jit
    def both(key):
        value, grads = jax.value_and_grad(integral)(GAUSSIANS)
        draws = jax.lax.map(estimate, jax.random.split(key, 400))
        return draws, jnp.stack([value, *jax.tree.leaves(grads)])

    draws, expected = map(np.asarray, both(jax.random.key(5)))
    mean, error = draws.mean(axis=0), draws.std(axis=0) / 20
    # the bias of normalized weights is of order 1/K
    assert (np.abs(mean - expected) < 4 * error + 3e-3).all()


@pytest.fixture(scope="module")
def far_setting():
    """A linear Gaussian model of one latent dimension whose posterior is far from exact."""
    encoder, decoder = networks.build("linear", shape=(3,), latent_dim=1)
    model = Model(encoder, decoder, likelihoods.Gaussian(0.5), (3,), 1)
    params = initial(model)
    params["encoder"] = {
        "mean": {"kernel": np.float32([[0.3], [-0.2], [0.1]]), "bias": np.float32([1.5])},
        "logvar": np.float32([-0.5]),
    }
    params["decoder"] = {
        "latent": {"kernel": np.float32([[1.0, -0.5, 0.25]]), "bias": np.float32([0.5, 0, -1])}
    }
    x = np.random.default_rng(3).normal(size=(40, 3)).astype(np.float32)
    return model, params, {"x": x, "mask": np.ones(len(x), np.float32)}


def test_the_thermodynamic_gradient_of_one_partition_is_that_of_the_elbo(far_setting):
    """In expectation, for every K: a covariance with K below would be (K − 1)/K of it."""
    model, params, batch = far_setting

    def negative_elbo(params):
        """In closed form: ½ Σ_d w_d² s² / σ² is what the spread of z adds to −log p(x|mean)."""
        posterior = model.encode(params, batch["x"])
        distortion = model.distortion(params, posterior.mean, batch)
        squares = jnp.sum(params["decoder"]["latent"]["kernel"] ** 2)
        spread = 0.5 * squares * jnp.exp(posterior.logvar[:, 0]) / 0.5
        return jnp.mean(distortion + spread + losses.gaussian_rate(*posterior))

    def gradients(params, key):
        def mean_loss(params, num_samples):
            settings = {"num_partitions": 1, "num_samples": num_samples}
            return objectives.load("tvo")(model, params, batch, key, **settings)[0].mean()

        return [jax.grad(mean_loss)(params, num_samples) for num_samples in (2, 4, 16)]

    @jax.jit
    def both(params):
        keys = jax.random.split(jax.random.key(1), 2500)
        each = jax.lax.map(lambda key: gradients(params, key), keys, batch_size=500)
        means = jax.tree.map(lambda leaf: leaf.mean(axis=0), each)
        return means, jax.grad(negative_elbo)(params)

    means, expected = both(params)
    for found in means:
        for part in ("encoder", "decoder"):
            error = np.linalg.norm(flat(found[part]) - flat(expected[part]))
            assert error < 0.02 * np.linalg.norm(flat(expected[part]))


def masrani_gradient(log_joint, log_posterior, slopes_of_joint, slopes_of_posterior, betas):
    """The paper's estimate of ∇ Σ_t (β_{t+1} − β_t) E_{π_t}[log w] for one x, as it is printed.

    ∇ E_π[f] = E_π[∇f] + Cov_π[f, ∇ log π̃],  f = log p(x, z) − log q(z|x),
    log π̃_β = β log p(x, z) + (1 − β) log q(z|x); log densities [K], their slopes [K, P].
    """
    log_weights = log_joint - log_posterior
    slopes_of_weights = slopes_of_joint - slopes_of_posterior
    num, total = len(log_weights), 0.0
    for beta, above in zip(betas, [*betas[1:], 1.0], strict=True):
        weights = np.exp(beta * (log_weights - log_weights.max()))
        weights = weights / weights.sum()
        slopes = beta * slopes_of_joint + (1 - beta) * slopes_of_posterior
        centered = log_weights - weights @ log_weights
        covariance = num / (num - 1) * (weights * centered) @ (slopes - weights @ slopes)
        total = total + (above - beta) * (weights @ slopes_of_weights + covariance)
    return total


def test_the_thermodynamic_gradient_of_four_partitions_is_that_of_the_paper(far_setting):
    model, params, batch = far_setting
    batch, key = jax.tree.map(lambda leaf: leaf[:3], batch), jax.random.key(4)
    # at equal ratios from β_1 = 0.1 on, β_4 = 1
    betas = [0.0, 0.1, 10 ** (-2 / 3), 10 ** (-1 / 3)]

    def densities(params, num_samples):
        """log p(x, z) and log q(z|x), [K, B] each, z held."""
        posterior = model.encode(params, batch["x"])
        z = jax.lax.stop_gradient(posterior.sample(key, num_samples))
        log_joint = model.prior(params).log_prob(z) - model.distortion(params, z, batch)
        return log_joint, posterior.log_prob(z)

    @jax.jit
    def measure(params):
        def one(num_samples):
            def mean_loss(params):
                settings = {"first_beta": 0.1, "num_partitions": 4, "num_samples": num_samples}
                return objectives.load("tvo")(model, params, batch, key, **settings)[0].mean()

            def flat_slopes(tree):
                leaves = jax.tree.leaves(tree)
                return jnp.concatenate([leaf.reshape(num_samples, 3, -1) for leaf in leaves], 2)

            of_params = functools.partial(densities, num_samples=num_samples)
            slopes = [flat_slopes(tree) for tree in jax.jacfwd(of_params)(params)]
            return flat(jax.grad(mean_loss)(params)), (*of_params(params), *slopes)

        return one(2), one(10)

    for found, arrays in measure(params):
        arrays = [np.float64(each) for each in arrays]
        expected = [masrani_gradient(*(each[:, i] for each in arrays), betas) for i in range(3)]
        np.testing.assert_allclose(found, -np.mean(expected, axis=0), rtol=1e-3, atol=1e-5)


def test_one_sample_has_no_thermodynamic_gradient(far_setting):
    model, params, batch = far_setting
    told = r"^num_samples=1: must be at least 2 .*; give num_samples=2 or more, or take beta_vae$"
    with pytest.raises(UsageError, match=told):
        objectives.load("tvo")(model, params, batch, jax.random.key(0), num_samples=1)
    for name, settings in (("tvo", {"num_samples": 2}), ("beta_vae", {})):
        objective = jax.jit(functools.partial(objectives.load(name), **settings))
        loss, _ = objective(model, params, batch, jax.random.key(0))
        assert np.isfinite(loss).all()


def test_one_importance_sample_is_the_elbo(setting):
    """In expectation over z: log w = ELBO with the rate estimated by the same sample."""
    model, params, batch, _ = setting
    iwae = functools.partial(objectives.load("iwae"), num_samples=1)

    @jax.jit
    def differences(key):
        terms = jax.vmap(lambda key: iwae(model, params, batch, key)[1])(
            jax.random.split(key, 2000)
        )
        return terms["bound"] - terms["elbo"]

    found = np.asarray(differences(jax.random.key(8)))
    error = found.std(axis=0) / len(found) ** 0.5
    assert (np.abs(found.mean(axis=0)) < 5 * error).all()


@pytest.mark.slow
def test_the_importance_weighted_bound_rises_with_the_samples(setting):
    """L_1 ≤ L_4 ≤ L_32 in expectation, and more than by chance (Burda et al., theorem 1)."""
    model, params, batch, _ = setting
    keys = jax.random.split(jax.random.key(9), 300)

    def bounds(num_samples):
        def one(key):
            return objectives.load("iwae")(model, params, batch, key, num_samples=num_samples)[1]

        return jax.vmap(one)(keys)["bound"].mean(axis=1)

    values = [bounds(k) for k in (1, 4, 32)]
    for lower, upper in itertools.pairwise(values):
        difference = upper - lower
        assert difference.mean() > 3 * difference.std() / len(keys) ** 0.5


@pytest.mark.slow
def test_the_bound_is_the_estimate_of_the_likelihood(setting):
    """A bound over K samples and `evaluation.nll` with K samples have one expectation."""
    from vae_jax.evaluation import nll

    model, params, batch, _ = setting
    keys = jax.random.split(jax.random.key(10), 1500)
    iwae = objectives.load("iwae")
    ours = jax.vmap(lambda key: iwae(model, params, batch, key, num_samples=7)[0].mean())(keys)

    def estimate(key):
        found = nll.sample(
            model, params, batch["x"], key, preprocess=lambda x, key: x, num_samples=7
        )
        return found.nll.mean()

    theirs = jax.lax.map(estimate, keys[:200])
    error = jnp.hypot(ours.std() / 1500**0.5, theirs.std() / 200**0.5)
    assert jnp.abs(ours.mean() - theirs.mean()) < 4 * error
