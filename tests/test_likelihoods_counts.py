"""Likelihoods of counts, proportions and heavy tails: scipy's answers, limits, and totals."""

import functools

import jax
import jax.numpy as jnp
import keys
import numpy as np
import pytest
import scipy.special
import scipy.stats
from properties import Compiled, slow

from vae_jax import likelihoods, make_model
from vae_jax.errors import UsageError
from vae_jax.likelihoods import (
    Beta,
    Categorical,
    Gaussian,
    Multinomial,
    NegativeBinomial,
    Poisson,
    StudentT,
    ZeroInflatedNegativeBinomial,
)
from vae_jax.likelihoods.negative_binomial import PER_CONDITION
from vae_jax.objectives import _layers

OF_COUNTS = [name for name in likelihoods.names() if likelihoods.load(name).requires == "counts"]
LEAST, MANY = 1e-8, 1e8  # dispersions and degrees of freedom that float32 tells from a limit
RNG = np.random.default_rng(0)
LOG_MEANS = np.float32([-100, -3, 0, 1.5, 6, 13.8, 100])
X = np.float32([0, 1, 2, 7, 8, 400, 1e6])
PAIRS = [np.float32(grid.ravel()[:, None]) for grid in np.meshgrid(X, LOG_MEANS)]
"""Counts and log means, each with each, [49, 1]."""


def gated(outputs, gate):
    """Outputs of a zero-inflated likelihood, [..., 2]."""
    return np.stack([outputs, np.full_like(outputs, gate)], axis=-1)


LARGEST = 1499
NUM_DRAWS = 20_000


@functools.partial(jax.jit, static_argnums=0)
def tabulated(likelihood, output, key):
    """Log-probabilities of 0 … `LARGEST`, mean, mode and draws for one output [] or [outputs]."""
    x = jnp.arange(LARGEST + 1, dtype=jnp.float32)[:, None]
    one = output[None, None]
    return {
        "log_probs": likelihood.log_prob({}, jnp.repeat(one, len(x), axis=0), x),
        "mean": likelihood.mean({}, one)[0, 0],
        "mode": likelihood.mode({}, one)[0, 0],
        "draws": likelihood.sample({}, key, jnp.repeat(one, NUM_DRAWS, axis=0)),
    }


def table(likelihood, output, key=None):
    """Probabilities of 0 … `LARGEST`, and what else is known of one output."""
    # JAX draws Poisson variables with its own generator alone
    key = jax.random.key(0) if key is None else key
    found = jax.device_get(tabulated(likelihood, np.float32(output), key))
    return np.exp(np.float64(found["log_probs"])), found


# --- Limits


def test_a_negative_binomial_variable_without_dispersion_is_a_poisson_variable():
    x, log_mean = PAIRS
    mean = np.exp(np.minimum(log_mean, 20))
    # what a dispersion changes, to the first order
    change = LEAST * np.abs(np.square(x - mean) - x)[:, 0] / 2
    near = change < 1e-3
    assert near.sum() > 25
    found, expected = (
        np.asarray(Compiled(each).log_prob({}, log_mean, x))[near]
        for each in (NegativeBinomial(dispersion=LEAST), Poisson())
    )
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=2e-3)


def test_a_zero_inflated_variable_with_open_gates_has_no_more_zeros():
    x, log_mean = PAIRS
    np.testing.assert_allclose(
        Compiled(ZeroInflatedNegativeBinomial(dispersion=2.0)).log_prob(
            {}, gated(log_mean, -100.0), x
        ),
        Compiled(NegativeBinomial(dispersion=2.0)).log_prob({}, log_mean, x),
        rtol=1e-6,
    )


def test_a_multinomial_variable_of_one_trial_is_categorical():
    logits = RNG.normal(size=(6, 5)).astype(np.float32)
    level = RNG.integers(0, 5, 6)
    one_hot = np.eye(5, dtype=np.float32)[level]
    x = np.float32(level[:, None] / 4)
    np.testing.assert_allclose(
        Compiled(Multinomial()).log_prob({}, logits, one_hot),
        Compiled(Categorical(5)).log_prob({}, logits[:, None], x),
        rtol=1e-5,
    )


