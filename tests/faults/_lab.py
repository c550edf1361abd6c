"""What a fault is, and the real program to try it on."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from vae_jax.storage import members
from vae_jax.storage.checkpoints import Checkpoints

PROJECT = Path(__file__).parents[2]
TIMES = ("wall_seconds", "examples_per_second")
WITHOUT_PICTURES = """
import runpy
from vae_jax.cli import beginning
beginning.begin()
from vae_jax.lab import pictures
pictures.draw = pictures.draw_sweep = lambda *_: []
runpy.run_module("experiments.vae", run_name="__main__", alter_sys=True)
"""
"""The program as `python -m experiments.vae` runs it, without what takes longer than training."""


class LostError(Exception):
    """A fault was not survived; the message says what was lost."""


class SkippedError(Exception):
    """A fault cannot be tried on this machine; the message says why."""


class Fault(NamedTuple):
    """A way to go wrong.

    Attributes:
        row: of the faults that are to be survived, "R1" and so on.
        name: what is done.
        tries: how often, a count; None: as often as there are cases.
        run: from a `Lab` and a count of tries to what each of them lost: None, or the reason.
        alone: whether it measures a time, and nothing may run beside it.
    """

    row: str
    name: str
    tries: int | None
    run: Callable[["Lab", int | None], Iterator[str | None]]
    alone: bool = False


FAULTS: list[Fault] = []
"""In the order in which their modules define them."""


def fault(row: str, name: str, tries: int | None = None, alone: bool = False) -> Callable:
    """Enters a function as a fault, see `Fault`."""

    def enter(run):
        FAULTS.append(Fault(row, name, tries, run, alone))
        return run

    return enter


def each(lab: "Lab", cases) -> Iterator[str | None]:
    """Calls functions; one that raises `LostError` has lost, one that returns has survived."""
    for case in cases:
        try:
            case()
        except LostError as lost:
            yield f"{lost} ({lab.newest})"
        else:
            yield None


def check(is_so: bool, reason: str) -> None:
    """Raises `LostError` unless something is so."""
    if not is_so:
        raise LostError(reason)


class Ended(NamedTuple):
    """How a process ended: its exit code, what it wrote, and how long that took in seconds."""

    code: int
    out: str
    err: str
    seconds: float

    @property
    def words(self) -> str:
        """For the reason of a loss."""
        return f"exit code {self.code}: {self.err.strip()[-300:]}"


class Lab:
    """A folder to try things in, the program, and runs that nothing disturbed.

    Args:
        folder: that exists.
        seed: of every moment that is drawn, a scalar.
    """

    def __init__(self, folder: Path, seed: int):
        self.folder = folder
        self.generator = np.random.default_rng(seed)
        self._num = 0
        self._wholes: dict[tuple, Path] = {}
        self._lock = threading.RLock()

    @property
    def newest(self) -> Path:
        """What `new` gave last."""
        return self.folder / str(self._num) / "run"

    def new(self) -> Path:
        """A path that does not exist, for a run directory."""
        with self._lock:
            self._num += 1
            return self.newest

    def start(
        self, workdir: Path, *flags: str, pictures: bool = False, **environ: str
    ) -> subprocess.Popen:
        """Starts a training in a process of its own; of what it compiles a copy is kept."""
        main = ["-m", "experiments.vae"] if pictures else ["-c", WITHOUT_PICTURES]
        return self.launch([*main, f"--workdir={workdir}", *flags], **environ)

    def launch(self, arguments: list[str], **environ: str | None) -> subprocess.Popen:
        """Starts Python with arguments, in a session of its own; a variable of None is unset."""
        inherited = {n: v for n, v in os.environ.items() if not n.startswith(("JAX_", "XLA_"))}
        own = {
            "JAX_PLATFORMS": "cpu",
            "JAX_COMPILATION_CACHE_DIR": str(self.folder / "compiled"),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        }
        return subprocess.Popen(
            [sys.executable, *arguments],
            cwd=PROJECT,
            env={n: v for n, v in {**inherited, **own, **environ}.items() if v is not None},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(self, workdir: Path, *flags: str, **settings) -> Ended:
        """Trains to the end, whatever that is."""
        return finish(self.start(workdir, *flags, **settings))

    def whole(self, *flags: str, **settings) -> Path:
        """A run with these flags that nothing disturbed, and that compiled for itself."""
        key = (flags, *sorted(settings.items()))
        with self._lock:
            if key not in self._wholes:
                workdir = self.new()
                own = {"JAX_COMPILATION_CACHE_DIR": str(workdir.parent / "compiled")}
                ended = self.run(workdir, *flags, **{**settings, **own})
                check(ended.code == 0, f"the run that nothing disturbs: {ended.words}")
                self._wholes[key] = workdir
            return self._wholes[key]


def finish(process: subprocess.Popen, timeout: float = 300) -> Ended:
    """Waits for the end of a process, for so many seconds at most."""
    start = time.monotonic()
    try:
        out, err = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise LostError(f"does not end within {timeout} s") from None
    return Ended(process.returncode, out, err, time.monotonic() - start)


def kill(process: subprocess.Popen) -> bool:
    """Kills a process without a word to it; whether it was still there."""
    process.kill()
    process.communicate()
    return process.returncode == -signal.SIGKILL


def wait_for(condition: Callable[[], bool], process: subprocess.Popen, timeout=120.0) -> bool:
    """Waits until something is so, or the process ends; whether it is so."""
    deadline = time.monotonic() + timeout
    while not condition():
        if process.poll() is not None:
            return False
        check(time.monotonic() < deadline, f"nothing happens in {timeout:g} s")
        time.sleep(0.001)
    return True


def programs(workdir: Path) -> list[Path]:
    """The programs of a sweep, or the run itself."""
    below = sorted(path.parent for path in workdir.glob("programs/*/config.json"))
    return below or [workdir]


def steps(program: Path) -> list[int]:
    """The steps that a program has saved, ascending."""
    folder = program / "checkpoints"
    names = os.listdir(folder) if folder.is_dir() else []
    return sorted(int(name) for name in names if name.isdigit())


def outcome(workdir: Path) -> dict[str, bytes]:
    """All of a run that must not depend on what happened to it, by name.

    Parameters, optimizer state and averages of the last checkpoint, rows of metrics, results.
    """
    found = {}
    for path in sorted(workdir.rglob("*.csv")):
        if path.name in ("metrics.csv", "sweep.csv", "summary.csv"):
            found[str(path.relative_to(workdir))] = path.read_bytes()
    for program in programs(workdir):
        name = str(program.relative_to(workdir))
        is_sealed = members.read_results(program) is not None
        check(is_sealed or not list(program.glob("result*.json")), "results are not as written")
        for path in program.glob("result*.json"):
            results = json.loads(path.read_text())
            for result in results if isinstance(results, list) else [results]:
                # the seal is over the times too
                for name_of_own in (*TIMES, "seal"):
                    result.pop(name_of_own, None)
            found[f"{name}/{path.name}"] = json.dumps(results, sort_keys=True).encode()
        with Checkpoints(program / "checkpoints", set_aside=False) as store:
            restored = store.read()
        check(restored is not None, "no checkpoint verifies")
        found[f"{name}/step"] = str(restored.step).encode()
        for path, leaf in jax.tree_util.tree_leaves_with_path(restored.state):
            found[f"{name}{jax.tree_util.keystr(path)}"] = np.asarray(leaf).tobytes()
    return found


def check_same(workdir: Path, whole: Path) -> None:
    """Raises `LostError` unless two runs have left the same, bit by bit."""
    found, wanted = outcome(workdir), outcome(whole)
    check(found.keys() == wanted.keys(), f"leaves {sorted(found.keys() ^ wanted.keys())[:3]}")
    differing = [name for name in wanted if found[name] != wanted[name]]
    check(not differing, f"{', '.join(differing[:3])} differ from the undisturbed run's")


def check_refused(ended: Ended, codes: tuple[int, ...], *, words: str = "") -> None:
    """Raises `LostError` unless a process ended with one of the codes and a line that says why."""
    check(ended.code in codes, f"exit code {ended.code}, not {codes}: {ended.err.strip()[-300:]}")
    # a busy machine may make a command say what it is doing
    lines = [line for line in ended.err.strip().splitlines() if not line.endswith(" so far")]
    check(len(lines) == 1, f"{len(lines)} lines on stderr: {ended.err.strip()[:300]}")
    check(lines[0].startswith("error: "), f"no message: {lines[0][:200]}")
    check(words in lines[0], f"says nothing of {words!r}: {lines[0][:300]}")


def catches(process: subprocess.Popen, signum: int) -> bool:
    """Whether a process has begun to listen for a signal, where the system tells."""
    try:
        lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    except FileNotFoundError:
        return True
    mask = next((line.split()[1] for line in lines if line.startswith("SigCgt:")), "0")
    return bool(int(mask, 16) >> signum - 1 & 1)


def free_port() -> int:
    """A port of this machine that is free now."""
    with socket.socket() as own:
        own.bind(("127.0.0.1", 0))
        return own.getsockname()[1]
