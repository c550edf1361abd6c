"""`fitting.fit`: what does not fit together is refused in one line before anything is compiled."""

import functools
import json
import math
import os
import re
import subprocess
import sys
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from properties import initial, slow

import vae_jax
from vae_jax import (
    data,
    fitting,
    keeping,
    latents,
    likelihoods,
    networks,
    objectives,
    schedules,
    sources,
    training,
)
from vae_jax.errors import DataError, UsageError
from vae_jax.model import Model

SHAPE, L, N = (6,), 3, 40
X = np.random.default_rng(0).random((N, *SHAPE)).astype(np.float32)
LABELS = np.arange(N) % 3


def make(likelihood=None, latent=None, shape=SHAPE, num=0, classes=None):
    likelihood = likelihood or likelihoods.Bernoulli()
    latent = latent or latents.Gaussian()
    modules = networks.build(
        "mlp",
        shape=shape,
        latent_dim=L,
        widths=(4,),
        num_outputs=likelihood.num_outputs,
        num_parts=len(latent.parts),
    )
    model = Model(*modules, likelihood, shape, L, latent=latent, num_conditions=num)
    return model.replace(classes=classes)


def begin(objective, model, x, settings=None, preprocess=None):
    """All that `fit` does before it compiles: (the training, its rows, its hyperparameters)."""
    program = planned(objective, model, x, settings, preprocess=preprocess).program
    hparams = jax.tree.map(lambda leaf: leaf[0], program.layout.read(program.hparams))
    return program.train, program.rows("train"), hparams


def planned(objective, model, x, settings=None, **changes):
    """A training that is checked, and not compiled."""
    asked = {"seed": 0, "learning_rate": 1e-3, "adam": None, "clip_norm": None, "skip_norm": None}
    asked |= {"ema_decay": None, "init_scale": None, "weight_decay": None}
    options = {"epochs": 2, "batch_size": 16, **changes}
    return fitting._planned(objective, model, x, settings or {}, asked, **options)


def constant(value):
    return schedules.constant(value)


