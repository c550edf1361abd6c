"""The memory of training, with data in memory."""

import re
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from experiments.benchmark import fresh_process
from experiments.benchmark.measuring import Row, Target, compare, is_on_cpu
from experiments.benchmark.workloads import MNIST, Effort, architecture, noise
from vae_jax.errors import StorageError

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


def footprint(effort: Effort) -> Iterator[Row | str]:
    """The memory that a run says it will need, compared with its peak: the larger over the less."""
    if not is_on_cpu():
        yield "an accelerator's memory is not the process's: measured on CPU only"
        return
    cases = list(CASES.items())[: 1 if effort.is_small else None]
    for name, (flags, make) in cases:
        with tempfile.TemporaryDirectory() as folder:
            path = None if make is None else make(Path(folder))
            given = [f"--{flag}={value}" for flag, value in flags.items()]
            given += [] if path is None else [f"--dataset={path}"]
            peak = fresh_process.train_to_the_end(Path(folder), *given, "--epochs=1")
            said = said_bytes(Path(folder, "run"))
        ratio = max(said / peak, peak / said)
        what = f"peak; said before: {said / 2**20:,.0f} MiB"
        yield Row(name, what, peak, "bytes", ratio, ratio, ratio, "what was said", Target(1.3))


def said_bytes(directory: Path) -> float:
    """The memory that a run said it would need, bytes."""
    log = "".join(path.read_text() for path in sorted(directory.glob("**/run.log")))
    found = re.search(r"memory: about ([\d,.]+) ([KMG]iB)", log)
    if found is None:
        raise StorageError(f"{directory}: its log does not say how much memory it needs")
    unit = {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30}[found[2]]
    return float(found[1].replace(",", "")) * unit


def _pictures(num: int, side: int) -> Callable[[Path], Path]:
    """A function that writes noise pictures of some pixels a side."""

    def make(folder):
        path = folder / "pictures.npy"
        np.save(path, noise(num, side, side, 1))
        return path

    return make


def _numbers(num_rows: int, num_columns: int, num_labels: int = 0) -> Callable[[Path], Path]:
    """A function that writes normal numbers, with labels if there are any."""

    def make(folder):
        draws = np.random.default_rng(0)
        x = draws.normal(size=(num_rows, num_columns)).astype(np.float32)
        beside = {"y": np.arange(num_rows) % num_labels} if num_labels else {}
        path = folder / ("numbers.npz" if beside else "numbers.npy")
        np.savez(path, x=x, **beside) if beside else np.save(path, x)
        return path

    return make


def _lines(folder: Path) -> Path:
    """Writes lines of text."""
    letters = np.random.default_rng(0).integers(97, 123, (2_000, 120)).astype(np.uint8)
    path = folder / "lines.txt"
    path.write_bytes(b"\n".join(line.tobytes() for line in letters) + b"\n")
    return path


CASES: dict[str, tuple[dict[str, str], Callable[[Path], Path] | None]] = {
    "digits": ({}, None),
    "digits, 8 runs": ({"seed": "0,1,2,3,4,5,6,7"}, None),
    "28×28, MLP 400": (MNIST.flags, _pictures(70_000, 28)),
    "64×64, convolutions": (
        {"network": "conv", "widths": "32,64", "batch_size": "128"},
        _pictures(4_000, 64),
    ),
    "256×256, convolutions": (
        {"network": "conv", "widths": "16,32", "batch_size": "32"},
        _pictures(400, 256),
    ),
    "wide layers, 4,000 numbers a row": (
        {"widths": "4000,2000", "batch_size": "200"},
        _numbers(4_000, 4_000),
    ),
    "IWAE, 64 samples": (
        {"objective": "iwae", "num_samples": "64", "batch_size": "250", "widths": "400"},
        _pictures(5_000, 28),
    ),
    "text, GRU": ({"network": "gru", "widths": "128"}, _lines),
    "10,000 labels": (
        {"objective": "cvae", "widths": "200", "batch_size": "100"},
        _numbers(30_000, 20, 10_000),
    ),
    "streamed rows": ({"loading": "stream", "widths": "200"}, _numbers(400_000, 100)),
}
"""Workload → flags, and what writes its data."""
