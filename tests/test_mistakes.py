"""The mistakes of a user in Python: each is one line that says what to give, never a traceback."""

import os

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import vae_jax
from vae_jax import arguments, fitting, keeping, latents, likelihoods, objectives, schedules
from vae_jax.cli import help as help_pages
from vae_jax.errors import DataError, LockedError, UsageError, VaeJaxError
from vae_jax.lab import settings
from vae_jax.storage import exported

pytestmark = pytest.mark.usefixtures("traced_once")

SMALL = {"likelihood": "bernoulli", "latent_dim": 3, "widths": (4,)}
X = np.random.default_rng(0).random((40, 6)).astype(np.float32)
PICTURES = np.random.default_rng(1).random((5, 4, 4, 1)).astype(np.float32)
LABELS = np.arange(40) % 3
Z = np.zeros((5, 3), np.float32)
KEY = jax.random.key(0)


def make(data=X, **changes):
    return vae_jax.make_model(data, **{**SMALL, **changes})


@pytest.fixture(scope="module")
def model():
    """A model of pictures and its parameters."""
    made = make(PICTURES.shape[1:])
    return made, made.init(KEY)


@pytest.fixture(scope="module")
def conditional():
    made = make({"x": X, "labels": LABELS}, objective="cvae")
    return made, made.init(KEY)


def assert_refused(call, message, kind=VaeJaxError):
    """Whether a call ends in one line that begins with, or holds, some words."""
    with pytest.raises(kind) as caught:
        call()
    told = str(caught.value)
    assert message in told, told
    assert "\n" not in told
    assert "object at 0x" not in told


# --- Models


def test_x_of_another_shape_or_kind_is_refused(model):
    made, params = model
    cases = [
        (PICTURES[0], "x: has shape [4, 4, 1], must be [B, 4, 4, 1]: it is one example, give x[N"),
        (PICTURES.reshape(5, -1), "x: has shape [5, 16], must be [B, 4, 4, 1]: give x.reshape(-1,"),
        (PICTURES[..., 0], "give x.reshape(-1, 4, 4, 1)"),
        (PICTURES[:, 1:], "x: has shape [5, 3, 4, 1], must be [B, 4, 4, 1]: give B rows of 16 num"),
        (PICTURES[:0], "x: has no rows"),
        ([[1], [2, 3]], "x: has rows of several lengths"),
        (None, "x=None: must be an array of numbers"),
        ("digits", "x='digits': must be an array of numbers"),
        ({"x": PICTURES}, "x=dict(…): must be an array of numbers"),
        (PICTURES.astype(object), "x: holds object: must be an array of numbers"),
        ((PICTURES * 255).astype(np.uint8), "x: holds uint8, must be floats in the range of"),
        (np.ma.masked_array(PICTURES, PICTURES < 0.1), "values are masked"),
    ]
    for x, message in cases:
        for call in (made.encode, made.reconstruct, made.predict):
            assert_refused(lambda call=call, x=x: call(params, x), message)
    for x in (PICTURES[0].ravel(), None, "a"):
        assert_refused(lambda x=x: made.interpolate(params, x, PICTURES[1], 3), "x0")


def test_codes_of_another_shape_or_kind_are_refused(model):
    made, params = model
    cases = [
        (Z[0], "z: has shape [3], must be [B, 3]: it is one example, give z[None]"),
        (np.zeros((5, 4)), "z: has shape [5, 4], must be [B, 3]: give B rows of 3 number(s) each"),
        (np.zeros((2, 5, 3)), "z: has shape [2, 5, 3], must be [B, 3]"),
        ((Z, Z), "z: has shape [2, 5, 3], must be [B, 3]"),
        (None, "z=None: must be an array of numbers"),
    ]
    for z, message in cases:
        for call in (made.decode, made.decode_mean, lambda p, z: made.sample_given(p, KEY, z)):
            assert_refused(lambda call=call, z=z: call(params, z), message)


def test_lists_are_read_as_arrays(model):
    made, params = model
    np.testing.assert_array_equal(
        made.encode(params, PICTURES.tolist()).mean, made.encode(params, PICTURES).mean
    )
    np.testing.assert_array_equal(made.decode(params, Z.tolist()), made.decode(params, Z))


