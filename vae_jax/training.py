"""Training as pure functions of (state, hyperparameters, data).

`make_train` takes what is static and returns `Train`: `init`, `step` and `chunk`, each to be
jitted, mapped over runs, or called as it is. Everything random follows from the run's seed and the
step, so that a state and a step number are all that resuming needs: the batch of step t is a
function of (seed, epoch, index), its noise of (seed, t). Data either lies on the device whole or
comes in blocks of batches that the host gathers: same rows, same order, same program.
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
    "OPTIMIZERS",
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

_STREAMS = ("init", "order", "step", "evaluation", "pictures", "objective")
_UPDATE = 2**32 - 1
"""Folded into a step's key for an objective's update, beyond what a loss splits off."""
_TEACHER = 2**32 - 2
"""Likewise for what a decoder that reads x is not told."""
_TRAIN = 2**32 - 3
"""Likewise for what networks draw in training."""


def stream(seed, name: str) -> jax.Array:
    """The PRNG key of one use of a run's seed.

    Args:
        seed: int32 scalar [].
        name: "init", "order", "step", "evaluation", "pictures" or "objective".

    Returns:
        A key, scalar [].
    """
    return jax.random.fold_in(jax.random.key(seed), _STREAMS.index(name))


@dataclasses.dataclass(frozen=True, eq=False)
class Objective:
    """What a training asks of an objective; a function like `loss` alone is one too.

    Attributes:
        loss: (model, params, batch, key, **h) → (loss [B], aux), see `vae_jax.objectives`.
        init: (model, key) → parameters of the objective's own, any pytree, which training keeps in
            `params["objective"]`; None: it has none.
        optimizer: (**h) → the optax transformation of those parameters; None: that of the model's.
        latent: () → the family of latents that it asks for; None: any will do. Whoever makes the
            model asks.
        update: (model, params before the step, params after it, batch, key, **h) → params: what
            follows no gradient; None: nothing.
        conditions: (dataset) → `Conditions`, what its batches hold beside x; None: nothing.
        given: (model, params, batch) → the model given what is known of the rows of a batch, for
            whoever encodes them outside `loss`; None: the model as it is.
        beside: (model, {name: [N, …]}) → what batches hold beside x, checked and encoded from what
            a user gives; None: that as it is.
        corrupt: (x [B, *shape], key, **h) → what the encoder is shown in its place while training;
            None: x itself.
        phase: (model, **h) → a scalar; where it changes from a step to the next another training
            begins, and the optimizer with it, its moments 0; None: it is one training.
        notes: (model) → lines on what is to be known before it is trained so.
        row_weights: (batch, **h) → {term: weights [B]} of the terms that are means over some rows
            only, such as those of known label: the loss or aux holds w·v of each row, and the
            weights w ≥ 0 average 1 over a split. Evaluation takes Σ w·v / Σ w and the standard
            error of that ratio. None: every row counts alike in every term.
    """

    loss: Callable
    init: Callable | None = None
    optimizer: Callable | None = None
    latent: Callable | None = None
    update: Callable | None = None
    conditions: Callable | None = None
    given: Callable | None = None
    beside: Callable | None = None
    corrupt: Callable | None = None
    phase: Callable | None = None
    notes: Callable = lambda model: ()
    row_weights: Callable | None = None

    def __call__(self, model, params, batch, key, **hyperparameters):
        """`loss`, with arguments of the same shapes."""
        return self.loss(model, params, batch, key, **hyperparameters)


class Conditions(NamedTuple):
    """What an objective asks of each row of a dataset beside x.

    Args:
        train, valid, test: what the batches of a split hold beside x, by name; arrays [N, …].
        num: C, the numbers that x is given, a count; 0 where they are for the loss alone.
        shown: conditions [P, C] of which pictures are drawn, a row each.
        names: what those P are called.
        what: what x is given, in words after "c is".
        classes: the user's own labels of C classes, see `vae_jax.model.Model`; (): C numbers.
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
    """What may differ between the runs of one program: scalars, schedules, one array.

    Args:
        seed: int32 scalar.
        learning_rate: scalar or schedule.
        objective: keyword arguments of the objective, each a scalar or a schedule.
        weight_decay: of adamw, scalar or schedule.
        adam: those of Adam's b1, b2 and eps (as optax names them) that differ from its defaults,
            scalars.
        clip_norm: largest global norm of a gradient, scalar or schedule; None does not clip.
        ema_decay: of the averaged parameters, scalar; running statistics of networks are averaged
            with them. None keeps no average.
        init_scale: of the initial kernels, scalar: their standard deviations are multiplied by it;
            None leaves them as the model draws them.
        latent_mask: None or [L] of zeros and ones.
        variance: of a likelihood whose variance is "given", scalar; None leaves the likelihood's.
    """

    seed: Any
    learning_rate: Any
    objective: dict[str, Any] = flax.struct.field(default_factory=dict)
    weight_decay: Any = 1e-4
    adam: dict[str, Any] = flax.struct.field(default_factory=dict)
    clip_norm: Any = None
    ema_decay: Any = None
    init_scale: Any = None
    latent_mask: Any = None
    variance: Any = None


