"""How time and memory grow along each axis of the work, one axis at a time."""

import json
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.benchmark.measuring import Row, Target, compare, measure
from experiments.benchmark.workloads import Effort
from vae_jax import data, distributions, program
from vae_jax.evaluation import latent_use
from vae_jax.lab import build, expansion, identity, programs, tables
from vae_jax.lab.config import from_flags
from vae_jax.lab.resolved import resolve
from vae_jax.storage import csv_rows, runs

ROUNDS = 2
"""Calls of which the fastest counts, a count."""


class Work(NamedTuple):
    """A piece of work of one size.

    Attributes:
        run: does it once; what it compiles is compiled by the first call.
        units: how often it does it, a count.
        num_bytes: the memory that compiled code takes; None means that of Python and NumPy, which
            is measured.
    """

    run: Callable[[], Any]
    units: int = 1
    num_bytes: int | None = None


class Axis(NamedTuple):
    """A direction in which work grows.

    Attributes:
        name: name of the axis.
        unit: what there are more and more of, in words.
        sizes: numbers of them, ascending counts.
        make: (size, folder for files) to the work.
        most: the largest exponent of the time that is promised, a scalar.
    """

    name: str
    unit: str
    sizes: tuple[int, ...]
    make: Callable[[int, Path], Work]
    most: float = 1.25


def scale(effort: Effort) -> Iterator[Row | str]:
    """How CPU time and memory grow with runs, epochs, columns, labels, codes, sides, text, rows."""
    for axis in AXES:
        sizes = axis.sizes[:2] if effort.is_small else axis.sizes
        with tempfile.TemporaryDirectory() as folder:
            measured = [_measure(axis.make(size, Path(folder))) for size in sizes]
        seconds, num_bytes = zip(*measured, strict=True)
        span = f"{sizes[0]:,} to {sizes[-1]:,} {axis.unit}"
        for what, values, most in (
            (f"time of {span}: {_seconds(seconds)}", seconds, axis.most),
            (f"memory: {_bytes(num_bytes)}", num_bytes, None),
        ):
            yield _row(axis.name, what, sizes, values, most)


def labels(effort: Effort) -> Iterator[Row | str]:
    """What a condition by 10,000 labels costs a step, beside the same model without one."""
    num = 100 if effort.is_small else NUM_LABELS
    draws, flags = np.random.default_rng(0), {"widths": "200", "batch_size": "100"}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "labels.npz")
        y = np.arange(3 * num) % num
        np.savez(path, x=draws.normal(size=(len(y), 20)).astype(np.float32), y=y)
        dataset = data.load(path)
        chosen = {"without": {}, "conditional": {"objective": "cvae"}}
        works = {name: _counted(_steps(dataset, flags | own)) for name, own in chosen.items()}
        times = measure(works, rounds=effort.rounds)
    for name in works:
        case = f"{num:,} labels, rows of 20 numbers"
        yield compare(case, name, times[name], times["without"], "time without")


def _counted(work: Work) -> Callable[[], int]:
    """A function that does some work, and returns how often (a count)."""

    def run():
        work.run()
        return work.units

    return run


def _row(case: str, what: str, sizes: Sequence[int], values: Sequence[float], most) -> Row:
    """The exponent of a growth, and the ratio of the last value to the first."""
    ratio = values[-1] / values[0]
    target = None if most is None else Target(most, of_value=True)
    found = exponent(sizes, values)
    return Row(case, what, found, "exponent", ratio, ratio, ratio, "the smallest", target)


def exponent(sizes: Sequence[int], values: Sequence[float]) -> float:
    """The slope of log values over log sizes, [n] each: a scalar; 1 if growth is linear."""
    x, y = np.log(np.asarray(sizes, float)), np.log(np.maximum(values, 1e-9))
    return float(np.polyfit(x, y, 1)[0])


def _measure(work: Work) -> tuple[float, float]:
    """Seconds of CPU time per unit, the least of some calls, and bytes.

    On a machine that others use, the time of the clock says little of how work grows.
    """
    work.run()
    seconds = []
    for _ in range(ROUNDS):
        start = time.process_time()
        work.run()
        seconds.append((time.process_time() - start) / work.units)
    if work.num_bytes is not None:
        return min(seconds), work.num_bytes
    tracemalloc.start()
    work.run()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return min(seconds), peak


def _seconds(values: Sequence[float]) -> str:
    return f"{values[0]:.3g} to {values[-1]:.3g} s"


def _bytes(values: Sequence[float]) -> str:
    return f"{values[0] / 2**20:.3g} to {values[-1] / 2**20:.3g} MiB"


# --- What grows


def of_runs(num: int, folder: Path) -> Work:
    """What a command does with a sweep of some runs beside training them."""
    file = folder / f"rows{num}.json"
    file.write_text(json.dumps([{"seed": str(i), "beta": str(1 + i % 7)} for i in range(num)]))
    result = {"status": "done", "step": 1, "loss": 1.0, "elbo": -1.0, "rate": 1.0}

    def run():
        configs = expansion.make_configs({}, str(file))
        found = programs.group(configs)
        identity.of_sweep(configs, None)
        identity.workdir_of_sweep(configs)
        rows = tables.sweep_rows(configs, found, [result] * num)
        tables.summary_rows(configs, rows)

    return Work(run)


