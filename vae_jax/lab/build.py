"""From the `Config`s of one program and their data to the functions that train and evaluate it."""

import dataclasses
import functools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vae_jax import data, likelihoods, modules, networks, objectives, ranges, schedules, training
from vae_jax.devices.layout import Layout, make_layout
from vae_jax.errors import UsageError
from vae_jax.evaluation import elbo
from vae_jax.lab.config import Config, latent_of, make_hparams, settings, statics_of
from vae_jax.model import Model

__all__ = [
    "BLOCK_BYTES",
    "EVALUATION_BATCH",
    "Experiment",
    "build",
    "differences",
    "differing",
    "evaluate",
    "far_values",
    "frozen",
    "in_units",
    "make_preprocess",
    "member",
    "num_examples_of",
    "num_parameters",
    "spell",
]

BLOCK_BYTES = 2**26
"""What is brought to a device at a time where the data is streamed, in bytes."""
EVALUATION_BATCH = 500


@dataclasses.dataclass(frozen=True, eq=False)
class Experiment:
    """Everything static about a program of R runs, and its functions, each compiled once.

    Attributes:
        configs: resolved, one for each run.
        dataset: from `vae_jax.data.load`.
        layout: where the runs live.
        model: of the largest latent dimension; each run masks it as its `hparams` say.
        loss_fn, preprocess, train: see `training.make_train`.
        conditions: what the objective asks of each row beside x, or None.
        hparams: of all runs, leaves [S, …] on the devices.
        num_steps: of each run, a count.
    """

    configs: tuple[Config, ...]
    dataset: Any
    layout: Layout
    model: Model
    loss_fn: Callable
    preprocess: Callable
    train: training.Train
    conditions: training.Conditions | None
    hparams: training.Hparams
    num_steps: int

    @property
    def config(self) -> Config:
        """What all runs have in common, as the first one has it."""
        return self.configs[0]

    @property
    def is_single(self) -> bool:
        """Whether there is one run only."""
        return len(self.configs) == 1

    @property
    def given(self) -> training.Conditions | None:
        """The conditions of a model that is given them; None where they are for the loss alone."""
        return self.conditions if self.model.num_conditions else None

    @functools.cached_property
    def init(self) -> Callable:
        """hparams [S] to `State` [S]."""
        return self.layout.over_runs(self.train.init, is_rare=True)

    @functools.cached_property
    def state_shape(self) -> training.State:
        """Shapes and dtypes of the state, [S, …]; nothing is computed."""
        return jax.eval_shape(self.init, self.hparams)

    @functools.cached_property
    def chunk(self) -> Callable:
        """(state, hparams, x, num_steps) to state, see `training.Train`."""
        shared = (3,) if self.dataset.streamed else (2, 3)
        return self.layout.over_runs(
            self.train.chunk,
            shared=shared,
            donate=(0,),
            is_idle=lambda state, *_: state.stopped,
        )

    @functools.cached_property
    def hparams_at(self) -> Callable:
        """(hparams, step) to the values that the last of so many steps was trained with; [S]."""
        return self.layout.over_runs(
            lambda h, step: schedules.evaluate(h, jnp.maximum(step - 1, 0))
        )

    def learning_rates(self, step: int) -> np.ndarray:
        """Of the last of so many steps (a scalar): [R]."""
        steps = self.layout.place(np.full(len(self.configs), step, np.int32))
        return self.layout.read(self.hparams_at(self.hparams, steps).learning_rate)

    @functools.cached_property
    def drop_sums(self) -> Callable:
        """State [S] to the same with the sums of failed runs 0: what is saved is finite."""

        def one(state):
            zeroed = {n: jnp.where(state.failure < 0, v, 0.0) for n, v in state.sums.items()}
            return state.replace(sums=zeroed)

        return self.layout.over_runs(one)

    @functools.cached_property
    def start_best(self) -> Callable:
        """State [S] to the best validation before there was one; [S]."""

        def one(state):
            return {
                "params": state.params,
                "score": jnp.float32(-jnp.inf),
                "epoch": jnp.int32(0),
            }

        return self.layout.over_runs(one)

    @functools.cached_property
    def keep_best(self) -> Callable:
        """(best, params, score, epoch) to the best so far, for each run; [S], the epoch shared."""

        def one(best, params, score, epoch):
            new = {"params": params, "score": score, "epoch": epoch}
            return jax.tree.map(lambda a, b: jnp.where(score > best["score"], a, b), new, best)

        return self.layout.over_runs(one, shared=(3,))

    @functools.cached_property
    def differences(self) -> list[str]:
        """What sets each run apart, as `beta=4 seed=1`."""
        return differences(self.configs)

    def values_of(self, name: str) -> str:
        """The distinct values of a setting over the runs, in words."""
        values = dict.fromkeys(
            {**dict(c.hyperparameters), "latent_dim": c.latent_dim, **c.identity()}[name]
            for c in self.configs
        )
        return ", ".join(map(str, values))

    def memory_estimate(self) -> str:
        """What the program will take, in words: from shapes alone, before anything is compiled."""
        layout = self.layout
        leaves = jax.tree.leaves(self.state_shape)
        state_bytes = sum(leaf.size * leaf.dtype.itemsize for leaf in leaves)
        at_once = layout.num_slots if layout.is_vectorized else layout.mesh.shape["runs"]
        # each value of the forward pass, its gradient, and what is computed between
        step_bytes = 3 * at_once * self.config.batch_size * self._bytes_per_example()
        data_bytes = 0 if self.dataset.streamed else self.dataset.train.x.nbytes
        data_bytes *= layout.mesh.size
        # the state, and its next value
        total = 2 * state_bytes + step_bytes + data_bytes
        return (
            f"about {_bytes(total)} on {layout.mesh.size} device(s): state 2 × "
            f"{_bytes(state_bytes)}, step {_bytes(step_bytes)}, data {_bytes(data_bytes)} "
            "(--runs_per_program bounds it)"
        )

    def _bytes_per_example(self) -> int:
        """What a forward pass computes for one example, a count of bytes."""
        params = jax.eval_shape(self.model.init, jax.random.key(0))
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

    @functools.cached_property
    def accumulate(self) -> Callable:
        """(params, hparams at a step, moments or None, x, first batch) to moments; [S]."""

        def one(params, h, moments, x, first_batch):
            model = training.masked(self.model, h)
            return elbo.accumulate(
                self.loss_fn,
                model.replace(likelihood=model.likelihood.frozen()),
                params,
                x,
                training.stream(h.seed, "evaluation"),
                h.objective,
                moments,
                first_batch,
                preprocess=self.preprocess,
                batch_size=EVALUATION_BATCH,
                given=self.loss_fn.given,
            )

        return self.layout.over_runs(one, shared=(3, 4))

    @functools.cached_property
    def decompose_rate(self) -> Callable:
        """(params, hparams, x) to the means and standard errors of `elbo.decompose_rate`; [S]."""

        def one(params, h, x):
            return elbo.decompose_rate(
                training.masked(self.model, h),
                params,
                x,
                training.stream(h.seed, "evaluation"),
                len(self.dataset.train),
                preprocess=self.preprocess,
                given=self.loss_fn.given,
            )

        return self.layout.over_runs(one, shared=(2,))

    @functools.cached_property
    def add_variance(self) -> Callable:
        """(total, params, hparams, x, first batch) to the total with `elbo.sum_variance`; [S]."""

        def one(total, params, h, x, first_batch):
            return total + elbo.sum_variance(
                training.masked(self.model, h),
                params,
                x,
                training.stream(h.seed, "evaluation"),
                first_batch,
                preprocess=self.preprocess,
                batch_size=EVALUATION_BATCH,
                given=self.loss_fn.given,
            )

        return self.layout.over_runs(one, shared=(3, 4))

    @functools.cached_property
    def with_variance(self) -> Callable:
        """(params, variance) to the parameters of that density; [S]."""
        return self.layout.over_runs(
            lambda params, variance: {**params, "likelihood": {"logvar": jnp.log(variance)}}
        )

    def rows(self, split: str) -> Any:
        """What the batches of a split are gathered from, see `training.Train.chunk`."""
        x = getattr(self.dataset, split).x
        return x if self.conditions is None else {"x": x, **getattr(self.conditions, split)}

    @functools.cached_property
    def resident(self) -> Callable:
        """From the name of a split to its rows on the devices, put there once."""
        return functools.cache(lambda name: self.layout.replicate(self.rows(name)))

    @functools.cached_property
    def spread(self) -> Callable:
        """From a split's name to `rows` [M, …], M = `elbo.NUM_DECOMPOSED` or all, evenly spread.

        The order of a split may be that of its factors, so that its first rows would be alike.
        """

        def few(split):
            num = len(getattr(self.dataset, split))
            chosen = np.arange(min(num, elbo.NUM_DECOMPOSED)) * num // min(num, elbo.NUM_DECOMPOSED)
            taken = jax.tree.map(lambda leaf: np.asarray(leaf[chosen]), self.rows(split))
            return self.layout.replicate(taken)

        return functools.cache(few)

    def blocks(self, split: str, num: int | None = None) -> Iterator[tuple[int, Any]]:
        """A split in blocks of whole batches: (first batch, `rows` [n, …]).

        Args:
            split: "train", "valid" or "test".
            num: the first so many examples; None takes all.
        """
        held, x = self.rows(split), getattr(self.dataset, split).x
        num = len(x) if num is None else min(num, len(x))
        if not self.dataset.streamed:
            whole = self.resident(split)
            yield 0, whole if num == len(x) else jax.tree.map(lambda leaf: leaf[:num], whole)
            return
        row_bytes = x.nbytes // max(1, len(x))
        batches = max(1, BLOCK_BYTES // max(1, row_bytes * EVALUATION_BATCH))
        for first in range(0, num, batches * EVALUATION_BATCH):
            rows = slice(first, min(first + batches * EVALUATION_BATCH, num))
            taken = jax.tree.map(lambda leaf, rows=rows: leaf[rows], held)
            yield first // EVALUATION_BATCH, self.layout.replicate(taken)


def _bytes(number: int) -> str:
    """A number of bytes, for people."""
    return f"{number / 2**20:,.1f} MiB" if number < 2**30 else f"{number / 2**30:,.1f} GiB"


def differences(configs: Sequence[Config]) -> list[str]:
    """What sets each of several runs apart, as `beta=4 seed=1`; of one alone nothing."""
    return [" ".join(f"{n}={v}" for n, v in words.items()) for words in differing(configs)]


def differing(configs: Sequence[Config]) -> list[dict[str, str]]:
    """The settings that set each of several runs apart, spelled; what a run lacks is left out."""
    chosen = [settings(config) for config in configs]
    names = dict.fromkeys(name for setting in chosen for name in setting)
    differ = [n for n in names if len({str(setting.get(n)) for setting in chosen}) > 1]
    return [
        {n: spell(setting[n]) for n in differ if setting.get(n) is not None} for setting in chosen
    ]


def spell(value: Any) -> str:
    """A setting as it is written on the command line."""
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def build(
    configs: Sequence[Config],
    dataset,
    *,
    num_data: int | None = None,
    latent_dim: int | None = None,
) -> Experiment:
    """Makes the model, the objective and the training of the runs of one program.

    Args:
        configs: resolved, with equal `config.program_key`.
        dataset: from `vae_jax.data.load`.
        num_data: devices that share a batch, a count; None leaves the choice to `make_layout`.
        latent_dim: of the model, at least that of each run; None means the largest of them.

    Raises:
        DataError: the data's range does not fit the likelihood.
        UsageError: the network does not fit the data's shape.
    """
    config = configs[0]
    latent_dim = latent_dim or max(c.latent_dim for c in configs)
    layout = make_layout(len(configs), num_data=num_data)
    # numbers become one program with a variance "given", which takes any: each is checked here
    known = {"num_levels": dataset.num_levels, "has_missing": dataset.has_missing}
    for value in {c.variance for c in configs if not isinstance(c.variance, str)}:
        likelihoods.make(config.likelihood, variance=value, **known)
    likelihood = likelihoods.make(
        config.likelihood,
        variance=config.variance if isinstance(config.variance, str) else "given",
        **known,
    )
    data.check(dataset, likelihood.requires, what=f"--likelihood={config.likelihood}")
    loss_fn = objectives.bind(
        config.objective, num_examples=len(dataset.train), **statics_of(config)
    )
    latent = latent_of(config)
    encoder, decoder = networks.build(
        config.network,
        shape=dataset.shape,
        latent_dim=latent_dim,
        num_outputs=likelihood.num_outputs,
        widths=config.widths,
        activation=config.activation,
        dtype=jnp.dtype(config.dtype),
        num_parts=len(latent.parts),
        teacher_dropout=config.teacher_dropout,
    )
    if dataset.has_missing and not getattr(encoder, "reads_missing", False):
        raise UsageError(
            f"--network={config.network}: {dataset.name} has examples of several lengths: take "
            "--network=gru, lstm, bigru or bilstm"
        )
    conditions = None if loss_fn.conditions is None else loss_fn.conditions(dataset)
    is_conditional = conditions is not None and conditions.num > 0
    model = Model(
        encoder,
        decoder,
        likelihood,
        dataset.shape,
        latent_dim,
        latent=latent,
        num_conditions=conditions.num if is_conditional else 0,
        classes=conditions.classes if is_conditional else None,
    )
    preprocess = make_preprocess(dataset, config.binarization)
    train = training.make_train(
        loss_fn,
        model,
        preprocess=preprocess,
        num_examples=len(dataset.train),
        batch_size=config.batch_size,
        optimizer=config.optimizer,
        layout=layout,
        beside=None if conditions is None else conditions.train,
    )
    hparams = make_hparams(configs, steps_per_epoch=train.steps_per_epoch, latent_dim=latent_dim)
    return Experiment(
        configs=tuple(configs),
        dataset=dataset,
        layout=layout,
        model=model,
        loss_fn=loss_fn,
        preprocess=preprocess,
        train=train,
        conditions=conditions,
        hparams=layout.place(jax.tree.map(lambda *v: np.stack(v), *hparams)),
        num_steps=config.epochs * train.steps_per_epoch,
    )


def num_parameters(config: Config, dataset) -> int:
    """Trained numbers of a run's model alone, a count: without what only a mask holds for it."""
    params = dict(build([config], dataset).state_shape.params)
    for untrained in ("objective", modules.STATISTICS):
        params.pop(untrained, None)
    return sum(leaf.size for leaf in jax.tree.leaves(params))


def in_units(experiment: Experiment, elbo) -> dict[str, np.ndarray]:
    """ELBOs [R] of the test split of sequences in their usual unit, by name; else nothing.

    Of text the bits of a character, the ends of the strings counted; of series the nats of a step.
    """
    dataset, likelihood = experiment.dataset, experiment.model.likelihood
    if dataset.kind != "sequence":
        return {}
    known = likelihood.num_known(jax.jit(dataset.decode)(jnp.asarray(dataset.test.x)))
    num = float(np.mean(known)) / math.prod(dataset.shape[1:])
    if dataset.alphabet is None:
        return {"nats_per_step": -np.asarray(elbo) / num}
    return {"bits_per_character": -np.asarray(elbo) / (num * math.log(2))}


def far_values(dataset, likelihood) -> list[str]:
    """Lines on values that lie far from what a likelihood expects, with the remedy, or none.

    Of all values, as far as they lie from 0; and of columns whose few large values outweigh all
    others.

    Args:
        dataset: from `vae_jax.data.load`, splits [N, *stored].
        likelihood: squares of far values count in a Gaussian, which has the light tails.
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
        return [f"{told}: leave --scaling=none out, or take --scaling=unit"]
    if isinstance(likelihood, likelihoods.Gaussian):
        told = ranges.far_columns(values, splits, dataset.columns)
    return [f"{told}: take --scaling=unit, or --likelihood=laplace"] if told else []


def make_preprocess(dataset, binarization: str | None) -> Callable:
    """What happens to stored data inside the step: (stored [B, *stored], key) to x [B, *shape]."""
    if binarization == "dynamic":
        return lambda stored, key: data.binarize(key, dataset.decode(stored))
    if binarization == "threshold":
        return lambda stored, key: (dataset.decode(stored) > 0.5).astype(jnp.float32)
    return lambda stored, key: dataset.decode(stored)


def evaluate(experiment: Experiment, params, split: str, step) -> elbo.Evaluation:
    """The objective's terms over a split, and what the rate consists of; leaves [R, …], NumPy.

    A term over rows of known label is left out of a split that has none.

    Args:
        experiment: from `build`.
        params: [S, …], of densities (see `frozen`).
        split: "train", "valid" or "test".
        step: steps done by each run, [S].
    """
    at_step = experiment.hparams_at(experiment.hparams, step)
    moments = None
    for first_batch, x in experiment.blocks(split):
        moments = experiment.accumulate(params, at_step, moments, x, np.int32(first_batch))
    evaluated = elbo.summarize(experiment.layout.read(moments))
    few = experiment.spread(split)
    decomposed = experiment.decompose_rate(params, experiment.hparams, few)
    parts, errors = experiment.layout.read(decomposed)
    # an objective that prices them has measured them itself, of all examples
    found = evaluated._replace(
        terms={**parts, **evaluated.terms},
        standard_errors={**errors, **evaluated.standard_errors},
    )
    empty = {n for n, num in found.num_rows.items() if n != "loss" and not np.any(num)}
    kept = ("terms", "standard_errors", "num_rows")
    return found._replace(**{field: _without(getattr(found, field), empty) for field in kept})


def num_examples_of(evaluated: elbo.Evaluation) -> dict[str, np.ndarray]:
    """`name_num_examples` → how many examples a term over rows of known label is a mean of, [R]."""
    return {f"{n}_num_examples": np.int64(num) for n, num in evaluated.num_rows.items()}


def _without(values: dict, names: set[str]) -> dict:
    return {name: value for name, value in values.items() if name not in names}


def frozen(experiment: Experiment, params, num: int | None = None):
    """The parameters [S, …] that make p(x|z) a density, see `elbo.freeze_likelihood`.

    Args:
        experiment: from `build`.
        params: [S, …].
        num: how many training examples decide; None takes all.
    """
    if experiment.model.likelihood.frozen() == experiment.model.likelihood:
        return params
    num_examples = len(experiment.dataset.train)
    num = num_examples if num is None else min(num, num_examples)
    total = experiment.layout.place(np.zeros(len(experiment.configs), np.float32))
    for first, x in experiment.blocks("train", num):
        total = experiment.add_variance(total, params, experiment.hparams, x, np.int32(first))
    variance = experiment.layout.read(total) / np.float32(num)
    return experiment.with_variance(params, experiment.layout.place(variance))


def member(experiment: Experiment, run: int, params) -> tuple[Model, Any, Any]:
    """One run of a program, alone: its model (a density), its parameters and its hyperparameters.

    Args:
        experiment: from `build`.
        run: which, a scalar.
        params: [R, …], NumPy.

    Returns:
        (`Model` with the run's mask, its parameters, its `Hparams`), without the axis of runs.
    """
    hparams, params = jax.tree.map(
        lambda leaf: jnp.asarray(leaf[run]), (experiment.layout.read(experiment.hparams), params)
    )
    model = training.masked(experiment.model, hparams)
    return model.replace(likelihood=model.likelihood.frozen()), params, hparams
