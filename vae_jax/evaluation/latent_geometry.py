"""The geometry of a latent space under its decoder: metric, lengths, geodesics, magnification.

A decoder x = f(z) measures a small step dz by the change of its output: ‖f(z + dz) − f(z)‖² = dzᵀ
G(z) dz, with the pull-back metric G(z) = J(z)ᵀ J(z), J = df/dz. Lengths and energies of curves are
those of their image in data space, so they do not depend on the coordinates of the latent space.

Here `decode` is any pure function of codes [B, L] to events [B, *event], row by row:
`model.decode_mean`, in the units of x. A decoder with its own standard deviation s(z) has the
expected metric JᵀJ + J_sᵀJ_s: return mean and standard deviation concatenated.

If codes cannot be anywhere, as on a sphere, `onto` moves points to the nearest codes, row by row:
`model.onto`. Curves then stay among the codes, and so do the directions in which f is stretched.

Reference: Arvanitidis et al. 2018, Latent space oddity, arXiv 1710.11379; Shao et al. 2017, The
Riemannian geometry of deep generative models, arXiv 1711.08014; Chen et al. 2018, Metrics for deep
generative models, arXiv 1711.01204.
"""

import functools
import zlib
from collections.abc import Callable
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from vae_jax.blocks import by_blocks
from vae_jax.errors import UsageError
from vae_jax.evaluation._cost import Cost
from vae_jax.evaluation._shared import (
    distinct_pairs,
    mean_and_error,
    require_at_least,
    require_finite,
    with_errors,
)
from vae_jax.evaluation.subject import AtMost

__all__ = [
    "COST",
    "DEFINITIONS",
    "Geodesics",
    "Grid",
    "curve_energy",
    "curve_length",
    "directions",
    "evaluate",
    "geodesics",
    "jacobian",
    "magnification",
    "magnification_grid",
    "measure",
    "pull_back_metric",
    "singular_values",
    "straight_lines",
]

COST = Cost(place=11, start=5.0, per_example=0.0)

DEFINITIONS = {
    "num_codes": "the codes at which the metric was taken",
    "num_degenerate": "those of them where the decoder ignores some direction, left out below",
    "log_magnification": "log √det G(z): how much the decoder enlarges volumes around a code",
    "log_magnification_sd": "its standard deviation over the codes; 0 if volumes grow alike",
    "log_anisotropy": "log of the largest over the smallest stretch of a direction; 0 if isotropic",
    "num_pairs": "the pairs of codes joined by curves",
    "num_points": "the points of each curve, its ends among them",
    "straight_length": "length in data space of the straight line between two codes",
    "geodesic_length": "length of the shortest curve found; over the pairs whose search converged",
    "length_ratio": "straight_length / geodesic_length of such a pair, at least 1; 1 if flat",
    "share_converged": "the share of the pairs whose search ended at a minimum; ± 0 at 0 and 1",
}
"""The meaning of each entry of `evaluate`; `name_standard_error` is the error of `name`."""

_TOLERANCE = 1e-5  # relative decrease of the energy at which a search stops
_DAMPING = (1e-3, 1e6)  # initial value, and the value at which a search gives up
_FINER = 4  # how many times more points are used to measure a length than to search


def straight_lines(
    starts: jax.Array, ends: jax.Array, num_points: int, onto: Callable | None = None
) -> jax.Array:
    """Evenly spaced points on the straight lines between codes: (1 − t) z₀ + t z₁.

    Args:
        starts, ends: z₀ and z₁, [P, L].
        num_points: T >= 2, including the ends.
        onto: points [B, L] to the nearest codes, which take their places; None leaves them.

    Returns:
        [P, T, L].
    """
    chex.assert_rank(starts, 2)
    chex.assert_equal_shape([starts, ends])
    return _rows(onto, _lines(starts, ends, num_points))


@functools.partial(jax.jit, static_argnames="num_points")
def _lines(starts, ends, num_points: int) -> jax.Array:
    t = jnp.linspace(0.0, 1.0, num_points)[None, :, None]
    return (1.0 - t) * starts[:, None] + t * ends[:, None]


