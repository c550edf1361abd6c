"""Programs in fresh interpreters: how long they take to start, and what memory they need.

A measured process ends itself, by `leave`, and says its peak of memory. The training is that of
the command `experiments.vae`; only its loop is watched, so that it ends at a given step. Beside it
stands the least that a program with Flax and Optax needs.
"""

import json
import os
import runpy
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from experiments.benchmark.architecture import Architecture
from experiments.benchmark.workers import ROOT
from vae_jax.cli import beginning, garbage_collection
from vae_jax.devices import hardware

ONLY_JAX = f"import jax; from {__name__} import leave; leave()"
ONLY_IMPORTS = f"""\
from vae_jax.cli import garbage_collection
with garbage_collection.paused():
    from vae_jax.cli import command as cli
from vae_jax.lab import sweep
from {__name__} import leave; leave()"""

PLAIN_FLAX = f"from {__name__} import serve_plain_flax; serve_plain_flax()"


def start(
    program: str, arguments: Sequence[str] = (), environ: Mapping[str, str] | None = None
) -> int:
    """Runs a program in a fresh interpreter to its end.

    Args:
        program: Python, which ends with `leave`.
        arguments: of the command line.
        environ: variables to set.

    Returns:
        The peak of its memory in bytes.

    Raises:
        RuntimeError: it failed, with what it said.
    """
    # modules are compiled once, as a user's are, also where tests ask Python to leave no files
    inherited = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={**inherited, **(environ or {})},
    )
    if done.returncode:
        raise RuntimeError(f"a program that is measured failed: {done.stderr[-2000:]}")
    return int(done.stdout.split()[-1])


def train(
    num_steps: int, folder: Path, *flags: str, environ: Mapping[str, str] | None = None
) -> int:
    """Runs `experiments.vae` in a fresh interpreter until it has done so many steps (a count).

    Args:
        num_steps: after which it leaves.
        folder: for the run's directory; emptied of an earlier one.
        flags: of the command.
        environ: variables to set.

    Returns:
        The peak of its memory in bytes.
    """
    program = f"from {__name__} import leave_after; leave_after({num_steps})"
    return start(program, [*flags, f"--workdir={folder / 'run'}", "--overwrite"], environ)


def train_plain_flax(
    num_steps: int,
    sizes: Architecture,
    path: Path | None = None,
    environ: Mapping[str, str] | None = None,
) -> int:
    """Trains a VAE as one writes it in plain Flax, in a fresh interpreter.

    Args:
        num_steps: after which it leaves, a count.
        sizes: of model and batch.
        path: of an .npz file with uint8 images `train` [N, H, W, C]; None trains on black ones.
        environ: variables to set.

    Returns:
        The peak of its memory in bytes.
    """
    return start(PLAIN_FLAX, [json.dumps([num_steps, sizes, path and str(path)])], environ)


def serve_plain_flax() -> None:
    """Does what `train_plain_flax` asks of a process: one program makes the state, one trains."""
    num_steps, sizes, path = json.loads(sys.argv[1])
    network, shape, widths, *rest = sizes
    sizes = Architecture(network, tuple(shape), tuple(widths), *rest)
    with garbage_collection.paused():
        import jax
        import numpy as np

        from experiments.benchmark import flax_peer
        from vae_jax.lab import compiled

    compiled.keep()
    num_rows = sizes.batch_size
    x = (
        np.load(path, allow_pickle=False)["train"]
        if path
        else np.zeros((num_rows, *sizes.shape), np.uint8)
    )
    state, key = jax.jit(lambda: flax_peer.start(sizes))(), jax.random.key(0)
    for step in range(num_steps):
        first = step % (len(x) // num_rows) * num_rows
        batch = x[first : first + num_rows].astype(np.float32) / 255
        state, loss = flax_peer.step(state, batch, key)
        float(loss)
    leave()


def leave_after(num_steps: int) -> None:
    """Trains with the flags of this process and ends it, saying its peak of memory.

    Args:
        num_steps: after which it leaves, a count.
    """
    beginning.begin()  # as the command does
    with garbage_collection.paused():
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
    print(hardware.peak_bytes(), flush=True)
    os._exit(0)
