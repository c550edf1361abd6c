"""R2: asked to stop."""

import functools
import signal
import time
from collections.abc import Iterator

from ._lab import LostError, catches, check, each, fault, finish, steps, wait_for
from .kills import PER_RUN, RUN, SMALL, end_and_compare

SECONDS = 10
"""In which a run has saved and left."""


def signalled(lab, tries: int, signum: int) -> Iterator[str | None]:
    """Asks runs to stop at random times, `PER_RUN` times each, and compares what they come to."""
    whole = lab.whole(*RUN)
    left = tries
    while left > 0:
        workdir, num, reason = lab.new(), min(PER_RUN, left), None
        done = 0
        try:
            while done < num and stop(lab, workdir, signum):
                done += 1
            end_and_compare(lab, workdir, whole, RUN)
        except LostError as lost:
            reason, done = f"{lost} ({workdir})", max(1, done)
        # a run that was over before it was asked is no try, and the next one has another moment
        yield from [reason] * done
        left -= done


def stop(lab, workdir, signum: int) -> bool:
    """Asks a run to stop once; whether it was still there to be asked."""
    process = lab.start(workdir, *RUN)
    # before that it is Python that is asked, which has not yet read a line of ours; it listens for
    # SIGINT from its own beginning, and we listen for SIGTERM last
    wait_for(lambda: catches(process, signal.SIGTERM), process)
    time.sleep(lab.generator.uniform(0, 6))
    process.send_signal(signum)
    ended = finish(process)
    if ended.code == 0:
        return False
    check(ended.code == 128 + signum, ended.words)
    check(ended.seconds < SECONDS, f"left after {ended.seconds:.1f} s")
    check("Traceback" not in ended.err, ended.words)
    is_saved = f"interrupted at step {(steps(workdir) or [None])[-1]}, saved" in ended.out
    is_before = "left, nothing was to be saved" in ended.err
    check(is_saved or is_before, f"says {(ended.out + ended.err)[-300:]!r}")
    return True


@fault("R2", "SIGTERM at a random time", tries=20)
def terminated(lab, tries):
    yield from signalled(lab, tries, signal.SIGTERM)


@fault("R2", "Ctrl-C at a random time", tries=20)
def interrupted(lab, tries):
    yield from signalled(lab, tries, signal.SIGINT)


@fault("R2", "SIGTERM and Ctrl-C while nobody reads what is said")
def unheard(lab, tries):
    whole = lab.whole(*RUN)

    def case(signum):
        workdir = lab.new()
        process = lab.start(workdir, *RUN)
        process.stdout.close()
        process.stderr.close()
        wait_for((workdir / "metrics.csv").exists, process)
        process.send_signal(signum)
        code = process.wait(SECONDS)
        check(code == 128 + signum, f"exit code {code}")
        check(bool(steps(workdir)), "nothing was saved")
        end_and_compare(lab, workdir, whole, RUN)

    cases = [functools.partial(case, signum) for signum in (signal.SIGTERM, signal.SIGINT)]
    yield from each(lab, cases[:tries])


@fault("R2", "Ctrl-C twice", tries=5)
def interrupted_twice(lab, tries):
    # a training of which no epoch ends: the first request waits for the end of a chunk
    flags = (*SMALL, "--epochs=100000")

    def case():
        workdir = lab.new()
        process = lab.start(workdir, *flags)
        wait_for((workdir / "metrics.csv").exists, process)
        process.send_signal(signal.SIGINT)
        time.sleep(lab.generator.uniform(0, 0.05))
        process.send_signal(signal.SIGINT)
        ended = finish(process, timeout=3)
        check(ended.code == 130, ended.words)
        check("Traceback" not in ended.err, ended.words)

    yield from each(lab, [case] * tries)