def refused(error, message, *arguments, **options):
    with pytest.raises(error, match=message) as caught:
        begin(*arguments, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- Objectives


def test_a_name_a_function_and_what_is_bound_are_one_training():
    """Also where the function was given its N, or a hyperparameter, beforehand."""
    load, bind = objectives.load("beta_tc_vae"), objectives.bind("beta_tc_vae", num_examples=N)
    beta = {"beta": 3.0}
    ways = [
        ("beta_tc_vae", beta),
        (load, beta),
        (bind, beta),
        (functools.partial(load, num_examples=N, beta=3.0), {}),
        (lambda *a, num_examples, beta: load(*a, num_examples=num_examples, beta=beta), beta),
    ]
    model = make()
    params, batch = initial(model), {"x": jnp.asarray(X[:16]), "mask": jnp.ones(16)}
    units = {"steps_per_epoch": 3, "num_steps": 6}
    bound = [fitting._bound(objective, settings, N, units)[2:] for objective, settings in ways]
    bound = [(loss, schedules.evaluate(left, 0)) for loss, left in bound]
    bound.append((objectives.bind(load, num_examples=9), beta))

    @jax.jit
    def losses(params):
        return [loss(model, params, batch, jax.random.key(1), **left)[0] for loss, left in bound]

    first, *others, of_fewer = losses(params)
    for loss in others:
        np.testing.assert_array_equal(loss, first)
    assert np.abs(of_fewer - first).max() > 0


def test_the_optimizer_is_the_one_that_is_asked_for():
    """Two steps of plain gradient descent, on a loss whose slope in θ is θ − mean x."""

    def loss(model, params, batch, key):
        del model, key
        return 0.5 * jnp.square(batch["x"] - params["likelihood"]["logvar"]).sum(axis=1), {}

    def sgd(h):
        return optax.sgd(h["learning_rate"])

    model = make(likelihoods.Gaussian("learned"), shape=(1,))
    x, options = np.full((4, 1), 2.0, np.float32), {"epochs": 2, "batch_size": 4}
    before = model.init(training.stream(0, "init"))["likelihood"]["logvar"]
    ways = {
        "hyperparameters": {"optimizer": sgd, "learning_rate": 0.25},
        "a learning rate": {"optimizer": optax.sgd, "learning_rate": lambda step: 0.25},
        "a transformation": {"optimizer": optax.sgd(0.25)},
    }
    for way, chosen in ways.items():
        trained = fitting.fit(loss, model, x, **chosen, **options)
        after = trained.params["likelihood"]["logvar"]
        expected = 2.0 + 0.75**2 * (before - 2.0)
        np.testing.assert_allclose(after, expected, rtol=1e-6, err_msg=way)
        # whose learning rate is its own
        assert ("learning_rate" in trained.history[0]) == (way != "a transformation")


def test_words_and_counts_of_an_objective_are_static():
    model = make(latent=objectives.latent("vq_vae", num_codes=8, code_dim=3))
    settings = {"num_codes": np.int64(8), "code_dim": 3, "codebook": "gradient", "revival": 0.5}
    for objective in ("vq_vae", objectives.load("vq_vae")):
        train, _, hparams = begin(objective, model, X, settings)
        assert hparams.objective["revival"] == constant(0.5)
        state = jax.eval_shape(train.init, hparams)
        assert state.params["objective"]["count"].shape == (1, 8)
    small = objectives.bind("vq_vae", num_examples=N, num_codes=8, code_dim=3)
    assert begin(small, model, X, {"codebook": "gradient"})[2].objective == {}
    assert "codebook" not in hparams.objective


def test_python_has_the_defaults_of_the_flags():
    model = make(latent=objectives.latent("stacked"))
    _, _, hparams = begin("stacked", model, X)
    assert hparams.objective["pretrained"] == schedules.parse("linear(0, 1, 30%)", num_steps=6)
    chosen = begin("stacked", model, X, {"pretrained": 0.5})[2].objective
    assert chosen["pretrained"] == constant(0.5)


@pytest.mark.parametrize(
    ("objective", "settings", "message"),
    [
        ("beta_vea", {}, r"objective 'beta_vea' is unknown \(did you mean beta_vae\?\)"),
        (None, {}, "objective=None: must be a name .autoencoder, .*, an Objective, or a function"),
        ("beta_vae", {"bta": 1.0}, r"hyperparameter of beta_vae 'bta' is unknown \(did you mean b"),
        (
            objectives.load("m2"),
            {"num_labeled": 3},
            "'num_labeled' is unknown.*: choose from alpha",
        ),
        (lambda model, params, batch, key, *, weight: None, {"wait": 1.0}, "did you mean weight"),
        ("iwae", {"num_samples": 0}, "num_samples=0: must be at least 1"),
        ("iwae", {"num_samples": 2.5}, "num_samples=2.5: must be an integer"),
        ("sparse", {"penalty": "l2"}, "penalty 'l2' is unknown.*: choose from l1, kl"),
    ],
)
def test_an_objective_that_is_none_is_refused(objective, settings, message):
    refused(UsageError, message, objective, make(), X, settings)


@pytest.mark.parametrize(
    ("name", "latent", "settings"),
    [
        ("k_sparse", latents.Gaussian(), {}),
        ("k_sparse", latents.Deterministic(), {}),
        ("k_sparse", latents.Gaussian(), {"num_active": 2}),
        ("sparse", latents.Deterministic("relu"), {"penalty": "kl"}),
        ("vq_vae", latents.Gaussian(), {"code_dim": 3}),
        ("beta_vae", latents.Categorical(3), {}),
        ("joint_vae", latents.Categorical(3), {"num_categories": 2}),
    ],
)
@pytest.mark.parametrize("is_bound", [True, False])
def test_other_latents_are_refused_and_the_remedy_is_one(name, latent, settings, is_bound):
    objective, left = name, settings
    if is_bound:
        objective, left = objectives.bind(name, num_examples=N, **settings), {}
    asked = objectives.latent(name, **settings)
    message = refused(UsageError, "asks for latents", objective, make(latent=latent), X, left)
    remedy = re.search(r"Model\(…, latent=latents\.(\w+\(.*?\))\)", message)[1]
    assert eval(remedy, vars(latents)) == asked
    assert f"an encoder that returns ({', '.join(asked.parts)})" in message
    begin(objective, make(latent=asked), X, left)


def test_a_size_of_the_latents_may_also_be_told_to_the_objective():
    model = make(latent=latents.Quantized(8, 3))
    message = refused(UsageError, "asks for latents.Quantized", "vq_vae", model, X)
    begin(
        "vq_vae",
        model,
        X,
        eval(re.search(r"or give fit\(…, (.*)\)", message)[1].join(["dict(", ")"])),
    )
    # no code is kept in none: that is no remedy
    model = make(latent=latents.Deterministic())
    assert "or give" not in refused(UsageError, "k_sparse asks", "k_sparse", model, X)


def test_a_function_of_ones_own_takes_any_latents():
    def loss(model, params, batch, key, *, weight=1.0):
        z = model.encode(params, batch["x"]).mode
        return weight * model.distortion(params, z, batch), {}

    train, _, hparams = begin(loss, make(latent=latents.Deterministic()), X, {"weight": 2.0})
    assert jax.eval_shape(train.init, hparams).params["encoder"]


# --- What is known of each row


@pytest.mark.parametrize("name", ["condition", "labels"])
def test_labels_of_the_user_reach_the_model(name):
    words = np.array(["cat", "dog", "owl"])[LABELS]
    _, rows, _ = begin("cvae", make(num=3, classes=("cat", "dog", "owl")), {"x": X, name: words})
    np.testing.assert_array_equal(rows["condition"], LABELS)
    numbers = np.random.default_rng(1).random((N, 3))
    _, rows, _ = begin("cvae", make(num=3), {"x": X, name: numbers})
    np.testing.assert_array_equal(rows["condition"], numbers.astype(np.float32))


def test_unknown_labels_are_hidden_from_the_loss():
    some = np.where(LABELS == 1, -1, 10 * (1 + LABELS))
    _, rows, _ = begin("m2", make(num=3, classes=(10, 20, 30)), {"x": X, "labels": some})
    np.testing.assert_array_equal(rows["labels"], np.where(LABELS == 1, -1, LABELS))
    assert float(rows["weight"].sum()) == pytest.approx(N)
    np.testing.assert_array_equal(rows["weight"] > 0, LABELS != 1)
    deep = make(latent=latents.Deterministic("sigmoid"))
    _, rows, _ = begin("dbn", deep, {"x": X, "labels": [None, *LABELS[1:]]}, {"num_classes": 3})
    np.testing.assert_array_equal(rows["truth"], [-1, *LABELS[1:]])


CVAE, M2 = ("cvae", {"num": 3}), ("m2", {"num": 3})
DBN = ("dbn", {"latent": latents.Deterministic("sigmoid")})


@pytest.mark.parametrize(
    ("given", "told", "message"),
    [
        (
            ("cvae", {}),
            {"labels": LABELS},
            "cvae gives the model a condition, .* num_conditions=C",
        ),
        (CVAE, {}, r"give \{'x': x, 'labels': y\} in place of x, y \[N\], or"),
        (CVAE, {"condition": LABELS[:-1]}, "condition: has 39 rows, x has 40: give one for each"),
        (CVAE, {"condition": [*LABELS, 0]}, "condition: has 41 rows, x has 40"),
        (CVAE, {"condition": LABELS + 1}, r"condition: 3 in row 2 .* none of the classes 0 … 2"),
        (CVAE, {"condition": LABELS - 1}, r"condition: -1 in row 0 .* none of the classes 0 … 2"),
        (CVAE, {"labels": LABELS + 0.5}, "labels: 0.5 in row 0"),
        (CVAE, {"condition": np.ones((N, 2))}, r"condition: has shape \[40, 2\], .* \[B, 3\]"),
        (CVAE, {"condition": np.full((N, 3), np.nan)}, "condition: is nan in row 0, column 0"),
        (M2, {}, r"asks for labels: give \{'x': x, 'labels': y\} .* −1 where a label is unknown"),
        (
            M2,
            {"labels": LABELS + 1},
            "labels: 3 in row 2 .*0 … 2: give one of these, or −1 if",
        ),
        (M2, {"labels": LABELS - 2}, "labels: -2 in row 0"),
        (M2, {"labels": LABELS + 0.5}, "labels: 0.5 in row 0"),
        (M2, {"labels": np.full(N, -1)}, "labels: all 40 are unknown"),
        (M2, {"labels": LABELS[:, None]}, r"labels: have shape \[40, 1\]: give one for each row"),
        (DBN, {}, "asks for labels"),
        (DBN, {"labels": 5 * LABELS}, "labels: 10 in row 2 .* none of the classes 0 … 9"),
    ],
)
def test_conditions_that_do_not_do_are_refused(given, told, message):
    name, options = given
    refused(UsageError, message, name, make(**options), {"x": X, **told})


# --- What x is


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (X[:0], "x: has no rows"),
        (np.float32(3), r"x=.*: is no array"),
        ([[1.0, 2.0], [3.0]], "x: has rows of several lengths"),
        ({"y": X}, "data: holds 'y': give 'x'"),
        ({"x": X, "names": ["a"] * N}, "names: holds <U1, must be real numbers"),
        (np.array([["a"] * 6] * N), "x: holds <U1, must be real numbers"),
        (X.astype(complex), "x: holds complex128, must be real numbers"),
        (X.astype(object), "x: holds object, must be real numbers"),
        (np.round(X).astype(np.uint8), "x holds uint8: give floats in the range of the likelihood"),
        (
            X[:, :5],
            r"x: has examples of shape \[5\], the model takes \[6\]: give another x, ",
        ),
        (X.reshape(N, 2, 3), r"shape \[2, 3\], the model takes \[6\]: give x.reshape\(-1, 6\)"),
    ],
)
def test_invalid_data_are_refused(x, message):
    refused(UsageError, message, "beta_vae", make(), x)


