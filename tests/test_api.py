"""The house keeps its rules: names, docstrings, directions of import."""

import ast
import importlib
import inspect
import pathlib
import pkgutil
import re
import subprocess
import sys

import pytest

import vae_jax
from vae_jax import objectives

ROOT = pathlib.Path(vae_jax.__file__).parent
MODULES = sorted(m.name for m in pkgutil.walk_packages([str(ROOT)], "vae_jax."))
SHAPE = re.compile(r"\[[^\]]*\]|shapes?\b|scalars?\b", re.I)
BANNED = re.compile(r"\b(mu|kld|recon_x|log_var|logvar_x|rng)\b")

# who may import whom, below the package; everyone may import errors, draw random numbers and sum
SHARED = {"console", "discovery", "disk", "errors", "memory", "sums", "threefry"}
ALLOWED = {
    "__init__": {*vae_jax.__all__, "assembly", "model", "storage", "trained"},
    "assembly": {
        *("data", "labels", "latents", "likelihoods", "model", "networks", "objectives"),
        "training",
    },
    "keeping": {"storage"},
    "live": set(),
    "program": {"devices", "evaluation", "schedules", "training"},
    "trained": {
        *("assembly", "data", "evaluation", "labels", "likelihoods", "model", "objectives"),
        *("plots", "program", "storage", "training"),
    },
    "losses": {"distributions"},
    "likelihoods": {"distributions", "losses"},
    "latents": {"distributions", "losses"},
    "model": {"distributions", "labels", "latents", "modules"},
    "rbm": {"losses"},
    "objectives": {
        *("corruptions", "distributions", "labels", "latents", "likelihoods", "losses", "model"),
        *("networks", "rbm", "training"),
    },
    "evaluation": {"distributions", "latents", "likelihoods", "losses", "model"},
    "training": {"modules", "schedules", "shuffling"},
    "devices": {"training"},
    "storage": {"latents", "likelihoods", "model", "networks"},
    "data": {"cache", "labels", "ranges"},
    "ranges": {"distributions"},
    "fitting": {
        *("assembly", "data", "devices", "keeping", "likelihoods", "live", "objectives"),
        *("program", "ranges", "schedules", "trained", "training"),
    },
    "networks": {"convolution"},
    "lab": {
        *("assembly", "cache", "data", "devices", "distributions", "evaluation", "latents"),
        *("keeping", "likelihoods", "live", "model", "modules", "networks", "objectives"),
        *("plots", "program", "ranges", "schedules", "storage", "trained", "training"),
    },
    "cli": {"data", "devices", "evaluation", "lab", "losses", "objectives", "storage"},
    "__main__": {"cli"},
}


def public_names():
    for name in MODULES:
        module = importlib.import_module(name)
        for public in getattr(module, "__all__", []):
            yield pytest.param(module, public, id=f"{name}.{public}")


@pytest.mark.parametrize(("module", "name"), list(public_names()))
def test_every_public_name_has_a_docstring_with_shapes(module, name):
    value = getattr(module, name)
    if inspect.ismodule(value) or not (inspect.isclass(value) or inspect.isfunction(value)):
        return
    doc = inspect.getdoc(value)
    assert doc, f"{name} has no docstring"
    if inspect.isclass(value) and issubclass(value, Exception):
        return
    # lab and command line pass settings on, and files
    is_about_arrays = not module.__name__.startswith(("vae_jax.lab", "vae_jax.cli"))
    if is_about_arrays and takes_arrays(value):
        assert SHAPE.search(doc), f"the docstring of {name} gives no shape"


def takes_arrays(value):
    """Whether any parameter may be an array."""
    words = [str(p.annotation) for p in inspect.signature(value).parameters.values()]
    plain = r"<class '(str|int|float|bool|dict)'>|(str|int|Path|PathLike|Iterable|Mapping)\b.*"
    return not all(re.fullmatch(plain, word.split(".")[-1]) for word in words)


@pytest.mark.parametrize("name", [m for m in MODULES if m != "vae_jax.evaluation"])
def test_every_module_lists_what_is_public(name):
    module = importlib.import_module(name)
    if name.rpartition(".")[2].startswith("_") or name == "vae_jax.errors":
        return
    assert module.__all__ == sorted(module.__all__, key=lambda n: (not n.isupper(), n.islower(), n))


def sources():
    folders = (ROOT, ROOT.parent / "experiments")
    return sorted(path for folder in folders for path in folder.rglob("*.py"))


@pytest.mark.parametrize("path", sources(), ids=lambda p: str(p.relative_to(ROOT.parent)))
def test_house_rules(path):
    text = path.read_text()
    tree = ast.parse(text)
    names = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name)}
    names |= {n.arg for n in ast.walk(tree) if isinstance(n, ast.arg)}
    assert not {name for name in names if BANNED.fullmatch(name)}
    for module in imported(tree):
        if path.is_relative_to(ROOT):
            assert not f"{module}.".startswith("experiments.")
            assert module != "absl.flags" or "cli" in path.parts
    if path.is_relative_to(ROOT):
        room = path.relative_to(ROOT).parts[0].removesuffix(".py")
        own = {m.split(".")[1] for m in imported(tree) if m.startswith("vae_jax.")}
        assert own <= ALLOWED.get(room, set()) | SHARED | {room}


def imported(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        if isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_losses_need_neither_flax_nor_our_model():
    program = (
        "import sys; from vae_jax import losses; "
        "loaded = {'flax', 'optax', 'orbax', 'vae_jax.model'} & set(sys.modules); "
        "sys.exit(', '.join(sorted(loaded)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_an_objective_is_one_file(tmp_path, monkeypatch):
    """A new file is found, with its hyperparameters and their help, and nothing else changes."""
    source = (ROOT / "objectives" / "beta_vae.py").read_text()
    (tmp_path / "mine.py").write_text(source.replace("weight of the rate", "my own weight"))
    monkeypatch.setattr(objectives, "__path__", [*objectives.__path__, str(tmp_path)])
    assert "mine" in objectives.names()
    assert objectives.hyperparameters("mine")["beta"].help.startswith("my own weight")
    assert objectives.hyperparameters("mine")["beta"].default == 1.0


def test_the_package_shows_its_parts_without_importing_them():
    """`import vae_jax` costs nothing; each part comes at its first use."""
    program = (
        "import sys, vae_jax; "
        "assert not {'jax', 'numpy', 'flax', 'vae_jax.losses'} & set(sys.modules), 'heavy'; "
        "assert set(vae_jax.__all__) <= set(dir(vae_jax)); "
        "vae_jax.losses; assert 'flax' not in sys.modules; "
        "assert all(getattr(vae_jax, name) for name in vae_jax.__all__); "
        "assert vae_jax.Model is vae_jax.model.Model"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    with pytest.raises(AttributeError, match="'vae_jax' has no attribute 'loses'"):
        vae_jax.loses  # noqa: B018
