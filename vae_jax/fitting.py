"""Training from Python in one call: an objective, a model and data; no flags."""

import contextlib
import functools
import inspect
import numbers
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.core
import jax.experimental
import jax.numpy as jnp
import numpy as np
import optax

from vae_jax import (
    aliases,
    arguments,
    assembly,
    loggers,
    objectives,
    phases,
    posteriors,
    reuse,
    schedules,
    sources,
    training,
)
from vae_jax import program as programs
from vae_jax.data import Dataset
from vae_jax.devices.layout import make_layout
from vae_jax.errors import DivergedError, UsageError, shown, unknown
from vae_jax.program import Program, x_of
from vae_jax.trained import Trained

__all__ = ["Epoch", "fit"]

_POSITIVE = objectives.Interval.parse("(0, inf)")
_AT_LEAST_ZERO = objectives.Interval.parse("[0, inf)")


class Epoch(NamedTuple):
    """The argument of a callback, after each epoch.

    Attributes:
        epoch, num_epochs: the number of the epoch, from 1, and of all epochs; counts.
        step: steps done, a count.
        metrics: the row of `Trained.history`: scalars by name.
        params: parameters after the epoch, NumPy arrays of any shape; the callback may keep them.
    """

    epoch: int
    num_epochs: int
    step: int
    metrics: dict[str, Any]
    params: Any


def fit(
    objective: str | Callable,
    model: Any,
    data: Any,
    *,
    epochs: int,
    optimizer: str | Callable | optax.GradientTransformation = "adam",
    learning_rate: float | str | Callable = training.LEARNING_RATE,
    batch_size: int = 100,
    seed: int = 0,
    valid: Any = None,
    patience: int | None = None,
    checkpoint: str | os.PathLike | None = None,
    callbacks: Sequence[Callable[[Epoch], Any]] = (),
    progress: bool = True,
    preprocess: Callable | None = None,
    binarization: str | None = None,
    weight_decay: float | str | Callable | None = None,
    adam: Mapping[str, float] | None = None,
    clip_norm: float | str | Callable | None = None,
    skip_norm: float | str | Callable | None = None,
    ema_decay: float | None = None,
    init_scale: float | None = None,
    prior_phase: float | str | Callable | None = None,
    **hyperparameters: Any,
) -> Trained:
    """Trains a model as the command line does: the same settings give the same parameters.

    Args:
        objective: the name of a built-in objective ("factor_vae") or its function, an `Objective`
            (from `objectives.bind`), or your own function `loss(model, params, batch, key,
            **hyperparameters)`. A built-in objective is bound: it gets its own parameters and
            optimizer, N, and the default schedules of its flags.
        model: a `Model` with the latents that the objective needs, see `vae_jax.make_model`.
        data: a `Dataset`; x [N, *stored]; or {"x": x, …} with what the objective needs for each
            row: "condition", labels [N] or numbers [N, C] (cvae), or "labels" [N], −1 if unknown
            (m2, dbn). Labels are your own, see `Model.classes`.
        epochs: passes over the training examples, a count.
        optimizer: a name in `training.OPTIMIZERS`; a factory that takes a learning rate, as
            `optax.sgd`, or hyperparameters, as those in `OPTIMIZERS`; or an optax transformation
            with its own learning rate.
        learning_rate: a number, text such as "cosine(0.002, 0, 100%)" (see `schedules.parse`), or a
            function of the step such as an optax schedule.
        batch_size: B, a count; all examples if there are fewer.
        seed: seed of all randomness, a count.
        valid: examples for validation after each epoch, in the form of `data`; None is the
            validation split of a `Dataset`.
        patience: training stops after this many epochs without a better validation ELBO (without a
            prior: loss), a count, and returns the best parameters.
        checkpoint: a directory in which the state is saved every few seconds and at the end. The
            same call with the same directory resumes bit for bit; a directory of a different
            training is refused.
        callbacks: functions of an `Epoch`, called after each; one that returns True stops training.
            Loggers (`vae_jax.loggers`) are closed when training ends.
        progress: whether to show a line in a terminal or a notebook.
        preprocess: (stored [B, *stored], key) to x [B, *shape], run inside the step. None is the
            default of a `Dataset`; other x is used unchanged and must be floats in the likelihood's
            range.
        binarization: how gray levels of a `Dataset` are binarized under a Bernoulli likelihood:
            "dynamic", "soft" or "threshold", see `assembly.binarization`.
        weight_decay: weight decay of adamw, in the form of `learning_rate`; None is 1e-4.
        adam: values of Adam's b1, b2 and eps that differ from optax's defaults, scalars.
        clip_norm: the largest norm of a gradient, in the form of `learning_rate`; None does not
            clip.
        skip_norm: a step whose gradient has a larger norm changes nothing, in the form of
            `learning_rate`; `skipped_steps` of an epoch counts them. None skips none.
        ema_decay: decay of the exponential moving average (EMA) of the parameters, a scalar; None
            keeps no average.
        init_scale: factor of the standard deviations of the initial kernels, a scalar.
        prior_phase: what is trained of a model with a learned prior, in the form of
            `learning_rate`: 0 the codes without the prior, 1 the prior alone, 2 both, such as
            "piecewise(0, 50%, 1)"; None trains both. See `vae_jax.phases`.
        hyperparameters: settings of the objective: numbers, schedules in the form of
            `learning_rate`, counts and words.

    Returns:
        `Trained`.

    Raises:
        DataError: a value of x is not finite, or not possible under the likelihood; or values are
            masked.
        UsageError: objective, model, data and settings do not fit together.
        DivergedError: a loss, gradient or update was not finite.
        LockedError: another process trains with this checkpoint.
        StorageError: a checkpoint cannot be written or read.
    """
    asked = {
        "learning_rate": learning_rate,
        "weight_decay": weight_decay,
        "adam": adam,
        "clip_norm": clip_norm,
        "skip_norm": skip_norm,
        "ema_decay": ema_decay,
        "init_scale": init_scale,
        "seed": seed,
    }
    callbacks = _callbacks(callbacks)
    with _in_32_bits():
        planned = _planned(
            objective,
            model,
            data,
            hyperparameters,
            asked,
            epochs=epochs,
            batch_size=batch_size,
            optimizer=optimizer,
            valid=valid,
            patience=patience,
            preprocess=preprocess,
            binarization=binarization,
            prior_phase=prior_phase,
        )
        with _kept(checkpoint, planned) as keeper, _closing(callbacks):
            now = _train(planned, keeper, callbacks, progress)
        return _trained(planned, now)