def test_what_is_no_key_is_refused(model):
    made, params = model
    cases = [
        (7, "key=7: must be a PRNG key: give jax.random.key(7)"),
        (None, "key=None: must be a PRNG key: give jax.random.key(0)"),
        (1.5, "key=1.5: must be a PRNG key"),
        ("a", "key='a': must be a PRNG key"),
        ([0, 1], "key=[0, 1]: must be a PRNG key"),
        (np.zeros(2, np.float32), "key=float32[2]: must be a PRNG key"),
        (jax.random.split(KEY), "key: is [2] keys: give one of them, such as key[0]"),
    ]
    calls = (
        made.init,
        lambda key: made.sample(params, key, 4),
        lambda key: made.sample_given(params, key, Z),
        lambda key: made.update_statistics(params, PICTURES, key),
    )
    for key, message in cases:
        for call in calls:
            assert_refused(lambda call=call, key=key: call(key), message)
    # keys of both kinds draw, also inside of `jit` and `vmap`
    arguments.prng_key(jax.random.PRNGKey(0))
    jax.eval_shape(jax.jit(made.init), KEY)
    jax.eval_shape(jax.vmap(made.init), jax.random.split(KEY))


@pytest.mark.parametrize("num", [0, -1, 2.5, "3", None, True, [3], (2, 3), KEY])
def test_what_is_no_count_is_refused(num, model):
    made, params = model
    told = f"={'key<fry>[]' if num is KEY else repr(num)}: must be an integer, at least "
    assert_refused(lambda: made.sample(params, KEY, num), f"num_samples{told}1")
    ends = PICTURES[0], PICTURES[1]
    assert_refused(lambda: made.interpolate(params, *ends, num), f"num{told}2")


def test_integers_of_any_library_are_counts():
    for value in (3, np.int32(3), np.uint8(3), jnp.int32(3)):
        assert arguments.integer("num", value, 1) == 3


def test_parameters_that_are_not_the_model_s_are_refused(model, conditional):
    made, params = model
    held = "params: is no dict, must hold 'encoder' as Model.init returns it: give trained.params"
    cases = [
        (None, held),
        (vae_jax.Trained(made, params), held),
        ({}, "params: holds nothing, must hold 'encoder'"),
        ({"decoder": 1}, "params: holds 'decoder', must hold 'encoder'"),
        (conditional[1], "network MLPEncoder: the parameters are those of another model"),
    ]
    for wrong, message in cases:
        assert_refused(lambda wrong=wrong: made.encode(wrong, PICTURES), message)
    assert_refused(lambda: made.prior(None), "params: is no dict, must hold 'latent'")


def test_conditions_of_another_number_than_rows_are_refused(conditional):
    made, params = conditional
    told = "the model is given 3 conditions for 4 rows: call model.given(condition) with one for"
    given = made.given([0, 1, 2])
    assert_refused(lambda: given.encode(params, X[:4]), told)
    assert_refused(lambda: given.decode(params, Z[:4]), told)
    assert_refused(lambda: given.sample(params, KEY, 4), told)
    assert len(given.encode(params, X[:6]).mean) == 6
    assert_refused(lambda: made.given({"a": 1}), "condition: {'a': 1} in row 0 is none of the")


def test_parts_of_a_model_of_another_kind_are_refused(model):
    made, _ = model
    cases = [
        ({"encoder": None}, "encoder=None: must be a Linen module"),
        ({"decoder": type(made.decoder)}, "decoder=MLPDecoder: must be a Linen module: give one"),
        ({"likelihood": "bernoulli"}, "likelihood='bernoulli': must be one of vae_jax.likelihoods"),
        ({"likelihood": likelihoods.Bernoulli}, "likelihood=Bernoulli: must be one of vae_jax.lik"),
        ({"latent": latents.Gaussian}, "latent=Gaussian: must be one of vae_jax.latents"),
        ({"shape": 6}, "shape=6: must be the shape of one example: give a tuple"),
        ({"latent_dim": 3.0}, "latent_dim=3.0: must be an integer, at least 1"),
        ({"num_conditions": "3"}, "num_conditions='3': must be an integer, at least 0"),
        ({"latent_mask": jnp.ones(2)}, "latent_mask: has shape [2], must be [3]"),
    ]
    for changes, message in cases:
        assert_refused(lambda c=changes: made.replace(**c).init(KEY), message, UsageError)


