"""`experiments.vae`, which leaves when it has trained so many steps, and says what memory it took.

The command is the one that users give; only the loop of its training is watched.
"""

import os
import runpy
from collections.abc import Callable
from pathlib import Path

HIGH_WATER = "VmHWM:"


def peak_bytes() -> int:
    """The most memory that this program has had in use, in bytes.

    Not `getrusage`, whose peak is that of the parent where this is larger.
    """
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(HIGH_WATER))


def after(num_steps: int) -> None:
    """Trains with the flags of this process and ends it, saying its peak of memory.

    Args:
        num_steps: after which it leaves, a count.
    """
    from vae_jax import training

    training.train_until = watched(training.train_until, num_steps)
    runpy.run_module("experiments.vae", run_name="__main__")


def watched(train_until: Callable, num_steps: int) -> Callable:
    """`training.train_until`, which ends the process at a step (a count)."""

    def run(*arguments, **settings):
        for step, state in train_until(*arguments, **settings):
            if step >= num_steps:
                leave()
            yield step, state

    return run


def leave() -> None:
    """Says the peak of memory and ends the process at once, without cleaning up."""
    print(peak_bytes(), flush=True)
    os._exit(0)
