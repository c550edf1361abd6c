"""Conditions of many classes are class indices, with the numbers that unit vectors give."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from vae_jax import labels, likelihoods, model, networks, objectives, training
from vae_jax.errors import UsageError
from vae_jax.evaluation import nll

SHAPES = {"image": (8, 8, 1), "table": (6,), "series": (5, 2)}
LATENT_DIM, BATCH = 3, 4
CODES = jnp.array([0, 299, 7, 7], jnp.int32)


def as_they_are(x, key):
    del key
    return x


def make(name, shape, num=300, latent_dim=LATENT_DIM):
    """A conditional model of numbers; narrow, since the kernels of conditions are what counts."""
    widths = () if name == "linear" else (4,) * len(networks.load(name).widths)
    encoder, decoder = networks.build(name, shape=shape, latent_dim=latent_dim, widths=widths)
    likelihood = likelihoods.Gaussian(1.0)
    return model.Model(encoder, decoder, likelihood, shape, latent_dim, num_conditions=num)


def fitting_shape(name):
    """The first shape of examples that a network takes."""
    for shape in SHAPES.values():
        try:
            return shape, make(name, shape).param_shapes()
        except UsageError:
            continue
    raise AssertionError(name)


def value_and_grad(made, params, x):
    def loss(params):
        posterior = made.encode(params, x)
        outputs = made.decode(params, posterior.mean, x)
        return jnp.sum(jnp.sin(outputs)), (posterior.mean, outputs)

    return jax.value_and_grad(loss, has_aux=True)(params)


@pytest.mark.parametrize("name", ["mlp", "linear", "conv", "gru"])
def test_class_indices_give_the_numbers_of_unit_vectors(name):
    shape, shapes = fitting_shape(name)
    made = make(name, shape)
    params = made.init(jax.random.key(0))
    assert jax.tree.map(jnp.shape, params) == jax.tree.map(jnp.shape, shapes)
    x = jax.random.normal(jax.random.key(1), (BATCH, *shape))
    by_index = made.given_encoded(CODES)
    assert by_index.condition.shape == (BATCH,)
    by_vector = made.replace(condition=labels.one_hot(CODES, 300))
    (_, found), gradient = value_and_grad(by_index, params, x)
    (_, expected), expected_gradient = value_and_grad(by_vector, params, x)
    jax.tree.map(np.testing.assert_array_equal, found, expected)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-6, atol=1e-7),
        gradient,
        expected_gradient,
    )
    kernels = [g for p, g in jax.tree.leaves_with_path(gradient) if "condition" in str(p)]
    for kernel in kernels:
        used = np.unique(np.asarray(CODES))
        assert not np.delete(np.asarray(kernel), used, axis=0).any()


def test_each_network_reads_classes_or_refuses_conditions():
    modules = {**networks.encoders(), **networks.decoders()}
    assert {name for name, each in modules.items() if "reads_classes" not in vars(each)} == {
        name for name in modules if name.startswith("Cascade")
    }


def test_repeated_rows_of_codes_and_of_classes():
    """K samples of each condition, and K conditions of each sample."""
    made = make("mlp", (6,))
    params = made.init(jax.random.key(0))
    z = jax.random.normal(jax.random.key(2), (2 * BATCH, LATENT_DIM))
    for codes, rows in ((CODES, z), (jnp.tile(CODES, 2), z[:BATCH])):
        vectors = made.replace(condition=labels.one_hot(codes, 300))
        np.testing.assert_array_equal(
            made.given_encoded(codes).decode(params, rows), vectors.decode(params, rows)
        )


def test_the_work_does_not_grow_with_the_number_of_classes():
    """Without the gradient, which has a number for each class."""

    def flops(num):
        made = make("mlp", (6,), num)
        params, x = made.init(jax.random.key(0)), jnp.zeros((BATCH, 6))

        def encode(params, x, codes):
            return made.given_encoded(codes).encode(params, x).mean

        compiled = jax.jit(encode).lower(params, x, CODES).compile()
        found = compiled.cost_analysis()
        return (found[0] if isinstance(found, list) else found)["flops"]

    assert flops(4_000) == flops(300)
    # unit vectors would take this many more
    assert flops(4_000) < BATCH * 4_000


@pytest.mark.parametrize(
    "classes", [None, tuple(range(10, 310)), tuple(f"c{i}" for i in range(300))]
)
def test_labels_of_a_user_become_class_indices(classes):
    made = make("mlp", (6,)).replace(classes=classes)
    own = [5, 0, 299] if classes is None else [classes[5], classes[0], classes[299]]
    np.testing.assert_array_equal(made.given(own).condition, [5, 0, 299])
    if classes is None or not isinstance(classes[0], str):
        traced = jax.jit(lambda y: made.given(y).condition)(jnp.array([*own, -7]))
        np.testing.assert_array_equal(traced, [5, 0, 299, -1])


def test_a_traced_label_that_is_no_class_gives_nan():
    made = make("mlp", (6,))
    params = made.init(jax.random.key(0))
    x = jnp.zeros((3, 6))
    means = jax.jit(lambda y: made.given(y).encode(params, x).mean)(jnp.array([0, 300, -1]))
    np.testing.assert_array_equal(np.isnan(means).all(axis=1), [False, True, True])


class Own(nn.Module):
    """A module of a user, which multiplies the condition."""

    size: int
    is_encoder: bool = False

    @nn.compact
    def __call__(self, x, condition):
        assert condition.ndim == 2
        h = nn.Dense(4)(jnp.concatenate([x, condition], axis=1))
        parts = tuple(nn.Dense(self.size)(h) for _ in range(2 if self.is_encoder else 1))
        return parts if self.is_encoder else parts[0]


class OwnMLP(networks.MLPEncoder):
    """A module of a user below one of ours."""

    @nn.compact
    def __call__(self, x, condition=None):
        assert condition.ndim == 2
        h = nn.Dense(4)(jnp.concatenate([x, condition], axis=1))
        return nn.Dense(self.latent_dim)(h), nn.Dense(self.latent_dim)(h)


@pytest.mark.parametrize("encoder", [Own(LATENT_DIM, True), OwnMLP(LATENT_DIM)])
def test_modules_of_a_user_get_unit_vectors(encoder):
    likelihood = likelihoods.Gaussian(1.0)
    made = model.Model(encoder, Own(6), likelihood, (6,), LATENT_DIM, num_conditions=300)
    params = made.init(jax.random.key(0))
    given = made.given_encoded(CODES)
    assert given.condition.shape == (BATCH,)
    assert given.decode(params, given.encode(params, jnp.zeros((BATCH, 6))).mean).shape == (4, 6)


def test_a_likelihood_of_each_condition_gets_unit_vectors():
    encoder, decoder = networks.build(
        "mlp", shape=(6,), latent_dim=LATENT_DIM, widths=(4,), num_outputs=1
    )
    likelihood = likelihoods.NegativeBinomial(
        dispersion="learned_per_condition", num_conditions=300
    )
    made = model.Model(encoder, decoder, likelihood, (6,), LATENT_DIM, num_conditions=300)
    params = made.init(jax.random.key(0))
    own = jnp.arange(300.0)[:, None] / 100 + jnp.zeros((1, 6))
    params["likelihood"]["log_dispersion"] = own
    z, x = jnp.zeros((BATCH, LATENT_DIM)), jnp.ones((BATCH, 6))
    vectors = made.replace(condition=labels.one_hot(CODES, 300))
    np.testing.assert_array_equal(
        made.given_encoded(CODES).decode(params, z, x), vectors.decode(params, z, x)
    )


def test_training_by_indices_is_training_by_unit_vectors(monkeypatch):
    """The same parameters at the same paths, to rounding, whichever of them began."""
    rows = {
        "x": np.random.default_rng(0).normal(size=(40, 6)).astype(np.float32),
        "condition": np.arange(40, dtype=np.int32) * 7 % 300,
    }

    def train(many):
        monkeypatch.setattr(model, "MANY_CLASSES", many)
        made = make("mlp", (6,))
        pieces = training.make_train(
            objectives.bind("cvae", num_examples=40),
            made,
            preprocess=as_they_are,
            num_examples=40,
            batch_size=20,
            beside={"condition": rows["condition"]},
        )
        hparams = training.Hparams(np.int32(0), 1e-3, {"beta": 1.0})
        state = jax.jit(pieces.init)(hparams)
        data = jax.tree.map(jnp.asarray, rows)
        return jax.jit(pieces.chunk)(state, hparams, data, jnp.int32(6))

    by_index, by_vector = train(256), train(1_000)
    assert jax.tree.structure(by_index.params) == jax.tree.structure(by_vector.params)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6),
        by_index.params,
        by_vector.params,
    )


def test_the_likelihood_of_each_example_given_its_class():
    made = make("mlp", (6,)).replace(classes=tuple(range(1_000, 1_300)))
    params = made.init(jax.random.key(0))
    x = jax.random.normal(jax.random.key(1), (BATCH, 6))
    options = {"num_samples": 20, "preprocess": as_they_are}

    def estimate(given):
        return nll.sample(given, params, x, jax.random.key(3), **options).nll

    vectors = made.replace(condition=labels.one_hot(CODES, 300))
    np.testing.assert_allclose(estimate(made.given_encoded(CODES)), estimate(vectors), rtol=1e-5)
