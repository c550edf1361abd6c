"""Whether neighbors stay neighbors, and whether decoded points between and around codes are real.

Continuity and completeness of a latent space are used in two senses; both are measured here.

For the encoder: does the map keep neighborhoods? `trustworthiness` (neighbors among codes are
neighbors among data) and `continuity` (the converse), Venna & Kaski 2001.

For the decoder: do close codes decode to close data, and does every likely code decode to something
plausible? These two words are from Rocca 2019 (Understanding variational autoencoders), who gives
no numbers. We use `smoothness` and `nearest_distance` along straight lines between codes (Berthelot
et al. 2018) and, for completeness, the `precision`, `density` and `coverage` of decoded draws from
the prior (Kynkäänniemi et al. 2019, Naeem et al. 2020).

Blur raises precision and density and shortens distances: a mean of several examples lies between
them. So the same numbers of real and of blurred examples stand beside (`controls`); `samples` has
sharpness and tests that blur does not pass.

All distances are Euclidean over flattened events, computed in blocks of at most num_rows · N
distances.
"""

import functools
import zlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from vae_jax import distributions
from vae_jax.blocks import by_blocks
from vae_jax.distributions import DiagonalGaussian
from vae_jax.errors import UsageError
from vae_jax.evaluation import controls as control_samples
from vae_jax.evaluation._cost import Cost
from vae_jax.evaluation._shared import (
    distinct_pairs,
    ratio_and_error,
    require_at_least,
    require_finite,
    with_errors,
)
from vae_jax.evaluation.latent_geometry import straight_lines
from vae_jax.evaluation.subject import AtMost, NotApplicableError

__all__ = [
    "COST",
    "DEFINITIONS",
    "Preservation",
    "Support",
    "completeness",
    "continuity",
    "evaluate",
    "measure",
    "nearest_distance",
    "neighbourhood_penalties",
    "smoothness",
    "support",
    "trustworthiness",
]

COST = Cost(place=9, start=4.0, per_example=5e-3)

_BLURRED = f"each averaged with its {control_samples.NUM_BLURRED} nearest others"
MAX_TRAIN = 10_000
"""Training examples among which controls are chosen, a count."""

DEFINITIONS = {
    "num_examples": "N, the examples among which neighbours are sought",
    "num_neighbours": "k, the size of a neighbourhood",
    "trustworthiness": "1 if the k nearest codes are among the k nearest data; ties by row order",
    "continuity": "1 if the k nearest data are among the k nearest codes (Venna & Kaski 2001)",
    "num_lines": "P, the straight lines between codes of random pairs of examples",
    "num_points": "T, the decoded points of each line, its ends among them",
    "smoothness": "largest step of a decoded line over its length, less 1/(T − 1): 0 if even; "
    "lower is smoother",
    "interior_distance": "distance from decoded points inside a line to the nearest of the data",
    "end_distance": "the same for the ends of the lines, which are reconstructions",
    "distance_of_real": "the same for training examples",
    "distance_of_blurred": "the same for blurred training examples: blur shortens it",
    "interpolation_ratio": "interior_distance / end_distance: 1 if points between are as plausible",
    "num_draws": "M, the decoded draws from the prior",
    **{
        name: definition
        for measure, meaning in {
            "precision": "completeness: share of decoded draws within a neighbourhood of the data",
            "density": "mean number of such neighbourhoods a draw lies in, over k: 1 if equal; "
            "above 1 draws keep to where data are dense, as blurred data do",
            "coverage": "share of the data whose neighbourhood holds a decoded draw",
        }.items()
        for name, definition in {
            measure: meaning,
            f"{measure}_of_real": "the same of as many training examples",
            f"{measure}_of_blurred": f"the same of these, {_BLURRED}",
        }.items()
    },
    "coverage_if_equal": "the expected coverage if draws and data had one distribution",
}
"""The meaning of each entry of `evaluate`; `name_standard_error` is the error of `name`."""


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
    """Subtracts the mean from rows [N, D]: distances stay, but rounding errors get smaller."""
    return x - jnp.mean(x, axis=0, keepdims=True)


