"""Our training compared with PyTorch's, with plain Flax, and with the machine's limit."""

import contextlib
import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from experiments.benchmark import flax_peer, limit, torch_peer
from experiments.benchmark.measuring import (
    Row,
    Target,
    compare,
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

OURS = "ours: whole epochs, shuffled, binarized, metrics"
FLAX = "plain Flax: a jitted step for each iteration"


class Contest(NamedTuple):
    """A workload, and the promised speed of our training.

    Attributes:
        workload: the common workload.
        speed: our speed relative to PyTorch eager that is promised.
        share: the share of the machine's limit that is promised, or None.
    """

    workload: Workload
    speed: float
    share: float | None = None


BURGESS = conv("64×64×1, conv 32,32,32,32, latent 10, batch 64", "32,32,32,32", 10, 64, 64)
"""The network of Burgess et al. 2018, arXiv 1804.03599."""
CONTESTS = (
    Contest(MNIST, speed=2.5, share=0.85),
    Contest(mlp("28×28, MLP 784-200-200-50, batch 20", "200,200", 50, 20, 28), speed=5.0),
    Contest(conv("28×28×1, conv 32,64, latent 20, batch 128", "32,64", 20, 128, 28), speed=1.3),
    Contest(conv("32×32×3, conv 32,64, latent 20, batch 128", "32,64", 20, 128, 32, 3), speed=1.3),
    Contest(BURGESS, speed=1.3),
)
SMALL_CONTESTS = (
    Contest(SMALL, speed=5.0, share=0.85),
    Contest(conv("8×8×1, conv 4,8, latent 4, batch 16", "4,8", 4, 16, 8), speed=1.3),
)


def peers(effort: Effort) -> Iterator[Row | str]:
    """Our training compared with PyTorch, plain Flax, and the limit of the machine."""
    if not torch_version():
        yield "PyTorch is not installed: its rows are left out"
    for contest in SMALL_CONTESTS if effort.is_small else CONTESTS:
        yield from compete(contest, effort)


def compete(contest: Contest, effort: Effort) -> Iterator[Row | str]:
    """The rows of one workload: each way to train it, then the limit."""
    workload = contest.workload
    sizes, dataset = architecture(workload), make_dataset(workload, effort.num_images)
    images = dataset.train.x
    works = {
        OURS: train_program(make_program(workload, dataset, 1), effort.seconds),
        FLAX: flax_peer.training(sizes, images, effort.seconds),
    }
    with contextlib.ExitStack() as stack:
        if torch_version():
            device = "cpu" if is_on_cpu() else "cuda"
            settings = (sizes, len(images), effort.seconds, effort.patience, device)
            others, remarks = stack.enter_context(torch_peer.trainings(*settings))
            works |= others
            yield from remarks
        products = stack.enter_context(limit.products(effort))
        times = measure({**works, **products}, rounds=effort.rounds)
    reference = find_reference({name: times[name] for name in works})
    for what in works:
        yield compare(
            workload.name,
            what,
            times[what],
            times[reference],
            f"speed of {reference.partition(':')[0]}",
            is_speed=True,
            target=Target(contest.speed, is_floor=True)
            if what == OURS and reference != FLAX
            else None,
        )
    target = None if contest.share is None else Target(contest.share, is_floor=True)
    yield limit.row(workload.name, sizes.num_operations, times, OURS, list(products), target=target)


def find_reference(times: Mapping[str, Sequence[float]]) -> str:
    """The reference: PyTorch eager with its faster way to wait, otherwise plain Flax.

    Args:
        times: seconds per step for each way to train, [rounds].
    """
    eager = [name for name in (torch_peer.EAGER, torch_peer.EAGER_PASSIVE) if name in times]
    return min(eager or [FLAX], key=lambda name: statistics.median(times[name]))