def test_a_batch_without_its_mask_is_refused(model):
    made, params = model
    for batch in ({"x": PICTURES}, PICTURES):
        assert_refused(lambda b=batch: made.distortion(params, Z, b), "give {'x': x, 'mask': mask}")


def test_checks_are_free_inside_jit(model, monkeypatch):
    """With and without them, the same operations are traced."""
    made, params = model

    def traced():
        def every(params, key, x):
            return made.predict(params, x), made.sample(params, key, 4)

        return str(jax.make_jaxpr(every)(params, KEY, PICTURES))

    checked = traced()
    monkeypatch.setattr(arguments, "rows", lambda name, value, *_: value)
    monkeypatch.setattr(arguments, "prng_key", lambda key: key)
    monkeypatch.setattr(arguments, "integer", lambda name, value, least: value)
    assert traced() == checked


# --- make_model


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dtype": "flot32"}, "dtype 'flot32' is unknown (did you mean float32?)"),
        ({"dtype": None}, "dtype=None: must be a name: choose from float32, bfloat16, float16"),
        ({"dtype": "int32"}, "dtype 'int32' is unknown"),
        ({"network": None}, "network=None: must be a name: choose from bigru, "),
        ({"network": []}, "network=[]: must be a name"),
        ({"activation": np.abs}, "activation=absolute: must be a name: choose from relu, "),
        ({"activation": 3}, "activation=3: must be a name"),
        ({"likelihood": likelihoods.Gaussian}, "likelihood=Gaussian: is a class: give likelihoods"),
        ({"likelihood": 3}, "likelihood=3: must be a name: choose from bernoulli, "),
        ({"likelihood": "gaussian", "variance": np.ones(6)}, "variance=float64[6]: Gaussian takes"),
        ({"latent_dim": 3.0}, "latent_dim=3.0: must be an integer, at least 1"),
        ({"latent_dim": "3"}, "latent_dim='3': must be an integer, at least 1"),
        ({"latent_dim": [3]}, "latent_dim=[3]: must be an integer, at least 1"),
        ({"widths": 4}, "widths=4: must be a size for each layer: give a tuple"),
        ({"widths": "64"}, "widths='64': must be a size for each layer"),
        (
            {"network": "gru", "teacher_dropout": "a"},
            "teacher_dropout='a': must be a number from 0",
        ),
        ({"objective": dict}, "objective=dict: must be a name"),
        ({"objective": lambda x: x}, "objective=<lambda>: must be a name"),
        ({"objective": "vq_vae", "num_codes": "a"}, "num_codes='a': must be an integer"),
        ({"objective": "vq_vae", "num_codes": None}, "num_codes=None: must be an integer"),
        ({"lr": 0.1}, "lr=0.1: is a setting of fit: give it to fit(…, learning_rate=…)"),
        ({"z_dim": 3}, "z_dim=3: is called latent_dim: give it to make_model(…, latent_dim=…)"),
        ({"betta": 3}, "hyperparameter of beta_vae 'betta' is unknown (did you mean beta?)"),
    ],
)
def test_settings_of_a_model_of_another_kind_are_refused(changes, message):
    assert_refused(lambda: make(**changes), message)


def test_an_activation_may_be_the_function_of_a_name():
    assert make(activation=jax.nn.relu) == make(activation="relu")
    assert make(latent_dim=np.int64(3), widths=np.array([4])) == make()


OF_DATA = [
    (None, "x=None: is no array: give one with a row for each example"),
    ("digits", "data='digits': is a name: give vae_jax.data.load('digits')"),
    ((X, LABELS), "data: is a tuple of 2: give {'x': x, 'labels': y}, or x alone"),
    ([[1.0], [2.0, 3.0]], "x: has rows of several lengths: must be an array with a row for each"),
    (vae_jax.data.load("digits").train, "x: is no array: must be an array with a row for each"),
    ({}, "data: holds nothing: give 'x'"),
    ({"x": X, 3: X}, "data: holds 3: give each array a name other than 'mask'"),
    ({"x": X, "mask": X}, "data: holds 'mask': give each array a name other than 'mask'"),
    ({"x": X, "labels": None}, "labels=None: is no array: give one with a row for each example"),
    (np.array([["a"] * 6]), "x: holds <U1"),
    ((row for row in X), "x=generator(…): is no array"),
]


