"""How long it takes from the command to the first step."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

from experiments.benchmark import fresh_process
from experiments.benchmark.architecture import Architecture
from experiments.benchmark.measuring import Row, Target, compare, measure
from experiments.benchmark.workloads import Effort

WIDTHS = {"mlp": (200, 200), "conv": (32, 64)}
"""Of the networks whose start is measured, as `vae_jax.networks` has them by default."""


def startup(effort: Effort) -> Iterator[Row]:
    """Time from the command to the first training step, programs kept from an earlier run."""
    for network in list(WIDTHS)[:1] if effort.is_small else WIDTHS:
        yield from first_step(network, effort)


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
