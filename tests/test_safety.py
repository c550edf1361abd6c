"""Nothing runs what a file or a stranger says: no pickle, eval, shell or network.

What reaches other machines is asked for by name: a dataset of tensorflow-datasets, a logger,
a repository of a hub.
"""

import ast
import os
import pathlib
import re
import shutil
import subprocess
import sys

import pytest
from faults._lab import WITHOUT_PICTURES

pytestmark = pytest.mark.fault("R16")

ROOT = pathlib.Path(__file__).parents[1]
MODULES = (
    # run what they read
    *("pickle", "_pickle", "cPickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"),
    *("code", "codeop", "runpy", "submitit", "yaml"),
    # start programs
    *("commands", "multiprocessing", "pty", "subprocess"),
    # reach, or wait for, other machines
    *("aiohttp", "asyncio", "ftplib", "http", "httpx", "imaplib", "paramiko", "poplib", "requests"),
    *("smtplib", "socket", "socketserver", "ssl", "telnetlib", "urllib", "urllib3", "webbrowser"),
    *("websockets", "xmlrpc", "zmq", "grpc", "jax.distributed.initialize"),
    *("wandb", "mlflow", "huggingface_hub"),
)
BUILTINS = ("__import__", "compile", "eval", "exec")
FUNCTIONS = re.compile(
    r"builtins\.\w+|importlib\.(import_module|reload|machinery|util\.(module|spec)_from_\w+)"
    r"|os\.(system|popen|exec\w+|spawn\w+|posix_spawn\w*|startfile|fork\w*)"
    r"|ctypes\.(\w*DLL|\w*dll|pythonapi|util\.find_library)"
    r"|(torch|tensorflow_datasets)\.load|sklearn\.datasets\.fetch_\w+"
)
METHODS = ("download_and_prepare", "read_pickle", "to_pickle", "load_module", "exec_module")
NUMPY = ("numpy", "jax.numpy")
HARMLESS = re.compile(r"PIPE|DEVNULL|STDOUT|\w+(Error|Expired)")
"""Constants and errors of a module, which do nothing."""

ALLOWED = {
    ("vae_jax/storage/locks.py", "socket.gethostname"): "who holds a lock",
    ("vae_jax/storage/provenance.py", "socket.gethostname"): "where a result was computed",
    ("vae_jax/storage/provenance.py", "subprocess.run"): "git, for the revision; words, no shell",
    ("vae_jax/__init__.py", "importlib.import_module"): "a part of our own package",
    ("vae_jax/discovery.py", "importlib.import_module"): "a module that lies in our own package",
    (
        "vae_jax/devices/processes.py",
        "jax.distributed.initialize",
    ): "processes that the user starts",
    (
        "vae_jax/devices/processes.py",
        "ctypes.CDLL",
    ): "what the C library does at an abort of this process",
    ("vae_jax/memory.py", "ctypes.CDLL"): "what returns freed memory to the system",
    ("vae_jax/lab/settings_file.py", "yaml.SafeLoader"): "makes plain values alone",
    ("vae_jax/lab/settings_file.py", "yaml.MappingNode"): "a part of a text that was parsed",
    ("vae_jax/storage/hub.py", "huggingface_hub"): "a repository that the user names",
    ("vae_jax/loggers/wandb.py", "wandb.init"): "where the user asked the metrics to go",
    ("vae_jax/loggers/wandb.py", "wandb.Settings"): "leaves the terminal to us",
    ("vae_jax/loggers/mlflow.py", "mlflow.tracking.MlflowClient"): (
        "where the user asked the metrics to go"
    ),
    ("vae_jax/loggers/mlflow.py", "mlflow.entities.Metric"): "a number",
    ("vae_jax/loggers/mlflow.py", "mlflow.entities.Param"): "a setting",
    ("vae_jax/data/_tfds.py", ".download_and_prepare"): "the download of tensorflow-datasets",
    ("vae_jax/lab/executors/slurm.py", "subprocess.run"): "squeue and others; words, no shell",
    ("vae_jax/lab/executors/kubernetes.py", "subprocess.run"): "kubectl; words, no shell",
    ("vae_jax/lab/executors/ray.py", "subprocess.Popen"): "this program, as a task of Ray",
    ("vae_jax/lab/executors/ray.py", "importlib.import_module"): "Ray, which has the file's name",
    ("vae_jax/devices/platform.py", "subprocess.run"): "this Python, which tries XLA_FLAGS",
    (
        "vae_jax/lab/executors/local.py",
        "subprocess.Popen",
    ): "this program again, of --executor=local",
    ("vae_jax/lab/executors/slurm.py", "os.execv"): "a SLURM job becomes this program",
    (
        "vae_jax/lab/executors/slurm.py",
        "submitit.SlurmExecutor",
    ): "hands these commands to sbatch",
    (
        "vae_jax/lab/executors/slurm.py",
        "submitit.slurm.slurm._make_sbatch_string",
    ): "shows what it hands",
    ("experiments/lecture/__init__.py", "importlib.import_module"): "a chapter, by a name of ours",
    ("experiments/benchmark/workers.py", "subprocess.Popen"): "this Python, which takes turns",
    ("experiments/numbers.py", "subprocess.run"): "a command of docs/numbers.csv; no shell",
    ("experiments/benchmark/fresh_process.py", "subprocess.run"): "this Python, which is timed",
    ("experiments/benchmark/fresh_process.py", "runpy.run_module"): "experiments.vae, watched",
}
"""(file, what it uses) → why it may."""


