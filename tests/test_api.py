"""The house keeps its rules: names, docstrings, directions of import."""

import ast
import importlib
import inspect
import pathlib
import pkgutil
import re
import subprocess
import sys

import jax
import numpy as np
import pytest

import vae_jax
from vae_jax import discovery, fitting, likelihoods, networks, objectives
from vae_jax.errors import UsageError
from vae_jax.model import Model
from vae_jax.storage import exported

ROOT = pathlib.Path(vae_jax.__file__).parent
MODULES = sorted(m.name for m in pkgutil.walk_packages([str(ROOT)], "vae_jax."))
SHAPE = re.compile(r"\[[^\]]*\]|shapes?\b|scalars?\b", re.I)
BANNED = re.compile(r"\b(mu|kld|recon_x|log_var|logvar_x|rng)\b")

# packages whose public names are those of their files
GATHERED = ["vae_jax.losses", "vae_jax.plots"]

# who may import whom, below the package; everyone may import errors, draw random numbers and sum
SHARED = {
    "aliases",
    "arguments",
    "blocks",
    "console",
    "discovery",
    "disk",
    "errors",
    "gammas",
    "memory",
    "sums",
    "threefry",
}
ALLOWED = {
    "__init__": {*vae_jax.__all__, "assembly", "lab", "model", "storage", "trained"},
    "assembly": {
        *("data", "labels", "latents", "likelihoods", "model", "networks", "objectives"),
        *("posteriors", "priors", "training"),
    },
    "diagnosis": {"distributions", "evaluation", "rates"},
    "families": set(),
    "applying": {"data", "forms", "frames", "labels", "schema", "uses"},
    "lossless": {
        *("applying", "devices", "distributions", "evaluation", "forms", "likelihoods", "uses"),
    },
    "forms": {"assembly", "data", "likelihoods", "ratings", "schema", "sources"},
    "frames": set(),
    "uses": {"corruptions", "evaluation", "families", "latents", "rates"},
    "explorer": {"palette"},
    "flows": set(),
    "keeping": {"storage"},
    "live": set(),
    "loggers": {"families", "storage"},
    "moments": set(),
    "pages": set(),
    "palette": set(),
    "plots": {"palette"},
    "looks": set(),
    "ratings": set(),
    "sounds": set(),
    "program": {"devices", "evaluation", "schedules", "training"},
    "trained": {
        *("applying", "assembly", "data", "evaluation", "labels", "likelihoods", "model"),
        *("objectives", "plots", "program", "sources", "storage", "training", "uses"),
        "lossless",
    },
    "losses": {"distributions"},
    "likelihoods": {"distributions", "families", "losses"},
    "schema": {"labels", "likelihoods"},
    "latents": {"copula", "distributions", "losses"},
    "copula": {"distributions"},
    "phases": {"objectives", "rates", "training"},
    "priors": {"distributions", "families", "flows", "latents", "losses", "moments"},
    "posteriors": {
        *("distributions", "families", "flows", "latents", "modules", "moments", "rates"),
        "residual",
    },
    "samplers": {
        "assembly",
        "copula",
        "distributions",
        "families",
        "model",
        "objectives",
        "priors",
    },
    "rates": {"distributions", "losses"},
    "model": {"distributions", "labels", "latents", "modules", "priors"},
    "rbm": {"losses"},
    "objectives": {
        *("corruptions", "distributions", "labels", "latents", "likelihoods", "losses", "model"),
        *("mechanisms", "networks", "rates", "rbm", "training"),
    },
    "mechanisms": set(),
    "evaluation": {
        *("distributions", "latents", "likelihoods", "losses", "model", "rates", "samplers"),
    },
    "training": {"modules", "schedules", "shuffling"},
    "devices": {"training"},
    "storage": {
        *("latents", "likelihoods", "mechanisms", "model", "networks", "posteriors", "priors"),
    },
    "data": {"cache", "labels", "looks", "ranges", "ratings", "schema", "sounds"},
    "ranges": {"distributions"},
    "fitting": {
        *("assembly", "data", "devices", "keeping", "live", "objectives", "phases", "posteriors"),
        "loggers",
        *("program", "reuse", "schedules", "sources", "trained", "training"),
    },
    "reuse": {"devices", "objectives", "phases", "program", "schedules", "sources", "training"},
    "sklearn": {
        *("assembly", "families", "fitting", "likelihoods", "objectives", "priors", "training"),
        *("evaluation", "uses"),
    },
    "sources": {"assembly", "data", "likelihoods", "program", "ranges", "training"},
    "networks": {"convolution", "residual"},
    "residual": {"convolution"},
    "lab": {
        *("applying", "frames", "lossless", "uses"),
        *("assembly", "cache", "data", "devices", "distributions", "evaluation", "families"),
        *("applying", "frames", "uses"),
        *("assembly", "cache", "data", "devices", "diagnosis", "distributions", "evaluation"),
        *("families", "pages"),
        *("keeping", "latents", "likelihoods", "live", "looks", "model", "modules", "networks"),
        *("explorer", "loggers"),
        *("objectives", "phases", "plots", "posteriors", "priors", "program", "ranges", "rates"),
        *("samplers", "schedules", "sounds", "storage", "trained", "training"),
    },
    "cli": {
        *("data", "devices", "evaluation", "lab"),
        *("likelihoods", "losses", "networks", "objectives", "samplers", "schema", "storage"),
        *("loggers", "uses"),
    },
    "__main__": {"cli"},
}