def _rows(onto: Callable | None, z: jax.Array) -> jax.Array:
    """The codes nearest to points [..., L]; the points themselves if `onto` is None."""
    return z if onto is None else onto(z.reshape(-1, z.shape[-1])).reshape(z.shape)


def _among_codes(decode: Callable, onto: Callable | None) -> Callable:
    """A decoder of points [B, L] that decodes the codes nearest to them."""
    return decode if onto is None else lambda z: decode(onto(z))


def _flat(decode: Callable, z: jax.Array) -> jax.Array:
    """Decodes codes [..., L] to rows [..., D]."""
    decoded = decode(z.reshape(-1, z.shape[-1]))
    return decoded.reshape(*z.shape[:-1], -1)


def jacobian(decode: Callable, z: jax.Array) -> jax.Array:
    """The derivative of the decoder at each code: J = df/dz, one forward pass per dimension.

    Args:
        decode: [B, L] to [B, *event] of D numbers each, row by row.
        z: [B, L].

    Returns:
        [B, D, L].
    """
    chex.assert_rank(z, 2)
    # push every row in the same direction at once: rows do not affect each other
    directions = jnp.broadcast_to(
        jnp.eye(z.shape[1], dtype=z.dtype)[:, None], (z.shape[1], *z.shape)
    )

    def along(direction):
        return jax.jvp(functools.partial(_flat, decode), (z,), (direction,))[1]

    return jax.vmap(along, out_axes=-1)(directions)


def pull_back_metric(decode: Callable, z: jax.Array) -> jax.Array:
    """The pull-back metric of the decoder in latent space: G(z) = J(z)ᵀ J(z).

    Args:
        decode: [B, L] to [B, *event], row by row.
        z: [B, L].

    Returns:
        [B, L, L], in units of x² / z².

    Reference:
        Arvanitidis et al. 2018, arXiv 1710.11379, eq. 4; for a decoder with a variance, eq. 10.
    """
    columns = jacobian(decode, z)
    return jnp.einsum("bdl,bdm->blm", columns, columns, precision="highest")


def singular_values(decode: Callable, z: jax.Array) -> jax.Array:
    """Singular values of the decoder's Jacobian at each code: √ of the eigenvalues of G(z).

    Computed from J itself: with G, small values would lose half their digits.

    Args:
        decode: [B, L] to [B, *event] of D numbers, row by row.
        z: [B, L].

    Returns:
        [B, L], descending; 0 beyond the first D.
    """
    columns = jacobian(decode, z)
    latent_dim = z.shape[1]
    if columns.shape[1] > latent_dim:
        columns = jnp.linalg.qr(columns, mode="r")
    values = jnp.linalg.svd(columns, compute_uv=False)
    return jnp.pad(values, ((0, 0), (0, latent_dim - values.shape[1])))


def magnification(decode: Callable, z: jax.Array) -> jax.Array:
    """The volume magnification of the decoder at each code: √det G(z).

    Args:
        decode: [B, L] to [B, *event], row by row.
        z: [B, L].

    Returns:
        [B], in units of (x / z)^L; 0 where the decoder ignores a direction.

    Reference:
        Bishop et al. 1997, Magnification factors for the SOM and GTM algorithms; Chen et al. 2018,
        arXiv 1711.01204, eq. 8.
    """
    return jnp.prod(singular_values(decode, z), axis=1)


class Grid(NamedTuple):
    """The magnification over a rectangle of a latent plane.

    Args:
        z0: [C], ascending.
        z1: [R], ascending.
        magnification: values at (z0[c], z1[r]), [R, C].
    """

    z0: jax.Array
    z1: jax.Array
    magnification: jax.Array


