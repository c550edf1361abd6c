"""Work in a separate process, which takes turns on request; imports nothing slow."""

import contextlib
import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).parents[2]
"""Working directory of processes, so that they find this package."""


class WorkerError(Exception):
    """A process that cannot do its work; the message says why."""


@contextlib.contextmanager
def worker(
    call: str,
    settings: list,
    *,
    env: Mapping[str, str] | None = None,
    patience: float = 600.0,
    is_silent: bool = False,
) -> Iterator[Callable[[], float]]:
    """Starts a process that serves turns, see `serve`.

    Args:
        call: a module of this package and its function without arguments, as "module.function".
        settings: what the process reads with `settings`; passed as JSON.
        env: environment variables to set.
        patience: time limit for preparation, or for a turn, in seconds.
        is_silent: whether its standard error is dropped.

    Yields:
        A work function: it requests a turn of the process and waits for the number of units.

    Raises:
        WorkerError: the process fails, or takes too long.
    """
    module = call.partition(".")[0]
    process = subprocess.Popen(
        [
            sys.executable,
            "-c",
            f"from experiments.benchmark import {module}; {call}()",
            json.dumps(settings),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL if is_silent else None,
        text=True,
        cwd=ROOT,
        env={**os.environ, **(env or {})},
        start_new_session=True,  # it ends with its input, not by a signal in the middle of a turn
    )

    def turn() -> float:
        with contextlib.suppress(BrokenPipeError):  # the answer, or its absence, tells more
            print(file=process.stdin, flush=True)
        return float(_answer(process, patience))

    with process:
        try:
            _answer(process, patience)
            yield turn
        except BaseException:
            _kill(process)
            raise
        finally:
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()


def _answer(process: subprocess.Popen, patience: float) -> str:
    """The next line of a process's output."""
    if not select.select([process.stdout], [], [], patience)[0]:
        raise WorkerError(f"took more than {patience:g} s")
    line = process.stdout.readline().strip()
    if not line:
        raise WorkerError(f"its process ended with exit code {process.wait()}")
    if line.startswith("failed: "):
        raise WorkerError(line.removeprefix("failed: "))
    return line


def _kill(process: subprocess.Popen) -> None:
    """Ends a process and its subprocesses."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, 9)


def settings() -> list:
    """In the process of a `worker`: its settings."""
    return json.loads(sys.argv[1])


def serve(make_turn: Callable[[], Callable[[], float]]) -> None:
    """The process of a `worker`: prepares at once, then does one turn per line of input.

    Args:
        make_turn: prepares, including compilation, and returns the work function.
    """
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # output of libraries is not an answer
    try:
        turn = make_turn()
    except Exception as error:
        words = " ".join(f"{type(error).__name__}: {error}".split())
        print(f"failed: {words[:200]}", file=answers, flush=True)
        return
    print("ready", file=answers, flush=True)
    for _ in sys.stdin:
        print(turn(), file=answers, flush=True)


def repeat(
    step: Callable[[], object],
    seconds: float,
    finish: Callable[[], object] = lambda: None,
    units: float = 1,
) -> Callable[[], float]:
    """A work function that repeats a step.

    Args:
        step: does the step once.
        seconds: minimum duration of a call of the work.
        finish: waits for asynchronous steps.
        units: number of units per step.
    """

    def turn() -> float:
        done, start = 0, time.perf_counter()
        while not done or time.perf_counter() - start < seconds:
            step()
            done += 1
        finish()
        return done * units

    return turn
