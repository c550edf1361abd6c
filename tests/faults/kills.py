"""R1 and R3: killed without a word, at any time."""

import contextlib
import functools
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from ._lab import (
    Lab,
    LostError,
    check,
    check_same,
    each,
    fault,
    finish,
    free_port,
    kill,
    programs,
    steps,
    wait_for,
)

SMALL = ("--widths=32", "--latent_dim=4", "--beta=4", "--ema_decay=0.99")
# saves all the time: about half of its time a run is inside one
RUN = (*SMALL, "--epochs=120", "--patience=120", "--checkpoint_seconds=0")
SWEEP = (*SMALL, "--epochs=60", "--checkpoint_seconds=0", "--seed=0,1", "--learning_rate=1e-3,2e-3")
PER_RUN = 5
"""A run is killed so often before it may end, a count."""


def killed(
    lab: Lab, tries: int, flags: tuple[str, ...], moment: Callable, **settings
) -> Iterator[str | None]:
    """Kills runs at moments, `PER_RUN` times each, and compares what they come to.

    Args:
        lab: where.
        tries: how many kills, a count.
        flags: of the run.
        moment: waits, from (lab, process, workdir); whether this is a moment to kill at.
        settings: of `Lab.start`.
    """
    whole = lab.whole(*flags)
    left = tries
    while left > 0:
        workdir, num = lab.new(), min(PER_RUN, left)
        reason = None
        try:
            num = kill_often(lab, workdir, num, flags, moment, settings)
            end_and_compare(lab, workdir, whole, flags)
        except LostError as lost:
            reason = f"{lost} ({workdir})"
        yield from [reason] * num
        left -= max(1, num)


def kill_often(lab, workdir: Path, num: int, flags, moment, settings) -> int:
    """Kills a run `num` times, or until it is done; how often it was hit at such a moment."""
    hits = 0
    for _ in range(4 * num):
        before = [steps(program)[-1:] for program in programs(workdir)]
        process = lab.start(workdir, *flags, **settings)
        is_moment = moment(lab, process, workdir)
        if not kill(process):
            check(process.returncode == 0, f"exit code {process.returncode} before it was killed")
            break
        after = [steps(program)[-1:] for program in programs(workdir)]
        check(before <= after or len(after) > len(before), f"steps {before} became {after}")
        hits += is_moment
        if hits == num:
            break
    return hits


def end_and_compare(lab, workdir: Path, whole: Path, flags, **settings) -> None:
    """Lets a run end: from its newest checkpoint, and as if nothing had happened."""
    newest = [steps(program)[-1] for program in programs(workdir) if steps(program)]
    ended = lab.run(workdir, *flags, **settings)
    check(ended.code == 0, ended.words)
    resumed = [int(step) for step in re.findall(r"resuming at step (\d+)", ended.out)]
    is_complete = "complete already" in ended.out
    check(is_complete or set(resumed) <= set(newest), f"resumed at {resumed}, not {newest}")
    check(is_complete or not newest or bool(resumed), f"began anew, though {newest} was saved")
    check("failed verification" not in ended.out, ended.out[-300:])
    check_same(workdir, whole)


def after(seconds: float) -> Callable:
    """A moment within so many seconds of the start."""

    def wait(lab, process, workdir) -> bool:
        time.sleep(lab.generator.uniform(0, seconds))
        return process.poll() is None

    return wait


def inside_a_save(lab, process, workdir) -> bool:
    """A moment at which a step is half written."""
    folders = [program / "checkpoints" / ".staging" for program in programs(workdir)]

    def staged():
        found = set()
        for folder in folders:
            # it comes and goes with each save
            with contextlib.suppress(FileNotFoundError):
                found |= set(folder.iterdir())
        return found

    known = staged()

    def is_writing():
        return bool(staged() - known)

    if not wait_for(is_writing, process):
        return False
    time.sleep(lab.generator.uniform(0, 0.12))
    return is_writing()


