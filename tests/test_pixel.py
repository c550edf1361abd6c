"""The decoder that says an image pixel by pixel: what it hears, adds up to, and says."""

import functools
import itertools
import math

import jax
import jax.numpy as jnp
import keys
import numpy as np
import pytest
import scipy.special

from vae_jax import distributions, likelihoods, networks
from vae_jax.errors import UsageError
from vae_jax.lab import config, metrics, pictures, train
from vae_jax.model import Model
from vae_jax.networks import pixel
from vae_jax.storage import exported

BITS, LATENT_DIM = (2, 2, 1), 2
CODE = np.float32([[0.7, -1.2]])


def make(
    shape=BITS,
    likelihood=None,
    network="pixel",
    latent_dim=LATENT_DIM,
    mask=None,
    scale=0.5,
    num_conditions=0,
    **own,
):
    """A small model, and parameters that are like no others."""
    likelihood = likelihood or likelihoods.Bernoulli()
    encoder, decoder = networks.build(
        network,
        shape=shape,
        latent_dim=latent_dim,
        num_outputs=likelihood.num_outputs,
        widths=(8,),
        teacher_dropout=own.pop("teacher_dropout", None),
    )
    if network == "pixel":
        decoder = decoder.clone(**{"hidden": 8, "num_layers": 2, "reach": 2, **own})
    model = Model(
        encoder, decoder, likelihood, shape, latent_dim, mask, num_conditions=num_conditions
    )
    shapes, draw = jax.eval_shape(model.init, keys.quick(0)), np.random.default_rng(0).normal
    return model, jax.tree.map(lambda v: jnp.asarray(draw(0, scale, v.shape), v.dtype), shapes)


