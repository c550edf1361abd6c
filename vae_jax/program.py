"""A program: R runs that differ only in numbers; each of its functions compiles once.

The command line builds one from flags, `vae_jax.fit` from its arguments, with R = 1. Arrays of all
runs are [S, …] on the devices, see `vae_jax.devices.layout`.
"""

import contextlib
import dataclasses
import functools
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from vae_jax import schedules, training
from vae_jax.devices import streaming
from vae_jax.devices.layout import Layout
from vae_jax.evaluation import elbo

__all__ = [
    "BLOCK_BYTES",
    "EVALUATION_BATCH",
    "EVALUATION_NUMBERS",
    "NUM_FOR_VARIANCE",
    "SAME",
    "Carried",
    "Program",
    "begin",
    "bytes_of_evaluation",
    "bytes_of_step",
    "end_epoch",
    "evaluate",
    "frozen",
    "latent_use",
    "make_splits",
    "member",
    "num_examples_of",
    "objective_terms",
    "result_params",
    "source",
    "target",
    "with_fillers",
    "x_of",
]

BLOCK_BYTES = 2**26
"""Bytes sent to a device at a time if the data is streamed (a scalar)."""
EVALUATION_BATCH = 500
"""Examples that are evaluated at a time if they are small, a count."""
EVALUATION_NUMBERS = 2**21
"""Numbers in the examples that are evaluated at a time, a count: of large ones, fewer at a time."""
NUM_FOR_VARIANCE = 5000
"""Number of training examples for the optimal variance in a validation, a count."""

SAME = 1e-6
"""A standard error below this share (a scalar) of its value is rounding of equal numbers."""


class _Compiled(functools.cached_property):
    """A compiled function of a `Program`, which depends neither on its numbers nor on its rows."""


