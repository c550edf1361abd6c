"""Training as pure functions of (state, hyperparameters, data).

`make_train` takes the static settings and returns `Train`: `init`, `step` and `chunk`, which can be
jitted, mapped over runs, or called directly. All randomness follows from the run's seed and the
step, so a state and a step number are enough to resume: the batch of step t is a function of (seed,
epoch, index), its noise of (seed, t). The data is either on the device as a whole, or the host
gathers it in blocks of batches: same rows, same order, same program.
"""

import dataclasses
import functools
import inspect
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax

from vae_jax import modules, schedules, shuffling
from vae_jax.errors import UsageError

__all__ = [
    "LEARNING_RATE",
    "OPTIMIZERS",
    "SKIPPED",
    "Block",
    "Conditions",
    "Hparams",
    "Objective",
    "State",
    "Train",
    "epoch_metrics",
    "make_train",
    "masked",
    "stream",
    "train_until",
]

SKIPPED = "skipped_steps"
"""The number of skipped steps of an epoch among its metrics, if `skip_norm` is given; scalars."""
_STREAMS = ("init", "order", "step", "evaluation", "pictures", "objective")
_UPDATE = 2**32 - 1
"""Folded into a step's key for an objective's update; differs from the splits of a loss."""
_TEACHER = 2**32 - 2
"""Folded into a step's key for teacher dropout."""
_EXAMPLES = 2**32 - 1
"""Folded into the key of the initial parameters for the preprocessing of training rows."""
_TRAIN = 2**32 - 3
"""Folded into a step's key for random draws of networks in training."""
_BEGIN = 2**32 - 4
"""Folded into a step's key for what a phase begins with."""


def stream(seed, name: str) -> jax.Array:
    """The PRNG key for one use of a run's seed.

    Args:
        seed: int32 scalar [].
        name: "init", "order", "step", "evaluation", "pictures" or "objective".

    Returns:
        A key, scalar [].
    """
    return jax.random.fold_in(jax.random.key(seed), _STREAMS.index(name))


@dataclasses.dataclass(frozen=True, eq=False)
class Objective:
    """The parts of an objective that training uses; a plain function like `loss` works, too.

    Attributes:
        loss: (model, params, batch, key, **h) → (loss [B], aux), see `vae_jax.objectives`.
        init: (model, key) → the objective's own parameters, any pytree, which training keeps in
            `params["objective"]`; None if it has none.
        optimizer: (**h) → the optax transformation of those parameters; None for the model's
        optimizer.
        latent: () → the family of latents that it needs; None if any works. The code that makes the
            model uses it.
        mechanism: () → the missing mechanism that it learns, one of `vae_jax.mechanisms`; None for
            none.
        update: (model, params before the step, params after it, batch, key, **h) → params, for
            updates without a gradient; None for none.
        conditions: (dataset) → `Conditions`, what its batches hold beside x; None for nothing.
        given: (model, params, batch) → the model conditioned on the rows of a batch, for code that
            encodes them outside `loss`; None leaves the model as it is.
        beside: (model, {name: [N, …]}) → what batches hold beside x, checked and encoded from what
            a user passes; None leaves it as it is.
        corrupt: (x [B, *shape], key, **h) → the input of the encoder during training; None for x
            itself.
        phase: (model, **h) → a scalar; the optimizer state is reset whenever it changes; None for
        never.
        begin: (model, params, batch, key, **h) → the params with which a new phase begins, from its
            first batch; an average of the parameters begins anew there. None for those there are.
        notes: (model) → lines to print before training.
        row_weights: (batch, **h) → {term: weights [B]} of the terms that are means over some rows
            only, such as those with a known label: the loss or aux holds w·v of each row, and the
            weights w ≥ 0 average 1 over a split. Evaluation computes Σ w·v / Σ w and the standard
            error of that ratio. None weights all rows equally in every term.
    """

    loss: Callable
    init: Callable | None = None
    optimizer: Callable | None = None
    latent: Callable | None = None
    mechanism: Callable | None = None
    update: Callable | None = None
    conditions: Callable | None = None
    given: Callable | None = None
    beside: Callable | None = None
    corrupt: Callable | None = None
    phase: Callable | None = None
    begin: Callable | None = None
    notes: Callable = lambda model: ()
    row_weights: Callable | None = None

    def __call__(self, model, params, batch, key, **hyperparameters):
        """Calls `loss`, with arguments of the same shapes."""
        return self.loss(model, params, batch, key, **hyperparameters)