@pytest.mark.parametrize(("data", "message"), OF_DATA)
def test_data_of_another_kind_are_refused(data, message):
    assert_refused(lambda: make(data), message)
    assert_refused(lambda: fit(data=data), message)
    told = message.removeprefix("x: ").removeprefix("data: ")
    if data is not None:  # which is no validation
        assert_refused(lambda: fit(valid=data), f"valid: {told}")


def test_shapes_of_other_kinds_are_refused():
    for shape, message in [((0,), "shape=0"), ((-1, 6), "shape=-1"), ((6.0,), "shape=6.0")]:
        assert_refused(lambda shape=shape: make(shape), f"{message}: must be an integer, at least")


def test_nan_in_a_table_is_remedied_in_the_table():
    holed = np.where(X < 0.1, np.nan, X)
    message = (
        "x: 27 of 240 values are NaN, the first in row 0, column 2, which network=mlp cannot read: "
        "fill them in, such as numpy.nan_to_num(x), or leave these rows out"
    )
    assert_refused(lambda: make(holed), message, DataError)
    assert_refused(lambda: make({"x": holed}), message, DataError)
    make(np.nan_to_num(holed))
    make(holed[~np.isnan(holed).any(axis=1)])
    # sequences of several lengths, on the other hand, need a network that reads them
    ended = np.ones((4, 8, 2), np.float32)
    ended[1, 5:] = np.nan
    assert_refused(lambda: make(ended), "several lengths: take network=bigru, bilstm, gru or lstm")
    assert make(ended, network="gru").shape == (8, 2)
    # in the middle it is no end
    ended[1, 7] = 1.0
    assert_refused(lambda: make(ended), "the first in row 1, column [5, 0]", DataError)


# --- fit


def fit(objective="beta_vae", **changes):
    settings = {"epochs": 1, "batch_size": 16, "progress": False, "model": MODEL, "data": X}
    settings |= changes
    model, data = settings.pop("model"), settings.pop("data")
    return vae_jax.fit(objective, model, data, **settings)


MODEL = make()


def _of_python(step):
    return 1e-3 if step < 3 else 1e-4


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": None}, "model=None: must be a Model: give vae_jax.make_model(data)"),
        ({"model": MODEL.encoder}, "model=MLPEncoder(…): must be a Model"),
        ({"model": vae_jax.Model}, "model=Model: must be a Model: give vae_jax.make_model(data)"),
        ({"model": vae_jax.Trained(MODEL, {})}, "model=Trained(…): must be a Model: give trained."),
        ({"callbacks": print}, "callbacks=print: must be a list of functions: give callbacks=[pri"),
        ({"callbacks": "a"}, "callbacks='a': must be a list of functions"),
        ({"callbacks": [3]}, "callbacks: holds 3: give functions of one argument, the `Epoch`"),
        ({"callbacks": [lambda: 1]}, "callbacks: holds <lambda>: give functions of one argument"),
        ({"preprocess": 3}, "preprocess=3: must be a function of two arguments: give lambda"),
        ({"preprocess": lambda x: x}, "preprocess=<lambda>: must be a function of two arguments"),
        ({"preprocess": lambda x, key: np.asarray(x)}, "cannot be traced, it runs inside the step"),
        ({"preprocess": lambda x, key: x if x.sum() else 0}, "cannot be traced, it runs inside"),
        ({"preprocess": lambda x, key: x > 0}, "returns bool, must be an array of floats"),
        ({"preprocess": lambda x, key: None}, "returns NoneType, must be an array of floats"),
        ({"learning_rate": _of_python}, "learning_rate=_of_python: _of_python, line "),
        ({"beta": _of_python}, "cannot be traced, its step is no Python number: take jax.numpy."),
        ({"learning_rate": lambda: 1}, "<lambda> does not take a step alone: give a function of"),
        ({"learning_rate": lambda step: None}, "<lambda> returns no number: give a function from"),
        ({"beta": lambda step: jnp.ones(2)}, "beta=<lambda>: <lambda> returns no number"),
        ({"learning_rate": None}, "learning_rate=None: must be a number or a schedule"),
        ({"learning_rate": optax.sgd(0.1)}, "learning_rate: is an optax transformation: give opt"),
        ({"learning_rate": np.ones(3)}, "learning_rate=float64[3]: float64[3] is no number"),
        (
            {"optimizer": dict},
            "optimizer=dict: must be one of adam, adamw, sgd, momentum, a factory",
        ),
        (
            {"optimizer": lambda h: 3},
            "optimizer=<lambda>: returns 3, must be a factory of an optax",
        ),
        (
            {"optimizer": lambda: 3},
            "optimizer=<lambda>: must be one of adam, adamw, sgd, momentum, a factory",
        ),
        (
            {"optimizer": "lion"},
            "choose from adam, adamw, sgd, momentum, or give optimizer=optax.lion",
        ),
        ({"optimizer": ["adam"]}, "optimizer=['adam']: must be one of adam, adamw, sgd"),
        ({"checkpoint": 3}, "checkpoint=3: must be the path of a directory"),
        ({"checkpoint": ""}, "checkpoint='': must be the path of a directory"),
        ({"adam": {1: 1}}, "setting of adam=1: must be a name: choose from b1, b2, eps"),
        ({"seed": KEY}, "seed=key<fry>[]: must be an integer from 0"),
        ({"lr": 1e-3}, "lr=0.001: is called learning_rate: give it to fit(…, learning_rate=…)"),
        ({"latent_dim": 3}, "latent_dim=3: is a setting of make_model: give it to make_model(…, l"),
        ({"verbose": 1}, "verbose=1: is called progress: give it to fit(…, progress=…)"),
        ({"num_examples": 3}, "num_examples=3: is 40, the rows that are trained on: leave it out"),
        ({"valid": 0.1}, "valid: x=0.1: is no array"),
        ({"valid": X[:, :3]}, "valid: has examples of shape [3], the model takes [6]"),
        ({"valid": {"y": X}}, "valid: holds 'y': give 'x'"),
        ({"valid": np.where(X < 0.1, np.nan, X)}, "valid: 27 value(s) are not finite"),
    ],
)
def test_settings_of_a_training_of_another_kind_are_refused(changes, message):
    assert_refused(lambda: fit(**changes), message)


