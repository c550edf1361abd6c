"""Workloads, and the time spent on measuring them."""

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
from vae_jax.lab.config import from_flags
from vae_jax.lab.resolved import resolve

MAX_BYTES = 2**26
"""Maximum size of synthetic images, in bytes; there are fewer images if they are large."""


class Workload(NamedTuple):
    """A model and its data.

    Attributes:
        name: name of the case.
        flags: flags of `experiments.vae`.
        image_size: H = W of noise images, or None for scikit-learn's digits.
        num_channels: channels of noise images, a count.
    """

    name: str
    flags: dict[str, str]
    image_size: int | None = None
    num_channels: int = 1


def mlp(name: str, widths: str, latent_dim: int, batch_size: int, image_size: int) -> Workload:
    """A dense network on binarized gray images [image_size, image_size, 1]; sizes are counts."""
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
    """The time spent on a number.

    Attributes:
        rounds: number of turns of each program, a count.
        seconds: minimum duration of a turn.
        starts: number of process starts if startup or memory is measured, a count.
        num_images: number of synthetic images, a count.
        workloads: the workloads of sections without their own; the last one is streamed.
        num_devices: numbers of devices that a processor is divided into, counts.
        patience: time limit for compilation in PyTorch, in seconds.
        is_small: whether sections measure fewer and smaller cases.
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
    """The data of a workload, [N, *stored]; synthetic if needed.

    Args:
        workload: workload for the data.
        num_images: N of the training split of synthetic data, a count; less if the images would
            take more than `MAX_BYTES`.
        loading: "memory", or "stream" from an .npy file that is deleted when it is closed.
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
    """Noise images, uint8 [*shape]."""
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def make_program(
    workload: Workload, dataset: data.Dataset, num_runs: int, layout: Layout | None = None
) -> Experiment:
    """The program of a sweep over seeds, with the default layout unless one is passed."""
    configs = [from_flags({**workload.flags, "seed": str(seed)}) for seed in range(num_runs)]
    resolved = resolve(configs, dataset)
    if layout is None:
        return build(resolved)
    program = build(resolved, num_data=1)
    hparams = layout.place(program.layout.read(program.hparams))
    return dataclasses.replace(program, layout=layout, hparams=hparams)


def architecture(workload: Workload) -> Architecture:
    """The layers of a workload on noise images, by their sizes."""
    config = from_flags(workload.flags)
    return Architecture(
        config.network,
        (workload.image_size, workload.image_size, workload.num_channels),
        config.widths,
        config.latent_dim,
        config.batch_size,
    )


def turns(states: Iterator[tuple[int, training.State]], num_runs: int, seconds: float, feed=None):
    """A work function that trains for a while and returns the number of steps.

    Args:
        states: from `training.train_until`, at step 0.
        num_runs: R, a count.
        seconds: minimum duration of a call.
        feed: a `streaming.Feed`; a call uses whole blocks and includes their cost.
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
    """The training of a program as in `experiments.vae`, as a work function, see `turns`.

    Args:
        experiment: from `make_program`.
        seconds: minimum duration of a turn.
        x: from `vae_jax.lab.train.source`; None means the data on the devices.
    """
    states = states_of(experiment, seconds, x)
    return turns(states, len(experiment.configs), seconds, x)


def states_of(
    experiment: Experiment, chunk_seconds: float, x=None
) -> Iterator[tuple[int, training.State]]:
    """An endless training of a program, from `training.train_until`.

    Args:
        experiment: from `make_program`.
        chunk_seconds: target duration of a chunk.
        x: as in `train_program`.
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
    """The training of a single run by `jax.jit(train.chunk)`, without an axis of runs."""
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
