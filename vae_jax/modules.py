"""Runs Linen modules in training or evaluation mode, with their running statistics.

A module has two modes if its `__call__` takes one of `MODES`, usually `train: bool`. In training it
draws from the key of the step (Dropout) and updates its collection `batch_stats` (BatchNorm); in
evaluation it does neither. A module may have no other collection.
"""

import contextlib
import inspect
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
from flax import errors as flax_errors
from flax import linen as nn

from vae_jax.errors import UsageError

__all__ = ["MODES", "STATISTICS", "apply", "has_modes", "init"]

MODES = {
    **dict.fromkeys(("train", "training", "is_train", "is_training"), True),
    **dict.fromkeys(("deterministic", "use_running_average", "inference"), False),
}
"""Arguments of `__call__` that set the mode → their values in training."""
STATISTICS = "batch_stats"
"""The collection of running statistics."""
_REMEDY = (
    "let its __call__ take train: bool, and give BatchNorm use_running_average=not train and "
    "Dropout deterministic=not train"
)


def _mode(module: nn.Module, is_training: bool) -> dict[str, bool]:
    """The keyword argument that sets a module's mode; {} if it has only one mode."""
    known = inspect.signature(module.__call__).parameters
    return {name: is_training == value for name, value in MODES.items() if name in known}


def has_modes(module: nn.Module) -> bool:
    """Whether a module behaves differently in training and in evaluation, a scalar."""
    return bool(_mode(module, True))


def init(module: nn.Module, key: jax.Array, *inputs: jax.Array) -> tuple[Any, dict]:
    """Initializes a module, and runs it once in evaluation mode.

    Args:
        module: a module of a model.
        key: PRNG key.
        inputs: arrays of any shape, as in `apply`.

    Returns:
        (outputs, {"params": …}, with {"batch_stats": …} if the module keeps statistics).

    Raises:
        UsageError: as in `apply`, or its statistics are not floating-point numbers.
    """
    with _in_one_line(module), nn.intercept_methods(_refuse_idle(module)):
        outputs, held = module.init_with_output(key, *inputs, **_mode(module, False))
    statistics = {STATISTICS: held[STATISTICS]} if STATISTICS in held else {}
    for leaf in jax.tree.leaves(statistics):
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            raise UsageError(
                f"network {type(module).__name__}: {STATISTICS} holds {leaf.dtype}: keep "
                "statistics as floating-point numbers"
            )
    variables = {"params": held.get("params", {}), **statistics}
    if has_modes(module):
        # `init` allows what evaluation does not: refuse it now, not after training
        outputs, _ = apply(module, variables, *inputs)
    return outputs, variables


def _refuse_idle(module: nn.Module) -> Callable:
    """Refuses layers that would never act or learn, because the module has no mode to set."""
    is_deaf = not has_modes(module)

    def look(call, arguments, keywords, context):
        layer = type(context.module)
        if is_deaf and (layer is nn.BatchNorm or (layer is nn.Dropout and context.module.rate > 0)):
            raise UsageError(
                f"network {type(module).__name__}: its {layer.__name__} is not told training from "
                f"evaluation, no argument of __call__ is {', '.join(MODES)}: {_REMEDY}"
            )
        return call(*arguments, **keywords)

    return look


def apply(
    module: nn.Module,
    variables: dict,
    *inputs: Any,
    train_key: jax.Array | None = None,
    **read,
) -> tuple[Any, dict]:
    """Runs a module.

    Args:
        module: a module of a model.
        variables: the result of `init`.
        inputs: arrays of any shape.
        train_key: PRNG key of a training step, for all of the module's random streams; None means
            evaluation.
        read: keyword arguments of the module.

    Returns:
        (outputs, statistics: updated with this batch in training, otherwise unchanged).

    Raises:
        UsageError: the module needs something that it does not get: a key or new statistics in
            evaluation, or another collection.
    """
    statistics = variables.get(STATISTICS, {})
    mode = _mode(module, train_key is not None)
    with _in_one_line(module):
        if train_key is None or not mode:
            return module.apply(variables, *inputs, **mode, **read), statistics
        # a stream without its own key uses that of "params"
        rngs = {"dropout": train_key, "params": train_key}
        outputs, changed = module.apply(
            variables, *inputs, **mode, **read, rngs=rngs, mutable=[STATISTICS]
        )
    return outputs, changed.get(STATISTICS, {})


@contextlib.contextmanager
def _in_one_line(module: nn.Module) -> Iterator[None]:
    """Converts errors of Flax about keys, modes and collections to UsageError."""
    name = type(module).__name__
    try:
        yield
    except (flax_errors.ScopeCollectionNotFound, flax_errors.ScopeVariableNotFoundError) as error:
        remedy = f"a network keeps the collections params and {STATISTICS} alone, take one of these"
        if f'collection "{STATISTICS}"' in str(error):
            remedy = f"give parameters with {STATISTICS!r}, as Model.init returns them"
        raise UsageError(f"network {name}: {_sentence(error)}: {remedy}") from None
    except (flax_errors.ScopeParamShapeError, flax_errors.ScopeParamNotFoundError) as error:
        raise UsageError(
            f"network {name}: the parameters are those of another model, {_sentence(error)}: give "
            "the parameters that were trained with this model"
        ) from None
    except (flax_errors.InvalidRngError, flax_errors.ModifyScopeVariableError) as error:
        raise UsageError(f"network {name} in evaluation: {_sentence(error)}: {_REMEDY}") from None
    except NameError as error:
        if "unbound axis name" not in str(error):
            raise
        raise UsageError(
            f"network {name}: {_sentence(error)}: leave axis_name out, statistics are those of the "
            "whole batch on any number of devices"
        ) from None
    except ValueError as error:
        # the message of flax.linen.merge_param for a mode that was not set
        if "must be passed to the constructor or at call time" not in str(error):
            raise
        raise UsageError(f"network {name}: {_sentence(error)}: {_REMEDY}") from None


def _sentence(error: Exception) -> str:
    """The first sentence of an error, without the link to its documentation."""
    return " ".join(str(error).split(" (http")[0].split()).split(". ")[0].rstrip(".")