def masked(model, hparams: Hparams):
    """The model with the run's latent mask [L], or as it is where the run has none."""
    return model if hparams.latent_mask is None else model.replace(latent_mask=hparams.latent_mask)


def _in_training(model, hparams: Hparams, key: jax.Array):
    """The run's model in a step of a PRNG key, with the keys that its networks ask for."""
    own = masked(model, hparams)
    if getattr(model, "reads_x", False):
        own = own.replace(teacher_key=jax.random.fold_in(key, jnp.uint32(_TEACHER)))
    if getattr(model, "has_modes", False):
        own = own.replace(train_key=jax.random.fold_in(key, jnp.uint32(_TRAIN)))
    return own


def _has_statistics(params) -> bool:
    """Whether networks keep running statistics in the parameters, of any shapes; a scalar."""
    return isinstance(params, dict) and modules.STATISTICS in params


class State(flax.struct.PyTreeNode):
    """All that training carries; saving it and the step's number is enough to go on.

    Args:
        step: int32 scalar, the number of steps done.
        params: pytree of float32 arrays.
        opt_state: of optax.
        ema: averaged parameters, shaped as `params`, or None.
        sums: metrics of the current epoch, summed over its examples; scalars.
        failure: the first step whose loss, gradient or update was not finite, or −1: int32 scalar.
        stopped: whether the state stays as it is from now on, bool scalar: after a failure, or
            because whoever trains has set it.
    """

    step: jax.Array
    params: Any
    opt_state: Any
    ema: Any
    sums: dict[str, jax.Array]
    failure: jax.Array
    stopped: jax.Array


class Block(NamedTuple):
    """Batches of consecutive steps, gathered by the host where the data does not fit a device.

    Args:
        first: the first step that the block holds, int32 scalar.
        rows: [T, B, *stored], the batch of each of T steps; a dictionary of such where batches
            hold more than x.
    """

    first: jax.Array
    rows: Any


class Train(NamedTuple):
    """The pure functions of a training: arrays in, arrays out, shapes as in `State`.

    init(hparams) → State.
    step(state, hparams, batch, key) → (State, metrics): one update; batch {"x": [B, *shape],
        "mask": [B], …}, metrics scalars averaged over the rows that count.
    chunk(state, hparams, x, num_steps) → State: that many steps (a traced scalar, so that any
        length is one program) within one epoch; x is [N, *stored], or {"x": [N, *stored], …} where
            an objective asks for more of each row, or a `Block` that holds them.
    rows(seed, step) → [B] int32: the examples of a step (scalars), for whoever makes a `Block`.
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


def _is_kernel(params):
    """Decay draws weights to zero, not biases nor the variance of a likelihood; any shapes."""
    return jax.tree.map_with_path(lambda path, _: getattr(path[-1], "key", "") == "kernel", params)


OPTIMIZERS: dict[str, Callable] = {"adam": _adam, "adamw": _adamw}
"""Optimizers by name: hyperparameters at one step to an optax transformation.