class Conditions(NamedTuple):
    """What an objective needs for each row of a dataset beside x.

    Args:
        train, valid, test: what the batches of a split hold beside x, by name; arrays [N, …].
        num: C, the size of the condition, a count; 0 if only the loss uses it.
        shown: conditions [P, C] for which pictures are drawn, one per row.
        names: the names of those P conditions.
        what: a description of the condition, to follow "c is".
        classes: the user's own labels of C classes, see `vae_jax.model.Model`; () for C numbers.
        notes: lines for the log.
    """

    train: dict[str, np.ndarray]
    valid: dict[str, np.ndarray]
    test: dict[str, np.ndarray]
    num: int
    shown: np.ndarray
    names: tuple[str, ...]
    what: str = "what the data tell of x"
    classes: tuple | None = None
    notes: tuple[str, ...] = ()


class Hparams(flax.struct.PyTreeNode):
    """Settings that may differ between the runs of one program: scalars, schedules, one array.

    Args:
        seed: int32 scalar.
        learning_rate: scalar or schedule.
        objective: keyword arguments of the objective, each a scalar or a schedule.
        weight_decay: weight decay of adamw, scalar or schedule.
        adam: values of Adam's b1, b2 and eps (named as in optax) that differ from the defaults,
            scalars.
        clip_norm: largest global norm of a gradient, scalar or schedule; None does not clip.
        skip_norm: a step whose gradient has a larger global norm changes no parameter and nothing
            of the optimizer, scalar or schedule; None skips none.
        ema_decay: decay of the exponential moving average (EMA) of the parameters, scalar; it
            includes running statistics of networks. None keeps no average.
        init_scale: factor of the standard deviation of initial kernels, scalar; None leaves them as
            the model draws them.
        latent_mask: None or [L] of zeros and ones.
        variance: the variance of a likelihood whose variance is "given", scalar; None leaves the
            likelihood's.
    """

    seed: Any
    learning_rate: Any
    objective: dict[str, Any] = flax.struct.field(default_factory=dict)
    weight_decay: Any = 1e-4
    adam: dict[str, Any] = flax.struct.field(default_factory=dict)
    clip_norm: Any = None
    skip_norm: Any = None
    ema_decay: Any = None
    init_scale: Any = None
    latent_mask: Any = None
    variance: Any = None


def masked(model, hparams: Hparams):
    """The model with the run's latent mask [L]; unchanged if the run has none."""
    return model if hparams.latent_mask is None else model.replace(latent_mask=hparams.latent_mask)


def _in_training(model, hparams: Hparams, key: jax.Array):
    """The run's model in a training step with a PRNG key, with the keys that its networks need."""
    own = masked(model, hparams)
    if getattr(model, "reads_x", False):
        own = own.replace(teacher_key=jax.random.fold_in(key, jnp.uint32(_TEACHER)))
    if getattr(model, "has_modes", False):
        own = own.replace(train_key=jax.random.fold_in(key, jnp.uint32(_TRAIN)))
    return own


def _has_statistics(params) -> bool:
    """Whether the parameters, of any shapes, contain running statistics; a scalar."""
    return isinstance(params, dict) and modules.STATISTICS in params


class State(flax.struct.PyTreeNode):
    """The whole state of training; the state and its step number are enough to resume.

    Args:
        step: int32 scalar, the number of steps done.
        params: pytree of float32 arrays.
        opt_state: state of the optax optimizer.
        ema: averaged parameters, same shapes as `params`, or None.
        sums: metrics of the current epoch, summed over its examples, N times a count; scalars.
        failure: the first step with a loss, gradient or update that was not finite, or −1: int32
            scalar.
        stopped: whether the state no longer changes, bool scalar: after a failure, or if the caller
            sets it.
    """

    step: jax.Array
    params: Any
    opt_state: Any
    ema: Any
    sums: dict[str, jax.Array]
    failure: jax.Array
    stopped: jax.Array


class Block(NamedTuple):
    """Batches of consecutive steps, gathered by the host if the data does not fit on a device.

    Args:
        first: the first step in the block, int32 scalar.
        rows: [T, B, *stored], the batches of T steps; a dictionary of such arrays if batches hold
            more than x.
    """

    first: jax.Array
    rows: Any