@fault("R1", "kill -9 at a random time of a run", tries=45)
def at_any_time(lab, tries):
    yield from killed(lab, tries, RUN, after(7))


@fault("R1", "kill -9 inside a save", tries=30)
def while_saving(lab, tries):
    yield from killed(lab, tries, RUN, inside_a_save)


@fault("R1", "kill -9 at a random time of a sweep", tries=20)
def in_a_sweep(lab, tries):
    yield from killed(lab, tries, SWEEP, after(8))


@fault("R1", "kill -9 in the first compilation", tries=5)
def while_compiling(lab, tries):
    def moment(lab, process, workdir):
        if not wait_for((workdir / "env.json").exists, process):
            return False
        time.sleep(lab.generator.uniform(0, 1.5))
        return not steps(workdir)

    whole = lab.whole(*RUN)

    def case():
        workdir = lab.new()
        empty = {"JAX_COMPILATION_CACHE_DIR": str(workdir.parent / "compiled")}
        kill_often(lab, workdir, 1, RUN, moment, empty)
        end_and_compare(lab, workdir, whole, RUN)

    yield from each(lab, [case] * tries)


@fault("R1", "kill -9 while it is evaluated and drawn", tries=5)
def while_drawing(lab, tries):
    flags = (*SMALL, "--epochs=20", "--checkpoint_seconds=0")
    whole = lab.whole(*flags, pictures=True)
    last = steps(whole)[-1]

    def case(has_result):
        workdir = lab.new()
        process = lab.start(workdir, *flags, pictures=True)
        wait_for(lambda: steps(workdir)[-1:] == [last], process)
        result = workdir / "result.json"
        if has_result:
            wait_for(result.exists, process)
        time.sleep(lab.generator.uniform(0, 1 if has_result else 3))
        check(kill(process), "it was done before")
        before = result.read_bytes() if result.exists() else None
        end_and_compare(lab, workdir, whole, flags, pictures=True)
        check(before in (None, result.read_bytes()), "the result was computed anew")
        pictures = [sorted((w / "plots").iterdir()) for w in (workdir, whole)]
        names, wanted = ([p.name for p in each] for each in pictures)
        check(names == wanted, f"pictures {names}")
        same = all(a.read_bytes() == b.read_bytes() for a, b in zip(*pictures, strict=True))
        check(same, "pictures differ")
        check(not (workdir / "undrawn.json").exists(), "pictures are still to be drawn")

    yield from each(lab, [functools.partial(case, attempt % 2) for attempt in range(tries)])


@fault("R12", "kill -9 of one of two processes", tries=4)
def one_of_two(lab, tries):
    flags = (*SMALL, "--epochs=40", "--checkpoint_seconds=0", "--seed=0,1")

    def pair(workdir):
        named = {
            "JAX_COORDINATOR_ADDRESS": f"127.0.0.1:{free_port()}",
            "JAX_NUM_PROCESSES": "2",
        }
        return [lab.start(workdir, *flags, JAX_PROCESS_ID=str(i), **named) for i in range(2)]

    def complete(workdir):
        for ended in [finish(process) for process in pair(workdir)]:
            check(ended.code == 0, ended.words)

    whole = lab.new()
    complete(whole)

    def case(victim):
        workdir = lab.new()
        both = pair(workdir)
        program = workdir / "programs" / "all"
        wait_for(lambda: bool(steps(program)), both[0])
        time.sleep(lab.generator.uniform(0, 1))
        kill(both[victim])
        other = finish(both[1 - victim], timeout=60)
        check(other.code not in (0, -6, -11), f"the other ends with {other.code}")
        told = [line for line in other.err.splitlines() if line.startswith("error: another")]
        check(len(told) == 1, f"the other says {other.err[-300:]!r}")
        complete(workdir)
        check_same(workdir, whole)

    yield from each(lab, [functools.partial(case, attempt % 2) for attempt in range(tries)])
