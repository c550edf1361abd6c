"""One mechanism for every hyperparameter that changes with the step.

A schedule is a function of the step, as in optax. Ours is also a pytree of scalars, so runs with
different schedules stack along an axis and train in one program. Any optax schedule works, too:
wrapped in `jax.tree_util.Partial` it is a pytree without leaves.
"""

import functools
import inspect
import math
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from vae_jax import arguments
from vae_jax.errors import UsageError, did_you_mean, shown

__all__ = [
    "Schedule",
    "constant",
    "cosine",
    "cyclical",
    "evaluate",
    "extremes",
    "linear",
    "make",
    "parse",
    "piecewise",
]


class Schedule(NamedTuple):
    """A ramp from `start` to `end`, once or in cycles; a function of the step.

    value(t) = start + (end − start)·r(t), r(t) = clip((t mod period) / steps, 0, 1); if
    `is_cosine`, r is replaced by (1 − cos πr) / 2.

    Args:
        start, end: values, scalars [] (or [R] for R runs, to be mapped over).
        steps: length of the ramp in steps, scalar; 0 means that `end` holds from the start.
        period: length of a cycle in steps, scalar; 0 means one ramp only.
        is_cosine: 1 for half a cosine wave, 0 for a straight line, scalar.
    """

    start: Any
    end: Any
    steps: Any
    period: Any
    is_cosine: Any

    def __call__(self, step):
        """The value at `step`, a scalar []."""
        t = jnp.asarray(step, jnp.float32)
        t = jnp.where(self.period > 0, t % jnp.maximum(self.period, 1.0), t)
        ramp = jnp.where(self.steps > 0, t / jnp.maximum(self.steps, 1e-9), 1.0)
        ramp = jnp.clip(ramp, 0.0, 1.0)
        ramp = jnp.where(self.is_cosine > 0, 0.5 - 0.5 * jnp.cos(jnp.pi * ramp), ramp)
        return self.start + (self.end - self.start) * ramp


def _schedule(start, end, steps, period, is_cosine) -> Schedule:
    if min(steps, period) < 0:
        raise ValueError("a duration is negative")
    # NumPy scalars, because a JAX scalar would compile a program; overflow is refused as infinite
    values = (start, end, steps, period, is_cosine)
    with np.errstate(over="ignore"):
        return Schedule(*((jnp if isinstance(v, jax.Array) else np).float32(v) for v in values))


def constant(value) -> Schedule:
    """The same value at each step (scalar)."""
    return _schedule(value, value, 0, 0, 0)


def linear(start, end, steps) -> Schedule:
    """A straight line from `start` to `end` in `steps` steps, then `end` (scalars)."""
    return _schedule(start, end, steps, 0, 0)


def cosine(start, end, steps) -> Schedule:
    """Half a cosine wave from `start` to `end` in `steps` steps, then `end` (scalars).

    Reference: Loshchilov & Hutter 2017, arXiv 1608.03983, equation 5 without restarts.
    """
    return _schedule(start, end, steps, 0, 1)


def cyclical(start, end, period, rising=0.5) -> Schedule:
    """Cycles of `period` steps: a line for the fraction `rising` of each, then `end` (scalars).

    Reference: Fu et al. 2019, arXiv 1903.10145, equations 6 and 7.
    """
    return _schedule(start, end, period * rising, period, 0)


def piecewise(value, *steps_and_values) -> Callable:
    """A piecewise constant schedule: a value, the step of the next piece, its value, and so on.

    Args:
        value: the first value, a scalar.
        steps_and_values: steps and values (scalars) alternating, steps ascending.

    Returns:
        A callable from step (scalar) to value (scalar); a pytree without leaves.
    """
    steps, values = steps_and_values[::2], (value, *steps_and_values[1::2])
    if len(values) != len(steps) + 1:
        raise ValueError("the last step has no value after it")
    if min(steps, default=0) < 0 or list(steps) != sorted(steps):
        raise ValueError("its steps must ascend")
    return jax.tree_util.Partial(functools.partial(_piece, values=values, steps=steps))


def _piece(step, *, values, steps):
    index = jnp.searchsorted(jnp.array(steps, jnp.float32), jnp.float32(step), side="right")
    return jnp.array(values, jnp.float32)[index]


def evaluate(tree, step):
    """The tree with each schedule replaced by its value at `step`; other leaves stay.

    Args:
        tree: pytree of scalars [], schedules, and callables of the step.
        step: int32 scalar [].

    Returns:
        The same tree of float32 scalars [].
    """
    # optax's own schedules rely on implicit promotion, even if a user forbids it
    with jax.numpy_dtype_promotion("standard"):
        return jax.tree.map(lambda v: v(step) if callable(v) else v, tree, is_leaf=callable)


_OURS = {f.__name__: f for f in (constant, linear, cosine, cyclical, piecewise)}
_INSTEAD = {
    "piecewise_constant": "piecewise",
    "piecewise_interpolate": "piecewise",
    "sgdr": "cyclical",
}
"""Schedules of optax whose arguments are not only numbers → our replacement."""
_DURATIONS = ("steps", "period", "begin")
_NUMBER = re.compile(r"(?P<number>[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?)(?P<unit>ep|%)?", re.I)


