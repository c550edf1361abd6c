"""A model that was written as one file is the same model, or none."""

import contextlib
import functools
import json
import os
import pathlib
import re
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy
from flax import linen as nn

from vae_jax import data, latents, likelihoods, networks, posteriors
from vae_jax.cli.commands import export
from vae_jax.errors import StorageError, UsageError
from vae_jax.lab import config, metrics, pictures, train
from vae_jax.model import Model
from vae_jax.storage import exported, files, members

pytestmark = pytest.mark.usefixtures("traced_once")

PAGE = (pathlib.Path(__file__).parents[1] / "docs" / "python-api.md").read_text(encoding="utf-8")
PYTHON = re.findall(r"```python\n(.*?)```", PAGE, re.S)
SHAPE, L, C = (8, 8, 1), 6, 3
GAUSSIAN, CODES = likelihoods.Gaussian(), latents.Gaussian()
DENSE = {"network": "mlp", "widths": (5,)}


def plain(network):
    """Small, and a code of 2 numbers for each of the 2×2 places of a map."""
    widths = tuple(4 for _ in networks.load(network).widths)
    return {"network": network, "widths": widths or None, "latent_dim": 8}


def of(likelihood):
    if likelihoods.load(likelihood).requires == "columns":
        parts = [("gaussian", 1), ("one_hot", 3), ("log_normal", 1), ("ordinal", 2)]
        return {**DENSE, "shape": (7,), "likelihood": likelihoods.make(likelihood, parts=parts)}
    text = {"network": "gru", "widths": (4,), "shape": (5,)}
    sizes = text if likelihoods.load(likelihood).requires == "text" else DENSE
    return {**sizes, "likelihood": likelihoods.make(likelihood, num_levels=17)}


MODELS = {
    **{network: plain(network) for network in networks.names()},
    **{f"of_{likelihood}": of(likelihood) for likelihood in likelihoods.names()},
    "mlp": {**DENSE, "likelihood": likelihoods.Gaussian("learned_per_dimension")},
    "linear": {"network": "linear", "likelihood": likelihoods.Gaussian(0.5)},
    "conv": {"network": "conv", "widths": (3, 4), "likelihood": likelihoods.Bernoulli()},
    "conv_map": {
        **{"network": "conv_map", "widths": (3, 4), "latent_dim": 8},
        "latent": latents.Quantized(7, 2, 3),
    },
    "cascade": {"network": "cascade", "widths": (5,), "latent": latents.Deterministic()},
    "gru": {
        **{"network": "gru", "widths": (4,), "shape": (5,), "teacher_dropout": 0.25},
        "likelihood": likelihoods.Text(4),
    },
    "lstm": {"network": "lstm", "widths": (4, 3), "shape": (5, 2)},
    "conditional": {**DENSE, "num_conditions": C, "likelihood": likelihoods.Laplace()},
    "masked": {**DENSE, "dtype": jnp.dtype("bfloat16"), "latent_mask": (1, 1, 1, 1, 0, 0)},
    "categorical": {**DENSE, "latent": latents.Categorical(3)},
    "joint": {**DENSE, "activation": "gelu", "latent": latents.Joint(2, 1)},
    "k_sparse": {**DENSE, "latent": latents.Deterministic("relu", 2)},
    "logistic": {**DENSE, "likelihood": likelihoods.DiscretizedLogistic("given", 17)},
    **{f"q_{name}": {**DENSE, "latent": posteriors.make(name)} for name in posteriors.names()},
    "q_vdvae": {
        **{"network": "resnet", "widths": (4,), "latent_dim": 21},
        "latent": posteriors.VDVAE(map_width=4),
    },
}
NEW_OF_ITS_KIND = ("conditional", "masked")
"""Whose outputs an ordinary test computes: of the others equal parts say enough."""


def make(
    network,
    *,
    shape=SHAPE,
    latent_dim=L,
    likelihood=GAUSSIAN,
    latent=CODES,
    num_conditions=0,
    latent_mask=None,
    **sizes,
):
    """A model, and parameters that are like no others."""
    shapes = {"shape": shape, "latent_dim": latent_dim, "num_outputs": likelihood.num_outputs}
    modules = networks.build(
        network,
        **shapes,
        **sizes,
        num_parts=len(latent.parts_for(latent_dim)),
        maps=latent.maps(),
    )
    mask = None if latent_mask is None else jnp.array(latent_mask, jnp.float32)
    model = Model(*modules, likelihood, shape, latent_dim, mask, latent, num_conditions)
    generator = np.random.default_rng(0)
    params = jax.tree.map(
        lambda leaf: jnp.asarray(generator.normal(size=leaf.shape), jnp.float32),
        jax.eval_shape(model.init, jax.random.key(0)),
    )
    return model, params


