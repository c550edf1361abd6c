"""Values that are missing: bounds of the observed ones, mechanisms, imputations."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from flax import linen as nn
from properties import initial

from vae_jax import (
    exported,
    fit,
    likelihoods,
    losses,
    make_model,
    mechanisms,
    networks,
    objectives,
    rates,
    uses,
)
from vae_jax.errors import UsageError
from vae_jax.mechanisms import Mechanism
from vae_jax.model import Model
from vae_jax.objectives import not_miwae
from vae_jax.uses import CELLS, Engine

B, D, L, K = 5, 3, 2, 4
X = np.random.default_rng(0).normal(size=(B, D)).astype("f4")
X[[0, 1, 1, 3], [2, 0, 1, 2]] = np.nan
SEEN = ~np.isnan(X)
BATCH = {"x": jnp.array(X), "mask": jnp.ones(B)}
KEY = jax.random.key(3)


def model_of(likelihood=None, mechanism=None):
    encoder, decoder = networks.build("mlp", shape=(D,), latent_dim=L, widths=(4,))
    likelihood = likelihood or likelihoods.Gaussian(has_missing=True)
    return Model(encoder, decoder, likelihood, (D,), L, mechanism=mechanism)


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


# --- The bound of what is observed


def test_miwae_of_missing_data_is_the_bound_of_iwae():
    """log 1/K Σ_k p(x_o|z_k) p(z_k) / q(z_k|x_o), each density of observed numbers by hand."""
    model = model_of(likelihoods.StudentT("learned", degrees=3.0, has_missing=True))
    params = initial(model)

    @jax.jit
    def parts(params):
        posterior = model.encode(params, BATCH["x"])
        z, _ = rates.draw(posterior, KEY, K)
        outputs = model.decode(params, z.reshape(-1, L)).reshape(K, B, D)
        loss, _ = objectives.load("iwae")(model, params, BATCH, KEY, num_samples=K)
        return loss, z, outputs, posterior.mean, posterior.deviation

    loss, z, outputs, mean, deviation = parts(params)
    scale = np.exp(0.5 * params["likelihood"]["logvar"])
    of_x = scipy.stats.t.logpdf(X, 3.0, outputs, scale)
    log_weights = (
        np.where(SEEN, of_x, 0.0).sum(axis=2)
        + scipy.stats.norm.logpdf(z).sum(axis=2)
        - scipy.stats.norm.logpdf(z, mean, deviation).sum(axis=2)
    )
    expected = -np.log(np.mean(np.exp(log_weights), axis=0))
    np.testing.assert_allclose(loss, expected, rtol=1e-5)


def test_the_encoder_reads_zeros_and_which_values_are_observed():
    """So the paper's encoder, which reads zeros alone, is ours without weights of the second."""
    model = model_of()
    params = initial(model)
    kernel = params["encoder"]["hidden_0"]["kernel"]
    assert kernel.shape == (2 * D, 4)
    params["encoder"]["hidden_0"]["kernel"] = kernel.at[D:].set(0.0)
    of_zeros = np.nan_to_num(X)
    encode = jax.jit(lambda x: model.encode(params, x).mean)
    both = [encode(x) for x in (X, of_zeros)]
    np.testing.assert_array_equal(*both)
    told = np.concatenate([of_zeros, SEEN], axis=1)
    np.testing.assert_array_equal(model.likelihood.read(jnp.array(X)), told)


# --- Mechanisms


WEIGHT, BIAS = np.array([1.0, -2.0, 0.5]), np.array([0.1, 0.2, -0.3])


