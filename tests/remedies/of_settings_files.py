"""What is said of files of settings."""

import os
import re
import sys

from vae_jax.lab import config, rows, settings_file, sweep
from vae_jax.lab.settings import Plan
from vae_jax.storage import runs

from ._cases import at, attempt, tries
from .of_data import csv

FILE = "vae_jax/lab/settings_file.py"
own = at("vae_jax/lab/rows.py", "read_text")


def settings(folder, text, name="a.json"):
    """A file of settings, written anew."""
    return csv(folder / name, text)


def read(folder, text, name="a.json"):
    """What a file of this text holds."""
    return settings_file.read(settings(folder, text, name))


def save(path, values=None, **plan):
    """Saves settings."""
    sweep.main(values or {}, Plan(save_config=str(path), **plan), [])


@tries(own("cannot be read (…): give the path of a text file"))
def a_file_that_is_a_folder(folder, patch):
    os.mkdir(folder / "a.csv")
    yield attempt(rows.read_rows, str(folder / "a.csv"), {})
    yield attempt(rows.read_rows, str(csv(folder / "b.csv", "beta\n1\n")), {})


@tries(at(FILE, "read")("is nested too deeply: give one value or list for each setting"))
def settings_that_are_nested_deeply(folder, patch):
    yield attempt(read, folder, '{"beta": ' + "[" * 10**5)
    yield attempt(read, folder, '{"beta": 1, "seed": [0, 1]}')


@tries(at(FILE, "read")("cannot be parsed (…): correct it"))
def settings_that_are_no_json(folder, patch):
    yield attempt(read, folder, '{"beta": 1')
    yield attempt(read, folder, '{"beta": 1}')


@tries(at(FILE, "read")("must map settings to values: write them as `save_config` does"))
def settings_in_a_list(folder, patch):
    yield attempt(read, folder, "[1]")
    (folder / "a.json").unlink()
    save(folder / "a.json")
    yield attempt(settings_file.read, folder / "a.json")


@tries(at(FILE, "_of_run")("is no config of a run (…): give another file"))
def a_config_of_another_program(folder, patch):
    yield attempt(read, folder, '{"schema": 1, "config": 3, "sha256": ""}')
    yield attempt(read, folder, '{"beta": 1}', "b.json")


@tries(at(FILE, "_of_run")("holds several runs: write one file of their flags with `save_config`"))
def the_config_of_a_sweep(folder, patch):
    with runs.open_run(folder / "sweep", {"beta": ["1", "4"], "num_runs": 2}):
        pass
    yield attempt(settings_file.read, folder / "sweep" / "config.json")
    save(folder / "a.json", {"beta": "1,4"})
    yield attempt(settings_file.read, folder / "a.json")


@tries(at(FILE, "_plain")("holds a name that is no text: put it in quotes"))
def a_setting_whose_name_is_no_text(folder, patch):
    patch.setattr(settings_file, "_check_name", lambda *_: None)
    patch.setattr(settings_file, "_value", lambda *_: None)
    yield attempt(read, folder, "1: 2", "a.yaml")
    yield attempt(read, folder, "'1': 2", "a.yaml")


@tries(at(FILE, "_plain")("sets … twice: give it once"))
def a_setting_that_a_file_sets_twice(folder, patch):
    yield attempt(read, folder, '{"beta": 1, "beta": 2}')
    yield attempt(read, folder, '{"beta": 1}')


@tries(at(FILE, "_check_schema")("less: leave it out"))
def a_version_that_is_no_number(folder, patch):
    message = yield attempt(read, folder, '{"schema": "new"}')
    most = re.search(r"must be the number (\d+)", message)[1]
    yield attempt(read, folder, f'{{"schema": {most}}}')
    yield attempt(read, folder, "{}")