class Train(NamedTuple):
    """The pure functions of a training: arrays in, arrays out, shapes as in `State`.

    Attributes:
        init: (hparams) → State.
        step: (state, hparams, batch, key) → (State, metrics), one update; batch is {"x": [B,
            *shape], "mask": [B], …}, metrics are scalars averaged over the rows that count.
        chunk: (state, hparams, x, num_steps) → State, that many steps (a traced scalar, so any
            length is one program) within one epoch; x is [N, *stored], or {"x": [N, *stored], …} if
            an objective needs more of each row, or a `Block`.
        rows: (seed, step) → [B] int32, the examples of a step (scalars), for code that makes a
            `Block`.
        steps_per_epoch: a count.
    """

    init: Callable
    step: Callable
    chunk: Callable
    rows: Callable
    steps_per_epoch: int


def _adam(h):
    return optax.adam(h["learning_rate"], **h["adam"])


def _adamw(h):
    decay = {"weight_decay": h["weight_decay"], "mask": _is_kernel}
    return optax.adamw(h["learning_rate"], **decay, **h["adam"])


def _sgd(h):
    return optax.sgd(h["learning_rate"])


def _momentum(h):
    # Polyak 1964, Some methods of speeding up the convergence of iteration methods
    return optax.sgd(h["learning_rate"], momentum=0.9)


def _is_kernel(params):
    """Selects weights for decay, not biases or a likelihood's variance; any shapes."""
    return jax.tree.map_with_path(lambda path, _: getattr(path[-1], "key", "") == "kernel", params)


LEARNING_RATE = "cosine(0.002, 0, 100%)"
"""The usual learning rate, as the text of a schedule."""
OPTIMIZERS: dict[str, Callable] = {
    "adam": _adam,
    "adamw": _adamw,
    "sgd": _sgd,
    "momentum": _momentum,
}
"""Optimizers by name: hyperparameters at one step to an optax transformation.

Arguments are passed by name: learning_rate and weight_decay, scalars, and adam, a dictionary of
scalars.
"""


def _terms(returned: Any, num_rows: int) -> dict[str, jax.Array]:
    """The terms [B] of what an objective returns, "loss" among them; their shapes are checked."""
    is_pair = isinstance(returned, tuple) and len(returned) == 2
    if not is_pair or not isinstance(returned[1], Mapping):
        raise UsageError(
            f"the objective returns {_kinds(returned)}: must be (loss, aux), loss [B] and aux a "
            "dict of [B]: write return loss, {} at its end"
        )
    loss, aux = returned
    for name, values in {"loss of the objective": loss, **aux}.items():
        shape, dtype = getattr(values, "shape", None), getattr(values, "dtype", None)
        is_number = isinstance(values, int | float) or (
            dtype is not None and not jnp.issubdtype(dtype, jnp.complexfloating)
        )
        if not isinstance(name, str) or not is_number or shape not in (None, (), (num_rows,)):
            raise UsageError(
                f"{name}: is {_kinds(values)}, must be a real number for each row, [B]: sum over "
                "the other axes, or leave it out of aux"
            )
    for name in ("loss", "grad_norm", SKIPPED):
        if name in aux:
            raise UsageError(f"aux holds {name!r}, which training adds: give it another name")
    return {"loss": loss, **aux}


def _kinds(values: Any) -> str:
    """What values are, in words: "(float32[5], dict)"."""
    if isinstance(values, tuple):
        return f"({', '.join(map(_kinds, values))})"
    shape, dtype = getattr(values, "shape", None), getattr(values, "dtype", None)
    is_array = isinstance(shape, tuple) and dtype is not None
    return f"{dtype}[{', '.join(map(str, shape))}]" if is_array else type(values).__name__


def _batch_means(values: dict, mask: jax.Array) -> dict:
    """Means of [B] arrays over the rows that are not padding, whatever the padded rows hold."""
    weight = mask / mask.sum()
    return {n: jnp.sum(jnp.where(weight > 0, v * weight, 0.0)) for n, v in values.items()}