def _callbacks(callbacks: Any) -> tuple[Callable, ...]:
    """The callbacks of `fit`; raises UsageError unless each is a function of an `Epoch`."""
    given = () if callbacks is None else callbacks
    if callable(given) or isinstance(given, str) or not isinstance(given, Iterable):
        remedy = f": give callbacks=[{shown(given)}]" if callable(given) else ""
        raise UsageError(f"callbacks={shown(given)}: must be a list of functions{remedy}")
    given = tuple(given)
    for each in given:
        if not callable(each) or not arguments.takes(each, 1):
            raise UsageError(
                f"callbacks: holds {shown(each)}: give functions of one argument, the `Epoch`"
            )
    return given


@contextlib.contextmanager
def _closing(callbacks: Sequence[Callable]) -> Iterator[None]:
    """Closes the loggers among the callbacks, however the training ends."""
    with contextlib.ExitStack() as stack:
        for callback in callbacks:
            if isinstance(callback, loggers.Logger):
                stack.callback(callback.close)
        yield


def _in_32_bits():
    """A context in which numbers have 32 bits, whatever `JAX_ENABLE_X64` is outside."""
    known = getattr(jax, "enable_x64", None)
    return getattr(jax.experimental, "disable_x64")() if known is None else known(False)  # noqa: B009


# --- From arguments to a program


class _Planned(NamedTuple):
    """A training that is ready to start.

    Attributes:
        program: program with one run.
        source: the data.
        settings: everything that decides the training except its data; see `keeping.spelled`.
        has_rate: whether the learning rate is known: not if it is inside an optax transformation.
    """

    program: Program
    source: sources.Source
    settings: dict[str, Any]
    has_rate: bool