def test_a_student_t_variable_of_many_degrees_is_gaussian():
    x, mean = RNG.normal(size=(2, 9, 4)).astype(np.float32)
    np.testing.assert_allclose(
        Compiled(StudentT(0.3, MANY)).log_prob({}, mean, x),
        Compiled(Gaussian(0.3)).log_prob({}, mean, x),
        rtol=1e-5,
    )


# --- Probabilities and moments


CASES = {
    "poisson": (Poisson(), 1.5, scipy.stats.poisson(np.exp(1.5))),
    "poisson_of_many": (Poisson(), 7.0, scipy.stats.poisson(np.exp(7.0))),
    "negative_binomial": (
        NegativeBinomial(dispersion=0.5),
        1.0,
        scipy.stats.nbinom(2, 2 / (2 + np.e)),
    ),
    "negative_binomial_of_few": (
        NegativeBinomial(dispersion=4.0),
        0.5,
        scipy.stats.nbinom(0.25, 0.25 / (0.25 + np.exp(0.5))),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_probabilities_mean_and_draws_are_those_of_scipy(case):
    likelihood, output, known = CASES[case]
    largest = int(known.isf(1e-7))
    assert largest <= LARGEST
    probs, found = table(likelihood, output)
    probs, draws = probs[: largest + 1], found["draws"]
    np.testing.assert_allclose(probs.sum(), 1.0, atol=1e-5)
    np.testing.assert_allclose(probs, known.pmf(np.arange(largest + 1)), rtol=1e-4, atol=1e-9)
    np.testing.assert_allclose(found["mean"], known.mean(), rtol=1e-5)
    assert probs[int(found["mode"])] == pytest.approx(probs.max(), rel=1e-3)
    assert np.all((draws >= 0) & (draws == np.floor(draws)))
    error = known.std() / np.sqrt(len(draws))
    assert abs(draws.mean() - known.mean()) < 5 * error
    kurtosis = float(known.stats("k")) + 2
    assert abs(draws.var() / known.var() - 1) < 5 * np.sqrt(kurtosis / len(draws))


@pytest.mark.parametrize("cls", [NegativeBinomial, *slow(ZeroInflatedNegativeBinomial)])
def test_each_condition_has_a_dispersion_for_each_number(cls):
    """Three batches of two genes; the rows of z are two samples for each condition."""
    likelihood = cls(dispersion=PER_CONDITION).of_conditions(3)
    assert likelihood.init((2,))["log_dispersion"].shape == (3, 2)
    dispersion = np.array([[0.1, 0.5], [1.0, 2.0], [4.0, 0.02]])
    batch = np.array([2, 0, 1, 1, 2])
    params = {"log_dispersion": jnp.log(jnp.float32(dispersion))}
    log_mean = RNG.normal(size=(10, 2)).astype(np.float32)
    is_gated = cls is ZeroInflatedNegativeBinomial
    outputs = gated(log_mean, -1.2) if is_gated else log_mean
    sized = likelihood.sized(params, outputs, condition=np.eye(3, dtype=np.float32)[batch])
    x = RNG.integers(0, 4, (10, 2)).astype(np.float32)
    theta = 1 / np.tile(dispersion[batch], (2, 1))
    known = scipy.stats.nbinom.pmf(x, theta, theta / (theta + np.exp(np.float64(log_mean))))
    gate = 1 / (1 + np.exp(1.2)) if is_gated else 0.0
    known = (1 - gate) * known + gate * (x == 0)

    @jax.jit
    def both(sized, decoded, key):
        found = {"log_prob": likelihood.log_prob({}, sized, x), "mean": likelihood.mean({}, sized)}
        pairs = (likelihood, sized), (cls(dispersion="decoded"), decoded)
        draws = [each.sample({}, key, outputs) for each, outputs in pairs]
        return {**found, "draws": draws, "modes": [each.mode({}, o) for each, o in pairs]}

    # as if the dispersion were one for each count, given by the decoder
    own = np.log(np.tile(dispersion[batch], (2, 1)), dtype=np.float32)[..., None]
    decoded = np.concatenate([outputs.reshape(10, 2, -1), own], axis=-1)
    found = both(sized, decoded, jax.random.key(0))
    np.testing.assert_allclose(found["log_prob"], np.log(known).sum(axis=1), rtol=1e-5)
    np.testing.assert_allclose(found["mean"], (1 - gate) * np.exp(log_mean), rtol=1e-5)
    np.testing.assert_allclose(*found["draws"], rtol=1e-5)
    np.testing.assert_allclose(*found["modes"], rtol=1e-5)


def test_a_conditional_model_learns_the_dispersion_of_each_batch():
    """The gradient of a row reaches the dispersions of its own batch alone."""
    x = RNG.poisson(3.0, (6, 4)).astype(np.float32)
    model = make_model(
        {"x": x, "labels": np.array([7, 9, 7, 9, 7, 7])},
        objective="cvae",
        likelihood=NegativeBinomial("total", PER_CONDITION),
        widths=(3,),
        latent_dim=2,
    ).given(np.full(6, 9))

    @jax.jit
    def run(x):
        params = model.init(keys.quick(0), x[:1])
        batch = {"x": x, "mask": jnp.ones(6)}

        def cost(own):
            held = {**params, "likelihood": {**params["likelihood"], "log_dispersion": own}}
            return model.distortion(held, jnp.ones((2, 6, 2)), batch).sum()

        slope = jax.grad(cost)(params["likelihood"]["log_dispersion"])
        return slope, model.reconstruct(params, x), params

    slope, restored, params = jax.device_get(run(x))
    assert slope.shape == (2, 4)
    assert (slope[0] == 0).all()
    assert (slope[1] != 0).all()
    np.testing.assert_allclose(restored.sum(axis=1), x.sum(axis=1), rtol=1e-4)
    draws, _ = jax.eval_shape(lambda key: model.sample(params, key, 6), jax.random.key(1))
    assert draws.shape == x.shape


def test_a_dispersion_for_each_condition_needs_one():
    likelihood = NegativeBinomial(dispersion=PER_CONDITION)
    with pytest.raises(UsageError, match="the model has no condition: take objective=cvae"):
        make_model((4,), likelihood=likelihood)
    model = make_model((4,), likelihood="nb").replace(likelihood=likelihood, num_conditions=2)
    with pytest.raises(UsageError, match="give it num_conditions=2"):
        model.init(jax.random.key(0))


def test_a_gate_adds_zeros():
    likelihood = ZeroInflatedNegativeBinomial(dispersion=0.5)
    open_, output = NegativeBinomial(dispersion=0.5), (1.0, 0.4)
    (probs, found), (of_open, _) = table(likelihood, output), table(open_, output[0])
    gate = 1 / (1 + np.exp(-output[1]))
    few = slice(1, 101)  # of those float64 knows
    np.testing.assert_allclose(probs[few], (1 - gate) * of_open[few], rtol=1e-5)
    np.testing.assert_allclose(probs[0], gate + (1 - gate) * of_open[0], rtol=1e-5)
    draws = found["draws"]
    mean, second = (probs * np.arange(LARGEST + 1) ** k for k in (1, 2))
    np.testing.assert_allclose(found["mean"], mean.sum(), rtol=1e-5)
    error = np.sqrt((second.sum() - mean.sum() ** 2) / len(draws))
    assert abs(draws.mean() - mean.sum()) < 5 * error
    assert abs((draws == 0).mean() - probs[0]) < 5 / np.sqrt(len(draws))
    # the likeliest is 0 here, and where gates are open that of the counts
    assert found["mode"] == 0
    (_, opened), (_, counts) = table(likelihood, (3.0, -9.0)), table(open_, 3.0)
    assert opened["mode"] == counts["mode"] > 0


def test_a_multinomial_variable_is_that_of_scipy():
    logits = np.float32([[0.3, -1.0, 0.8]])
    shares = scipy.special.softmax(np.float64(logits[0]))
    num = 4
    x = np.float32([[a, b, num - a - b] for a in range(num + 1) for b in range(num + 1 - a)])
    log_prob = Compiled(Multinomial()).log_prob({}, np.broadcast_to(logits, x.shape), x)
    known = scipy.stats.multinomial(num, shares)
    np.testing.assert_allclose(np.exp(np.asarray(log_prob)).sum(), 1.0, rtol=1e-5)
    np.testing.assert_allclose(log_prob, known.logpmf(x.astype(int)), rtol=1e-5, atol=1e-5)

    @jax.jit
    def drawn(key):
        outputs = Multinomial().sized({}, jnp.repeat(logits, NUM_DRAWS, axis=0), x[:1])
        return Multinomial().mean({}, outputs)[0], Multinomial().sample({}, key, outputs)

    mean, draws = map(np.asarray, drawn(keys.quick(0)))
    np.testing.assert_array_equal(draws.sum(axis=1), num)
    np.testing.assert_allclose(mean, num * shares, rtol=1e-5)
    np.testing.assert_allclose(draws.mean(axis=0), num * shares, atol=5 / np.sqrt(len(draws)))
    np.testing.assert_allclose(np.cov(draws.T), known.cov(), atol=0.05)


@pytest.mark.parametrize(
    ("likelihood", "output", "known"),
    [
        (StudentT(0.5, 6.0), 1.0, scipy.stats.t(6.0, 1.0, np.sqrt(0.5))),
        (Beta(5.0), 0.4, scipy.stats.beta(5 / (1 + np.exp(-0.4)), 5 / (1 + np.exp(0.4)))),
        (Beta(0.3), -1.0, scipy.stats.beta(0.3 / (1 + np.e), 0.3 / (1 + np.exp(-1)))),
    ],
    ids=["student_t", "beta", "beta_of_tails"],
)
def test_density_and_draws_are_those_of_scipy(likelihood, output, known):
    x = np.float32(known.ppf(np.linspace(0.2, 0.8, 7)))[:, None]

    @jax.jit
    def facts(key):
        outputs = jnp.full((30_000, 1), output)
        log_prob = likelihood.log_prob({}, outputs[:7], x)
        draws = likelihood.sample({}, key, outputs)[:, 0]
        return log_prob, likelihood.mean({}, outputs[:1])[0, 0], draws

    log_prob, mean, draws = map(np.asarray, facts(keys.quick(0)))
    np.testing.assert_allclose(log_prob, known.logpdf(np.float64(x[:, 0])), rtol=1e-4)
    np.testing.assert_allclose(mean, known.mean(), rtol=1e-5)
    assert scipy.stats.kstest(np.float64(draws), known.cdf).pvalue > 1e-3
    np.testing.assert_allclose(draws.var(), known.var(), rtol=0.1)


@pytest.mark.parametrize(
    "likelihood",
    [Poisson(), NegativeBinomial("total"), ZeroInflatedNegativeBinomial(), Multinomial()],
    ids=str,
)
def test_extreme_counts_have_finite_values_and_gradients(likelihood):
    grids = np.meshgrid(X, np.float32([-100, 0, 100]), indexing="ij")
    x, output = (np.float32(np.stack([grid.ravel()] * 2, axis=1)) for grid in grids)
    outputs = np.stack([output, -output], axis=-1) if likelihood.num_outputs == 2 else output
    start = likelihood.init((2,))

    @jax.jit
    def run(params, outputs):
        outputs = likelihood.sized(params, outputs, x)
        value, vjp = jax.vjp(lambda p, o: likelihood.log_prob(p, o, x), params, outputs)
        return value, vjp(jnp.ones_like(value)), likelihood.mean(params, outputs)

    for dispersion in (1e-8, 1.0, 1e3):
        params = {name: jnp.full(v.shape, np.log(dispersion)) for name, v in start.items()}
        for leaf in jax.tree.leaves(run(params, outputs)):
            assert np.isfinite(leaf).all()


# --- Missing numbers


@pytest.mark.parametrize("name", ["poisson", "negative_binomial", "multinomial", "beta"])
def test_missing_numbers_cost_nothing(name):
    likelihood = likelihoods.make(name, has_missing=True)
    x = np.float32([[3, 0, 5, 2], [1, 4, 0, 7]])
    x = x / 8 + 0.01 if name == "beta" else x
    outputs = RNG.normal(size=x.shape).astype(np.float32)
    x[:, 1], keep = np.nan, np.array([0, 2, 3])
    params = likelihood.init((4,))
    whole = likelihoods.make(name)

    @jax.jit
    def measure(outputs):
        density = jax.value_and_grad(lambda outputs: likelihood.log_prob(params, outputs, x).sum())
        return density(outputs), whole.log_prob(whole.init((3,)), outputs[:, keep], x[:, keep])

    (value, slope), known = measure(outputs)
    known = np.asarray(known).sum()
    np.testing.assert_allclose(value, known, rtol=1e-5)
    np.testing.assert_array_equal(np.asarray(slope)[:, 1], 0.0)
    assert np.isfinite(slope).all()
    if likelihood.requires == "counts":
        np.testing.assert_array_equal(np.isnan(likelihood.seen(x)), np.isnan(x))


# --- Totals


@pytest.mark.parametrize("name", OF_COUNTS)
def test_with_totals_rates_are_shares_of_the_row(name):
    cls = likelihoods.load(name)
    likelihood = cls("total") if "size_factor" in cls.choices else cls()
    x = RNG.integers(0, 50, (5, 3, 2)).astype(np.float32)
    x[0] = 0
    extra = () if likelihood.num_outputs == 1 else (likelihood.num_outputs,)
    outputs = RNG.normal(size=(*x.shape, *extra)).astype(np.float32)
    shifted = np.array(outputs)
    if extra:
        shifted[..., 1:] = outputs[..., 1:] = -100.0  # gates that are open
        shifted[..., 0] += 2.0
    else:
        shifted += 2.0
    params = likelihood.init((3, 2))
    missing = np.where(np.arange(2) == 1, np.nan, x)

    @jax.jit
    def sizes(outputs, shifted):
        sized = likelihood.sized(params, outputs, x)
        again = likelihood.sized(params, shifted, x), likelihood.sized(params, sized, x)
        begun = likelihood.begin(params, x)
        means = (
            likelihood.mean(params, sized),
            likelihood.mean(begun, likelihood.sized(begun, outputs)),
            likelihood.mean(params, likelihood.sized(params, outputs, missing)),
        )
        return sized, again, means

    sized, again, means = jax.device_get(sizes(outputs, shifted))
    totals, drawn, of_known = (mean.sum(axis=(1, 2)) for mean in means)
    np.testing.assert_allclose(totals, x.sum(axis=(1, 2)), rtol=1e-5, atol=1e-5)
    # only the shares count, so neither a shift nor a second pass changes anything
    for other in again:
        np.testing.assert_allclose(other, sized, rtol=1e-5, atol=1e-5)
    # rows that are drawn have the mean total of the examples
    np.testing.assert_allclose(drawn, totals.mean(), rtol=1e-5)
    np.testing.assert_allclose(of_known, x[..., 0].sum(axis=1), rtol=1e-5, atol=1e-5)


def test_without_totals_nothing_is_shared():
    for likelihood in (Poisson(), NegativeBinomial(), ZeroInflatedNegativeBinomial()):
        assert not likelihood.is_joint
        outputs = np.ones((2, 3, likelihood.num_outputs), np.float32)
        assert likelihood.sized({}, outputs, outputs) is outputs
    assert Multinomial().is_joint


def test_networks_read_the_logarithm_of_counts():
    seen = Poisson().seen
    x = np.float32([0, 1, 9, 1e6])
    np.testing.assert_allclose(seen(x), np.log1p(x), rtol=1e-6)
    slope = jax.jit(jax.vmap(jax.grad(lambda one: seen(one))))(np.float32([-2, 0, 1]))
    np.testing.assert_allclose(slope, [1, 1, 0.5], rtol=1e-6)
    assert Gaussian().seen(x) is x
    model = make_model((4,), likelihood="poisson", latent_dim=2, widths=(3,))
    rows = RNG.integers(0, 9, (5, 4)).astype(np.float32)

    @jax.jit
    def means(rows):
        params = model.init(keys.quick(0))
        plain = model.replace(likelihood=Gaussian())
        return model.encode(params, rows).mean, plain.encode(params, jnp.log1p(rows)).mean

    np.testing.assert_allclose(*means(rows), rtol=1e-6)


def test_a_model_of_totals_reconstructs_and_scores_rows_with_their_own():
    model = make_model((4,), likelihood=Multinomial(), latent_dim=2, widths=(3,))
    rows = RNG.integers(1, 9, (6, 4)).astype(np.float32)
    totals = rows.sum(axis=1)

    @jax.jit
    def run(z):
        params = model.init(keys.quick(0), rows)
        outputs = model.decode(params, z[0], rows)
        batch = {"x": jnp.asarray(rows), "mask": jnp.ones(6)}
        return (
            model.reconstruct(params, rows),
            model.predict(params, rows).reconstruction,
            model.sample(params, keys.quick(1), 7),
            model.distortion(params, z, batch),
            -Multinomial().log_prob({}, outputs, rows),
        )

    restored, predicted, (drawn, mean), distortion, expected = run(jnp.zeros((2, 6, 2)))
    np.testing.assert_allclose(restored.sum(axis=1), totals, rtol=1e-5)
    np.testing.assert_allclose(predicted, restored, rtol=1e-6)
    np.testing.assert_allclose(mean.sum(axis=1), totals.mean(), rtol=1e-5)
    np.testing.assert_array_equal(drawn.sum(axis=1), np.round(totals.mean()))
    for row in distortion:
        np.testing.assert_allclose(row, expected, rtol=1e-5)


def test_layers_that_are_trained_one_by_one_read_and_score_counts_alike():
    model = make_model((4,), objective="stacked", likelihood=Multinomial(), latent_dim=2)
    rows = jnp.asarray(RNG.integers(1, 9, (5, 4)), jnp.float32)
    outputs = RNG.normal(size=(5, 4)).astype(np.float32)
    params, batch = {"likelihood": {"log_total": 0.0}}, {"x": rows, "mask": jnp.ones(5)}

    @jax.jit
    def facts(outputs):
        below = _layers._below(model, {}, 0, rows)
        log_prob = Multinomial().log_prob({}, outputs, rows)
        return below, log_prob, _layers._of_outputs(model, params, outputs, batch)

    below, log_prob, (distortion, error) = facts(outputs)
    np.testing.assert_allclose(below, np.log1p(rows), rtol=1e-6)
    shares = scipy.special.softmax(np.float64(outputs), axis=1)
    mean = shares * rows.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(error, np.square(rows - mean).sum(axis=1), rtol=1e-4)
    np.testing.assert_allclose(-distortion, log_prob, rtol=1e-5)


def test_a_total_is_not_decoded_step_by_step():
    with pytest.raises(UsageError, match=r"Multinomial.*step by step: take network='mlp'$"):
        make_model((5, 2), likelihood="multinomial", network="gru", latent_dim=2)
    make_model((5, 2), likelihood="poisson", network="gru", latent_dim=2)
    make_model((5, 2), likelihood="multinomial", network="gru", latent_dim=2, teacher_dropout=1)


def test_a_recurrent_decoder_reads_the_logarithm_of_counts():
    model = make_model((3, 2), likelihood="poisson", network="gru", latent_dim=2, widths=(4,))
    x = RNG.integers(0, 9, (5, 3, 2)).astype(np.float32)
    z = jnp.zeros((5, 2))
    plain = model.replace(likelihood=Gaussian())

    @jax.jit
    def run(key):
        params = model.init(keys.quick(0))
        told = plain.decode({**params, "likelihood": {"logvar": 0.0}}, z, np.log1p(x))
        drawn, mean = model.sample_given(params, key, z)
        again = model.likelihood.mean({}, model.decode(params, z, drawn))
        return model.decode(params, z, x), told, mean, again

    outputs, told, mean, again = run(jax.random.key(0))
    np.testing.assert_allclose(outputs, told, rtol=1e-5, atol=1e-6)
    # what it says itself is fed back in the same form
    np.testing.assert_allclose(mean, again, rtol=1e-4, atol=1e-5)


# --- Settings


def test_make_gives_the_settings():
    make = functools.partial(likelihoods.make, "negative_binomial")
    assert make(dispersion=0.5) == NegativeBinomial("none", 0.5)
    assert make(size_factor="total") == NegativeBinomial("total")
    assert make(dispersion="decoded").num_outputs == 2
    assert (
        likelihoods.make("zero_inflated_negative_binomial", dispersion="decoded").num_outputs == 3
    )
    assert likelihoods.make("student_t", degrees=3.0, variance=0.5) == StudentT(0.5, 3.0)
    assert make(dispersion="learned").init((3, 2))["log_dispersion"].shape == ()
    assert make().init((3, 2))["log_dispersion"].shape == (3, 2)
    assert make(dispersion=0.5).init((3, 2)) == {}


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        (
            "poisson",
            {"dispersion": 1.0},
            "dispersion=1.0: likelihood=poisson has none: leave it out",
        ),
        (
            "gaussian",
            {"degrees": 1.0},
            "gaussian has none: .* take likelihood=student_t",
        ),
        ("gaussian", {"degree": 1.0}, "setting of likelihood=gaussian 'degree' is unknown"),
        ("poisson", {"size_factor": "totl"}, "size_factor 'totl' is unknown.*did you mean total"),
        (
            "negative_binomial",
            {"dispersion": "lerned"},
            "dispersion=lerned: .*did you mean learned",
        ),
        (
            "negative_binomial",
            {"dispersion": -1.0},
            "dispersion=-1.0: must be a number from 2.1e-09",
        ),
        ("student_t", {"degrees": 0}, "degrees=0: must be a number from .* or one of learned, "),
        ("beta", {"concentration": True}, "concentration=True: "),
        ("beta", {"concentration": float("nan")}, "concentration=nan: "),
    ],
)
def test_a_setting_that_does_not_fit_is_refused_in_one_line(name, settings, message):
    with pytest.raises(UsageError, match=message) as error:
        likelihoods.make(name, **settings)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("size_factor", ["none", "total"])