class Carried(NamedTuple):
    """The contents of a checkpoint, [R, …]: the state of training and the best validation."""

    state: training.State
    best: Any


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Program:
    """The runs of a program and its functions.

    Attributes:
        layout: how runs are placed on devices.
        model: has the largest latent dimension; each run masks it according to its `hparams`.
        loss_fn, preprocess, train: see `training.make_train`.
        hparams: hyperparameters of all runs, leaves [S, …] on the devices.
        num_steps: of each run, a count.
        splits: "train", and "valid" and "test" if they exist → the rows that batches are gathered
            from, see `training.Train.chunk`: x [N, *stored], or {"x": x, …}.
        streamed: whether the data stay on the host and are sent to the devices in blocks.
        patience: a run stops after this many epochs without a better validation, a count, and keeps
            its best parameters. None never stops, and the last parameters are the result.
    """

    layout: Layout
    model: Any
    loss_fn: training.Objective
    preprocess: Callable
    train: training.Train
    hparams: training.Hparams
    num_steps: int
    splits: Mapping[str, Any]
    streamed: bool = False
    patience: int | None = None

    @property
    def is_single(self) -> bool:
        """Whether there is only one run."""
        return self.layout.num_runs == 1

    def again(self, **changed: Any) -> "Program":
        """The same program with other numbers and other rows [N, …]: shares what is compiled.

        Args:
            changed: fields that no compiled function reads: hparams and splits with as many
                training examples, num_steps, patience.
        """
        other = dataclasses.replace(self, **changed)
        shared = (name for name, held in vars(Program).items() if isinstance(held, _Compiled))
        vars(other).update({name: getattr(self, name) for name in shared})
        return other

    def rows(self, split: str) -> Any:
        """The rows of a split, see `splits`."""
        return self.splits[split]

    def size(self, split: str) -> int:
        """The number of examples in a split, a count; 0 if the split does not exist."""
        rows = self.splits.get(split)
        return 0 if rows is None else len(x_of(rows))

    @functools.cached_property
    def evaluation_batch(self) -> int:
        """The number of examples that are evaluated at a time, a count."""
        return int(np.clip(EVALUATION_NUMBERS // math.prod(self.model.shape), 1, EVALUATION_BATCH))

    @_Compiled
    def init(self) -> Callable:
        """hparams [S] to `State` [S]."""
        return self.layout.over_runs(self.train.init, is_rare=True)

    @functools.cached_property
    def state_shape(self) -> training.State:
        """Shapes and dtypes of the state, [S, …], without computing it."""
        return jax.eval_shape(self.init, self.hparams)

    @_Compiled
    def chunk(self) -> Callable:
        """(state, hparams, x, num_steps) to state, see `training.Train`."""
        shared = (3,) if self.streamed else (2, 3)
        return self.layout.over_runs(
            self.train.chunk,
            shared=shared,
            donate=(0,),
            is_idle=lambda state, *_: state.stopped,
        )

    @_Compiled
    def hparams_at(self) -> Callable:
        """(hparams, number of steps) to the values used in the last of these steps; [S]."""
        return self.layout.over_runs(
            lambda h, step: schedules.evaluate(h, jnp.maximum(step - 1, 0))
        )

    def learning_rates(self, step: int) -> np.ndarray:
        """Learning rates of the last of `step` steps (a scalar): [R]."""
        steps = self.layout.place(np.full(self.layout.num_runs, step, np.int32))
        return self.layout.read(self.hparams_at(self.hparams, steps).learning_rate)

    @_Compiled
    def drop_sums(self) -> Callable:
        """State [S] to the same with zero sums for failed runs, so that saved values are finite."""

        def one(state):
            zeroed = {n: jnp.where(state.failure < 0, v, 0.0) for n, v in state.sums.items()}
            return state.replace(sums=zeroed)

        return self.layout.over_runs(one)

    @_Compiled
    def start_best(self) -> Callable:
        """State [S] to the initial value of the best validation; [S]."""

        def one(state):
            return {
                "params": state.params,
                "score": jnp.float32(-jnp.inf),
                "epoch": jnp.int32(0),
            }

        return self.layout.over_runs(one)

    @_Compiled
    def keep_best(self) -> Callable:
        """(best, params, score, epoch) to the new best, for each run; [S], the epoch is shared."""

        def one(best, params, score, epoch):
            new = {"params": params, "score": score, "epoch": epoch}
            return jax.tree.map(lambda a, b: jnp.where(score > best["score"], a, b), new, best)

        return self.layout.over_runs(one, shared=(3,))

    @_Compiled
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
                batch_size=min(self.evaluation_batch, len(x_of(x))),
                given=self.loss_fn.given,
            )

        return self.layout.over_runs(one, shared=(3, 4))

    @_Compiled
    def decompose_rate(self) -> Callable:
        """(params, hparams, x) to means and standard errors of `elbo.decompose_rate`; [S]."""

        def one(params, h, x):
            return elbo.decompose_rate(
                training.masked(self.model, h),
                params,
                x,
                training.stream(h.seed, "evaluation"),
                self.size("train"),
                preprocess=self.preprocess,
                given=self.loss_fn.given,
            )

        return self.layout.over_runs(one, shared=(2,))

    @_Compiled
    def add_variance(self) -> Callable:
        """(total, params, hparams, x, first batch) to total + `elbo.sum_variance`; [S]."""

        def one(total, params, h, x, first_batch):
            return total + elbo.sum_variance(
                training.masked(self.model, h),
                params,
                x,
                training.stream(h.seed, "evaluation"),
                first_batch,
                preprocess=self.preprocess,
                batch_size=min(self.evaluation_batch, len(x_of(x))),
                given=self.loss_fn.given,
            )

        return self.layout.over_runs(one, shared=(3, 4))

    @_Compiled
    def with_variance(self) -> Callable:
        """(params, variance) to the parameters with that variance; [S]."""
        return self.layout.over_runs(
            lambda params, variance: {**params, "likelihood": {"logvar": jnp.log(variance)}}
        )

    @functools.cached_property
    def resident(self) -> Callable:
        """Split name to its rows on the devices; they are copied once."""
        return functools.cache(lambda name: self.layout.replicate(self.rows(name)))

    @functools.cached_property
    def spread(self) -> Callable:
        """Split name to evenly spaced `rows` [M, …], M = `elbo.NUM_DECOMPOSED` or all.

        The order of a split may follow its factors, so its first rows might be alike.
        """

        def few(split):
            num = self.size(split)
            chosen = np.arange(min(num, elbo.NUM_DECOMPOSED)) * num // min(num, elbo.NUM_DECOMPOSED)
            taken = jax.tree.map(lambda leaf: np.asarray(leaf[chosen]), self.rows(split))
            return self.layout.replicate(taken)

        return functools.cache(few)

    def blocks(self, split: str, num: int | None = None) -> Iterator[tuple[int, Any]]:
        """Yields a split in blocks of whole batches: (first batch, `rows` [n, …]).

        Args:
            split: "train", "valid" or "test".
            num: the number of examples, from the first; None takes all.
        """
        held = self.rows(split)
        x = x_of(held)
        num = len(x) if num is None else min(num, len(x))
        if not self.streamed:
            whole = self.resident(split)
            yield 0, whole if num == len(x) else jax.tree.map(lambda leaf: leaf[:num], whole)
            return
        size = self.rows_per_block(split)
        for first in range(0, num, size):
            rows = slice(first, min(first + size, num))
            taken = jax.tree.map(lambda leaf, rows=rows: leaf[rows], held)
            yield first // self.evaluation_batch, self.layout.replicate(taken)

    def rows_per_block(self, split: str) -> int:
        """Rows of a split that `blocks` yields at a time if the data are streamed, a count."""
        x = x_of(self.rows(split))
        row_bytes, size = x.nbytes // max(1, len(x)), self.evaluation_batch
        return size * max(1, BLOCK_BYTES // max(1, row_bytes * size))


def bytes_of_step(program: Program) -> int:
    """Bytes, a scalar, that steps of a training take beside the state and the data.

    It compiles the function of the steps, which the training then need not, and computes nothing.
    What it takes is known by its code: temporary values, and results that replace no argument.
    """
    layout = program.layout
    state, x = layout.shapes(program.state_shape), _on_devices(program, "train")
    if program.streamed:
        x = streaming.block_shapes(program.rows("train"), program.train, layout)
    return _beside(program.chunk, state, program.hparams, x, np.int32(1))


def bytes_of_evaluation(program: Program) -> int:
    """Bytes, a scalar, that the evaluation of a split takes, as in `bytes_of_step`: the most."""
    layout, state = program.layout, program.layout.shapes(program.state_shape)
    at_step = layout.shapes(jax.eval_shape(program.hparams_at, program.hparams, state.step))
    params, first = state.params if state.ema is None else state.ema, np.int32(0)
    if program.model.likelihood.frozen() != program.model.likelihood:
        variance = layout.shapes(jax.ShapeDtypeStruct((layout.num_slots,), np.float32))
        params = layout.shapes(jax.eval_shape(program.with_variance, params, variance))
    found = [0]
    for split in ("valid", "test"):
        if program.size(split):
            whole = _on_devices(program, split)
            few = _on_devices(program, split, elbo.NUM_DECOMPOSED)
            found += [
                _beside(program.accumulate, params, at_step, None, whole, first),
                _beside(program.decompose_rate, params, program.hparams, few),
            ]
    return max(found)


def _beside(function: Callable, *arguments: Any) -> int:
    """Bytes that a compiled function takes beside its arguments."""
    found = function.lower(*arguments).compile().memory_analysis()
    if found is None:  # a platform that does not say
        return 0
    results = found.output_size_in_bytes - found.alias_size_in_bytes
    return found.temp_size_in_bytes + max(0, results)


def _on_devices(program: Program, split: str, num: int | None = None) -> Any:
    """The shapes of the rows of a split that are on the devices at a time, at most `num`."""
    if num is None:
        num = program.rows_per_block(split) if program.streamed else program.size(split)
    rows = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct((min(num, len(leaf)), *leaf.shape[1:]), leaf.dtype),
        program.rows(split),
    )
    return program.layout.shapes(rows, is_shared=True)


def x_of(rows: Any) -> Any:
    """The examples [N, *stored] in the rows that batches are gathered from, see `make_splits`."""
    return rows["x"] if isinstance(rows, Mapping) else rows


def make_splits(dataset, conditions: training.Conditions | None) -> dict[str, Any]:
    """The rows that batches are gathered from, see `Program.splits`.

    Args:
        dataset: from `vae_jax.data.load`.
        conditions: what an objective needs for each row beside x, arrays [N, …]; None for nothing.
    """
    x = {split: getattr(dataset, split).x for split in ("train", "valid", "test")}
    if conditions is None:
        return x
    return {split: {"x": each, **getattr(conditions, split)} for split, each in x.items()}


def begin(program: Program) -> Carried:
    """The initial state and best validation: [S, …]."""
    state = program.init(program.hparams)
    return Carried(state, program.start_best(state) if program.patience else None)


def target(program: Program) -> Carried:
    """Shapes and dtypes of the contents of a checkpoint: leaves [R, …], without fillers."""
    state = program.state_shape
    best = jax.eval_shape(program.start_best, state) if program.patience else None
    return jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct((program.layout.num_runs, *leaf.shape[1:]), leaf.dtype),
        Carried(state, best),
    )