@functools.cache
def made(name):
    return make(**MODELS[name])


@jax.jit
def outputs(model, params, x, z):
    """What is to be equal bit by bit: codes, the decoder's outputs, means of x."""
    if model.num_conditions:
        model = model.given(jnp.arange(len(x)) % C)
    means = model.decode_mean(params, z)
    return model.encode(params, x).mode, model.decode(params, z, x), means


def assert_same(left, right):
    assert jax.tree.structure(left) == jax.tree.structure(right)
    for a, b in zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True):
        assert (a.dtype, a.shape) == (b.dtype, b.shape)
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()


@pytest.fixture
def small(tmp_path):
    """A file of a small model, and what was written: its path, model and parameters."""
    model, params = made("linear")
    exported.save(tmp_path / "model.safetensors", model, params, {"step": 3})
    return tmp_path / "model.safetensors", model, params


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    """Two runs in one program: one of them masked, both with averaged parameters."""
    directory = tmp_path_factory.mktemp("exported") / "all"
    flags = {"network": "linear", "epochs": "1", "ema_decay": "0.9", "num_valid": "0"}
    configs = [config.from_flags({**flags, "latent_dim": size}) for size in "23"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pictures, "draw", lambda *_: [])
        train.train(configs, workdir=directory)
    return directory


def run(directory, **flags):
    export.main({**dict.fromkeys(export.FLAGS), "run": str(directory), **flags})


def forge(path, change=None, tensors=None):
    """Writes a file anew: its description changed, its tensors replaced, sealed as if by us."""
    with safetensors.safe_open(path, framework="numpy") as file:
        body = json.loads(file.metadata()["vae_jax"])
    tensors = safetensors.numpy.load_file(path) if tensors is None else tensors
    body.pop("sha256")
    if change is not None:
        change(body)
    text = exported._sealed(body, tensors)
    path.write_bytes(safetensors.numpy.save(tensors, {"vae_jax": text}))


def refused(path, match="vae_jax", **modules):
    """Whether a file is refused: in one line, that a terminal may show."""
    with pytest.raises(StorageError, match=match) as error:
        exported.load(path, **modules)
    assert str(error.value).startswith(str(path))
    assert str(error.value).isprintable()


# --- What is written is read


def test_every_part_is_tried():
    tried = [made(name)[0] for name in MODELS]
    for part, known in exported._PARTS.items():
        classes = {*known().values()} - {latents.Latent}
        assert {type(getattr(model, part)) for model in tried} == classes


@pytest.mark.parametrize("name", MODELS)
def test_a_model_comes_back_as_it_was(tmp_path, name):
    """Equal static parts are the same program, equal parameters its same arguments."""
    model, params = made(name)
    exported.save(tmp_path / "a.safetensors", model, params)
    again, own = exported.load(tmp_path / "a.safetensors")
    assert_same((again, own), (model, params))


@pytest.mark.parametrize(
    "name",
    [n if n in NEW_OF_ITS_KIND else pytest.param(n, marks=pytest.mark.slow) for n in MODELS],
)
def test_a_model_computes_what_it_computed(tmp_path, name):
    model, params = made(name)
    exported.save(tmp_path / "a.safetensors", model, params)
    again = exported.load(tmp_path / "a.safetensors")
    x = jax.random.uniform(jax.random.key(0), (4, *model.shape))
    z = jax.random.normal(jax.random.key(1), (4, model.latent_dim))
    assert_same(outputs(*again, x, z), outputs(model, params, x, z))


def test_a_reader_without_our_code_finds_arrays_by_name(small):
    path, _, params = small
    arrays = safetensors.numpy.load_file(path)
    assert {name: array.shape for name, array in arrays.items()} == {
        "encoder/mean/kernel": (64, L),
        "encoder/mean/bias": (L,),
        "encoder/logvar": (L,),
        "decoder/latent/kernel": (L, 64),
        "decoder/latent/bias": (64,),
    }
    kernel = params["encoder"]["mean"]["kernel"]
    np.testing.assert_array_equal(arrays["encoder/mean/kernel"], kernel)
    described = exported.description(path)
    assert described["about"] == {"step": 3}
    assert described["model"]["likelihood"]["variance"] == 0.5


