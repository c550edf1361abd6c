"""Every likelihood: density, mean and samples agree with each other and with the losses."""

import functools
import itertools

import jax
import jax.numpy as jnp
import keys
import numpy as np
import pytest
from properties import Compiled, slow

from vae_jax import distributions, likelihoods, losses
from vae_jax.errors import UsageError
from vae_jax.likelihoods import (
    Bernoulli,
    Beta,
    Categorical,
    DiscretizedLogistic,
    Gaussian,
    Laplace,
    LogisticMixture,
    Mixed,
    Multinomial,
    NegativeBinomial,
    Poisson,
    StudentT,
    Text,
    ZeroInflatedNegativeBinomial,
)
from vae_jax.likelihoods.text import ended

SHAPE = (3, 2)
# text, whose means are characters, has tests of its own
OF_NUMBERS = [
    name
    for name in likelihoods.names()
    if likelihoods.load(name).requires not in ("text", "columns")
]
WITH_VARIANCE = [name for name in OF_NUMBERS if likelihoods.load(name).variances]


def variances(name):
    """How the variance of a likelihood may be given, but for its own "given"."""
    cls = likelihoods.load(name)
    number = 0.05 if cls.requires == "levels" else 0.2
    words = [word for word in cls.variances if word != "given"]
    return [number, *words] if words else ["learned"]


ALL = [
    likelihoods.make(name, variance=variance, num_levels=5)
    for name in OF_NUMBERS
    for variance in variances(name)
]
# how a variance is given is code that all share, so Gaussian ones alone try all ways
DEFAULT = [each for each in ALL if getattr(each, "variance", "learned") == "learned"]
DEFAULT += [each for each in ALL if type(each) is Gaussian and each not in DEFAULT]


def parametrized(cases, late=()):
    """Cases of the default run, then those of the slow one: others, and these classes."""
    early = [each for each in cases if each in DEFAULT and type(each) not in late]
    others = [each for each in cases if each not in early]
    both = [
        *(pytest.param(each, id=str(each)) for each in early),
        *slow(*others, ids=map(str, others)),
    ]
    return pytest.mark.parametrize("likelihood", both)


every_likelihood = parametrized(ALL)


def make_data(likelihood, batch_size: int = 4):
    """Data in {0, ¼, …, 1}, {0, 1}, {0, …, 4} or (0, 1), and outputs [B, *shape(, num_outputs)]."""
    rng = np.random.default_rng(1)
    num_steps = 1 if likelihood.requires == "unit" else 4
    x = rng.integers(0, num_steps, (batch_size, *SHAPE), endpoint=True) / num_steps
    x = {"counts": 4 * x, "open": (1 + 6 * x) / 8}.get(likelihood.requires, x)
    extra = () if likelihood.num_outputs == 1 else (likelihood.num_outputs,)
    outputs = 0.5 + rng.standard_normal((batch_size, *SHAPE, *extra))
    # exact in half precision
    return np.float32(x), np.float32(np.asarray(outputs, jnp.bfloat16))


EXTREMES = np.float32(list(itertools.product([-1e4, 88.0, 1e4], [-1e4, 0.0, 1e4])))
"""First outputs and log variances, each with each, [9, 2]."""
NUM_DRAWS = 5000
# test_likelihoods_counts.py has their draws beside scipy's in the default run
DRAWN_ELSEWHERE = (NegativeBinomial, ZeroInflatedNegativeBinomial)


