"""Recurrent networks: what is padding, what is told to the decoder, and what p(x|z) sums to."""

import dataclasses
import functools
import itertools

import flax.linen as nn
import jax
import jax.numpy as jnp
import keys
import numpy as np
import pytest

from vae_jax import distributions, fitting, likelihoods, networks, objectives, training
from vae_jax.errors import UsageError
from vae_jax.model import Model
from vae_jax.networks import _recurrent

SERIES = (6, 2)


def make(network="gru", likelihood=None, shape=SERIES, latent_dim=3, mask=None, **options):
    likelihood = likelihood or likelihoods.Gaussian("learned", has_missing=True)
    encoder, decoder = networks.build(
        network,
        shape=shape,
        latent_dim=latent_dim,
        num_outputs=likelihood.num_outputs,
        **{"widths": (8,), **options},
    )
    model = Model(encoder, decoder, likelihood, shape, latent_dim, latent_mask=mask)
    # any parameters will do, and NumPy draws them without a compilation
    shapes, draw = jax.eval_shape(model.init, keys.quick(0)), np.random.default_rng(0).normal
    return model, jax.tree.map(lambda v: jnp.asarray(draw(0, 0.5, v.shape), v.dtype), shapes)


def normal(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@jax.jit
def encode(model, params, x):
    return model.encode(params, x)


@jax.jit
def decode(model, params, z, x=None):
    return model.decode(params, z, x)


@jax.jit
def log_prob(model, params, z, x):
    return -model.distortion(params, z, {"x": x, "mask": jnp.ones(len(x))})


def of_lengths(lengths, num_steps, seed=1):
    """Series [N, T, 2] that are NaN from their lengths on; a longer T changes nothing else."""
    x = normal(seed, len(lengths), 9, 2)[:, :num_steps]
    x[np.arange(num_steps) >= np.array(lengths)[:, None]] = np.nan
    return jnp.asarray(x)


def all_strings(num_characters, num_steps):
    """Every string of up to T characters as levels [N, T], the end 0, then NaN."""
    rows = []
    for length in range(num_steps + 1):
        for characters in itertools.product(range(1, num_characters + 1), repeat=length):
            row = [k / num_characters for k in characters] + [0.0] * (length < num_steps)
            rows.append(row + [np.nan] * (num_steps - len(row)))
    return np.float32(rows)


def with_flax(cell, layer, read):
    """The parameters of a layer of ours as those of flax's cell."""
    kernels = np.split(layer["kernel"], _recurrent.cells()[cell].num_gates, axis=1)
    inputs = np.split(read["kernel"], len(kernels), axis=1)
    biases = np.split(read["bias"], len(kernels))
    names = ("r", "z", "n") if cell == "gru" else ("i", "f", "g", "o")
    params = {}
    for name, kernel, own, bias in zip(names, kernels, inputs, biases, strict=True):
        params[f"i{name}"], params[f"h{name}"] = {"kernel": own}, {"kernel": kernel}
        if cell == "gru":
            params[f"i{name}"]["bias"] = bias
        else:
            params[f"h{name}"]["bias"] = bias + float(name == "f")
    if cell == "gru":
        params["hn"]["bias"] = layer["bias"]
    return params


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_cells_are_those_of_flax(cell):
    width, num_steps = 4, 5
    own = _recurrent.cells()[cell]
    kernel, bias = normal(0, width, own.num_gates * width), normal(3, width)
    read = {
        "kernel": normal(1, 3, kernel.shape[1]),
        "bias": np.linspace(-1.0, 1.0, kernel.shape[1], dtype=np.float32),
    }
    x = normal(2, 2, num_steps, 3)
    state = (np.zeros((2, width), np.float32),) * own.num_states
    gates = np.einsum("btf,fg->btg", x, read["kernel"]) + read["bias"][None, None]
    weights = (kernel, bias) if own.has_bias else (kernel,)
    _, outputs = jax.jit(functools.partial(_recurrent._run, own))(weights, state, gates)

    theirs = {"gru": nn.GRUCell, "lstm": nn.LSTMCell}[cell](width)
    params = with_flax(cell, {"kernel": kernel, "bias": bias}, read)
    carry = state[0] if cell == "gru" else (state[1], state[0])
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        step = jax.jit(lambda carry, x: theirs.apply({"params": params}, carry, x))
        for t in range(num_steps):
            carry, expected = step(carry, x[:, t])
            np.testing.assert_allclose(outputs[:, t], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("network", ["gru", "bilstm"])
def test_a_code_does_not_depend_on_padding(network):
    lengths = (6, 1, 4)
    short, params = make(network)
    long, _ = make(network, shape=(9, 2))
    a = encode(short, params, of_lengths(lengths, 6))
    b = encode(long, params, of_lengths(lengths, 9))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), a, b)
    alone = encode(short, params, of_lengths(lengths, 6)[1:2])
    np.testing.assert_allclose(alone.mean, a.mean[1:2], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("network", ["gru", pytest.param("lstm", marks=pytest.mark.slow)])
@pytest.mark.parametrize("dropout", [0.0, 1.0])
def test_the_probabilities_of_all_strings_sum_to_one(network, dropout):
    x = all_strings(2, 4)
    assert len(x) == 1 + 2 + 4 + 8 + 16
    text = likelihoods.Text(3)
    model, params = make(network, text, (4,), teacher_dropout=dropout)
    for scale in (0.0, 3.0):
        z = jnp.full((len(x), 3), scale)
        assert jnp.exp(log_prob(model, params, z, x)).sum() == pytest.approx(1.0, abs=1e-5)


def test_draws_follow_the_probabilities():
    """Free running with its own draws: strings come as often as their probability says."""
    x, num = all_strings(2, 3), 10_000
    model, params = make("gru", likelihoods.Text(3), (3,))
    code = jnp.array([[1.0, -2.0, 0.5]])
    expected = np.exp(log_prob(model, params, jnp.tile(code, (len(x), 1)), x))
    z = jnp.tile(code, (num, 1))
    draws, _ = jax.jit(model.sample_given)(params, keys.quick(3), z)
    same = np.all(np.nan_to_num(draws)[:, None] == np.nan_to_num(x)[None], axis=2)
    same &= np.all(np.isnan(draws)[:, None] == np.isnan(x)[None], axis=2)
    assert same.sum() == num
    deviation = np.sqrt(expected * (1 - expected) / num)
    assert np.all(np.abs(same.mean(axis=0) - expected) < 5 * deviation + 1e-6)


def test_images_are_read_and_said_row_by_row():
    levels = likelihoods.Categorical(num_levels=5)
    model, params = make("bigru", levels, (4, 3, 1), widths=(4, 6))
    x = np.random.default_rng(1).integers(0, 5, (2, 4, 3, 1)).astype(np.float32) / 4

    @jax.jit
    def run(params):
        mean = model.encode(params, x).mean
        return mean, model.decode(params, mean, x), model.sample(params, keys.quick(1), 7)

    mean, outputs, (draws, means) = run(params)
    assert mean.shape == (2, 3)
    assert outputs.shape == (2, 4, 3, 1, 5)
    assert draws.shape == means.shape == (7, 4, 3, 1)


def test_teacher_forcing_equals_free_running_on_the_same_steps():
    model, params = make("lstm", widths=(6, 8))
    x = normal(2, 4, *SERIES)
    z = normal(3, 4, 3)
    forced = decode(model, params, z, x)
    steps = jnp.asarray(x)
    apply = jax.jit(
        lambda own: model.decoder.apply(own, z, feed=lambda t, _: (steps[:, t], steps[:, t]))
    )
    along, fed = apply({"params": params["decoder"]})
    np.testing.assert_array_equal(fed, x)
    np.testing.assert_allclose(along.reshape(x.shape), forced, rtol=1e-5, atol=1e-6)
    # a step hears of those before it, not of itself nor of those after it
    other = decode(model, params, z, x + np.float32(np.arange(6) == 3)[:, None])
    changed = np.abs(other - forced).max(axis=(0, 2)) > 1e-6
    np.testing.assert_array_equal(changed, [False] * 4 + [True] * 2)
    # along its own modes, which of a Gaussian are its means
    free = decode(model, params, z)
    np.testing.assert_allclose(decode(model, params, z, free), free, rtol=1e-4, atol=1e-5)


def test_a_decoder_with_full_teacher_dropout_does_not_read_x():
    model, params = make(teacher_dropout=1.0)
    x, z = np.ones((2, *SERIES), np.float32), np.ones((2, 3), np.float32)
    assert not model.reads_x
    np.testing.assert_array_equal(decode(model, params, z, x), decode(model, params, z))


def test_dropout_is_of_training_alone_and_follows_the_key():
    model, params = make(teacher_dropout=0.5)
    x = normal(2, 64, *SERIES)
    z = np.ones((64, 3), np.float32)
    told, (one, again, other) = (
        decode(model, params, z, x),
        (decode(model.replace(teacher_key=keys.quick(k)), params, z, x) for k in (0, 0, 1)),
    )
    np.testing.assert_array_equal(one, again)
    assert np.abs(one - other).max() > 0
    np.testing.assert_array_equal(one[:, 0], told[:, 0])  # nothing is told before the first
    is_told = np.all(np.isclose(one[:, 1], told[:, 1], atol=1e-7), axis=1)
    assert 0.3 < is_told.mean() < 0.7


def test_teacher_dropout_is_the_share_of_steps_without_input():
    model, params = make(teacher_dropout=0.1)
    x, z = normal(2, 256, *SERIES), np.ones((256, 3), np.float32)
    told = decode(model, params, z, x)
    dropped = decode(model.replace(teacher_key=keys.quick(0)), params, z, x)
    # the second step hears of the first alone
    is_told = np.all(np.isclose(dropped[:, 1], told[:, 1], atol=1e-7), axis=1)
    assert 0.8 < is_told.mean() < 1


def test_training_uses_teacher_dropout():
    """Its loss is the objective's with a key given, and another than that without one."""
    model, params = make(teacher_dropout=0.5)
    batch = {"x": normal(2, 8, *SERIES), "mask": jnp.ones(8)}
    loss, key = objectives.load("beta_vae"), keys.quick(5)
    train = training.make_train(
        loss, model, preprocess=lambda stored, key: stored, num_examples=8, batch_size=8
    )
    h = training.Hparams(jnp.int32(0), jnp.float32(1e-3))

    @jax.jit
    def losses(params):
        state = train.init(h).replace(params=params)
        teacher_key = jax.random.fold_in(key, jnp.uint32(training._TEACHER))
        dropped, told = (
            loss(model.replace(teacher_key=each), params, batch, key)[0].mean()
            for each in (teacher_key, None)
        )
        return train.step(state, h, batch, key)[1]["loss"], dropped, told

    of_step, dropped, told = map(float, losses(params))
    assert of_step == pytest.approx(dropped, rel=1e-5)
    assert abs(told - dropped) > 1e-2


def test_the_two_ways_read_against_each_other():
    """With their parameters exchanged they make of a reversed series what they made of it."""
    model, params = make("bigru", widths=(8, 6))

    def exchanged(leaf, axis, num_parts):
        parts = np.split(leaf, num_parts, axis=axis)
        order = [i ^ 1 for i in range(num_parts)]
        return np.concatenate([parts[i] for i in order], axis=axis)

    own = jax.tree.map(np.asarray, params["encoder"])
    for i in range(2):
        own[f"forward_{i}"], own[f"backward_{i}"] = own[f"backward_{i}"], own[f"forward_{i}"]
        read = jax.tree.map(lambda leaf: exchanged(leaf, -1, 2), own[f"read_{i}"])
        # the second layer reads what both ways of the first say
        kernel = exchanged(read["kernel"], 0, 2) if i else read["kernel"]
        own[f"read_{i}"] = {**read, "kernel": kernel}
    head = own["head"]["posterior"]
    own["head"] = {"posterior": {**head, "kernel": exchanged(head["kernel"], 0, 2)}}
    x = normal(2, 4, *SERIES)
    plain, other = encode(model, params, x), encode(model, {**params, "encoder": own}, x[:, ::-1])
    np.testing.assert_allclose(other.mean, plain.mean, rtol=1e-4, atol=1e-5)


OF_NUMBERS = [
    name
    for name in likelihoods.names()
    if likelihoods.load(name).requires not in ("text", "columns")
]


OF_EACH_DIMENSION = [
    name for name in OF_NUMBERS if "learned_per_dimension" in likelihoods.load(name).variances
]


@pytest.mark.parametrize(
    ("name", "per_dimension"),
    [
        *((name, False) for name in OF_NUMBERS),
        ("gaussian", True),
        # which take it from where the Gaussian has it
        *(
            pytest.param(name, True, marks=pytest.mark.slow)
            for name in OF_EACH_DIMENSION
            if name != "gaussian"
        ),
    ],
)
def test_missing_steps_contribute_exactly_nothing(name, per_dimension):
    """As if the sequence ended there: in value, and in every gradient."""
    variance = "learned_per_dimension" if per_dimension else "learned"
    likelihood = likelihoods.make(name, variance=variance, num_levels=2, has_missing=True)
    params = likelihood.init((5,))
    x = np.float32([[1.0, 0.0, 1.0, np.nan, np.nan], [0.0, 1.0, 0.0, 1.0, 1.0]])
    several = () if likelihood.num_outputs == 1 else (likelihood.num_outputs,)
    outputs = normal(0, 2, 5, *several)

    def short(params, outputs):
        own = jax.tree.map(lambda leaf: leaf[:3] if leaf.ndim else leaf, params)
        return likelihood.log_prob(own, outputs[:1, :3], x[:1, :3])[0]

    whole = dataclasses.replace(likelihood, has_missing=False)

    @jax.jit
    def measure(*both):
        values, slopes = jax.vjp(lambda *both: likelihood.log_prob(*both, x), *both)
        padded = values[0], slopes(jnp.float32([1.0, 0.0]))
        found = padded, jax.value_and_grad(short, argnums=(0, 1))(*both)
        return found, [values[1], whole.log_prob(*both, x)[1]]

    found, complete = measure(params, outputs)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), *found)
    np.testing.assert_array_equal(found[0][1][1][0, 3:], 0.0)
    np.testing.assert_array_equal(likelihood.num_known(x), [3, 5])
    np.testing.assert_allclose(*complete, rtol=1e-6)


