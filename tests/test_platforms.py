"""Linux and macOS: what macOS lacks is taken away here, from Python and from the shell."""

import importlib.metadata
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time
import tomllib
import types

import jax
import numpy as np
import pytest
import quick
from faults._lab import WITHOUT_PICTURES

from vae_jax import disk
from vae_jax.data import _npy
from vae_jax.devices import hardware
from vae_jax.storage import runs

ROOT = pathlib.Path(__file__).parents[1]

MACOS = """
import fcntl, multiprocessing, os, sys

# what os has on Linux alone, or on macOS from some version on
LINUX = '''copy_file_range eventfd getrandom memfd_create pidfd_open posix_fadvise posix_fallocate
    preadv preadv2 pwritev pwritev2 sched_getaffinity sched_getparam sched_setaffinity setns splice
    unshare O_DIRECT O_LARGEFILE O_NOATIME O_PATH O_TMPFILE'''
for name in LINUX.split():
    if hasattr(os, name):
        delattr(os, name)
if hasattr(os, "process_cpu_count"):
    os.process_cpu_count = os.cpu_count
fcntl.F_FULLFSYNC = 51
multiprocessing.set_start_method("spawn")

def refuse_proc(event, arguments):
    if event in ("open", "os.listdir", "os.scandir") and str(arguments[0]).startswith("/proc"):
        raise FileNotFoundError(2, "No such file or directory", arguments[0])

sys.addaudithook(refuse_proc)
"""


@pytest.fixture
def on_macos(tmp_path):
    """Runs a module in a Python that lacks what that of macOS lacks."""
    (tmp_path / "macos").mkdir()
    (tmp_path / "macos" / "sitecustomize.py").write_text(MACOS)
    paths = [str(tmp_path / "macos"), str(ROOT), os.environ.get("PYTHONPATH", "")]
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}

    def run(*words):
        ran = subprocess.run(
            [sys.executable, *words],
            env=environ,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert ran.returncode == 0, ran.stderr
        return ran.stdout

    return run


def test_the_simulation_takes_away_what_it_says(on_macos):
    asked = "print([hasattr(os, n) for n in ('sched_getaffinity', 'preadv', 'O_TMPFILE', 'pread')])"
    assert on_macos("-c", f"import os; {asked}") == "[False, False, False, True]\n"
    reads = "try: open('/proc/cpuinfo')\nexcept FileNotFoundError: print('no file')"
    assert on_macos("-c", reads) == "no file\n"


def test_macos_trains_resumes_and_evaluates(on_macos, tmp_path):
    x = np.random.default_rng(0).normal(size=(200, 6)).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    flags = ["--dataset=x.npy", "--loading=stream", "--network=linear", "--latent_dim=2"]
    flags += ["--batch_size=50", "--learning_rate=1e-3", "--workdir=run"]
    main = quick.program(WITHOUT_PICTURES)
    on_macos("-c", main, *flags, "--epochs=1")
    told = on_macos("-c", main, *flags, "--epochs=2")
    assert "streamed from the host" in told
    assert "resuming at step" in told
    assert json.loads((tmp_path / "run" / "result.json").read_text())["status"] == "done"
    evaluated = on_macos(
        "-c", quick.module("experiments.evaluate"), "--run=run", "--metrics=objective"
    )
    assert evaluated.startswith("device")
    assert "distortion" in evaluated


def test_macos_is_measured_by_the_benchmark(on_macos):
    program = "from experiments.benchmark import measuring; from vae_jax.devices import hardware; "
    program += "found = measuring.machine(); print(found['num_cores'], found['processor']); "
    program += "print(hardware.peak_bytes())"
    cores, _, peak = on_macos("-c", program).replace("\n", " ").split(None, 2)
    assert int(cores) == os.cpu_count()
    # Linux counts in kibibytes what macOS counts in bytes, and this process' own peak with it
    assert 50e3 < int(peak) < 50e6


def test_cores_are_those_that_this_process_may_use(monkeypatch):
    if hasattr(os, "sched_getaffinity"):
        monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {1, 5, 7})
        assert hardware.num_cores() == 3
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 12)
    assert hardware.num_cores() == 12
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert hardware.num_cores() == 1