@functools.partial(jax.jit, static_argnums=0)
def measured(likelihood, x, outputs):
    """What is known of a likelihood, by one program."""
    start = likelihood.init(SHAPE)

    def fitted(params, outputs):
        sized = likelihood.sized(params, outputs, x)
        return likelihood.log_prob(likelihood.fit(params, sized, x), sized, x).sum()

    def evaluate(params, outputs, x):
        params = likelihood.fit(params, outputs, x)
        return likelihood.log_prob(params, outputs, x), likelihood.mean(params, outputs)

    def value_and_gradients(extreme):
        params = jax.tree.map(lambda leaf: jnp.full_like(leaf, extreme[1]), start)
        of_extreme = outputs.at[..., 0].set(extreme[0])
        value, vjp = jax.vjp(likelihood.log_prob, params, of_extreme, x)
        return value, vjp(jnp.ones_like(value))

    params = likelihood.fit(start, outputs, x)
    log_prob, frozen = likelihood.log_prob(params, outputs, x), likelihood.frozen()
    half = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), (start, outputs, x))
    return {
        "slope": jax.grad(fitted)(start, outputs),
        "half": evaluate(*half),
        "single": (log_prob, likelihood.mean(params, outputs)),
        "params": params,
        "log_prob": log_prob,
        "frozen": log_prob if frozen == likelihood else frozen.log_prob(params, outputs, x),
        "at extremes": jax.vmap(value_and_gradients)(EXTREMES),
    }


@functools.partial(jax.jit, static_argnums=0)
def mean_and_draws(likelihood, x, outputs, key):
    """The mean [*SHAPE] of the first row, and its draws."""
    params = likelihood.init(SHAPE)
    sized = likelihood.sized(params, outputs[:1], x[:1])
    many = jnp.repeat(sized, NUM_DRAWS, axis=0)
    return likelihood.mean(params, sized)[0], likelihood.sample(params, key, many)


@functools.cache
def known_of(likelihood):
    return jax.device_get(measured(likelihood, *make_data(likelihood)))


@pytest.mark.parametrize("name", WITH_VARIANCE)
def test_a_given_variance_is_the_fixed_one_and_has_no_gradient(name):
    given, fixed = (likelihoods.make(name, variance=v, num_levels=5) for v in ("given", 0.05))
    x, outputs = make_data(given)
    start = {**given.init(SHAPE), "logvar": jnp.log(jnp.float32(0.05))}

    def density(params, outputs):
        return given.log_prob(params, outputs, x).sum()

    value, (slope, of_outputs) = jax.jit(jax.value_and_grad(density, (0, 1)))(start, outputs)
    expected = Compiled(fixed).log_prob(fixed.init(SHAPE), outputs, x)
    assert float(value) == pytest.approx(float(expected.sum()), rel=1e-5)
    assert float(slope["logvar"]) == 0.0
    assert given.fixed == ("logvar",)
    assert np.abs(of_outputs).min() > 0.0


@parametrized([each for each in ALL if each.init(SHAPE)])
def test_what_is_fixed_has_no_gradient_and_all_else_has(likelihood):
    slope = known_of(likelihood)["slope"]
    still = {name for name, own in slope.items() if not np.any(own)}
    assert still == set(likelihood.fixed)


@every_likelihood
def test_shapes_and_dtypes(likelihood):
    x, outputs = make_data(likelihood)
    start = likelihood.init(SHAPE)
    params = jax.eval_shape(likelihood.fit, start, outputs, x)
    assert jax.tree.map(jnp.shape, params) == jax.tree.map(jnp.shape, start)
    log_prob = jax.eval_shape(likelihood.log_prob, params, outputs, x)
    assert (log_prob.shape, log_prob.dtype) == ((4,), jnp.float32)
    mean = jax.eval_shape(likelihood.mean, params, outputs)
    sample = jax.eval_shape(likelihood.sample, params, jax.random.key(0), outputs)
    for value in (mean, sample):
        assert (value.shape, value.dtype) == (x.shape, jnp.float32)


@every_likelihood
def test_half_precision_is_computed_in_float32(likelihood):
    known = known_of(likelihood)
    # −2, the initial log variance, and the data are exact in half precision. What is fused may
    # differ, so the last bit may; computed in bfloat16 they differ by 4e-3.
    for of_half, of_single in zip(known["half"], known["single"], strict=True):
        assert of_half.dtype == np.float32
        np.testing.assert_allclose(of_half, of_single, rtol=2e-6, atol=2e-6)


@parametrized(ALL, late=DRAWN_ELSEWHERE)
def test_samples_have_the_mean(likelihood):
    # JAX draws Poisson variables with its own generator alone
    key = jax.random.key(2) if likelihood.requires == "counts" else keys.quick(2)
    mean, samples = map(np.asarray, mean_and_draws(likelihood, *make_data(likelihood), key))
    error = abs(samples.mean(0) - mean)
    np.testing.assert_array_less(error, 5 * samples.std(0) / np.sqrt(NUM_DRAWS) + 1e-4)