@functools.partial(jax.jit, static_argnames=("decode", "num_points", "num_rows", "onto"))
def magnification_grid(
    decode: Callable,
    low: jax.Array,
    high: jax.Array,
    *,
    num_points: int = 64,
    num_rows: int = 256,
    onto: Callable | None = None,
) -> Grid:
    """The magnification of a decoder with two latent dimensions over a rectangle.

    Args:
        decode: [B, 2] to [B, *event], row by row; hashable, because it is a static argument.
        low, high: the corners, [2].
        num_points: R = C, scalar.
        num_rows: codes at a time, scalar.
        onto: see `geodesics`; where there are no codes, such as outside of a ball, it is 0.

    Returns:
        `Grid`.

    Reference:
        Chen et al. 2018, arXiv 1711.01204, figures 2 and 5.
    """
    low, high = jnp.asarray(low, jnp.float32), jnp.asarray(high, jnp.float32)
    chex.assert_shape([low, high], (2,))
    z0, z1 = (jnp.linspace(low[i], high[i], num_points) for i in range(2))
    z = jnp.stack(jnp.meshgrid(z0, z1), axis=-1).reshape(-1, 2)
    decode = _among_codes(decode, onto)
    values = by_blocks(functools.partial(magnification, decode), z, num_rows)
    return Grid(z0, z1, values.reshape(num_points, num_points))


def _steps(decoded: jax.Array) -> jax.Array:
    """‖x_{t+1} − x_t‖² of curves [..., T, D]: [..., T − 1]."""
    return jnp.sum(jnp.square(jnp.diff(decoded, axis=-2)), axis=-1)


def curve_length(decode: Callable, curves: jax.Array) -> jax.Array:
    """The length of curves in data space: Σ_t ‖f(z_{t+1}) − f(z_t)‖.

    The length of the polygon through the decoded points: a lower bound, of second order in the
    step.

    Args:
        decode: [B, L] to [B, *event], row by row.
        curves: [P, T, L].

    Returns:
        [P], in units of x.

    Reference:
        Shao et al. 2017, arXiv 1711.08014, section 3.1; Arvanitidis et al. 2018, eq. 2.
    """
    chex.assert_rank(curves, 3)
    return jnp.sum(jnp.sqrt(_steps(_flat(decode, curves))), axis=1)


def curve_energy(decode: Callable, curves: jax.Array) -> jax.Array:
    """The energy of curves over t in [0, 1]: ½ (T − 1) Σ_t ‖f(z_{t+1}) − f(z_t)‖².

    At least ½ length², with equality at constant speed: so a curve of least energy is a curve of
    least length at constant speed.

    Args:
        decode: [B, L] to [B, *event], row by row.
        curves: [P, T, L].

    Returns:
        [P], in units of x².

    Reference:
        Shao et al. 2017, arXiv 1711.08014, eq. 4.
    """
    chex.assert_rank(curves, 3)
    return 0.5 * (curves.shape[1] - 1) * jnp.sum(_steps(_flat(decode, curves)), axis=1)


class Geodesics(NamedTuple):
    """Shortest curves between P pairs of codes, compared with the straight lines between them.

    Args:
        curves: [P, T, L], at constant speed in data space.
        lengths: lengths of their images, [P], in units of x.
        straight_lengths: lengths of the images of the straight lines, [P].
        converged: whether the search ended at a minimum, [P] bool.
        num_steps: number of steps of the search, [P] int.
    """

    curves: jax.Array
    lengths: jax.Array
    straight_lengths: jax.Array
    converged: jax.Array
    num_steps: jax.Array


def _refine(curve):
    """The same polygon [T, L] with more points, [_FINER (T − 1) + 1, L]."""
    parts = straight_lines(curve[:-1], curve[1:], _FINER + 1)[:, :-1]
    return jnp.concatenate([parts.reshape(-1, curve.shape[1]), curve[-1:]])


def _solve_tridiagonal(diagonal, beside, right):
    """Solves a symmetric positive definite block tridiagonal system, O(T L³).

    diagonal [T, L, L], beside [T − 1, L, L] the blocks (t, t + 1), right [T, L]: to [T, L].
    """

    def eliminate(carry, row):
        pivot, value = carry
        block, upper, right = row
        # P⁻¹ C and P⁻¹ b, and what they subtract from the row below
        factor = jnp.linalg.solve(pivot, jnp.concatenate([upper, value[:, None]], axis=1))
        fall = jnp.matmul(upper.T, factor, precision="highest")
        return (block - fall[:, :-1], right - fall[:, -1]), factor

    (pivot, value), factors = jax.lax.scan(
        eliminate, (diagonal[0], right[0]), (diagonal[1:], beside, right[1:])
    )
    last = jnp.linalg.solve(pivot, value)

    def substitute(after, factor):
        solution = factor[:, -1] - jnp.matmul(factor[:, :-1], after, precision="highest")
        return solution, solution

    _, solutions = jax.lax.scan(substitute, last, factors, reverse=True)
    return jnp.concatenate([solutions, last[None]])


