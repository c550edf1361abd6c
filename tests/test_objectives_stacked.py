"""Layers trained one after another: each alone, each as a training of its own, then the whole."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from properties import initial, loss_of

from vae_jax import (
    corruptions,
    data,
    fitting,
    likelihoods,
    networks,
    objectives,
    rbm,
    schedules,
    training,
)
from vae_jax.errors import UsageError
from vae_jax.model import Model
from vae_jax.objectives import _layers

SHAPE, L, B, WIDTHS = (4, 4, 1), 3, 6, (10, 7)
N = len(WIDTHS) + 1
PATHS = [
    (("encoder", "hidden_0"), ("decoder", "output")),
    (("encoder", "hidden_1"), ("decoder", "hidden_1")),
    (("encoder", "head"), ("decoder", "latent")),
]
SLOW = pytest.mark.slow
EVERY = [
    pytest.param(p, layer, marks=[] if layer == quick else SLOW)
    for quick, p in enumerate(("autoencoder", "denoising", "rbm"))
    for layer in range(N)
]


def make(
    name="stacked",
    *,
    activation="sigmoid",
    likelihood=None,
    mask=None,
    network="mlp",
    shape=SHAPE,
    widths=WIDTHS,
    latent_dim=L,
    **own,
):
    objective = objectives.bind(name, num_examples=100, **own)
    encoder, decoder = networks.build(
        network,
        shape=shape,
        latent_dim=latent_dim,
        widths=widths,
        activation=activation,
        num_parts=1,
    )
    likelihood = likelihood or likelihoods.Bernoulli()
    return objective, Model(
        encoder, decoder, likelihood, shape, latent_dim, mask, objective.latent()
    )


def batch_of(num=B):
    return {"x": jax.random.uniform(jax.random.key(1), (num, *SHAPE)), "mask": jnp.ones(num)}


def at(layer):
    """A share of the pre-training at which a layer is trained."""
    return (layer + 0.5) / N


def training_of(objective, model, num_examples, optimizer="adam"):
    return training.make_train(
        objective,
        model,
        preprocess=lambda stored, key: stored,
        num_examples=num_examples,
        batch_size=num_examples,
        optimizer=optimizer,
    )


def test_shares_of_the_pretraining_are_layers():
    _, model = make()
    for share, layer in ((0.0, 0), (0.33, 0), (0.34, 1), (0.66, 1), (0.67, 2), (0.999, 2), (1, 3)):
        assert _layers.current(model, share) == layer


@pytest.mark.parametrize("mask", [None, jnp.array([1.0, 0.0, 1.0])])
def test_layers_in_turn_are_the_model(mask):
    _, model = make(mask=mask)
    params, x = initial(model), batch_of()["x"]
    z = _layers._below(model, params, N, x)
    np.testing.assert_allclose(z, model.encode(params, x).mode, rtol=1e-6)
    h = z
    for layer in reversed(range(N)):
        h = _layers._down(model, params, layer, h)
    np.testing.assert_allclose(h.reshape(B, *SHAPE), model.decode(params, z), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("pretraining", "layer"), EVERY)
def test_only_the_layer_that_is_trained_has_a_gradient(pretraining, layer):
    objective, model = make(pretraining=pretraining)
    params, batch, key = initial(model), batch_of(), jax.random.key(2)

    def mean(params):
        loss, terms = loss_of(objective, model, params, batch, key, pretrained=at(layer))
        return loss.mean(), terms

    gradient, terms = jax.grad(mean, has_aux=True)(params)
    size = jax.tree.map(lambda leaf: float(jnp.abs(leaf).max()), gradient)
    for place, (own, mirror) in enumerate(PATHS):
        for part, name in (own, mirror):
            kernel = size[part][name].get("posterior", size[part][name])["kernel"]
            # a machine has its kernel in the encoder, both biases where they will be
            is_trained = place == layer and not (pretraining == "rbm" and part == "decoder")
            assert (kernel > 0) == is_trained
        assert (size[mirror[0]][mirror[1]]["bias"] > 0) == (place == layer)
    whole, _ = make("autoencoder")
    _, want = whole(model, params, batch, key)
    for name, value in want.items():
        np.testing.assert_allclose(terms[name], value, rtol=1e-5)


def assert_gradient_of_machine(objective, model, params, given, h, machine, options):
    """The loss has the gradient of contrastive divergence, in the kernel and in both biases."""
    batch, key, layer = given

    def divergence(*machine):
        return rbm.contrastive_divergence(key, h, *machine, **options).sum()

    def total(params):
        return loss_of(objective, model, params, batch, key, pretrained=at(layer))[0].sum()

    pair = _layers._pairs(model)[layer]
    found = jax.grad(total)(params)
    own, mirror = (_layers._get(found, path) for path in pair)
    want = jax.grad(divergence, argnums=(0, 1, 2))(*machine)
    for value, expected in zip((own["kernel"], mirror["bias"], own["bias"]), want, strict=True):
        np.testing.assert_allclose(value, expected, atol=1e-4)


def test_a_machine_is_trained_on_what_is_below_it():
    objective, model = make(pretraining="rbm", num_gibbs=2)
    params, batch, key = initial(model), batch_of(), jax.random.key(2)
    loss, terms = loss_of(objective, model, params, batch, key, pretrained=at(2))
    encoder, decoder = params["encoder"], params["decoder"]
    h = batch["x"].reshape(B, -1)
    for name in ("hidden_0", "hidden_1"):
        h = jax.nn.sigmoid(h @ encoder[name]["kernel"] + encoder[name]["bias"][None])
    own = encoder["head"]["posterior"]
    machine = own["kernel"], decoder["latent"]["bias"], own["bias"]
    options = {"num_steps": 2, "hidden": "gaussian"}
    assert_gradient_of_machine(objective, model, params, (batch, key, 2), h, machine, options)
    z = h @ own["kernel"] + own["bias"][None]
    restored = jax.nn.sigmoid(z @ own["kernel"].T + decoder["latent"]["bias"][None])
    for value in (terms["layer_error"], loss):
        np.testing.assert_allclose(value, jnp.square(h - restored).sum(axis=1), rtol=1e-4)


def test_machines_of_tanh_layers_are_of_spins():
    objective, model = make(pretraining="rbm", activation="tanh")
    params, batch, key = initial(model), batch_of(), jax.random.key(2)
    loss, terms = loss_of(objective, model, params, batch, key, pretrained=at(1))
    below, own = (params["encoder"][name] for name in ("hidden_0", "hidden_1"))
    bias = params["decoder"]["hidden_1"]["bias"]
    h = jnp.tanh(batch["x"].reshape(B, -1) @ below["kernel"] + below["bias"][None])
    machine = own["kernel"], bias, own["bias"]
    options = {"visible": "spin", "hidden": "spin"}
    assert_gradient_of_machine(objective, model, params, (batch, key, 1), h, machine, options)
    mean = jnp.tanh(h @ own["kernel"] + own["bias"][None])
    restored = jnp.tanh(mean @ own["kernel"].T + bias[None])
    for value in (terms["layer_error"], loss):
        np.testing.assert_allclose(value, jnp.square(h - restored).sum(axis=1), rtol=1e-4)


def test_a_layer_restores_what_was_hidden_of_its_input():
    objective, model = make(pretraining="denoising")
    params, batch, key = initial(model), batch_of(), jax.random.key(2)
    loss, terms = loss_of(objective, model, params, batch, key, pretrained=at(1), level=0.5)
    encoder, decoder = params["encoder"], params["decoder"]

    def layer(own, h):
        return jax.nn.sigmoid(h @ own["kernel"] + own["bias"][None])

    h = layer(encoder["hidden_0"], batch["x"].reshape(B, -1))
    shown = corruptions.masking(key, h, 0.5)
    restored = layer(decoder["hidden_1"], layer(encoder["hidden_1"], shown))
    want = jnp.square(h - restored).sum(axis=1)
    np.testing.assert_allclose(loss, want, rtol=1e-5)
    np.testing.assert_allclose(terms["layer_error"], want, rtol=1e-5)


@pytest.mark.parametrize(
    "pretraining", [*(pytest.param(p, marks=SLOW) for p in ("autoencoder", "denoising")), "rbm"]
)
def test_masked_dimensions_of_the_code_train_nothing(pretraining):
    mask = jnp.array([1.0, 0.0, 1.0])
    objective, model = make(mask=mask, pretraining=pretraining)
    params, key = initial(model), jax.random.key(2)

    def mean(params):
        return objective(model, params, batch_of(), key, pretrained=at(N - 1))[0].mean()

    gradient = jax.grad(mean)(params)["encoder"]["head"]["posterior"]
    for leaf in (gradient["kernel"].T, gradient["bias"]):
        assert (leaf[1] == 0).all()
        assert (leaf[0] != 0).any()


@pytest.mark.slow
def test_denoising_restores_masked_inputs():
    objective, model = make(pretraining="denoising")
    plain, _ = make()
    params, batch, key = initial(model), batch_of(), jax.random.key(2)
    for layer in range(N):
        h = {"pretrained": at(layer)}
        clean, terms = plain(model, params, batch, key, **h)
        np.testing.assert_array_equal(
            loss_of(objective, model, params, batch, key, level=0.0, **h)[0], clean
        )
        loss, _ = loss_of(objective, model, params, batch, key, level=0.9, **h)
        assert (loss != clean).all()
        if layer == 0:
            assert (terms["layer_error"] != terms["squared_error"]).all()


@pytest.mark.parametrize(("pretraining", "share"), [("rbm", 1.0), ("none", 0.2)])
def test_the_whole_is_the_plain_autoencoder(pretraining, share):
    objective, model = make(pretraining=pretraining)
    plain, _ = make("autoencoder")
    params, batch, key = initial(model), batch_of(), jax.random.key(2)
    loss, terms = loss_of(objective, model, params, batch, key, pretrained=share)
    want, plain_terms = plain(model, params, batch, key)
    np.testing.assert_allclose(loss, want, rtol=1e-6)
    np.testing.assert_allclose(terms["layer_error"], plain_terms["squared_error"], rtol=1e-6)


@pytest.mark.parametrize("pretraining", ["autoencoder", "rbm"])
def test_a_step_changes_only_the_layer_in_training(pretraining):
    """Of the whole all of it; of a machine the mirror's kernel is the layer's own, transposed."""
    objective, model = make(pretraining=pretraining)
    before = initial(model)
    after = jax.tree.map(lambda leaf: leaf + 1.0, before)
    for layer in range(N + 1):
        found = objective.update(model, before, after, None, None, pretrained=at(layer))
        for place, ((part, own), (mirror, name)) in enumerate(PATHS):
            want = after if layer in (place, N) else before
            jax.tree.map(np.testing.assert_array_equal, found[part][own], want[part][own])
            bias, kernel = found[mirror][name]["bias"], want[mirror][name]["kernel"]
            np.testing.assert_array_equal(bias, want[mirror][name]["bias"])
            if pretraining == "rbm" and layer == place:
                kernel = want[part][own].get("posterior", want[part][own])["kernel"].T
            np.testing.assert_array_equal(found[mirror][name]["kernel"], kernel)


@pytest.mark.slow
@pytest.mark.parametrize("pretraining", ["autoencoder", "rbm"])
def test_each_layer_is_a_training_of_its_own(pretraining):
    """The others stay to the bit under weight decay, and the optimizer has forgotten them."""
    objective, model = make(pretraining=pretraining)
    train = training_of(objective, model, B, "adamw")
    x, steps = batch_of()["x"], 4
    h = training.Hparams(
        jnp.int32(0),
        jnp.float32(1e-2),
        {"pretrained": schedules.linear(0, 1, N * steps)},
        weight_decay=jnp.float32(0.1),
    )
    chunk = jax.jit(train.chunk)
    state = jax.jit(train.init)(h)
    fresh = state.opt_state
    for layer in range(N + 1):
        afresh = chunk(state.replace(opt_state=fresh), h, x, jnp.int32(steps))
        before, state = state.params, chunk(state, h, x, jnp.int32(steps))
        jax.tree.map(np.testing.assert_array_equal, afresh.params, state.params)
        for place, paths in enumerate(PATHS):
            for part, name in paths:
                pairs = zip(
                    *(jax.tree.leaves(p[part][name]) for p in (before, state.params)), strict=True
                )
                same = [bool((a == b).all()) for a, b in pairs]
                assert not any(same) if layer in (place, N) else all(same)
        if pretraining == "rbm" and layer < N:
            (part, name), (mirror, other) = PATHS[layer]
            own = state.params[part][name]
            kernel = own.get("posterior", own)["kernel"]
            np.testing.assert_array_equal(state.params[mirror][other]["kernel"], kernel.T)


def test_a_stage_reads_x_and_what_the_stage_before_made_of_it():
    _, model = make(network="cascade")
    params, x = initial(model), batch_of()["x"].reshape(B, -1)
    own = params["encoder"]
    assert own["encoder_0"]["hidden_0"]["kernel"].shape == (16, 10)
    assert own["encoder_1"]["hidden_0"]["kernel"].shape == (32, 10)
    mlp = networks.build(
        "mlp", shape=SHAPE, latent_dim=L, widths=WIDTHS, activation="sigmoid", num_parts=1
    )
    restored = mlp[1].apply(
        {"params": own["decoder_0"]}, mlp[0].apply({"params": own["encoder_0"]}, x)[0]
    )
    both = jnp.concatenate([x, restored], axis=1)
    (z,) = mlp[0].apply({"params": own["encoder_1"]}, both)
    np.testing.assert_allclose(
        z, model.encode(params, x.reshape(B, *SHAPE)).mode, rtol=1e-5, atol=1e-6
    )


@pytest.mark.slow
def test_a_stage_is_trained_alone_at_restoring_x():
    objective, model = make(network="cascade")
    params, batch, key = initial(model), batch_of(), jax.random.key(2)
    stages = [
        [params["encoder"]["encoder_0"], params["encoder"]["decoder_0"]],
        [params["encoder"]["encoder_1"], params["decoder"]],
    ]
    for stage in range(3):

        def mean(params, stage=stage):
            loss, terms = loss_of(objective, model, params, batch, key, pretrained=stage / 2)
            return loss.mean(), (loss, terms)

        gradient, (loss, terms) = jax.grad(mean, has_aux=True)(params)
        sizes = [
            sum(float(jnp.abs(leaf).sum()) for leaf in jax.tree.leaves(part))
            for part in (
                [gradient["encoder"]["encoder_0"], gradient["encoder"]["decoder_0"]],
                [gradient["encoder"]["encoder_1"], gradient["decoder"]],
            )
        ]
        assert [size > 0 for size in sizes] == [stage in (0, 2), stage in (1, 2)]
        if stage > 0:
            np.testing.assert_allclose(loss, terms["distortion"], rtol=1e-6)
    plain, one = make("autoencoder")
    alone = {**params, "encoder": stages[0][0], "decoder": stages[0][1]}
    want, _ = plain(one, alone, batch, key)
    np.testing.assert_allclose(
        loss_of(objective, model, params, batch, key, pretrained=0.0)[0], want, rtol=1e-6
    )


@pytest.mark.slow
def test_a_second_stage_restores_better_than_one():
    """Squared error of digits in a code of 8 numbers, after as many steps of either stage."""
    digits = data.load("digits")
    x = np.asarray(digits.decode(digits.train.x))
    objective, model = make(
        network="cascade", shape=digits.shape, widths=(16,), activation="tanh", latent_dim=8
    )
    h = {"learning_rate": 3e-3, "pretrained": schedules.linear(0, 1, 90 * 15)}
    rows = fitting.fit(objective, model, x, epochs=90, batch_size=100, **h).history
    assert rows[-1]["layer_error"] < 0.95 * rows[44]["layer_error"]


@pytest.mark.slow
def test_runs_of_one_program_may_be_at_different_layers():
    objective, model = make(pretraining="rbm")
    train, x = training_of(objective, model, B), batch_of()["x"]
    each = [
        training.Hparams(
            jnp.int32(0), jnp.float32(1e-2), {"pretrained": schedules.linear(0, 1, steps)}
        )
        for steps in (3, 9)
    ]
    runs = jax.tree.map(lambda *v: jnp.stack([*map(jnp.asarray, v)]), *each)
    mapped = jax.jit(jax.vmap(train.chunk, (0, 0, None, None)))(
        jax.vmap(train.init)(runs), runs, x, jnp.int32(6)
    )
    for i, h in enumerate(each):
        alone = jax.jit(train.chunk)(jax.jit(train.init)(h), h, x, jnp.int32(6))
        for a, b in zip(*map(jax.tree.leaves, (mapped.params, alone.params)), strict=True):
            np.testing.assert_allclose(a[i], b, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"network": "conv", "activation": None, "widths": (4, 4)}, "give network=mlp"),
        ({"network": "cascade", "pretraining": "rbm"}, "give pretraining=autoencoder or none"),
        (
            {"pretraining": "rbm", "activation": "relu"},
            "pretraining=rbm: units .*give activation=sigmoid or tanh",
        ),
        (
            {"pretraining": "rbm", "likelihood": likelihoods.Gaussian(0.5)},
            "pretraining=rbm: x must be of Bernoulli units.*give likelihood=bernoulli",
        ),
    ],
)
def test_models_that_cannot_be_stacked_are_refused(options, message):
    objective, model = make(**options)
    with pytest.raises(UsageError, match=message):
        loss_of(objective, model, initial(model), batch_of(), jax.random.key(2))


@pytest.mark.slow
def test_pretraining_helps_a_deep_network_in_the_same_number_of_steps():
    """Squared error of digits after 1,500 steps, of which 500 are greedy; four sigmoid layers."""
    digits = data.load("digits")
    x = np.asarray(digits.decode(digits.train.x))
    reached = {}
    for pretraining in ("none", "autoencoder", "rbm"):
        objective, model = make(
            pretraining=pretraining, shape=digits.shape, widths=(100,) * 4, latent_dim=8
        )
        h = {"learning_rate": 3e-3, "pretrained": schedules.linear(0, 1, 500)}
        rows = fitting.fit(objective, model, x, epochs=100, batch_size=100, **h).history
        reached[pretraining] = rows[-1]["squared_error"]
    assert reached["rbm"] < 0.85 * reached["none"]
    assert reached["autoencoder"] < 0.85 * reached["none"]


@pytest.mark.parametrize("pretraining", ["autoencoder", "denoising", "rbm"])
def test_layers_of_half_precision_are_of_one_type(pretraining):
    """As the branches of a switch have to be; nothing is computed."""
    objective, model = make(pretraining=pretraining)
    half = {"dtype": jnp.bfloat16}
    model = model.replace(encoder=model.encoder.clone(**half), decoder=model.decoder.clone(**half))
    params = jax.eval_shape(model.init, jax.random.key(0))
    loss, terms = jax.eval_shape(
        lambda params, share: objective(
            model, params, batch_of(), jax.random.key(1), pretrained=share
        ),
        params,
        jnp.float32(0.0),
    )
    assert {each.dtype for each in (loss, *terms.values())} == {jnp.dtype("float32")}


def test_a_stack_as_large_as_x_is_warned_of():
    objective, model = make(latent_dim=16)
    assert "latent_dim=16 is overcomplete" in objective.notes(model)[0]
    assert not make()[0].notes(make()[1])
