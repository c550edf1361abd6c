"""Helpers of the metrics: input checks, samples of rows, gaps, the bootstrap."""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from vae_jax.errors import DataError, UsageError
from vae_jax.evaluation._shared import is_constant

__all__ = [
    "Result",
    "Table",
    "check",
    "check_codes",
    "check_counts",
    "check_share",
    "gap",
    "mean_over",
    "relabel",
    "seed_of",
    "split_rows",
    "standardize",
    "varying",
]

"""Number of resamples for a standard error, a scalar; its own relative error is 7 %."""


class Result(NamedTuple):
    """The result of one metric.

    Args:
        scores: scores by name, scalars.
        standard_errors: standard errors of those scores that have one, by name, scalars.
        counts: number of examples, groups or dimensions used for the scores, scalars.
        details: arrays behind the scores: [L], [F] or [L, F].
    """

    scores: dict[str, float]
    standard_errors: dict[str, float]
    counts: dict[str, int]
    details: dict[str, np.ndarray]


class Table(NamedTuple):
    """Codes and factors that passed `check`.

    Args:
        codes: [N, L] float32.
        factors: [N, F] int32, the rank of each value among the distinct values: 0 … K_f − 1.
        sizes: K_f, the number of values of each factor, [F].
    """

    codes: np.ndarray
    factors: np.ndarray
    sizes: np.ndarray


def check_codes(codes, name: str = "codes") -> np.ndarray:
    """Converts codes to float32; raises an error unless all are finite.

    Args:
        codes: [N, L] real, N >= 2, L >= 1.
        name: their name in the message.

    Returns:
        [N, L] float32.

    Raises:
        DataError: a code is not finite, or there are fewer than two rows or no column.
    """
    codes = np.asarray(codes)
    chex.assert_rank(codes, 2)
    if len(codes) < 2 or not codes.shape[1]:
        raise DataError(
            f"{name} of shape {codes.shape}: must have at least 2 rows and 1 column; encode more"
        )
    with np.errstate(over="ignore"):
        codes = codes.astype(np.float32)
    bad = ~np.isfinite(codes)
    if bad.any():
        row, column = np.argwhere(bad)[0]
        raise DataError(
            f"{name}[{row}, {column}]={codes[row, column]}, and {bad.any(axis=1).sum()} of"
            f" {len(codes)} rows like it: must be finite; look whether training diverged"
        )
    return codes


