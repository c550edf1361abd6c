"""Our training compared with PyTorch's, with plain Flax, and with the machine's limit."""

import contextlib
import functools
import os
import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from experiments.benchmark import flax_peer, limit, torch_peer
from experiments.benchmark.budget import within
from experiments.benchmark.measuring import (
    Row,
    compare,
    is_busy,
    is_on_cpu,
    measure,
    torch_version,
)
from experiments.benchmark.workloads import (
    MNIST,
    SMALL,
    Effort,
    Workload,
    architecture,
    conv,
    make_dataset,
    make_program,
    mlp,
    train_program,
)
from vae_jax.devices import hardware

SECONDS = 285.0
"""Time for all contests, in seconds."""
ROUNDS, TURN = 5, 0.4
"""Turns of each program at most (a count), and how long one takes (seconds)."""
PATIENCE = 45.0
"""Time for PyTorch to compile, in seconds; what it has compiled it keeps for the next time."""
OURS = "ours: whole epochs, shuffled, binarized, metrics"
FLAX = "plain Flax: a jitted step for each iteration"


class Contest(NamedTuple):
    """A workload that all train.

    Attributes:
        workload: the common workload.
        has_limit: whether the machine's limit is measured beside them.
    """

    workload: Workload
    has_limit: bool = False


BURGESS = conv("64×64×1, conv 32,32,32,32, latent 10, batch 64", "32,32,32,32", 10, 64, 64)
"""The network of Burgess et al. 2018, arXiv 1804.03599."""
CONTESTS = (
    Contest(MNIST, has_limit=True),
    Contest(mlp("28×28, MLP 784-200-200-50, batch 20", "200,200", 50, 20, 28)),
    Contest(conv("28×28×1, conv 32,64, latent 20, batch 128", "32,64", 20, 128, 28)),
    Contest(conv("32×32×3, conv 32,64, latent 20, batch 128", "32,64", 20, 128, 32, 3)),
    Contest(BURGESS),
)
SMALL_CONTESTS = (
    Contest(SMALL, has_limit=True),
    Contest(conv("8×8×1, conv 4,8, latent 4, batch 16", "4,8", 4, 16, 8)),
)


def peers(effort: Effort) -> Iterator[Row | str]:
    """Our training compared with PyTorch, plain Flax, and the limit of the machine."""
    if not torch_version():
        yield "PyTorch is not installed: its rows are left out"
    effort = effort._replace(
        rounds=min(ROUNDS, effort.rounds),
        seconds=min(TURN, effort.seconds),
        patience=min(PATIENCE, effort.patience),
    )
    ways = torch_ways()
    contests = SMALL_CONTESTS if effort.is_small else CONTESTS
    parts = {
        each.workload.name: functools.partial(compete, each, effort, ways) for each in contests
    }
    yield from within(SECONDS, parts)


def torch_ways() -> list[str]:
    """The ways of PyTorch that are compared, of `torch_peer.WAYS`; none if it is not installed.

    Threads that sleep while they wait are faster only if others compute on this machine.
    """
    now = {"load_average": os.getloadavg()[0], "num_cores": hardware.num_cores()}
    left_out = () if is_busy(now) else (torch_peer.EAGER_PASSIVE,)
    return [way for way in torch_peer.WAYS if way not in left_out] if torch_version() else []


def compete(contest: Contest, effort: Effort, ways: Sequence[str]) -> Iterator[Row | str]:
    """The rows of one workload: each way to train it, then the limit.

    Args:
        contest: the workload.
        effort: how long to measure.
        ways: the ways of PyTorch, names in `torch_peer.WAYS`.
    """
    workload = contest.workload
    sizes, dataset = architecture(workload), make_dataset(workload, effort.num_images)
    images = dataset.train.x
    works = {
        OURS: train_program(make_program(workload, dataset, 1), effort.seconds),
        FLAX: flax_peer.training(sizes, images, effort.seconds),
    }
    with contextlib.ExitStack() as stack:
        device = "cpu" if is_on_cpu() else "cuda"
        settings = (ways, sizes, len(images), effort.seconds, effort.patience, device)
        others, remarks = stack.enter_context(torch_peer.trainings(*settings))
        works |= others
        yield from remarks
        has_limit = contest.has_limit
        products = stack.enter_context(limit.products(effort)) if has_limit else {}
        times = measure({**works, **products}, rounds=effort.rounds)
    reference = find_reference({name: times[name] for name in works})
    for what in works:
        to = f"speed of {reference.partition(':')[0]}"
        yield compare(workload.name, what, times[what], times[reference], to, is_speed=True)
    if has_limit:
        yield limit.row(workload.name, sizes.num_operations, times, OURS, list(products))


def find_reference(times: Mapping[str, Sequence[float]]) -> str:
    """The reference: PyTorch eager with its faster way to wait, otherwise plain Flax.

    Args:
        times: seconds per step for each way to train, [rounds].
    """
    eager = [name for name in (torch_peer.EAGER, torch_peer.EAGER_PASSIVE) if name in times]
    return min(eager or [FLAX], key=lambda name: statistics.median(times[name]))