def result_params(carried: Carried) -> Any:
    """The parameters [S, …] of the result: the best, the averaged, or the last ones."""
    if carried.best is not None:
        return carried.best["params"]
    return carried.state.params if carried.state.ema is None else carried.state.ema


@contextlib.contextmanager
def source(program: Program):
    """The source of batches for `train_until`: rows [N, …] on the devices, or a feed."""
    if not program.streamed:
        yield program.resident("train")
        return
    seeds = program.layout.fill(program.layout.read(program.hparams.seed))
    feed = streaming.Feed(program.rows("train"), program.train, seeds, program.layout)
    try:
        yield feed
    finally:
        feed.close()


def end_epoch(program: Program, carried: Carried, step: int):
    """Ends an epoch at a step (a scalar): returns its rows and the new state.

    There is one row for each run that trained to that step; if there are several runs, `run` names
    it.
    """
    state, best = carried
    layout = program.layout
    epoch = step // program.train.steps_per_epoch
    steps, sums = layout.read((state.step, state.sums))
    columns = {n: v / program.size("train") for n, v in sums.items()}
    at_step = layout.read(program.hparams_at(program.hparams, state.step))
    columns |= {"learning_rate": at_step.learning_rate, **at_step.objective}
    is_training = steps == step
    if program.size("valid"):
        params = state.params if state.ema is None else state.ema
        density = frozen(program, params, NUM_FOR_VARIANCE)
        evaluated = evaluate(program, density, "valid", state.step)
        columns |= {f"valid_{name}": values for name, values in evaluated.terms.items()}
        columns |= {n: v for n, v in latent_use(evaluated).items() if n == "active_units"}
        if best is not None:
            score = np.asarray(columns.get("valid_elbo", -columns["valid_loss"]), np.float32)
            score = np.where(is_training, score, -np.inf).astype(np.float32)
            best = program.keep_best(
                best, params, layout.place(score), layout.replicate(np.int32(epoch))
            )
            is_out = epoch - layout.read(best["epoch"]) >= program.patience
            stopped = layout.read(state.stopped) | is_out
            state = state.replace(stopped=layout.place_slots(with_fillers(layout, stopped)))
    columns = {name: np.asarray(values).tolist() for name, values in columns.items()}
    rows = [
        {
            **({} if program.is_single else {"run": r}),
            "step": step,
            "epoch": epoch,
            **{name: values[r] for name, values in columns.items()},
        }
        for r in np.flatnonzero(is_training).tolist()
    ]
    return rows, Carried(state, best)


