"""R22: whatever a name in a run directory or a cache links to, nothing outside of it is written."""

import contextlib
import functools
import itertools
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from ._lab import Ended, Lab, check, check_refused, each, fault, finish, steps
from .caches import OWN_CACHE

# a rate that is no share of the epochs, of which the second command has more
RUN = ("--widths=16", "--latent_dim=2", "--learning_rate=1e-3", "--checkpoint_seconds=0")
SWEEP = (*RUN, "--epochs=2", "--seed=0,1", "--runs_per_program=1")
WORKERS = ("--executor=local", "--num_workers=2")


class Victim:
    """A folder that is somebody else's, with two files and a folder.

    Args:
        folder: that does not exist.
        content: of each file.
    """

    def __init__(self, folder: Path, content: bytes = b"theirs\n"):
        self.folder, self.file, self.inner = folder, folder / "file", folder / "inner"
        self.inner.mkdir(parents=True)
        for path in (self.file, self.inner / "file"):
            path.write_bytes(content)
        self._before = self._look()

    def _look(self) -> dict[Path, tuple]:
        """Content, mode and time of all: the time of a folder tells what was made and removed."""
        found = {}
        for path in (self.folder, *sorted(self.folder.rglob("*"))):
            status = path.lstat()
            content = path.read_bytes() if path.is_file() else None
            found[path] = (status.st_mode, status.st_uid, status.st_mtime_ns, content)
        return found

    def check(self, told: str) -> None:
        """Raises `LostError` unless all of it is as it was."""
        after = self._look()
        changed = [p for p in self._before.keys() | after if self._before.get(p) != after.get(p)]
        check(not changed, f"{told}: changes outside of the run {sorted(map(str, changed))[:3]}")


def check_ended(ended: Ended, told: str) -> None:
    """Raises `LostError` unless a command ended well, or in one line."""
    check("Traceback" not in ended.err, f"{told}: {ended.words}")
    if ended.code:
        check_refused(ended, (2, 3, 5, 6, 7))


def put(path: Path, link: Callable[[Path, Path], None], target: Path) -> None:
    """Has a name link to a target, whatever had the name."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    link(target, path)


def copy_of(whole: Path, workdir: Path) -> None:
    """A copy of a run that has something left to do."""
    shutil.copytree(whole, workdir)
    (workdir / "result.json").unlink(missing_ok=True)


def use(lab: Lab, workdir: Path, victim: Victim, told: str, *, pictures: bool = False) -> None:
    """Trains a run further and evaluates it, and looks after the victim each time."""
    ended = lab.run(workdir, *RUN, "--epochs=3", pictures=pictures)
    victim.check(f"{told}, vae")
    check_ended(ended, f"{told}, vae")
    arguments = [f"--run={workdir}", "--metrics=objective"]
    ended = finish(lab.launch(["-m", "experiments.evaluate", *arguments]))
    victim.check(f"{told}, evaluate")
    check_ended(ended, f"{told}, evaluate")


FILES = (
    *("lock", "run.log", "metrics.csv", "config.json", "result.json", "command.txt", "env.json"),
    *("members.json", "undrawn.json", "measured.json"),
    *("evaluation/lock", "evaluation/member-0.json", "evaluation/unfinished.jsonl"),
    *(".result.json.tmp", ".config.json.tmp", ".metrics.csv.tmp"),
    *("checkpoints/LAST/manifest.json", "checkpoints/LAST/state/_METADATA"),
)
"""Files of a run, LAST being its newest step."""


def linked_file(lab: Lab, whole: Path, name: str, link: Callable, *, is_copy: bool) -> None:
    """A file of a run is a link to a file outside, which holds the same if it is a copy."""
    workdir = lab.new()
    copy_of(whole, workdir)
    path = workdir / name.replace("LAST", str(steps(workdir)[-1]))
    same = path.read_bytes() if is_copy and path.is_file() else b"theirs\n"
    victim = Victim(workdir.parent / "victim", same)
    put(path, link, victim.file)
    use(lab, workdir, victim, f"{name} {'copied' if is_copy else 'replaced'}")


@fault("R22", "hard links from each file of a run to a file outside; trained further, evaluated")
def hard_links(lab, tries):
    whole = lab.whole(*RUN, "--epochs=2")
    # as `cp -al` copies a run, and as somebody who means harm
    cases = [
        functools.partial(linked_file, lab, whole, name, os.link, is_copy=number % 2 == 0)
        for number, name in enumerate(FILES)
    ]
    yield from each(lab, cases[:tries])


@fault("R22", "symbolic links from each file of a run to a file outside")
def symbolic_links(lab, tries):
    whole = lab.whole(*RUN, "--epochs=2")
    cases = [
        functools.partial(linked_file, lab, whole, name, _symbolic, is_copy=number % 2 == 1)
        for number, name in enumerate(FILES)
    ]
    yield from each(lab, cases[:tries])


def _symbolic(target: Path, path: Path) -> None:
    path.symlink_to(target)


FOLDERS = ("plots", "evaluation", "checkpoints", "checkpoints/.staging", "damaged", "tensorboard")


@fault("R22", "symbolic links in place of the folders of a run")
def folders_of_a_run(lab, tries):
    whole = lab.whole(*RUN, "--epochs=2")

    def case(name):
        workdir = lab.new()
        copy_of(whole, workdir)
        victim = Victim(workdir.parent / "victim")
        if name == "damaged":
            # so that something is to be set aside
            for path in (workdir / "checkpoints").glob("*/manifest.json"):
                path.write_bytes(b"{}")
        put(workdir / name, _symbolic, victim.inner)
        use(lab, workdir, victim, name, pictures=name == "plots")

    yield from each(lab, [functools.partial(case, name) for name in FOLDERS][:tries])


OF_SWEEPS = (
    *("logs", "plots", "programs", "evaluation", "programs/NAME", "programs/NAME.json"),
    *("logs/NAME.out", "sweep.csv", ".sweep.csv.tmp", "best.json", "jobs.json", ".jobs.json.tmp"),
)
"""What of a sweep is a link; NAME is one of its programs."""


@fault("R22", "links in place of the files and folders of a sweep that workers train")
def parts_of_a_sweep(lab, tries):
    whole = lab.whole(*SWEEP)
    program = sorted((whole / "programs").glob("*/"))[0].name

    def case(name):
        workdir = lab.new()
        shutil.copytree(whole, workdir)
        for path in workdir.glob("programs/*/result.json"):
            path.unlink()
        victim = Victim(workdir.parent / "victim")
        path = workdir / name.replace("NAME", program)
        is_folder = path.is_dir() or path.name in ("logs", "plots", "evaluation")
        put(path, _symbolic, victim.inner if is_folder else victim.file)
        ended = lab.run(workdir, *SWEEP, *WORKERS)
        victim.check(name)
        check_ended(ended, name)

    yield from each(lab, [functools.partial(case, name) for name in OF_SWEEPS][:tries])


RACED = ("plots", "evaluation", "checkpoints", "checkpoints/.staging", "damaged")
"""Folders that become links while the program writes.