def _loss(model, params, batch, key):
    return model.distortion(params, model.encode(params, batch["x"]).sample(key), batch)


@pytest.mark.parametrize(
    ("returns", "message"),
    [
        (lambda loss, batch: loss, "the objective returns float32[16]: must be (loss, aux)"),
        (lambda loss, batch: None, "the objective returns NoneType: must be (loss, aux), loss [B]"),
        (lambda loss, batch: (loss, None), "returns (float32[16], NoneType): must be (loss, aux)"),
        (lambda loss, batch: (loss, {}, {}), "returns (float32[16], dict, dict): must be (loss, a"),
        (lambda loss, batch: {"loss": loss}, "the objective returns dict: must be (loss, aux)"),
        (lambda loss, batch: (loss[:, None], {}), "loss of the objective: is float32[16, 1], must"),
        (
            lambda loss, batch: (loss.astype(jnp.complex64), {}),
            "loss of the objective: is complex64[16], must be a",
        ),
        (lambda loss, batch: (loss, {"a": "b"}), "a: is str, must be a real number for each row"),
        (lambda loss, batch: (loss, {"a": batch["x"]}), "a: is float32[16, 6], must be a real"),
        (lambda loss, batch: (loss, {1: loss}), "1: is float32[16], must be a real number"),
        (lambda loss, batch: (loss, {"loss": loss}), "aux holds 'loss', which training adds"),
        (lambda loss, batch: (float(loss[0]), {}), "cannot be traced, arrays have no values yet"),
        (lambda loss, batch: (loss, {}) if loss[0] > 0 else 0, "cannot be traced, arrays have no"),
        (
            lambda loss, batch: (batch["labels"], {}),
            "asks for 'labels', batches hold mask, x: give",
        ),
    ],
)
def test_what_an_objective_of_one_s_own_returns_is_checked(returns, message):
    def mine(model, params, batch, key):
        return returns(_loss(model, params, batch, key), batch)

    assert_refused(lambda: fit(mine), message, UsageError)


def test_mistakes_inside_an_objective_of_one_s_own_keep_their_traceback():
    def wrong(model, params, batch, key):
        return model.encod(params), {}

    def needs(model, params, batch, key, *, gamma):
        return gamma * _loss(model, params, batch, key), {}

    with pytest.raises(AttributeError, match="encod"):
        fit(wrong)
    assert_refused(
        lambda: fit(needs), "gamma: the objective has no default for it: give fit(…, gam"
    )
    assert_refused(
        lambda: fit(lambda model, params, batch: 1), "objective=<lambda>: must be a name"
    )