@pytest.mark.parametrize("has_preadv", [True, False])
def test_rows_are_read_in_pieces_that_every_system_takes(tmp_path, monkeypatch, has_preadv):
    x = np.arange(7 * 5, dtype=np.int32).reshape(7, 5)
    np.save(tmp_path / "x.npy", x)
    monkeypatch.setattr(_npy, "_MOST_BYTES", 8)
    reads = []
    if has_preadv:
        if not hasattr(os, "preadv"):
            pytest.skip("this system has no preadv")
        real = os.preadv
        monkeypatch.setattr(os, "preadv", lambda f, b, o: reads.append(o) or real(f, b, o))
    else:
        monkeypatch.delattr(os, "preadv", raising=False)
        real = os.pread
        monkeypatch.setattr(os, "pread", lambda f, n, o: reads.append(o) or real(f, n, o))
    rows = _npy.FileRows(tmp_path / "x.npy")
    np.testing.assert_array_equal(rows[np.array([3, 4, 0])], x[[3, 4, 0]])
    # two rows that lie together, 40 bytes, and one of 20
    assert len(reads) == 5 + 3


def test_a_synced_folder_is_flushed_from_the_drive_of_macos(tmp_path, monkeypatch):
    told = []
    fake = types.SimpleNamespace(F_FULLFSYNC=51, fcntl=lambda fd, how: told.append(how))
    monkeypatch.setattr(disk, "fcntl", fake)
    monkeypatch.setattr(os, "fsync", lambda fd: told.append("fsync"))
    disk.sync_folder(tmp_path)
    assert told == ["fsync", 51]
    fake.fcntl = lambda fd, how: (_ for _ in ()).throw(OSError(45, "not supported"))
    disk.sync_folder(tmp_path)


def test_a_folder_that_finder_has_shown_is_an_empty_one(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".DS_Store").write_bytes(b"Bud1")
    with runs.open_run(tmp_path / "run", {}) as run:
        run.write_config()
    assert (tmp_path / "run" / "config.json").exists()


# --- What needs JAX alone runs where these modules of POSIX are not: Windows, a browser

JAX_ALONE = """distributions evaluation fitting latents likelihoods losses model networks objectives
    schedules training"""
WITHOUT_POSIX = """
import builtins, importlib, pkgutil, sys

BLOCKED = {"fcntl", "termios", "resource", "grp", "pwd", "tty", "pty"}
really = builtins.__import__

def block(name, globals=None, *rest):
    # what others import is theirs: on such a system they do without
    if name in BLOCKED and (globals or {}).get("__name__", "").startswith("vae_jax"):
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)
    return really(name, globals, *rest)

builtins.__import__ = block
for name in sys.argv[1:]:
    module = importlib.import_module(f"vae_jax.{name}")
    for found in pkgutil.walk_packages(getattr(module, "__path__", ()), module.__name__ + "."):
        importlib.import_module(found.name)
try:
    import vae_jax.disk
except ModuleNotFoundError:
    print("and the block works")
"""