def _transformation(
    make_optimizer: Callable, objective: Objective, h: Hparams, params
) -> optax.GradientTransformation:
    """The optimizer of all parameters, of any shapes; the objective's and statistics apart."""
    names = ("learning_rate", "weight_decay", "adam")
    optimizer = make_optimizer({name: getattr(h, name) for name in names})
    if h.clip_norm is not None:
        optimizer = optax.chain(optax.clip_by_global_norm(h.clip_norm), optimizer)
    apart = {}
    if objective.optimizer is not None:
        apart["objective"] = objective.optimizer(**h.objective)
    if _has_statistics(params):
        apart[modules.STATISTICS] = optax.set_to_zero()
    if not apart:
        return optimizer
    owners = {part: part if part in apart else "model" for part in params}
    return optax.partition({"model": optimizer, **apart}, owners)


def _settling(
    objective: Objective, model, before, batch: dict, key: jax.Array, h: Hparams
) -> Callable | None:
    """Updates without a gradient: from the params after the optimizer to the new params.

    `before` are the parameters before the step. Returns None if there are no such updates.
    """
    if objective.update is None and not _has_statistics(before):
        return None
    model = _in_training(model, h, key)
    own_key = jax.random.fold_in(key, jnp.uint32(_UPDATE))

    def settle(after):
        if _has_statistics(before):
            given = _given(objective, model, before, batch)
            # the key of the loss: most objectives draw the same z, so it is computed once
            seen = given.update_statistics(before, batch["x"], key)
            after = {**after, modules.STATISTICS: seen[modules.STATISTICS]}
        if objective.update is not None:
            after = objective.update(model, before, after, batch, own_key, **h.objective)
        return after

    return settle


def _given(objective: Objective, model, params, batch: dict):
    """Conditions the model on a batch if it is conditional."""
    if objective.given is not None:
        return objective.given(model, params, batch)
    if model.num_conditions:
        raise UsageError(
            "running statistics of a conditional model: the objective must say what each row is "
            "given: take objectives.bind(name, num_examples=N), or Objective(loss, given=…)"
        )
    return model


def _advance(
    transformation, state: State, h: Hparams, grads, metrics: dict, settle: Callable | None
) -> State:
    """Advances the state by one step, or freezes it if loss, gradient or rate is not finite.

    If the norm of a gradient is finite, so are its squares, the moments and the update. The norm is
    known before the update, so the selection happens in the same pass over memory. Updates without
    a gradient (`settle`: params to params) are checked themselves.
    """
    sizes = metrics["loss"], metrics["grad_norm"], jnp.asarray(h.learning_rate, jnp.float32)
    is_finite = jnp.isfinite(jnp.stack(sizes)).all()
    # optax relies on implicit promotion (decay ** count), even if a user forbids it
    with jax.numpy_dtype_promotion("standard"):
        updates, opt_state = transformation.update(grads, state.opt_state, state.params)
    params, ema = optax.apply_updates(state.params, updates), state.ema
    if settle is not None:
        params = settle(params)
        is_finite &= jnp.isfinite(optax.tree.norm(params))
    if ema is not None:
        # average ← d·average + (1 − d)·params
        ema = optax.incremental_update(params, ema, 1.0 - h.ema_decay)
    advanced = state.replace(step=state.step + 1, params=params, opt_state=opt_state, ema=ema)
    if SKIPPED in metrics:
        skipped = state.replace(step=advanced.step)
        is_large = metrics[SKIPPED] > 0
        advanced = jax.tree.map(lambda a, b: jnp.where(is_large, a, b), skipped, advanced)
    has_failed = ~is_finite & ~state.stopped
    frozen = state.replace(
        failure=jnp.where(has_failed, state.step, state.failure), stopped=jnp.bool_(True)
    )
    # a select, not a branch: a select fuses with the update, a branch copies the state
    ok = is_finite & ~state.stopped
    return jax.tree.map(lambda a, b: jnp.where(ok, a, b), advanced, frozen)


def _added(hparams: Hparams) -> list[str]:
    """Metrics of a step beside the terms of the objective, scalars."""
    return ["grad_norm", *([] if hparams.skip_norm is None else [SKIPPED])]


def _as_it_is(value):
    return value