@pytest.mark.parametrize(
    ("likelihood", "num_levels"),
    [(Bernoulli(), 2), (DiscretizedLogistic(0.05, 5), 5), (Categorical(5), 5)],
    ids=str,
)
def test_discrete_mean_and_samples_follow_log_prob(likelihood, num_levels):
    # One data dimension, so that log_prob can be tabulated over all levels.
    levels = np.arange(num_levels)[:, None] / (num_levels - 1)
    output = np.linspace(-0.5, 0.8, likelihood.num_outputs, dtype=np.float32)[None, None]
    output = output if likelihood.num_outputs > 1 else output[..., 0]
    outputs = np.broadcast_to(output, (num_levels, *output.shape[1:]))
    probs = np.exp(likelihood.log_prob({}, outputs, levels))
    np.testing.assert_allclose(probs.sum(), 1.0, rtol=1e-5)
    np.testing.assert_allclose(likelihood.mean({}, output)[0, 0], probs @ levels[:, 0], rtol=1e-5)
    num_samples = 20_000
    many = np.broadcast_to(output, (num_samples, *output.shape[1:]))
    samples = np.asarray(jax.jit(likelihood.sample)({}, keys.quick(3), many))
    for level, prob in zip(levels[:, 0], probs, strict=True):
        frequency = (samples == level).mean()
        assert abs(frequency - prob) < 5 * np.sqrt(prob * (1 - prob) / num_samples)


@pytest.mark.parametrize("cls", [Gaussian, Laplace])
def test_continuous_samples_have_the_variance(cls):
    samples = cls(0.2).sample({}, keys.quick(0), np.zeros((1, 100_000), np.float32))
    np.testing.assert_allclose(samples.var(), 0.2, rtol=0.05)


@pytest.mark.parametrize("name", WITH_VARIANCE)
def test_fixed_variance_equals_the_same_value_learned(name):
    fixed = likelihoods.make(name, variance=0.3, num_levels=5)
    x, outputs = make_data(fixed)
    expected = Compiled(fixed).log_prob(fixed.init(SHAPE), outputs, x)
    for variance, shape in (("learned", ()), ("learned_per_dimension", SHAPE)):
        learned = likelihoods.make(name, variance=variance, num_levels=5)
        start = learned.init(SHAPE)
        assert start["logvar"].shape == shape
        params = {**start, "logvar": np.full(shape, np.log(0.3))}

        @jax.jit
        def both(params, start, f=learned):
            slope = jax.grad(lambda own: f.log_prob(own, outputs, x).sum())
            return f.log_prob(params, outputs, x), slope(start)["logvar"]

        found, slope = both(params, start)
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
        assert np.all(np.asarray(slope) != 0)


def test_log_prob_is_minus_the_distortion():
    logvar = np.float32(-1.3)
    params = {"logvar": logvar}
    expected = {
        Bernoulli(): lambda x, out: losses.bernoulli_distortion(x, out),
        Gaussian(): lambda x, out: losses.gaussian_distortion(x, out, logvar),
        Laplace(): lambda x, out: losses.laplace_distortion(x, out, logvar),
        DiscretizedLogistic(num_levels=5): lambda x, out: losses.discretized_logistic_distortion(
            x, out, logvar, num_levels=5
        ),
        Categorical(5): lambda x, out: losses.categorical_distortion(
            (4 * x).astype(jnp.int32), out
        ),
    }
    for likelihood, distortion in expected.items():
        x, outputs = make_data(likelihood)

        @jax.jit
        def both(x, outputs, f=likelihood, g=distortion):
            return f.log_prob(params, outputs, x), -g(x, outputs)

        np.testing.assert_array_equal(*both(x, outputs))