def test_parameters_of_the_objective_are_not_exported_and_exports_are_deterministic(
    small, tmp_path
):
    path, model, params = small
    added = {**params, "objective": {"discriminator": jnp.ones(3)}}
    exported.save(tmp_path / "b.safetensors", model, added, {"step": 3})
    assert (tmp_path / "b.safetensors").read_bytes() == path.read_bytes()


def test_a_custom_likelihood_is_not_exported(small, tmp_path):
    _, model, params = small

    class Mine(likelihoods.Gaussian):
        pass

    with pytest.raises(UsageError, match="likelihood Mine: a file can name Bernoulli, "):
        exported.save(tmp_path / "b", model.replace(likelihood=Mine(0.5)), params)
    odd = networks.MLPEncoder(L, (5,), nn.hard_tanh)
    with pytest.raises(UsageError, match=r"activation .*: a file can name relu, "):
        exported.save(tmp_path / "b", model.replace(encoder=odd), params)
    stacked = jax.tree.map(lambda leaf: leaf[None], params)
    with pytest.raises(UsageError, match=r"'decoder/latent/bias' is F32\[1,64\], the model asks"):
        exported.save(tmp_path / "b", model, stacked)
    with pytest.raises(UsageError, match="and 2 more differ"):
        exported.save(tmp_path / "b", model, {"decoder": params["decoder"]})
    assert not (tmp_path / "b").exists()


class Mine(networks.LinearEncoder):
    """A user's own class, of which a file can only tell the name."""


def test_a_module_of_a_users_own_is_given_to_whoever_reads_it(small, tmp_path):
    _, model, params = small
    path, model = tmp_path / "own.safetensors", model.replace(encoder=Mine(L))
    exported.save(path, model, params, {"step": 3})
    assert_same(exported.load(path, encoder=Mine(L)), (model, params))
    assert exported.description(path)["about"] == {"step": 3}
    refused(path, r"its encoder is Mine, .*: give load\(path, encoder=Mine\(…\)\)")
    wrong = {
        "encoder=LinearEncoder.* its encoder is Mine": {"encoder": networks.LinearEncoder(L)},
        "decoder=MLPDecoder.* leave it out": {"encoder": Mine(L), "decoder": model.decoder},
        r"not fit the modules given .*returns shapes \[\(1, 5\)": {"encoder": Mine(5)},
        "as they were trained": {"encoder": Mine(L, num_parts=1)},
    }
    for match, modules in wrong.items():
        refused(path, match, **modules)


@pytest.mark.parametrize("name", ["not a name", "a" * 101, 7, "\n"])
def test_a_forged_name_of_a_users_class_is_refused(tmp_path, name):
    path = tmp_path / "own.safetensors"
    model, params = made("linear")
    exported.save(path, model.replace(encoder=Mine(L)), params)
    forge(path, lambda body: body["model"]["encoder"].update({"class": name}))
    refused(path)


ABOUT = {
    "integers": ({1: 2, 10: 1, 2: 3}, {"1": 2, "10": 1, "2": 3}),
    "deep": ({"a": {2: (1, 2.5), 10: None}}, {"a": {"2": [1, 2.5], "10": None}}),
    "truth": ({True: 1}, {"true": 1}),
    "list": ([1, "ß"], [1, "ß"]),
    "none": (None, {}),
}


@pytest.mark.parametrize("name", ABOUT)
def test_the_description_of_an_export_round_trips_as_json(tmp_path, name):
    given, expected = ABOUT[name]
    path = tmp_path / "a.safetensors"
    exported.save(path, *made("linear"), given)
    assert exported.description(path)["about"] == expected
    exported.load(path)


def endless():
    own = []
    own.append(own)
    return own


