"""A deep belief network: machines without labels, then a classifier on the topmost code."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from properties import initial

from vae_jax import data, fitting, likelihoods, networks, objectives, rbm, schedules, training
from vae_jax.errors import DataError
from vae_jax.evaluation import elbo
from vae_jax.model import Model
from vae_jax.objectives import _conditions

SHAPE, L, B, C = (4, 4, 1), 5, 6, 3


def make(*, shape=SHAPE, widths=(8,), latent_dim=L, num_classes=C, mask=None, **own):
    objective = objectives.bind("dbn", num_examples=100, num_classes=num_classes, **own)
    encoder, decoder = networks.build(
        "mlp",
        shape=shape,
        latent_dim=latent_dim,
        widths=widths,
        activation="sigmoid",
        num_parts=1,
    )
    likelihood = likelihoods.Bernoulli()
    return objective, Model(
        encoder, decoder, likelihood, shape, latent_dim, mask, latent=objective.latent()
    )


def setting():
    objective, model = make()
    params = initial(model)
    params["objective"] = objective.init(model, jax.random.key(1))
    labels = np.array([0, 2, -1, 1, -1, 2], np.int32)
    x = jax.random.uniform(jax.random.key(2), (B, *SHAPE))
    return (
        objective,
        model,
        params,
        {"x": x, "mask": jnp.ones(B), **_conditions.rows(labels, labels)},
    )


def test_at_last_it_is_the_cross_entropy_of_a_layer_on_the_code():
    objective, model, params, batch = setting()
    loss, terms = objective(model, params, batch, jax.random.key(3))
    own = params["objective"]["latent"]
    logits = np.asarray(model.encode(params, batch["x"]).mode @ own["kernel"] + own["bias"][None])
    q = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    known = np.array([0, 1, 3, 5])
    truth = batch["truth"][known]
    np.testing.assert_allclose(loss.mean(), -np.log(q[known, truth]).mean(), rtol=1e-5)
    accuracy = (q[known].argmax(axis=1) == truth).mean()
    np.testing.assert_allclose(terms["accuracy"].mean(), accuracy, rtol=1e-6)
    assert (loss[np.array([2, 4])] == 0).all()


def test_masked_dimensions_of_the_code_are_nothing_to_the_classifier():
    objective, _, params, batch = setting()
    _, model = make(mask=jnp.array([1.0, 0.0, 1.0, 1.0, 0.0]))

    def mean(own):
        given = {**params, "objective": own}
        return objective(model, given, batch, jax.random.key(3))[0].mean()

    gradient = jax.grad(mean)(params["objective"])["latent"]["kernel"]
    is_used = (gradient != 0).any(axis=1)
    np.testing.assert_array_equal(is_used, [True, False, True, True, False])


def test_before_it_is_contrastive_divergence_of_coins_also_without_labels():
    objective, model, params, batch = setting()
    key = jax.random.key(3)
    loss, terms = objective(model, params, batch, key, pretrained=0.5)
    below, top = params["encoder"]["hidden_0"], params["encoder"]["head"]["posterior"]
    h = jax.nn.sigmoid(batch["x"].reshape(B, -1) @ below["kernel"] + below["bias"][None])
    machine = top["kernel"], params["decoder"]["latent"]["bias"], top["bias"]
    # the divergence is a gradient; the value that is shown is the error of the reconstruction
    mean = jax.nn.sigmoid(h @ top["kernel"] + top["bias"][None])
    restored = jax.nn.sigmoid(mean @ top["kernel"].T + machine[1][None])
    np.testing.assert_allclose(loss, jnp.square(h - restored).sum(axis=1), rtol=1e-4)
    np.testing.assert_allclose(loss, terms["layer_error"])
    want = jax.grad(lambda *own: rbm.contrastive_divergence(key, h, *own).sum())(*machine)

    def total(params):
        return objective(model, params, batch, key, pretrained=0.5)[0].sum()

    found = jax.grad(total)(params)["encoder"]["head"]["posterior"]
    np.testing.assert_allclose(found["kernel"], want, atol=1e-4)


def test_the_classifier_waits_for_the_layers_and_leaves_the_decoder():
    objective, model, _, batch = setting()
    more = {name: jnp.asarray(batch[name]) for name in ("truth", "weight", "labels")}
    train = training.make_train(
        objective,
        model,
        preprocess=lambda stored, key: stored,
        num_examples=B,
        batch_size=B,
        optimizer="adamw",
        beside=more,
    )
    h = training.Hparams(
        jnp.int32(0),
        jnp.float32(1e-2),
        {"pretrained": schedules.linear(0, 1, 4)},
        weight_decay=jnp.float32(0.1),
    )
    chunk, rows = jax.jit(train.chunk), {"x": batch["x"], **more}
    start = jax.jit(train.init)(h)
    layers = chunk(start, h, rows, jnp.int32(4))
    whole = chunk(layers, h, rows, jnp.int32(2))

    def moved(a, b, part):
        pairs = zip(*(jax.tree.leaves(s.params[part]) for s in (a, b)), strict=True)
        return [bool((u != v).any()) for u, v in pairs]

    assert not any(moved(start, layers, "objective"))
    assert all(moved(layers, whole, "objective"))
    assert all(moved(start, layers, "decoder"))
    assert all(moved(layers, whole, "encoder"))


def test_errors_are_those_of_the_known_rows_where_only_these_count():
    """The loss is over them once all layers are trained, and over all rows before."""
    objective, model, params, batch = setting()
    rows = {name: jnp.asarray(values) for name, values in batch.items() if name != "mask"}
    known = np.array([0, 1, 3, 5])
    for pretrained, counted in ((0.5, np.arange(B)), (1.0, known)):
        h = {"pretrained": jnp.float32(pretrained)}
        key, settings = jax.random.key(3), {"preprocess": lambda x, key: x, "batch_size": B}
        found = elbo.evaluate(objective, model, params, rows, key, h, **settings)
        own_key = jax.random.split(jax.random.fold_in(key, 0))[1]
        loss, terms = objective(model, params, batch, own_key, **h)
        is_right = np.asarray(terms["accuracy"])[known] > 0
        expected = is_right.std(ddof=1) / 2
        assert float(found.standard_errors["accuracy"]) == pytest.approx(expected, abs=1e-7)
        # of rows that all weigh N over those that count
        values = np.float64(loss)[counted] * len(counted) / B
        assert float(found.terms["loss"]) == pytest.approx(values.mean(), rel=1e-5)
        expected = values.std(ddof=1) / np.sqrt(len(counted))
        assert float(found.standard_errors["loss"]) == pytest.approx(expected, rel=1e-4)
    hidden = {**rows, **_conditions.rows(np.full(B, -1), np.full(B, -1))}
    found = elbo.evaluate(objective, model, params, hidden, key, h, **settings)
    # there is nothing to minimize, and nothing to be right
    assert float(found.terms["loss"]) == 0
    assert np.isnan(float(found.terms["accuracy"]))


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 1, 2, 3], "num_classes=3: toy has 4 classes: give num_classes=4"),
        (None, "objective=dbn: train of toy has no labels"),
    ],
)
def test_labels_are_as_many_classes_as_are_told(labels, message):
    split = types.SimpleNamespace(labels=None if labels is None else np.array(labels))
    splits = {"train": split, "valid": split, "test": split}
    dataset = types.SimpleNamespace(name="toy", **splits, classes=None, unlabeled="")
    with pytest.raises(DataError, match=message):
        make()[0].conditions(dataset)


@pytest.mark.slow
def test_it_classifies_unseen_digits():
    """Four layers of sigmoids, 1,200 steps, half of them of machines, which see no label."""
    digits = data.load("digits")
    x, test = (np.asarray(digits.decode(s.x)) for s in (digits.train, digits.test))
    labels, truth = (np.asarray(s.labels, np.int32) for s in (digits.train, digits.test))
    objective, model = make(
        shape=digits.shape, widths=(100,) * 4, latent_dim=50, num_classes=len(np.unique(labels))
    )
    h = {"learning_rate": 5e-3, "pretrained": "linear(0, 1, 600)"}
    rows = {"x": x, **_conditions.rows(labels, labels)}
    trained = fitting.fit(objective, model, rows, epochs=80, batch_size=100, **h)
    state, rows = trained.state, trained.history
    batch = {"x": test, "mask": jnp.ones(len(test)), **_conditions.rows(truth, truth)}
    _, terms = objective(model, state.params, batch, jax.random.key(0))
    assert terms["accuracy"].mean() > 0.93
    # of ten classes, before the classifier was trained
    assert rows[30]["accuracy"] < 0.3
