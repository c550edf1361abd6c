"""A run has the same numbers in every shell, and says what it computes on."""

import json
import os
import pathlib
import subprocess
import sys

import jax
import pytest
import quick
from faults._lab import WITHOUT_PICTURES
from flax.configurations import config as flax_settings

from vae_jax.devices import platform as devices
from vae_jax.errors import UsageError
from vae_jax.lab import config, environment, identity, stored, sweep, train

ROOT = pathlib.Path(__file__).parents[1]
FLAGS = ("--network=linear", "--latent_dim=2", "--epochs=2")
TRAINS = quick.program(WITHOUT_PICTURES)
WITH_ONE_PICTURE = TRAINS.replace(
    "from vae_jax.lab import pictures\npictures.draw = pictures.draw_sweep = lambda *_: []",
    "from vae_jax.lab import pictures\npictures.names = lambda: ['samples']",
)
"""The same with one picture."""
assert WITH_ONE_PICTURE.count("samples") == 1
DECIDE_NUMBERS = """JAX_ENABLE_X64 JAX_DEFAULT_PRNG_IMPL JAX_THREEFRY_PARTITIONABLE JAX_DISABLE_JIT
    JAX_NUMPY_DTYPE_PROMOTION JAX_NUMPY_RANK_PROMOTION JAX_DEBUG_NANS JAX_DEBUG_INFS JAX_NO_TRACING
    JAX_RANDOM_SEED_OFFSET JAX_DISABLE_MOST_OPTIMIZATIONS JAX_LEGACY_PRNG_KEY JAX_TRANSFER_GUARD
    EAGER_CONSTANT_FOLDING FLAX_FIX_RNG_SEPARATOR FLAX_RETURN_FROZENDICT"""
VALUES = {
    "JAX_COMPILATION_CACHE_DIR": "{folder}/cache",
    "JAX_CPU_COLLECTIVES_IMPLEMENTATION": "gloo",
    "JAX_CUDA_VISIBLE_DEVICES": "0",
    "JAX_DEBUG_LOG_MODULES": "jax._src.compiler",
    "JAX_DEFAULT_MATMUL_PRECISION": "highest",
    "JAX_DEFAULT_PRNG_IMPL": "rbg",
    "JAX_DUMP_IR_MODES": "stablehlo",
    "JAX_DUMP_IR_TO": "{folder}/ir",
    "JAX_HLO_SOURCE_FILE_CANONICALIZATION_REGEX": ".*",
    "JAX_LOGGING_LEVEL": "DEBUG",
    "JAX_MTLS_CA_FILE": "/nowhere",
    "JAX_MTLS_CERT_FILE": "/nowhere",
    "JAX_MTLS_KEY_FILE": "/nowhere",
    "JAX_MTLS_PEER_URI_PREFIX": "x",
    "JAX_NUMPY_DTYPE_PROMOTION": "strict",
    "JAX_NUMPY_RANK_PROMOTION": "raise",
    "JAX_NUM_CPU_DEVICES": "3",
    "JAX_ONEAPI_VISIBLE_DEVICES": "0",
    "JAX_PERSISTENT_CACHE_ENABLE_XLA_CACHES": "all",
    "JAX_PJRT_CLIENT_CREATE_OPTIONS": "",
    "JAX_PLATFORMS": "cpu",
    "JAX_PLATFORM_NAME": "cpu",
    "JAX_ROCM_VISIBLE_DEVICES": "0",
    "JAX_SEND_TRACEBACK_TO_RUNTIME": "full",
    "JAX_SOURCE_URL_SCHEMA": "x",
    "JAX_TRACEBACK_FILTERING": "off",
    "JAX_TRANSFER_GUARD": "disallow",
}
"""Of variables that are not true, false or a number."""


def names_of_jax():
    """The variables of all settings of the JAX and the Flax that are installed."""
    own = [name.upper() for name in jax.config.values]
    # names with a dot or a capital are of no variable
    return sorted({*own, *(name.upper() for name in flax_settings._values)})


def hostile(name, folder="/nowhere"):
    """A value that is not the default's."""
    if name in VALUES:
        return VALUES[name].format(folder=folder)
    default = jax.config.values.get(name.lower())
    if isinstance(default, bool):
        return str(not default).lower()
    if isinstance(default, int | float):
        return str(default + 1)
    assert not environment.is_heeded(name) or "CROSS_HOST" in name, f"{name} needs a value"
    return "1"


def start(folder, *words, main=("-c", TRAINS), **variables):
    clean = {n: v for n, v in os.environ.items() if not n.startswith(("JAX_", "XLA_", "FLAX_"))}
    paths = [variables.pop("PYTHONPATH", ""), str(ROOT), os.environ.get("PYTHONPATH", "")]
    return subprocess.run(
        [sys.executable, *main, *words],
        env={**clean, **variables, "PYTHONPATH": os.pathsep.join(filter(None, paths))},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
    )