@pytest.mark.parametrize("kind", [np.asarray, jnp.asarray])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_not_finite_is_named_with_its_place(value, kind, monkeypatch):
    x = X.copy()
    x[7, 2] = x[33, 5] = x[33, 0] = value
    message = rf"^x: 3 value\(s\) are not finite, the first is {value} in row 7, column 2: fill"
    for num_bytes in (2**24, 50):
        monkeypatch.setattr(sources, "_BLOCK_BYTES", num_bytes)
        for likelihood in (likelihoods.Bernoulli(), likelihoods.Gaussian()):
            refused(DataError, message, "beta_vae", make(likelihood), kind(x))
    begin("beta_vae", make(), x[np.isfinite(x).all(axis=1)])
    images = x.reshape(N, 3, 2, 1)
    model = make(shape=(3, 2, 1))
    refused(DataError, r"in row 7, column \[1, 0, 0\]", "beta_vae", model, kind(images))


@pytest.mark.parametrize("name", ["x", "labels"])
def test_masked_arrays_are_refused(name):
    """NumPy's own conversion to an array takes what lies below a mask as values."""
    mask = np.zeros((N, 6) if name == "x" else N, bool)
    mask[3, ...] = True
    told = {"x": X, "labels": LABELS}
    told = {**told, name: np.ma.masked_array(told[name], mask)}
    place = "row 3, column 0" if name == "x" else "row 3"
    message = rf"^{name}: {mask.sum()} of {mask.size} values are masked, the first in {place}: fill"
    refused(DataError, message, "cvae", make(num=3), told)
    if name == "x":
        refused(DataError, message, "beta_vae", make(), told["x"])
    kept = {**told, name: np.ma.masked_array(told[name].data, False)}
    begin("cvae", make(num=3), kept)