class Preservation(NamedTuple):
    """Penalties for changed neighborhoods of N examples, each from 0 to about 1.

    Args:
        intruders: [N], penalty of each example; the trustworthiness is 1 − mean(intruders).
        extruders: [N], penalty of each example; the continuity is 1 − mean(extruders).
    """

    intruders: jax.Array
    extruders: jax.Array


@functools.partial(jax.jit, static_argnames=("num_neighbours", "num_rows"))
def neighbourhood_penalties(
    x: jax.Array, codes: jax.Array, *, num_neighbours: int = 5, num_rows: int = 64
) -> Preservation:
    """The penalties of examples that entered, or left, a neighborhood of size k.

    2 / (k (2N − 3k − 1)) Σ_{j ∈ U_k(i)} max(0, r(i, j) − k)

    For intruders, U_k(i) holds the k nearest codes, and r(i, j) is the rank of j by distance in the
    data; for extruders, codes and data are exchanged. Equal distances share the better rank, if
    they are equal in float32. Which of them are among the k nearest depends on the order of the
    rows, as in scikit-learn. So for codes with many ties (collapsed or discrete), shuffle the rows
    and use more neighbors.

    Args:
        x: [N, *event].
        codes: [N, L].
        num_neighbours: k, below N / 2.
        num_rows: examples at a time; 2 · num_rows · N distances are in memory.

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
    # 2 / (k (2N − 3k − 1)): the sum over examples of its factor is at most N
    scale = 2.0 / (num_neighbours * (2.0 * num - 3.0 * num_neighbours - 1.0))

    def block(rows):
        """Penalties [R] and [R] of the examples at rows [R]."""
        is_self = rows[:, None] == jnp.arange(num)[None]
        among_data, among_codes = (
            jnp.where(is_self, jnp.inf, _square_distances(values[rows], values))
            for values in (x, codes)
        )

        def penalty(near, ranked):
            """Σ of ranks in `ranked` [R, N] beyond k, over the k nearest in `near` [R, N]: [R]."""
            _, nearest = jax.lax.top_k(-near, num_neighbours)

            def excess(column):
                own = jnp.take_along_axis(ranked, column[:, None], axis=1)
                # r(i, j) = 1 + the number of closer examples
                rank = 1 + jnp.sum(ranked < own, axis=1)
                return jnp.maximum(rank - num_neighbours, 0)

            return scale * jnp.sum(jax.lax.map(excess, nearest.T), axis=0).astype(jnp.float32)

        return Preservation(penalty(among_codes, among_data), penalty(among_data, among_codes))

    return by_blocks(block, jnp.arange(num), num_rows)


def trustworthiness(
    x: jax.Array, codes: jax.Array, *, num_neighbours: int = 5, num_rows: int = 64
) -> jax.Array:
    """The degree to which neighbors among codes are neighbors among data, from 0 to 1.

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
        Venna & Kaski 2001, ICANN, eq. 1. Equals `sklearn.manifold.trustworthiness` if all distances
            in the data are distinct. For equal distances scikit-learn uses different ranks, in an
            arbitrary order; here they share the better rank, if they are equal in float32, so the
            result may be higher.
    """
    require_finite(x=x, codes=codes)
    penalties = neighbourhood_penalties(x, codes, num_neighbours=num_neighbours, num_rows=num_rows)
    return 1.0 - jnp.mean(penalties.intruders)


def continuity(
    x: jax.Array, codes: jax.Array, *, num_neighbours: int = 5, num_rows: int = 64
) -> jax.Array:
    """The degree to which neighbors among data are neighbors among codes, from 0 to 1.

    It is the trustworthiness with data and codes exchanged.

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


