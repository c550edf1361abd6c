"""Networks with two modes and running statistics: BatchNorm and Dropout of a user's own modules."""

import functools
import inspect
import os
import pathlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import safetensors.numpy
from flax import linen as nn
from properties import initial, slow
from test_objectives import beside, bind, num_given

from vae_jax import data, fitting, latents, likelihoods, modules, networks, objectives, training
from vae_jax.cli.commands import export
from vae_jax.errors import UsageError
from vae_jax.lab import config, pictures, resolved, train
from vae_jax.model import Model
from vae_jax.networks._shared import given
from vae_jax.storage import checkpoints, exported, members

SHAPE, L = (8, 8, 1), 2
N, B = 50, 16
MOMENTUM = 0.9


class Encoder(nn.Module):
    """BatchNorm of x itself, so that its statistics are known by hand."""

    momentum: float = MOMENTUM
    rate: float = 0.0
    num_parts: int = 2
    latent_dim: int = L

    @nn.compact
    def __call__(self, x, condition=None, *, train: bool):
        h = x.reshape(len(x), -1)
        norm = nn.BatchNorm(use_running_average=not train, momentum=self.momentum, name="norm")
        h = nn.relu(nn.Dense(16, name="hidden")(norm(h)))
        h = nn.Dropout(self.rate)(h, deterministic=not train)
        h = given(h, condition)
        return tuple(nn.Dense(self.latent_dim, name=f"part_{i}")(h) for i in range(self.num_parts))


class Decoder(nn.Module):
    """BatchNorm of z itself."""

    momentum: float = MOMENTUM
    rate: float = 0.0
    size: int = 64

    @nn.compact
    def __call__(self, z, condition=None, *, train: bool):
        norm = nn.BatchNorm(use_running_average=not train, momentum=self.momentum, name="norm")
        h = nn.relu(nn.Dense(16, name="hidden")(norm(z)))
        h = nn.Dropout(self.rate)(h, deterministic=not train)
        h = given(h, condition)
        return nn.Dense(self.size, name="output")(h)


class DropoutEncoder(nn.Module):
    rate: float

    @nn.compact
    def __call__(self, x, deterministic):
        h = nn.relu(nn.Dense(16, name="hidden")(x.reshape(len(x), -1)))
        h = h if self.rate is None else nn.Dropout(self.rate)(h, deterministic=deterministic)
        return nn.Dense(L, name="mean")(h), nn.Dense(L, name="logvar")(h)


class DropoutDecoder(nn.Module):
    rate: float

    @nn.compact
    def __call__(self, z, deterministic):
        h = nn.relu(nn.Dense(16, name="hidden")(z))
        h = h if self.rate is None else nn.Dropout(self.rate)(h, deterministic=deterministic)
        return nn.Dense(64, name="output")(h)


def make(encoder=None, decoder=None, **options):
    pair = encoder or Encoder(), decoder or Decoder()
    return Model(*pair, likelihoods.Bernoulli(), SHAPE, L, **options)


def dropout(rate):
    return make(DropoutEncoder(rate), DropoutDecoder(rate))


def hparams(seed=0, **options):
    return training.Hparams(seed=jnp.int32(seed), learning_rate=jnp.float32(1e-2), **options)


BOTH = make(Encoder(rate=0.2), Decoder(rate=0.2))


@functools.cache
def digits():
    dataset = data.load("digits")
    return dataset.decode(jnp.asarray(dataset.train.x))


def images(num=N):
    return jax.random.uniform(jax.random.key(9), (num, *SHAPE))


def undecoded(stored, key):
    del key
    return stored


def make_train(model, **options):
    options = {"preprocess": undecoded, "num_examples": N, "batch_size": B, **options}
    return training.make_train(objectives.load("beta_vae"), model, **options)


@functools.cache
def compiled(model):
    made = make_train(model)
    return made, jax.jit(made.init), jax.jit(made.chunk)


def run(model, lengths, h=None, state=None):
    h = h or hparams()
    _, init, chunk = compiled(model)
    state = init(h) if state is None else state
    for length in lengths:
        state = chunk(state, h, images(), jnp.int32(length))
    return state


