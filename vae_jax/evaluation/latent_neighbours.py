"""Whether neighbours stay neighbours, and whether what lies between and around codes is plausible.

Continuity and completeness are asked of latent spaces in two senses, both measured here.

Of the encoder: does a map keep neighbourhoods? `trustworthiness` (neighbours among codes are
neighbours among data) and `continuity` (the converse), Venna & Kaski 2001.

Of the decoder: do close codes decode to close data, and does every likely code decode to something
plausible? These two words are Rocca 2019's (Understanding variational autoencoders), who gives no
numbers. We take `smoothness` and `nearest_distance` along straight lines between codes (Berthelot
et al. 2018) and, for completeness, the `precision`, `density` and `coverage` of decoded draws from
the prior (Kynkäänniemi et al. 2019, Naeem et al. 2020).

All distances are Euclidean over flattened events, computed block by block: no more than
num_rows · N of them are held at once.
"""

import functools
import zlib
from collections.abc import Callable
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from vae_jax import distributions
from vae_jax.distributions import DiagonalGaussian
from vae_jax.errors import UsageError
from vae_jax.evaluation._shared import (
    by_blocks,
    distinct_pairs,
    ratio_and_error,
    require_at_least,
    require_finite,
    with_errors,
)
from vae_jax.evaluation.latent_geometry import straight_lines
from vae_jax.evaluation.subject import AtMost, NotApplicableError

__all__ = [
    "DEFINITIONS",
    "Preservation",
    "Support",
    "continuity",
    "evaluate",
    "measure",
    "nearest_distance",
    "neighbourhood_penalties",
    "smoothness",
    "support",
    "trustworthiness",
]

DEFINITIONS = {
    "num_examples": "N, the examples among which neighbours are sought",
    "num_neighbours": "k, the size of a neighbourhood",
    "trustworthiness": "1 if the k nearest codes are among the k nearest data; ties by row order",
    "continuity": "1 if the k nearest data are among the k nearest codes (Venna & Kaski 2001)",
    "num_lines": "P, the straight lines between codes of random pairs of examples",
    "num_points": "T, the decoded points of each line, its ends among them",
    "smoothness": "largest step of a decoded line over its length, less 1/(T − 1): 0 if even",
    "interior_distance": "distance from decoded points inside a line to the nearest of the data",
    "end_distance": "the same for the ends of the lines, which are reconstructions",
    "interpolation_ratio": "interior_distance / end_distance: 1 if points between are as plausible",
    "num_draws": "M, the decoded draws from the prior",
    "precision": "completeness: share of decoded draws within a neighbourhood of the data",
    "density": "mean number of such neighbourhoods a draw lies in, over k; 1 if as dense as data",
    "coverage": "share of the data whose neighbourhood holds a decoded draw",
    "coverage_if_equal": "the expected coverage if draws and data had one distribution",
}
"""What each entry of `evaluate` means; `name_standard_error` is the standard error of `name`."""


def _flat(x: jax.Array) -> jax.Array:
    """Events [N, *event] as float32 rows [N, D]."""
    x = jnp.asarray(x)
    return x.reshape(x.shape[0], -1).astype(jnp.float32)


def _square_distances(rows: jax.Array, columns: jax.Array) -> jax.Array:
    """‖a − b‖² of rows [R, D] and columns [N, D]: [R, N], at least 0."""
    inner = jnp.matmul(rows, columns.T, precision="highest")
    norms = jnp.sum(jnp.square(rows), axis=1)[:, None] + jnp.sum(jnp.square(columns), axis=1)[None]
    return jnp.maximum(norms - 2.0 * inner, 0.0)


def _centred(x: jax.Array) -> jax.Array:
    """Rows [N, D] less their mean: distances do not see it, the rounding of their squares does."""
    return x - jnp.mean(x, axis=0, keepdims=True)


class Preservation(NamedTuple):
    """How badly the neighbourhoods of N examples are kept, each from 0 to about 1.

    Args:
        intruders: [N], what each example takes from the trustworthiness, 1 − mean(intruders).
        extruders: [N], what each example takes from the continuity, 1 − mean(extruders).
    """

    intruders: jax.Array
    extruders: jax.Array


