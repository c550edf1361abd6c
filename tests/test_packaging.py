"""What a user installs: one package, its types, a console script that trains without a checkout."""

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import textwrap
import tomllib
import zipfile
from pathlib import Path

import pytest

from tests import test_types
from vae_jax.cli import commands, main
from vae_jax.lab import entry

ROOT = Path(__file__).parents[1]


def test_the_package_is_the_only_name_that_is_installed():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert settings["tool"]["setuptools"]["packages"]["find"]["include"] == ["vae_jax*"]
    module, _, function = settings["project"]["scripts"]["vae-jax"].partition(":")
    assert getattr(sys.modules[module], function) is main.main


def test_commands_are_told_without_importing_them():
    page = main.page()
    for name in ("train", "evaluate", "export"):
        assert f"  {name} " in page
    program = (
        "import sys; from vae_jax.cli import main; main.page(); "
        "sys.exit(', '.join({'jax', 'numpy'} & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_an_unknown_command_is_one_line(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["vae-jax", "trian", "--beta=4"])
    with pytest.raises(SystemExit) as ended:
        main.main()
    told = capsys.readouterr().err
    assert ended.value.code == 2
    assert told.startswith("error: command 'trian' is unknown (did you mean train?): choose from")
    assert len(told.splitlines()) == 1


def test_a_command_line_says_how_it_is_started_here(monkeypatch):
    assert entry.words("train") == ["python", "-m", "experiments.vae"]
    assert entry.words("evaluate") == ["python", "-m", "experiments.evaluate"]
    monkeypatch.setattr(entry, "_is_of_checkout", lambda name: False)
    assert entry.words("train") == ["python", "-m", "vae_jax", "train"]


def test_a_command_of_ones_own_is_one_file(tmp_path, monkeypatch):
    (tmp_path / "greet.py").write_text(
        '"""Greets."""\n\nimport sys\n\n\ndef run():\n    sys.exit(f"hello {sys.argv[1:]}")\n'
    )
    monkeypatch.setattr(commands, "__path__", [*commands.__path__, str(tmp_path)])
    monkeypatch.setattr(sys, "argv", ["vae-jax", "greet", "--loud"])
    monkeypatch.setattr(main.beginning, "begin", lambda: None)
    assert "  greet      Greets." in main.page()
    with pytest.raises(SystemExit) as ended:
        main.main()
    assert ended.value.code == "hello ['--loud']"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built from what a checkout has."""
    folder = tmp_path_factory.mktemp("wheel")
    # a build writes beside its sources
    for name in ("vae_jax", "experiments"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "docs").mkdir()
    for name in ("pyproject.toml", "docs/package.md", "LICENSE"):
        shutil.copy(ROOT / name, folder / name)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", "."]
    done = subprocess.run([*command, "."], capture_output=True, text=True, cwd=folder)
    if "No module named pip" in done.stderr or "No matching distribution" in done.stderr:
        pytest.skip("needs pip, and a registry that has setuptools")
    assert done.returncode == 0, done.stderr
    return next(folder.glob("*.whl"))


@pytest.mark.slow
def test_the_wheel_holds_the_package_alone_and_its_types(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.partition("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"vae_jax"}
    assert "vae_jax/py.typed" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    (metadata,) = (name for name in names if name.endswith(".dist-info/METADATA"))
    told = zipfile.ZipFile(wheel).read(metadata).decode()
    assert not re.search(r"\]\((?!https://)", told), "a link or a picture of the checkout"


@pytest.mark.slow
def test_the_types_of_the_wheel_are_those_of_the_checkout(wheel, tmp_path):
    test_types.require_pyright()
    place = tmp_path / "site"
    zipfile.ZipFile(wheel).extractall(place)
    right = textwrap.dedent(test_types.RIGHT)
    (tmp_path / "right.py").write_text(right)
    (tmp_path / "wrong.py").write_text(f"{right}vae_jax.loses\n")
    found, report = test_types.errors_of(tmp_path, ["right.py", "wrong.py"], place)
    assert found == [("wrong.py", "reportAttributeAccessIssue")], report


@pytest.mark.slow
def test_an_installed_package_trains_and_evaluates(wheel, tmp_path):
    """In an environment that has our dependencies, but no checkout."""
    place = tmp_path / "site"
    zipfile.ZipFile(wheel).extractall(place)
    paths = [str(place), sysconfig.get_paths()["purelib"]]
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONSAFEPATH": "1"}
    start = [sys.executable, "-S", "-m", "vae_jax"]
    flags = ["--network=linear", "--latent_dim=2", "--epochs=1", "--workdir=run"]
    for command in (["train", *flags], ["evaluate", "--run=run", "--metrics=objective"]):
        done = subprocess.run(
            [*start, *command], cwd=tmp_path, env=environ, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "run" / "result.json").read_text())["status"] == "done"
    told = (tmp_path / "run" / "command.txt").read_text()
    assert told.startswith("python -m vae_jax train --network=linear")
