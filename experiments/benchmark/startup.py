"""The time from the command to the first step."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from experiments.benchmark import fresh_process
from experiments.benchmark.architecture import Architecture
from experiments.benchmark.measuring import Row, Target, compare, measure
from experiments.benchmark.peers import BURGESS
from experiments.benchmark.workloads import SMALL, Effort, Workload, architecture, noise

WIDTHS = {"mlp": (200, 200), "conv": (32, 64)}
"""Widths of the measured networks, the defaults of `vae_jax.networks`."""
NOTHING_KEPT = {"JAX_ENABLE_COMPILATION_CACHE": "false"}
"""Makes JAX compile everything that a process needs."""


def startup(effort: Effort) -> Iterator[Row]:
    """Time from the command to the first training step, with cached programs and without."""
    for network in list(WIDTHS)[:1] if effort.is_small else WIDTHS:
        yield from first_step(network, effort)
    yield from compilation(SMALL if effort.is_small else BURGESS, effort)


def first_step(network: str, effort: Effort) -> Iterator[Row]:
    """The rows of a network on digits."""
    case = f"experiments.vae --network={network}, digits"
    jax_alone, whole = "import jax, nothing else", "to the end of the first step"
    sizes = Architecture(network, (8, 8, 1), WIDTHS[network], latent_dim=20, batch_size=100)
    with tempfile.TemporaryDirectory() as folder:

        def train() -> int:
            with tempfile.TemporaryDirectory(dir=folder) as own:
                fresh_process.train(1, Path(own), "--epochs=1", f"--network={network}")
            return 1

        def started(program: str):
            return lambda: bool(fresh_process.start(program))

        works = {
            jax_alone: started(fresh_process.ONLY_JAX),
            "import of all that it needs": started(fresh_process.ONLY_IMPORTS),
            whole: train,
            "the same in plain Flax": lambda: bool(fresh_process.train_plain_flax(1, sizes)),
        }
        # a first start compiles; with little effort it is also the measurement
        times = measure(works, rounds=effort.starts, warmups=int(effort.starts > 1))
    importing = times[jax_alone]
    for what, seconds in times.items():
        yield compare(
            case,
            what,
            seconds,
            importing,
            "time of importing jax",
            unit="s",
            target=Target(4.0, of_value=True) if what == whole else None,
        )
    beyond = [a - b for a, b in zip(times[whole], importing, strict=True)]
    yield compare(
        case,
        f"{whole}, beyond import jax",
        beyond,
        importing,
        "time of importing jax",
        unit="s",
        target=Target(0.5, of_value=True),
    )


def compilation(workload: Workload, effort: Effort) -> Iterator[Row]:
    """The rows of a workload without cached programs: each start compiles everything."""
    sizes = architecture(workload)
    flags = [f"--{name}={value}" for name, value in workload.flags.items()]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "noise.npy")
        np.save(path, noise(10 * sizes.batch_size, *sizes.shape))
        flags += [f"--dataset={path}", "--epochs=1"]

        def train(**environ: str):
            return lambda: bool(fresh_process.train(1, Path(folder), *flags, environ=environ))

        def plain():
            return bool(fresh_process.train_plain_flax(1, sizes, environ=NOTHING_KEPT))

        ours, kept = "to the end of the first step, nothing kept", "the same, programs kept"
        works = {ours: train(**NOTHING_KEPT), kept: train(), "plain Flax, nothing kept": plain}
        times = measure(works, rounds=min(3, effort.starts), warmups=int(effort.starts > 1))
    for what, seconds in times.items():
        target = Target(10.0, of_value=True) if what == ours else None
        yield compare(workload.name, what, seconds, times[kept], kept, unit="s", target=target)
