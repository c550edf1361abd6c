"""What is trained, and how much is spent on measuring it."""

import dataclasses
import math
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.benchmark.architecture import Architecture
from vae_jax import data, training
from vae_jax.devices.layout import Layout
from vae_jax.lab.build import Experiment, build
from vae_jax.lab.config import from_flags, resolve

MAX_BYTES = 2**26
"""Of images that are made up: larger ones are fewer, in bytes."""


class Workload(NamedTuple):
    """A model and its data.

    Attributes:
        name: of the case.
        flags: as `experiments.vae` takes them.
        image_size: H = W of images of noise, or None for scikit-learn's digits.
        num_channels: of images of noise, a count.
    """

    name: str
    flags: dict[str, str]
    image_size: int | None = None
    num_channels: int = 1


def mlp(name: str, widths: str, latent_dim: int, batch_size: int, image_size: int) -> Workload:
    """A dense network on binarized grey images [image_size, image_size, 1]; sizes are counts."""
    chosen = {"widths": widths, "latent_dim": str(latent_dim), "batch_size": str(batch_size)}
    return Workload(name, {**chosen, "likelihood": "bernoulli"}, image_size)


def conv(
    name: str, widths: str, latent_dim: int, batch_size: int, image_size: int, num_channels: int = 1
) -> Workload:
    """A convolutional network on binarized images [H, W, C]; sizes are counts."""
    dense = mlp(name, widths, latent_dim, batch_size, image_size)
    return dense._replace(flags={**dense.flags, "network": "conv"}, num_channels=num_channels)


DIGITS = Workload(
    "digits 8×8, MLP 200,200, batch 100",
    {"widths": "200,200", "latent_dim": "20", "batch_size": "100"},
)
MNIST = mlp("28×28 uint8, MLP 784-400-20, batch 128", "400", 20, 128, 28)
SMALL = mlp("8×8 uint8, MLP 64-16-4, batch 20", "16", 4, 20, 8)


class Effort(NamedTuple):
    """How much is spent on a number.

    Attributes:
        rounds: how often each program takes its turn, a count.
        seconds: what a turn lasts at least.
        starts: how often a process is started where its start or its memory is measured, a count.
        num_images: of the data that is made up, a count.
        workloads: what is trained, where a section leaves it open; the last one is streamed.
        num_devices: that a processor is divided into, counts.
        patience: for how long PyTorch may compile, in seconds.
        is_small: whether sections measure few and small cases.
    """

    rounds: int = 7
    seconds: float = 0.6
    starts: int = 7
    num_images: int = 60_000
    workloads: tuple[Workload, ...] = (DIGITS, MNIST)
    num_devices: tuple[int, ...] = (1, 2, 4)
    patience: float = 240.0
    is_small: bool = False


QUICK = Effort(
    rounds=2,
    seconds=0.02,
    starts=1,
    num_images=1_000,
    workloads=(SMALL,),
    num_devices=(1, 2),
    is_small=True,
)


def make_dataset(workload: Workload, num_images: int, loading: str = "memory") -> data.Dataset:
    """The data of a workload, [N, *stored], made if need be.

    Args:
        workload: whose data it is.
        num_images: N of the training split of data that is made up, a count; less where the images
            would take more than `MAX_BYTES`.
        loading: "memory", or "stream" from an .npy file that ceases to exist when it is closed.
    """
    if workload.image_size is None:
        return data.load("digits", loading=loading)
    image = (workload.image_size, workload.image_size, workload.num_channels)
    num_images = min(num_images, MAX_BYTES // math.prod(image))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "noise.npy")
        np.save(path, noise(num_images * 10 // 8, *image))
        return data.load(str(path), loading=loading)


def noise(*shape: int) -> np.ndarray:
    """Images of noise, uint8 [*shape]."""
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def make_program(
    workload: Workload, dataset: data.Dataset, num_runs: int, layout: Layout | None = None
) -> Experiment:
    """The program of a sweep over seeds; where no layout is given, the one that users get."""
    configs = [from_flags({**workload.flags, "seed": str(seed)}) for seed in range(num_runs)]
    configs = [resolve(config, dataset) for config in configs]
    if layout is None:
        return build(configs, dataset)
    program = build(configs, dataset, num_data=1)
    hparams = layout.place(program.layout.read(program.hparams))
    return dataclasses.replace(program, layout=layout, hparams=hparams)


def architecture(workload: Workload) -> Architecture:
    """The layers of a workload on images of noise, by their sizes."""
    config = from_flags(workload.flags)
    return Architecture(
        config.network,
        (workload.image_size, workload.image_size, workload.num_channels),
        config.widths,
        config.latent_dim,
        config.batch_size,
    )


def turns(states: Iterator[tuple[int, training.State]], num_runs: int, seconds: float, feed=None):
    """Training as a piece of work: a function that trains a while and returns the steps it did.

    Args:
        states: from `training.train_until`, at step 0.
        num_runs: R, a count.
        seconds: what a call lasts at least.
        feed: a `streaming.Feed`, of which a call uses whole blocks and pays for as many.
    """
    done = 0

    def turn() -> int:
        nonlocal done
        before, start = done, time.perf_counter()
        while time.perf_counter() - start < seconds or (feed and done % feed.num_steps):
            done, _ = next(states)
        if feed:
            feed.wait()
        return (done - before) * num_runs

    return turn


def train_program(experiment: Experiment, seconds: float, x=None) -> Callable[[], int]:
    """The training of a program as `experiments.vae` does it, to be measured, see `turns`.

    Args:
        experiment: from `make_program`.
        seconds: what a turn lasts at least.
        x: of `vae_jax.lab.train.source`; None means the data on the devices.
    """
    states = states_of(experiment, seconds, x)
    return turns(states, len(experiment.configs), seconds, x)


def states_of(
    experiment: Experiment, chunk_seconds: float, x=None
) -> Iterator[tuple[int, training.State]]:
    """The training of a program without an end, from `training.train_until`.

    Args:
        experiment: from `make_program`.
        chunk_seconds: what a chunk should last.
        x: as of `train_program`.
    """
    return training.train_until(
        experiment.chunk,
        experiment.init(experiment.hparams),
        experiment.hparams,
        experiment.resident("train") if x is None else x,
        first_step=0,
        num_steps=2**31 - 1,
        steps_per_epoch=experiment.train.steps_per_epoch,
        chunk_seconds=chunk_seconds,
        read=experiment.layout.read,
    )


def train_plainly(experiment: Experiment, seconds: float) -> Callable[[], int]:
    """The training of a run alone by `jax.jit(train.chunk)`, without an axis of runs."""
    state, hparams = jax.tree.map(
        lambda leaf: jnp.asarray(leaf[0]),
        experiment.layout.read((experiment.init(experiment.hparams), experiment.hparams)),
    )
    states = training.train_until(
        jax.jit(experiment.train.chunk, donate_argnums=0),
        state,
        hparams,
        jnp.asarray(experiment.dataset.train.x),
        first_step=0,
        num_steps=2**31 - 1,
        steps_per_epoch=experiment.train.steps_per_epoch,
        chunk_seconds=seconds,
    )
    return turns(states, 1, seconds)