Not the run directory itself: links that lead there are followed, whoever put them.
"""


@contextlib.contextmanager
def racing(folder: Path, target: Path) -> Iterator[None]:
    """A folder becomes a link to another and a folder again, as often as that can be."""
    is_over = threading.Event()
    aside = folder.with_name(f".{folder.name}-aside")

    def swap():
        for number in itertools.count():
            if is_over.is_set():
                break
            with contextlib.suppress(OSError):
                folder.rename(aside)
                folder.symlink_to(target)
                time.sleep((number % 7) * 1e-3)
                folder.unlink()
                aside.rename(folder)
            with contextlib.suppress(OSError):
                if aside.is_dir() and not folder.exists():
                    aside.rename(folder)
            time.sleep((number % 5) * 2e-3)

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


@fault("R22", "a race: a folder becomes a link while the program writes in it", tries=10)
def races(lab, tries):
    whole = lab.whole(*RUN, "--epochs=2")

    def case(name):
        workdir = lab.new()
        copy_of(whole, workdir)
        victim = Victim(workdir.parent / "victim")
        folder = workdir / name
        folder.mkdir(exist_ok=True)
        with racing(folder, victim.inner):
            ended = lab.run(workdir, *RUN, "--epochs=12", pictures=name == "plots")
            victim.check(f"{name}, vae")
            check("Traceback" not in ended.err, f"{name}: {ended.words}")
            arguments = [f"--run={workdir}", "--metrics=objective"]
            measured = finish(lab.launch(["-m", "experiments.evaluate", *arguments]))
        victim.check(f"{name}, evaluate")
        for each_one in (ended, measured):
            check_ended(each_one, name)

    order = itertools.islice(itertools.cycle(RACED), tries or 0)
    yield from each(lab, [functools.partial(case, name) for name in order])


@fault("R22", "links from the cache of compiled programs and its key to files outside")
def caches(lab, tries):
    home = lab.new()
    first = lab.run(lab.new(), *RUN, "--epochs=1", XDG_CACHE_HOME=str(home), **OWN_CACHE)
    check(first.code == 0, first.words)

    def case(name, link):
        copy = lab.new()
        shutil.copytree(home, copy)
        victim = Victim(copy.parent / "victim")
        entries = sorted((copy / "vae_jax" / "compiled").glob("*/*-cache"))
        paths = {
            "entries": entries,
            "key": [copy / "vae_jax" / "key"],
            "compiled": [copy / "vae_jax" / "compiled"],
            "cache": [copy / "vae_jax"],
        }
        for path in paths[name]:
            put(path, link, victim.inner if name in ("compiled", "cache") else victim.file)
        own = {"XDG_CACHE_HOME": str(copy), **OWN_CACHE}
        ended = lab.run(lab.new(), *RUN, "--epochs=1", **own)
        victim.check(name)
        check(ended.code == 0, f"{name}: {ended.words}")

    links = (("entries", os.link), ("key", os.link), *((n, _symbolic) for n in CACHED))
    yield from each(lab, [functools.partial(case, *pair) for pair in links][:tries])


CACHED = ("entries", "key", "compiled", "cache")
