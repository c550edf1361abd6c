"""Packages whose files are found by name, and the nearest of names that are known."""

import sys

import pytest

from vae_jax import discovery, errors
from vae_jax.errors import UsageError


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package with two public modules, one of which cannot be imported, and a private one."""
    folder = tmp_path / "shelf_of_tests"
    folder.mkdir()
    texts = {"__init__": "", "second": "VALUE = 2", "first": "raise ValueError", "_own": ""}
    for name, text in texts.items():
        (folder / f"{name}.py").write_text(text)
    (folder / "notes.txt").write_text("not a module")
    monkeypatch.syspath_prepend(tmp_path)
    __import__(folder.name)
    yield folder.name
    for name in [name for name in sys.modules if name.split(".")[0] == folder.name]:
        del sys.modules[name]


def test_public_modules_are_found_without_an_import(package):
    assert discovery.names(package) == ["first", "second"]
    assert not {f"{package}.first", f"{package}.second"} & set(sys.modules)


def test_a_module_by_its_name(package):
    assert discovery.load(package, "second", "book").VALUE == 2


@pytest.mark.parametrize("name", ["_own", "secnd", "", "first.second", ".second"])
def test_an_unknown_name_is_refused(package, name):
    with pytest.raises(UsageError, match=f"book '{name}' is unknown.*: choose from first, second"):
        discovery.load(package, name, "book")


def test_the_nearest_name():
    assert errors.did_you_mean("bta", ["alpha", "beta"], "--") == " (did you mean --beta?)"
    assert errors.did_you_mean("xyz", ["alpha", "beta"]) == ""
    message = str(errors.unknown("letter", "bta", iter(["alpha", "beta"])))
    assert message == "letter 'bta' is unknown (did you mean beta?): choose from alpha, beta"