@pytest.mark.parametrize(
    ("about", "match"),
    [
        ({1: 2, "b": 1}, "'<' not supported"),
        (object(), "Object of type object is not JSON serializable"),
        ({"a": np.ones(2)}, "Object of type .* is not JSON serializable"),
        ({"a": float("nan")}, "Out of range float values"),
        (endless(), "Circular reference"),
    ],
    ids=["keys", "object", "array", "nan", "endless"],
)
def test_a_description_that_is_not_json_is_refused(tmp_path, about, match):
    with pytest.raises(UsageError, match=rf"^about: cannot be written as JSON \({match}") as error:
        exported.save(tmp_path / "a", *made("linear"), about)
    assert str(error.value).isprintable()
    assert os.listdir(tmp_path) == []


NO_PARAMETERS = {
    "none": (lambda: None, "is of type NoneType: must be a dict of decoder, encoder, likelihood"),
    "list": (lambda: [1], "is of type list: must be a dict"),
    "keys": (lambda: {"encoder": {1: 0.0, "a": 0.0}}, "are no tree of arrays"),
    "key": (lambda: {"encoder": {"key": jax.random.key(0)}}, "are no tree of arrays"),
    "object": (lambda: {"decoder": {"a": object()}}, r"'decoder/a' is object\[\]"),
}


@pytest.mark.parametrize("name", NO_PARAMETERS)
def test_invalid_parameters_are_refused(tmp_path, name):
    make_params, match = NO_PARAMETERS[name]
    with pytest.raises(UsageError, match=rf"^params: {match}") as error:
        exported.save(tmp_path / "a", made("linear")[0], make_params())
    assert str(error.value).isprintable()
    assert os.listdir(tmp_path) == []


def test_a_model_that_would_not_be_read_is_not_written(tmp_path):
    model, params = made("linear")
    deep = model.replace(decoder=networks.MLPDecoder(64, (1,) * 100))
    with pytest.raises(UsageError, match=r"^model: decoder has 101 layers, more than 100: a file"):
        exported.save(tmp_path / "a", deep, params)
    assert os.listdir(tmp_path) == []


def test_a_file_that_does_not_read_back_does_not_replace_the_old_one(small, monkeypatch):
    """A disk that keeps something else: the file that was there stays."""
    path, model, params = small
    content, write = path.read_bytes(), files.write_bytes
    monkeypatch.setattr(
        files, "write_bytes", lambda to, told, **more: write(to, altered(told, -9, 1), **more)
    )
    with pytest.raises(StorageError, match="SHA-256 of its content is another") as error:
        exported.save(path, model, params, {"step": 4})
    assert str(error.value).startswith(f"{path}: ")
    assert os.listdir(path.parent) == [path.name]
    assert path.read_bytes() == content


@pytest.mark.parametrize("place", ["none/a", "file/a", "x" * 300, "folder"])
def test_where_nothing_can_be_written_the_path_is_named(tmp_path, place):
    (tmp_path / "file").write_text("x")
    (tmp_path / "folder").mkdir()
    path = tmp_path / place
    with pytest.raises(StorageError, match=r"\): choose another place for it$") as error:
        exported.save(path, *made("linear"))
    assert str(error.value).startswith(f"{path} cannot be written (")
    assert sorted(os.listdir(tmp_path)) == ["file", "folder"]


def test_a_path_may_be_bytes_and_must_be_one(small):
    path, model, params = small
    assert_same(exported.load(os.fsencode(path)), (model, params))
    exported.save(os.fsencode(path), model, params, {"step": 4})
    assert exported.description(path)["about"] == {"step": 4}
    for none in (None, 5, "", b"", "a\0b"):
        for act in (exported.load, exported.description, lambda p: exported.save(p, model, params)):
            with pytest.raises(UsageError, match=r"^path=.*: must be the path of a file"):
                act(none)


@pytest.mark.parametrize(
    "classes", [(10, 20, 30), ("cat", "dog", "owl"), (0.5, 1.5, -2.0), (*np.arange(3),), ()]
)
def test_a_file_knows_the_users_own_labels(tmp_path, classes):
    model, params = made("conditional")
    path, model = tmp_path / "model.safetensors", model.replace(classes=classes)
    exported.save(path, model, params)
    assert exported.description(path)["model"]["classes"] == list(classes)
    loaded, its_params = exported.load(path)
    assert_same((loaded, its_params), (model, params))
    if classes:
        mean = loaded.given([classes[2], classes[0]]).decode_mean(its_params, jnp.ones((2, L)))
        expected = model.given(np.eye(C)[[2, 0]]).decode_mean(params, jnp.ones((2, L)))
        np.testing.assert_array_equal(mean, expected)
        with pytest.raises(UsageError, match="none of the classes"):
            loaded.given("fox")