@pytest.mark.parametrize("num_levels", [48, 256])
def test_categorical_finds_every_level(num_levels):
    # With 48 levels, 6 of k/47 · 47 fall below k in float32.
    x = (np.arange(num_levels, dtype=np.float32) / np.float32(num_levels - 1))[:, None]
    logits = 50 * np.eye(num_levels)[:, None, :]
    np.testing.assert_allclose(Categorical(num_levels).log_prob({}, logits, x), 0.0, atol=1e-5)


def test_categorical_over_two_levels_is_bernoulli():
    x, logits = make_data(Bernoulli())
    two = np.stack([np.zeros_like(logits), logits], axis=-1)
    pair, single = Categorical(2), Bernoulli()
    np.testing.assert_allclose(pair.log_prob({}, two, x), single.log_prob({}, logits, x), rtol=1e-5)
    np.testing.assert_allclose(pair.mean({}, two), single.mean({}, logits), rtol=1e-5)


def test_optimal_variance_is_that_of_the_batch_that_counts():
    likelihood = Gaussian("optimal")
    x, outputs = make_data(likelihood)
    mask = np.float32([1.0, 0.0, 1.0, 1.0])
    params = likelihood.fit(likelihood.init(SHAPE), outputs, x, mask)
    np.testing.assert_allclose(
        np.exp(params["logvar"]), np.mean((x - outputs)[mask > 0] ** 2), rtol=1e-5
    )

    @jax.jit
    @jax.grad
    def slope_of(params):
        return losses.batch_mean(likelihood.log_prob(params, outputs, x), mask)

    slope = slope_of(params)
    np.testing.assert_allclose(slope["logvar"], 0.0, atol=1e-5)


@every_likelihood
def test_frozen_reads_params_and_ignores_the_batch(likelihood):
    known, (x, outputs) = known_of(likelihood), make_data(likelihood)
    params = known["params"]
    assert likelihood.frozen().fit(params, outputs + 1.0, x) is params
    np.testing.assert_array_equal(known["frozen"], known["log_prob"])


def test_only_the_optimal_likelihood_is_frozen_into_another():
    changed = {likelihood: likelihood.frozen() for likelihood in ALL}
    assert {a: b for a, b in changed.items() if a != b} == {Gaussian("optimal"): Gaussian()}


@every_likelihood
def test_likelihood_is_a_static_argument_and_jit_equals_eager(likelihood):
    known, (x, outputs) = known_of(likelihood), make_data(likelihood)
    eager = likelihood.log_prob(known["params"], outputs, x)
    np.testing.assert_allclose(known["log_prob"], eager, rtol=1e-5, atol=1e-5)


@every_likelihood
def test_value_and_gradient_are_finite_at_extremes(likelihood):
    for leaf in jax.tree.leaves(known_of(likelihood)["at extremes"]):
        assert np.isfinite(leaf).all()


@pytest.mark.parametrize("name", WITH_VARIANCE)
def test_samples_obey_the_bound_of_the_density(name):
    likelihood = likelihoods.make(name, num_levels=256)
    sample, start = jax.jit(likelihood.sample), likelihood.init(SHAPE)
    key, outputs = keys.quick(0), np.full((3, *SHAPE), 0.5, np.float32)
    of = {
        logvar: np.asarray(sample({**start, "logvar": np.float32(logvar)}, key, outputs))
        for logvar in (-1000, -distributions.LOGVAR_BOUND, 0, distributions.LOGVAR_BOUND, 1000)
    }
    np.testing.assert_array_equal(of[-1000], of[-distributions.LOGVAR_BOUND])
    np.testing.assert_array_equal(of[1000], of[distributions.LOGVAR_BOUND])
    assert np.any(of[-1000] != of[0])
    assert np.any(of[1000] != of[0])