def assert_identical(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


def assert_close(a, b):
    jax.tree.map(lambda u, v: np.testing.assert_allclose(u, v, rtol=1e-4, atol=1e-5), a, b)


# --- Training and evaluation


@pytest.mark.parametrize("model", [make(), *slow(dropout(0.2))], ids=["BatchNorm", "Dropout"])
def test_a_pair_learns_and_is_evaluated_without_chance(model):
    trained = fitting.fit("beta_vae", model, digits(), learning_rate=1e-2, epochs=4)
    state, rows = trained.state, trained.history
    assert np.isfinite([row["loss"] for row in rows]).all()
    assert rows[-1]["loss"] < rows[0]["loss"] - 3

    @jax.jit
    def everything(x):
        code = model.encode(state.params, x).mean
        return code, model.decode_mean(state.params, code)

    x = digits()[:4]
    assert_identical(everything(x), everything(x))
    # a row is evaluated alone: no statistics of the others, no mask of a dropout
    alone = [everything(x[i : i + 1].repeat(4, axis=0)) for i in range(4)]
    assert_close(everything(x), tuple(jnp.stack([a[part][0] for a in alone]) for part in range(2)))


def test_running_statistics_are_averages_of_batches():
    """Of x in the encoder and of z ~ q(z|x) in the decoder, by the parameters before each step."""
    model = make()
    made, h = make_train(model), hparams()
    state, step = jax.jit(made.init)(h), jax.jit(made.step)
    wanted = state.params["batch_stats"]
    assert_identical(wanted["encoder"]["norm"], {"mean": jnp.zeros(64), "var": jnp.ones(64)})

    def averaged(old, rows):
        new = {"mean": rows.mean(axis=0), "var": rows.var(axis=0)}
        return jax.tree.map(lambda a, b: MOMENTUM * a + (1 - MOMENTUM) * b, old, new)

    for i in range(3):
        x, key = images(60)[B * i : B * (i + 1)], jax.random.key(i)
        variables = {"params": state.params["encoder"]}
        # in training what it computes does not depend on the running statistics
        zeros = jax.tree.map(jnp.zeros_like, state.params["batch_stats"]["encoder"])
        (mean, logvar), _ = model.encoder.apply(
            {**variables, "batch_stats": zeros}, x, train=True, mutable=["batch_stats"]
        )
        z = latents.Gaussian().posterior(None, (mean, logvar)).sample(key)
        wanted = {
            "encoder": {"norm": averaged(wanted["encoder"]["norm"], x.reshape(B, -1))},
            "decoder": {"norm": averaged(wanted["decoder"]["norm"], z)},
        }
        state, _ = step(state, h, {"x": x, "mask": jnp.ones(B)}, key)
        assert_close(state.params["batch_stats"], wanted)


def test_a_short_last_batch_is_filled_with_other_examples():
    """3 batches of 16 of 50 examples, then 2 and the first 14 of the epoch, each once."""
    rows = [np.asarray(compiled(BOTH)[0].rows(jnp.int32(0), step)) for step in range(4)]
    epoch = np.concatenate([*rows[:3], rows[3][:2]])
    assert sorted(epoch) == list(range(N))
    np.testing.assert_array_equal(rows[3][2:], epoch[:14])
    mean = np.zeros(64)
    for taken in rows:
        batch = np.asarray(images())[taken].reshape(B, -1)
        mean = MOMENTUM * mean + (1 - MOMENTUM) * batch.mean(axis=0)
    found = run(BOTH, [4]).params["batch_stats"]["encoder"]["norm"]["mean"]
    np.testing.assert_allclose(found, mean, rtol=1e-4)


def test_statistics_have_no_gradient_moments_or_decay():
    """With a momentum of 1 nothing but a gradient, a decay or an average could move them."""
    model = make(Encoder(momentum=1.0), Decoder(momentum=1.0))
    made = make_train(model, optimizer="adamw")
    chunk = jax.jit(made.chunk)
    h = hparams(weight_decay=jnp.float32(0.5), clip_norm=jnp.float32(1), ema_decay=jnp.float32(0.5))
    start = jax.jit(made.init)(h)
    moved = start.params["batch_stats"]["encoder"]["norm"]["mean"] + 0.3
    start.params["batch_stats"]["encoder"]["norm"]["mean"] = moved
    state = chunk(start, h, images(), jnp.int32(3))
    assert_identical(state.params["batch_stats"], start.params["batch_stats"])
    means = state.opt_state.inner_states["model"].inner_state[1][0].mu
    assert jax.tree.leaves(means["batch_stats"]) == []
    assert means["encoder"]["hidden"]["kernel"].shape == (64, 16)
    # the average of parameters is one of statistics too
    half = (moved + 0) / 2
    np.testing.assert_allclose(
        state.ema["batch_stats"]["encoder"]["norm"]["mean"], moved - half / 4
    )

    @jax.jit
    @jax.grad
    def gradient(params):
        batch = {"x": images(B), "mask": jnp.ones(B)}
        return objectives.load("beta_vae")(model, params, batch, jax.random.key(0))[0].mean()

    # also where they are read, in evaluation
    assert optax.tree.norm(gradient(state.params)["batch_stats"]) == 0


def test_dropout_of_rate_0_is_none():
    assert_identical(*(run(dropout(rate), [4]) for rate in (0.0, None)))


def test_each_step_has_masks_of_its_own():
    def loss(model, params, batch, key):
        """Without a draw of its own."""
        del key
        return model.encode(params, batch["x"]).mean[:, 0], {}

    made = training.make_train(
        loss, dropout(0.5), preprocess=undecoded, num_examples=N, batch_size=B
    )
    state = jax.jit(made.init)(hparams())
    batch = {"x": images(B), "mask": jnp.ones(B)}

    @jax.jit
    def first_loss(key):
        return made.step(state, hparams(), batch, key)[1]["loss"]

    losses = [float(first_loss(jax.random.key(seed))) for seed in (0, 0, 1)]
    assert losses[0] == losses[1] != losses[2]


def test_dropout_follows_the_key_of_the_step_and_not_the_part():
    """Codes and outputs are masks themselves: of a part and a key always one, of others others."""

    class Masks(nn.Module):
        is_encoder: bool = False

        @nn.compact
        def __call__(self, x, train):
            masks = nn.Dropout(0.5)(jnp.ones((len(x), 64)), deterministic=not train)
            noise = jax.random.normal(self.make_rng("noise"), masks.shape) if train else 0.0
            return (masks + noise,) if self.is_encoder else masks + noise

    pair = Masks(is_encoder=True), Masks()
    model = Model(
        *pair, likelihoods.Gaussian(1.0), SHAPE, 64, latent=latents.Deterministic("linear")
    )
    params, x = initial(model), images(3)

    def both(model):
        z = model.encode(params, x).mode
        return z, model.decode(params, jnp.ones((3, 64))).reshape(3, 64)

    assert_identical(both(model), (jnp.ones((3, 64)),) * 2)
    first, second = (both(model.replace(train_key=jax.random.key(i))) for i in range(2))
    assert_identical(first, both(model.replace(train_key=jax.random.key(0))))
    drawn = np.stack([*first, *second]).reshape(4, -1)
    assert np.abs(np.corrcoef(drawn) - np.eye(4)).max() < 0.3


@pytest.mark.parametrize(("name", "in_training"), sorted(modules.MODES.items()))
def test_each_spelling_of_the_mode_is_told(name, in_training):
    scope = {}
    exec(f"def call(self, x, *, {name}): return {name}", scope)
    module = type("Told", (nn.Module,), {"__call__": scope["call"]})()
    assert modules.has_modes(module)
    for is_training, key in ((True, jax.random.key(0)), (False, None)):
        told, _ = modules.apply(module, {"params": {}}, jnp.ones((1, 1)), train_key=key)
        assert told == (is_training == in_training)
    assert not modules.has_modes(networks.MLPDecoder(3))


# --- A state is enough to go on


def test_resuming_from_a_checkpoint_changes_no_bit(tmp_path):
    whole = run(BOTH, [4, 4])
    assert_identical(run(BOTH, [3, 1, 4]), whole)
    target = jax.eval_shape(compiled(BOTH)[0].init, hparams())
    with checkpoints.Checkpoints(tmp_path / "checkpoints") as store:
        store.save(5, run(BOTH, [4, 1]), {})
        halfway = store.restore(target).state
    assert_identical(run(BOTH, [3], state=halfway), whole)


@pytest.mark.slow
def test_runs_mapped_equal_runs_alone():
    made = make_train(BOTH)
    alone = [hparams(seed, latent_mask=jnp.array([1.0, seed])) for seed in range(2)]
    stacked = jax.tree.map(lambda *v: jnp.stack(v), *alone)

    def both(init, chunk):
        return chunk(init(stacked), stacked, images(), jnp.int32(4))

    at_once = jax.jit(lambda: both(jax.vmap(made.init), jax.vmap(made.chunk, (0, 0, None, None))))()

    @jax.jit
    def in_turn():
        return jax.lax.map(lambda h: made.chunk(made.init(h), h, images(), jnp.int32(4)), stacked)

    for states in (at_once, in_turn()):
        for r, h in enumerate(alone):
            one = jax.tree.map(lambda leaf, r=r: leaf[r], states)
            assert_close(one.params, run(BOTH, [4], h).params)


def test_an_export_computes_the_same_bits(tmp_path):
    params, path = run(BOTH, [4]).params, tmp_path / "mine.safetensors"
    exported.save(path, BOTH, params)
    model, own = exported.load(path, encoder=Encoder(rate=0.2), decoder=Decoder(rate=0.2))
    # an equal model is the same program
    assert model == BOTH
    assert_identical(own, params)
    array = safetensors.numpy.load_file(path)["batch_stats/encoder/norm/mean"]
    np.testing.assert_array_equal(array, params["batch_stats"]["encoder"]["norm"]["mean"])


PROGRAM = """
import jax, jax.numpy as jnp, numpy as np
import test_modules as t
from vae_jax.devices import layout
state = []
for num_data in (1, 2):
    place = layout.make_layout(1, num_data=num_data)
    assert place.num_data == num_data
    made = t.make_train(t.BOTH, layout=place)
    h = place.place(jax.tree.map(lambda v: np.asarray(v)[None], t.hparams()))
    chunk = place.over_runs(made.chunk, shared=(2, 3))
    state.append(chunk(place.over_runs(made.init)(h), h, place.replicate(t.images()), np.int32(4)))
t.assert_close(*map(place.read, state))
"""


@pytest.mark.slow
def test_devices_that_share_a_batch_normalize_by_all_of_it():
    flags = "--xla_force_host_platform_device_count=2"
    here = pathlib.Path(__file__).parent
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={**os.environ, "XLA_FLAGS": flags, "PYTHONPATH": str(here)},
        cwd=here.parent,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.fixture
def mine(monkeypatch):
    """The pair as a network of the command line, under a name of its own."""

    def build(shape, latent_dim, num_outputs, widths, activation, dtype):
        pair = Encoder(latent_dim=latent_dim, rate=0.1), Decoder(size=64 * num_outputs, rate=0.1)
        return pair

    network = networks.load("mlp")._replace(build=build)
    monkeypatch.setitem(networks.mlp.NETWORKS, "mlp", network)
    monkeypatch.setattr(pictures, "draw", lambda *_: [])


def train_here(directory, **values):
    values = {"latent_dim": "2", "learning_rate": "0.01", "workdir": str(directory), **values}
    return train.train([config.from_flags(values)])[0]


def test_statistics_are_no_trained_numbers(mine):
    dataset = data.load("digits")
    found = resolved.resolve([config.from_flags({"latent_dim": "2"})], dataset)
    params = jax.eval_shape(make().init, jax.random.key(0))
    del params["batch_stats"]
    trained = 1 + sum(leaf.size for leaf in jax.tree.leaves(params))  # a learned variance
    assert found.num_parameters(2) == trained
    given = resolved.resolve([config.from_flags({"latent_dim": "2", "variance": "0.1"})], dataset)
    assert given.num_parameters(2) == trained - 1  # a variance that is given is not learned


@pytest.mark.slow
def test_a_run_is_resumed_and_loaded_with_its_statistics(mine, tmp_path):
    whole = train_here(tmp_path / "whole", epochs="2")
    train_here(tmp_path / "resumed", epochs="1")
    resumed = train_here(tmp_path / "resumed", epochs="2")
    runs = [members.load_member(tmp_path / name) for name in ("whole", "resumed")]
    assert_identical(runs[0].params, runs[1].params)
    assert whole["loss"] == resumed["loss"]
    statistics = runs[0].params["batch_stats"]
    assert statistics["encoder"]["norm"]["mean"].shape == (64,)
    export.main({**dict.fromkeys(export.FLAGS), "run": str(tmp_path / "whole")})
    pair = {"encoder": Encoder(rate=0.1), "decoder": Decoder(rate=0.1)}
    model, params = exported.load(tmp_path / "whole" / "model.safetensors", **pair)
    assert_identical(params["batch_stats"], statistics)
    assert model.has_modes


# --- Every objective


ONLY_OURS = {"stacked", "dbn"}


SEVERAL = ("beta_vae", "cvae", "dbn", "factor_vae", "m2", "stacked", "vq_vae")
"""One objective of each kind of what is bound, and those of layers in turn."""


@pytest.mark.parametrize(
    "name",
    [*SEVERAL, *slow(*(n for n in objectives.names() if n not in SEVERAL))],
)
def test_every_objective_trains_a_pair_with_statistics(name):
    """Traced, not compiled: whatever an objective does with its model, no tracer is left behind."""
    objective = bind(name)
    latent = latents.Gaussian() if objective.latent is None else objective.latent()
    latent_dim = 6
    model = Model(
        Encoder(latent_dim=latent_dim, num_parts=len(latent.parts), rate=0.1),
        Decoder(rate=0.1),
        likelihoods.Bernoulli(),
        SHAPE,
        latent_dim,
        latent=latent,
        num_conditions=num_given(objective),
    )
    more = beside(objective, N)
    made = training.make_train(
        objective, model, preprocess=undecoded, num_examples=N, batch_size=B, beside=more
    )
    batch = {"x": images(B), **{n: v[:B] for n, v in more.items()}, "mask": jnp.ones(B)}
    h = hparams(
        objective={
            n: jnp.float32(p.default)
            for n, p in objectives.hyperparameters(name).items()
            if not p.is_static
        }
    )
    if name in ONLY_OURS:
        with pytest.raises(UsageError, match="network cascade or mlp"):
            jax.eval_shape(made.init, h)
        return
    state = jax.eval_shape(made.init, h)
    after, _ = jax.eval_shape(made.step, state, h, batch, jax.random.key(0))
    assert jax.tree.map(jnp.shape, after) == jax.tree.map(jnp.shape, state)
    assert set(after.params["batch_stats"]) == {"encoder", "decoder"}


def test_a_conditional_pair_needs_an_objective_that_says_what_is_given():
    more = {"condition": jnp.arange(N) % 3}
    batch = {"x": images(), **more, "mask": jnp.ones(N)}

    def trace(objective):
        options = {"preprocess": undecoded, "num_examples": N, "batch_size": N, "beside": more}
        made = training.make_train(objective, make(num_conditions=3), **options)
        state = jax.eval_shape(made.init, hparams())
        return jax.eval_shape(made.step, state, hparams(), batch, jax.random.key(0))

    with pytest.raises(
        UsageError, match=r"without conditions, given, beside: give objectives\.bind"
    ):
        trace(objectives.load("cvae"))
    # a function of the user's own that calls it has no other parts either
    with pytest.raises(UsageError, match=r"take objectives\.bind"):
        trace(lambda *arguments, **settings: objectives.load("cvae")(*arguments, **settings))
    trace(objectives.bind("cvae", num_examples=N))


# --- What is refused


class Refused(nn.Module):
    """Fails in one way or another, as an encoder."""

    how: str

    @nn.compact
    def __call__(self, x, train: bool):
        h = nn.Dense(L)(x.reshape(len(x), -1))
        if self.how == "axis":
            h = nn.BatchNorm(use_running_average=not train, axis_name="batch")(h)
        if self.how == "always":
            h = nn.BatchNorm(use_running_average=False)(h)
        if self.how == "untold":
            h = nn.BatchNorm()(h)
        if self.how == "dropout":
            h = nn.Dropout(0.5, deterministic=False)(h)
        if self.how == "asleep":
            h = nn.BatchNorm(use_running_average=True)(h)
        if self.how == "idle":
            h = nn.Dropout(0.5, deterministic=True)(h)
        if self.how == "unknown":
            h = h + self.variable("memory", "last", jnp.zeros, (1, L)).value
        if self.how == "counter":
            seen = self.variable("batch_stats", "seen", jnp.zeros, (), jnp.int32)
            h = h + seen.value.astype(h.dtype)
        if self.how == "sown":
            self.sow("losses", "mine", h.sum())
        return h, h


class WithoutModes(Refused):
    """The same, which takes no mode."""

    @nn.compact
    def __call__(self, x):
        return super().__call__(x, True)


REMEDY = "let its __call__ take train: bool, and give BatchNorm use_running_average=not train and "
CASES = [
    (Refused, "axis", "Refused: .*unbound axis name: batch: leave axis_name out"),
    (Refused, "always", f'Refused in evaluation: .*"batch_stats" is immutable: {REMEDY}'),
    (Refused, "untold", f"Refused: .*use_running_average.*: {REMEDY}"),
    (Refused, "dropout", f'Refused in evaluation: .* needs PRNG for "dropout": {REMEDY}'),
    (Refused, "unknown", 'Refused: .*collection "memory".* keeps the collections params and batch'),
    (Refused, "counter", "Refused: batch_stats holds int32: keep statistics as floating"),
    (WithoutModes, "always", f"WithoutModes: its BatchNorm is not told training .*: {REMEDY}"),
    (WithoutModes, "dropout", f"WithoutModes: its Dropout is not told training .*: {REMEDY}"),
    # they would never learn, and never act
    (WithoutModes, "asleep", f"WithoutModes: its BatchNorm is not told training .*: {REMEDY}"),
    (WithoutModes, "idle", f"WithoutModes: its Dropout is not told training .*: {REMEDY}"),
    (WithoutModes, "untold", f"WithoutModes: .*: {REMEDY}"),
    (WithoutModes, "unknown", 'WithoutModes: .*collection "memory"'),
]


@pytest.mark.parametrize(("kind", "how", "message"), CASES)
def test_unsupported_collections_and_keys_are_refused_in_one_line(kind, how, message):
    model = make(kind(how), DropoutDecoder(None))
    with pytest.raises(UsageError, match=f"^network {message}") as error:
        fitting.fit("beta_vae", model, images(), epochs=1)
    assert "\n" not in str(error.value)
    assert "http" not in str(error.value)


def test_parameters_without_statistics_are_refused():
    model = make()
    params = initial(model)
    del params["batch_stats"]
    with pytest.raises(UsageError, match="give parameters with 'batch_stats'"):
        model.encode(params, images(2))


def test_sown_values_are_ignored():
    model = make(Refused("sown"), DropoutDecoder(None))
    assert set(initial(model)) == {"encoder", "decoder", "likelihood"}
    jax.eval_shape(make_train(model).init, hparams())


@pytest.mark.parametrize("name", sorted(modules.MODES))
def test_a_mode_is_known_by_each_of_its_usual_names(name):
    class Own(nn.Module):
        @nn.compact
        def __call__(self, x, **modes):
            train = modes[name] == modules.MODES[name]
            return nn.BatchNorm(use_running_average=not train)(x)

    # what flax wraps shows the arguments of the function below
    Own.__call__.__signature__ = inspect.Signature(
        [inspect.Parameter(n, inspect.Parameter.POSITIONAL_OR_KEYWORD) for n in ("self", "x", name)]
    )
    assert modules.has_modes(Own())
    x = jnp.arange(6.0).reshape(3, 2)
    _, variables = modules.init(Own(), jax.random.key(0), x)
    _, before = modules.apply(Own(), variables, x)
    _, after = modules.apply(Own(), variables, x, train_key=jax.random.key(0))
    assert not np.any(before["BatchNorm_0"]["mean"])
    assert np.all(after["BatchNorm_0"]["mean"] > 0)
