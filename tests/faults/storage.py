"""R4, R5 and R6: a disk that is full, files that are not what they were."""

import contextlib
import functools
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ._lab import (
    SkippedError,
    check,
    check_refused,
    check_same,
    each,
    fault,
    finish,
    steps,
    wait_for,
)
from .kills import SMALL

LEFT = (0, 2**14, 2**17, 2**20)
"""What is left of the disk when it fills up, in bytes."""
LONG = (*SMALL, "--epochs=60", "--checkpoint_seconds=0.2")


@contextlib.contextmanager
def small_disk(folder: Path, num_bytes: int) -> Iterator[Path]:
    """A disk of so many bytes."""
    mount = folder / "disk"
    mount.mkdir(parents=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={num_bytes}", "tmpfs", str(mount)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True).returncode:
        raise SkippedError("a small tmpfs is mounted by root only")
    try:
        yield mount
    finally:
        subprocess.run(["umount", "-l", str(mount)], check=True)


def fill(disk: Path, left: int) -> Path:
    """Takes all but so many bytes of a disk."""
    filler = disk / "filler"
    with open(filler, "wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(2**16))
    # what is written while this is done takes of the room that is left
    size = filler.stat().st_size
    with open(filler, "r+b") as file:
        file.truncate(max(0, size - left))
    return filler


def run_full(lab, flags, left: int, moment, *, pictures: bool) -> None:
    """Fills the disk under a run at a moment, frees it, and lets the run end."""
    whole = lab.whole(*flags, pictures=pictures)
    with small_disk(lab.new().parent, 2**26) as disk:
        workdir = disk / "run"
        process = lab.start(workdir, *flags, pictures=pictures)
        wait_for(lambda: moment(workdir), process)
        filler = fill(disk, left)
        ended = finish(process)
        if ended.code == 0:
            # so much was enough
            check(left > 0, "nothing could be written, and it says that all went well")
        else:
            check_refused(ended, (5,))
            check(re.search(r"\d+( bytes)? .*free", ended.err) is not None, ended.words)
        newest = steps(workdir)[-1]
        filler.unlink()
        again = lab.run(workdir, *flags, pictures=pictures)
        check(again.code == 0, again.words)
        told = (f"resuming at step {newest}", "complete already")
        is_resumed = any(words in again.out for words in told)
        check(ended.code == 0 or is_resumed, f"does not resume at {newest}: {again.out[-300:]}")
        check_same(workdir, whole)
        check(not (workdir / "undrawn.json").exists(), "pictures are still to be drawn")


@fault("R4", "the disk is full while it trains and saves")
def full_while_training(lab, tries):
    def moment(workdir):
        return len(steps(workdir)) == 2

    run = functools.partial(run_full, lab, LONG, moment=moment, pictures=False)
    cases = (functools.partial(run, left=left) for left in LEFT[:tries])
    yield from each(lab, cases)


@fault("R4", "the disk is full when results and pictures are written")
def full_while_drawing(lab, tries):
    flags = (*SMALL, "--epochs=20", "--checkpoint_seconds=0.2")
    last = steps(lab.whole(*flags, pictures=True))[-1]

    def moment(workdir):
        return steps(workdir)[-1:] == [last]

    run = functools.partial(run_full, lab, flags, moment=moment, pictures=True)
    cases = (functools.partial(run, left=left) for left in LEFT[:tries])
    yield from each(lab, cases)


@fault("R4", "the disk is too small from the beginning")
def full_from_the_start(lab, tries):
    def case(num_bytes):
        with small_disk(lab.new().parent, num_bytes) as disk:
            ended = lab.run(disk / "run", *SMALL, "--epochs=2")
            check_refused(ended, (5,), words="bytes")
            check(not (disk / "run").exists(), "leaves a directory")

    cases = (functools.partial(case, size) for size in (2**16, 2**20, 2**22, 2**23)[:tries])
    yield from each(lab, cases)


def delete(content: bytes) -> None:
    """No file at all."""
    del content


def empty(content: bytes) -> bytes:
    """A file of no bytes."""
    del content
    return b""


def truncate(content: bytes) -> bytes:
    """The first half of a file."""
    return content[: len(content) // 2]


def flip(share: float):
    """A file of which one bit is another, at that share of its length."""

    def injure(content: bytes) -> bytes:
        at = min(int(share * 8 * len(content)), 8 * len(content) - 1)
        changed = bytearray(content)
        changed[at // 8] ^= 1 << at % 8
        return bytes(changed)

    return injure


@fault("R5", "each file of a checkpoint deleted, emptied, cut off, and with a bit flipped thrice")
def injured(lab, tries):
    flags = (*SMALL, "--epochs=12", "--checkpoint_seconds=0")
    whole = lab.whole(*flags)
    earlier, last = steps(whole)
    files = sorted(p for p in (whole / "checkpoints" / str(last)).rglob("*") if p.is_file())
    flips = [flip(share) for share in lab.generator.uniform(size=3)]
    names = ("deleted", "emptied", "cut off", *["a bit flipped"] * 3)
    injuries = zip(names, (delete, empty, truncate, *flips), strict=True)

    def case(path, name, injure):
        workdir = lab.new()
        shutil.copytree(whole, workdir)
        (workdir / "result.json").unlink()
        injured = workdir / path.relative_to(whole)
        content = injure(injured.read_bytes())
        injured.unlink() if content is None else injured.write_bytes(content)
        ended = lab.run(workdir, *flags)
        check(ended.code == 0, f"{injured.name} {name}: {ended.words}")
        lines = [x for x in ended.out.splitlines() if f"checkpoint {last} failed verif" in x]
        check(len(lines) == 1, f"{injured.name} {name}: {len(lines)} warnings")
        check(f"resuming from {earlier}, " in lines[0], lines[0])
        check_same(workdir, whole)
        shutil.rmtree(workdir)

    cases = [functools.partial(case, p, *injury) for injury in injuries for p in files]
    yield from each(lab, cases[:tries])


@fault("R6", "the data file is changed between a run and its continuation")
def changed_data(lab, tries):
    def case(change):
        workdir = lab.new()
        workdir.parent.mkdir(parents=True)
        path = workdir.parent / "rows.npy"
        x = np.random.default_rng(0).normal(size=(300, 6)).astype(np.float32)
        np.save(path, x)
        # a rate that is no share of the epochs, of which the second run has more
        flags = (f"--dataset={path}", "--learning_rate=1e-3", *SMALL)
        before = lab.run(workdir, *flags, "--epochs=2")
        check(before.code == 0, before.words)
        change(path, x)
        ended = lab.run(workdir, *flags, "--epochs=4")
        check_refused(ended, (3,))
        is_damaged = change is cut
        num = len(set(re.findall(r"\b[0-9a-f]{64}\b", ended.err)))
        check(is_damaged or num == 2, f"names {num} hashes: {ended.err.strip()[-300:]}")
        check(len(steps(workdir)) > 0, "lost its checkpoints")

    def cut(path, x):
        path.write_bytes(path.read_bytes()[:-100])

    def flipped(path, x):
        path.write_bytes(flip(0.7)(path.read_bytes()))

    def swapped(path, x):
        np.save(path, x[::-1])

    cases = (functools.partial(case, change) for change in (cut, flipped, swapped)[:tries])
    yield from each(lab, cases)