@tries(at(FILE, "_check_schema")("upgrade vae_jax"))
def settings_of_a_newer_version(folder, patch):
    newer = runs.SCHEMA + 1
    yield attempt(read, folder, f'{{"schema": {newer}}}')
    patch.setattr(runs, "SCHEMA", newer)
    yield attempt(read, folder, f'{{"schema": {newer}}}')


@tries(at(FILE, "_check_name")("is no setting…: correct or remove it"))
def a_setting_that_is_unknown(folder, patch):
    message = yield attempt(read, folder, '{"betta": 1}')
    name = re.search(r"did you mean (\w+)", message)[1]
    yield attempt(read, folder, f'{{"{name}": 1}}')
    yield attempt(read, folder, "{}")


@tries(at(FILE, "_check_name")("which holds for one command: give"))
def a_setting_of_one_command(folder, patch):
    message = yield attempt(read, folder, '{"dry_run": true}')
    name = re.search(r"give `(\w+)`", message)[1]
    yield attempt(config.plan_from_flags, {name: True})


@tries(at(FILE, "_value")("write true or false"))
def a_switch_that_is_text(folder, patch):
    yield attempt(read, folder, '{"pad": "no"}')
    for word in ("true", "false"):
        yield attempt(read, folder, f'{{"pad": {word}}}')


@tries(at(FILE, "_text")("has more than … values: give fewer"))
def a_setting_of_very_many_values(folder, patch):
    patch.setattr(settings_file, "_MOST_VALUES", 3)
    yield attempt(read, folder, '{"seed": [0, 1, 2, 3]}')
    yield attempt(read, folder, '{"seed": [0, 1, 2]}')


@tries(at(FILE, "_text")("write a number, text, or a list of these"))
def a_setting_that_is_an_object(folder, patch):
    yield attempt(read, folder, '{"beta": {"a": 1}}')
    for value in ("1", '"linear(0, 1, 50%)"', "[1, 4]"):
        yield attempt(read, folder, f'{{"beta": {value}}}')


@tries(at(FILE, "_yaml")("pip install 'vae_jax[yaml]', or take a .toml or .json file"))
def yaml_without_its_package(folder, patch):
    with patch.context() as without:
        without.setitem(sys.modules, "yaml", None)
        yield attempt(read, folder, "beta: 1", "a.yaml")
        yield attempt(read, folder, "beta = 1", "a.toml")
        yield attempt(read, folder, '{"beta": 1}', "a.json")
    yield attempt(read, folder, "beta: 1", "a.yaml")


@tries(at(FILE, "_format")("give a name that ends in …"))
def settings_of_another_format(folder, patch):
    message = yield attempt(read, folder, "beta: 1", "a.ini")
    for suffix in re.findall(r"\.\w+", message.partition("ends in")[2]):
        save(folder / f"a{suffix}")
        yield attempt(settings_file.read, folder / f"a{suffix}")


@tries(at(FILE, "write")("exists: choose another name, or give `overwrite=True`"))
def a_file_of_settings_that_exists(folder, patch):
    settings(folder, "{}")
    yield attempt(save, folder / "a.json")
    yield attempt(save, folder / "b.json")
    yield attempt(save, folder / "a.json", overwrite=True)


@tries(at(FILE, "write")("keep their rows in a file"))
def rows_that_are_no_product(folder, patch):
    path = csv(folder / "rows.csv", "beta,seed\n1,0\n2,1\n")
    yield attempt(save, folder / "a.json", sweep=str(path))
    yield attempt(sweep.make_configs, {}, str(path))


@tries(at(FILE, "write")("a value is not UTF-8 text: rename what it names"))
def a_name_that_is_not_utf8(folder, patch):
    yield attempt(save, folder / "a.json", {"dataset": "a\udcff.npy"})
    yield attempt(save, folder / "a.json", {"dataset": "a.npy"})


@tries(at(FILE, "_write")("choose another place for it"))
def settings_in_a_folder_that_is_not_there(folder, patch):
    yield attempt(save, folder / "none" / "a.json")
    yield attempt(save, folder / "a.json")