def test_parts_that_need_only_jax_import_without_posix():
    ran = subprocess.run(
        [sys.executable, "-c", WITHOUT_POSIX, *JAX_ALONE.split()],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout == "and the block works\n"


# --- launch.sh with the shell and the programs of macOS

NEWER_THAN_BASH_3_2 = {
    r"\b(declare|local|typeset|readonly)\s+-\w*[Angu]": "declare -A names",
    r"\$\{\w+(\[[^]]*\])?(\^\^?|,,?|@)": "${name,,}",
    r"\$\{\w+\[-\d": "${list[-1]}",
    r"\b(mapfile|readarray|coproc)\b": "mapfile -t lines",
    r"\bwait\s+-[np]": "wait -n",
    r"&>>|\|&": "program &>> log",
    r";;?&\s*$": "a) b ;;&",
    r"\[\[?\s+(!\s+)?-[vR]\s": "[[ -v name ]]",
    r"\bread\s+-\w*[Ni]|\bread\b.*-t\s*0?\.": "read -N 3",
    r"\bprintf\s+-v\s+\w+\[|%\(": "printf '%(%F)T'",
    r"\b(BASHPID|EPOCHSECONDS|EPOCHREALTIME|SRANDOM)\b": "echo $BASHPID",
    r"shopt\s+-s\s+(globstar|lastpipe|inherit_errexit)": "shopt -s globstar",
    r"\{0\d*\.\.|\{\w+\.\.\w+\.\.": "{01..10}",
    r"exec\s+\{\w+\}": "exec {lock}>file",
}
"""Of bash, what 3.2 of macOS does not know → an example."""
ONLY_GNU = {
    r"\b(flock|timeout|setsid|nproc|realpath|tac|taskset|sha256sum|md5sum|numfmt|shuf)\s": "nproc ",
    r"\b(cat|cp|ls|mkdir|mktemp|mv|rm|ln|sort|touch|date|stat|head|tail)\s+--\w": "cp --archive",
    r"\breadlink\s+-\w*[efm]": "readlink -f x",
    r"\bsed\s+(-\w+\s+)*-\w*[ir]\b": "sed -i s/a/b/ x",
    r"\bgrep\s+(-\w+\s+)*-\w*P": "grep -oP x",
    r"\bdate\s+(-d|-\w*I)": "date -d now",
    r"\bstat\s+-c": "stat -c %s x",
    r"\bxargs\s+-\w*[rd]": "xargs -r rm",
    r"\bfind\b.*-(printf|executable|readable)": "find . -printf x",
    r"\bln\s+-\w*r|\bbase64\s+-w|\bsort\s+-\w*V|\bcp\s+-\w*[ax]": "cp -a x y",
}
"""Programs and options that macOS does not have → an example."""


@pytest.mark.parametrize("patterns", [NEWER_THAN_BASH_3_2, ONLY_GNU])
def test_launch_is_written_for_the_shell_and_the_programs_of_macos(patterns):
    text = (ROOT / "launch.sh").read_text()
    for pattern, example in patterns.items():
        assert re.search(pattern, example, re.M), example
        found = re.search(pattern, text, re.M)
        assert not found, f"launch.sh has {found[0]!r}, as {example!r}"


def test_launch_expands_no_array_that_may_be_empty():
    """An empty array counts as unset for `set -u` of bash 3.2."""
    text = (ROOT / "launch.sh").read_text()
    arrays = set(re.findall(r"^\s*(\w+)=\(\)", text, re.M))
    assert arrays == {"pids"}
    filled = text.index("pids+=(")
    assert all(m.start() > filled for m in re.finditer(r'"\$\{pids\[@\]\}"', text))


PYTHON = """#!/bin/sh
if [ "$1 $2" = "-m venv" ]; then
    echo made >>{events}
    sleep {seconds}
    mkdir -p "$3/bin"
    cp {installed} "$3/bin/python"
    exit
fi
exec {python} "$@"
"""
INSTALLED = """#!/bin/sh
if [ "$1 $2" = "-m pip" ]; then
    echo "$@" >>{events}
    exit
fi
exec {python} "$@"
"""


class Launcher:
    """A project whose environment takes a moment to make, and a PATH with little in it."""

    def __init__(self, folder, seconds):
        self.project, self.events = folder / "project", folder / "events"
        (self.project).mkdir()
        (folder / "bin").mkdir()
        for name in ("bash", "cat", "cp", "dirname", "mkdir", "mv", "rm", "sh", "sleep"):
            (folder / "bin" / name).symlink_to(shutil.which(name))
        words = {"events": self.events, "python": sys.executable, "seconds": seconds}
        words["installed"] = folder / "installed"
        for path, text in ((folder / "bin" / "python3", PYTHON), (words["installed"], INSTALLED)):
            path.write_text(text.format(**words))
            path.chmod(0o755)
        for name in ("launch.sh", "pyproject.toml"):
            shutil.copy(ROOT / name, self.project / name)
        (self.project / "told.py").write_text("print('launched')")
        kept = {n: v for n, v in os.environ.items() if n not in ("PYTHON", "EXTRAS")}
        self.environ = {**kept, "PATH": str(folder / "bin")}

    def start(self, **environ):
        return subprocess.Popen(
            ["bash", "launch.sh", "told"],
            cwd=self.project,
            env={**self.environ, **environ},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def told(self):
        return self.events.read_text().splitlines() if self.events.exists() else []


def test_of_two_launches_one_makes_the_environment_without_the_command_flock(tmp_path):
    launcher = Launcher(tmp_path, seconds=1)
    both = [launcher.start(), launcher.start()]
    for process in both:
        out, err = process.communicate(timeout=60)
        assert (process.returncode, out) == (0, "launched\n"), err
    assert launcher.told().count("made") == 1


def test_a_launch_that_was_killed_leaves_no_lock(tmp_path):
    launcher = Launcher(tmp_path, seconds=0.5)
    killed = launcher.start()
    deadline = time.monotonic() + 30
    while not launcher.told() and time.monotonic() < deadline:
        time.sleep(0.02)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.communicate()
    again = launcher.start()
    out, err = again.communicate(timeout=60)
    assert (again.returncode, out) == (0, "launched\n"), err
    assert launcher.told().count("made") == 2


def test_the_lowest_versions_have_an_environment_of_their_own(tmp_path):
    launcher = Launcher(tmp_path, seconds=0)
    for resolution in ("highest", "lowest", "lowest"):
        process = launcher.start(RESOLUTION=resolution, EXTRAS="test,cluster")
        out, err = process.communicate(timeout=60)
        assert (process.returncode, out) == (0, "launched\n"), err
    highest, lowest = (line for line in launcher.told() if line != "made")
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    folders = [launcher.project / ".venv" / f"{version}{end}" for end in ("", "-lowest")]
    for command, folder in zip((highest, lowest), folders, strict=True):
        assert f"--constraint {folder}/constraints.txt" in command
        assert command.endswith(f"--editable {launcher.project}[test,cluster]")
    assert (folders[0] / "constraints.txt").read_text() == ""
    floors = (folders[1] / "constraints.txt").read_text().splitlines()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = project["dependencies"] + project["optional-dependencies"]["test"]
    assert {line.partition("=")[0] for line in floors} == {re.match(r"[\w-]+", x)[0] for x in lines}
    assert all(re.fullmatch(r"[\w-]+==[\d.]+(;.*)?", line) for line in floors)
    assert len(floors) == len({line.partition("=")[0] for line in floors})


def launched(launcher, **environ):
    """What a launch told on its standard error, and the lines of pip since the one before."""
    before = len(launcher.told())
    out, err = launcher.start(**environ).communicate(timeout=60)
    assert out == "launched\n", err
    return err, launcher.told()[before:]


def test_extras_are_added_where_processes_may_run(tmp_path):
    launcher = Launcher(tmp_path, seconds=0)
    launched(launcher)
    (environment,) = (p for p in (launcher.project / ".venv").iterdir() if p.is_dir())
    (environment / "used").touch()
    err, told = launched(launcher, EXTRAS="cluster")
    assert "adding cluster to the environment" in err
    # what is there keeps its version, and the project is not installed again
    assert [line.split()[2] for line in told] == ["freeze", "install"]
    assert f"--constraint {environment}/kept.txt" in told[1]
    assert "--editable" not in told[1]
    asked = (environment / "extras.txt").read_text().splitlines()
    assert [re.match(r"\w+", line)[0] for line in asked] == ["submitit"]
    # both are there now, in any order
    for extras in ("test", "cluster", "cluster,test"):
        assert launched(launcher, EXTRAS=extras) == ("", [])
    assert (environment / "used").exists()


def test_another_environment_takes_the_place_of_one_that_may_be_in_use(tmp_path):
    launcher = Launcher(tmp_path, seconds=0)
    launched(launcher, EXTRAS="test,cluster")
    (old,) = (p for p in (launcher.project / ".venv").iterdir() if p.is_dir())
    text = (launcher.project / "pyproject.toml").read_text()
    (launcher.project / "pyproject.toml").write_text(text + "# changed\n")
    err, told = launched(launcher)
    new = old.with_name(f"{old.name}.2")
    assert f"{old} stays for what runs or is queued with it: delete it when nothing does" in err
    assert told[0] == "made"
    assert told[1].endswith(f"--editable {launcher.project}[test]")
    assert (old / "bin" / "python").exists()
    assert (new / "bin" / "python").exists()
    assert launched(launcher) == ("", [])
    # the remedy works
    shutil.rmtree(old)
    assert launched(launcher) == ("", [])


def test_an_extra_that_is_none_is_refused(tmp_path):
    launcher = Launcher(tmp_path, seconds=0)
    _, err = launcher.start(EXTRAS="test,clustr").communicate(timeout=60)
    assert re.fullmatch(
        r"launch.sh: EXTRAS=clustr: must be among .*cluster, .*test, with commas .*\n", err
    )
    assert launcher.told() == []
    launched(launcher, EXTRAS="test,cluster")


def test_another_resolution_is_refused(tmp_path):
    process = Launcher(tmp_path, seconds=0).start(RESOLUTION="newest")
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert err == "launch.sh: RESOLUTION=newest: must be highest or lowest\n"


def test_extras_for_accelerators_are_those_of_jax():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    offered = importlib.metadata.metadata("jax").get_all("Provides-Extra")
    installed = [int(part) for part in jax.__version__.split(".")[:3]]
    for extra in ("cuda12", "cuda13", "tpu"):
        (line,) = project["optional-dependencies"][extra]
        floor = re.fullmatch(rf"jax\[{extra}\]>=([\d.]+)", line)[1]
        if installed >= [int(part) for part in floor.split(".")]:
            assert extra in offered