class _Search(NamedTuple):
    inner: jax.Array
    energy: jax.Array
    damping: jax.Array
    num_steps: jax.Array
    converged: jax.Array


def _shorten(decode: Callable, onto: Callable | None, curve: jax.Array, max_steps: int) -> _Search:
    """Levenberg-Marquardt on the energy Σ_t ‖x_{t+1} − x_t‖² of a curve [T, L] with fixed ends.

    The Gauss-Newton matrix has the blocks 2 J_tᵀJ_t on its diagonal and −J_tᵀJ_{t+1} beside it: a
    Laplacian in the metric. Its inverse straightens the whole curve at once; plain gradient descent
    would need about T² steps. `decode` decodes the codes nearest to its points, if `onto` is given.
    """
    ends = _flat(decode, curve[jnp.array([0, -1])])
    latent_dim = curve.shape[1]
    eye = jnp.eye(latent_dim)[None]

    def path(inner):
        decoded = _flat(decode, inner)
        return jnp.concatenate([ends[:1], decoded, ends[1:]])

    def energy(inner):
        return jnp.sum(_steps(path(inner)))

    def improve(search):
        inner = search.inner
        decoded = path(inner)
        columns = jacobian(decode, inner)
        bend = 2.0 * decoded[1:-1] - decoded[:-2] - decoded[2:]
        # half the gradient, J_tᵀ (2x_t − x_{t−1} − x_{t+1})
        gradient = jnp.einsum("tdl,td->tl", columns, bend, precision="highest")
        metric = jnp.einsum("tdl,tdm->tlm", columns, columns, precision="highest")
        beside = -jnp.einsum("tdl,tdm->tlm", columns[:-1], columns[1:], precision="highest")
        # a direction that the decoder ignores must not make the matrix singular
        size = jnp.trace(metric, axis1=1, axis2=2)[:, None, None] / latent_dim
        tiny = jnp.finfo(jnp.float32).tiny
        floor = 1e-6 * (size + jnp.mean(size)) + tiny
        damped = 2.0 * metric + search.damping * (size * eye) + floor * eye
        move = -_solve_tridiagonal(damped, beside, gradient)
        trial = _rows(onto, inner + move)
        trial_energy = energy(trial)
        is_better = trial_energy < search.energy
        # the decrease predicted by the quadratic model, relative to the energy
        promise = -jnp.sum(gradient * move) / jnp.maximum(
            search.energy, jnp.finfo(jnp.float32).tiny
        )
        return _Search(
            jnp.where(is_better, trial, inner),
            jnp.where(is_better, trial_energy, search.energy),
            jnp.where(is_better, search.damping / 10.0, search.damping * 10.0),
            search.num_steps + 1,
            # a small, heavily damped step also predicts a small decrease
            (promise < _TOLERANCE) & (search.damping <= 1.0),
        )

    def goes_on(search):
        return ~search.converged & (search.num_steps < max_steps) & (search.damping < _DAMPING[1])

    inner = curve[1:-1]
    start = _Search(
        inner, energy(inner), jnp.float32(_DAMPING[0]), jnp.int32(0), jnp.asarray(False)
    )
    return jax.lax.while_loop(goes_on, improve, start)