def test_preprocessed_values_are_checked():
    x = np.full((N, *SHAPE), 255, np.uint8)
    x[:, 0] = 0

    def divided(stored, key):
        return stored.astype(jnp.float32) / 255

    begin("beta_vae", make(), x, preprocess=divided)
    raw = {"preprocess": lambda stored, key: stored.astype(jnp.float32)}
    refused(
        DataError,
        r"needs values in \[0, 1\], x has values in \[0, 255\]",
        "beta_vae",
        make(),
        x,
        **raw,
    )
    logs = {"preprocess": lambda stored, key: jnp.log(stored.astype(jnp.float32))}
    refused(DataError, "first is -inf in row 0, column 0", "beta_vae", make(), x, **logs)


def test_numbers_may_be_missing_where_the_likelihood_says_so():
    x = X.copy()
    x[3, 4:] = np.nan
    likelihood = likelihoods.Gaussian(has_missing=True)
    begin("beta_vae", make(likelihood), x)
    x[5, 1] = np.inf
    refused(DataError, "1 value.* inf in row 5, column 1", "beta_vae", make(likelihood), x)


LEVELS = np.round(X * 255).astype(np.float32)
CATEGORICAL, LOGISTIC = likelihoods.Categorical(256), likelihoods.DiscretizedLogistic()
RESCALED = r": rescale it, (x = \(x - x\.min\(\)\) / \(x\.max\(\) - x\.min\(\)\))"