def test_a_mechanism_is_a_logistic_regression_of_each_value():
    """Σ log p over values, of numbers by hand; three kinds."""
    whole = np.nan_to_num(X, nan=0.7)
    matrix = np.arange(9.0).reshape(3, 3) / 9
    likelihood = likelihoods.Gaussian(has_missing=True)
    for kind, weight, logits in (
        ("self_masking", WEIGHT, whole * WEIGHT),
        ("self_masking_known", WEIGHT, whole * np.log1p(np.exp(WEIGHT))),
        ("linear", matrix, whole @ matrix),
    ):
        params = {"weight": jnp.array(weight), "bias": jnp.array(BIAS)}
        chance = sigmoid(logits + BIAS)
        expected = np.log(np.where(SEEN, 1 - chance, chance)).sum(axis=1)
        found = Mechanism(kind).log_prob(params, likelihood, jnp.array(whole), jnp.array(SEEN))
        np.testing.assert_allclose(found, expected, rtol=1e-5)
        shapes = jax.tree.map(jnp.shape, Mechanism(kind).init(likelihood, (D,)))
        assert shapes == jax.tree.map(np.shape, params)
    start = Mechanism("self_masking_known").init(likelihood, (D,))["weight"]
    np.testing.assert_allclose(jax.nn.softplus(start), 0.1, rtol=1e-5)


def test_numbers_of_one_value_are_missing_together():
    """A category of three levels beside a positive number, whose logarithm counts."""
    likelihood = likelihoods.Mixed(("one_hot", "log_normal"), (3, 1), has_missing=True)
    mechanism = Mechanism()
    params = mechanism.init(likelihood, (4,))
    assert params["bias"].shape == (2,)
    params = {"weight": jnp.array([1.0, 2.0, 3.0, 4.0]), "bias": jnp.array([0.5, -0.5])}
    x = jnp.array([[0.0, 1.0, 0.0, math.e]])
    seen = likelihood.observed(jnp.array([[0.0, 1.0, 0.0, jnp.nan]]))
    found = mechanism.log_prob(params, likelihood, x, seen)
    np.testing.assert_allclose(found, np.log([sigmoid(-2.5) * sigmoid(3.5)]), rtol=1e-5)
    assert not likelihood.has_path


@pytest.mark.parametrize(
    ("kind", "likelihood"),
    [("linear", None), ("self_masking", likelihoods.Bernoulli(has_missing=True))],
)
def test_a_mechanism_that_ignores_x_adds_its_own_probability(kind, likelihood):
    """Completely at random: the bound is that of missing_iwae and log p(s), draw by draw."""
    model = model_of(likelihood, Mechanism(kind))
    params = initial(model)
    params["mechanism"]["bias"] = jnp.array(BIAS)
    batch = BATCH if likelihood is None else {**BATCH, "x": jnp.round(jax.nn.sigmoid(BATCH["x"]))}
    both = (not_miwae.loss, objectives.load("iwae"))
    found = jax.jit(lambda *given: [each(model, *given, KEY, num_samples=K) for each in both])
    (loss, aux), (of_iwae, terms) = found(params, batch)
    chance = sigmoid(BIAS)
    log_mechanism = np.log(np.where(SEEN, 1 - chance, chance)).sum(axis=1)
    np.testing.assert_allclose(loss, of_iwae - log_mechanism, rtol=1e-5)
    np.testing.assert_allclose(aux["missingness"], -log_mechanism, rtol=1e-5)
    np.testing.assert_allclose(aux["elbo"], terms["elbo"], rtol=1e-6)


def test_the_gradient_through_discrete_draws_is_unbiased():
    """Of all pairs of draws, weighted by their probabilities; and so with one draw."""
    of_value = jnp.array([-1.0, 0.7])  # log w of the two values of x

    def expected_bound(logit, num):
        log_p = jax.nn.log_sigmoid(jnp.array([-logit, logit]))
        return sum(
            jnp.exp(log_p[jnp.array(draws)].sum())
            * losses.importance_weighted_bound(of_value[jnp.array(draws)][:, None])[0]
            for draws in itertools.product((0, 1), repeat=num)
        )

    def estimate(logit, draws):
        log_p = jax.nn.log_sigmoid(jnp.array([-logit, logit]))[draws][:, None]
        log_weights = of_value[draws][:, None]
        bound = losses.importance_weighted_bound(log_weights)
        return not_miwae._by_score(log_weights, bound, log_p)[0]

    estimates = jax.jit(jax.value_and_grad(estimate))
    for num in (1, 2):
        total = 0.0
        for draws in itertools.product((0, 1), repeat=num):
            draws = jnp.array(draws)
            chance = jnp.exp(jax.nn.log_sigmoid(jnp.array([-0.4, 0.4]))[draws].sum())
            value, own = estimates(0.4, draws)
            assert value == 0.0
            total += chance * own
        slope = jax.jit(jax.grad(expected_bound), static_argnums=1)(0.4, num)
        np.testing.assert_allclose(total, slope, rtol=1e-5)


