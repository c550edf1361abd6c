"""Other names mean what they say, and leave no trace: the run is that of the name."""

import jax
import numpy as np
import pytest
from absl import flags

import vae_jax
from vae_jax import aliases, likelihoods, networks, objectives, posteriors, priors, schema
from vae_jax.cli import command
from vae_jax.cli import help as help_lib
from vae_jax.errors import UsageError
from vae_jax.lab import config, parsers, sweep

NAMES = {
    "objective": objectives.names(),
    "likelihood": likelihoods.names(),
    "network": networks.names(),
    "activation": list(networks.ACTIVATIONS),
    "prior": priors.names(),
    "posterior": posteriors.names(),
}
SHAPE = (3, 2)
COLUMNS = "kind"
"""Values of this kind are of columns of a table, and no flag is called so."""


def each_value():
    for setting, several in aliases.VALUES.items():
        for alias, value in several.items() if setting != COLUMNS else ():
            yield pytest.param(setting, alias, value, id=f"{setting}={alias}")


def asked(*words):
    """The values of the flags of a command line, as the program that trains gets them."""
    values = flags.FlagValues()
    names = command.define_flags(words, values)
    values(["program", *words])
    return {name: values[name].value for name in names}


def configs_of(*words, file=None):
    return sweep.make_configs(asked(*words), file and str(file))


@pytest.mark.parametrize(("setting", "alias", "value"), list(each_value()))
def test_an_alias_of_a_value_is_no_name_and_stands_for_one(setting, alias, value):
    assert alias not in NAMES[setting]
    assert value in NAMES[setting]
    assert configs_of(f"--{setting}={alias}") == configs_of(f"--{setting}={value}")


def test_an_alias_of_a_setting_is_no_flag_and_stands_for_one():
    names = {f.name for f in config.flag_fields() + config.flag_fields(config.Plan)}
    names |= config.hyperparameter_flags().keys()
    assert aliases.SETTINGS.keys().isdisjoint(names)
    assert names.issuperset(aliases.SETTINGS.values())
    assert names.issuperset(aliases.VALUES.keys() - {COLUMNS})


def test_an_alias_of_a_kind_of_column_stands_for_one():
    for alias, kind in aliases.VALUES[COLUMNS].items():
        assert alias not in schema.names()
        assert schema.load(alias) is schema.load(kind)


def test_a_command_in_other_names_makes_the_same_config():
    (found,) = configs_of("--objective=vae", "--lr=1e-3")
    assert [found] == configs_of("--objective=beta_vae", "--learning_rate=1e-3")
    assert found.identity()["objective"] == "beta_vae"
    assert config.to_flags(found) == config.to_flags(config.from_flags({"learning_rate": "1e-3"}))


def test_a_sweep_in_other_names_makes_the_same_configs(tmp_path):
    short, long = tmp_path / "short.csv", tmp_path / "long.csv"
    short.write_text("lr,likelihood,activation\n1e-3,mse,swish\n1e-2,bce,\n")
    long.write_text("learning_rate,likelihood,activation\n1e-3,gaussian,silu\n1e-2,bernoulli,\n")
    found = configs_of("--network=cnn,fc", file=short)
    assert len(found) == 4
    assert found == configs_of("--network=conv,mlp", file=long)


def test_a_name_and_its_alias_in_one_sweep_are_one(tmp_path):
    with pytest.raises(UsageError, match="runs 1 and 2 of the sweep are the same"):
        configs_of("--objective=vae,beta_vae")
    path = tmp_path / "rows.csv"
    path.write_text("lr,learning_rate\n1,2\n")
    with pytest.raises(UsageError, match="sets learning_rate twice"):
        configs_of(file=path)
    path.write_text("lr\n1\n")
    with pytest.raises(UsageError, match=r"^learning_rate=2: .* sets it too"):
        configs_of("--lr=2", file=path)


@pytest.mark.parametrize(("setting", "alias", "value"), list(each_value()))
def test_a_model_by_an_alias_is_that_of_the_name(setting, alias, value):
    given = {"likelihood": "gaussian", "widths": (4,), "latent_dim": 2}
    shape = (8, 8, 1) if value == "conv" else SHAPE
    made = vae_jax.make_model(shape, **{**given, setting: alias})
    assert made == vae_jax.make_model(shape, **{**given, setting: value})


def test_a_training_by_an_alias_is_that_of_the_name(tmp_path):
    x = np.asarray(jax.random.normal(jax.random.key(0), (8, *SHAPE)))
    model = vae_jax.make_model(x, likelihood="normal", widths=(4,), latent_dim=2)
    given = {"epochs": 1, "batch_size": 8, "progress": False, "checkpoint": tmp_path / "run"}
    first = vae_jax.fit("vae", model, x, **given)
    # resumed: its checkpoints are those of the name
    second = vae_jax.fit("beta_vae", model, x, **given)
    assert jax.tree.all(jax.tree.map(np.array_equal, first.params, second.params))


def test_only_settings_that_have_aliases_read_them():
    assert parsers.choice(["mlp"], "network")("fc") == "mlp"
    with pytest.raises(UsageError, match="unknown"):
        parsers.choice(["mlp"])("fc")


def test_help_tells_them():
    told = " ".join(help_lib.of_training("all", "Head.").split())
    for alias, name in aliases.SETTINGS.items():
        assert f"--{alias} is --{name}" in told
    for setting, alias, value in (case.values for case in each_value()):
        assert f"--{setting}={alias} is {value}" in told
    assert help_lib.of_training("vae", "Head.") == help_lib.of_training("beta_vae", "Head.")