def test_a_file_without_labels_is_what_it_was(tmp_path):
    """So that versions which knew none read it, and this one reads theirs."""
    exported.save(tmp_path / "model.safetensors", *made("conditional"))
    assert "classes" not in exported.description(tmp_path / "model.safetensors")["model"]
    assert exported.load(tmp_path / "model.safetensors")[0].classes is None


@pytest.mark.parametrize("classes", [(1, 2), (1, 1, 2), (1, 2, np.nan), (1, 2, None), (1, 2, (3,))])
def test_labels_that_are_none_are_not_written(tmp_path, classes):
    model, params = made("conditional")
    with pytest.raises(UsageError, match=r"^model: classes are not .*: a file cannot describe it"):
        exported.save(tmp_path / "a", model.replace(classes=classes), params)
    assert not os.listdir(tmp_path)


# --- What is damaged or forged is refused


def set_in(*places):
    """A change of a description: the value after places is put there."""
    *way, last, value = places

    def change(body):
        for place in way:
            body = body[place]
        body[last] = value

    return change


HOSTILE = {
    "newer": (set_in("schema", 2), "written by a newer vae_jax .schema 2, this one reads up to 1."),
    "schema": (set_in("schema", "1"), "description is none"),
    "no model": (lambda body: body.pop("model"), "description is none"),
    "less": (lambda body: body["model"].pop("shape"), "the model lacks 'shape'"),
    "null": (set_in("model", None), "the model is described by None"),
    "extra": (set_in("model", "hook", "os.system"), "the model has 'hook'"),
    "class": (set_in("model", "encoder", "class", "os.system"), "'os.system' is none of Casc"),
    "list": (set_in("model", "latent", "class", ["Gaussian"]), r"latent \['Gaussian'\] is none of"),
    "parent": (set_in("model", "encoder", "parent", 1), "encoder has 'parent'"),
    "field": (set_in("model", "likelihood", "__class__", 1), "likelihood has '__class__'"),
    "text": (set_in("model", "latent_dim", "6"), "latent_dim is '6'"),
    "truth": (set_in("model", "latent_dim", True), "latent_dim is True"),
    "fraction": (set_in("model", "latent_dim", 6.0), r"latent_dim is 6\.0"),
    "negative": (set_in("model", "num_conditions", -1), "num_conditions is -1"),
    "absurd": (set_in("model", "latent_dim", 10**12), "latent_dim is 1000000000000"),
    "large": (set_in("model", "encoder", "latent_dim", 2**30), "the encoder returns shapes"),
    "mask": (set_in("model", "latent_mask", [1] * 5), "latent_mask is not a 0 or 1 for each"),
    "scale": (set_in("model", "latent_mask", [1, 1, 1, 1, 1, 1e9]), "latent_mask is not"),
    "deep": (set_in("model", "decoder", "widths", [1] * 1001), r"widths is \[1, 1, "),
    "wide": (set_in("model", "decoder", "widths", [2**31 - 1]), r"asks for F32\[2147483647\]"),
    "shape": (set_in("model", "shape", [8, 8, 2]), "the decoder returns shape"),
    "dtype": (set_in("model", "encoder", "dtype", "object"), "dtype is 'object'"),
    "call": (set_in("model", "decoder", "activation", "__import__"), "activation is '__import__'"),
    "variance": (set_in("model", "likelihood", "variance", "\x1b[31mred"), r"variance=\?\[31mred"),
    "conditions": (set_in("model", "num_conditions", 3), "'decoder/condition/kernel' is missing"),
    "lines": (set_in("model", "a\nb", 1), r"the model has 'a\\nb'"),
    "labels": (set_in("model", "classes", [1]), "classes are not another number or word for each"),
    "label": (set_in("model", "classes", [{"a": 1}]), "classes are not another number"),
    "word": (set_in("model", "classes", "\x1b"), "classes are not another number"),
    "parts": (
        set_in("model", "encoder", "num_parts", 2**31 - 1),
        "encoder has 2,147,483,647 parts",
    ),
    "layers": (set_in("model", "decoder", "widths", [1] * 100), "decoder has 101 layers, more"),
    "decoder": (set_in("model", "encoder", "class", "MLPDecoder"), "'MLPDecoder' is none of Casc"),
    "encoder": (set_in("model", "decoder", "class", "MLPEncoder"), "'MLPEncoder' is none of ConvD"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_description_is_refused(small, name):
    change, match = HOSTILE[name]
    forge(small[0], change)
    refused(small[0], match)


@pytest.mark.parametrize("stages", [{"num_stages": 2**31 - 1}, {"num_stages": 26}])
def test_a_row_of_absurd_length_is_refused_before_it_is_built(tmp_path, stages):
    path = tmp_path / "model.safetensors"
    exported.save(path, *made("cascade"))

    def change(body):
        body["model"]["encoder"] |= {"widths": [5] * 3, **stages}

    forge(path, change)
    refused(path, r"encoder has \S+ layers, more than 100")


@pytest.mark.parametrize("part", exported._PARTS)
def test_no_part_of_absurd_numbers_takes_long(small, part):
    """Every class with every number at its largest: refused, or read, within seconds."""
    path, good = small[0], small[0].read_bytes()
    for name, known in exported._PARTS[part]().items():
        huge = {
            field: [2**31 - 1] * 2 if exported._item(kind) else 2**31 - 1
            for field, kind in exported._fields(known).items()
            if kind is int or exported._item(kind)
        }
        path.write_bytes(good)
        forge(path, set_in("model", part, {"class": name, **huge}))
        began = time.monotonic()
        with contextlib.suppress(StorageError):
            exported.load(path)
        assert time.monotonic() - began < 20, name


def test_a_network_of_absurd_size_is_refused_before_memory_is_asked_for(tmp_path):
    """All of it fits its description: only its tensors do not. It would take 9 TB."""
    path = tmp_path / "model.safetensors"
    exported.save(path, *made("mlp"))

    def widen(body):
        for part in ("encoder", "decoder"):
            body["model"][part]["widths"] = [2**30, 2**10]

    forge(path, widen)
    refused(path, r"'decoder/hidden_1/bias' is missing, its description asks for F32\[1024\]")


def test_tensors_that_were_not_asked_for_are_refused(small):
    path, _, _ = small
    good = path.read_bytes()
    arrays = safetensors.numpy.load_file(path)
    kernel = arrays["encoder/mean/kernel"]
    for changed, match in [
        ({"../../etc/passwd": kernel}, r"'\.\./\.\./etc/passwd' is F32\[64,6\], its descr.* none"),
        ({"encoder/mean/kernel": kernel.T.copy()}, r"is F32\[6,64\], its .* asks for F32\[64,6\]"),
        ({"encoder/mean/kernel": kernel.astype(np.float16)}, r"is F16\[64,6\], its"),
        ({"encoder/mean/kernel": kernel.astype(np.float64)}, r"is F64\[64,6\], its"),
        ({"encoder/logvar": kernel[0].view(np.int32)}, r"is I32\[6\], its"),
        ({"a\n\x1b[31m": kernel}, r"'a\\n\\x1b\[31m' is F32"),
    ]:
        forge(path, tensors={**arrays, **changed})
        refused(path, match)
        path.write_bytes(good)
    arrays.pop("encoder/logvar")
    forge(path, tensors=arrays)
    refused(path, "'encoder/logvar' is missing")


def test_files_of_others_are_refused(small):
    path = small[0]
    for metadata in ({}, {"format": "pt"}):
        path.write_bytes(safetensors.numpy.save({"a": np.ones(3)}, metadata))
        refused(path, "metadata does not hold 'vae_jax'")
    for text in ("", "{", "[]", "7", "null", "[" * 100_000, '{"schema": 1e999}', "\0"):
        path.write_bytes(safetensors.numpy.save({"a": np.ones(3)}, {"vae_jax": text}))
        refused(path)
    for content in (b"", b"PK\3\4", b"\x80\x04\x95", b"\xff" * 64, bytes(64), b"x" * 1000):
        path.write_bytes(content)
        refused(path)


def test_a_file_of_more_bytes_than_there_is_memory_is_not_read(small):
    os.truncate(small[0], 2 * os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    refused(small[0], r"has .* GiB, reading may take .*: set VAE_JAX_MEMORY")


def test_only_a_regular_file_is_opened(small, tmp_path):
    path = small[0]
    link, pipe, folder = tmp_path / "link", tmp_path / "pipe", tmp_path / "folder"
    link.symlink_to(path)
    os.mkfifo(pipe)
    folder.mkdir()
    refused(link, f"symbolic link: name what it points to, {path}")
    for other in (pipe, folder, "/dev/zero"):
        refused(other, "is no regular file")
    refused(tmp_path / "none", "cannot be read .No such file or directory")


def altered(content, place, mask):
    return content[:place] + bytes([content[place] ^ mask]) + content[place + 1 :]


def try_altered(path, model, params, contents):
    """Each content is refused, or is the same model."""
    num_refused = 0
    for content in contents:
        path.write_bytes(content)
        try:
            found = exported.load(path)
        except StorageError as error:
            assert str(error).isprintable()  # noqa: PT017 (most are refused, not all need be)
            num_refused += 1
        else:
            assert_same(found, (model, params))
    return num_refused


def num_header(content):
    return 8 + int.from_bytes(content[:8], "little")


def test_damage_does_not_pass(small):
    content = small[0].read_bytes()
    header = num_header(content)
    places = [*range(0, header, 37), *range(header, len(content), 499), len(content) - 1]
    flipped = [altered(content, place, 1) for place in places]
    assert try_altered(*small, flipped) == len(flipped)
    cut = [content[:size] for size in range(0, len(content), 211)]
    assert try_altered(*small, [*cut, content + b"\0"]) == len(cut) + 1


@pytest.mark.slow
@pytest.mark.parametrize("mask", [1, 2, 4, 8, 16, 32, 64, 128, 255])
def test_no_byte_of_a_header_is_damaged_unseen(small, mask):
    content = small[0].read_bytes()
    flipped = [altered(content, place, mask) for place in range(num_header(content))]
    assert try_altered(*small, flipped) == len(flipped)


@pytest.mark.slow
def test_no_end_may_be_missing(small):
    content = small[0].read_bytes()
    cut = [content[:size] for size in range(len(content))]
    assert try_altered(*small, cut) == len(cut)


# --- The command


def test_a_member_is_exported_as_it_is_evaluated(program, capsys, tmp_path):
    for member in (0, 1):
        run(program, member=str(member))
        path = program / f"model-{member}.safetensors"
        assert (
            f"in {path}: model, params = vae_jax.storage.exported.load(" in capsys.readouterr().out
        )
        model, params = exported.load(path)
        assert_same((model, params), metrics.alone(metrics.load(program, member)))
        mask = None if model.latent_mask is None else model.latent_mask.tolist()
        assert mask == [[1, 1, 0], None][member]
    about = exported.description(path)["about"]
    result = members.read_results(program)[1]
    digits = data.load("digits")
    assert (about["step"], about["result"]) == (result["step"], result)
    assert about["settings"]["data_sha256"] == digits.sha256
    assert (about["settings"]["latent_dim"], about["settings"]["dataset"]) == (3, "digits")
    assert (about["data"]["x"], about["data"]["num_levels"]) == (
        "k / 16 of level k, from 0 to 16",
        17,
    )
    assert about["condition"] is None
    run(program, member="1", to=str(tmp_path / "a.safetensors"))
    assert (tmp_path / "a.safetensors").read_bytes() == path.read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize(
    "flags",
    [
        {"variance": "optimal", "network": "linear"},
        {"variance": "0.5", "patience": "1"},
        {"objective": "vq_vae", "network": "conv_map", "widths": "4", "latent_dim": "32"},
        {"objective": "joint_vae", "latent_dim": "12"},
        {"objective": "cvae", "likelihood": "bernoulli", "network": "conv", "widths": "4,8"},
        {"objective": "m2", "likelihood": "bernoulli"},
        {"objective": "factor_vae", "discriminator_width": "10"},
        {"objective": "k_sparse", "network": "cascade"},
        {"network": "lstm", "widths": "8"},
        {"dataset": "words.txt", "network": "bigru", "widths": "8", "num_valid": "0"},
    ],
    ids=lambda flags: "-".join(flags.values()),
)
def test_each_kind_of_run_is_exported_as_it_is_evaluated(tmp_path, monkeypatch, flags):
    monkeypatch.setattr(pictures, "draw", lambda *_: [])
    monkeypatch.chdir(tmp_path)
    (tmp_path / "words.txt").write_text("\n".join(["ab", "bca", "cc", "abcab"] * 20))
    flags = {"widths": None, "epochs": "1", **flags}
    train.train([config.from_flags(flags)], workdir=tmp_path / "run")
    run(tmp_path / "run")
    found = exported.load(tmp_path / "run" / "model.safetensors")
    model, params = metrics.alone(metrics.load(tmp_path / "run", 0))
    assert_same(found, (model, {part: params[part] for part in found[1]}))
    about = exported.description(tmp_path / "run" / "model.safetensors")["about"]
    assert (about["condition"] is None) == (model.num_conditions == 0)


REFUSING = """
import sys

class Refusing:
    def find_spec(self, name, path=None, target=None):
        ours = ("data", "training", "objectives", "checkpoints", "evaluation", "members")
        if name in {"experiments", "orbax", "optax", *(f"vae_jax.{each}" for each in ours)}:
            raise AssertionError(f"{name} was imported")

sys.meta_path.insert(0, Refusing())
"""
READING = """
import numpy as np
from vae_jax.storage import exported

model, params = exported.load(PATH)
x = np.linspace(0, 1, 128, dtype=np.float32).reshape(2, *model.shape)
codes = np.asarray(model.encode(params, x).mean)
"""


def test_a_file_is_read_without_what_made_it(program, tmp_path):
    path = str(tmp_path / "model.safetensors")
    run(program, member="0", to=path)
    source = f"{REFUSING}PATH = {path!r}{READING}print(codes.tolist())"
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    names = {"PATH": path}
    exec(READING, names)
    assert names["codes"].shape == (2, 3)
    # the other process compiles with other settings
    np.testing.assert_allclose(json.loads(done.stdout), names["codes"], rtol=1e-5, atol=1e-6)


def test_invalid_flags_are_reported(program, tmp_path):
    with pytest.raises(UsageError, match=r"^--run: name a run directory"):
        export.main(dict.fromkeys(export.FLAGS))
    with pytest.raises(UsageError, match=r"holds 2 runs, name one, such as run=\S+ member=0$"):
        run(program)
    with pytest.raises(UsageError, match=r"^member=2: must be an integer"):
        run(program, member="2")
    for to in ("thesis.tex", "model", str(tmp_path)):
        with pytest.raises(UsageError, match=rf"^to={to}: must be a file that ends in \.safeten"):
            run(program, member="0", to=to)
    with pytest.raises(
        StorageError, match=r"^--to: .*No such file.*: choose another place for it$"
    ):
        run(program, member="0", to=str(tmp_path / "none" / "model.safetensors"))


def test_a_run_is_only_read_where_the_file_goes_elsewhere(program, tmp_path):
    def content():
        return {p: p.stat().st_mtime_ns for p in program.rglob("*")}

    before = content()
    run(program, member="0", to=str(tmp_path / "a.safetensors"))
    assert content() == before


def test_the_readme_loads_a_file(small, monkeypatch):
    path, model, params = small
    (snippet,) = [text for text in PYTHON if "exported.load" in text]
    monkeypatch.chdir(path.parent)
    names = {"x": jnp.ones((2, *model.shape))}
    exec(snippet, names)
    assert_same(names["codes"], model.encode(params, names["x"]).mean)


def test_a_file_says_how_values_become_x(tmp_path):
    table = np.linspace(-3, 5, 60).reshape(20, 3) * [[1.0, 2.0, 3.0]]
    rows = {
        "auto": "(value − offset) / scale, of each",
        "unit": "1 made 1, of each",
        "none": "as they",
    }
    for scaling, told in rows.items():
        np.savez(tmp_path / "a.npz", x=table)
        dataset = data.load(str(tmp_path / "a.npz"), scaling=scaling)
        found = export.scaling(dataset, None)
        assert told in found["x"]
        if scaling != "none":
            offset, scale = (np.array(found["scaling"][n]) for n in ("offset", "scale"))
            whole = ((table - offset[None]) / scale[None]).astype(np.float32)
            assert {*map(tuple, dataset.train.x.tolist())} <= {*map(tuple, whole.tolist())}
    (tmp_path / "a.txt").write_text("abc\nab\nca\n")
    assert (
        "k / 3 of the k-th of 3 char"
        in export.scaling(data.load(str(tmp_path / "a.txt")), None)["x"]
    )
    found = export.scaling(data.load("digits"), "dynamic")
    assert found["x"] == "k / 16 of level k, from 0 to 16; then 1 with this probability, else 0"