MOST_LINES, DEEPEST = 60, 3
"""Of a function: lines without its docstring, and blocks inside one another."""
BLOCKS = (ast.If, ast.For, ast.While, ast.With, ast.Try, ast.Match)


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
    if name.rpartition(".")[2].startswith("_") or name in ("vae_jax.errors", *GATHERED):
        return
    assert module.__all__ == sorted(module.__all__, key=lambda n: (not n.isupper(), n.islower(), n))


@pytest.mark.parametrize("name", GATHERED)
def test_a_package_has_every_public_name_of_its_files(name):
    """None is missing, none is in two files, and none is the name of a file."""
    package, files = importlib.import_module(name), discovery.names(name)
    found = {}
    for file in files:
        module = importlib.import_module(f"{name}.{file}")
        found |= {public: getattr(module, public) for public in module.__all__}
    assert package.__all__ == list(found)
    assert not found.keys() & set(files)
    assert all(getattr(package, public) is value for public, value in found.items())


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


def test_functions_are_short_and_flat():
    examples = (ROOT.parent / "examples").rglob("*.py")
    paths = {str(path.relative_to(ROOT.parent)): path for path in (*sources(), *examples)}
    assert "examples/vae.py" in paths
    found = [
        f"{name}: {function.name}: {num_lines(function)} lines, {depth(function)} deep"
        for name, path in paths.items()
        for function in functions(path.read_text())
        if num_lines(function) > MOST_LINES or depth(function) > DEEPEST
    ]
    assert not found, "\n".join(found)


def functions(text):
    """Every function of a source, methods and nested ones too."""
    return [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef)]


def num_lines(function):
    """Lines of code of a function, without its docstring."""
    doc = function.body[0] if ast.get_docstring(function) is not None else None
    skipped = 0 if doc is None else doc.end_lineno - doc.lineno + 1
    return function.end_lineno - function.lineno + 1 - skipped


def depth(node):
    """How many blocks of a function lie inside one another; a function in it starts anew."""
    return max((_depth_of(node, child) for child in ast.iter_child_nodes(node)), default=0)


def _depth_of(parent, child):
    if isinstance(child, ast.FunctionDef | ast.ClassDef):
        return 0
    is_elif = isinstance(parent, ast.If) and isinstance(child, ast.If) and [child] == parent.orelse
    return depth(child) + (isinstance(child, BLOCKS) and not is_elif)


def test_lines_and_depth_of_functions_are_counted():
    text = """
def outer(x):
    'A docstring
    of two lines.'
    for a in x:
        if a:
            pass
        elif x:
            with a:
                pass
        else:
            pass
    def inner():
        while x:
            return [b for b in x if b]
"""
    text = text.replace("'", '"""')
    counted = {f.name: (num_lines(f), depth(f)) for f in functions(text)}
    assert counted == {"outer": (12, 3), "inner": (3, 1)}


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