def test_make_gives_each_name_its_class():
    names, parts = likelihoods.names(), [("gaussian", 1), ("one_hot", 3)]
    made = {name: likelihoods.make(name, num_levels=17, parts=parts) for name in names}
    assert all(type(likelihood) is likelihoods.load(name) for name, likelihood in made.items())
    known = {
        "bernoulli": (Bernoulli(), "unit", 1),
        "gaussian": (Gaussian("learned"), "real", 1),
        "laplace": (Laplace("learned"), "real", 1),
        "logistic": (DiscretizedLogistic("learned", 17), "levels", 1),
        "logistic_mixture": (LogisticMixture(17), "levels", 50),
        "categorical": (Categorical(17), "levels", 17),
        "text": (Text(17), "text", 17),
        "poisson": (Poisson(), "counts", 1),
        "negative_binomial": (NegativeBinomial(), "counts", 1),
        "zero_inflated_negative_binomial": (ZeroInflatedNegativeBinomial(), "counts", 2),
        "multinomial": (Multinomial(), "counts", 1),
        "student_t": (StudentT(), "real", 1),
        "beta": (Beta(), "open", 1),
        "mixed": (Mixed(("gaussian", "one_hot"), (1, 3)), "columns", 1),
    }
    assert known.keys() == made.keys()
    for name, (likelihood, requires, num_outputs) in known.items():
        assert made[name] == likelihood
        assert (made[name].requires, made[name].num_outputs) == (requires, num_outputs)
    assert likelihoods.make("gaussian", variance=0.1) == Gaussian(0.1)
    assert likelihoods.make("logistic").num_levels == 256


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        (
            "gausian",
            {},
            "'gausian' is unknown .did you mean gaussian.*bernoulli, .*, gaussian",
        ),
        ("gaussian", {"variance": "lerned"}, "variance=lerned: .*did you mean learned"),
        ("gaussian", {"variance": -1.0}, r"variance=-1.0: .*from 2.1e-09 to 4.9e\+08"),
        ("gaussian", {"variance": 0}, "variance=0: "),
        ("gaussian", {"variance": 1e-12}, "variance=1e-12: "),
        ("gaussian", {"variance": float("nan")}, "variance=nan: "),
        ("gaussian", {"variance": float("inf")}, "variance=inf: "),
        ("gaussian", {"variance": True}, "variance=True: "),
        ("laplace", {"variance": "optimal"}, "variance=optimal: Laplace takes"),
        ("categorical", {"num_levels": 65536}, "65,536 levels, .* take logistic or gaussian"),
        ("logistic", {"variance": "optimal"}, "variance=optimal: DiscretizedLogistic takes"),
        ("bernoulli", {"variance": 0.1}, "variance=0.1: the bernoulli likelihood has no variance"),
        ("categorical", {"variance": "optimal"}, "categorical likelihood has no variance"),
        ("categorical", {"num_levels": 1}, "num_levels=1: must be an integer of at least 2"),
        ("logistic", {"num_levels": 2.5}, "num_levels=2.5: "),
    ],
)
def test_make_refuses_in_one_line(name, options, message):
    with pytest.raises(UsageError, match=message) as error:
        likelihoods.make(name, **options)
    assert "\n" not in str(error.value)


def test_the_mean_of_many_levels_is_that_of_each_looked_at():
    num_levels = likelihoods.MANY_LEVELS + 1
    likelihood = DiscretizedLogistic("learned", num_levels)
    outputs = jnp.linspace(-0.4, 1.4, 7)[None]
    for logvar in (-2.0, -8.0, -16.0):
        params = {"logvar": jnp.float32(logvar)}
        edges = (np.arange(1, num_levels) - 0.5) / (num_levels - 1)
        scale = np.sqrt(3) / np.pi * np.exp(0.5 * logvar)
        reached = 1 / (1 + np.exp(np.clip((edges - np.float64(outputs).T) / scale, -700, 700)))
        expected = reached.sum(axis=1) / (num_levels - 1)
        np.testing.assert_allclose(
            likelihood.mean(params, outputs)[0], expected, atol=0.5 / (num_levels - 1)
        )


def test_nan_follows_the_first_end():
    x = jnp.float32([[0.5, 0, 1, 0], [0, 0, 0, 0], [1, 0.5, 1, 1]])
    nan = np.nan
    expected = [[0.5, 0, nan, nan], [0, nan, nan, nan], [1, 0.5, 1, 1]]
    np.testing.assert_array_equal(ended(x), expected)


# --- Mixtures of logistic variables


