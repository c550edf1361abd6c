"""A program: R runs that differ in numbers only, and their functions, each compiled once.

The command line builds one from flags, `vae_jax.fit` from its arguments, with R = 1. Arrays of all
runs are [S, …] on the devices, see `vae_jax.devices.layout`.
"""

import contextlib
import dataclasses
import functools
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
    "NUM_FOR_VARIANCE",
    "SAME",
    "Carried",
    "Program",
    "begin",
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
]

BLOCK_BYTES = 2**26
"""What is brought to a device at a time where the data is streamed, in bytes (a scalar)."""
EVALUATION_BATCH = 500
"""Examples that are evaluated at a time, a count."""
NUM_FOR_VARIANCE = 5000
"""Training examples from which an optimal variance is fixed for a validation, a count."""

SAME = 1e-6
"""A standard error below this share (a scalar) of its value is the rounding of equal numbers."""


class Carried(NamedTuple):
    """What a checkpoint holds, [R, …]: the training's state and the best validation so far."""

    state: training.State
    best: Any


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Program:
    """The runs of a program, and its functions.

    Attributes:
        layout: where the runs live.
        model: of the largest latent dimension; each run masks it as its `hparams` say.
        loss_fn, preprocess, train: see `training.make_train`.
        hparams: of all runs, leaves [S, …] on the devices.
        num_steps: of each run, a count.
        splits: "train", and "valid" and "test" where there are some → what their batches are
            gathered from, see `training.Train.chunk`: x [N, *stored], or {"x": x, …}.
        streamed: whether the data stay on the host and are fed to the devices block by block.
        patience: epochs without a better validation after which a run stops, a count; its best
            parameters are then kept. None: it never stops, and the last ones count.
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
        """Whether there is one run only."""
        return self.layout.num_runs == 1

    def rows(self, split: str) -> Any:
        """What the batches of a split are gathered from, see `splits`."""
        return self.splits[split]

    def size(self, split: str) -> int:
        """How many examples a split has, a count; 0 where there is no such split."""
        rows = self.splits.get(split)
        return 0 if rows is None else len(_x(rows))

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
        shared = (3,) if self.streamed else (2, 3)
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
        steps = self.layout.place(np.full(self.layout.num_runs, step, np.int32))
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
                self.size("train"),
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
            num = self.size(split)
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
        held = self.rows(split)
        x = _x(held)
        num = len(x) if num is None else min(num, len(x))
        if not self.streamed:
            whole = self.resident(split)
            yield 0, whole if num == len(x) else jax.tree.map(lambda leaf: leaf[:num], whole)
            return
        row_bytes = x.nbytes // max(1, len(x))
        batches = max(1, BLOCK_BYTES // max(1, row_bytes * EVALUATION_BATCH))
        for first in range(0, num, batches * EVALUATION_BATCH):
            rows = slice(first, min(first + batches * EVALUATION_BATCH, num))
            taken = jax.tree.map(lambda leaf, rows=rows: leaf[rows], held)
            yield first // EVALUATION_BATCH, self.layout.replicate(taken)


def _x(rows: Any) -> Any:
    """The examples among what batches are gathered from, [N, *stored]."""
    return rows["x"] if isinstance(rows, Mapping) else rows


def make_splits(dataset, conditions: training.Conditions | None) -> dict[str, Any]:
    """What batches are gathered from, see `Program.splits`.

    Args:
        dataset: from `vae_jax.data.load`.
        conditions: what an objective asks of each row beside x, arrays [N, …]; None: nothing.
    """
    x = {split: getattr(dataset, split).x for split in ("train", "valid", "test")}
    if conditions is None:
        return x
    return {split: {"x": each, **getattr(conditions, split)} for split, each in x.items()}


def begin(program: Program) -> Carried:
    """What is carried before the first step: [S, …]."""
    state = program.init(program.hparams)
    return Carried(state, program.start_best(state) if program.patience else None)


def target(program: Program) -> Carried:
    """Shapes and dtypes of what a checkpoint holds: leaves [R, …], without fillers."""
    state = program.state_shape
    best = jax.eval_shape(program.start_best, state) if program.patience else None
    return jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct((program.layout.num_runs, *leaf.shape[1:]), leaf.dtype),
        Carried(state, best),
    )


def result_params(carried: Carried) -> Any:
    """The parameters [S, …] of a result: the best, the averaged, or the last ones."""
    if carried.best is not None:
        return carried.best["params"]
    return carried.state.params if carried.state.ema is None else carried.state.ema


@contextlib.contextmanager
def source(program: Program):
    """What `train_until` takes its batches from: rows [N, …] on the devices, or a feed."""
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
    """The rows of an epoch that ended with a step (a scalar), and what is carried on.

    A row for each run that trained to that step; `run` names it where there are several.
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
    """[R] booleans as [S]: what fills the slots up never trains."""
    return np.concatenate([stopped, np.ones(layout.num_slots - layout.num_runs, bool)])