@functools.partial(jax.jit, static_argnames=("num_neighbours", "num_rows"))
def neighbourhood_penalties(
    x: jax.Array, codes: jax.Array, *, num_neighbours: int = 5, num_rows: int = 64
) -> Preservation:
    """How far from a neighbourhood of k are those that entered it, and those that left it.

    2 / (k (2N − 3k − 1)) Σ_{j ∈ U_k(i)} max(0, r(i, j) − k)

    For intruders U_k(i) holds the k nearest codes and r(i, j) is the rank of j by distance among
    the data; for extruders the two change places. Equal distances share the better rank, as far as
    the rounding of float32 leaves them equal; which of them are among the k nearest is decided by
    the order of the rows, as in scikit-learn, so that of codes with many ties (a collapsed or a
    discrete one) the number depends on that order: give rows in random order there, and more
    neighbours.

    Args:
        x: [N, *event].
        codes: [N, L].
        num_neighbours: k, below N / 2.
        num_rows: examples at a time; 2 · num_rows · N distances are held at once.

    Returns:
        `Preservation`.

    Raises:
        UsageError: k does not fit N.

    Reference:
        Venna & Kaski 2001, Neighborhood preservation in nonlinear projection methods, ICANN, eq. 1
        and 2 (M₁ and M₂; M₂ is called continuity in Kaski et al. 2003, BMC Bioinformatics 4:48).
    """
    chex.assert_rank(codes, 2)
    num = codes.shape[0]
    chex.assert_equal(x.shape[0], num)
    if not 1 <= num_neighbours < num / 2:
        raise UsageError(
            f"num_neighbours={num_neighbours}: must be at least 1 and below half of the "
            f"{num} examples"
        )
    x, codes = _centred(_flat(x)), _centred(_flat(codes))
    # 2 / (k (2N − 3k − 1)): at worst the sum over examples of what it multiplies is N
    scale = 2.0 / (num_neighbours * (2.0 * num - 3.0 * num_neighbours - 1.0))

    def block(rows):
        """Penalties [R] and [R] of the examples at rows [R]."""
        is_self = rows[:, None] == jnp.arange(num)[None]
        among_data, among_codes = (
            jnp.where(is_self, jnp.inf, _square_distances(values[rows], values))
            for values in (x, codes)
        )

        def penalty(near, ranked):
            """Of the k nearest by `near` [R, N], their ranks by `ranked` [R, N] beyond k: [R]."""
            _, nearest = jax.lax.top_k(-near, num_neighbours)

            def excess(column):
                own = jnp.take_along_axis(ranked, column[:, None], axis=1)
                # r(i, j) = 1 + how many are closer
                rank = 1 + jnp.sum(ranked < own, axis=1)
                return jnp.maximum(rank - num_neighbours, 0)

            return scale * jnp.sum(jax.lax.map(excess, nearest.T), axis=0).astype(jnp.float32)

        return Preservation(penalty(among_codes, among_data), penalty(among_data, among_codes))

    return by_blocks(block, jnp.arange(num), num_rows)


def trustworthiness(
    x: jax.Array, codes: jax.Array, *, num_neighbours: int = 5, num_rows: int = 64
) -> jax.Array:
    """How far neighbours among the codes are neighbours among the data, from 0 to 1.

    T = 1 − 2 / (N k (2N − 3k − 1)) Σ_i Σ_{j ∈ U_k(i)} max(0, r(i, j) − k)

    Args:
        x: [N, *event].
        codes: [N, L].
        num_neighbours, num_rows: scalars, see `neighbourhood_penalties`.

    Returns:
        Scalar.

    Raises:
        UsageError: a value is not finite, or k does not fit N.

    Reference:
        Venna & Kaski 2001, ICANN, eq. 1. Equals `sklearn.manifold.trustworthiness` where no two
        distances among the data are equal. There such have different ranks, in an order without
        meaning; here they share the better one, as far as float32 finds them equal, so that the
        number may lie above.
    """
    require_finite(x=x, codes=codes)
    penalties = neighbourhood_penalties(x, codes, num_neighbours=num_neighbours, num_rows=num_rows)
    return 1.0 - jnp.mean(penalties.intruders)