@pytest.mark.parametrize(
    "likelihood", [likelihoods.Gaussian(has_missing=True), likelihoods.Bernoulli(has_missing=True)]
)
def test_the_decoder_learns_from_what_is_missing(likelihood):
    """A number that is always missing has no gradient in IWAE, and one here, if p(s|x) reads it."""
    model = model_of(likelihood, Mechanism())
    params = initial(model)
    params["mechanism"]["weight"] = jnp.array([0.0, 0.0, 2.0])
    x = jnp.where(jnp.arange(D) == 2, jnp.nan, jnp.ones((B, D)))

    def gradient(loss):
        @jax.jit
        @jax.grad
        def of_mean(params):
            batch = {"x": x, "mask": jnp.ones(B)}
            return loss(model, params, batch, KEY, num_samples=K)[0].mean()

        return np.asarray(of_mean(params)["decoder"]["output"]["bias"])

    assert gradient(objectives.load("iwae"))[2] == 0.0
    assert gradient(not_miwae.loss)[2] < 0.0  # higher values are likelier to be missing


# --- Imputation, of x = w z + b + noise of variance s: one latent dimension, two numbers


class Standard(nn.Module):
    """q(z|x) = N(0, 1), whatever x: the weights have all to do."""

    @nn.compact
    def __call__(self, x):
        return (jnp.zeros((len(x), 1)),) * 2


class Linear(nn.Module):
    @nn.compact
    def __call__(self, z):
        return nn.Dense(2, name="latent")(z)


W, C, S = np.array([1.5, -2.0]), np.array([0.5, 1.0]), 0.3
FACTOR = Model(Standard(), Linear(), likelihoods.Gaussian(S), (2,), 1)
FACTOR_PARAMS = {
    "encoder": {},
    "decoder": {"latent": {"kernel": jnp.array(W[None], "f4"), "bias": jnp.array(C, "f4")}},
    "likelihood": {},
}


def test_draws_cover_what_is_missing():
    """Their central 80 % contain 80 % of the truth, and they have the exact quantiles."""
    rng = np.random.default_rng(0)
    num = 300
    rows = rng.normal(size=(num, 1)) * W + C + math.sqrt(S) * rng.normal(size=(num, 2))
    holes = np.stack([rows[:, 0], np.full(num, np.nan)], axis=1).astype("f4")
    use = uses.Impute(num_draws=400, num_samples=1000)
    drawn = Engine(use, FACTOR, FACTOR_PARAMS)(holes)[CELLS][:, :, 1]
    gain = W[0] * W[1] / (W[0] ** 2 + S)
    mean = C[1] + gain * (rows[:, :1] - C[0])
    deviation = math.sqrt(W[1] ** 2 + S - gain * W[0] * W[1])
    # each draw's place in the exact conditional is uniform
    places = 0.5 * (1 + np.vectorize(math.erf)((drawn - mean) / (deviation * math.sqrt(2))))
    np.testing.assert_allclose(
        np.quantile(places, [0.1, 0.5, 0.9], axis=1).mean(axis=1), [0.1, 0.5, 0.9], atol=0.01
    )
    low, high = np.quantile(drawn, [0.1, 0.9], axis=1)
    covered = np.mean((low < rows[:, 1]) & (rows[:, 1] < high))
    assert abs(covered - 0.8) < 3 * math.sqrt(0.8 * 0.2 / num)


