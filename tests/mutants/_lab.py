"""What a planted fault is, and copies of the checkout to plant it in."""

import contextlib
import functools
import json
import os
import queue
import secrets
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from vae_jax import cache

from . import _witness

PROJECT = Path(__file__).parents[2]
LIMIT_SHARE, LIMIT_LEAST = 5, 120.0
"""A fault may take so many times as long as its tests take without one, and so many seconds."""


class Fault(NamedTuple):
    """A mistake that somebody could make in a file.

    Attributes:
        file: below the project.
        text: what is replaced; it stands in the file once.
        replacement: what takes its place.
        what: the fault in words.
        tests: files of default tests that concern the module, those that are likely to see it
            first; "losses" is tests/test_losses.py.
    """

    file: str
    text: str
    replacement: str
    what: str
    tests: tuple[str, ...]

    @property
    def module(self) -> str:
        """As a user of --only names it: "losses", "objectives.swae", "vae_jax.lab.train"."""
        return self.imported.removeprefix("vae_jax.")

    @property
    def imported(self) -> str:
        """As Python names the module."""
        return self.file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")

    def plant(self, source: str) -> str:
        """The file's text with the fault.

        Raises:
            ValueError: the text does not stand there exactly once.
        """
        num = source.count(self.text)
        if num != 1:
            raise ValueError(f"{self.file}: {self.text!r} stands there {num} times: must be once")
        return source.replace(self.text, self.replacement)


FAULTS: list[Fault] = []
"""In the order in which the modules of this package define them."""


def of(file: str, *tests: str) -> Callable[[str, str, str], None]:
    """A function that enters the faults of a file, see `Fault`: (text, replacement, what)."""

    def enter(text: str, replacement: str, what: str) -> None:
        FAULTS.append(Fault(file, text, replacement, what, tests))

    return enter


def path_of(test: str) -> str:
    """The file of tests that a fault names, below the project."""
    return f"tests/test_{test}.py"


class Ended(NamedTuple):
    """How a run of tests ended.

    Attributes:
        code: of pytest: 0 passed, 1 a test failed, others: something else went wrong; None: the
            time was over.
        failed: the tests that failed.
        files: module → the file that was imported.
        seconds: that it took.
        output: what pytest printed.
    """

    code: int | None
    failed: list[str]
    files: dict[str, str]
    seconds: float
    output: str


