"""How long it takes from the command to the first step."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

from experiments.benchmark import fresh_process
from experiments.benchmark.measuring import Row, Target, compare, measure
from experiments.benchmark.workloads import Effort

NETWORKS = ("mlp", "conv")


def startup(effort: Effort) -> Iterator[Row]:
    """Time from the command to the first training step, programs kept from an earlier run."""
    for network in NETWORKS[:1] if effort.is_small else NETWORKS:
        yield from first_step(network, effort)


def first_step(network: str, effort: Effort) -> Iterator[Row]:
    """The rows of a network on digits."""
    case, jax_alone = f"experiments.vae --network={network}, digits", "import jax, nothing else"
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
            "to the end of the first step": train,
        }
        # a first start compiles; a quick look takes that as well
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
            target=Target(4.0, of_value=True) if what.startswith("to ") else None,
        )
    beyond = [a - b for a, b in zip(seconds, importing, strict=True)]
    yield compare(
        case,
        "to the end of the first step, beyond import jax",
        beyond,
        importing,
        "time of importing jax",
        unit="s",
        target=Target(0.5, of_value=True),
    )