def _planned(
    objective: str | Callable,
    model: Any,
    data: Any,
    hyperparameters: Mapping[str, Any],
    asked: Mapping[str, Any],
    *,
    epochs: int,
    batch_size: int,
    optimizer: Any = "adam",
    valid: Any = None,
    patience: int | None = None,
    preprocess: Callable | None = None,
    binarization: str | None = None,
    prior_phase: Any = None,
) -> _Planned:
    """Builds and checks the program of a training; see `fit`."""
    _check_counts(epochs=epochs, batch_size=batch_size, patience=patience, seed=asked["seed"])
    _check_numbers(asked)
    _check_kinds(model, preprocess)
    is_ours = isinstance(data, Dataset)
    held: Any = data if is_ours else sources.named(data)
    num_examples = len(held.train) if is_ours else len(held["x"])
    batch_size = min(int(batch_size), num_examples)
    units = _units(num_examples, batch_size, epochs)
    name, counts, bound, left = _bound(objective, hyperparameters, num_examples, units, is_ours)
    # a weight of 0 is neither a schedule that is left nor a count
    sizes = {n: v for n, v in hyperparameters.items() if n not in left and v != 0}
    _check_model(bound, model, name, _made_by(bound, name, sizes, is_ours))
    if prior_phase is not None:
        bound, left = _in_phases(bound, left, model, prior_phase, units)
    read = sources.of_dataset if is_ours else sources.of_arrays
    source = read(held, valid, bound, model, preprocess, binarization)
    _check_patience(patience, source, bound, name)
    make_optimizer, has_rate = _optimizer(optimizer, asked)
    hparams = _hparams(asked, left, units)
    kind = None
    if name is not None and isinstance(optimizer, str):
        kind = reuse.kind_of(name, counts, model, optimizer, source, hparams, batch_size)
    if kind is None:
        program = _program(bound, model, source, make_optimizer, batch_size)
    else:
        program = reuse.program_of(kind)
    program = program.again(
        hparams=program.layout.place(jax.tree.map(lambda leaf: np.stack([leaf]), hparams)),
        num_steps=units["num_steps"],
        splits=source.splits,
        patience=None if patience is None else int(patience),
    )
    if name is None and not isinstance(objective, training.Objective):
        _check_traced(objective, program)
    settings = {
        "objective": name or objective,
        "chosen": {n: v for n, v in hyperparameters.items() if n not in left},
        **{"batch_size": batch_size, "patience": program.patience},
        **{"model": model, "optimizer": optimizer},
        **{"preprocess": preprocess, "binarization": binarization},
        **_told_schedules(hparams),
    }
    return _Planned(program, source, settings, has_rate)


def _in_phases(
    objective: training.Objective, left: dict[str, Any], model: Any, asked: Any, units: dict
) -> tuple[training.Objective, dict[str, Any]]:
    """The objective in the phases that are asked for, and its hyperparameters with them."""
    phases.require_learned(getattr(model, "prior_family", None), shown(asked))
    schedule = _schedule(phases.NAME, asked, units)
    _check_interval(phases.NAME, schedule, phases.INTERVAL, units)
    return phases.by_prior_phase(objective), {**left, phases.NAME: schedule}


def _check_kinds(model: Any, preprocess: Any) -> None:
    """Raises UsageError unless there is a model, and a function to preprocess with."""
    is_model = callable(getattr(model, "init", None)) and hasattr(model, "shape")
    if isinstance(model, type) or not is_model:
        held = getattr(model, "model", None)
        remedy = "give vae_jax.make_model(data)" if held is None else "give trained.model"
        raise UsageError(f"model={shown(model)}: must be a Model: {remedy}")
    if preprocess is not None and not (
        callable(preprocess) and arguments.takes_leading(preprocess, 2)
    ):
        raise UsageError(
            f"preprocess={shown(preprocess)}: must be a function of two arguments: give "
            "lambda stored, key: x"
        )


def _check_traced(objective: Any, program: Program) -> None:
    """Traces a step's loss of a user's own objective; its mistakes become a UsageError.

    What else goes wrong in the function is the user's to read, with its traceback.
    """
    function = getattr(objective, "func", objective)
    try:
        _ = program.state_shape
    except arguments.TRACING as error:
        raise UsageError(
            f"objective {shown(function)}{arguments.place_of(error, function)}: cannot be traced, "
            "arrays have no values yet: take jax.numpy in place of numpy and float(), and "
            "jax.numpy.where in place of if"
        ) from None
    except KeyError as error:
        place, (name, *_) = arguments.place_of(error, function), error.args
        held = {"x", "mask", *(_beside(program.splits["train"]) or ())}
        if not place or not isinstance(name, str) or name in held:
            raise
        raise UsageError(
            f"objective {shown(function)}{place}: asks for {name!r}, batches hold "
            f"{', '.join(sorted(held))}: give {{'x': x, {name!r}: …}} in place of x"
        ) from None


