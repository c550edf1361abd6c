"""Helpers of the metrics: input checks, blocks of rows, standard errors."""

import functools
import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vae_jax.errors import UsageError, refuse_masked

__all__ = [
    "NUM_BOOTSTRAP",
    "bootstrap",
    "distinct_pairs",
    "example_and_key",
    "is_constant",
    "keys_of_example",
    "log_likelihood",
    "mean_and_error",
    "mean_and_error_of_traced",
    "positions_of",
    "ratio_and_error",
    "require_at_least",
    "require_density",
    "require_finite",
    "share_and_error",
    "with_errors",
]

NUM_BOOTSTRAP = 100
"""Resamples for a standard error, a count."""


def require_finite(**arrays) -> None:
    """Raises UsageError if an array of any shape has a value that is not finite.

    The message names the array by its keyword. Raises DataError if values are masked. Inside a
    transformation the values are unknown, and nothing is checked.
    """
    for name, values in arrays.items():
        if isinstance(values, jax.core.Tracer):
            continue
        refuse_masked(name, values)
        values = np.asarray(values)
        if values.size == 0:
            raise UsageError(f"{name} has shape {list(values.shape)}: must not be empty")
        num_bad = values.size - np.count_nonzero(np.isfinite(values))
        if num_bad:
            raise UsageError(
                f"{name}: {num_bad:,} of {values.size:,} values are not finite: look whether "
                "training diverged, or leave their rows out"
            )


def require_at_least(least: int, **numbers: int) -> None:
    """Raises UsageError if a count (a scalar), named by its keyword, is below `least`."""
    for name, number in numbers.items():
        if number < least:
            raise UsageError(f"{name}={number}: must be at least {least}")


def require_density(model) -> None:
    """Raises UsageError if a model's p(x|z) depends on the batch around x [B, …]."""
    if model.likelihood.frozen() != model.likelihood:
        raise UsageError(
            f"{model.likelihood} has another variance for each batch, p(x|z) is no density: fix it "
            "with evaluation.elbo.freeze_likelihood"
        )


def is_constant(codes):
    """Whether a dimension of codes [N, L] has the same value in all rows, [L].

    It compares the values: their mean may be rounded, so the variance may be above 0.
    """
    return codes.max(axis=0) == codes.min(axis=0)


def mean_and_error(values) -> tuple[float, float | None]:
    """The mean of values [S] and its standard error √(Σ(v − v̄)² / (S − 1) / S); None if S = 1."""
    values = np.asarray(values, np.float64)
    if values.size < 2:
        return float(values.mean()), None
    return float(values.mean()), float(values.std(ddof=1) / math.sqrt(values.size))


def share_and_error(holds) -> tuple[float, float]:
    """The share p of truth values [S] that hold, and half the width of Wilson's interval at z = 1.

    √(p (1 − p) / S + 1 / (4 S²)) / (1 + 1 / S): about the standard error, and above 0 if all hold.

    Reference:
        Wilson 1927, Probable inference, the law of succession, and statistical inference, JASA 22.
    """
    holds = np.asarray(holds, bool)
    share, num = float(holds.mean()), holds.size
    half = math.sqrt(share * (1.0 - share) / num + 0.25 / num**2) / (1.0 + 1.0 / num)
    return share, half


def with_errors(values: Mapping[str, Any]) -> dict[str, float | None]:
    """The mean of each name's values [S], and its standard error as `name_standard_error`.

    Of truth values see `share_and_error`, of numbers `mean_and_error`. Both are None if there are
    no values.
    """
    result = {}
    for name, each in values.items():
        of = share_and_error if np.asarray(each).dtype.kind == "b" else mean_and_error
        result[name], result[f"{name}_standard_error"] = of(each) if len(each) else (None, None)
    return result


@functools.partial(jax.jit, static_argnames=("num_pairs", "num"))
def distinct_pairs(
    first_key: jax.Array, step_key: jax.Array, num_pairs: int, num: int
) -> tuple[jax.Array, jax.Array]:
    """Draws pairs of distinct examples: the positions [P] of the first and of the second ones.

    Args:
        first_key, step_key: PRNG keys, scalars: for the first ones, and for the offset to the
            second.
        num_pairs: P.
        num: the number of examples, at least 2.
    """
    first = jax.random.randint(first_key, (num_pairs,), 0, num)
    return first, (first + jax.random.randint(step_key, (num_pairs,), 1, num)) % num