@pytest.mark.parametrize(
    ("x", "likelihood", "message"),
    [
        (LEVELS, likelihoods.Bernoulli(), r"Bernoulli\(\): needs values in \[0, 1\], x .* 254\]"),
        (X - 0.5, likelihoods.Bernoulli(), r"needs values in \[0, 1\], x has values in \[-0\.4"),
        (X * 1e20, likelihoods.Bernoulli(), r"x has values in .*e\+19\]"),
        (X * 1e20, likelihoods.Gaussian(), r"no likelihood fits values beyond ±4.4e\+05"),
        (X.astype(np.float64) * 1e300, likelihoods.Gaussian(), r"e\+299\], no likelihood fits"),
        (X * -1e7, likelihoods.Laplace(), "no likelihood fits values beyond"),
        (X * 1e-20, likelihoods.Gaussian(), "no likelihood tells apart what"),
    ],
)
def test_values_that_the_likelihood_cannot_take_are_refused(x, likelihood, message):
    found = refused(DataError, f"{message}.*{RESCALED}", "beta_vae", make(likelihood), x)
    names = {"x": x}
    exec(re.search(RESCALED, found)[1], names)
    begin("beta_vae", make(likelihood), names["x"].astype(np.float32))


@pytest.mark.parametrize("likelihood", [CATEGORICAL, LOGISTIC])
def test_levels_are_on_their_grid(likelihood):
    begin("beta_vae", make(likelihood), LEVELS / 255)
    for x in (LEVELS, X, LEVELS / 254, -LEVELS / 255):
        message = r"needs discrete levels, x has values in .* give level k as k / 255"
        refused(DataError, message, "beta_vae", make(likelihood), x)
    begin("beta_vae", make(likelihoods.Gaussian()), X)


def test_text_is_levels_too():
    text = np.array([[1, 2, 0], [3, 0, np.nan]] * 20, np.float32)
    model = Model(
        *networks.build("gru", shape=(3,), latent_dim=2, widths=(4,), num_outputs=4),
        likelihoods.Text(4),
        (3,),
        2,
    )
    begin("beta_vae", model, text / 3)
    refused(DataError, "which holds numbers: give the k-th of V", "beta_vae", model, text)


def test_far_columns_are_named_with_a_remedy():
    x = np.random.default_rng(0).normal(size=(2000, *SHAPE)).astype(np.float32)
    x[11, 4] = 90
    with pytest.warns(UserWarning, match=r"in 1 of 6 columns, .* column 4 \(4\d.* in x"):
        begin("beta_vae", make(likelihoods.Gaussian()), x)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        begin("beta_vae", make(likelihoods.Laplace()), x)
        low, high = x.min(0), x.max(0)
        begin("beta_vae", make(likelihoods.Gaussian()), (x - low[None]) / (high - low)[None])


def test_traced_values_are_not_checked():
    @jax.jit
    def see(x):
        sources.check_values(x, make(), None)
        return x

    assert np.isnan(see(jnp.full((2, 6), jnp.nan))).all()


def test_a_dataset_of_ours_fits_as_it_is_stored():
    digits = data.load("digits")
    model = make(shape=digits.shape)
    _, rows, _ = begin("beta_vae", model, digits.train.x, preprocess=lambda x, _: digits.decode(x))
    assert rows["x"].dtype == jnp.uint8


# --- Scale, and the width of numbers


