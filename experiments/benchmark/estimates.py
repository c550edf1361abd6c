"""The cost of an estimate of log p(x)."""

import functools
from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp

from experiments.benchmark import limit, workers
from experiments.benchmark.architecture import Layer
from experiments.benchmark.measuring import Row, Target, compare, measure
from experiments.benchmark.workloads import (
    SMALL,
    Effort,
    Workload,
    architecture,
    make_dataset,
    make_program,
    mlp,
)
from vae_jax.evaluation import nll as estimator
from vae_jax.lab import build

WORKLOAD = mlp("28×28, MLP 784-200-200-50", "200,200", 50, 20, 28)
NUM_SAMPLES = 5_000
"""K, samples of z per image, a count."""
NUM_IMAGES = 10
"""Images per call, a count."""
NUM_ROWS = 500
"""Rows of z decoded at a time, a count: the default of `vae_jax.evaluation.nll.sample`."""


def nll(effort: Effort) -> Iterator[Row]:
    """Time of −log p(x) of an image by importance sampling, K = 5,000."""
    workload, num_samples = (SMALL, NUM_ROWS) if effort.is_small else (WORKLOAD, NUM_SAMPLES)
    layers = architecture(workload).layers()
    decoder = layers[len(layers) // 2 :]
    ours = f"K = {num_samples:,}: drawn, decoded, weighed"
    alone = f"the decoder's products alone, {NUM_ROWS} rows at a time"
    with limit.products(effort) as products:
        works = {
            ours: estimate(workload, num_samples, effort.seconds),
            alone: multiply(decoder, num_samples, effort.seconds),
        }
        times = measure({**works, **products}, rounds=effort.rounds)
    unit = "s/image"
    for what in works:
        yield compare(workload.name, what, times[what], times[ours], "time of the whole", unit=unit)
    num_operations = num_samples * sum(layer.num_operations for layer in decoder)
    target = Target(0.85, is_floor=True)
    yield limit.row(
        workload.name, num_operations, times, ours, list(products), unit=unit, target=target
    )


def estimate(workload: Workload, num_samples: int, seconds: float) -> Callable[[], float]:
    """A work function that estimates images and counts them.

    Args:
        workload: its untrained model is used.
        num_samples: K.
        seconds: minimum duration of a turn.
    """
    program = make_program(workload, make_dataset(workload, 10 * NUM_IMAGES), 1)
    params = program.layout.read(program.init(program.hparams).params)
    model, params = build.member(program, 0, params)[:2]
    x, key = jnp.asarray(program.dataset.train.x[:NUM_IMAGES]), jax.random.key(0)
    call = functools.partial(
        estimator.sample, preprocess=program.preprocess, num_samples=num_samples, num_rows=NUM_ROWS
    )
    return workers.repeat(
        lambda: jax.block_until_ready(call(model, params, x, key)),
        seconds,
        units=NUM_IMAGES,
    )


def multiply(layers: list[Layer], num_samples: int, seconds: float) -> Callable[[], float]:
    """A work function that only multiplies the matrices of dense layers and counts images.

    Args:
        layers: consecutive layers.
        num_samples: K.
        seconds: minimum duration of a turn.
    """
    keys = jax.random.split(jax.random.key(0), len(layers))
    shapes = [(layer.num_in, layer.num_out) for layer in layers]
    weights = [jax.random.normal(key, shape) for key, shape in zip(keys, shapes, strict=True)]

    @jax.jit
    def call(weights, z):
        def chunk(total, z):
            # use one number of each chunk: unused results are not computed
            return total + functools.reduce(jnp.dot, weights, z)[0, 0], None

        return jax.lax.scan(chunk, jnp.float32(0), z)[0]

    z = jax.random.normal(keys[0], (num_samples // NUM_ROWS, NUM_ROWS, shapes[0][0]))
    return workers.repeat(lambda: jax.block_until_ready(call(weights, z)), seconds)
