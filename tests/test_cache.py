"""What can be made again lies in the user's cache; a user without a home has none, and trains."""

import pathlib

import pytest

from experiments import compiled
from vae_jax import cache, data
from vae_jax.errors import DataError


@pytest.fixture
def no_home(monkeypatch):
    def home():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(pathlib.Path, "home", home)


def test_the_cache_is_where_the_user_says(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert cache.user_folder() == tmp_path / "cache" / "vae_jax"
    assert compiled.cache_folder().parent == tmp_path / "cache" / "vae_jax" / "compiled"
    for passed_over in ("", "relative/cache"):
        monkeypatch.setenv("XDG_CACHE_HOME", passed_over)
        assert cache.user_folder() == tmp_path / "home" / ".cache" / "vae_jax"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache.user_folder() == tmp_path / "home" / ".cache" / "vae_jax"
    assert list(tmp_path.iterdir()) == []


def test_without_a_home_nothing_compiled_is_kept(no_home, monkeypatch):
    assert cache.user_folder() is None
    assert compiled.cache_folder() is None
    monkeypatch.setattr(compiled.jax, "config", Chosen())
    compiled.keep()


class Chosen:
    """A configuration in which nobody has chosen where programs are kept, and nobody may."""

    jax_compilation_cache_dir = None

    def update(self, name, value):
        raise AssertionError(f"{name} = {value}")


def test_without_a_home_there_is_data(no_home, monkeypatch, tmp_path):
    monkeypatch.delenv("VAE_JAX_DATA_DIR", raising=False)
    monkeypatch.chdir(tmp_path)
    assert len(data.load("digits").test) > 0
    with pytest.raises(DataError, match=r"^\.cache/vae_jax/data/freyfaces/freyfaces.npz"):
        data.load("freyfaces")
    assert list(tmp_path.iterdir()) == []
