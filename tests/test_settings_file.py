"""A file of settings asks for what the flags ask for; what is no such file is one line."""

import json
import os
import random
import sys
import tomllib

import pytest
import yaml
from absl import flags

from vae_jax import objectives
from vae_jax.cli import command
from vae_jax.errors import StorageError, UsageError
from vae_jax.lab import config, expansion, identity, settings_file, sweep, train
from vae_jax.lab.settings import Config, Plan, flag_fields
from vae_jax.storage import runs, seals

CHOICES = {
    "objective": [*objectives.names(), "vae", "ae"],
    "network": ["mlp", "conv", "linear", "dense"],
    "widths": ["8", "16,8", "200,200"],
    "latent_dim": ["1", "2", "31"],
    "likelihood": ["gaussian", "mse", "bernoulli", "beta"],
    "variance": ["0.5", "1e-3", "learned"],
    "beta": ["4", "4.0", "linear(0, 4, 2000)", "1e-5", "cyclical(0, 1, 10ep)"],
    "learning_rate": ["1e-3", "cosine(1e-3, 0, 100%)", "warmup_cosine_decay(0, 1e-3, 5ep, 100%)"],
    "clip_norm": ["1", "0.5"],
    "adam_eps": ["1e-8", "1e-16"],
    "ema_decay": ["0.999"],
    "seed": ["0", "7", "2147483646"],
    "epochs": ["3"],
    "dataset": ["digits", "a file.npy", 'it "quotes"\n\\and\tµ\x7f.csv'],
    "missing_values": ["?,-,NA"],
    "resize": ["64,48"],
    "kinds": ["age=count,size=S<M<L"],
    "pad": [True],
    "prior": ["normal", "mixture", "gmm"],
    "num_components": ["5"],
}
"""Setting → values of which one is drawn."""
SUFFIXES = (".json", ".toml", ".yaml")


def drawn(seed):
    """Random settings that a run can have, as flags."""
    source = random.Random(seed)
    while True:
        names = source.sample(list(CHOICES), source.randint(0, 8))
        values = {name: source.choice(CHOICES[name]) for name in names}
        try:
            config.from_flags(values)
            return values
        except UsageError:
            continue


def requested(values):
    return [each.requested() for each in expansion.make_configs(values)]


@pytest.mark.parametrize("seed", range(20))
def test_what_is_saved_asks_for_the_same_run(seed, tmp_path, capsys):
    values = drawn(seed)
    for suffix in SUFFIXES:
        path = tmp_path / f"settings{suffix}"
        sweep.main(dict(values), Plan(save_config=str(path)), [])
        assert capsys.readouterr().out.rstrip().endswith(f"--config={path}")
        assert expansion.make_configs(settings_file.read(path)) == expansion.make_configs(values)
        # and again, of what was read
        sweep.main(settings_file.read(path), Plan(save_config=f"{path}2{suffix}"), [])
        first, second = (
            p.read_text().splitlines() for p in (path, path.with_name(f"{path.name}2{suffix}"))
        )
        assert first[1:] == second[1:]
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("values", [{"beta": "4"}, {"objective": "iwae", "widths": "8,4"}])
def test_the_hash_of_a_run_is_that_of_its_flags(values, tmp_path):
    path = tmp_path / "settings.toml"
    values = {"epochs": "1", **values}
    sweep.main(dict(values), Plan(save_config=str(path)), [])
    read = [settings_file.read(path)]
    prepared = [train.prepare(expansion.make_configs(each)) for each in (values, *read)]
    digests = {seals.digest(seals.plain(identity.of(each))) for each in prepared}
    assert len(digests) == 1
    # and the config.json of the run, which is complete
    with runs.open_run(tmp_path / "run", identity.of(prepared[0])):
        pass
    stored = settings_file.read(tmp_path / "run" / "config.json")
    again = train.prepare(expansion.make_configs(stored))
    assert identity.of(again) == identity.of(prepared[0])


@pytest.mark.parametrize(
    "values",
    [
        {"widths": "8;16,8", "learning_rate": "1e-3", "seed": "0,1,2", "beta": "1,4"},
        {"objective": "beta_vae,autoencoder", "latent_dim": "2,4"},
        {"beta": "linear(0, 4, 2000),1"},
    ],
)
def test_a_sweep_is_saved_as_lists(values, tmp_path):
    for suffix in SUFFIXES:
        path = tmp_path / f"settings{suffix}"
        sweep.main(dict(values), Plan(save_config=str(path)), [])
        assert requested(settings_file.read(path)) == requested(values)


def test_runs_have_the_order_of_the_flags_whatever_the_order_in_the_file(tmp_path):
    values = dict.fromkeys(command.define_flags(["--capacity=1"], flags.FlagValues()))
    given = {"objective": "capacity_vae", "seed": "0,1", "gamma": "1,5", "capacity": "1,2"}
    asked = {n: given.get(n) for n in values if n not in vars(Plan())}
    path = tmp_path / "a.json"
    path.write_text(json.dumps(dict(reversed(given.items()))))
    read = settings_file.beside({**dict.fromkeys(vars(Config())), "config": str(path)})
    read = {n: v for n, v in read.items() if v is not None and n != "config"}
    assert requested(read) == requested(asked)
    sweep.main(asked, Plan(save_config=str(tmp_path / "b.json")), [])
    assert requested(settings_file.read(tmp_path / "b.json")) == requested(asked)