def continuity(
    x: jax.Array, codes: jax.Array, *, num_neighbours: int = 5, num_rows: int = 64
) -> jax.Array:
    """How far neighbours among the data are neighbours among the codes, from 0 to 1.

    The trustworthiness with data and codes in each other's place.

    Args:
        x: [N, *event].
        codes: [N, L].
        num_neighbours, num_rows: scalars, see `neighbourhood_penalties`.

    Returns:
        Scalar.

    Raises:
        UsageError: a value is not finite, or k does not fit N.

    Reference:
        Venna & Kaski 2001, ICANN, eq. 2.
    """
    require_finite(x=x, codes=codes)
    penalties = neighbourhood_penalties(x, codes, num_neighbours=num_neighbours, num_rows=num_rows)
    return 1.0 - jnp.mean(penalties.extruders)


def smoothness(decoded: jax.Array) -> jax.Array:
    """How unevenly decoded lines move: the largest step over the length, less that of an even pace.

    max_t ‖x̂_{t+1} − x̂_t‖ / Σ_t ‖x̂_{t+1} − x̂_t‖ − 1/(T − 1)

    It is 0 where equal steps in z are equal steps in x, and 1 − 1/(T − 1) where the decoder jumps
    from one thing to another and stands still otherwise. It does not depend on the scale of z or x.
    A line that does not move at all is even.

    Args:
        decoded: lines as decoded, [P, T, *event], T >= 2.

    Returns:
        [P].

    Reference:
        Berthelot et al. 2018, arXiv 1807.07543, section 3.2 ("smoothness"); there steps are of the
        angle of the nearest line drawn, known for the synthetic data only, and are divided by the
        angle between the ends.
    """
    flat = decoded.reshape(*decoded.shape[:2], -1)
    steps = jnp.sqrt(jnp.sum(jnp.square(jnp.diff(flat, axis=1)), axis=2))
    total = jnp.sum(steps, axis=1)
    even = 1.0 / steps.shape[1]
    share = jnp.max(steps, axis=1) / jnp.where(total > 0, total, 1.0)
    return jnp.where(total > 0, share - even, 0.0)


@functools.partial(jax.jit, static_argnames=("num_rows",))
def nearest_distance(x: jax.Array, generated: jax.Array, *, num_rows: int = 64) -> jax.Array:
    """The distance of each generated example to the nearest of the data: min_n ‖x̂_m − x_n‖.

    Args:
        x: data, [N, *event].
        generated: [M, *event].
        num_rows: of M at a time; num_rows · N distances are held at once.

    Returns:
        [M].

    Reference:
        Berthelot et al. 2018, arXiv 1807.07543, section 3.2 ("mean distance"; there the cosine
        distance).
    """
    chex.assert_equal(x.shape[1:], generated.shape[1:])
    x, generated = _flat(x), _flat(generated)
    centre = jnp.mean(x, axis=0, keepdims=True)
    x, generated = x - centre, generated - centre

    def block(rows):
        nearest = jnp.argmin(_square_distances(rows, x), axis=1)
        # anew from the difference, which is exact where the two are close
        return jnp.sqrt(jnp.sum(jnp.square(rows - x[nearest]), axis=1))

    return by_blocks(block, generated, num_rows)


class Support(NamedTuple):
    """Where M generated examples lie among N data, and the converse.

    Args:
        num_balls: how many of the N neighbourhoods each generated example lies in, [M] int.
        is_covered: whether the neighbourhood of each of the data holds one of them, [N] bool.
    """

    num_balls: jax.Array
    is_covered: jax.Array


