"""The time of a step against each size."""

from collections.abc import Iterator
from typing import NamedTuple

from experiments.benchmark.measuring import Row, compare, measure
from experiments.benchmark.workloads import (
    Effort,
    Workload,
    architecture,
    conv,
    make_dataset,
    make_program,
    mlp,
    train_program,
)

MAX_IMAGES = 8_192
"""Maximum number of synthetic images, a count: each program has its own copy."""


class Axis(NamedTuple):
    """A size that varies, while all others stay at their base.

    Attributes:
        name: name of the case.
        base: the value that the others are compared with.
        values: the measured values, including the base's.
        what: "batch", "width", "latent" or "side".
    """

    name: str
    base: int
    values: tuple[int, ...]
    what: str


AXES = (
    Axis("batch of MLP 784-400-20", 128, (32, 128, 512, 2048), "batch"),
    Axis("width of MLP 784-…-20, batch 128", 400, (128, 400, 1024, 2048, 4096), "width"),
    Axis("latent dimension of MLP 784-400-…, batch 128", 20, (2, 20, 128, 512), "latent"),
    Axis("image side of conv 32,64, latent 20, batch 128", 32, (16, 32, 64, 128), "side"),
    Axis("batch of conv 32,64, latent 20, 32×32", 128, (32, 128, 512), "conv_batch"),
)
SMALL_AXES = (
    Axis("batch of MLP 784-400-20", 8, (8, 16), "batch"),
    Axis("batch of conv 32,64, latent 20, 32×32", 1, (1, 2), "conv_batch"),
)


def sizes(effort: Effort) -> Iterator[Row]:
    """Our time per step against batch, width, latent dimension and image side, one at a time."""
    for axis in SMALL_AXES if effort.is_small else AXES:
        yield from grow(axis, effort)


def make_workload(axis: Axis, value: int) -> Workload:
    """The base workload with another value of one size."""
    name = f"{axis.what} {value}"
    if axis.what == "side":
        return conv(name, "32,64", 20, 128, value)
    if axis.what == "conv_batch":
        return conv(name, "32,64", 20, value, 32)
    dense = {"batch": 128, "width": 400, "latent": 20, axis.what: value}
    return mlp(name, str(dense["width"]), dense["latent"], dense["batch"], 28)


def grow(axis: Axis, effort: Effort) -> Iterator[Row]:
    """The rows of an axis: time, and time per operation relative to the base."""
    works, operations = {}, {}
    for value in axis.values:
        workload = make_workload(axis, value)
        dataset = make_dataset(workload, min(effort.num_images, MAX_IMAGES))
        works[value] = train_program(make_program(workload, dataset, 1), effort.seconds)
        operations[value] = architecture(workload).num_operations
    times = measure(works, rounds=effort.rounds)
    for value in axis.values:
        yield compare(
            axis.name,
            f"{value}: {operations[value] / 1e6:,.1f} MFLOP",
            times[value],
            times[axis.base],
            f"time per operation of {axis.base}",
            scale=operations[axis.base] / operations[value],
        )
