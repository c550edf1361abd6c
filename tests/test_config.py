"""Each flag reaches what it names: nothing here is compiled or trained."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vae_jax import schedules
from vae_jax.lab import config, identity, resolved

FLAGS = {
    "objective": "capacity_vae",
    "seed": "7",
    "latent_dim": "3",
    "epochs": "4",
    "learning_rate": "linear(1, 3, 100%)",
    "optimizer": "adamw",
    "weight_decay": "0.3",
    "adam_b1": "0.81",
    "adam_b2": "0.92",
    "adam_eps": "1e-5",
    "clip_norm": "2.5",
    "skip_norm": "7.5",
    "ema_decay": "0.75",
    "init_scale": "0.577",
    "variance": "0.2",
    "gamma": "11",
    "capacity": "linear(0, 8, 2ep)",
}


def dataset(likelihood="gaussian", num_levels=None):
    rows = np.zeros((50, 6), np.float32)
    return types.SimpleNamespace(
        name="mine", train=rows, likelihood=likelihood, num_levels=num_levels
    )


def hparams_of(*flags, latent_dim=3):
    # 50 examples, so 10 steps in an epoch
    asked = [config.from_flags({"batch_size": "5", **each}) for each in flags]
    configs = [resolved.complete(each, dataset(), has_prior=True) for each in asked]
    return resolved.Resolved(tuple(configs), dataset(), None).hparams(latent_dim)


def test_each_flag_is_the_hyperparameter_of_its_name():
    (found,) = hparams_of(FLAGS)
    assert found.seed == 7
    assert found.adam == {name: pytest.approx(value) for name, value in (
        ("b1", 0.81), ("b2", 0.92), ("eps", 1e-5),
    )}  # fmt: skip
    scalars = {"ema_decay": 0.75, "init_scale": 0.577, "variance": 0.2}
    assert {n: float(getattr(found, n)) for n in scalars} == pytest.approx(scalars)
    assert found.latent_mask is None
    # 40 steps, of which 100 % and two epochs of 10 steps each
    for step, rate, capacity in ((0, 1.0, 0.0), (10, 1.5, 4.0), (20, 2.0, 8.0), (40, 3.0, 8.0)):
        at_step = schedules.evaluate(found, jnp.int32(step))
        numbers = {"learning_rate": rate, "weight_decay": 0.3, "clip_norm": 2.5, "skip_norm": 7.5}
        assert {n: float(getattr(at_step, n)) for n in numbers} == pytest.approx(numbers)
        objective = jax.tree.map(float, at_step.objective)
        assert objective == pytest.approx({"gamma": 11.0, "capacity": capacity})


def test_settings_without_a_flag_are_none():
    (found,) = hparams_of({"epochs": "1"})
    absent = ("clip_norm", "skip_norm", "ema_decay", "init_scale", "latent_mask", "variance")
    assert [name for name in absent if getattr(found, name) is not None] == []
    assert found.adam == {}
    assert float(found.weight_decay(0)) == pytest.approx(1e-4)


def test_a_run_of_fewer_dimensions_has_a_mask_for_the_first_ones():
    masks = [h.latent_mask.tolist() for h in hparams_of(FLAGS, {**FLAGS, "latent_dim": "1"})]
    assert masks == [[1, 1, 1], [1, 0, 0]]


@pytest.mark.parametrize(
    ("objective", "num_levels", "binarization"),
    [("beta_vae", 17, "dynamic"), ("autoencoder", 17, "soft"), ("beta_vae", 2, None)],
)
def test_grey_levels_are_drawn_where_x_has_a_probability_and_targets_else(
    objective, num_levels, binarization
):
    asked = config.from_flags({"objective": objective, "likelihood": "bernoulli"})
    has_prior = config.latent_of(asked).has_prior
    found = resolved.complete(asked, dataset(num_levels=num_levels), has_prior=has_prior)
    assert found.binarization == binarization


@pytest.mark.parametrize("settings", [config.Config, config.Plan])
def test_a_default_is_what_its_text_is_parsed_to(settings):
    """So a run of an older version, which stored a parsed value, goes on with the default."""
    fields = [f for f in config.flag_fields(settings) if f.default is not None]
    assert [f.name for f in fields if f.metadata["parse"](f.default) != f.default] == []
    assert fields


def test_the_directory_of_a_run_with_a_prior_names_what_differs():
    def options(**flags):
        return identity.workdir_options(config.from_flags(flags))

    assert options(prior="vamp") == {"prior": "vamp"}
    named = options(prior="vamp", num_components="20", beta="4")
    assert named == {"prior": "vamp", "num_components": "20", "beta": "4"}