def of_epochs(num: int, folder: Path) -> Work:
    """The rows of `metrics.csv` of a run of some epochs: written, kept, read."""
    row = {"step": 0, "epoch": 0, "loss": 1.25, "elbo": -1.25, "rate": 0.5, "distortion": 0.75}
    at_a_time = num // 50  # a real run waits for the disk at each of them

    def run():
        place = folder / f"{num}-{time.perf_counter_ns()}"
        with runs.open_run(place, {"seed": 0}) as held:
            for first in range(0, num, at_a_time):
                epochs = range(first, min(first + at_a_time, num))
                held.append_rows([{**row, "step": e, "epoch": e} for e in epochs])
                held.rows_sha256()
            held.keep_rows(num, held.rows_sha256())
            csv_rows.last_rows(held.path("metrics.csv"), "epoch")
            return held.rows()

    return Work(run)


def of_columns(num: int, folder: Path) -> Work:
    """A table of 200 rows and some columns of several kinds: read, and made a program."""
    draws, num_rows = np.random.default_rng(0), 200
    kinds = (
        lambda: [f"{value:.4f}" for value in draws.normal(size=num_rows)],
        lambda: ["red", "green", "blue", "gray"] * (num_rows // 4),
        lambda: [str(value) for value in draws.poisson(30, num_rows)],
        lambda: ["yes", "no"] * (num_rows // 2),
    )
    columns = [kinds[i % 4]() for i in range(num)]
    lines = [",".join(f"c{i}" for i in range(num)), *map(",".join, zip(*columns, strict=True))]
    path = folder / f"table{num}.csv"
    path.write_text("\n".join(lines) + "\n")

    def run():
        dataset = data.load(path, cache_dir=folder / "cache")
        return build.build(resolve([from_flags({"widths": "8", "epochs": "1"})], dataset))

    return Work(run)


def of_rows(num: int, folder: Path) -> Work:
    """An .npy file of some rows of 40 numbers: read into its splits."""
    path = folder / f"rows{num}.npy"
    np.save(path, np.random.default_rng(0).normal(size=(num, 40)).astype(np.float32))
    return Work(lambda: data.load(path))


def of_labels(num: int, folder: Path) -> Work:
    """A step of a conditional model of some labels."""
    path, draws = folder / f"labels{num}.npz", np.random.default_rng(0)
    labels = np.arange(10_000) % num
    np.savez(path, x=draws.normal(size=(len(labels), 20)).astype(np.float32), y=labels)
    flags = {"objective": "cvae", "widths": "64", "latent_dim": "8", "batch_size": "100"}
    return _steps(data.load(path), flags)


def of_latent_dim(num: int, folder: Path) -> Work:
    """The metric `latent_use` of codes of some dimensions."""
    del folder
    keys = jax.random.split(jax.random.key(0), 3)
    mean = jax.random.normal(keys[0], (1_000, num))
    logvar = jax.random.normal(keys[1], (1_000, num)) - 1.0
    options = {"num_samples": 1_000}
    compiled = latent_use._measured.lower(
        mean, logvar, distributions.standard_gaussian(num), keys[2], **_BLOCKS, **options
    )
    beside = compiled.compile().memory_analysis()
    return Work(
        lambda: latent_use.evaluate(mean, logvar, keys[2], **options),
        num_bytes=beside.temp_size_in_bytes + beside.output_size_in_bytes,
    )


_BLOCKS = {"kernel": "imq", "num_rows": 64, "num_columns": 256}


def of_side(num: int, folder: Path) -> Work:
    """A step of a convolutional network on pictures of some pixels a side."""
    path = folder / f"pictures{num}.npy"
    np.save(path, np.random.default_rng(0).integers(0, 256, (200, num, num, 1), np.uint8))
    flags = {"network": "conv", "widths": "8,16", "latent_dim": "8", "batch_size": "20"}
    return _steps(data.load(path), flags)


def of_text(num: int, folder: Path) -> Work:
    """A step of a recurrent network on lines of some characters."""
    path, draws = folder / f"text{num}.txt", np.random.default_rng(0)
    lines = draws.integers(97, 123, (200, num)).astype(np.uint8)
    path.write_bytes(b"\n".join(line.tobytes() for line in lines) + b"\n")
    flags = {"network": "gru", "widths": "32", "latent_dim": "8", "batch_size": "20"}
    return _steps(data.load(path), flags)


NUM_LABELS = 10_000
"""Labels of the conditional model beside one without a condition, a count."""
NUM_STEPS = 5
"""Steps in a call, a count."""


def _steps(dataset: data.Dataset, flags: dict[str, str]) -> Work:
    """Some steps of a training, and the memory that the compiled training takes."""
    experiment = build.build(resolve([from_flags({**flags, "epochs": "1"})], dataset))
    state, x = experiment.init(experiment.hparams), experiment.resident("train")
    held = [state]

    def run():
        held[0] = experiment.chunk(held[0], experiment.hparams, x, np.int32(NUM_STEPS))
        jax.block_until_ready(held[0])

    sizes = jax.tree.leaves(jax.tree.map(jnp.size, experiment.state_shape))
    return Work(run, NUM_STEPS, program.bytes_of_step(experiment) + 4 * sum(sizes))


AXES = (
    Axis("runs of a sweep, beside training", "runs", (25, 100, 400), of_runs),
    Axis("epochs of a run, beside training", "epochs", (1_000, 4_000, 16_000), of_epochs),
    Axis("columns of a table", "columns", (100, 400, 1_600), of_columns),
    Axis("labels of a conditional model", "labels", (600, 2_400, 9_600), of_labels),
    Axis("latent dimensions in latent_use", "dimensions", (16, 64, 256), of_latent_dim),
    # pixels are side × side
    Axis("sides of pictures", "pixels a side", (16, 32, 64), of_side, 2.25),
    Axis("characters of a line", "characters", (32, 128, 512), of_text),
    Axis("rows of a table", "rows", (20_000, 80_000, 320_000), of_rows),
)