def parse(text: str, *, steps_per_epoch: int = 1, num_steps: int = 1) -> Callable:
    """Reads a schedule as written on the command line.

    Examples: `4`, `linear(0, 4, 2000)`, `cosine(1e-3, 0, 100%)`, `cyclical(0, 1, 10ep)`,
    `piecewise(1e-3, 200ep, 1e-4)`, or any schedule of optax by its name without `_schedule`:
    `warmup_cosine_decay(0, 1e-3, 5ep, 100%)`. A duration is in steps, in epochs with `ep`, or in
    percent of the run with `%`.

    Args:
        text: the number or the call.
        steps_per_epoch: number of steps in `1ep`.
        num_steps: number of steps in `100%`.

    Returns:
        A callable from step (scalar) to value (scalar); a pytree.

    Raises:
        UsageError: the text is neither a finite number nor a call of a known schedule.
    """

    units = {None: 1.0, "ep": steps_per_epoch, "%": num_steps / 100}

    def number(token: str, is_duration: bool) -> float:
        match = _NUMBER.fullmatch(token.strip())
        unit = match and match["unit"] and match["unit"].lower()
        value = float(match["number"]) * units[unit] if match else math.nan
        if not math.isfinite(value) or (unit and not is_duration):
            raise UsageError(f"{token.strip()!r} is not a finite number such as 4 or 1e-3")
        if is_duration and value < 0:
            raise UsageError(f"{token.strip()!r} is no duration: give 2000 (steps), 10ep or 50%")
        return int(value) if value.is_integer() else value

    call = re.fullmatch(r"\s*(\w+)\s*\((.*)\)\s*", text)
    if call is None:
        return constant(number(text, is_duration=False))
    function = _function(call[1])
    names = list(inspect.signature(function).parameters)
    tokens = [token for token in call[2].split(",") if token.strip()]
    usage = _usage(_INSTEAD.get(call[1], call[1]))
    if function is piecewise:
        names = ["value", *["steps", "value"] * (len(tokens) // 2)]
    if len(tokens) > len(names):
        raise UsageError(f"schedule {text!r}: too many arguments; write it as {usage}")
    arguments = [
        number(token, is_duration=any(word in name for word in _DURATIONS))
        for token, name in zip(tokens, names, strict=False)
    ]
    try:
        schedule = function(*arguments)
    except Exception as error:  # optax functions raise many types for invalid numbers
        reason = "optax's takes more than numbers" if call[1] in _INSTEAD else error
        raise UsageError(f"schedule {text!r}: {reason}; write it as {usage}") from None
    return schedule if isinstance(schedule, Schedule) else jax.tree_util.Partial(schedule)


def make(value: Any, *, steps_per_epoch: int = 1, num_steps: int = 1) -> Callable:
    """Makes a schedule from a number, text, or a function of the step (such as optax's).

    Args:
        value: a scalar; text, see `parse`; or a callable from step (scalar) to value (scalar).
        steps_per_epoch, num_steps: see `parse`.

    Returns:
        A callable from step (scalar) to value (scalar); a pytree.

    Raises:
        UsageError: it is none of these.
    """
    if isinstance(value, str):
        return parse(value, steps_per_epoch=steps_per_epoch, num_steps=num_steps)
    if isinstance(value, Schedule):
        return value
    if callable(value):
        _refuse_untraceable(value)
        is_tree = isinstance(value, jax.tree_util.Partial)
        return value if is_tree else jax.tree_util.Partial(value)
    try:
        return constant(float(value))
    except (TypeError, ValueError):
        raise UsageError(
            f"{shown(value)} is no number: give one, a function of the step, or text such as "
            "'linear(0, 4, 10ep)'"
        ) from None


def _refuse_untraceable(function: Callable) -> None:
    """Raises UsageError unless a function maps a traced step (a scalar) to a real scalar."""
    name = shown(function)
    if not arguments.takes_leading(function, 1):
        raise UsageError(f"{name} does not take a step alone: give a function of the step")
    try:
        found = jax.eval_shape(functools.partial(evaluate, function), jnp.int32(0))
    except arguments.TRACING as error:
        raise UsageError(
            f"{name}{arguments.place_of(error, function)} cannot be traced, its step is no Python "
            "number: take jax.numpy.where(step < 10, a, b) in place of if, or text such as "
            "'piecewise(1e-3, 10, 1e-4)'"
        ) from None
    except TypeError:
        found = None
    is_real = getattr(found, "shape", None) == () and not jnp.issubdtype(
        found.dtype, jnp.complexfloating
    )
    if not is_real:
        raise UsageError(f"{name} returns no number: give a function from a step to a number")


def extremes(schedule: Callable, num_steps: int = 1000) -> list[float]:
    """Values that a schedule takes in `num_steps` steps (scalar); for ours, its two ends."""
    if isinstance(schedule, Schedule):
        return [float(schedule.start), float(schedule.end)]
    steps = np.linspace(0, num_steps, 201).astype(np.int32)
    return np.asarray(jax.vmap(functools.partial(evaluate, schedule))(jnp.asarray(steps))).tolist()


def _usage(name: str) -> str:
    """The syntax of a schedule, for messages."""
    if name == piecewise.__name__:
        return "piecewise(value, steps, value, …)"
    return f"{name}({', '.join(inspect.signature(_function(name)).parameters)})"


def _function(name: str) -> Callable:
    """The schedule function with this name, ours or optax's without `_schedule`."""
    known = [n for n in dir(optax.schedules) if n.endswith(("_schedule", "_decay"))]
    optax_names = {n.removesuffix("_schedule"): n for n in known}
    if name in _OURS:
        return _OURS[name]
    if name in optax_names:
        return getattr(optax.schedules, optax_names[name])
    hint = did_you_mean(name, [*_OURS, *optax_names])
    raise UsageError(
        f"schedule {name!r} is unknown{hint} (ours: {', '.join(_OURS)}; and those of optax)"
    )
