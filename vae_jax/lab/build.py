"""Builds the functions that train and evaluate one program, from its resolved configs."""

import dataclasses
import functools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from vae_jax import assembly, memory, ranges, training
from vae_jax.devices import hardware
from vae_jax.devices.layout import make_layout
from vae_jax.errors import UsageError
from vae_jax.evaluation import elbo
from vae_jax.lab.config import spell
from vae_jax.lab.resolved import Resolved
from vae_jax.lab.settings import Config
from vae_jax.likelihoods.gaussian import Gaussian
from vae_jax.program import (  # noqa: F401 (what a program is measured with, by one name)
    BLOCK_BYTES,
    Program,
    bytes_of_evaluation,
    bytes_of_step,
    evaluate,
    frozen,
    make_splits,
    member,
    num_examples_of,
    target,
)

__all__ = [
    "Experiment",
    "Footprint",
    "build",
    "differences",
    "differing",
    "far_values",
    "in_units",
]


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Experiment(Program):
    """All static parts of a program of R runs, and its functions; each compiles once.

    Attributes:
        resolved: the configs of the runs, their data, and what they name.
    """

    resolved: Resolved

    @property
    def configs(self) -> tuple[Config, ...]:
        """Complete configs, one per run."""
        return self.resolved.configs

    @property
    def config(self) -> Config:
        """The config of the first run, for settings that all runs share."""
        return self.resolved.config

    @property
    def dataset(self) -> Any:
        """From `vae_jax.data.load`."""
        return self.resolved.dataset

    @property
    def conditions(self) -> training.Conditions | None:
        """What the objective needs for each row beside x, or None."""
        return self.resolved.parts.conditions

    @property
    def given(self) -> training.Conditions | None:
        """The conditions of a conditional model; None if only the loss uses them."""
        return self.conditions if self.model.num_conditions else None

    @functools.cached_property
    def differences(self) -> list[str]:
        """The settings in which each run differs, as `beta=4 seed=1`."""
        return differences(self.configs)

    def values_of(self, name: str) -> str:
        """The distinct values of a setting over the runs, as text."""
        values = dict.fromkeys(
            {**dict(c.hyperparameters), "latent_dim": c.latent_dim, **c.identity()}[name]
            for c in self.configs
        )
        return ", ".join(map(str, values))

    def footprint(self) -> "Footprint":
        """The memory that the program will need, from its compiled functions; compiles them.

        The evaluation is compiled only if it may take much beside what any training takes.
        """
        step, layout = bytes_of_step(self), self.layout
        num_steps = -(-self.evaluation_batch // self.config.batch_size)
        pairs = 4 * elbo.NUM_DECOMPOSED**2 * self.model.latent_dim
        evaluation = num_steps * step + pairs
        if evaluation > _LITTLE:
            evaluation = bytes_of_evaluation(self)
        state, saved = _num_bytes(self.state_shape), target(self)
        held = sum(_num_bytes(self.splits[split]) for split in self.splits)
        if self.streamed:
            held = _BLOCKS * BLOCK_BYTES
        device = layout.mesh.devices.flat[0]
        is_cpu = device.platform == "cpu"
        # compiled code says what it takes on one device; those of a CPU share its memory
        num = max(1, layout.mesh.size // jax.process_count()) if is_cpu else 1
        return Footprint(
            used=hardware.used_bytes() if is_cpu else 0,
            # a CPU computes on the arrays of the dataset themselves
            data=held if self.streamed or not is_cpu else 0,
            state=-(-state // layout.mesh.shape["runs"]) if not is_cpu else state,
            step=num * step,
            evaluation=num * evaluation,
            saving=_num_bytes(saved) + _largest(saved) if is_cpu else 0,
            pictures=_PICTURES if is_cpu else 0,
            peak=hardware.peak_bytes() if is_cpu else 0,
            limit=memory.there_are() if is_cpu else _bytes_of(device),
        )

    def memory_estimate(self) -> str:
        """The memory that the program will need, as text: from shapes alone, before it compiles."""
        layout = self.layout
        leaves = jax.tree.leaves(self.state_shape)
        state_bytes = sum(leaf.size * leaf.dtype.itemsize for leaf in leaves)
        at_once = layout.num_slots if layout.is_vectorized else layout.mesh.shape["runs"]
        # each value of the forward pass, its gradient, and intermediate values
        step_bytes = 3 * at_once * self.config.batch_size * self._bytes_per_example()
        data_bytes = 0 if self.dataset.streamed else self.dataset.train.x.nbytes
        data_bytes *= layout.mesh.size
        # the state, and the next state
        total = 2 * state_bytes + step_bytes + data_bytes
        return (
            f"about {_bytes(total)} on {layout.mesh.size} device(s): state 2 × "
            f"{_bytes(state_bytes)}, step {_bytes(step_bytes)}, data {_bytes(data_bytes)} "
            "(`runs_per_program` bounds it)"
        )

    def _bytes_per_example(self) -> int:
        """The size of the values in a forward pass of one example, a count of bytes."""
        params = self.model.param_shapes()
        x = jax.ShapeDtypeStruct((1, *self.model.shape), jnp.float32)
        z = jax.ShapeDtypeStruct((1, self.model.latent_dim), jnp.float32)
        model = self.model.given(jnp.zeros((1, self.model.num_conditions)))
        traces = (jax.make_jaxpr(model.encode)(params, x), jax.make_jaxpr(model.decode)(params, z))
        return sum(
            math.prod(value.aval.shape) * value.aval.dtype.itemsize
            for trace in traces
            for equation in trace.eqns
            for value in equation.outvars
        )


_BLOCKS = 4
"""Blocks of streamed data that are held at a time: one in use, one read ahead, their sources."""
_LITTLE = 2**26
"""Bytes of an evaluation of which a bound is enough."""
_PICTURES = 600 * 2**20
"""Bytes that pictures take, with the programs that are compiled for them; as measured."""


class Footprint(NamedTuple):
    """The memory that a program needs on one device, or of a CPU in this process; bytes.

    Attributes:
        used: in use before the training, with the data in memory.
        data: rows that are copied to the device.
        state: the state of all runs.
        step: beside the state, during a step.
        evaluation: beside the state, while a split is evaluated.
        saving: a copy of the state while a checkpoint is written, and its largest array, encoded.
        pictures: beside the state, while pictures are drawn, after the training.
        peak: the most that was in use so far.
        limit: what there is; None if the device does not say.
    """

    used: int
    data: int
    state: int
    step: int
    evaluation: int
    saving: int
    pictures: int
    peak: int
    limit: int | None

    @property
    def training(self) -> int:
        """The most that will be in use until the results are written, a scalar."""
        beside = max(self.step, self.evaluation)
        return max(self.peak, self.used + self.data + self.state + self.saving + beside)

    @property
    def total(self) -> int:
        """The most that will be in use, a scalar."""
        return max(self.training, self.used + self.data + self.state + self.pictures)

    def told(self) -> str:
        """The estimate as text, with what there is and the parts."""
        names = ("used", "data", "state", "step", "evaluation", "saving", "pictures")
        parts = [f"{n} {memory.told(getattr(self, n))}" for n in names if getattr(self, n)]
        of = "" if self.limit is None else f" of {memory.told(self.limit)}"
        return f"about {memory.told(self.total)}{of}: {', '.join(parts)}"

    def refuse(self, num_runs: int) -> None:
        """Refuses a training, of some runs (a count), that needs more memory than there is.

        Pictures do not count: when they are drawn, the results are safe.

        Raises:
            UsageError: it does; the message says what takes it.
        """
        if self.limit is None or self.training <= self.limit:
            return
        fewer = ", fewer `runs_per_program`" if num_runs > 1 else ""
        raise UsageError(
            f"memory: {self.told()}: give a smaller `batch_size`, narrower `widths`{fewer}, or set "
            f"{memory.VARIABLE} to more GiB if there is more"
        )


def _num_bytes(tree: Any) -> int:
    """Bytes of arrays, or of their shapes."""
    leaves = jax.tree.leaves(tree)
    return sum(math.prod(leaf.shape) * np.dtype(leaf.dtype).itemsize for leaf in leaves)


def _largest(tree: Any) -> int:
    """Bytes of the largest of some arrays, or of their shapes."""
    return max(map(_num_bytes, jax.tree.leaves(tree)))


def _bytes_of(device: Any) -> int | None:
    """The memory of a device, if it says."""
    return (device.memory_stats() or {}).get("bytes_limit")


def _bytes(number: int) -> str:
    """Formats a number of bytes for people."""
    return f"{number / 2**20:,.1f} MiB" if number < 2**30 else f"{number / 2**30:,.1f} GiB"


def differences(configs: Sequence[Config]) -> list[str]:
    """The settings in which each of several runs differs, as `beta=4 seed=1`; "" for one run."""
    return [" ".join(f"{n}={v}" for n, v in words.items()) for words in differing(configs)]


def differing(configs: Sequence[Config]) -> list[dict[str, str]]:
    """The settings in which runs differ, as text; settings that a run lacks are left out."""
    chosen = [config.requested() for config in configs]
    names = dict.fromkeys(name for setting in chosen for name in setting)
    differ = [n for n in names if len({str(setting.get(n)) for setting in chosen}) > 1]
    return [
        {n: spell(setting[n]) for n in differ if setting.get(n) is not None} for setting in chosen
    ]


def build(
    resolved: Resolved, *, num_data: int | None = None, latent_dim: int | None = None
) -> Experiment:
    """Builds the model and the training of the runs of one program.

    Args:
        resolved: its runs.
        num_data: devices that share a batch, a count; None lets `make_layout` choose.
        latent_dim: L of the model, at least that of each run; None means the largest of them.

    Raises:
        UsageError: the network does not fit the data's shape.
    """
    config, dataset, parts = resolved.config, resolved.dataset, resolved.parts
    latent_dim = latent_dim or resolved.latent_dim
    layout = make_layout(len(resolved.configs), num_data=num_data)
    model = resolved.model(latent_dim)
    preprocess = assembly.make_preprocess(dataset, config.binarization)
    train = training.make_train(
        parts.objective,
        model,
        preprocess=preprocess,
        num_examples=len(dataset.train),
        batch_size=config.batch_size,
        optimizer=config.optimizer,
        layout=layout,
        beside=None if parts.conditions is None else parts.conditions.train,
        examples=assembly.initial_examples(model, dataset.train.x),
    )
    hparams = resolved.hparams(latent_dim)
    return Experiment(
        resolved=resolved,
        layout=layout,
        model=model,
        loss_fn=parts.objective,
        preprocess=preprocess,
        train=train,
        hparams=layout.place(jax.tree.map(lambda *v: np.stack(v), *hparams)),
        num_steps=config.epochs * train.steps_per_epoch,
        splits=make_splits(dataset, parts.conditions),
        streamed=dataset.streamed,
        patience=config.patience,
    )


def in_units(experiment: Experiment, elbo) -> dict[str, np.ndarray]:
    """ELBOs [R] of the test split of sequences in their usual unit, by name; {} for other data.

    For text, bits per character, including the ends of strings; for series, nats per step.
    """
    dataset, likelihood = experiment.dataset, experiment.model.likelihood
    if dataset.kind != "sequence":
        return {}
    count, x = jax.jit(lambda rows: likelihood.num_known(dataset.decode(rows))), dataset.test.x
    num_rows = max(1, BLOCK_BYTES // (4 * math.prod(dataset.shape)))
    firsts = range(0, len(x), num_rows)
    known = [np.asarray(count(jnp.asarray(x[first : first + num_rows]))) for first in firsts]
    num = float(np.mean(np.concatenate(known))) / math.prod(dataset.shape[1:])
    if dataset.alphabet is None:
        return {"nats_per_step": -np.asarray(elbo) / num}
    return {"bits_per_character": -np.asarray(elbo) / (num * math.log(2))}


def far_values(dataset, likelihood) -> list[str]:
    """Warnings about values far from what a likelihood expects, with a remedy, or [].

    It checks the mean distance of all values from 0, and columns in which a few large values
    dominate.

    Args:
        dataset: from `vae_jax.data.load`, splits [N, *stored].
        likelihood: a Gaussian is sensitive to far values, because its tails are light.
    """
    if likelihood.requires != "real":
        return []
    decode = jax.jit(dataset.decode)

    def blocks(split):
        x = getattr(dataset, split).x
        num_rows = max(1, BLOCK_BYTES // max(1, x.nbytes // max(1, len(x))))
        for first in range(0, len(x), num_rows):
            yield np.asarray(decode(jnp.asarray(x[first : first + num_rows])))

    values = ranges.Values(dataset.low, dataset.high, dataset.num_levels)
    splits = {split: functools.partial(blocks, split) for split in ("train", "valid", "test")}
    told = ranges.far_values(values, splits["train"], likelihood.initial_deviation)
    if told:
        return [f"{told}: leave scaling=none out, or take scaling=unit"]
    if isinstance(likelihood, Gaussian):
        told = ranges.far_columns(values, splits, dataset.columns)
    return [f"{told}: take scaling=unit, or likelihood=laplace"] if told else []