def geodesics(
    decode: Callable,
    starts: jax.Array,
    ends: jax.Array,
    *,
    initial: jax.Array | None = None,
    num_points: int = 32,
    max_steps: int = 100,
    onto: Callable | None = None,
) -> Geodesics:
    """Finds shortest curves between pairs of codes, as polygons of least energy with fixed ends.

    The search starts from the straight line and descends to a local minimum, which need not be the
    shortest curve. Pairs are done one by one: memory is that of T codes and their derivatives, T ·
    D · L numbers.

    Args:
        decode: [B, L] to [B, *event], twice differentiable, row by row; hashable, because it is a
            static argument.
        starts, ends: [P, L].
        initial: [P, T, L] to start from another curve, its ends replaced; or None.
        num_points: T >= 3, including the ends; the T of `initial` if it is passed.
        max_steps: maximum number of steps, scalar.
        onto: points [B, L] to the nearest codes, row by row and hashable; the curves consist of
            codes, and so do the lines. None: codes may be anywhere.

    Returns:
        `Geodesics`.

    Raises:
        UsageError: a value is not finite, or T is below 3.

    Reference:
        Shao et al. 2017, arXiv 1711.08014, algorithm 1 (the energy; they use gradient descent).
    """
    num_points = num_points if initial is None else initial.shape[1]
    require_at_least(3, num_points=num_points)
    require_finite(starts=starts, ends=ends)
    starts, ends = jnp.asarray(starts, jnp.float32), jnp.asarray(ends, jnp.float32)
    lines = straight_lines(starts, ends, num_points, onto)
    initial = lines if initial is None else _rows(onto, jnp.asarray(initial, jnp.float32))
    require_finite(initial=initial)
    chex.assert_equal_shape([initial, lines])
    initial = jnp.concatenate([lines[:, :1], initial[:, 1:-1], lines[:, -1:]], axis=1)
    return _geodesics(decode, onto, lines, initial, max_steps)


@functools.partial(jax.jit, static_argnames=("decode", "onto", "max_steps"))
def _geodesics(decode: Callable, onto: Callable | None, lines, initial, max_steps) -> Geodesics:
    decode = _among_codes(decode, onto)

    def one(pair):
        line, curve = pair
        search = _shorten(decode, onto, curve, max_steps)
        curve = jnp.concatenate([curve[:1], search.inner, curve[-1:]])
        finer = jnp.stack([_refine(each) for each in (curve, line)])
        length, straight = curve_length(decode, finer)
        return Geodesics(curve, length, straight, search.converged, search.num_steps)

    return jax.lax.map(one, (lines, initial))


def evaluate(
    decode: Callable,
    codes: jax.Array,
    key: jax.Array,
    *,
    num_codes: int = AtMost(500),
    num_pairs: int = 50,
    num_points: int = 32,
    max_steps: int = 100,
    num_rows: int = 64,
    onto: Callable | None = None,
) -> dict:
    """How curved the latent space is near the data.

    Args:
        decode: codes [B, L] to the mean of the data [B, *event], row by row: `model.decode_mean`.
        codes: codes of data, [N, L], N >= 2.
        key: PRNG key, scalar, for the choice of codes and pairs.
        num_codes: codes at which the metric is computed, at most N, scalar; by default min(500, N).
        num_pairs: number of pairs to connect, scalar.
        num_points, max_steps: scalars, see `geodesics`.
        num_rows: codes at a time, scalar.
        onto: see `geodesics`. On a sphere, volumes are areas: directions in which a point leaves
            the codes are no directions of the metric.

    The entries of `DEFINITIONS`, plain numbers; None if all codes are degenerate. Those of
        geodesics are None if no search converged: an unfinished curve has no length to report.
        Standard errors are over codes and over pairs; None for a single one.

    Raises:
        UsageError: a value is not finite, or a number does not fit.
    """
    chex.assert_rank(codes, 2)
    require_finite(codes=codes)
    num_codes = AtMost.fit(num_codes, len(codes))
    if num_codes > len(codes):
        raise UsageError(f"num_codes={num_codes}: must be at most the {len(codes)} examples")
    require_at_least(1, num_codes=num_codes, num_pairs=num_pairs, num_rows=num_rows)
    require_at_least(2, examples=codes.shape[0])
    require_at_least(3, num_points=num_points)
    codes = _rows(onto, jnp.asarray(codes, jnp.float32))
    code_key, pair_key, step_key = jax.random.split(key, 3)
    chosen = _chosen(code_key, codes, num_codes)
    num_directions = codes.shape[1] if onto is None else directions(onto, codes.shape[1])
    stretch = _stretches(_among_codes(decode, onto), chosen, num_rows)[:, :num_directions]
    least = codes.shape[1] * np.finfo(np.float32).eps
    is_degenerate = stretch[:, -1] <= least * stretch[:, 0]
    kept = stretch[~is_degenerate]
    log_magnification = np.log(kept).sum(axis=1)
    pairs = np.asarray(codes)[np.stack(distinct_pairs(pair_key, step_key, num_pairs, len(codes)))]
    found = geodesics(
        *(decode, *pairs),
        num_points=num_points,
        max_steps=max_steps,
        onto=onto,
    )
    spread, spread_error = _deviation_and_error(log_magnification)
    values = {
        **_lengths(found),
        "log_magnification": log_magnification,
        "log_anisotropy": np.log(kept[:, 0] / kept[:, -1]),
    }
    return {
        "num_codes": len(stretch),
        "num_degenerate": int(is_degenerate.sum()),
        "num_pairs": num_pairs,
        "num_points": num_points,
        "log_magnification_sd": spread,
        "log_magnification_sd_standard_error": spread_error,
        **with_errors(values),
    }