def normal(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def pixels(*shape):
    """Black and white ones."""
    return np.float32(np.random.default_rng(1).random(shape) < 0.5)


@jax.jit
def decode(model, params, z, x=None):
    return model.decode(params, z, x)


@jax.jit
def log_prob(model, params, z, x):
    return -model.distortion(params, z, {"x": x, "mask": jnp.ones(len(x))})


def every_picture():
    """All binary pictures of 2×2 pixels, [16, 2, 2, 1]."""
    return np.float32(list(itertools.product((0.0, 1.0), repeat=4))).reshape(-1, *BITS)


def uninformed(params):
    """The same parameters, but the map of z adds nothing to any layer."""
    own = params["decoder"]
    codes = {n: jax.tree.map(jnp.zeros_like, v) for n, v in own.items() if n.startswith("code_")}
    assert codes
    return {**params, "decoder": {**own, **codes}}


def test_a_pixel_depends_on_all_pixels_before_it_and_on_no_other():
    """No effect is exactly 0, and there is no blind spot: the reach covers the picture."""
    shape = (4, 5, 2)
    model, params = make(shape, likelihoods.Gaussian(1.0), num_layers=4)
    x = normal(1, 3, *shape)
    z = normal(2, 3, LATENT_DIM)

    @jax.jit
    def effects(params):
        def outputs(x, z):
            return model.decode(params, z[None], x[None])[0]

        slopes = jnp.abs(jax.vmap(jax.jacfwd(outputs))(x, z)).max(axis=0)
        return slopes.reshape(20, 2, 20, 2).max(axis=(1, 3))

    found = np.asarray(effects(params))
    np.testing.assert_array_equal(found > 0, np.tri(20, k=-1) > 0)


def test_the_reach_is_that_of_its_layers():
    """Of one pixel's output: a rectangle above it, and the pixels left of it."""
    shape, reach, num_layers = (7, 11, 1), 2, 2
    model, params = make(shape, likelihoods.Gaussian(1.0), num_layers=num_layers, reach=reach)
    x = normal(1, 4, *shape)

    @jax.jit
    def effects(params):
        def output(x):
            z = np.tile(CODE, (len(x), 1))
            return model.decode(params, z, x)[:, 5, 5, 0].sum()

        return jnp.abs(jax.grad(output)(x)).max(axis=0)[..., 0]

    far = reach + num_layers - 1
    expected = np.zeros(shape[:2], bool)
    expected[5, 5 - far : 5] = True
    # the horizontal stack hears the vertical one at its own column, and at those left of it
    expected[5 - far : 5, 5 - far : 5 + far + 1] = True
    found = np.asarray(effects(params)) > 0
    np.testing.assert_array_equal(found[expected], True)
    assert not found[:, 5 + far + 1 :].any()
    assert not found[5, 5:].any()
    assert not found[6:].any()
    assert not found[: 5 - far].any()


@pytest.mark.parametrize("dropout", [0.0, 1.0])
def test_the_probabilities_of_all_pictures_sum_to_one(dropout):
    x = every_picture()
    model, params = make(scale=1.0, teacher_dropout=dropout)
    found = log_prob(model, params, np.tile(CODE, (len(x), 1)), x)
    assert np.exp(np.float64(found)).sum() == pytest.approx(1.0, abs=1e-5)
    # if pixels are independent given z, the log-odds add up: this picture is not those two
    log_odds = found[0b0000] + found[0b1001] - found[0b1000] - found[0b0001]
    assert (abs(float(log_odds)) < 1e-5) == (dropout == 1.0)


def test_without_its_code_it_is_a_density_of_pictures_alone():
    x = every_picture()
    model, params = make(scale=1.0)
    told, plain = (
        np.stack([log_prob(model, p, jnp.full((len(x), LATENT_DIM), s), x) for s in (0.0, 3.0)])
        for p in (params, uninformed(params))
    )
    assert np.abs(told[0] - told[1]).max() > 0.1
    np.testing.assert_array_equal(plain[0], plain[1])
    assert np.exp(np.float64(plain[0])).sum() == pytest.approx(1.0, abs=1e-5)


def test_draws_follow_the_probabilities():
    x, num = every_picture(), 10_000
    model, params = make(scale=1.0)
    expected = np.exp(np.float64(log_prob(model, params, np.tile(CODE, (len(x), 1)), x)))
    z = np.tile(CODE, (num, 1))
    draws, means = jax.jit(model.sample_given)(params, keys.quick(3), z)
    numbers = np.asarray(draws).reshape(num, 4) @ [8, 4, 2, 1]
    shares = np.bincount(numbers.astype(int), minlength=16) / num
    assert np.all(np.abs(shares - expected) < 5 * np.sqrt(expected * (1 - expected) / num) + 1e-6)
    # the mean of each pixel is that given the drawn ones before it
    outputs = decode(model, params, z[:5], draws[:5])
    expected = scipy.special.expit(np.asarray(outputs))
    np.testing.assert_allclose(means[:5], expected, rtol=1e-4, atol=1e-5)


LEVELS = {
    "bernoulli": (likelihoods.Bernoulli(), (3, 4, 1)),
    "bernoulli of colors": (likelihoods.Bernoulli(), (3, 2, 3)),
    "categorical of colors": (likelihoods.Categorical(num_levels=5), (2, 3, 3)),
    "logistic mixture": (likelihoods.LogisticMixture(8, 3), (3, 3, 1)),
    "logistic mixture of colors": (likelihoods.LogisticMixture(8, 3), (3, 2, 3)),
}


@pytest.mark.parametrize(
    ("name", "network"),
    [
        *((name, "pixel") for name in LEVELS),
        ("logistic mixture of colors", "gru"),
        *(
            pytest.param(name, "gru", marks=pytest.mark.slow)
            for name in LEVELS
            if name != "logistic mixture of colors"
        ),
    ],
)
def test_its_own_modes_are_those_of_teacher_forcing_on_them(name, network):
    """Also of channels that depend on each other: a step knows that it is a pixel."""
    likelihood, shape = LEVELS[name]
    model, params = make(shape, likelihood, network, scale=1.0)
    z = 4.0 * normal(5, 20, LATENT_DIM)

    @jax.jit
    def both(params):
        free = model.decode(params, z)
        said = likelihood.mode(params["likelihood"], free)
        return free, said, model.decode(params, z, said)

    free, said, forced = both(params)
    np.testing.assert_allclose(forced, free, rtol=1e-3, atol=1e-4)
    assert said.shape == (20, *shape)
    assert len(np.unique(said)) > 1


def test_a_variance_of_each_pixel_is_that_of_its_step():
    """Draws of a Gaussian have the deviation that was learned for the pixel."""
    likelihood = likelihoods.Gaussian("learned_per_dimension")
    model, params = make((2, 3, 2), likelihood)
    deviations = jnp.arange(1.0, 13.0).reshape(2, 3, 2)
    params = {**uninformed(params), "likelihood": {"logvar": 2.0 * jnp.log(deviations)}}
    # a decoder whose outputs are 0
    output = jax.tree.map(jnp.zeros_like, params["decoder"]["output"])
    params["decoder"]["output"] = output
    z = np.zeros((4000, LATENT_DIM), np.float32)
    draws, _ = jax.jit(model.sample_given)(params, keys.quick(1), z)
    np.testing.assert_allclose(draws.std(axis=0), deviations, rtol=0.06)


def test_a_picture_at_once_is_its_rows_one_after_another():
    """The two stacks over a whole picture, and over a part of it with what they kept before."""
    model, params = make((4, 3, 1), num_layers=3)
    x = pixels(2, 4, 3, 1)
    z = normal(2, 2, LATENT_DIM)

    def along(own):
        steps = jnp.asarray(x.reshape(2, -1, 1))
        return model.decoder.apply({"params": own}, z, feed=lambda t, _: (steps[:, t],) * 2)

    outputs, fed = jax.jit(along)(params["decoder"])
    np.testing.assert_array_equal(fed, x)
    np.testing.assert_allclose(outputs, decode(model, params, z, x), rtol=1e-4, atol=1e-5)


def test_teacher_dropout_drops_pixels_in_training_alone():
    model, params = make((2, 3, 1), teacher_dropout=0.25, num_layers=1, reach=1)
    num = 400
    x, z = np.zeros((num, 2, 3, 1), np.float32), np.tile(CODE, (num, 1))

    @jax.jit
    def everything(params):
        keyed = [model.replace(teacher_key=keys.quick(k)).decode(params, z, x) for k in (0, 1)]
        # a decoder that is never told, but for its keys
        deaf = model.decoder.apply({"params": params["decoder"]}, z)
        return model.decode(params, z, x), keyed, deaf

    told, (one, other), deaf = everything(params)
    assert np.abs(one - other).max() > 0
    # the first pixel hears nothing, and the second of the first alone
    np.testing.assert_allclose(one[:, 0, 0], told[:, 0, 0], atol=1e-6)
    is_told = np.isclose(one[:, 0, 1], told[:, 0, 1], atol=1e-6)[:, 0]
    assert is_told.mean() == pytest.approx(0.75, abs=5 * math.sqrt(0.25 * 0.75 / num))
    # a black pixel is another thing than one that is not there
    np.testing.assert_allclose(one[~is_told, 0, 1], deaf[~is_told, 0, 1], atol=1e-6)
    assert np.abs(told[:, 0, 1] - deaf[:, 0, 1]).min() > 1e-3


def test_with_full_teacher_dropout_it_does_not_read_x():
    model, params = make(teacher_dropout=1.0)
    x = every_picture()
    z = np.tile(CODE, (len(x), 1))
    assert not model.reads_x
    np.testing.assert_array_equal(decode(model, params, z, x), decode(model, params, z))


def test_a_masked_network_starts_as_an_unmasked_one_of_that_size():
    mask = jnp.array([1.0, 1.0, 0.0, 0.0])
    native = make(num_layers=1)[0]
    masked = make(latent_dim=4, mask=mask, num_layers=1)[0]
    x = every_picture()

    @jax.jit
    def both(key):
        a, b = native.init(key), masked.init(key)
        p, q = native.encode(a, x), masked.encode(b, x)
        rate = distributions.kl_divergence(q, masked.prior(b))
        z = q.sample(jax.random.fold_in(key, 1))
        return p.mean, q.mean, rate, native.decode(a, z[:, :2], x), masked.decode(b, z, x)

    mean, wide, rate, outputs, of_masked = both(keys.quick(0))
    np.testing.assert_allclose(wide[:, :2], mean, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(rate[:, 2:], 0.0)
    np.testing.assert_allclose(of_masked, outputs, rtol=1e-5, atol=1e-6)


def test_conditions_reach_the_pixels():
    """Several conditions of one code: a row of outputs for each."""
    model, params = make(num_conditions=3)
    every = model.given(jnp.eye(3))
    z = np.tile(CODE, (3, 1))
    free = jax.jit(lambda params: every.decode(params, z))(params)
    assert free.shape == (3, *BITS)
    assert np.abs(free[0] - free[1]).max() > 1e-4


def test_bfloat16_computes_in_half_and_returns_float32():
    full, params = make((3, 3, 1))
    half = full.replace(decoder=full.decoder.clone(dtype=jnp.bfloat16))
    z = np.tile(CODE, (2, 1))
    x = pixels(2, 3, 3, 1)

    @jax.jit
    def run(params):
        return half.decode(params, z, x), half.decode(params, z), full.decode(params, z, x)

    told, free, expected = run(params)
    assert told.dtype == free.dtype == jnp.float32
    assert 0 < float(np.abs(told - expected).max()) < 0.1


def test_what_is_no_image_is_refused():
    with pytest.raises(UsageError, match=r"network 'pixel' needs images \[H, W, C\], the data has"):
        networks.build("pixel", shape=(5,), latent_dim=2)
    with pytest.raises(UsageError, match="network 'pixel' needs at least one channel width"):
        networks.build("pixel", shape=BITS, latent_dim=2, widths=())


def test_a_file_cannot_ask_for_endless_layers(tmp_path):
    model, params = make()
    deep = model.replace(decoder=model.decoder.clone(num_layers=101))
    with pytest.raises(UsageError, match="decoder has 101 layers, more than 100"):
        exported.save(tmp_path / "a", deep, params)


def test_what_is_read_of_a_pixel_tells_that_it_is_there():
    told = pixel._told(jnp.zeros((1, 1, 2, 3)))
    np.testing.assert_array_equal(told, [[[[0, 0, 0, 1]] * 2]])


@pytest.mark.slow
def test_a_sweep_trains_resumes_to_the_bit_is_drawn_and_measured(tmp_path, monkeypatch):
    """Two sizes of the code in one program, with teacher dropout; then what each left."""
    flags = {
        **{"network": "pixel", "widths": "4,4", "likelihood": "bernoulli", "num_valid": "0"},
        **{"binarization": "dynamic", "teacher_dropout": "0.3", "learning_rate": "1e-3"},
    }

    def both(folder, epochs):
        configs = [
            config.from_flags({**flags, "latent_dim": size, "epochs": epochs}) for size in "23"
        ]
        return train.train(configs, workdir=folder)

    with monkeypatch.context() as patch:
        patch.setattr(pictures, "draw", lambda *_: [])
        whole = both(tmp_path / "whole", "2")
        both(tmp_path / "twice", "1")
    twice = both(tmp_path / "twice", "2")
    for one, again in zip(whole, twice, strict=True):
        assert one["elbo"] == again["elbo"]
        assert np.isfinite(one["elbo"])
    trained = metrics.load(tmp_path / "twice", 0)
    subject = metrics.make_subject(trained, seed=0, num_examples=50)
    request = metrics.Request(("nll", "reconstruction"), {"nll": {"num_samples": 5}})
    measure = functools.partial(metrics.measure, trained, subject, request)
    assert np.isfinite(measure("nll")["values"]["nll"])
    (note,) = measure("reconstruction")["notes"]
    assert "feeds back the modes of its own outputs" in note
    # draws of binary pixels, not their means
    drawn = np.loadtxt(tmp_path / "twice" / "plots" / "samples.csv", delimiter=",", skiprows=1)
    assert set(drawn[:, 1:].ravel()) == {0.0, 1.0}