@jax.jit
def smoothness(decoded: jax.Array) -> jax.Array:
    """How unevenly decoded lines move: largest step / length, minus its value for even steps.

    max_t ‖x̂_{t+1} − x̂_t‖ / Σ_t ‖x̂_{t+1} − x̂_t‖ − 1/(T − 1)

    It is 0 if equal steps in z give equal steps in x, and 1 − 1/(T − 1) if the decoder jumps once
    and does not change otherwise. It does not depend on the scale of z or x. A line that does not
    move at all gets 0.

    Args:
        decoded: decoded lines, [P, T, *event], T >= 2.

    Returns:
        [P].

    Reference:
        Berthelot et al. 2018, arXiv 1807.07543, section 3.2 ("smoothness"); they measure steps by
            the angle of the nearest drawn line, which is known for their synthetic data only, and
            divide by the angle between the ends.
    """
    flat = decoded.reshape(*decoded.shape[:2], -1)
    steps = jnp.sqrt(jnp.sum(jnp.square(jnp.diff(flat, axis=1)), axis=2))
    total = jnp.sum(steps, axis=1)
    even = 1.0 / steps.shape[1]
    share = jnp.max(steps, axis=1) / jnp.where(total > 0, total, 1.0)
    return jnp.where(total > 0, share - even, 0.0)


@functools.partial(jax.jit, static_argnames=("num_rows",))
def nearest_distance(x: jax.Array, generated: jax.Array, *, num_rows: int = 64) -> jax.Array:
    """The distance of each generated example to its nearest data point: min_n ‖x̂_m − x_n‖.

    Args:
        x: data, [N, *event].
        generated: [M, *event].
        num_rows: generated examples at a time; num_rows · N distances are in memory.

    Returns:
        [M].

    Reference:
        Berthelot et al. 2018, arXiv 1807.07543, section 3.2 ("mean distance"; they use the cosine
            distance).
    """
    chex.assert_equal(x.shape[1:], generated.shape[1:])
    x, generated = _flat(x), _flat(generated)
    centre = jnp.mean(x, axis=0, keepdims=True)
    x, generated = x - centre, generated - centre

    def block(rows):
        nearest = jnp.argmin(_square_distances(rows, x), axis=1)
        # recompute from the difference, which is exact if the two are close
        return jnp.sqrt(jnp.sum(jnp.square(rows - x[nearest]), axis=1))

    return by_blocks(block, generated, num_rows)


class Support(NamedTuple):
    """How M generated examples and N data points cover each other.

    Args:
        num_balls: in how many of the N neighborhoods each generated example lies, [M] int.
        is_covered: whether the neighborhood of each data point contains a generated example, [N]
        bool.
    """

    num_balls: jax.Array
    is_covered: jax.Array


