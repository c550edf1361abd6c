"""Parameters of a likelihood that are not outputs of the decoder: learned, or given as a number."""

import math
from typing import Any

import jax
import jax.numpy as jnp

from vae_jax import distributions
from vae_jax.errors import UsageError, did_you_mean, shown
from vae_jax.likelihoods._likelihood import Params, at_least_float32
from vae_jax.likelihoods._scaled import is_number

__all__ = ["PER_DIMENSION", "WORDS", "check", "log_of", "start"]

PER_DIMENSION = "learned_per_dimension"
WORDS = ("learned", PER_DIMENSION)
"""How a parameter is learned: one scalar, or one for each number of x."""
_NAME = "log_{}"


def check(name: str, value: Any, words: tuple[str, ...] = WORDS) -> None:
    """Raises UsageError unless a setting, a scalar, is one of the words or a number in range."""
    # beyond it, `distributions.bound_logvar` would clamp the logarithm
    lowest, highest = (math.exp(s * distributions.LOGVAR_BOUND) for s in (-1, 1))
    if isinstance(value, str) and value in words:
        return
    if is_number(value) and lowest <= value <= highest:
        return
    told = value if isinstance(value, str) else shown(value)
    raise UsageError(
        f"{name}={told}: must be a number from {lowest:.2g} to {highest:.2g} or one of "
        f"{', '.join(words)}{did_you_mean(str(value), words)}"
    )


def start(name: str, value: float | str, shape: tuple[int, ...], initial: float) -> Params:
    """The initial logarithm of a setting, by name, [] or [*shape]; {} for a number."""
    if is_number(value):
        return {}
    shape = shape if value == PER_DIMENSION else ()
    return {_NAME.format(name): jnp.full(shape, initial, jnp.float32)}


def log_of(name: str, value: float | str, params: Params) -> jax.Array:
    """The logarithm of the setting in use, clamped, a scalar or [*shape]."""
    own = jnp.float32(math.log(value)) if is_number(value) else params[_NAME.format(name)]
    return distributions.bound_logvar(at_least_float32(own))
