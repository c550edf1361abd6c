"""What a learned prior or another posterior costs beside the standard ones."""

import time
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from experiments.benchmark.measuring import Target, compare, measure
from experiments.benchmark.workloads import (
    SMALL,
    Effort,
    Workload,
    make_dataset,
    make_program,
    mlp,
    train_program,
)
from vae_jax import posteriors

__all__ = ["densities"]

MODEL = mlp("28×28 uint8, MLP 784-300-300-40, batch 100", "300,300", 40, 100, 28)
CHOICES: dict[str, tuple[dict[str, str], float | None]] = {
    "mixture of 500": ({"prior": "mixture", "num_components": "500"}, 2.0),
    "VampPrior of 500": ({"prior": "vamp", "num_components": "500"}, 4.0),
    "RealNVP, 6 layers of 128": ({"prior": "realnvp"}, None),
    "MAF, 4 layers of 128": ({"prior": "maf"}, None),
    "any covariance": ({"posterior": "full"}, None),
    "IAF, 4 steps of 320": ({"posterior": "iaf"}, 2.2),
    "chain of 2 groups": ({"posterior": "chain"}, None),
    "ladder of 2 groups": ({"posterior": "ladder"}, None),
}
"""What is measured → its flags, and the promised bound of its ratio."""
LADDER, LADDER_BOUND = "ladder of 2 groups", 1.15
"""One of `CHOICES`, and the promised bound of its ratio to the standard step and its products."""


def densities(effort: Effort):
    """A step with other priors and posteriors, beside N(0, I) and independent Gaussians."""
    workload = SMALL if effort.is_small else MODEL
    dataset = make_dataset(workload, effort.num_images)

    def work(flags: dict[str, str]):
        own = Workload(workload.name, {**workload.flags, **flags}, workload.image_size)
        return train_program(make_program(own, dataset, 1), effort.seconds)

    works = {"standard": work({})}
    works |= {what: work(flags) for what, (flags, _) in CHOICES.items()}
    config = make_program(workload, dataset, 1).config
    sizes = _ladder_layers(config.widths[-1], config.latent_dim)
    works["products"] = products(config.batch_size, sizes, effort.seconds)
    times = measure(works, rounds=effort.rounds)
    yield compare(workload.name, "standard", times["standard"], times["standard"], "itself")
    for what, (_, bound) in CHOICES.items():
        target = None if bound is None else Target(bound)
        yield compare(
            workload.name, what, times[what], times["standard"], "standard", target=target
        )
    both = [sum(pair) for pair in zip(times["standard"], times["products"], strict=True)]
    what = f"{LADDER}, beside its products"
    to = "standard + products of further layers"
    yield compare(workload.name, what, times[LADDER], both, to, target=Target(LADDER_BOUND))


def _ladder_layers(width: int, latent_dim: int) -> list[tuple[int, int]]:
    """The sizes (in, out) of the layers that a ladder of two groups has beside a flat model.

    Args:
        width: units of the encoder's last hidden layer, a count.
        latent_dim: L, a count.
    """
    own = posteriors.Ladder()
    up = [(own.num_features * latent_dim, own.group_width)]
    down = [(latent_dim, own.group_width), (own.group_width, own.group_width)]
    heads = [(own.group_width, latent_dim)] * 4
    return [(width, own.num_features * latent_dim), *up, *down, *heads]


def products(num_rows: int, sizes: Sequence[tuple[int, int]], seconds: float) -> Callable[[], int]:
    """The matrix products of layers and of their gradients, as a work function.

    Args:
        num_rows: rows of the input of each layer, a count.
        sizes: (in, out) of each layer.
        seconds: minimum duration of a turn.
    """
    generator = np.random.default_rng(0)

    def normal(*shape):
        return jnp.asarray(generator.normal(size=shape).astype(np.float32))

    layers = [(normal(num_rows, i), normal(i, o), normal(num_rows, o)) for i, o in sizes]

    def step(_, layers):
        # too small to change a number, which the compiler does not know
        return [
            (
                x + 1e-30 * (slope @ kernel.T),
                kernel + 1e-30 * (x.T @ slope),
                1e-30 * (x @ kernel) + slope,
            )
            for x, kernel, slope in layers
        ]

    chunk = jax.jit(lambda layers, num: jax.lax.fori_loop(0, num, step, layers))
    num = 20

    def turn() -> int:
        start, done = time.perf_counter(), 0
        while time.perf_counter() - start < seconds:
            jax.block_until_ready(chunk(layers, num))
            done += num
        return done

    return turn