def mixture_of(shape, num_levels, num_components=3):
    """A mixture with random outputs for one example."""
    likelihood = LogisticMixture(num_levels, num_components)
    size = (1, *shape, likelihood.num_outputs)
    outputs = np.random.default_rng(3).normal(size=size).astype(np.float32)
    return Compiled(likelihood), outputs


@pytest.mark.parametrize("num_levels", [2, 256])
def test_a_mixture_sums_to_one_over_the_levels(num_levels):
    likelihood, outputs = mixture_of((), num_levels)
    levels = np.arange(num_levels, dtype=np.float32) / np.float32(num_levels - 1)
    repeated = np.broadcast_to(outputs, (num_levels, *outputs.shape[1:]))
    probs = np.exp(np.float64(likelihood.log_prob({}, repeated, levels)))
    np.testing.assert_allclose(probs.sum(), 1.0, atol=1e-5)
    mean = probs @ np.float64(levels)
    np.testing.assert_allclose(likelihood.mean({}, outputs), [mean], atol=1e-5)


@pytest.mark.parametrize("num_channels", [2, 3])
def test_the_channels_of_a_pixel_sum_to_one_together_and_depend_on_each_other(num_channels):
    num_levels = 5
    likelihood, outputs = mixture_of((1, 1, num_channels), num_levels)
    grid = list(itertools.product(np.arange(num_levels) / (num_levels - 1), repeat=num_channels))
    x = np.float32(grid).reshape(-1, 1, 1, num_channels)
    repeated = np.broadcast_to(outputs, (len(x), *outputs.shape[1:]))
    probs = np.exp(np.float64(likelihood.log_prob({}, repeated, x)))
    assert probs.sum() == pytest.approx(1.0, abs=1e-5)
    joint = probs.reshape([num_levels] * num_channels)
    first = joint.sum(axis=tuple(range(1, num_channels)))
    last = joint.sum(axis=tuple(range(num_channels - 1)))
    pair = joint.sum(axis=tuple(range(1, num_channels - 1)))
    assert np.abs(pair - np.outer(first, last)).max() > 1e-3
    # each channel given those before it
    each = np.asarray(likelihood.log_probs({}, repeated, x)).reshape(-1, num_channels)
    np.testing.assert_allclose(
        each[:, 0], np.log(np.repeat(first, len(x) // num_levels)), atol=1e-4
    )


def test_draws_of_a_mixture_are_as_often_as_it_says():
    num_levels, num_draws = 4, 20_000
    likelihood, outputs = mixture_of((1, 1, 2), num_levels)
    repeated = np.broadcast_to(outputs, (num_draws, *outputs.shape[1:]))
    draws = likelihood.sample({}, keys.quick(0), repeated).reshape(-1, 2)
    places = np.asarray(np.round(np.asarray(draws) * (num_levels - 1)), int)
    np.testing.assert_allclose(draws, places / (num_levels - 1), atol=1e-6)
    found = np.zeros((num_levels, num_levels))
    np.add.at(found, tuple(places.T), 1 / num_draws)
    grid = np.stack(np.meshgrid(*[np.arange(num_levels) / (num_levels - 1)] * 2, indexing="ij"), -1)
    x = np.float32(grid).reshape(-1, 1, 1, 2)
    expected = likelihood.log_prob({}, np.repeat(outputs, len(x), axis=0), x)
    expected = np.exp(np.float64(expected)).reshape(num_levels, num_levels)
    error = np.sqrt(expected * (1 - expected) / num_draws)
    assert (np.abs(found - expected) < 5 * error + 1e-4).all()


def test_one_component_alone_is_the_logistic_likelihood():
    likelihood, outputs = mixture_of((3, 2), 17, 1)
    x = jnp.asarray(np.random.default_rng(0).integers(0, 17, (1, 3, 2)) / 16, jnp.float32)
    center, logvar = outputs[..., 1] + 0.5, outputs[..., 2] - 3.0
    expected = distributions.discretized_logistic_log_prob(x, center, logvar, num_levels=17)
    np.testing.assert_allclose(likelihood.log_probs({}, outputs, x), expected, rtol=1e-5)