@pytest.mark.parametrize("likelihood", [likelihoods.Gaussian(), likelihoods.Laplace(1.0)])
@pytest.mark.parametrize(("scale", "is_far"), [(1, False), (15, False), (255, True), (4e5, True)])
def test_values_that_are_far_from_where_a_decoder_begins_are_warned_of(likelihood, scale, is_far):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        begin("beta_vae", make(likelihood), X * scale)
    told = [str(warning.message) for warning in caught]
    assert len(told) == is_far
    if is_far:
        assert re.match(r"x: values in \[.*\], .* in the root mean square, are far from 0", told[0])
        assert told[0].endswith("rescale it, x = (x - x.min()) / (x.max() - x.min())")
        x = X * scale
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            begin("beta_vae", make(likelihood), (x - x.min()) / (x.max() - x.min()))


def test_a_wide_likelihood_takes_values_as_wide():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        begin("beta_vae", make(likelihoods.Gaussian(255.0**2)), X * 255)


def test_the_shell_s_64_bits_change_no_number():
    """Of a model, data and hyperparameters that were made in 64 bits, too."""

    def numbers():
        rate = jnp.asarray(1e-3)
        x, beta = jnp.asarray(X.astype(np.float64)), schedules.linear(0.0, 2.0, 5)
        options = {"epochs": 2, "batch_size": 16, "learning_rate": rate, "seed": jnp.asarray(0)}
        trained = fitting.fit("beta_vae", make(), x, beta=beta, **options)
        state = trained.state
        return jax.tree.leaves((state.params, state.opt_state, trained.history))

    narrow = numbers()
    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", True)
    try:
        wide = numbers()
    finally:
        jax.config.update("jax_enable_x64", before)
    assert len(narrow) == len(wide)
    for one, other in zip(narrow, wide, strict=True):
        np.testing.assert_array_equal(one, other)
        assert np.asarray(one).dtype == np.asarray(other).dtype


@pytest.mark.parametrize("name", ["factor_vae", "beta_tc_vae", "vq_vae", "k_sparse"])
def test_a_loss_alone_is_no_training_where_its_objective_has_more(name):
    options = {"preprocess": sources.undecoded, "num_examples": N, "batch_size": 8}
    with pytest.raises(UsageError, match=r"is without .*: give objectives\.bind\(…, num_examples="):
        training.make_train(objectives.load(name), make(), **options)
    training.make_train(objectives.bind(name, num_examples=N), make(), **options)
    training.make_train(objectives.load("beta_vae"), make(), **options)


# --- Settings have the intervals of the command line


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"clip_norm": -1}, r"^clip_norm=-1: must be finite and > 0"),
        ({"clip_norm": 0}, r"^clip_norm=0: must be finite and > 0"),
        ({"weight_decay": -1, "optimizer": "adamw"}, r"^weight_decay=-1: must be finite and >= 0"),
        ({"ema_decay": 2.0}, r"^ema_decay=2.0: must be a finite number >= 0 and < 1"),
        ({"ema_decay": math.nan}, r"^ema_decay=nan: must be a finite number >= 0 and < 1"),
        ({"ema_decay": "x"}, r"^ema_decay='x': must be a finite number"),
        ({"init_scale": 0}, r"^init_scale=0: must be a finite number >= 1e-06$"),
        ({"ema_decay": 1 - 1e-12}, r"^ema_decay=0.99.*: must be a finite number >= 0 and < 1"),
        ({"init_scale": 1e60}, r"^init_scale=1e\+60: must be a finite number >= 1e-06$"),
        ({"adam": {"b1": 2}}, r"^b1=2: must be a finite number >= 0 and < 1"),
        ({"adam": {"beta1": 0.5}}, r"^setting of adam 'beta1' is unknown.*b1, b2, eps$"),
        ({"adam": 3}, r"^adam=3: must be numbers by name: give adam=\{'b1': 0.9\}$"),
        ({"adam": {"eps": -1}}, r"^eps=-1: must be a finite number >= 1e-20$"),
    ],
    ids=str,
)
def test_numbers_out_of_their_interval_are_refused(settings, message):
    x = np.random.default_rng(0).normal(size=(8, 3)).astype("f4")
    model = vae_jax.make_model(x, likelihood="gaussian", latent_dim=2, widths=[4])
    with pytest.raises(UsageError, match=message):
        vae_jax.fit("beta_vae", model, x, epochs=1, **settings)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"latent_dim": 0}, "latent_dim=0: must be an integer, at least 1"),
        ({"latent_dim": "3"}, "latent_dim='3': must be an integer, at least 1"),
        ({"latent_dim": True}, "latent_dim=True: must be an integer, at least 1"),
        ({"widths": [8, 1.5]}, "widths=1.5: must be an integer, at least 1"),
    ],
    ids=str,
)
def test_sizes_that_are_no_counts_are_refused(sizes, message):
    with pytest.raises(UsageError) as error:
        vae_jax.make_model((6,), likelihood="gaussian", **sizes)
    assert str(error.value) == message