def test_imputation_counts_why_values_are_missing():
    """E[x_2 | x_1, s_2 = 0] and the second moment, by quadrature of p(x_2|x_1) σ(a x_2 + b)."""
    model = FACTOR.replace(mechanism=Mechanism())
    params = {
        **FACTOR_PARAMS,
        "mechanism": {"weight": jnp.array([0.0, 2.0]), "bias": jnp.array([0.0, -3.0])},
    }
    gain = W[0] * W[1] / (W[0] ** 2 + S)
    mean, variance = C[1] + gain * (0.2 - C[0]), W[1] ** 2 + S - gain * W[0] * W[1]
    grid = np.linspace(-10, 10, 4001)
    density = np.exp(-0.5 * (grid - mean) ** 2 / variance) * sigmoid(2 * grid - 3)
    expected = (density * grid).sum() / density.sum()
    x = np.array([[0.2, np.nan]], "f4")
    single = Engine(uses.Impute(num_samples=40_000), model, params)(x)[CELLS]
    assert expected > mean + 0.2
    np.testing.assert_allclose(single[0, 1], expected, atol=0.05)
    use = uses.Impute(num_samples=40_000, num_draws=20_000)
    drawn = Engine(use, model, params)(x)[CELLS][0]
    np.testing.assert_array_equal(drawn[:, 0], x[0, 0])
    np.testing.assert_allclose(drawn[:, 1].mean(), expected, atol=0.05)
    second = (density * grid**2).sum() / density.sum()
    np.testing.assert_allclose(np.square(drawn[:, 1]).mean(), second, rtol=0.05)


def test_a_file_holds_the_mechanism(tmp_path):
    model = make_model(
        (D,),
        objective="not_miwae",
        mechanism="linear",
        likelihood=likelihoods.Gaussian(has_missing=True),
        latent_dim=L,
        widths=(4,),
    )
    params = model.init(jax.random.key(0))
    params["mechanism"]["weight"] += 0.5
    exported.save(tmp_path / "a.safetensors", model, params)
    again, held = exported.load(tmp_path / "a.safetensors")
    assert again.mechanism == Mechanism("linear")
    jax.tree.map(np.testing.assert_array_equal, params, held)


def test_a_mechanism_fits_the_objective_or_is_refused():
    plain, own = model_of(), model_of(mechanism=Mechanism("linear"))
    for objective, model, settings, message in (
        ("not_miwae", plain, {}, "learns Mechanism.self_masking., the model has none: make it"),
        ("not_miwae", own, {}, "learns Mechanism.self_masking., the model has Mechanism.linear."),
        ("iwae", own, {}, "iwae learns no missing mechanism, the model has Mechanism.linear."),
    ):
        with pytest.raises(UsageError, match=message):
            fit(objective, model, X, epochs=1, progress=False, **settings)
    with pytest.raises(UsageError, match="mechanism 'self_mask' is unknown"):
        Mechanism("self_mask")
    assert objectives.hyperparameters("not_miwae")["mechanism"].choices == mechanisms.KINDS


@pytest.mark.slow
def test_a_model_of_what_is_missing_finds_the_mean():
    """Half of the numbers go missing if they are high: IWAE's mean is that of the observed ones."""
    rng = np.random.default_rng(1)
    rows = rng.normal(size=(1000, 1)) @ rng.normal(size=(1, 4)) + 0.5 * rng.normal(size=(1000, 4))
    rows = (rows / rows.std(axis=0)).astype("f4")
    hidden = (rows[:, :2] > 0) & (rng.random((1000, 2)) < 0.9)
    holes = rows.copy()
    holes[:, :2][hidden] = np.nan
    errors = {}
    for objective, chosen in (
        ("missing_iwae", {}),
        ("not_miwae", {"mechanism": "self_masking_known"}),
    ):
        model = make_model(
            (4,),
            objective=objective,
            likelihood=likelihoods.Gaussian(has_missing=True),
            latent_dim=1,
            network="linear",
            **chosen,
        )
        settings = {"epochs": 300, "learning_rate": 0.01, "num_samples": 20, "progress": False}
        trained = fit(objective, model, holes, **settings, **chosen)
        filled = trained.impute(holes, num_samples=500)
        errors[objective] = np.sqrt(np.mean((filled - rows)[:, :2][hidden] ** 2))
    assert errors["not_miwae"] < 0.8 * errors["missing_iwae"], errors