@functools.partial(jax.jit, static_argnames=("num_neighbours", "num_rows"))
def support(
    x: jax.Array, generated: jax.Array, *, num_neighbours: int = 5, num_rows: int = 64
) -> Support:
    """Which neighbourhoods of the data hold which generated examples.

    The neighbourhood of x_n is the ball up to its k-th nearest among the other data. Then

    precision = mean(num_balls > 0), density = mean(num_balls) / k, coverage = mean(is_covered)

    If both had one distribution, density would be 1 in expectation and coverage
    1 − Π_{i=1…k} (N − i) / (N + M − i), whatever that distribution is; precision tends to exceed
    what it should, since one outlier among the data has a ball that holds much. Decoded means are
    smoother than data and lie amid them: a density above 1 with low coverage is that. Features of
    both in place of pixels give what the papers report.

    Args:
        x: data, [N, *event].
        generated: [M, *event].
        num_neighbours: k, below N.
        num_rows: rows at a time; num_rows · N distances are held at once.

    Returns:
        `Support`.

    Raises:
        UsageError: k does not fit N.

    Reference:
        Kynkäänniemi et al. 2019, arXiv 1904.06991, eq. 1 and 2 (precision); Naeem et al. 2020,
        arXiv 2002.09797, eq. 3 and 4 and section 3.3 (density, coverage and their expectations).
    """
    chex.assert_equal(x.shape[1:], generated.shape[1:])
    num = x.shape[0]
    if not 1 <= num_neighbours < num:
        raise UsageError(
            f"num_neighbours={num_neighbours}: must be at least 1 and below the {num} examples"
        )
    x, generated = _flat(x), _flat(generated)
    centre = jnp.mean(x, axis=0, keepdims=True)
    x, generated = x - centre, generated - centre

    def radius(rows):
        """Square distances [R] of the data at rows [R] to their k-th nearest."""
        squares = _square_distances(x[rows], x)
        squares = jnp.where(rows[:, None] == jnp.arange(num)[None], jnp.inf, squares)
        return -jax.lax.top_k(-squares, num_neighbours)[0][:, -1]

    radii = by_blocks(radius, jnp.arange(num), num_rows)

    def count(rows):
        inside = _square_distances(rows, x) <= radii[None]
        return jnp.sum(inside, axis=1)

    def covered(rows):
        inside = _square_distances(x[rows], generated) <= radii[rows][:, None]
        return jnp.any(inside, axis=1)

    return Support(
        by_blocks(count, generated, num_rows), by_blocks(covered, jnp.arange(num), num_rows)
    )


def _coverage_if_equal(num_data: int, num_generated: int, num_neighbours: int) -> float:
    """1 − Π_{i=1…k} (N − i) / (N + M − i), scalars."""
    i = np.arange(1, num_neighbours + 1)
    return float(1.0 - np.prod((num_data - i) / (num_data + num_generated - i)))


def evaluate(
    decode: Callable,
    x: jax.Array,
    codes: jax.Array,
    key: jax.Array,
    *,
    prior: DiagonalGaussian | None = None,
    num_neighbours: int = 5,
    num_lines: int = 100,
    num_points: int = 11,
    num_draws: int = 1000,
    num_rows: int = 64,
) -> dict:
    """Continuity and completeness of a latent space, both of the encoder and of the decoder.

    Args:
        decode: codes [B, L] to the mean of the data [B, *event], pure: `model.decode_mean`.
        x: data, [N, *event].
        codes: of these data, [N, L]: the posterior means (mode), or samples.
        key: PRNG key, scalar: the pairs and the draws from the prior follow from it.
        prior: p(z), arrays [L]; N(0, I) unless given. Of codes without one, what they are drawn
            from instead.
        num_neighbours: k, scalar.
        num_lines, num_points: P lines of T >= 3 points, scalars.
        num_draws: M, scalar.
        num_rows: rows at a time, scalar.

    Returns:
        The entries of `DEFINITIONS`, plain numbers. Standard errors are over the examples (of
        `trustworthiness`, `continuity`, `coverage`), the lines or the draws; examples share
        neighbours and lines share data, which they leave out.

    Raises:
        UsageError: a value is not finite, or a number does not fit.
    """
    chex.assert_rank(codes, 2)
    chex.assert_equal(x.shape[0], codes.shape[0])
    require_finite(x=x, codes=codes)
    require_at_least(1, num_lines=num_lines, num_draws=num_draws, num_rows=num_rows)
    require_at_least(2, examples=codes.shape[0])
    require_at_least(3, num_points=num_points)
    num, latent_dim = codes.shape
    codes = jnp.asarray(codes, jnp.float32)
    prior = distributions.standard_gaussian(latent_dim) if prior is None else prior
    sizes = {"num_neighbours": num_neighbours, "num_rows": num_rows}
    of_codes = _of_codes(x, codes, **sizes)
    pair_key, step_key, draw_key = jax.random.split(key, 3)
    first, second = distinct_pairs(pair_key, step_key, num_lines, num)
    lines = straight_lines(codes[first], codes[second], num_points)

    @jax.jit
    def decode_blocks(z):
        return by_blocks(decode, z, num_rows)

    decoded = decode_blocks(lines.reshape(-1, latent_dim))
    draws = decode_blocks(prior.sample(draw_key, num_draws))
    require_finite(decoded=decoded, draws=draws)
    of_lines = _of_lines(x, decoded.reshape(num_lines, num_points, *decoded.shape[1:]), num_rows)
    ratio, ratio_error = _ratio(of_lines["interior_distance"], of_lines["end_distance"])
    return {
        "num_examples": num,
        "num_neighbours": num_neighbours,
        "num_lines": num_lines,
        "num_points": num_points,
        "num_draws": num_draws,
        "coverage_if_equal": _coverage_if_equal(num, num_draws, num_neighbours),
        **with_errors({**of_codes, **of_lines, **_of_draws(x, draws, **sizes)}),
        "interpolation_ratio": ratio,
        "interpolation_ratio_standard_error": ratio_error,
    }