def _program(
    objective: training.Objective,
    model: Any,
    source: sources.Source,
    make_optimizer: str | Callable,
    batch_size: int,
) -> Program:
    """The program of one run, without its numbers."""
    layout = make_layout(1)
    train = training.make_train(
        objective,
        model,
        preprocess=source.preprocess,
        num_examples=source.size("train"),
        batch_size=batch_size,
        optimizer=make_optimizer,
        layout=layout,
        beside=_beside(source.splits["train"]),
        examples=assembly.initial_examples(model, x_of(source.splits["train"])),
    )
    return Program(
        layout=layout,
        model=model,
        loss_fn=objective,
        preprocess=source.preprocess,
        train=train,
        hparams=training.Hparams(seed=0, learning_rate=0.0),
        num_steps=0,
        splits=source.splits,
        streamed=source.dataset is not None and source.dataset.streamed,
    )


def _units(num_examples: int, batch_size: int, epochs: int) -> dict[str, int]:
    """The number of steps in an epoch and in the run, for `schedules.parse`."""
    steps_per_epoch = -(-num_examples // batch_size)
    return {"steps_per_epoch": steps_per_epoch, "num_steps": epochs * steps_per_epoch}


def _told_schedules(hparams: training.Hparams) -> dict[str, Any]:
    """Each hyperparameter by name, in the form of `_told_schedule`."""
    every = {**vars(hparams.replace(objective={})), **hparams.objective}
    return {name: _told_schedule(value) for name, value in every.items()}


def _beside(rows: Any) -> dict[str, Any] | None:
    """What batches hold beside x, from rows [N, …] by name; None if rows are x alone."""
    if not isinstance(rows, dict):
        return None
    return {name: values for name, values in rows.items() if name != "x"}


def _check_counts(*, seed: Any, **counts: Any) -> None:
    """Raises UsageError unless counts are >= 1 or None, and the seed fits in 32 bits."""
    for setting, value in counts.items():
        is_left_out = value is None and setting == "patience"
        if not (is_left_out or _is_count(value)):
            raise UsageError(f"{setting}={shown(value)}: must be an integer, at least 1")
    if not _is_integer(seed) or not 0 <= seed < 2**31 - 1:
        raise UsageError(f"seed={shown(seed)}: must be an integer from 0 to {2**31 - 2}")


_ADAM = ("b1", "b2", "eps")
_BELOW_1 = objectives.Interval.parse("[0, 1)")
_WITHIN = {
    **dict.fromkeys(("ema_decay", "b1", "b2"), _BELOW_1),
    "init_scale": objectives.Interval.parse("[1e-6, inf)"),
    "eps": objectives.Interval.parse("[1e-20, inf)"),
}
"""Number that follows no schedule → its interval, as the command line has it."""


def _check_numbers(asked: Mapping[str, Any]) -> None:
    """Raises UsageError unless numbers that follow no schedule are in their intervals."""
    adam = {} if asked["adam"] is None else asked["adam"]
    if not isinstance(adam, Mapping):
        raise UsageError(f"adam={shown(adam)}: must be numbers by name: give adam={{'b1': 0.9}}")
    for name in adam.keys() - _ADAM:
        raise unknown("setting of adam", name, _ADAM)
    for name, value in {**{n: asked[n] for n in ("ema_decay", "init_scale")}, **adam}.items():
        if value is not None and not (_is_number(value) and _is_within(value, _WITHIN[name])):
            told = f"{name}={shown(value)}"
            raise UsageError(f"{told}: must be a finite number {_WITHIN[name]}")


def _is_within(value: Any, interval: objectives.Interval) -> bool:
    """Whether a number is in an interval, and does not round to its upper end in float32."""
    with np.errstate(over="ignore"):
        return float(value) in interval and bool(np.float32(value) < interval.high)


def _is_number(value: Any) -> bool:
    is_array = isinstance(value, np.ndarray | jax.Array) and value.ndim == 0
    return is_array or (isinstance(value, numbers.Real) and not isinstance(value, bool))


def _is_count(value: Any) -> bool:
    return _is_integer(value) and int(value) >= 1


def _is_integer(value: Any) -> bool:
    is_array = isinstance(value, jax.Array) and value.ndim == 0
    is_whole = is_array and jnp.issubdtype(value.dtype, jnp.integer)
    return is_whole or (isinstance(value, numbers.Integral) and not isinstance(value, bool))


def _check_patience(
    patience: int | None, source: sources.Source, objective: training.Objective, name: str | None
) -> None:
    """Raises UsageError if patience is set without anything to validate."""
    if patience is None:
        return
    if not source.size("valid"):
        raise UsageError(
            f"patience={patience}: needs a validation split: give valid=…, or leave patience out"
        )
    if objective.phase is not None:
        raise UsageError(
            f"patience={patience}: {name or 'the objective'} is several trainings whose losses do "
            "not compare: leave it out"
        )


def _hparams(asked: Mapping[str, Any], objective: dict[str, Any], units: dict) -> training.Hparams:
    """The scalars and schedules of a run, in the form of `vae_jax.lab.config`."""

    def scalar(name):
        value = asked[name]
        return None if value is None else np.float32(value)

    def required(name, value, interval, touches_low=False):
        made = _schedule(name, value, units)
        _check_interval(name, made, interval, units, touches_low=touches_low)
        return made

    def schedule(name, value, *interval):
        return None if value is None else required(name, value, *interval)

    decay = 1e-4 if asked["weight_decay"] is None else asked["weight_decay"]
    return training.Hparams(
        seed=np.int32(asked["seed"]),
        learning_rate=required("learning_rate", asked["learning_rate"], _POSITIVE, True),
        objective=objective,
        weight_decay=schedule("weight_decay", decay, _AT_LEAST_ZERO),
        adam={n: np.float32(value) for n, value in (asked["adam"] or {}).items()},
        clip_norm=schedule("clip_norm", asked["clip_norm"], _POSITIVE, True),
        skip_norm=schedule("skip_norm", asked["skip_norm"], _POSITIVE, True),
        ema_decay=scalar("ema_decay"),
        init_scale=scalar("init_scale"),
    )


def _schedule(name: str, value: Any, units: dict) -> Callable:
    """Makes a schedule from the value of a setting."""
    if value is None:
        raise UsageError(f"{name}=None: must be a number or a schedule: leave it out, or give one")
    if isinstance(value, optax.GradientTransformation):
        raise UsageError(
            f"{name}: is an optax transformation: give optimizer=…, which has its own rate"
        )
    told = value if isinstance(value, str) else shown(value)
    try:
        return schedules.make(value, **units)
    except UsageError as error:
        raise UsageError(f"{name}={told}: {error}") from None


def _told_schedule(value: Any) -> Any:
    """Converts our schedules to a comparable form; leaves anything else unchanged."""
    if not isinstance(value, schedules.Schedule):
        return value
    start, end, steps, period, is_cosine = map(str, value)
    if start == end:
        return start
    return f"from {start} to {end} in {steps} of {period} steps (cosine: {is_cosine})"


def _check_interval(
    name: str, schedule: Callable, interval: objectives.Interval, units: dict, *, touches_low=False
) -> None:
    """Raises UsageError unless a schedule stays in an interval; it may touch an open low end."""
    values = schedules.extremes(schedule, units["num_steps"])
    wrong = interval.first_outside(values, touches_low=touches_low)
    if wrong is not None:
        raise UsageError(f"{name}={wrong:g}: must be finite and {interval}")


def _optimizer(optimizer: Any, asked: Mapping[str, Any]) -> tuple[str | Callable, bool]:
    """The optimizer for `training.make_train`, and whether the learning rate is known."""
    is_known = isinstance(optimizer, str) and optimizer in training.OPTIMIZERS
    if asked["weight_decay"] is not None and is_known and optimizer != "adamw":
        raise UsageError(
            f"weight_decay={asked['weight_decay']}: {optimizer} has none: give optimizer='adamw'"
        )
    if isinstance(optimizer, str):
        if optimizer not in training.OPTIMIZERS:
            error = unknown("optimizer", optimizer, training.OPTIMIZERS)
            is_optax = callable(getattr(optax, optimizer, None))
            raise UsageError(f"{error}, or give optimizer=optax.{optimizer}") if is_optax else error
        return optimizer, True
    if isinstance(optimizer, optax.GradientTransformation):
        rate = asked["learning_rate"]
        if not (isinstance(rate, str) and rate == training.LEARNING_RATE):
            told = rate if isinstance(rate, str) else shown(rate)
            raise UsageError(
                f"learning_rate={told}: the optimizer is a transformation with "
                "its own: leave learning_rate out, or give a factory such as optimizer=optax.sgd"
            )
        return lambda h: optimizer, False
    if not callable(optimizer) or not arguments.takes_leading(optimizer, 1):
        raise UsageError(
            f"optimizer={shown(optimizer)}: must be one of {', '.join(training.OPTIMIZERS)}, a "
            "factory such as optax.sgd, or an optax transformation"
        )
    try:
        first = aliases.argument(next(iter(inspect.signature(optimizer).parameters), ""))
    except ValueError:
        first = ""
    is_of_rate = first == "learning_rate"

    def make(h):
        made = optimizer(h["learning_rate"] if is_of_rate else h)
        if not isinstance(made, optax.GradientTransformation):
            raise UsageError(
                f"optimizer={shown(optimizer)}: returns {shown(made)}, must be a factory of an "
                "optax transformation: give one such as optax.sgd"
            )
        return made

    return make, True


# --- The loop


class _Now(NamedTuple):
    """The current state of a training [S, …], the steps done, and the rows of its epochs."""

    carried: programs.Carried
    step: int
    history: list[dict[str, Any]]


@contextlib.contextmanager
def _kept(checkpoint: Any, planned: _Planned) -> Iterator[Any]:
    """Yields the keeper that saves the training, or None without a checkpoint."""
    if checkpoint is None:
        yield None
        return
    if not isinstance(checkpoint, str | os.PathLike) or not os.fspath(checkpoint):
        raise UsageError(f"checkpoint={shown(checkpoint)}: must be the path of a directory")
    from vae_jax import keeping

    source = planned.source
    if source.dataset is None:
        held: Any = keeping.sha256_of(source.splits)
    else:
        sizes = [planned.program.size(split) for split in source.splits]
        held = [source.dataset.sha256, *sizes]
    settings = keeping.spelled({"data": held, **planned.settings})
    unused = () if planned.has_rate else ("learning_rate",)
    with keeping.Keeper(checkpoint, settings, unused) as keeper:
        yield keeper


@contextlib.contextmanager
def _shown(is_shown: bool, num_epochs: int) -> Iterator[Callable[[dict], None]]:
    """Yields a function that shows the row of an epoch, in a terminal or a notebook."""
    line = None
    if is_shown:
        from vae_jax import live

        line = live.live_line(num_epochs)
    try:
        if line is None:
            yield lambda row: None
        else:
            yield lambda row: line.show(row["epoch"], ", ".join(live.terms([row])[0]), "")
    finally:
        if line is not None:
            line.end()


def _train(planned: _Planned, keeper: Any, callbacks: Sequence[Callable], is_shown: bool) -> _Now:
    """Trains to the last step, or until patience or a callback stops it."""
    program = planned.program
    per_epoch = program.train.steps_per_epoch
    now = _beginning(program, keeper)

    def chunk(_, hparams, x, num_steps):
        # this loop may have changed the state: stopped by patience, for example
        return program.chunk(now.carried.state, hparams, x, num_steps)

    is_over = bool(program.layout.read(now.carried.state.stopped).all())
    last_step = now.step if is_over else program.num_steps
    with _shown(is_shown, program.num_steps // per_epoch) as show, programs.source(program) as x:
        for step, state in training.train_until(
            chunk,
            now.carried.state,
            program.hparams,
            x,
            first_step=now.step,
            num_steps=last_step,
            steps_per_epoch=per_epoch,
            read=program.layout.read,
        ):
            _refuse_failure(planned, state)
            now = now._replace(carried=now.carried._replace(state=state), step=step)
            if step % per_epoch == 0:
                now = _end_epoch(planned, now, callbacks)
                show(now.history[-1])
            if program.layout.read(now.carried.state.stopped).all():
                break
            if keeper is not None and keeper.is_due():
                _save(program, keeper, now)
    if keeper is not None:
        _save(program, keeper, now)
    return now


def _save(program: Program, keeper: Any, now: _Now) -> None:
    keeper.save(now.step, lambda: program.layout.read(now.carried), now.history)


def _beginning(program: Program, keeper: Any) -> _Now:
    """The newest checkpoint, or the initial state."""
    restored = None if keeper is None else keeper.restore(programs.target(program))
    if restored is None:
        return _Now(programs.begin(program), 0, [])
    step, carried, history = restored
    if step > program.num_steps:
        per_epoch = program.train.steps_per_epoch
        raise UsageError(
            f"epochs={program.num_steps // per_epoch}: the checkpoint has trained "
            f"{step // per_epoch} epochs already: give at least as many"
        )
    return _Now(program.layout.place(carried), step, history)


def _end_epoch(planned: _Planned, now: _Now, callbacks: Sequence[Callable]) -> _Now:
    """Computes the epoch's row and validation, and calls the callbacks."""
    program = planned.program
    (row,), carried = programs.end_epoch(program, now.carried, now.step)
    if not planned.has_rate:
        del row["learning_rate"]
    now = now._replace(carried=carried)
    now.history.append(row)  # a copy of all rows at each epoch would cost E²
    if not callbacks:
        return now
    params = jax.tree.map(lambda leaf: np.array(leaf[0]), program.layout.read(carried.state.params))
    num_epochs = program.num_steps // program.train.steps_per_epoch
    record = Epoch(row["epoch"], num_epochs, now.step, dict(row), params)
    # call every callback, even if an earlier one stops the training
    answers = [callback(record) for callback in callbacks]
    if any(map(_says_stop, answers)):
        stopped = program.layout.place_slots(np.ones(program.layout.num_slots, bool))
        carried = carried._replace(state=carried.state.replace(stopped=stopped))
    return now._replace(carried=carried)


def _says_stop(answer: Any) -> bool:
    """Whether a callback returned True: of Python, NumPy or JAX."""
    return isinstance(answer, bool | np.bool_ | np.ndarray | jax.Array) and bool(np.all(answer))


def _refuse_failure(planned: _Planned, state: training.State) -> None:
    """Raises DivergedError if a loss, gradient or update was not finite."""
    layout = planned.program.layout
    failure = int(layout.read(state.failure)[0])
    if failure >= 0:
        raise DivergedError(
            f"loss, gradient or update not finite at step {failure}: try "
            f"{_advice(planned.program, failure, layout.read(state.sums))}"
        )


def _advice(program: Program, failure: int, sums: Mapping[str, np.ndarray]) -> str:
    """A remedy for a divergence at a step, chosen from the sums [1] at that step."""
    if failure == 0 and not all(np.isfinite(total).all() for total in sums.values()):
        # before any update, so the learning rate is not the cause
        others = (f"another {name}" for name in program.hparams.objective)
        return " or ".join(["init_scale=0.1", *others])
    return "a smaller learning_rate"


def _trained(planned: _Planned, now: _Now) -> Trained:
    """Collects the results of a training."""
    program, source = planned.program, planned.source
    params = programs.frozen(program, programs.result_params(now.carried))
    model, params, _ = programs.member(program, 0, program.layout.read(params))
    state = program.layout.read(now.carried.state)
    state = jax.tree.map(lambda leaf: jax.device_put(np.array(leaf[0])), state)
    best = now.carried.best
    return Trained(
        model,
        params,
        history=tuple(now.history),
        state=state,
        step=now.step,
        status="done" if now.step == program.num_steps else "stopped early",
        best_epoch=None if best is None else int(program.layout.read(best["epoch"])[0]),
        dataset=source.dataset,
        preprocess=source.preprocess,
        conditions=source.conditions if getattr(model, "num_conditions", 0) else None,
        program=program,
    )


# --- The objective


def _bound(
    objective: str | Callable,
    settings: Mapping[str, Any],
    num_examples: int,
    units: dict,
    has_dataset: bool = False,
) -> tuple[str | None, dict[str, Any], training.Objective, dict[str, Any]]:
    """The objective's name, its counts and words, what they make of it, and the rest as schedules.

    As on the command line, built-in objectives get their defaults, and a term with weight 0 is left
    out of the program.
    """
    if isinstance(objective, functools.partial) and objectives.name_of(objective.func):
        settings = {**objective.keywords, **settings}
        objective = objective.func
    settings = dict(settings)
    told = settings.pop("num_examples", num_examples)
    if not _is_count(told) or told != num_examples:
        raise UsageError(
            f"num_examples={shown(told)}: is {num_examples}, the rows that are trained on: leave "
            "it out, or give fewer rows of data"
        )
    chosen = objectives.statics(objective, settings, has_dataset=has_dataset, call="fit")
    for lacking in objectives.lacking(objective, settings):
        raise UsageError(
            f"{lacking}: the objective has no default for it: give fit(…, {lacking}=…)"
        )
    bound = objectives.bind(objective, num_examples=num_examples, **chosen)
    name = objectives.name_of(objective)
    known = {} if name is None else objectives.hyperparameters(name)
    usual = {n: h.text for n, h in known.items() if not h.is_static}
    left = {n: v for n, v in {**usual, **settings}.items() if n not in chosen}
    left = {n: _schedule(n, value, units) for n, value in left.items()}
    for setting, schedule in left.items():
        if setting in known:
            _check_interval(setting, schedule, known[setting].interval, units)
    kept = {n: s for n, s in left.items() if not _is_left_out(s, known.get(n))}
    return name, chosen, bound, kept


def _is_left_out(schedule: Callable, known: objectives.Hyperparameter | None) -> bool:
    """Whether a hyperparameter is the weight 0 of a term that is off by default."""
    is_zero = isinstance(schedule, schedules.Schedule) and schedules.extremes(schedule) == [0, 0]
    return known is not None and known.default == 0 and is_zero


def _made_by(
    objective: training.Objective, name: str | None, sizes: Mapping[str, Any], is_ours: bool
) -> str:
    """The call that makes a model for a built-in objective and the data at hand; "" for others."""
    if name is None:
        return ""
    data = "data" if is_ours or objective.given is None else "{'x': x, 'labels': y}"
    told = {"objective": repr(name)}
    if not is_ours:
        told["likelihood"] = "model.likelihood"
    told |= {setting: repr(value) for setting, value in sizes.items()}
    return f"make_model({data}, {', '.join(f'{n}={text}' for n, text in told.items())})"


def _check_model(objective: training.Objective, model, name: str | None, call: str) -> None:
    """Raises UsageError unless the model has the objective's latents and takes its conditions.

    The remedy is `call`, if there is one.
    """
    who = name or "the objective"
    asked = None if objective.latent is None else objective.latent()
    found = getattr(model, "latent", asked)
    if asked is not None and isinstance(found, posteriors.Posterior):
        asked = posteriors.instead_of(asked, found)
    if asked is not None and found != asked:
        ours = f"{call}, or " if call else ""
        raise UsageError(
            f"{who} asks for latents.{asked}, the model has latents.{found}: make it with {ours}"
            f"Model(…, latent=latents.{asked}) and an encoder that returns "
            f"({', '.join(asked.parts)}){_same_family(name, asked, found)}"
        )
    if objective.given is not None and not model.num_conditions:
        ours = f"{call}, or " if call else ""
        raise UsageError(
            f"{who} gives the model a condition, this one takes none: make it with {ours}"
            "Model(…, num_conditions=C) and an encoder and a decoder that take a condition [B, C] "
            "as second argument"
        )
    _check_mechanism(objective, model, name, call)


def _check_mechanism(objective: training.Objective, model, name: str | None, call: str) -> None:
    """Raises UsageError unless the model has the missing mechanism that the objective learns."""
    asked = None if objective.mechanism is None else objective.mechanism()
    found = getattr(model, "mechanism", None)
    if found == asked or (asked is None and name is None):
        return
    ours = f"{call}, or " if call else ""
    raise UsageError(
        f"{name or 'the objective'} learns {asked or 'no missing mechanism'}, the model has "
        f"{found or 'none'}: make it with {ours}"
        f"Model(…, mechanism={asked and f'mechanisms.Mechanism({asked.kind!r})'})"
    )


def _same_family(name: str | None, asked, found) -> str:
    """An additional remedy if the latents differ in a size that the objective may choose."""
    if name is None or type(asked) is not type(found):
        return ""
    sizes = {n: v for n, v in vars(found).items() if v != getattr(asked, n)}
    try:
        is_found = objectives.latent(name, **sizes) == found
    except UsageError:
        return ""
    told = ", ".join(f"{n}={v!r}" for n, v in sizes.items())
    return f"; or give fit(…, {told})" if is_found else ""