@functools.partial(jax.jit, static_argnames="num_codes")
def _chosen(key, codes, num_codes: int) -> jax.Array:
    """Different rows of codes [N, L], [num_codes, L]."""
    return codes[jax.random.permutation(key, len(codes))[:num_codes]]


def directions(onto: Callable, latent_dim: int) -> int:
    """The number of directions in which codes can move: L, on a sphere L − 1; a count.

    Args:
        onto: points [B, L] to the nearest codes.
        latent_dim: L, a count.
    """
    point = jnp.full((1, latent_dim), 0.1 / latent_dim)
    slopes = jax.jit(jax.jacfwd(lambda step: onto(point + step[None])[0]))(jnp.zeros(latent_dim))
    return int(np.linalg.matrix_rank(np.asarray(slopes)))


def _stretches(decode: Callable, codes: jax.Array, num_rows: int) -> np.ndarray:
    """`singular_values` of codes [N, L], in blocks of `num_rows`: [N, L]."""

    @jax.jit
    def stretches(z):
        return by_blocks(functools.partial(singular_values, decode), z, num_rows)

    found = np.float64(stretches(codes))
    require_finite(decoder_derivatives=found)
    return found


def _lengths(found: Geodesics) -> dict[str, np.ndarray]:
    """The values to average over curves: all P pairs, or those whose search converged."""
    straight, is_found = np.float64(found.straight_lengths), np.asarray(found.converged)
    lengths, beside = np.float64(found.lengths)[is_found], straight[is_found]
    return {
        "straight_length": straight,
        "geodesic_length": lengths,
        # codes with equal decodings have length 0 by either curve
        "length_ratio": np.divide(beside, lengths, out=np.ones_like(lengths), where=lengths > 0),
        "share_converged": is_found,
    }


def _deviation_and_error(values: np.ndarray) -> tuple[float | None, float | None]:
    """The standard deviation of values [S] and its standard error; None and None if S < 2."""
    if len(values) < 2:
        return None, None
    spread = values.std(ddof=1)
    # by the delta method, d√v = dv / 2√v
    _, error = mean_and_error(np.square(values - values.mean()))
    return float(spread), error / (2 * spread) if spread > 0 else 0.0


def measure(subject, *, num_codes: int = AtMost(500), num_pairs: int = 50) -> dict:
    """How curved the latent space is at the codes of the test split.

    Args:
        subject: a `vae_jax.evaluation.subject.Subject`.
        num_codes, num_pairs: scalars, see `evaluate`.

    Returns:
        The entries of `DEFINITIONS`, as of `evaluate`.
    """
    subject.require_continuous()
    key = jax.random.fold_in(subject.key, zlib.crc32(b"latent_geometry"))
    sizes = {"num_codes": num_codes, "num_pairs": num_pairs}
    codes = subject.posterior().mean
    return evaluate(subject.decode_mean, codes, key, onto=subject.onto, **sizes)