@functools.partial(jax.jit, static_argnames=("num_neighbours", "num_rows"))
def support(
    x: jax.Array, generated: jax.Array, *, num_neighbours: int = 5, num_rows: int = 64
) -> Support:
    """Finds which neighborhoods of the data contain which generated examples.

    The neighborhood of x_n is the ball that reaches to its k-th nearest other data point. Then

    precision = mean(num_balls > 0), density = mean(num_balls) / k, coverage = mean(is_covered)

    If both have the same distribution, density is 1 in expectation and coverage 1 − Π_{i=1…k} (N −
    i) / (N + M − i), for any distribution. Precision tends to be too high, because one outlier in
    the data has a large ball. Decoded means are smoother than data and lie between them, which
    shows as a density above 1 with low coverage. The papers use features of both instead of pixels.

    Args:
        x: data, [N, *event].
        generated: [M, *event].
        num_neighbours: k, below N.
        num_rows: rows at a time; num_rows · N distances are in memory.

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
        """Squared distances [R] of the data at rows [R] to their k-th nearest neighbor."""
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
    onto: Callable | None = None,
    controls: Mapping[str, np.ndarray] | None = None,
) -> dict:
    """Continuity and completeness of a latent space, for the encoder and for the decoder.

    Args:
        decode: codes [B, L] to the mean of the data [B, *event], pure: `model.decode_mean`.
        x: data, [N, *event].
        codes: of these data, [N, L]: the posterior means (mode), or samples.
        key: PRNG key, scalar, for the pairs and the draws from the prior.
        prior: p(z), arrays [L]; N(0, I) by default. For codes without a prior, the distribution to
            draw from instead.
        num_neighbours: k, scalar.
        num_lines, num_points: P lines of T >= 3 points, scalars.
        num_draws: M, scalar.
        num_rows: rows at a time, scalar.
        onto: points [B, L] to the nearest codes that can occur, such as those on a sphere, which
            take the places of points on lines, and of codes and draws that are none: `model.onto`.
        controls: name → samples to stand beside the draws, see `completeness`.

    Returns:
        The entries of `DEFINITIONS`, plain numbers. Standard errors are over the examples (for
            `trustworthiness`, `continuity`, `coverage`), the lines or the draws; they ignore that
            examples share neighbors and lines share data.

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
    codes = codes if onto is None else onto(codes)
    prior = distributions.standard_gaussian(latent_dim) if prior is None else prior
    sizes = {"num_neighbours": num_neighbours, "num_rows": num_rows}
    of_codes = _of_codes(x, codes, **sizes)
    pair_key, step_key, draw_key = jax.random.split(key, 3)
    pairs = np.asarray(codes)[np.stack(distinct_pairs(pair_key, step_key, num_lines, num))]
    lines = straight_lines(*pairs, num_points, onto)

    decode_blocks = _in_blocks(decode, num_rows)
    of_draws = decode_blocks if onto is None else lambda z: decode_blocks(onto(z))
    decoded = decode_blocks(lines.reshape(-1, latent_dim))
    require_finite(decoded=decoded)
    of_lines = _of_lines(x, decoded, num_lines, num_rows)
    ratio, ratio_error = _ratio(of_lines["interior_distance"], of_lines["end_distance"])
    return {
        **completeness(
            of_draws, x, draw_key, prior=prior, num_draws=num_draws, controls=controls, **sizes
        ),
        "num_lines": num_lines,
        "num_points": num_points,
        **with_errors({**of_codes, **of_lines}),
        "interpolation_ratio": ratio,
        "interpolation_ratio_standard_error": ratio_error,
    }


def _in_blocks(decode: Callable, num_rows: int = 64) -> Callable:
    """Codes [N, L] to the means of the data, so many rows at a time."""
    return jax.jit(lambda z: by_blocks(decode, z, num_rows))


def completeness(
    decode: Callable,
    x: jax.Array,
    key: jax.Array,
    *,
    prior: Any,
    num_neighbours: int = 5,
    num_draws: int = 1000,
    num_rows: int = 64,
    controls: Mapping[str, np.ndarray] | None = None,
) -> dict:
    """Whether decoded draws from the prior are as the data, and the data as they are.

    Args:
        decode: codes [B, L] to the mean of the data [B, *event].
        x: data, [N, *event].
        key: PRNG key, scalar.
        prior: a value with `sample`, over [L].
        num_neighbours, num_draws, num_rows: k, M, and rows at a time, scalars.
        controls: "real", "blurred" → M examples [M, *event] that are measured like the draws.

    Returns:
        The entries of `DEFINITIONS` that are about draws and controls, plain numbers.

    Raises:
        UsageError: a value is not finite, or there are not M controls.
    """
    draws = decode(prior.sample(key, num_draws))
    require_finite(draws=draws)
    sizes = {"num_neighbours": num_neighbours, "num_rows": num_rows}
    each = _of_draws(x, draws, **sizes)
    for name, sample in (controls or {}).items():
        if len(sample) != num_draws:
            raise UsageError(
                f"controls of {len(sample)} examples beside {num_draws} draws: must be as many, "
                "since coverage depends on how many"
            )
        own = _of_draws(x, sample, **sizes)
        each |= {f"{measure}_of_{name}": values for measure, values in own.items()}
        each[f"distance_of_{name}"] = nearest_distance(x, sample, num_rows=num_rows)
    return {
        "num_examples": len(x),
        "num_neighbours": num_neighbours,
        "num_draws": num_draws,
        "coverage_if_equal": _coverage_if_equal(len(x), num_draws, num_neighbours),
        **with_errors(each),
    }