def _alone(loss_fn: Callable) -> Objective:
    """Wraps a loss as an objective; raises UsageError if its module defines more parts."""
    module = sys.modules.get(getattr(loss_fn, "__module__", None))
    if callable(loss_fn) and getattr(module, "loss", None) is loss_fn:
        parts = [f.name for f in dataclasses.fields(Objective) if f.name != "loss"]
        left_out = [name for name in parts if hasattr(module, name)]
        asked = [
            p.name
            for p in inspect.signature(loss_fn).parameters.values()
            if p.kind is p.KEYWORD_ONLY and p.default is p.empty
        ]
        if left_out or asked:
            raise UsageError(
                f"{module.__name__}.loss alone is without {', '.join([*left_out, *asked])}: give "
                "objectives.bind(…, num_examples=N)"
            )
    return Objective(loss_fn)


@dataclasses.dataclass(frozen=True, eq=False)
class _Program:
    """The shared part of the runs of one program; its public methods are those of `Train`.

    Attributes:
        objective: the objective, its hyperparameters not yet bound.
        make_transformation: (hyperparameters at one step, params) → the optimizer.
        model, preprocess, num_examples, batch_size, layout, beside, examples: see
            `make_train`.
    """

    objective: Objective
    make_transformation: Callable
    model: Any
    preprocess: Callable
    num_examples: int
    batch_size: int
    layout: Any
    beside: Mapping[str, Any]
    examples: Any

    @property
    def steps_per_epoch(self) -> int:
        """The number of batches in an epoch, which holds each example once."""
        return -(-self.num_examples // self.batch_size)

    @property
    def num_rows(self) -> int:
        """Rows of a batch with padding, a count: a multiple of the devices that share it."""
        num_data = 1 if self.layout is None else self.layout.num_data
        return -(-self.batch_size // num_data) * num_data

    def init(self, hparams: Hparams) -> State:
        at_start = schedules.evaluate(hparams, jnp.int32(0))
        params = self._initial_params(hparams, at_start)
        batch, key = self._example_batch(), jax.random.key(0)
        terms = jax.eval_shape(lambda: self._mean_loss(params, batch, key, at_start)[1])
        return State(
            step=jnp.int32(0),
            params=params,
            opt_state=self.make_transformation(at_start, params).init(params),
            ema=None if hparams.ema_decay is None else params,
            sums={name: jnp.float32(0) for name in (*terms, *_added(hparams))},
            failure=jnp.int32(-1),
            stopped=jnp.bool_(False),
        )

    def step(self, state: State, hparams: Hparams, batch: dict, key: jax.Array):
        h = schedules.evaluate(hparams, state.step)
        if self.objective.phase is not None:
            state = self._renewed(state, hparams, h, batch, key)
        grads, metrics = jax.grad(self._mean_loss, has_aux=True)(state.params, batch, key, h)
        metrics["grad_norm"] = optax.tree.norm(grads)
        if h.skip_norm is not None:
            metrics[SKIPPED] = (metrics["grad_norm"] > h.skip_norm).astype(jnp.float32)
        settle = _settling(self.objective, self.model, state.params, batch, key, h)
        transformation = self.make_transformation(h, state.params)
        return _advance(transformation, state, h, grads, metrics, settle), metrics

    def chunk(self, state: State, hparams: Hparams, x, num_steps) -> State:
        def body(_, state):
            step_key = jax.random.fold_in(stream(hparams.seed, "step"), state.step)
            preprocess_key, loss_key = jax.random.split(step_key)
            batch = self._batch_of(x, hparams.seed, state.step, preprocess_key)
            is_first = state.step % self.steps_per_epoch == 0
            after, metrics = self.step(state, hparams, batch, loss_key)
            # a new epoch resets the sums; a run that stopped keeps its own
            num_rows = batch["mask"].sum()
            sums = {
                name: jnp.where(is_first, 0.0, total) + metrics[name] * self._weight(name, num_rows)
                for name, total in state.sums.items()
            }
            keep = functools.partial(jnp.where, state.stopped)
            return after.replace(sums=jax.tree.map(keep, state.sums, sums))

        return jax.lax.fori_loop(0, num_steps, body, state)

    def _weight(self, name: str, num_rows):
        """The weight of a step's metric in `State.sums`, a scalar: its rows, or N for a count."""
        return self.num_examples if name == SKIPPED else num_rows

    def rows(self, seed, step):
        epoch_key = jax.random.fold_in(stream(seed, "order"), step // self.steps_per_epoch)
        return shuffling.shuffle(epoch_key, self._positions(step)[0], self.num_examples)

    def _initial_params(self, hparams: Hparams, at_start: Hparams):
        """The initial parameters of a run, including the objective's own; any shapes."""
        own_model = masked(self.model, at_start)
        params = self._init_model(own_model, stream(at_start.seed, "init"))
        if hparams.init_scale is not None:
            scale = functools.partial(jnp.multiply, hparams.init_scale)
            params = jax.tree.map(
                lambda leaf, is_kernel: scale(leaf) if is_kernel else leaf,
                params,
                _is_kernel(params),
            )
        if hparams.variance is not None:
            own = {**params["likelihood"], "logvar": jnp.log(hparams.variance)}
            params = {**params, "likelihood": own}
        if self.objective.init is not None:
            own = self.objective.init(own_model, stream(at_start.seed, "objective"))
            params = {**params, "objective": own}
        # astype drops weak types, each of which would compile the chunk once more
        return jax.tree.map(lambda leaf: leaf.astype(leaf.dtype), params)

    def _init_model(self, model, key: jax.Array):
        """The initial parameters of the model, of any shapes, from training rows if it asks."""
        if self.examples is None:
            return model.init(key)
        stored, own_key = jnp.asarray(self.examples), jax.random.fold_in(key, jnp.uint32(_EXAMPLES))
        return model.init(key, self.preprocess(stored, own_key))

    def _example_batch(self) -> dict:
        """A batch of zeros in which every row counts, {"x": [B, *shape], "mask": [B], …}."""
        more = {
            name: jnp.zeros((self.num_rows, *each.shape[1:]), each.dtype)
            for name, each in self.beside.items()
        }
        x, mask = jnp.zeros((self.num_rows, *self.model.shape)), jnp.ones(self.num_rows)
        return {"x": x, **more, "mask": mask}

    def _mean_loss(self, params, batch: dict, key: jax.Array, h: Hparams):
        """The mean of the loss over the rows that count, a scalar, and the means of all terms."""
        own_model = _in_training(self.model, h, key)
        terms = _terms(self.objective(own_model, params, batch, key, **h.objective), self.num_rows)
        means = _batch_means(terms, batch["mask"])
        return means["loss"], means

    def _renewed(
        self, state: State, hparams: Hparams, h: Hparams, batch: dict, key: jax.Array
    ) -> State:
        """Resets the optimizer state, moments and step count, if a phase begins."""
        before = schedules.evaluate(hparams, jnp.maximum(state.step - 1, 0))
        phase = functools.partial(self.objective.phase, self.model)
        is_new = phase(**h.objective) != phase(**before.objective)
        fresh = self.make_transformation(h, state.params).init(state.params)
        select = functools.partial(jnp.where, is_new)
        renewed = state.replace(opt_state=jax.tree.map(select, fresh, state.opt_state))
        if self.objective.begin is None:
            return renewed

        def begin(params):
            model = _in_training(self.model, h, key)
            own_key = jax.random.fold_in(key, jnp.uint32(_BEGIN))
            return self.objective.begin(model, params, batch, own_key, **h.objective)

        params = jax.lax.cond(is_new, begin, _as_it_is, state.params)
        ema = None if state.ema is None else jax.tree.map(select, params, state.ema)
        return renewed.replace(params=params, ema=ema)

    def _positions(self, step):
        """Positions of a step's rows in the order of its epoch, [B], and which rows count, [B]."""
        row = jnp.arange(self.num_rows)
        position = (step % self.steps_per_epoch) * self.batch_size + row
        mask = (row < self.batch_size) & (position < self.num_examples)
        # padding rows matter if networks take statistics of them, so each is a different row
        filler = position % self.num_examples if getattr(self.model, "has_modes", False) else 0
        return jnp.where(mask, position, filler), mask

    def _batch_of(self, x, seed, step, key: jax.Array) -> dict:
        """The batch of a step, from data as in `chunk`: {"x": [B, *shape], "mask": [B], …}."""
        mask = self._positions(step)[1].astype(jnp.float32)
        if isinstance(x, Block):
            places, held = step - x.first, x.rows
        else:
            places, held = self._whole(self.rows(seed, step)), x
        taken = jax.tree.map(lambda leaf: leaf[places], held)
        batch = {**(taken if isinstance(taken, dict) else {"x": taken}), "mask": mask}
        batch = batch if self.layout is None else self.layout.place_batch(batch)
        return {**batch, "x": self.preprocess(batch["x"], key)}

    def _whole(self, array):
        """Replicates an array of any shape on each of the devices that share a batch."""
        return array if self.layout is None else self.layout.keep_whole(array)


def make_train(
    loss_fn: Callable,
    model,
    *,
    preprocess: Callable,
    num_examples: int,
    batch_size: int,
    optimizer: str | Callable = "adam",
    layout: Any = None,
    beside: Mapping[str, Any] | None = None,
    examples: Any = None,
) -> Train:
    """Builds the pure functions of a training.

    Args:
        loss_fn: an `Objective`, or its `loss(model, params, batch, key, **h) -> (loss [B], aux)`.
        model: has `init(key)` and `replace(latent_mask=…)`, like `vae_jax.model.Model`.
        preprocess: (stored [B, *stored], key) to x [B, *shape], run inside the step.
        num_examples: N.
        batch_size: B; the last batch of an epoch is padded and weighted by its real size. Networks
            that take statistics of a batch include the padding, the epoch's first examples.
        optimizer: a name in `OPTIMIZERS`, or a function like those in it.
        layout: a `devices.layout.Layout` whose devices share batches, padded to a multiple of the
            number of devices; neither the rows nor the draws of the examples that count depend on
            it. None keeps batches on one device.
        beside: what batches hold beside x and mask, by name: anything [N, …] with shape and dtype.
        examples: stored rows for `model.init(key, examples)`, [K, *stored]; None for `init(key)`.

    Returns:
        `Train`.

    Raises:
        UsageError: the loss belongs to an objective whose other parts would be ignored.
    """
    make_optimizer = OPTIMIZERS[optimizer] if isinstance(optimizer, str) else optimizer
    objective = loss_fn if isinstance(loss_fn, Objective) else _alone(loss_fn)
    program = _Program(
        objective=objective,
        make_transformation=functools.partial(_transformation, make_optimizer, objective),
        model=model,
        preprocess=preprocess,
        num_examples=num_examples,
        batch_size=batch_size,
        layout=layout,
        beside=beside or {},
        examples=examples,
    )
    return Train(program.init, program.step, program.chunk, program.rows, program.steps_per_epoch)


def epoch_metrics(state: State, num_examples: int) -> dict[str, Any]:
    """Exact means over the epoch that just ended, all examples weighted equally; scalars or [R].

    The number of skipped steps is their count.
    """
    return {name: total / num_examples for name, total in state.sums.items()}


def train_until(
    chunk: Callable,
    state: State,
    hparams: Hparams,
    x,
    *,
    first_step: int,
    num_steps: int,
    steps_per_epoch: int,
    chunk_seconds: float = 2.5,
    read: Callable = np.asarray,
    agree: Callable = _as_it_is,
) -> Iterator[tuple[int, State]]:
    """Runs chunks up to step `num_steps`; yields after each one, so at the end of each epoch, too.

    A chunk takes about `chunk_seconds`, so that signals are handled in time. How an epoch is cut
    into chunks does not change a bit of the result. It ends early if every run has stopped.

    Args:
        chunk: `Train.chunk` of one run or of R runs, jitted; it may donate its state.
        state: initial state, of one run, or of R runs that advance together.
        hparams: hyperparameters of the run or runs.
        x: [N, *stored] on the device or a dictionary of such arrays, see `Train`; or a function
            from a step (scalar) to (`Block`, the number of steps that it holds from there).
        first_step: the number of steps already done.
        first_step: steps that were done, a count.
        num_steps: the step to stop at, counted from the start of the run.
        steps_per_epoch: from `Train`.
        chunk_seconds: the target duration of a chunk, in seconds.
        read: converts an array of any shape to NumPy, for runs spread over processes.
        agree: maps a count to the count that all processes agree on.

    Yields:
        (steps done, `State`).
    """
    step, wanted = first_step, 1
    while step < num_steps:
        data, held = x(step) if callable(x) else (x, num_steps)
        length = min(wanted, num_steps - step, steps_per_epoch - step % steps_per_epoch, held)
        start = time.perf_counter()
        state = chunk(state, hparams, data, np.int32(length))
        is_over = bool(read(state.stopped).all())
        seconds = max(time.perf_counter() - start, 1e-6)
        step += length
        yield step, state
        if is_over:
            return
        # grows by at most a factor of 4: the first chunk's time includes compilation
        wanted = agree(max(1, min(4 * wanted, int(length * chunk_seconds / seconds))))
