"""The limit: how fast this machine multiplies large square matrices, by whoever does it best."""

import contextlib
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence

import jax
import jax.numpy as jnp

from experiments.benchmark import torch_peer, workers
from experiments.benchmark.measuring import Row, compare, is_on_cpu, torch_version
from experiments.benchmark.workloads import Effort

SIZES = (1024, 2048)
"""N of the float32 matrices [N, N] that are multiplied."""
SMALL_SIZES = (256,)


@contextlib.contextmanager
def products(effort: Effort) -> Iterator[dict[str, Callable[[], float]]]:
    """Products of matrices as pieces of work, which count floating-point operations."""
    device = "cpu" if is_on_cpu() else "cuda"
    sizes = SMALL_SIZES if effort.is_small else SIZES
    works = {f"jnp.dot of {size}²": multiply(size, effort.seconds) for size in sizes}
    with contextlib.ExitStack() as stack:
        for size in sizes if torch_version() else ():
            with contextlib.suppress(workers.WorkerError):
                works[f"torch.mm of {size}²"] = stack.enter_context(
                    torch_peer.multiplication(size, effort.seconds, device)
                )
        yield works


def multiply(size: int, seconds: float) -> Callable[[], float]:
    """A product [N, N] as a piece of work that counts operations.

    Args:
        size: N.
        seconds: what a turn lasts at least.
    """
    a, b = jax.random.normal(jax.random.key(0), (2, size, size), jnp.float32)
    dot = jax.jit(jnp.dot)
    # 2·N³: a multiplication and an addition each
    return workers.repeat(lambda: jax.block_until_ready(dot(a, b)), seconds, units=2.0 * size**3)


def best(times: Mapping[str, Sequence[float]], names: Sequence[str]) -> str:
    """Which of the products was fastest, by the median of its seconds per operation."""
    return min(names, key=lambda name: statistics.median(times[name]))


def row(
    case: str,
    num_operations: int,
    times: Mapping[str, Sequence[float]],
    ours: str,
    products: Sequence[str],
    **how,
) -> Row:
    """What a unit of work would take if it were nothing but products of matrices at the best rate.

    Args:
        case: as of `measuring.compare`.
        num_operations: that a unit needs, a count.
        times: seconds per unit, and per operation of the products, [rounds] each.
        ours: the name of the work.
        products: the names of these.
        how: unit and target, as of `measuring.compare`.
    """
    fastest = best(times, products)
    ideal = [num_operations * seconds for seconds in times[fastest]]
    rate = 1e-9 / statistics.median(times[fastest])
    what = f"limit: {num_operations / 1e6:.4g} MFLOP, {rate:.4g} GFLOP/s ({fastest})"
    return compare(case, what, ideal, times[ours], "share of it that ours reaches", **how)