def with_fillers(layout, stopped: np.ndarray) -> np.ndarray:
    """Extends [R] booleans to [S] with True: fillers never train."""
    return np.concatenate([stopped, np.ones(layout.num_slots - layout.num_runs, bool)])


def evaluate(program: Program, params, split: str, step) -> elbo.Evaluation:
    """The objective's terms over a split, and the parts of the rate; leaves [R, …], NumPy.

    A term over labeled rows is left out if the split has no labels.

    Args:
        program: the runs.
        params: [S, …], with a fixed density (see `frozen`).
        split: "train", "valid" or "test".
        step: number of steps done by each run, [S].
    """
    at_step = program.hparams_at(program.hparams, step)
    moments = None
    for first_batch, x in program.blocks(split):
        moments = program.accumulate(params, at_step, moments, x, np.int32(first_batch))
    evaluated = jax.device_get(elbo.summarize(program.layout.read(moments)))
    few = program.spread(split)
    decomposed = program.decompose_rate(params, program.hparams, few)
    parts, errors = program.layout.read(decomposed)
    # an objective that penalizes these parts has measured them itself, on all examples
    found = evaluated._replace(
        terms={**parts, **evaluated.terms},
        standard_errors={**errors, **evaluated.standard_errors},
    )
    empty = {n for n, num in found.num_rows.items() if n != "loss" and not np.any(num)}
    kept = ("terms", "standard_errors", "num_rows")
    return found._replace(**{field: _without(getattr(found, field), empty) for field in kept})