def test_gradients_are_finite_where_values_are_missing():
    model, params = make("bigru")
    batch = {"x": of_lengths((6, 2, 4), 6), "mask": jnp.ones(3)}
    loss = objectives.load("beta_vae")

    def mean_loss(params):
        return loss(model, params, batch, keys.quick(1))[0].mean()

    for leaf in jax.tree.leaves(jax.jit(jax.grad(mean_loss))(params)):
        assert np.isfinite(leaf).all()
        assert np.abs(leaf).max() > 0


def test_a_masked_network_starts_as_an_unmasked_one_of_that_size():
    mask = jnp.array([1.0, 1.0, 0.0, 0.0])
    native, masked = make(latent_dim=2)[0], make(latent_dim=4, mask=mask)[0]
    x = of_lengths((6, 3), 6)

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


def test_bfloat16_computes_in_half_and_returns_float32():
    (half, params), (full, _) = make(dtype=jnp.bfloat16), make()
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(params))
    z = np.ones((2, 3), np.float32)
    assert decode(half, params, z).dtype == jnp.float32
    difference = float(jnp.abs(decode(half, params, z) - decode(full, params, z)).max())
    assert 0 < difference < 0.05


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "gru", "activation": "relu"}, "network 'gru' has its cell's activations"),
        ({"name": "bigru", "widths": (3,)}, "widths=3: needs at least one width, even ones"),
        (
            {"name": "mlp", "teacher_dropout": 0.1},
            "'mlp' has no teacher, take bigru, bilstm, gru, lstm or pixel",
        ),
    ],
)
def test_invalid_settings_are_refused(options, message):
    with pytest.raises(UsageError, match=message):
        networks.build(**{"shape": SERIES, "latent_dim": 2, **options})


@pytest.mark.slow
@pytest.mark.parametrize("network", ["gru", "lstm"])
def test_strings_are_memorised_by_their_codes(network):
    """A decoder that is told nothing can copy a string only if the code holds it."""
    x = jax.random.randint(keys.quick(0), (256, 5), 1, 5).astype(jnp.float32) / 4
    x = x.at[:, 3:].set(jnp.where(jnp.arange(256)[:, None] % 2 == 0, x[:, 3:], jnp.nan))
    x = x.at[:, 3].set(jnp.where(jnp.isnan(x[:, 3]), 0.0, x[:, 3]))
    options = {"latent_dim": 16, "widths": (64,), "teacher_dropout": 1.0}
    model, _ = make(network, likelihoods.Text(5), (5,), **options)
    settings = {"learning_rate": 3e-3, "beta": 0.1, "epochs": 400, "batch_size": 64}
    trained = fitting.fit("beta_vae", model, x, **settings)
    copied = model.reconstruct(trained.params, x)
    is_same = (copied == x) | (jnp.isnan(copied) & jnp.isnan(x))
    assert is_same.all(axis=1).mean() > 0.95