They come by name: learning_rate and weight_decay, scalars, and adam, a dictionary of scalars.
"""


def _batch_means(values: dict, mask: jax.Array) -> dict:
    """Means of [B] arrays over the examples that are not padding, whatever the padding gives."""
    weight = mask / mask.sum()
    return {n: jnp.sum(jnp.where(weight > 0, v * weight, 0.0)) for n, v in values.items()}


def _transformation(
    make_optimizer: Callable, objective: Objective, h: Hparams, params
) -> optax.GradientTransformation:
    """What moves the parameters, of any shapes: those of an objective and statistics apart."""
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
    """What follows no gradient: from params as the optimizer leaves them to those that stand.

    `before` are the parameters before the step; None where all of them follow it.
    """
    if objective.update is None and not _has_statistics(before):
        return None
    model = _in_training(model, h, key)
    own_key = jax.random.fold_in(key, jnp.uint32(_UPDATE))

    def settle(after):
        if objective.update is not None:
            after = objective.update(model, before, after, batch, own_key, **h.objective)
        if _has_statistics(before):
            given = _given(objective, model, before, batch)
            # the key of the loss: most objectives draw the same z, and it is computed once
            seen = given.update_statistics(before, batch["x"], key)
            after = {**after, modules.STATISTICS: seen[modules.STATISTICS]}
        return after

    return settle


def _given(objective: Objective, model, params, batch: dict):
    """The model given what is known of a batch, where it is conditional."""
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
    """The state one step on, or frozen where loss, gradient or learning rate is not finite.

    A gradient whose norm is finite has finite squares, and so moments and an update that are; known
    before the update, this selects in the same pass over memory that computes. What follows no
    gradient (`settle`: params to params) is looked at itself.
    """
    sizes = metrics["loss"], metrics["grad_norm"], jnp.asarray(h.learning_rate, jnp.float32)
    is_finite = jnp.isfinite(jnp.stack(sizes)).all()
    # optax relies on implicit promotion (decay ** count), also where a user forbids it
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
    has_failed = ~is_finite & ~state.stopped
    frozen = state.replace(
        failure=jnp.where(has_failed, state.step, state.failure), stopped=jnp.bool_(True)
    )
    # selected, not branched to: a select fuses with the update, a branch copies the state
    ok = is_finite & ~state.stopped
    return jax.tree.map(lambda a, b: jnp.where(ok, a, b), advanced, frozen)


def _as_it_is(value):
    return value


def _alone(loss_fn: Callable) -> Objective:
    """A loss as an objective, unless its module has more parts of one, which it would not have."""
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
    """What the runs of one program share; its public methods are the functions of a `Train`.

    Attributes:
        objective: with its hyperparameters left open.
        make_transformation: (hyperparameters at one step, params) → what moves the parameters.
        model, preprocess, num_examples, batch_size, layout, beside: see `make_train`.
    """

    objective: Objective
    make_transformation: Callable
    model: Any
    preprocess: Callable
    num_examples: int
    batch_size: int
    layout: Any
    beside: Mapping[str, Any]

    @property
    def steps_per_epoch(self) -> int:
        """Batches that hold each example once, a count."""
        return -(-self.num_examples // self.batch_size)

    @property
    def num_rows(self) -> int:
        """Rows of a batch with its padding, a count: a multiple of the devices that share it."""
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
            sums={name: jnp.float32(0) for name in (*terms, "grad_norm")},
            failure=jnp.int32(-1),
            stopped=jnp.bool_(False),
        )

    def step(self, state: State, hparams: Hparams, batch: dict, key: jax.Array):
        h = schedules.evaluate(hparams, state.step)
        if self.objective.phase is not None:
            state = self._renewed(state, hparams, h)
        grads, metrics = jax.grad(self._mean_loss, has_aux=True)(state.params, batch, key, h)
        metrics["grad_norm"] = optax.tree.norm(grads)
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
            # a new epoch starts its sums afresh; who stopped keeps those that he had
            sums = {
                name: jnp.where(is_first, 0.0, total) + metrics[name] * batch["mask"].sum()
                for name, total in state.sums.items()
            }
            keep = functools.partial(jnp.where, state.stopped)
            return after.replace(sums=jax.tree.map(keep, state.sums, sums))

        return jax.lax.fori_loop(0, num_steps, body, state)

    def rows(self, seed, step):
        epoch_key = jax.random.fold_in(stream(seed, "order"), step // self.steps_per_epoch)
        return shuffling.shuffle(epoch_key, self._positions(step)[0], self.num_examples)

    def _initial_params(self, hparams: Hparams, at_start: Hparams):
        """The parameters that a run starts from, the objective's own among them; any shapes."""
        own_model = masked(self.model, at_start)
        params = own_model.init(stream(at_start.seed, "init"))
        if hparams.init_scale is not None:
            scale = functools.partial(jnp.multiply, hparams.init_scale)
            params = jax.tree.map(
                lambda leaf, is_kernel: scale(leaf) if is_kernel else leaf,
                params,
                _is_kernel(params),
            )
        if hparams.variance is not None:
            params = {**params, "likelihood": {"logvar": jnp.log(hparams.variance)}}
        if self.objective.init is not None:
            own = self.objective.init(own_model, stream(at_start.seed, "objective"))
            params = {**params, "objective": own}
        # astype drops weak types, which would compile the chunk once more for each of them
        return jax.tree.map(lambda leaf: leaf.astype(leaf.dtype), params)

    def _example_batch(self) -> dict:
        """A batch of zeros in which every row counts, {"x": [B, *shape], "mask": [B], …}."""
        more = {
            name: jnp.zeros((self.num_rows, *each.shape[1:]), each.dtype)
            for name, each in self.beside.items()
        }
        x, mask = jnp.zeros((self.num_rows, *self.model.shape)), jnp.ones(self.num_rows)
        return {"x": x, **more, "mask": mask}

    def _mean_loss(self, params, batch: dict, key: jax.Array, h: Hparams):
        """The mean of the loss over the rows that count, a scalar, and those of all terms."""
        own_model = _in_training(self.model, h, key)
        loss, aux = self.objective(own_model, params, batch, key, **h.objective)
        means = _batch_means({"loss": loss, **aux}, batch["mask"])
        return means["loss"], means

    def _renewed(self, state: State, hparams: Hparams, h: Hparams) -> State:
        """The state with a fresh optimizer where a phase begins: of 0 moments, 0 steps."""
        before = schedules.evaluate(hparams, jnp.maximum(state.step - 1, 0))
        phase = functools.partial(self.objective.phase, self.model)
        is_new = phase(**h.objective) != phase(**before.objective)
        fresh = self.make_transformation(h, state.params).init(state.params)
        select = functools.partial(jnp.where, is_new)
        return state.replace(opt_state=jax.tree.map(select, fresh, state.opt_state))

    def _positions(self, step):
        """Places of a step's rows in its epoch's order, [B], and which of them count, [B]."""
        row = jnp.arange(self.num_rows)
        position = (step % self.steps_per_epoch) * self.batch_size + row
        mask = (row < self.batch_size) & (position < self.num_examples)
        # what fills a batch up counts where networks take statistics of it: each row another
        filler = position % self.num_examples if getattr(self.model, "has_modes", False) else 0
        return jnp.where(mask, position, filler), mask

    def _batch_of(self, x, seed, step, key: jax.Array) -> dict:
        """The batch of a step, of data as `chunk` takes it: {"x": [B, *shape], "mask": [B], …}."""
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
        """An array, of any shape, that each of the devices that share a batch holds whole."""
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
) -> Train:
    """Builds the pure functions of a training.

    Args:
        loss_fn: an `Objective`, or its `loss(model, params, batch, key, **h) -> (loss [B], aux)`.
        model: with `init(key)` and `replace(latent_mask=…)`, as `vae_jax.model.Model`.
        preprocess: (stored [B, *stored], key) to x [B, *shape], run inside the step.
        num_examples: N.
        batch_size: B; the last batch of an epoch is padded and weighs what it holds. Networks that
            take statistics of a batch take them of the padding too: of the epoch's first examples.
        optimizer: a name in `OPTIMIZERS`, or a function like those in it.
        layout: a `devices.layout.Layout` whose devices share batches, which are then padded to a
            multiple of them; neither rows nor draws of the examples that count depend on it. None
            keeps batches on one device.
        beside: what batches hold beside x and mask, by name: anything [N, …] with shape and dtype.

    Returns:
        `Train`.

    Raises:
        UsageError: the loss is a part of an objective whose other parts would be left out.
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
    )
    return Train(program.init, program.step, program.chunk, program.rows, program.steps_per_epoch)


def epoch_metrics(state: State, num_examples: int) -> dict[str, Any]:
    """Means over the epoch that just ended: exact, each example weighs the same; scalars or [R]."""
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
    """Runs chunks up to step `num_steps` and yields after each, so at every epoch's end.

    Chunks last about `chunk_seconds`, so that a signal is heard in time; how an epoch is cut
    into chunks does not change a bit of the result. Ends early where every run has stopped.

    Args:
        chunk: `Train.chunk` of one run or of R runs, jitted; it may donate its state.
        state: where to start, of one run, or of R runs that go in step.
        hparams: of the run or runs.
        x: [N, *stored] on the device or a dictionary of such, see `Train`, or a function from a
            step (scalar) to (`Block`, the number of steps it holds from there on).
        first_step: steps that were done, a count.
        num_steps: the last step, a count since the start of the run.
        steps_per_epoch: from `Train`.
        chunk_seconds: what a chunk should last, in seconds.
        read: from an array of any shape to NumPy, for runs spread over processes.
        agree: from a count to the count that all processes take.

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
        # grows by at most 4 a time: the first chunk's seconds hold the compilation
        wanted = agree(max(1, min(4 * wanted, int(length * chunk_seconds / seconds))))