def test_plans_are_saved_but_not_what_is_of_one_command(tmp_path):
    path = tmp_path / "settings.json"
    plan = Plan(save_config=str(path), executor="local", num_workers=3, overwrite=True)
    sweep.main({"beta": "1,4"}, plan, [])
    held = json.loads(path.read_text())
    assert held["executor"] == "local"
    assert held["num_workers"] == 3
    assert not {f.name for f in flag_fields(Plan) if not f.metadata["stored"]} & held.keys()


def test_the_formats_hold_the_same_and_others_read_them(tmp_path):
    values = {"beta": "1,4", "widths": "8", "dataset": "µ.csv", "pad": True, "resize": "8"}
    for suffix in SUFFIXES:
        sweep.main(dict(values), Plan(save_config=str(tmp_path / f"a{suffix}")), [])
    of_json = json.loads((tmp_path / "a.json").read_text())
    assert tomllib.loads((tmp_path / "a.toml").read_text()) == of_json
    assert yaml.safe_load((tmp_path / "a.yaml").read_text()).keys() == of_json.keys()
    assert of_json["beta"] == [1, 4]
    assert of_json["objective"] == Config.objective


def test_flags_win(tmp_path):
    path = tmp_path / "a.toml"
    path.write_text('beta = 4\nlr = "1e-3"\npad = true\nseed = [0, 1]\n')
    given = {"config": str(path), "beta": "2", "pad": False, "seed": None, "widths": None}
    found = settings_file.beside(given)
    told = {"beta": "2", "learning_rate": "1e-3", "pad": False, "seed": "0,1", "widths": None}
    assert found == {"config": str(path), **told}


def test_another_objective_leaves_out_the_defaults_of_the_one_in_the_file(tmp_path):
    path = tmp_path / "a.json"
    sweep.main({"objective": "iwae", "seed": "3"}, Plan(save_config=str(path)), [])
    found = settings_file.beside({"config": str(path), "objective": "ae"})
    (asked,) = expansion.make_configs({n: v for n, v in found.items() if n != "config"})
    (wanted,) = expansion.make_configs({"objective": "autoencoder", "seed": "3"})
    assert asked == wanted
    path.write_text('{"objective": "iwae", "num_samples": 7}')
    found = settings_file.beside({"config": str(path), "objective": "ae"})
    with pytest.raises(UsageError, match="num_samples=7: objective autoencoder takes"):
        expansion.make_configs({n: v for n, v in found.items() if n != "config"})


def test_a_run_of_an_older_version_means_what_it_did(tmp_path):
    """That version read all columns as numbers, without rules for their kinds."""
    held = {"beta": "1", "epochs": 1, "data_sha256": "0"}
    with runs.open_run(tmp_path / "run", held):
        pass
    assert settings_file.read(tmp_path / "run" / "config.json") == {
        **{"beta": "1", "epochs": "1"},
        "kinds": "numeric",
    }


def test_the_command_takes_a_file(tmp_path, monkeypatch, capsys):
    path = tmp_path / "a.yaml"
    path.write_text("objective: iwae\nnum_samples: 3\n")
    asked = []
    monkeypatch.setattr(command, "launch", lambda main, names, page: asked.append((main, names)))
    monkeypatch.setattr(command, "define_flags", lambda argv: ["seed"])
    monkeypatch.setattr(command.processes, "initialize", lambda: None)
    seen = []
    command.run(lambda values, plan, flags: seen.append((values, plan)), "")
    ((main, _),) = asked
    plans = dict.fromkeys(f.name for f in flag_fields(Plan))
    main({**plans, "config": str(path), "seed": "1"})
    ((values, plan),) = seen
    assert values == {"objective": "iwae", "num_samples": "3", "seed": "1"}
    assert plan.config == str(path)