def trained(folder, name, **variables):
    """What a run left with variables set: its directory, and what it said on stderr."""
    ran = start(folder, *FLAGS, f"--workdir={name}", **variables)
    assert ran.returncode == 0, ran.stderr
    return folder / name, ran.stderr


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """A run in a shell where nothing is set."""
    directory, told = trained(tmp_path_factory.mktemp("plain"), "run")
    assert told == ""
    return directory


def numbers(directory):
    return (directory / "metrics.csv").read_bytes()


def read(directory, name):
    return json.loads((directory / name).read_text())


# --- Variables


def test_every_setting_of_jax_and_flax_is_one_of_theirs():
    """What is not known to be harmless is set aside, whatever a later version adds."""
    assert [name for name in names_of_jax() if not environment._OF_JAX.fullmatch(name)] == []


def test_variables_that_change_numbers_are_ignored_except_one():
    assert not any(environment.is_heeded(name) for name in DECIDE_NUMBERS.split())
    kept = ("JAX_PLATFORMS", "JAX_COMPILATION_CACHE_DIR", "JAX_NUM_PROCESSES", "JAX_LOG_COMPILES")
    assert all(map(environment.is_heeded, (*kept, environment.PRECISION, "PATH", "XLA_FLAGS")))


def test_all_that_is_set_aside_changes_nothing_and_is_told(plain, tmp_path):
    """Also the backend of a notebook's pictures, which only this run draws."""
    names = {*names_of_jax(), *DECIDE_NUMBERS.split(), "JAX_OF_THE_FUTURE"}
    aside = {name: hostile(name) for name in names if not environment.is_heeded(name)}
    assert len(aside) > 60
    aside |= {"MPLBACKEND": "module://matplotlib_inline.backend_inline"}
    ran = start(tmp_path, *FLAGS, "--workdir=run", main=("-c", WITH_ONE_PICTURE), **aside)
    assert ran.returncode == 0, ran.stderr
    assert numbers(tmp_path / "run") == numbers(plain)
    assert (tmp_path / "run" / "plots" / "samples.png").exists()
    (line,) = ran.stderr.splitlines()
    assert line.startswith("ignored: ")
    assert "JAX_ENABLE_X64=true" in line
    # the remedy: what is not set is not told
    assert read(tmp_path / "run", "config.json") == read(plain, "config.json")
    assert read(tmp_path / "run", "env.json")["variables"] == {}


@pytest.mark.parametrize(
    ("num_devices", "devices"),
    [("1", "device: cpu"), pytest.param("3", "devices: 3 × cpu", marks=pytest.mark.slow)],
)
def test_variables_that_are_used_are_recorded(plain, tmp_path, num_devices, devices):
    given = {"JAX_PLATFORMS": "cpu", "JAX_LOG_COMPILES": "false"}
    given |= {"JAX_NUM_CPU_DEVICES": num_devices}
    directory, told = trained(tmp_path, "run", **given)
    assert numbers(directory) == numbers(plain)
    assert read(directory, "env.json")["variables"] == dict(sorted(given.items()))
    assert told == ""
    assert (directory / "run.log").read_text().splitlines()[0].endswith(devices)


@pytest.mark.slow
@pytest.mark.parametrize("name", names_of_jax())
def test_no_variable_changes_the_numbers_of_a_run_unless_its_identity(name, plain, tmp_path):
    directory, told = trained(tmp_path, "run", **{name: hostile(name, tmp_path)})
    same = numbers(directory) == numbers(plain)
    assert same or read(directory, "config.json") != read(plain, "config.json")
    assert told.startswith(f"ignored: {name}=") == (not environment.is_heeded(name))


def test_no_program_imports_jax_before_its_variables_are_settled():
    """Of `python -m`, packages come first."""
    packages = {
        f"experiments.{entry}" for entry in ENTRIES if (ROOT / "experiments" / entry).is_dir()
    }
    assert packages == {"experiments.lecture", "experiments.benchmark"}
    program = (
        f"import sys, {', '.join(packages)}, vae_jax.cli.beginning; print('jax' in sys.modules)"
    )
    assert start(ROOT, program, main=("-c",)).stdout == "False\n"


@pytest.mark.fault("R18")
def test_a_value_that_jax_refuses_is_one_line(tmp_path):
    value = "maybe\x1b[2J\nerror: forged"
    ran = start(tmp_path, *FLAGS, main=("-m", "experiments.vae"), JAX_LOG_COMPILES=value)
    assert ran.returncode == 2
    assert ran.stdout == ""
    (line,) = ran.stderr.splitlines()
    assert line.startswith("error: JAX refuses one of its variables (")
    assert line.isprintable()
    assert "JAX_LOG_COMPILES" in line


