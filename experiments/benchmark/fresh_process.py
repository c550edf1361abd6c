"""Programs in new interpreters: their startup time and memory.

A measured process ends itself with `leave`, and prints its peak memory. The training is that of the
command `experiments.vae`; only its loop is wrapped, so that it ends at a given step. For comparison
there is a minimal program with Flax and Optax.
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
    """Runs a program in a new interpreter to its end.

    Args:
        program: Python code that ends with `leave`.
        arguments, environ: see `printed`.

    Returns:
        Its peak memory in bytes.

    Raises:
        RuntimeError: it failed; the message contains its output.
    """
    return int(printed(program, arguments, environ).split()[-1])


def printed(
    program: str, arguments: Sequence[str] = (), environ: Mapping[str, str] | None = None
) -> str:
    """Runs a program in a new interpreter to its end.

    Args:
        program: Python code.
        arguments: command line arguments.
        environ: environment variables to set.

    Returns:
        What it prints.

    Raises:
        RuntimeError: it failed; the message contains its output.
    """
    # bytecode is cached, as for a user, even if tests tell Python not to write it
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
    return done.stdout


def train(
    num_steps: int, folder: Path, *flags: str, environ: Mapping[str, str] | None = None
) -> int:
    """Runs `experiments.vae` in a new interpreter for a number of steps (a count).

    Args:
        num_steps: number of steps before it ends.
        folder: folder for the run's directory; an earlier run is deleted.
        flags: flags of the command.
        environ: environment variables to set.

    Returns:
        Its peak memory in bytes.
    """
    program = f"from {__name__} import leave_after; leave_after({num_steps})"
    return start(program, [*flags, f"--workdir={folder / 'run'}", "--overwrite"], environ)


def train_plain_flax(
    num_steps: int,
    sizes: Architecture,
    path: Path | None = None,
    environ: Mapping[str, str] | None = None,
) -> int:
    """Trains a VAE written in plain Flax, in a new interpreter.

    Args:
        num_steps: number of steps before it ends, a count.
        sizes: sizes of model and batch.
        path: path of an .npz file with uint8 images `train` [N, H, W, C]; None trains on black
            images.
        environ: environment variables to set.

    Returns:
        Its peak memory in bytes.
    """
    return start(PLAIN_FLAX, [json.dumps([num_steps, sizes, path and str(path)])], environ)


def serve_plain_flax() -> None:
    """The process of `train_plain_flax`: one program makes the state, one trains."""
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
    """Trains with the flags of this process, ends it and prints its peak memory.

    Args:
        num_steps: number of steps before it ends, a count.
    """
    beginning.begin()  # like the command
    with garbage_collection.paused():
        from vae_jax import training

    training.train_until = watched(training.train_until, num_steps)
    runpy.run_module("experiments.vae", run_name="__main__")


def train_to_the_end(folder: Path, *flags: str) -> int:
    """Runs `experiments.vae` in a new interpreter to its end, with evaluation and pictures.

    Args:
        folder: folder for the run's directory; an earlier run is deleted.
        flags: flags of the command.

    Returns:
        Its peak memory in bytes.
    """
    program = f"from {__name__} import leave_at_the_end; leave_at_the_end()"
    return start(program, [*flags, f"--workdir={folder / 'run'}", "--overwrite"])


def leave_at_the_end() -> None:
    """Trains with the flags of this process, and prints its peak memory."""
    beginning.begin()
    try:
        runpy.run_module("experiments.vae", run_name="__main__")
    except SystemExit as end:
        if end.code:
            raise
    leave()


def watched(train_until: Callable, num_steps: int) -> Callable:
    """Wraps `training.train_until` so that the process ends at a step (a count)."""

    def run(*arguments, **settings):
        for step, state in train_until(*arguments, **settings):
            if step >= num_steps:
                leave()
            yield step, state

    return run


def leave() -> None:
    """Prints the peak memory and ends the process at once, without cleanup."""
    print(hardware.peak_bytes(), flush=True)
    os._exit(0)