BAD = {
    "a.json": {
        "{": "cannot be parsed",
        "[]": "must map settings to values: write them as",
        "3": "must map settings",
        '{"betta": 1}': r"'betta' is no setting \(did you mean beta\?\)",
        '{"beta": {"a": 1}}': "beta is no plain value: write a number",
        '{"beta": {}}': "beta is no plain value",
        '{"beta": []}': "beta is a list: write a number",
        '{"beta": [[1]]}': "beta is a list: write a number",
        '{"beta": true}': "beta is true: write a number",
        '{"beta": -1}': "beta=-1: must be finite",
        '{"beta": NaN}': "beta=nan: 'nan' is not a finite number",
        '{"latent_dim": 2.5}': "latent_dim=2.5: must be an integer",
        '{"latent_dim": "two"}': "latent_dim=two: must be an integer",
        '{"num_samples": 0}': "num_samples=0: must be an integer",
        '{"pad": "yes"}': "pad is 'yes': write true or false",
        '{"beta": 1, "beta": 2}': "sets beta twice: give it once",
        '{"lr": 1, "learning_rate": 2}': "sets learning_rate twice",
        '{"schema": 99}': "written by a newer vae_jax .schema 99, .*: upgrade vae_jax",
        '{"schema": "1"}': "schema is '1', must be the number",
        '{"overwrite": true}': "sets overwrite, which holds for one command: give `overwrite` on",
        '{"config": "b.json"}': "sets config, which holds for one command",
        '{"seed": ' + "9" * 5000 + "}": "cannot be parsed",
        '{"beta": ' + "[" * 10**5 + "1" + "]" * 10**5 + "}": "nested too deeply: give one value",
        '{"beta": [' + "1, " * 10**4 + "1]}": "beta has more than 10,000 values: give fewer",
        '{"schema": 2, "config": {"beta": "1"}, "sha256": "0"}': "is no config of a run|changed",
        " " * (settings_file.MOST_BYTES + 1): r"cannot be read \(has more than 262,144 bytes\)",
    },
    "a.toml": {
        "beta": "cannot be parsed",
        "[model]\nbeta = 1\n": "'model' is no setting",
        "beta = 1979-05-27": "beta is no plain value",
        "beta = 1\nbeta = 2": "cannot be parsed",
        "beta = " + "[" * 10**5: "nested too deeply|cannot be parsed",
    },
    "a.yaml": {
        "beta: [": "cannot be parsed",
        "- beta": "must map settings",
        "1: 2": "holds a name that is no text: put it in quotes",
        "? [1]\n: 2": "holds a name that is no text",
        "beta: !!python/object/apply:os.getcwd []": "cannot be parsed",
        "beta: 2020-01-01": "beta is no plain value",
        "beta: 1\nbeta: 2": "sets beta twice",
        "beta: &a [*a]": "cannot be parsed|beta is a list",
        "beta: " + "[" * 10**4: "nested too deeply: give one value|cannot be parsed",
        "a: &a [1,1]\n"
        + "\n".join(
            f"{chr(97 + i + 1)}: &{chr(97 + i + 1)} [{','.join(['*' + chr(97 + i)] * 9)}]"
            for i in range(12)
        ): "'a' is no setting",
        "beta: &a [1,1,1,1]\nseed: &b [*a,*a,*a,*a]\nwidths: [*b,*b]": "a list: write a number",
        "beta: 1\n--- \nbeta: 2": "cannot be parsed",
    },
    "a.txt": {"beta: 1": "give a name that ends in .json, .toml, .yaml or .yml"},
}


@pytest.mark.fault("R21")
@pytest.mark.parametrize(
    ("name", "text"),
    [(name, text) for name, texts in BAD.items() for text in texts],
    ids=lambda text: text[:20],
)
def test_what_is_no_file_of_settings_is_one_line(name, text, tmp_path):
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(UsageError, match=BAD[name][text]) as caught:
        settings_file.read(path)
    (line,) = str(caught.value).splitlines()
    assert str(path) in line
    assert len(line) < 1000


@pytest.mark.fault("R21")
@pytest.mark.parametrize(
    "make", [os.mkfifo, os.mkdir, lambda p: os.symlink("/dev/zero", p), lambda p: None]
)
def test_settings_are_read_from_a_file_alone(make, tmp_path):
    make(tmp_path / "a.json")
    with pytest.raises(UsageError, match=r"cannot be read \(.*\): give the path of a text file"):
        settings_file.read(tmp_path / "a.json")


def test_yaml_is_an_extra_and_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "yaml", None)
    (tmp_path / "a.yaml").write_text("beta: 1")
    with pytest.raises(UsageError, match=r"pip install 'vae_jax\[yaml\]', or take a .toml"):
        settings_file.read(tmp_path / "a.yaml")
    with pytest.raises(UsageError, match=r"pip install 'vae_jax\[yaml\]'"):
        sweep.main({}, Plan(save_config=str(tmp_path / "b.yml")), [])
    sweep.main({}, Plan(save_config=str(tmp_path / "b.toml")), [])
    assert settings_file.read(tmp_path / "b.toml")


def test_an_existing_file_stays_unless_asked(tmp_path):
    path = tmp_path / "a.toml"
    path.write_text("seed = 1\n")
    with pytest.raises(UsageError, match="exists: choose another name, or give `overwrite=True`"):
        sweep.main({}, Plan(save_config=str(path)), [])
    assert path.read_text() == "seed = 1\n"
    sweep.main({}, Plan(save_config=str(path), overwrite=True), [])
    assert settings_file.read(path)["seed"] == "0"
    with pytest.raises(StorageError, match="choose another place for it"):
        sweep.main({}, Plan(save_config=str(tmp_path / "none" / "a.toml")), [])


def test_a_name_of_a_file_cannot_add_a_setting(tmp_path):
    path = tmp_path / "a\nseed = 5.toml"
    sweep.main({}, Plan(save_config=str(path)), [])
    assert settings_file.read(path)["seed"] == "0"