def uses(source: str) -> set[str]:
    """What a source uses that runs, starts or reaches something, by its full name."""
    tree = ast.parse(source)
    nodes = list(ast.walk(tree))
    names, imported = {}, set()
    for node in nodes:
        if isinstance(node, ast.Import):
            for alias in node.names:
                imported.add(alias.name)
                top = alias.name.partition(".")[0]
                names[alias.asname or top] = alias.name if alias.asname else top
        elif isinstance(node, ast.ImportFrom) and not node.level:
            for alias in node.names:
                imported.add(f"{node.module}.{alias.name}")
                names[alias.asname or alias.name] = f"{node.module}.{alias.name}"

    def full(node) -> str:
        if isinstance(node, ast.Name):
            return names.get(node.id, f"builtins.{node.id}" if node.id in BUILTINS else "")
        return f"{full(node.value)}.{node.attr}" if isinstance(node, ast.Attribute) else ""

    read = {full(n) for n in nodes if isinstance(n, (ast.Name, ast.Attribute))}
    calls = [node for node in nodes if isinstance(node, ast.Call)]
    told = {name for name in read | imported if is_refused(name)}
    told |= {f".{n.attr}" for n in nodes if isinstance(n, ast.Attribute) and n.attr in METHODS}
    told |= {name for call in calls for name in refused_call(call, full(call.func))}
    # of an import what is used of it, where that can be told
    return {
        name
        for name in told
        if not HARMLESS.fullmatch(name.rpartition(".")[2])
        and not any(other.startswith(f"{name}.") for other in told)
    }


def is_refused(name: str) -> bool:
    """Whether a full name is of a module, or is a function, that is not to be used."""
    inside = any(name == module or name.startswith(f"{module}.") for module in MODULES)
    return inside or FUNCTIONS.fullmatch(name) is not None


def refused_call(call: ast.Call, name: str):
    """What of a call's arguments is refused: a shell, objects that are unpickled."""
    given = {keyword.arg: keyword.value for keyword in call.keywords}

    def is_given(argument, value):
        node = given.get(argument)
        return isinstance(node, ast.Constant) and node.value is value

    if "shell" in given and not is_given("shell", False):
        yield "shell=True"
    reads = any(name in (f"{numpy}.load", f"{numpy}.lib.format.read_array") for numpy in NUMPY)
    if ("allow_pickle" in given or reads) and not is_given("allow_pickle", False):
        yield "allow_pickle=True"


def sources() -> list[pathlib.Path]:
    folders = (ROOT / "vae_jax", ROOT / "experiments")
    return sorted(path for folder in folders for path in folder.rglob("*.py"))


def test_nothing_runs_what_it_is_told_but_what_has_a_reason():
    """Nothing else, and no entry of the list that nothing needs."""
    found = {(str(p.relative_to(ROOT)), use) for p in sources() for use in uses(p.read_text())}
    assert len(sources()) > 100
    assert found == ALLOWED.keys()