def _of_codes(x, codes, *, num_neighbours: int, num_rows: int) -> dict[str, np.ndarray]:
    """What is averaged over the examples of the neighbours among their codes, [N] each."""
    penalties = neighbourhood_penalties(x, codes, num_neighbours=num_neighbours, num_rows=num_rows)
    return {
        "trustworthiness": 1.0 - np.float64(penalties.intruders),
        "continuity": 1.0 - np.float64(penalties.extruders),
    }


def _of_lines(x, decoded, num_rows: int) -> dict[str, np.ndarray]:
    """What is averaged of lines as decoded, [P, T, *event]: [P] each."""
    points = decoded.reshape(-1, *decoded.shape[2:])
    distance = nearest_distance(x, points, num_rows=num_rows).reshape(decoded.shape[:2])
    return {
        "smoothness": smoothness(decoded),
        "interior_distance": np.float64(distance[:, 1:-1]).mean(axis=1),
        "end_distance": np.float64(distance[:, [0, -1]]).mean(axis=1),
    }


def _of_draws(x, draws, *, num_neighbours: int, num_rows: int) -> dict[str, np.ndarray]:
    """What is averaged of decoded draws [M, *event]: over them, and over the N data."""
    held = support(x, draws, num_neighbours=num_neighbours, num_rows=num_rows)
    return {
        "precision": held.num_balls > 0,
        "density": np.float64(held.num_balls) / num_neighbours,
        "coverage": held.is_covered,
    }


def _ratio(upper: np.ndarray, lower: np.ndarray) -> tuple[float | None, float | None]:
    """`ratio_and_error` of [P] and [P]; None and None where the mean of the lower is 0."""
    return (None, None) if lower.mean() == 0 else ratio_and_error(upper, lower)


def measure(
    subject,
    *,
    num_neighbours: int = AtMost(5),
    num_lines: int = 100,
    num_draws: int = 1000,
    max_examples: int = 10_000,
) -> dict:
    """Continuity and completeness of the latent space, on the test split.

    Args:
        subject: a `vae_jax.evaluation.subject.Subject`.
        num_neighbours, num_lines, num_draws: scalars, see `evaluate`; where k is not given, of N
            examples at most (N − 1) / 2.
        max_examples: at most so many, evenly spread over the split: the time grows with N².

    Returns:
        The entries of `DEFINITIONS`, as of `evaluate`.

    Raises:
        NotApplicableError: z is not continuous, or there are fewer than three examples.
        UsageError: `num_neighbours` is not below half of the examples.
    """
    subject.require_continuous()
    x = subject.x(num_examples=max_examples)
    if len(x) < 3:
        raise NotApplicableError(f"of {len(x)} examples none has neighbours and others")
    return evaluate(
        subject.decode_mean,
        x,
        subject.posterior(num_examples=max_examples).mean,
        jax.random.fold_in(subject.key, zlib.crc32(b"latent_neighbours")),
        prior=subject.prior,
        num_neighbours=AtMost.fit(num_neighbours, (len(x) - 1) // 2),
        num_lines=num_lines,
        num_draws=num_draws,
    )