CAUCHY = '''
"""Real numbers whose noise has no variance."""

import dataclasses

import jax
import jax.numpy as jnp

from vae_jax.likelihoods import Likelihood


@dataclasses.dataclass(frozen=True)
class Cauchy(Likelihood):
    """Cauchy variables around outputs [B, *shape]."""

    scale: float = 0.5

    def log_probs(self, params, outputs, x):
        return -jnp.log(jnp.pi * self.scale) - jnp.log1p(jnp.square((x - outputs) / self.scale))

    def mean(self, params, outputs):
        return outputs

    def sample(self, params, key, outputs):
        return outputs + self.scale * jax.random.cauchy(key, outputs.shape)
'''

RESIDUAL = '''
"""A dense layer beside the identity."""

import math

from flax import linen as nn

from vae_jax.networks import Network
from vae_jax.networks.mlp import MLPDecoder


class ResidualEncoder(nn.Module):
    """x [B, *shape] to mean [B, L] and logvar [B, L]."""

    latent_dim: int
    widths: tuple[int, ...]
    num_parts: int = 2

    @nn.compact
    def __call__(self, x, condition=None):
        h = x.reshape(len(x), -1)
        for width in self.widths:
            h = h + nn.Dense(h.shape[1])(nn.tanh(nn.Dense(width)(h)))
        return tuple(nn.Dense(self.latent_dim)(h) for _ in range(self.num_parts))


def build(shape, latent_dim, num_outputs, widths, activation, dtype):
    decoder = MLPDecoder(math.prod(shape) * num_outputs, widths[::-1], activation)
    return ResidualEncoder(latent_dim, widths), decoder


NETWORKS = {"shortcut": Network(ResidualEncoder, MLPDecoder, build, (5,), "relu")}
'''


@pytest.fixture
def added(tmp_path, monkeypatch):
    """A likelihood and a network that somebody wrote: a file each."""
    for package, name, source in (
        (likelihoods, "cauchy", CAUCHY),
        (networks, "shortcut", RESIDUAL),
    ):
        folder = tmp_path / package.__name__
        folder.mkdir()
        (folder / f"{name}.py").write_text(source)
        monkeypatch.setattr(package, "__path__", [*package.__path__, str(folder)])
    yield
    for package, name in ((likelihoods, "cauchy"), (networks, "shortcut")):
        sys.modules.pop(f"{package.__name__}.{name}", None)
        vars(package).pop(name, None)


def test_a_likelihood_and_a_network_are_one_file_each(added, tmp_path):
    """They are found by name, trained for a step, and written to a file and read, by that alone."""
    assert "cauchy" in likelihoods.names()
    assert "shortcut" in networks.names()
    likelihood = likelihoods.make("cauchy")
    assert likelihood == likelihoods.Cauchy(0.5)
    np.testing.assert_allclose(
        likelihood.log_prob({}, np.zeros((1, 2), "f4"), np.array([[0.0, 0.5]], "f4")),
        [-np.log(np.pi / 2) - np.log(np.pi)],
        rtol=1e-6,
    )
    with pytest.raises(UsageError, match="the cauchy likelihood has no variance"):
        likelihoods.make("cauchy", variance=0.1)
    with pytest.raises(UsageError, match=r"choose from .*, cauchy, "):
        likelihoods.make("couchy")

    encoder, decoder = networks.build("shortcut", shape=(6,), latent_dim=2)
    assert (type(encoder), encoder.widths) == (networks.ResidualEncoder, (5,))
    assert decoder.activation is networks.ACTIVATIONS["relu"]
    model = Model(encoder, decoder, likelihood, (6,), 2)
    x = np.random.default_rng(0).normal(size=(8, 6)).astype("f4")
    before = model.init(jax.random.key(0))
    trained = fitting.fit("beta_vae", model, x, learning_rate=0.1, epochs=1, batch_size=8)
    state = trained.state
    assert int(state.step) == 1
    moved = jax.tree.map(lambda a, b: bool((a != b).any()), before, state.params)
    assert all(jax.tree.leaves(moved))

    path = tmp_path / "model.safetensors"
    exported.save(path, model, state.params)
    again, params = exported.load(path)
    assert again == model
    jax.tree.map(np.testing.assert_array_equal, params, state.params)
    with pytest.raises(AttributeError, match=r"'vae_jax\.likelihoods' has no attribute 'Couchy'"):
        likelihoods.Couchy  # noqa: B018
    with pytest.raises(AttributeError, match=r"'vae_jax\.networks' has no attribute 'Mine'"):
        networks.Mine  # noqa: B018


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