def test_a_value_cannot_steer_a_terminal(monkeypatch):
    monkeypatch.setattr(environment, "_set_aside", {"JAX_A": "\x1b[2Jä\n" + 100 * "x"})
    told = environment.told()
    assert told.isascii()
    assert told.isprintable()
    assert len(told) < 160


@pytest.fixture
def highest():
    before = jax.config.jax_default_matmul_precision
    jax.config.update("jax_default_matmul_precision", "highest")
    yield
    jax.config.update("jax_default_matmul_precision", before)


def test_the_precision_of_products_tells_a_run_from_others(plain, highest):
    values = {"network": "linear", "latent_dim": "2", "epochs": "2"}
    experiment = train.prepare([config.from_flags(values)])
    held = read(plain, "config.json")["config"]
    asked = identity.of(experiment)
    assert {k: v for k, v in asked.items() if held.get(k) != v} == {"matmul_precision": "highest"}
    with pytest.raises(UsageError, match=rf"holds no {environment.PRECISION}, you asked"):
        train.train([config.from_flags({**values, "workdir": str(plain)})])
    several = sweep.make_configs({**values, "beta": "1,2"})
    assert identity.of_sweep(several, None)["matmul_precision"] == "highest"


def test_a_run_is_measured_with_the_precision_that_it_was_trained_with(highest):
    environment.restore({"seed": 0})
    assert environment.identity() == {}
    environment.restore({"seed": 0, "matmul_precision": "high"})
    assert environment.identity() == {"matmul_precision": "high"}


# --- Devices


ENTRIES = {
    "vae": FLAGS,
    "evaluate": ("--run={run}", "--metrics=objective"),
    "explore": ("--run={run}", "--to=page.html"),
    "export": ("--run={run}", "--to=model.safetensors"),
    "lecture": ("--epochs=1",),
    "reproduce": ("ppca",),
    "benchmark": ("--quick",),
}
"""Every program → flags with which it gets to its work."""


@pytest.mark.parametrize(
    ("entry", "variables", "words"),
    [
        ("vae", {"JAX_PLATFORMS": "cuda"}, ("finds cpu here", "pip install 'jax[cuda12]==")),
        ("evaluate", {"JAX_PLATFORMS": "nonsense"}, ("finds cpu here", "unset it")),
        *(
            pytest.param(entry, given, words, marks=pytest.mark.slow)
            for entry in ENTRIES
            for given, words in [
                ({"JAX_PLATFORMS": "cuda"}, ("finds cpu here", "pip install 'jax[cuda12]==")),
                ({"JAX_PLATFORMS": "tpu"}, ("finds cpu here", "pip install 'jax[tpu]==")),
                ({"JAX_PLATFORM_NAME": "gpu"}, ("finds cpu here", "pip install 'jax[cuda12]==")),
                ({"XLA_FLAGS": "--xla_typo=1"}, ("Unknown flag", "correct or unset it")),
            ]
        ),
    ],
)
def test_a_platform_that_is_not_there_is_one_line(plain, tmp_path, entry, variables, words):
    if jax.default_backend() != "cpu":
        pytest.skip("an accelerator is here")
    flags = [word.format(run=plain) for word in ENTRIES[entry]]
    ran = start(tmp_path, *flags, main=("-m", f"experiments.{entry}"), **variables)
    assert ran.returncode == 2, ran.stderr
    (line,) = ran.stderr.splitlines()
    ((name, value),) = variables.items()
    assert line.startswith(f"error: {name}={value}: ")
    assert all(word in line for word in words)


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        ("--xla_typo=1", "Unknown flag in XLA_FLAGS: --xla_typo=1"),
        ("xla_cpu_multi_thread_eigen=true", "Could not open file"),
        ("--xla_cpu_multi_thread_eigen=true --xla_force_host_platform_device_count=2", None),
        ("--xla_force_host_platform_device_count=2", None),
    ],
)
def test_flags_that_xla_does_not_know_are_one_line(monkeypatch, flags, reason):
    monkeypatch.setenv("XLA_FLAGS", flags)
    if reason is None:
        devices.check_flags()
        return
    with pytest.raises(UsageError) as caught:
        devices.check_flags()
    assert str(caught.value).startswith(f"XLA_FLAGS={flags}: XLA refuses it ({reason}")
    assert "\n" not in str(caught.value)


class Device:
    def __init__(self, kind, platform):
        self.device_kind, self.platform = kind, platform


