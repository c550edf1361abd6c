"""The memory of training, with data in memory."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from experiments.benchmark import fresh_process
from experiments.benchmark.measuring import Row, Target, compare, is_on_cpu
from experiments.benchmark.workloads import MNIST, Effort, architecture, noise

COPIES = 3
"""Copies of the parameters in a state: themselves, and Adam's two moments."""


def memory(effort: Effort) -> Iterator[Row | str]:
    """Peak memory compared with importing jax + the data + the state."""
    if not is_on_cpu():
        yield "an accelerator's memory is not the process's: measured on CPU only"
        return
    sizes = architecture(MNIST)
    train, test = (
        noise(effort.num_images, *sizes.shape),
        noise(effort.num_images // 6, *sizes.shape),
    )
    num_valid = min(len(train) // 10, 5_000)
    extra = train.nbytes + test.nbytes + 4 * COPIES * sizes.num_parameters
    names = ("import jax, nothing else", "import", "training", "plain Flax")
    found: dict[str, list[int]] = {name: [] for name in names}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "noise.npz")
        np.savez(path, train=train, test=test)
        flags = [f"--{name}={value}" for name, value in MNIST.flags.items()]
        flags += [f"--dataset={path}", f"--num_valid={num_valid}", "--loading=memory", "--epochs=2"]
        # an epoch, its validation, and a step of the next epoch
        steps = -(-(len(train) - num_valid) // sizes.batch_size) + 1
        for _ in range(effort.starts):
            peaks = (
                fresh_process.start(fresh_process.ONLY_JAX),
                fresh_process.start(fresh_process.ONLY_IMPORTS),
                fresh_process.train(steps, Path(folder), *flags),
                fresh_process.train_plain_flax(steps, sizes, path),
            )
            for name, peak in zip(found, peaks, strict=True):
                found[name].append(peak)
    ideal = [peak + extra for peak in found["import jax, nothing else"]]
    lines = {
        "import jax, nothing else": found["import jax, nothing else"],
        "import jax + data + state": ideal,
        "import of all that it needs": found["import"],
        "training": found["training"],
        "training in plain Flax, without validation": found["plain Flax"],
    }
    for what, peaks in lines.items():
        yield compare(
            f"{len(train):,} + {len(test):,} images of {MNIST.name}",
            what,
            peaks,
            ideal,
            "import jax + data + state",
            unit="bytes",
            target=Target(1.2) if what == "training" else None,
        )