def evaluate(program: Program, params, split: str, step) -> elbo.Evaluation:
    """The objective's terms over a split, and what the rate consists of; leaves [R, …], NumPy.

    A term over rows of known label is left out of a split that has none.

    Args:
        program: the runs.
        params: [S, …], of densities (see `frozen`).
        split: "train", "valid" or "test".
        step: steps done by each run, [S].
    """
    at_step = program.hparams_at(program.hparams, step)
    moments = None
    for first_batch, x in program.blocks(split):
        moments = program.accumulate(params, at_step, moments, x, np.int32(first_batch))
    evaluated = elbo.summarize(program.layout.read(moments))
    few = program.spread(split)
    decomposed = program.decompose_rate(params, program.hparams, few)
    parts, errors = program.layout.read(decomposed)
    # an objective that prices them has measured them itself, of all examples
    found = evaluated._replace(
        terms={**parts, **evaluated.terms},
        standard_errors={**errors, **evaluated.standard_errors},
    )
    empty = {n for n, num in found.num_rows.items() if n != "loss" and not np.any(num)}
    kept = ("terms", "standard_errors", "num_rows")
    return found._replace(**{field: _without(getattr(found, field), empty) for field in kept})


def num_examples_of(evaluated: elbo.Evaluation) -> dict[str, Any]:
    """`name_num_examples` → how many examples a term over rows of known label is a mean of, [R]."""
    return {f"{n}_num_examples": np.int64(num) for n, num in evaluated.num_rows.items()}


def _without(values: dict, names: set[str]) -> dict:
    return {name: value for name, value in values.items() if name not in names}


def frozen(program: Program, params, num: int | None = None):
    """The parameters [S, …] that make p(x|z) a density, see `elbo.freeze_likelihood`.

    Args:
        program: the runs.
        params: [S, …].
        num: how many training examples decide; None takes all.
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
    """The objective's terms on the test split of a run alone, as `result.json` has them.

    Args:
        program: of one run.
        params: [S, …], of a density (see `frozen`).
        step: steps done, a scalar.

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
    """Active units [R] and the rate of each dimension [R, L]; nothing where there is no prior."""
    if evaluated.rate_per_dim is None:
        return {}
    units = elbo.active_units(evaluated.mean_variance).sum(axis=-1)
    return {"active_units": units, "rate_per_dim": evaluated.rate_per_dim}


def member(program: Program, run: int, params) -> tuple[Any, Any, Any]:
    """One run of a program, alone: its model (a density), its parameters and its hyperparameters.

    Args:
        program: the runs.
        run: which, a scalar.
        params: [R, …], NumPy.

    Returns:
        (`Model` with the run's mask, its parameters, its `Hparams`), without the axis of runs.
    """
    hparams, params = jax.tree.map(
        lambda leaf: jnp.asarray(leaf[run]), (program.layout.read(program.hparams), params)
    )
    model = training.masked(program.model, hparams)
    return model.replace(likelihood=model.likelihood.frozen()), params, hparams