def mean_and_error_of_traced(values: jax.Array) -> tuple[jax.Array, jax.Array]:
    """`mean_and_error` of [S] for use inside a transformation, in float32: scalars."""
    mean = jnp.mean(values)
    squares = jnp.sum(jnp.square(values - mean[None]))
    return mean, jnp.sqrt(squares / max(values.size - 1, 1) / values.size)


def ratio_and_error(upper: np.ndarray, lower: np.ndarray) -> tuple[float, float | None]:
    """The ratio of the means of pairs, r = Σ u / Σ l, and its standard error by linearization.

    Args:
        upper, lower: u and l, [S] each; the mean of l is not 0.

    Returns:
        (r, the standard error of the mean of (u − r l) / l̄), scalars; no error for a single pair.

    Reference:
        Cochran 1977, Sampling techniques, section 6.3.
    """
    ratio = float(upper.mean() / lower.mean())
    return ratio, mean_and_error((upper - ratio * lower) / lower.mean())[1]


def positions_of(first_example, num_rows: int) -> jax.Array:
    """Positions of the rows of a block in the data, [B]; random draws depend on them alone.

    Args:
        first_example: the position of the first row, a scalar, if rows are consecutive; or of each
            row, [B].
        num_rows: B.
    """
    first = jnp.asarray(first_example)
    return first if first.ndim else first + jnp.arange(num_rows)


def keys_of_example(key: jax.Array, position: jax.Array) -> jax.Array:
    """Two keys, [2], for the example at a position, a scalar: one for its data, one for its draws.

    All estimates of log p(x) with the same key use the same binarization.
    """
    return jax.random.split(jax.random.fold_in(key, position))


def example_and_key(
    preprocess: Callable, key: jax.Array, stored: jax.Array, position: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """An example [*stored] as the model's input, [1, *shape], and the key for its draws, a scalar.

    Args:
        preprocess: (stored [B, *stored], key) to [B, *shape].
        key: PRNG key for all examples, a scalar.
        stored: [*stored].
        position: position of the example in the data, a scalar.
    """
    data_key, draw_key = keys_of_example(key, position)
    return preprocess(stored[None], data_key), draw_key


def log_likelihood(model, params, z: jax.Array, x: jax.Array) -> jax.Array:
    """log p(x|z) in nats, for codes z [..., L] and x [..., *shape], which broadcasts: [...]."""
    rows = jnp.broadcast_to(x, (*z.shape[:-1], *model.shape)).reshape(-1, *model.shape)
    outputs = model.decode(params, z.reshape(-1, z.shape[-1]), rows)
    log_prob = model.likelihood.log_prob(params["likelihood"], outputs, rows)
    return log_prob.reshape(z.shape[:-1])


@functools.partial(jax.jit, static_argnames=("statistic", "num_rows", "num_bootstrap"))
def _resample(key, arguments, *, statistic, num_rows, num_bootstrap):
    def one(key):
        return statistic(jax.random.randint(key, (num_rows,), 0, num_rows), *arguments)

    values = jax.lax.map(one, jax.random.split(key, num_bootstrap))
    return jax.tree.map(lambda value: jnp.std(value, axis=0, ddof=1), values)


def bootstrap(key: jax.Array, num_rows: int, num_bootstrap: int, statistic: Callable, *arguments):
    """The bootstrap standard error of a statistic: its standard deviation over resampled rows.

    Args:
        key: PRNG key, scalar.
        num_rows: N.
        num_bootstrap: number of resamples, scalar; below 2 means none.
        statistic: (rows [N], *arguments) to a pytree of scalars; a module-level function, so that
            it is compiled once.
        arguments: arrays of any shape.

    Returns:
        The same pytree of standard errors, or None for no resamples.

    Reference:
        Efron & Tibshirani 1993, An introduction to the bootstrap, algorithm 6.1.
    """
    if num_bootstrap < 2:
        return None
    return _resample(
        key, arguments, statistic=statistic, num_rows=num_rows, num_bootstrap=num_bootstrap
    )
