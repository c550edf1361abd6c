"""Every objective trains from Python by its name: it is bound, whatever it needs to be."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from properties import slow

from vae_jax import fitting, latents, likelihoods, networks, objectives
from vae_jax.errors import UsageError
from vae_jax.model import Model

SHAPE, L, N, BATCH = (8, 8, 1), 6, 32, 16
X = np.random.default_rng(0).random((N, *SHAPE)).astype(np.float32)
LABELS = np.arange(N) % 3
SMALL = {
    "discriminator_width": 8,
    "discriminator_depth": 1,
    "num_codes": 8,
    "code_dim": 3,
    "num_categories": 3,
    "classifier_width": 8,
    "num_classes": 3,
    "num_samples": 2,
    "num_active": 2,
}
BINDINGS = ("factor_vae", "k_sparse", "m2", "vq_vae")
"""One of each kind of what is bound: own parameters, an update, conditions with labels, latents."""


def make(latent, num_conditions=0):
    modules = networks.build(
        "mlp", shape=SHAPE, latent_dim=L, widths=(8,), num_parts=len(latent.parts)
    )
    likelihood = likelihoods.Bernoulli()
    return Model(*modules, likelihood, SHAPE, L, latent=latent, num_conditions=num_conditions)


@functools.cache
def asked(name):
    """(settings, whether the model is conditional, data): what an objective asks for."""
    settings = {n: v for n, v in SMALL.items() if n in objectives.hyperparameters(name)}
    bound = objectives.bind(name, num_examples=N)
    data = X if bound.beside is None else {"x": X, "labels": LABELS}
    return settings, bound.given is not None, data


def fit(objective, name, fitted=fitting.fit, **options):
    settings, is_conditional, data = asked(name)
    model = make(objectives.latent(name, **settings), 3 * is_conditional)
    return fitted(objective, model, data, **settings, **options)


def traced(objective, model, data, **settings):
    """The state after two steps, as shapes, and the metrics' names: nothing is compiled."""
    asked = dict.fromkeys(
        ("adam", "clip_norm", "skip_norm", "ema_decay", "init_scale", "weight_decay")
    )
    asked |= {"seed": 0, "learning_rate": 1e-3}
    options = {"epochs": 1, "batch_size": BATCH}
    program = fitting._planned(objective, model, data, settings, asked, **options).program
    hparams = jax.tree.map(lambda leaf: leaf[0], program.layout.read(program.hparams))
    state = jax.eval_shape(program.train.init, hparams)
    return jax.eval_shape(program.train.chunk, state, hparams, program.rows("train"), jnp.int32(2))


A_FEW = [*BINDINGS, *slow(*(name for name in objectives.names() if name not in BINDINGS))]


@pytest.mark.parametrize("name", objectives.names())
def test_every_objective_is_known_by_its_function(name):
    assert objectives.name_of(objectives.load(name)) == name


@pytest.mark.parametrize("name", A_FEW)
def test_every_objective_is_bound_by_its_name_or_its_function(name):
    state = fit(objectives.load(name), name, traced)
    has_own = objectives.bind(name, num_examples=N).init is not None
    assert ("objective" in state.params) == has_own
    assert "loss" in state.sums


@pytest.mark.parametrize("name", A_FEW)
def test_every_objective_trains_by_its_name(name):
    trained = fit(name, name, epochs=1, batch_size=BATCH, learning_rate=1e-3)
    (row,) = trained.history
    assert row["step"] == int(trained.state.step) == trained.step == 2
    assert all(np.isfinite(value) for value in row.values())
    assert row["grad_norm"] > 0


@pytest.mark.parametrize("name", objectives.names())
def test_other_latents_are_refused(name):
    settings, is_conditional, data = asked(name)
    latent = objectives.latent(name, **settings)
    other = latents.Categorical(2) if latent == latents.Gaussian() else latents.Gaussian()
    message = f"^{name} asks for latents.{type(latent).__name__}.*, the model has latents."
    with pytest.raises(UsageError, match=f"{message}{type(other).__name__}"):
        traced(name, make(other, 3 * is_conditional), data, **settings)


@pytest.mark.parametrize("name", [n for n in objectives.names() if isinstance(asked(n)[2], dict)])
def test_missing_labels_or_conditions_are_requested_in_one_line(name):
    settings, is_conditional, _ = asked(name)
    model = make(objectives.latent(name, **settings), 3 * is_conditional)
    with pytest.raises(UsageError, match=r"give \{'x': x, '(condition|labels)': ") as error:
        traced(name, model, X, **settings)
    assert "\n" not in str(error.value)