def test_the_ends_of_the_intervals_are_taken():
    x = np.random.default_rng(0).normal(size=(8, 3)).astype("f4")
    model = vae_jax.make_model(x, likelihood="gaussian", latent_dim=2, widths=[4])
    ends = {"init_scale": 1e-6, "ema_decay": 0.0, "adam": {"b1": 0, "eps": 1e-20}}
    assert vae_jax.fit("beta_vae", model, x, epochs=1, clip_norm=1e-3, **ends).step == 1


class Rate:
    def __init__(self, value):
        self.value = value

    def __call__(self, step):
        return self.value

    def at(self, step):
        return self.value


def scaled(constant):
    def loss(model, params, batch, key):
        return constant * model.distortion(params, model.encode(params, batch["x"]).mode, batch), {}

    return loss


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (optax.adam(1e-3), optax.adam(1e-1)),
        (optax.adam(1e-3), optax.sgd(1e-3)),
        (optax.constant_schedule(1e-3), optax.constant_schedule(1e-1)),
        (lambda step: 1.0, lambda step: 7.0),
        (lambda step: 1.0 * step, lambda step: 1.0 + step),
        (scaled(1.0), scaled(100.0)),
        (jax.jit(scaled(1.0)), jax.jit(scaled(100.0))),
        (functools.partial(scaled, 1.0), functools.partial(scaled, 100.0)),
        (Rate(1.0), Rate(2.0)),
        (Rate(1.0).at, Rate(2.0).at),
        (lambda step, rate=1.0: rate, lambda step, rate=2.0: rate),
    ],
    ids=[
        *("rates", "optimizers", "schedules", "constants", "operations", "losses", "jitted"),
        *("partial", "objects", "methods", "defaults"),
    ],
)
def test_functions_that_do_something_else_are_told_apart(one, other):
    """So the checkpoints of one are no beginning for the other."""
    assert keeping.spelled(one) != keeping.spelled(other)
    assert keeping.spelled(one) == keeping.spelled(one)
    json.dumps(keeping.spelled(one))


def test_functions_made_alike_are_spelled_alike():
    for make in (lambda: optax.adam(1e-3), lambda: scaled(2.0), lambda: jax.jit(scaled(2.0))):
        assert keeping.spelled(make()) == keeping.spelled(make())


def test_a_function_that_holds_itself_is_spelled():
    def made(base):
        def power(step):
            return base if step < 1 else base * power(step - 1)

        return power

    assert keeping.spelled(made(2)) == keeping.spelled(made(2)) != keeping.spelled(made(3))


def test_the_next_process_spells_a_function_alike():
    """The order of a set of words differs between processes."""
    program = (
        "from vae_jax import keeping; "
        "print(keeping.spelled(lambda x: x in {'a', 'bc', 'def', 'g', 'hi'}))"
    )
    told = {
        subprocess.check_output(
            [sys.executable, "-c", program], env={**os.environ, "PYTHONHASHSEED": seed}, text=True
        )
        for seed in ("1", "2")
    }
    assert len(told) == 1


@pytest.mark.parametrize("answer", [*slow(True, np.array(True)), np.bool_(True)], ids=repr)
def test_a_callback_stops_training_by_any_true(answer):
    x = np.random.default_rng(0).normal(size=(8, 3)).astype("f4")
    model = vae_jax.make_model(x, likelihood="gaussian", latent_dim=2, widths=[4])
    trained = vae_jax.fit("beta_vae", model, x, epochs=3, callbacks=[lambda epoch: answer])
    assert len(trained.history) == 1