# --- evaluate, load, data.load

TRAINED = vae_jax.Trained(MODEL, MODEL.init(KEY))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"trained": None}, "trained=None: must be the result of vae_jax.fit or vae_jax.load"),
        ({"trained": "runs/a"}, "trained='runs/a': is a path: give vae_jax.load('runs/a')"),
        ({"trained": MODEL}, "trained: is a Model: give vae_jax.Trained(model, params)"),
        ({"trained": (MODEL, {})}, "must be the result of vae_jax.fit or vae_jax.load: give"),
        ({"trained": vae_jax.Trained(MODEL, None)}, "must be the result of vae_jax.fit"),
        ({"metrics": 42}, "metric=42: must be a name: choose from objective, "),
        ({"metrics": [None]}, "metric=None: must be a name"),
        ({"metrics": b"nll"}, "metric=b'nll': must be a name"),
        ({"metrics": ["all", "nl"]}, "metric 'nl' is unknown (did you mean nll?)"),
        ({"data": 3}, "x=3: is no array"),
        ({"data": "digits"}, "data='digits': is a name: give vae_jax.data.load('digits')"),
        ({"data": X[0]}, "data: x has shape [6], must be a row for each example: give x[None]"),
        ({"data": (X, LABELS)}, "data: is a tuple of 2: give {'x': x, 'labels': y}"),
        ({"seed": "a"}, "seed='a': must be an integer, at least 0"),
        ({"num_examples": 0}, "num_examples=0: must be an integer, at least 1"),
        ({"num_examples": 2.5}, "num_examples=2.5: must be an integer, at least 1"),
        ({"settings": 3}, "settings=3: must be settings by metric: give {'nll': "),
        ({"metrics": "nll", "settings": {"nll": 3}}, "settings={'nll': 3}: must be settings by"),
        ({"metrics": "nll", "settings": {"nll": {"num_samples": "a"}}}, "num_samples='a': must be"),
        ({"metrics": "nll", "settings": {"nll": {"num_samples": 2.5}}}, "num_samples=2.5: must be"),
        ({"metrics": "nll", "settings": {"nll": {"num": 3}}}, "setting of nll 'num' is unknown"),
        (
            {"metrics": "latent_use", "settings": {"latent_use": {"kernel": 3}}},
            "kernel=3: must be words: give one, or several with commas",
        ),
    ],
)
def test_what_cannot_be_evaluated_is_refused(changes, message):
    given = {"trained": TRAINED, "metrics": "reconstruction", "data": X, **changes}
    assert_refused(lambda: vae_jax.evaluate(given.pop("trained"), **given), message)


@pytest.mark.parametrize("path", [None, 3, [], {}, True, "", X, object()])
def test_what_is_no_path_is_not_loaded(path):
    assert_refused(lambda: vae_jax.load(path), ": must be the path of a run directory or an expo")
    assert_refused(lambda: vae_jax.data.load(path), ": must be the name of a dataset, or a path")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data_dir": 3}, "data_dir=3: must be the path of a folder"),
        ({"cache_dir": []}, "cache_dir=[]: must be the path of a folder"),
        ({"missing_values": 3}, "missing_values=3: must be texts: give missing_values=['NA']"),
        ({"missing_values": [3]}, "missing_values=[3]: must be texts: give missing_values=['NA']"),
        ({"sha256": 3}, "sha256=3: must be a hash in hexadecimal"),
    ],
)
def test_settings_of_a_dataset_of_another_kind_are_refused(changes, message):
    assert_refused(lambda: vae_jax.data.load("digits", **changes), message)


def test_a_path_is_the_name_of_a_dataset(tmp_path):
    np.save(tmp_path / "x.npy", X)
    assert vae_jax.data.load(tmp_path / "x.npy").shape == (6,)
    assert_refused(lambda: vae_jax.data.load(tmp_path / "y.npy"), "no such file or folder")


# --- Checkpoints


def test_more_epochs_of_a_schedule_over_the_run_are_remedied_by_its_length(tmp_path):
    fit(checkpoint=tmp_path)
    with pytest.raises(UsageError) as caught:
        fit(checkpoint=tmp_path, epochs=2)
    message = (
        f"checkpoint={tmp_path}: is of a training with learning_rate=cosine(0.002, 0, 3), this one "
        "has cosine(0.002, 0, 6): a schedule over the whole run changes with epochs: give "
        "learning_rate='cosine(0.002, 0, 3)' to go on with that one, or name another directory"
    )
    assert str(caught.value) == message
    longer = fit(checkpoint=tmp_path, epochs=2, learning_rate="cosine(0.002, 0, 3)")
    assert longer.step == 6


