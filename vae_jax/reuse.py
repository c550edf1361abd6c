"""The programs of `fit`: each is compiled once and serves all trainings of its kind and shapes.

A kind holds everything that a compiled program depends on, except the shapes of its rows, which
JAX tells apart. Seeds, β, learning rates and rows are arguments of a program, so twenty trainings
that differ in them compile once and give the same bits as twenty programs.
"""

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from vae_jax import objectives, phases, schedules, sources, training
from vae_jax.devices.layout import make_layout
from vae_jax.program import Program

__all__ = ["MOST", "Kind", "kind_of", "program_of"]

MOST = 16
"""Programs that are kept, a count; the least recently used is dropped."""


class Kind(NamedTuple):
    """What is static in a training; hashable.

    Attributes:
        objective: its name.
        chosen: its counts and words: name, type and value of each.
        has_phases: whether a learned prior is trained in phases.
        model: the structure of a `Model`, which has no arrays.
        optimizer: a name of `training.OPTIMIZERS`.
        num_examples, batch_size: N and B, counts.
        beside: what batches hold beside x: name, shape without N, and dtype of each.
        devices: all devices of JAX.
    """

    objective: str
    chosen: tuple[tuple[str, type, Any], ...]
    has_phases: bool
    model: Any
    optimizer: str
    num_examples: int
    batch_size: int
    beside: tuple[tuple[str, tuple[int, ...], Any], ...]
    devices: tuple[Any, ...]


def kind_of(
    objective: str,
    chosen: Mapping[str, Any],
    model: Any,
    optimizer: str,
    source: sources.Source,
    hparams: training.Hparams,
    batch_size: int,
) -> Kind | None:
    """The kind of a training; None if its program is for this training alone.

    A program is not shared if it runs functions of the user, which may read what changes, or if it
    holds training rows.

    Args:
        objective: the name of a built-in objective.
        chosen: its counts and words.
        model: a `Model`.
        optimizer: a name of `training.OPTIMIZERS`.
        source: the data, arrays [N, …].
        hparams: scalars and schedules.
        batch_size: B, a count.
    """
    leaves, structure = jax.tree.flatten(model)
    is_ours = source.dataset is None and source.preprocess is sources.undecoded
    if leaves or not is_ours or any(model.num_examples) or not _is_built_in(model):
        return None
    if not all(map(_is_number, jax.tree.leaves(hparams, is_leaf=callable))):
        return None
    rows = source.splits["train"]
    kind = Kind(
        objective,
        tuple((name, type(value), value) for name, value in sorted(chosen.items())),
        phases.NAME in hparams.objective,
        structure,
        optimizer,
        len(rows["x"]),
        batch_size,
        tuple((n, np.shape(v)[1:], v.dtype) for n, v in sorted(rows.items()) if n != "x"),
        tuple(jax.devices()),
    )
    try:
        hash(kind)
    except TypeError:
        return None
    return kind


def _is_built_in(model: Any) -> bool:
    """Whether the parts of a `Model` for x [B, *shape] are of this package."""
    names = ("encoder", "decoder", "likelihood", "latent", "prior_family", "mechanism")
    parts = (getattr(model, name) for name in names)
    return all(part is None or type(part).__module__.startswith("vae_jax.") for part in parts)


def _is_number(leaf: Any) -> bool:
    """Whether a leaf of the hyperparameters is an argument of a program, a scalar or schedule."""
    return isinstance(leaf, schedules.Schedule) or not callable(leaf)


@functools.lru_cache(maxsize=MOST)
def program_of(kind: Kind) -> Program:
    """The program of a kind, without numbers and rows [N, …]; see `Program.again`."""
    objective = objectives.bind(
        kind.objective,
        num_examples=kind.num_examples,
        **{name: value for name, _, value in kind.chosen},
    )
    if kind.has_phases:
        objective = phases.by_prior_phase(objective)
    model, layout = jax.tree.unflatten(kind.model, []), make_layout(1)
    train = training.make_train(
        objective,
        model,
        preprocess=sources.undecoded,
        num_examples=kind.num_examples,
        batch_size=kind.batch_size,
        optimizer=kind.optimizer,
        layout=layout,
        beside={n: jax.ShapeDtypeStruct((1, *shape), dtype) for n, shape, dtype in kind.beside},
    )
    return Program(
        layout=layout,
        model=model,
        loss_fn=objective,
        preprocess=sources.undecoded,
        train=train,
        hparams=training.Hparams(seed=0, learning_rate=0.0),
        num_steps=0,
        # a compiled function reads only how many rows there are, so these take no memory
        splits={"train": np.broadcast_to(0.0, (kind.num_examples, 1))},
    )
