"""What can be made again lies in the user's cache; a user without a home has none, and trains."""

import os
import pathlib
import subprocess
import sys

import pytest

from vae_jax import cache, data
from vae_jax.errors import DataError
from vae_jax.lab import compiled


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


# --- Entries are this user's own, for what they are asked for


@pytest.fixture
def home(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "vae_jax"


@pytest.fixture
def kept(home, monkeypatch):
    """A function from a name to an entry of the cache of compiled programs."""
    folder = home / "compiled"
    folder.mkdir(parents=True)
    monkeypatch.setattr(compiled.Kept, "secret", cache.key())
    return lambda name: compiled.Kept(f"{compiled._SCHEME}{folder}") / name


def test_the_key_is_made_once_and_is_the_users_alone(home):
    secret = cache.key()
    assert len(secret) == cache.CODE_BYTES
    assert cache.key() == secret
    assert (home / "key").stat().st_mode & 0o777 == 0o600
    assert home.stat().st_mode & 0o777 == 0o700
    assert [path.name for path in home.iterdir()] == ["key"]
    os.remove(home / "key")
    assert cache.key() != secret


@pytest.mark.fault("R19")
@pytest.mark.parametrize("change", ["read", "link", "short", "long", "folder", "pipe"])
def test_a_key_that_others_may_know_is_none(home, tmp_path, change):
    secret, path = cache.key(), home / "key"
    if change == "read":
        path.chmod(0o640)
    elif change in ("short", "long"):
        path.write_bytes(secret[:-1] if change == "short" else secret * 2)
    else:
        path.rename(tmp_path / "moved")
        make = {"folder": os.mkdir, "pipe": os.mkfifo}
        make.get(change, lambda p: os.symlink(tmp_path / "moved", p))(path)
    assert cache.key() is None
    assert path.name in compiled.keep_reason()


def test_codes_are_of_their_key_name_and_content():
    codes = [
        cache.code(secret, what, content)
        for secret in (b"a" * 32, b"b" * 32)
        for what in ("x", "xy", "")
        for content in (b"yz", b"z", b"")
    ]
    assert len({*codes}) == len(codes)
    assert {len(each) for each in codes} == {cache.CODE_BYTES}


def test_a_program_is_kept_and_found_by_its_name(kept):
    entry = kept("jit_f-1-cache")
    assert not entry.exists()
    entry.write_bytes(b"program")
    again = kept("jit_f-1-cache")
    assert again.exists()
    assert again.read_bytes() == b"program"
    again.write_bytes(b"another")
    assert kept("jit_f-1-cache").read_bytes() == b"another"
    assert entry._path.stat().st_mode & 0o777 == 0o600
    assert len(list(entry._path.parent.iterdir())) == 1


@pytest.mark.fault("R19")
@pytest.mark.parametrize(
    "attack", ["flip", "cut", "empty", "swap", "foreign", "plain", "link", "pipe"]
)
def test_an_entry_that_is_not_as_it_was_kept_is_none(kept, monkeypatch, attack, tmp_path):
    for name in ("f", "g"):
        kept(name).write_bytes(f"program of {name}".encode())
    path, other = kept("f")._path, kept("g")._path
    content = path.read_bytes()
    if attack == "flip":
        for place in range(0, 8 * len(content), 7):
            flipped = bytearray(content)
            flipped[place // 8] ^= 1 << place % 8
            path.write_bytes(flipped)
            assert not kept("f").exists()
    elif attack == "swap":
        path.write_bytes(other.read_bytes())
    elif attack == "foreign":
        with monkeypatch.context() as patch:
            patch.setattr(compiled.Kept, "secret", b"z" * 32)
            kept("f").write_bytes(b"of another user")
    elif attack in ("link", "pipe"):
        path.rename(tmp_path / "moved")
        os.symlink(tmp_path / "moved", path) if attack == "link" else os.mkfifo(path)
    else:
        path.write_bytes({"cut": content[:40], "empty": b"", "plain": content[32:]}[attack])
    assert not kept("f").exists()
    with pytest.raises(FileNotFoundError):
        kept("f").read_bytes()
    kept("f").write_bytes(b"compiled again")
    assert kept("f").read_bytes() == b"compiled again"
    assert kept("g").read_bytes() == b"program of g"


@pytest.mark.fault("R19")
def test_a_folder_that_others_may_write_is_made_private_or_refused(home, tmp_path):
    home.mkdir()
    for mode in (0o777, 0o770, 0o740):
        home.chmod(mode)
        assert cache.private_folder(home) is None
        assert home.stat().st_mode & 0o777 == 0o700
    (tmp_path / "link").symlink_to(home)
    assert "symbolic link" in cache.private_folder(tmp_path / "link")
    (tmp_path / "file").write_text("")
    assert cache.private_folder(tmp_path / "file") is not None


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to another user")
@pytest.mark.fault("R19")
def test_a_folder_of_another_user_is_refused(home):
    home.mkdir()
    os.chown(home, 65534, -1)
    assert cache.private_folder(home) == "belongs to another user"
    assert cache.key() is None


PROGRAM = """
from vae_jax.lab import compiled
import jax, jax.numpy as jnp
assert compiled.keep() is None
hits = []
jax.monitoring.register_event_listener(lambda name, **_: hits.append(name))
print(float(jax.jit(lambda x: jnp.tanh(x) * 3)(jnp.float32(1))))
print(sum(name.endswith("cache_hits") for name in hits))
"""


def run_program(home):
    environ = {**os.environ, "XDG_CACHE_HOME": str(home.parent)}
    environ.pop("JAX_COMPILATION_CACHE_DIR", None)
    root = pathlib.Path(compiled.__file__).parents[1]
    command = [sys.executable, "-W", "error", "-c", PROGRAM]
    done = subprocess.run(
        command, cwd=root, env=environ, capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    value, hits = done.stdout.split()
    return float(value), int(hits)


@pytest.mark.fault("R19")
def test_jax_takes_kept_programs_and_none_that_was_exchanged(home):
    first, none = run_program(home)
    again, hits = run_program(home)
    assert (again, none) == (first, 0)
    assert hits >= 1
    entries = sorted(home.rglob("*-cache"))
    for path in entries:
        path.write_bytes(b"\0" * 32 + path.read_bytes()[32:])
    assert run_program(home) == (first, 0)
    # and what was compiled has taken their place
    assert run_program(home) == (first, hits)