def test_the_rate_of_a_transformation_is_its_own(tmp_path):
    """`learning_rate` decides nothing then, so more epochs go on."""
    options = {"checkpoint": tmp_path, "optimizer": optax.sgd(0.1)}
    assert fit(**options).step == 3
    assert fit(**options, epochs=2).step == 6


@pytest.mark.parametrize(
    ("spelled", "written"),
    [
        ("from 0.002 to 0.0 in 9.0 of 0.0 steps (cosine: 1.0)", "cosine(0.002, 0, 9)"),
        ("from 0.0 to 4.0 in 10.0 of 0.0 steps (cosine: 0.0)", "linear(0, 4, 10)"),
        ("from 0.0 to 1.0 in 5.0 of 10.0 steps (cosine: 0.0)", "cyclical(0, 1, 10, 0.5)"),
    ],
)
def test_schedules_are_read_back_as_they_are_written(spelled, written):
    assert keeping._readable(spelled) == written
    assert fitting._told_schedule(schedules.parse(written)) == spelled


def test_a_checkpoint_in_use_is_refused_at_once(tmp_path):
    settings = {"seed": 0}
    with keeping.Keeper(tmp_path, settings):
        message = f"checkpoint={tmp_path}: is in use by process {os.getpid()} on "
        with pytest.raises(LockedError) as caught, keeping.Keeper(tmp_path, settings):
            pass
        assert str(caught.value).startswith(message)
        assert str(caught.value).endswith(
            ": wait until that fit has ended, or name another directory"
        )
    with keeping.Keeper(tmp_path, settings):
        pass


# --- The objective's terms on own data


def test_the_objective_is_measured_on_the_user_s_own_data(tmp_path):
    trained = fit("beta_vae", beta=2.0)
    found = vae_jax.evaluate(trained, data=X[:10])["objective"]
    assert found["num_examples"] == 10
    assert found["loss"] == pytest.approx(found["distortion"] + 2 * found["rate"], rel=1e-5)
    # the distortion draws one z for each example, the rate is exact
    posterior = trained.model.encode(trained.params, X[:10])
    rate = 0.5 * (posterior.mean**2 + np.exp(posterior.logvar) - 1 - posterior.logvar).sum(axis=1)
    assert found["rate"] == pytest.approx(float(rate.mean()), rel=1e-4)
    # a file has no objective, and says so
    path = tmp_path / "model.safetensors"
    exported.save(path, trained.model, trained.params, {"step": trained.step})
    measured = vae_jax.evaluate(vae_jax.load(path), data=X[:10])
    assert measured.skipped["objective"].startswith("a model alone does not hold its objective")
    with pytest.raises(KeyError, match="a model alone does not hold its objective: load the run"):
        measured["elbo"]


def test_the_objective_is_measured_with_labels_of_the_user_s_own():
    rows = {"x": X, "labels": np.array(["a", "b", "c"])[LABELS]}
    trained = fit("cvae", model=make(rows, objective="cvae"), data=rows)
    few = {name: values[:9] for name, values in rows.items()}
    assert vae_jax.evaluate(trained, data=few)["objective"]["num_examples"] == 9


# --- Objectives without a docstring


def test_an_objective_without_a_docstring_has_its_name(tmp_path, monkeypatch):
    source = "def loss(model, params, batch, key, *, gamma=2.0):\n    return batch['x'][:, 0], {}\n"
    (tmp_path / "bare.py").write_text(source)
    monkeypatch.setattr(objectives, "__path__", [*objectives.__path__, str(tmp_path)])
    for told in (objectives.summary, objectives.purpose, objectives.formula):
        assert told("bare") == "bare"
    assert objectives.references("bare") == {}
    assert objectives.hyperparameters("bare")["gamma"].help == ""
    all_flags = settings.hyperparameter_flags.__wrapped__
    monkeypatch.setattr(help_pages, "hyperparameter_flags", all_flags)
    for page in ("all", "bare"):
        text = help_pages._all("about") if page == "all" else help_pages._of_objective(page)
        assert "bare" in text
        assert "--gamma" in text
