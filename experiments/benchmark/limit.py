"""The limit: the fastest multiplication of large square matrices on this machine."""

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
    """Yields matrix products as work functions that count floating-point operations."""
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
    """A work function that computes a product [N, N] and counts operations.

    Args:
        size: N.
        seconds: minimum duration of a turn.
    """
    a, b = jax.random.normal(jax.random.key(0), (2, size, size), jnp.float32)
    dot = jax.jit(jnp.dot)
    # 2·N³: N³ multiply-adds
    return workers.repeat(lambda: jax.block_until_ready(dot(a, b)), seconds, units=2.0 * size**3)


def best(times: Mapping[str, Sequence[float]], names: Sequence[str]) -> str:
    """The fastest product, by its median seconds per operation."""
    return min(names, key=lambda name: statistics.median(times[name]))


def row(
    case: str,
    num_operations: int,
    times: Mapping[str, Sequence[float]],
    ours: str,
    products: Sequence[str],
    **how,
) -> Row:
    """The row for a unit of work that consisted only of matrix products at the best rate.

    Args:
        case: as in `measuring.compare`.
        num_operations: operations per unit, a count.
        times: seconds per unit, or per operation for products, [rounds] each.
        ours: the name of the work.
        products: the names of the products.
        how: unit and target, as in `measuring.compare`.
    """
    fastest = best(times, products)
    ideal = [num_operations * seconds for seconds in times[fastest]]
    rate = 1e-9 / statistics.median(times[fastest])
    what = f"limit: {num_operations / 1e6:.4g} MFLOP, {rate:.4g} GFLOP/s ({fastest})"
    return compare(case, what, ideal, times[ours], "share of it that ours reaches", **how)