def relabel(factors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The rank of each value among the distinct values of its column.

    Args:
        factors: [N, F] integers.

    Returns:
        (ranks [N, F] int32, number of values [F]).
    """
    columns = [np.unique(column, return_inverse=True) for column in factors.T]
    ranks = np.stack([inverse.reshape(-1) for _, inverse in columns], axis=1)
    return ranks.astype(np.int32), np.array([len(values) for values, _ in columns])


def check(codes, factors) -> Table:
    """Checks that a metric can be computed on codes and factors.

    Args:
        codes: [N, L] real, one row for each example, one column for each latent dimension.
        factors: [N, F] integers, the true factors of the same examples.

    Returns:
        `Table`.

    Raises:
        DataError: a code is not finite, or no factor takes two values.
        UsageError: the rows do not match, or the factors are not integers.
    """
    codes = check_codes(codes)
    factors = np.asarray(factors)
    chex.assert_rank(factors, 2)
    if len(factors) != len(codes):
        raise UsageError(
            f"factors of shape {factors.shape}: must have one row for each of the {len(codes)} rows"
            " of codes"
        )
    if not np.issubdtype(factors.dtype, np.integer):
        raise UsageError(
            f"factors of type {factors.dtype}: must be integers, the index of each value; put"
            " continuous factors into bins first"
        )
    ranks, sizes = relabel(factors) if factors.shape[1] else (factors, np.zeros(0, int))
    if not (sizes > 1).any():
        raise DataError(
            f"factors of shape {factors.shape}: at least one must take two values or more; take"
            " other rows"
        )
    return Table(codes, ranks, sizes)


def check_counts(**counts: int) -> None:
    """Raises an error unless every count is at least 1.

    Args:
        counts: counts by their name in the message, scalars.

    Raises:
        UsageError: one is below 1.
    """
    for name, count in counts.items():
        if count < 1:
            raise UsageError(f"{name}={count}: must be at least 1")


def check_share(**shares: float) -> None:
    """Raises an error unless every number is in (0, 1].

    Args:
        shares: numbers by their name in the message, scalars.

    Raises:
        UsageError: one is not in (0, 1].
    """
    for name, share in shares.items():
        if not 0 < share <= 1:
            raise UsageError(f"{name}={share}: must be above 0 and at most 1")


def seed_of(key: jax.Array) -> int:
    """A seed in 0 … 2³¹ − 2 for NumPy and scikit-learn, derived from a key, a scalar."""
    return int(jax.random.randint(key, (), 0, 2**31 - 1))


def split_rows(key: jax.Array, num_rows: int, *counts: int) -> list[np.ndarray]:
    """Draws disjoint sets of rows without replacement.

    If there are too few rows, all rows are divided in the same proportions.

    Args:
        key: PRNG key, scalar.
        num_rows: N.
        counts: number of rows of each part, scalars.

    Returns:
        One array [n] of row numbers per part.

    Raises:
        DataError: a part would be empty.
    """
    wanted = np.array(counts)
    if wanted.sum() > num_rows:
        ends = np.cumsum(wanted) * num_rows // wanted.sum()
    else:
        ends = np.cumsum(wanted)
    rows = np.random.default_rng(seed_of(key)).permutation(num_rows)
    parts = np.split(rows[: ends[-1]], ends[:-1])
    if not all(len(part) for part in parts):
        raise DataError(f"{num_rows} rows: too few for {len(counts)} parts; encode more")
    return parts


def varying(factors: np.ndarray) -> np.ndarray:
    """The factors that take at least two values in the drawn rows.

    Args:
        factors: [n, F].

    Returns:
        [F] booleans.

    Raises:
        DataError: no factor does.
    """
    varies = np.ptp(factors, axis=0) > 0
    if not varies.any():
        raise DataError(
            f"factors: none takes two values in the {len(factors)} rows to learn from; encode more"
        )
    return varies


def standardize(codes: np.ndarray, *others: np.ndarray) -> list[np.ndarray]:
    """Standardizes by the mean and deviation of the first; a constant dimension becomes 0.

    Args:
        codes: [N, L].
        others: [M, L] each, transformed with the mean and deviation of the first.

    Returns:
        All of them, float64.
    """
    wide = np.float64(codes)
    mean = wide.mean(axis=0)
    constant = is_constant(wide)
    inverse = np.where(constant, 0.0, 1 / np.where(constant, 1.0, wide.std(axis=0)))
    return [(np.float64(x) - mean) * inverse for x in (codes, *others)]


@jax.jit
def gap(scores: jax.Array, floor: jax.Array) -> jax.Array:
    """The difference between the best and the second best dimension, for each factor.

    Args:
        scores: score of each dimension for each factor, [L, F].
        floor: the score of a dead dimension, [F]; it is the second best if L is 1.

    Returns:
        [F].
    """
    chex.assert_rank([scores, floor], [2, 1])
    if scores.shape[0] == 1:
        scores = jnp.concatenate([scores, floor[None]])
    best = jax.lax.top_k(scores.T, 2)[0]
    return best[:, 0] - best[:, 1]


@jax.jit
def mean_over(values: jax.Array, counted: jax.Array) -> jax.Array:
    """The mean of the values [M] selected by booleans [M]: a scalar, 0 if none is selected."""
    chex.assert_equal_shape([values, counted])
    count = jnp.sum(counted, dtype=jnp.float32)
    return jnp.sum(jnp.where(counted, values, 0.0)) / jnp.maximum(count, 1.0)