class Lab:
    """Copies of the checkout, in which tests run with and without a fault.

    The working tree is never changed. Bytecode is neither written nor copied, for Python takes it
    by the second and the size of the source. What JAX compiles without a fault is kept for all runs
    by its content: a program that a fault changes is compiled anew. All else that is cached is a
    run's own.

    Args:
        folder: that exists.
        num_copies: how many runs go on side by side.
    """

    def __init__(self, folder: Path, num_copies: int = 1):
        self._folder = folder = folder.resolve()
        self._kept = folder / "kept"
        (self._kept / "compiled").mkdir(parents=True, mode=0o700)
        # all runs seal and read what is kept by one key
        with open(os.open(self._kept / "key", os.O_WRONLY | os.O_CREAT, 0o600), "wb") as file:
            file.write(secrets.token_bytes(cache.CODE_BYTES))
        self._copies: queue.Queue[Path] = queue.Queue()
        for number in range(num_copies):
            self._copies.put(copy_of_checkout(folder / f"copy{number}"))
        self._running: set[subprocess.Popen] = set()
        self._num_runs = 0
        self._lock = threading.Lock()

    def attempt(self, fault: Fault, limit: float, likely: Sequence[str] = ()) -> Ended:
        """Runs the tests of a fault with the fault, for so many seconds at most.

        Args:
            fault: what is planted.
            limit: in seconds.
            likely: tests that saw it before, as pytest names them: the others run if these pass.

        Raises:
            RuntimeError: what was tested is not the copy with the fault.
        """
        with self._copy() as copy, _planted(copy, fault):
            ended = self._run(copy, likely, limit) if likely else None
            if ended is None or ended.code != 1:
                ended = self._run(copy, [path_of(test) for test in fault.tests], limit)
            self._check(copy, fault, ended.files)
            return ended

    def baseline(self, test: str) -> Ended:
        """Runs a file of tests without a fault."""
        with self._copy() as copy:
            return self._run(copy, [path_of(test)], None, keeps=True)

    def _check(self, copy: Path, fault: Fault, files: dict[str, str]) -> None:
        """That what was tested is the copy, with the fault; tests may import files of their own."""
        for file in files.values():
            if not Path(file).is_relative_to(self._folder):
                raise RuntimeError(f"{file} was imported, which does not lie in {copy}")
        if files and files.get(fault.imported) != str(copy / fault.file):
            raise RuntimeError(f"no test of {', '.join(fault.tests)} imports {fault.file}")

    def stop(self) -> None:
        """Ends the runs that go on."""
        for process in [*self._running]:
            _kill(process)

    @contextlib.contextmanager
    def _copy(self) -> Iterator[Path]:
        copy = self._copies.get()
        try:
            yield copy
        finally:
            self._copies.put(copy)

    def _home(self) -> Path:
        """A folder for what a run caches, with the compiled programs of all runs in it."""
        with self._lock:
            self._num_runs += 1
            home = self._folder / f"run{self._num_runs}"
        home.mkdir(mode=0o700)
        with self._lock:
            shutil.copytree(self._kept, home / "vae_jax", copy_function=os.link)
        return home

    def _keep(self, cached: Path) -> None:
        """Keeps for later runs what a run has compiled."""
        with self._lock:
            for path in (cached / "compiled").rglob("*"):
                target = self._kept / path.relative_to(cached)
                if path.is_dir():
                    target.mkdir(exist_ok=True, mode=0o700)
                elif path.is_file() and not target.exists():
                    os.link(path, target)

    def _run(
        self, copy: Path, paths: Sequence[str], limit: float | None, keeps: bool = False
    ) -> Ended:
        home = self._home()
        witness = home / "witness.json"
        # real data may be absent elsewhere, where the tests are to see as much
        environ = {n: v for n, v in os.environ.items() if n != "VAE_JAX_DATA_DIR"}
        environ |= {
            "PYTHONPATH": str(copy),
            "PYTHONDONTWRITEBYTECODE": "1",
            "XDG_CACHE_HOME": str(home),
            "TMPDIR": str(home),
            _witness.FILE: str(witness),
        }
        plugins = ["-p", "no:cacheprovider", "-p", f"{__package__}._witness"]
        start = time.monotonic()
        with (home / "output").open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "pytest", "-x", "-q", "-n", "0", *plugins, *paths],
                cwd=copy,
                env=environ,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._running.add(process)
        try:
            code = process.wait(limit)
        except subprocess.TimeoutExpired:
            _kill(process)
            code = None
        finally:
            self._running.discard(process)
        seconds = time.monotonic() - start
        told = (home / "output").read_text(errors="replace")
        seen = json.loads(witness.read_text()) if witness.exists() else {"failed": [], "files": {}}
        if keeps:
            self._keep(home / "vae_jax")
        shutil.rmtree(home, ignore_errors=True)
        return Ended(code, seen["failed"], seen["files"], seconds, told)


def _kill(process: subprocess.Popen) -> None:
    """Ends a run of tests that goes on, and all that it has started."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@contextlib.contextmanager
def _planted(copy: Path, fault: Fault) -> Iterator[None]:
    """Has a fault in a copy, and takes it out again."""
    path = copy / fault.file
    sound = path.read_text()
    path.write_text(fault.plant(sound))
    try:
        yield
    finally:
        path.write_text(sound)


@functools.cache
def _files_of_checkout() -> tuple[str, ...]:
    """All files of the working tree but those that git ignores."""
    command = ["git", "-C", str(PROJECT), "ls-files", "-z", "-c", "-o", "--exclude-standard"]
    listed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return tuple(name for name in listed.split("\0") if name and (PROJECT / name).is_file())


def copy_of_checkout(folder: Path) -> Path:
    """Copies the files of the working tree to a new folder, and returns it."""
    for name in _files_of_checkout():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(PROJECT / name, folder / name)
    return folder