def test_a_dispersion_begins_at_that_of_the_training_rows(size_factor):
    """Gammas of shape 1/α as rates; without a count, 1; without more than Poisson noise, little."""
    sizes = 1.0 if size_factor == "none" else RNG.uniform(0.5, 2.0, (20_000, 1))
    dispersions = np.array([0.2, 1.0, 4.0, 0.5] * 4)
    rates = RNG.gamma(1 / dispersions, dispersions, (20_000, 16)) * 20.0 * sizes
    rates = np.concatenate([rates, np.zeros((20_000, 1)), 20.0 * sizes + np.zeros((20_000, 1))], 1)
    x = RNG.poisson(rates).astype(np.float32)
    likelihood = NegativeBinomial(size_factor)
    found = np.exp(likelihood.begin(likelihood.init((18,)), x)["log_dispersion"])
    # the totals of a few columns are noisy shares
    np.testing.assert_allclose(found[:16], dispersions, rtol=0.1 if size_factor == "none" else 0.4)
    assert found[16] == pytest.approx(1, abs=0.11)
    assert found[17] <= (0.011 if size_factor == "none" else 0.2)
    scalar = NegativeBinomial(size_factor, dispersion="learned")
    alone = np.exp(scalar.begin(scalar.init((18,)), x)["log_dispersion"])
    assert alone.shape == ()
    assert found.min() < alone < found.max()
    x[:, 0] = np.nan
    missing = np.exp(likelihood.begin(likelihood.init((18,)), x)["log_dispersion"])
    assert missing[0] == 1


@pytest.mark.parametrize("name", ["multinomial", "zero_inflated_negative_binomial"])
def test_a_decoder_begins_at_the_rates_of_the_training_rows(name):
    """Its last bias is that of outputs which fit all rows alike; only gates are not known."""
    x = RNG.poisson(np.float32([0.2, 3.0, 40.0]), (256, 3)).astype(np.float32)
    x[:, 0] = 0
    model = make_model((3,), likelihood=name, widths=(4,), latent_dim=2)

    @jax.jit
    def biases(key, x):
        return [model.init(key, *rows)["decoder"]["output"]["bias"] for rows in ((x,), ())]

    bias, without = map(np.asarray, biases(keys.quick(0), x))
    bias = bias.reshape(3, -1)
    np.testing.assert_allclose(np.exp(bias[:, 0]), (x.sum(axis=0) + 0.1) / 256, rtol=1e-5)
    assert (bias[:, 1:] == 0).all()
    # without rows it begins at 0, as under other likelihoods
    assert (without == 0).all()