def _of_codes(x, codes, *, num_neighbours: int, num_rows: int) -> dict[str, np.ndarray]:
    """The values to average over examples, about neighbors among their codes, [N] each."""
    penalties = neighbourhood_penalties(x, codes, num_neighbours=num_neighbours, num_rows=num_rows)
    return {
        "trustworthiness": 1.0 - np.float64(penalties.intruders),
        "continuity": 1.0 - np.float64(penalties.extruders),
    }


def _of_lines(x, points, num_lines: int, num_rows: int) -> dict[str, np.ndarray]:
    """The values to average over P decoded lines of points [P·T, *event]: [P] each."""
    distance = np.float64(nearest_distance(x, points, num_rows=num_rows)).reshape(num_lines, -1)
    decoded = np.asarray(points).reshape(*distance.shape, *points.shape[1:])
    return {
        "smoothness": smoothness(decoded),
        "interior_distance": distance[:, 1:-1].mean(axis=1),
        "end_distance": distance[:, [0, -1]].mean(axis=1),
    }


def _of_draws(x, draws, *, num_neighbours: int, num_rows: int) -> dict[str, np.ndarray]:
    """The values to average over decoded draws [M, *event], and over the N data points."""
    held = support(x, draws, num_neighbours=num_neighbours, num_rows=num_rows)
    return {
        "precision": held.num_balls > 0,
        "density": np.float64(held.num_balls) / num_neighbours,
        "coverage": held.is_covered,
    }


def _ratio(upper: np.ndarray, lower: np.ndarray) -> tuple[float | None, float | None]:
    """`ratio_and_error` of [P] and [P]; None and None if the mean of the lower is 0."""
    return (None, None) if lower.mean() == 0 else ratio_and_error(upper, lower)


def measure(
    subject,
    *,
    num_neighbours: int = AtMost(5),
    num_lines: int = 100,
    num_draws: int = 1000,
    max_examples: int = 10_000,
    sampler: str = "prior",
) -> dict:
    """Continuity and completeness of the latent space, on the test split.

    Args:
        subject: a `vae_jax.evaluation.subject.Subject`.
        num_neighbours, num_lines, num_draws: scalars, see `evaluate`; by default k is at most (N −
            1) / 2 for N examples.
        max_examples: the number of examples, evenly spaced in the split: the time grows with N².
        sampler: where draws come from: "prior", or a density fit to the codes of the training
            split, one of `samplers.names()`.

    Returns:
        The entries of `DEFINITIONS`, as of `evaluate`; if z is not continuous, those of draws.

    Raises:
        NotApplicableError: there are fewer than three examples, or z is not continuous and a
            sampler is asked for.
        UsageError: `num_neighbours` is not below half of the examples.
    """
    x = subject.x(num_examples=max_examples)
    if len(x) < 3:
        raise NotApplicableError(f"of {len(x)} examples none has neighbours and others")
    key = jax.random.fold_in(subject.key, zlib.crc32(b"latent_neighbours"))
    sizes = {
        "prior": subject.draws_from(sampler),
        "num_neighbours": AtMost.fit(num_neighbours, (len(x) - 1) // 2),
        "num_draws": num_draws,
        "controls": _controls(subject, num_draws),
    }
    if not subject.model.latent.is_continuous:
        return completeness(_in_blocks(subject.decode_mean), x, key, **sizes)
    codes = subject.posterior(num_examples=max_examples).mean
    return evaluate(
        subject.decode_mean, x, codes, key, num_lines=num_lines, onto=subject.onto, **sizes
    )


def _controls(subject, num: int) -> dict[str, np.ndarray]:
    """So many training examples, and the same blurred; none if there are too few."""
    train = subject.x("train", MAX_TRAIN)
    if len(train) < num + control_samples.NUM_BLURRED:
        return {}
    order = np.random.default_rng(num).permutation(len(train))
    real, others = train[order[:num]], train[order[num:]]
    return {"real": real, "blurred": control_samples.blurred(real, others)}
