"""Programs that are started afresh, to see how long that takes and what memory they need."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from experiments.benchmark import leaving
from experiments.benchmark.workers import ROOT

MODULE = leaving.__name__
ONLY_JAX = f"import jax; from {MODULE} import leave; leave()"
ONLY_IMPORTS = f"from experiments import cli, sweep; from {MODULE} import leave; leave()"


def start(program: str, arguments: Sequence[str] = ()) -> int:
    """Runs a program in a fresh interpreter to its end.

    Args:
        program: Python, which ends with `leaving.leave`.
        arguments: of the command line.

    Returns:
        The peak of its memory in bytes.

    Raises:
        RuntimeError: it failed, with what it said.
    """
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], cwd=ROOT, capture_output=True, text=True
    )
    if done.returncode:
        raise RuntimeError(f"a program that is measured failed: {done.stderr[-2000:]}")
    return int(done.stdout.split()[-1])


def train(num_steps: int, folder: Path, *flags: str) -> int:
    """Runs `experiments.vae` in a fresh interpreter until it has done so many steps (a count).

    Args:
        num_steps: after which it leaves.
        folder: for the run's directory; emptied of an earlier one.
        flags: of the command.

    Returns:
        The peak of its memory in bytes.
    """
    program = f"from {MODULE} import after; after({num_steps})"
    return start(program, [*flags, f"--workdir={folder / 'run'}", "--overwrite"])