@pytest.mark.parametrize(
    ("found", "line"),
    [
        ([Device("cpu", "cpu")], "device: cpu"),
        ([Device("cpu", "cpu")] * 8, "devices: 8 × cpu"),
        ([Device("NVIDIA H200", "gpu")], "device: NVIDIA H200 (gpu)"),
        ([Device("TPU v5e", "tpu")] * 4, "devices: 4 × TPU v5e (tpu)"),
    ],
)
def test_devices_are_named_in_a_line(monkeypatch, found, line):
    monkeypatch.setattr(jax, "devices", lambda: found)
    assert devices.line() == line


CUDA = [("jax-cuda12-pjrt", "0.0.1"), ("jax-cuda12-plugin", "0.0.1")]
OWN = jax.lib.__version__
GPU, CPU = Device("NVIDIA H200", "gpu"), Device("cpu", "cpu")


@pytest.mark.parametrize(
    ("device", "plugins", "heard", "words"),
    [
        (CPU, [], [], None),
        (GPU, [("jax-cuda12-plugin", OWN)], [], None),
        (CPU, CUDA, ["no CUDA"], ("jax-cuda12-plugin 0.0.1 (jaxlib is", "jax[cuda12]==", "CPU")),
        (CPU, [("jax-cuda12-plugin", OWN)], ["no CUDA"], ("(no CUDA)", "JAX_PLATFORMS=cpu")),
        (CPU, [("jax-cuda12-plugin", OWN)], [], ("(it finds no device of it)",)),
        (CPU, [], ["An NVIDIA GPU may be present"], ("an accelerator (An NVIDIA", "jax[cuda12]==")),
        (CPU, [("jax-metal", "0.1")], ["old"], ("jax-metal 0.1 (old)", "that belongs to this JAX")),
        (CPU, [("jax-cuda12-plugin", f"{OWN}.1")], [], (f"(jaxlib is {OWN})",)),
        (GPU, CUDA, [], ("does not use all of jax-cuda12-pjrt 0.0.1", "jax[cuda12]==")),
        (GPU, [], ["experimental"], ("JAX says: experimental",)),
    ],
)
def test_an_accelerator_that_is_not_used_is_told_with_a_remedy(
    monkeypatch, device, plugins, heard, words
):
    monkeypatch.setattr(jax, "devices", lambda: [device])
    monkeypatch.setattr(devices, "_plugins", lambda: plugins)
    monkeypatch.setattr(devices, "_heard", heard)
    monkeypatch.setattr(devices, "_asked", lambda: [""])
    told = devices.warning()
    if words is None:
        assert told is None
        return
    assert told.startswith("warning: ")
    assert "\n" not in told
    assert all(word in told for word in words), told
    # its other remedy
    monkeypatch.setattr(devices, "_asked", lambda: ["cpu"])
    assert (devices.warning() is None) == (device is CPU)


def test_a_plugin_that_jax_rejects_is_one_warning(tmp_path):
    """A package as those of JAX are, which fails to start as they do where CUDA is missing."""
    site = tmp_path / "site"
    info = site / "jax_cuda12_plugin-0.0.1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: jax-cuda12-plugin\nVersion: 0.0.1\n"
    )
    (info / "entry_points.txt").write_text("[jax_plugins]\nfake = fake_plugin\n")
    raises = "def initialize():\n    raise RuntimeError('Unable to load CUDA. Is it installed?')\n"
    (site / "fake_plugin.py").write_text(raises)
    directory, told = trained(tmp_path, "run", PYTHONPATH=str(site))
    (line,) = told.splitlines()
    assert line.startswith("warning: computing on the CPU, JAX ")
    assert "does not use jax-cuda12-plugin 0.0.1 (jaxlib is " in line
    assert f"pip install 'jax[cuda12]=={jax.__version__}'" in line
    assert "device" in (directory / "run.log").read_text().splitlines()[0]
    # the platform by name says why it is not there
    gpu = start(tmp_path, *FLAGS, "--workdir=gpu", PYTHONPATH=str(site), JAX_PLATFORMS="cuda")
    assert gpu.returncode == 2
    assert "(Unable to load CUDA. Is it installed?): pip install 'jax[cuda12]==" in gpu.stderr
    assert len(gpu.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        ("--xla_force_host_platform_device_count=2 --xla_dump_to=/x", {}),
        ("--xla_cpu_enable_fast_math=true", {"xla_flags": "--xla_cpu_enable_fast_math=true"}),
        (
            "--xla_a=1 --xla_allow_excess_precision=false --xla_cpu_enable_fast_min_max",
            {"xla_flags": "--xla_allow_excess_precision=false --xla_cpu_enable_fast_min_max"},
        ),
    ],
)
def test_flags_of_xla_that_change_arithmetic_tell_a_run_from_others(monkeypatch, flags, told):
    monkeypatch.setenv("XLA_FLAGS", flags)
    assert environment.identity() == told
    assert environment.CALLED.keys() >= told.keys()
    assert environment.CALLED.keys() <= stored.BESIDE