def num_examples_of(evaluated: elbo.Evaluation) -> dict[str, Any]:
    """`name_num_examples` → the number of labeled examples in the mean of a term, [R]."""
    return {f"{n}_num_examples": np.int64(num) for n, num in evaluated.num_rows.items()}


def _without(values: dict, names: set[str]) -> dict:
    return {name: value for name, value in values.items() if name not in names}


def frozen(program: Program, params, num: int | None = None):
    """The parameters [S, …] with a fixed density p(x|z), see `elbo.freeze_likelihood`.

    Args:
        program: the runs.
        params: [S, …].
        num: the number of training examples to use; None takes all.
    """
    if program.model.likelihood.frozen() == program.model.likelihood:
        return params
    num_examples = program.size("train")
    num = num_examples if num is None else min(num, num_examples)
    total = program.layout.place(np.zeros(program.layout.num_runs, np.float32))
    for first, x in program.blocks("train", num):
        total = program.add_variance(total, params, program.hparams, x, np.int32(first))
    variance = program.layout.read(total) / np.float32(num)
    return program.with_variance(params, program.layout.place(variance))


def objective_terms(program: Program, params, step: int) -> dict[str, float | int]:
    """The objective's terms on the test split of a single run, as in `result.json`.

    Args:
        program: a program with one run.
        params: [S, …], with a fixed density (see `frozen`).
        step: number of steps done, a scalar.

    Returns:
        Terms and standard errors in nats, active units, counts; scalars. A term that is the same
        for all examples has no standard error.
    """
    steps = program.layout.place(np.full(1, step, np.int32))
    evaluated = evaluate(program, params, "test", steps)
    terms = {name: float(value[0]) for name, value in evaluated.terms.items()}
    errors = {
        f"{name}_standard_error": float(value[0])
        for name, value in evaluated.standard_errors.items()
        if value[0] > SAME * abs(terms[name])
    }
    counts = {n: int(num[0]) for n, num in num_examples_of(evaluated).items()}
    found = {"num_examples": program.size("test"), **terms, **errors, **counts}
    if evaluated.mean_variance is not None:
        found["active_units"] = int(elbo.active_units(evaluated.mean_variance[0]).sum())
    return found


def latent_use(evaluated: elbo.Evaluation) -> dict[str, Any]:
    """Active units [R], the rate of each dimension [R, L], and the effective number of dimensions.

    Each is there only if it is known.
    """
    if evaluated.mean_variance is None:
        return {}
    found = {"active_units": elbo.active_units(evaluated.mean_variance).sum(axis=-1)}
    if evaluated.rate_per_dim is None:
        return found
    effective = elbo.effective_number(evaluated.rate_per_dim)
    return {**found, "effective_units": effective, "rate_per_dim": evaluated.rate_per_dim}


def member(program: Program, run: int, params) -> tuple[Any, Any, Any]:
    """Extracts one run of a program: its model (a density), parameters and hyperparameters.

    Args:
        program: the runs.
        run: index of the run, a scalar.
        params: [R, …], NumPy.

    Returns:
        (`Model` with the run's mask, its parameters, its `Hparams`), without the axis of runs.
    """
    hparams, params = jax.tree.map(
        lambda leaf: jax.device_put(leaf[run]), (program.layout.read(program.hparams), params)
    )
    model = training.masked(program.model, hparams)
    return model.replace(likelihood=model.likelihood.frozen()), params, hparams