@pytest.mark.parametrize(
    ("source", "use"),
    [
        ("import pickle", "pickle"),
        ("import pickle\npickle.loads(b'')", "pickle.loads"),
        ("from pickle import load as read", "pickle.load"),
        ("import dill as pickled\npickled.load(f)", "dill.load"),
        ("def f():\n    import joblib", "joblib"),
        ("import shelve, marshal", "marshal"),
        ("import numpy as np\nnp.load(path)", "allow_pickle=True"),
        ("import numpy as np\nnp.load(path, allow_pickle=True)", "allow_pickle=True"),
        ("import numpy as np\nnp.load(path, allow_pickle=flag)", "allow_pickle=True"),
        ("from numpy import load\nload(path)", "allow_pickle=True"),
        ("import jax.numpy as jnp\njnp.load(path)", "allow_pickle=True"),
        ("import numpy\nnumpy.lib.format.read_array(file)", "allow_pickle=True"),
        ("read(path, allow_pickle=1)", "allow_pickle=True"),
        ("import pandas\npandas.read_pickle(path)", ".read_pickle"),
        ("import torch\ntorch.load(path)", "torch.load"),
        ("eval('1')", "builtins.eval"),
        ("run = exec", "builtins.exec"),
        ("compile(source, 'x', 'exec')", "builtins.compile"),
        ("__import__(name)", "builtins.__import__"),
        ("import builtins\nbuiltins.eval('1')", "builtins.eval"),
        ("import importlib\nimportlib.import_module(name)", "importlib.import_module"),
        ("import os\nos.system('ls')", "os.system"),
        ("from os import popen", "os.popen"),
        ("import os as system\nsystem.execvp('ls', [])", "os.execvp"),
        ("import subprocess\nsubprocess.run(['ls'])", "subprocess.run"),
        ("from subprocess import check_output as ask\nask(['ls'])", "subprocess.check_output"),
        ("start('ls', shell=True)", "shell=True"),
        ("start('ls', shell=wanted)", "shell=True"),
        ("import ctypes\nctypes.CDLL(path)", "ctypes.CDLL"),
        ("from ctypes import cdll\ncdll.LoadLibrary(path)", "ctypes.cdll"),
        ("import yaml\nyaml.load(text)", "yaml.load"),
        ("import http.server", "http.server"),
        ("from http.server import HTTPServer", "http.server.HTTPServer"),
        ("import socketserver", "socketserver"),
        ("from urllib import request\nrequest.urlopen(url)", "urllib.request.urlopen"),
        ("import urllib.request\nurllib.request.urlopen(url)", "urllib.request.urlopen"),
        ("import requests", "requests"),
        ("import socket\ns = socket.socket()", "socket.socket"),
        ("import jax\njax.distributed.initialize()", "jax.distributed.initialize"),
        ("from sklearn import datasets\ndatasets.fetch_openml()", "sklearn.datasets.fetch_openml"),
        ("builder.download_and_prepare()", ".download_and_prepare"),
    ],
)
def test_each_way_to_run_or_reach_something_is_found(source, use):
    assert use in uses(source)


@pytest.mark.parametrize(
    "source",
    [
        "import re\nre.compile('a')",
        "lowered.compile()",
        "import jax\njax.eval_shape(f, x)",
        "import numpy as np\nnp.load(path, allow_pickle=False)",
        "objectives.load('beta_vae')",
        "import importlib.metadata\nimportlib.metadata.version('jax')",
        "import os\nos.path.exists(p)",
        "start(['ls'], shell=False)",
        "from vae_jax.data import _files\n_files.load(path)",
    ],
)
def test_code_that_runs_nothing_is_not_found(source):
    assert uses(source) == set()


WATCHED = """
import os, sys
told = os.open({path!r}, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

def watch(event, arguments):
    if event.startswith("socket.") and event not in ("socket.__new__", "socket.gethostname"):
        os.write(told, f"{{event}} {{arguments[1:]}}\\n".encode())
        raise OSError("the network is cut off")
    if event in ("os.system", "os.exec", "pickle.find_class"):
        os.write(told, f"{{event}} {{arguments}}\\n".encode())
    # git tells the revision; the standard library asks uname which processor this is
    if event == "subprocess.Popen" and arguments[0] not in ("git", "uname"):
        os.write(told, f"{{event}} {{arguments[0]}}\\n".encode())

sys.addaudithook(watch)
"""


def without_network() -> list[str]:
    """A command that runs another where there is no network; none where the system lets it not."""
    command = ["unshare", "--map-root-user", "--net"]
    if shutil.which(command[0]) is None:
        return []
    return [] if subprocess.run([*command, "true"], capture_output=True).returncode else command


@pytest.mark.parametrize("pictures", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_the_main_job_needs_no_network_and_runs_no_program(tmp_path, pictures):
    """Cut off by the system where it can be; what Python itself is asked for is watched."""
    told = tmp_path / "told"
    main = ["-m", "experiments.vae"] if pictures else ["-c", WITHOUT_PICTURES]
    (tmp_path / "sitecustomize.py").write_text(WATCHED.format(path=str(told)))
    paths = [str(tmp_path), str(ROOT), os.environ.get("PYTHONPATH", "")]
    flags = ["--epochs=1", "--network=linear", "--latent_dim=2", f"--workdir={tmp_path / 'run'}"]
    done = subprocess.run(
        [*without_network(), sys.executable, *main, *flags],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "result.json").exists()
    assert told.read_text() == ""
