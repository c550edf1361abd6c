"""The exact log-likelihood, for linear-Gaussian models and for one or two latent dimensions.

With a linear decoder and Gaussian noise p(x) is a Gaussian. With one or two latent dimensions

p(x) = ∫ p(x|z) p(z) dz

is a sum over a grid that is refined around the mass of the integrand, with an estimate of its own
error. Estimates and bounds of log p(x) for larger models are tested against these.

Reference: Tipping & Bishop 1999, Probabilistic principal component analysis, JRSS B 61.
"""

import functools
import itertools
import math
from collections.abc import Callable
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from vae_jax import distributions
from vae_jax.blocks import by_blocks
from vae_jax.errors import UsageError
from vae_jax.evaluation._cost import Cost
from vae_jax.evaluation._shared import (
    example_and_key,
    log_likelihood,
    mean_and_error,
    mean_and_error_of_traced,
    positions_of,
    require_density,
)
from vae_jax.evaluation.subject import NotApplicableError

__all__ = [
    "COST",
    "CUTOFF",
    "DEFINITIONS",
    "MAX_LATENTS",
    "METHODS",
    "NUM_POINTS",
    "PRIOR_REACH",
    "Integral",
    "Likelihoods",
    "LinearGaussian",
    "closed_form",
    "evaluate",
    "integrate",
    "linear_gaussian",
    "linear_gaussian_log_prob",
    "measure",
    "quadrature",
    "summarize",
]

COST = Cost(place=2, start=15.0)

DEFINITIONS = {
    "num_examples": "N, the examples of the split",
    "method": "closed_form, or quadrature over one or two latent dimensions",
    "nll": "−log p(x) in nats per example; its standard error is that over the examples",
    "largest_error": "how far the grid may be off for any example, in nats",
}
"""The meaning of each entry of `measure`; `name_standard_error` is the error of `name`."""

MAX_LATENTS = 2
"""The maximum number of latent dimensions for integration on a grid (a count)."""

NUM_POINTS = {1: 1025, 2: 129}
"""Points of a grid in each dimension, for one and for two dimensions (counts)."""

CUTOFF = 30.0
"""A grid is refined to the region in which the integrand is within this of its maximum, in nats (a
scalar): about 8 standard deviations of a Gaussian."""

PRIOR_REACH = 8.0
"""The first grid covers this many standard deviations of p(z) and of q(z|x), a scalar."""

METHODS = ("auto", "closed_form", "quadrature")
"""Methods of `evaluate`."""


# ------------------------------------------------------------------ linear-Gaussian models


class LinearGaussian(NamedTuple):
    """x = mean + W z + noise, z ~ N(0, I), noise ~ N(0, diag(variance)).

    Args:
        mean: [D].
        weights: W, [D, L].
        variance: [D].
    """

    mean: jax.Array
    weights: jax.Array
    variance: jax.Array


def linear_gaussian_log_prob(
    x: jax.Array, mean: jax.Array, weights: jax.Array, variance: chex.Numeric
) -> jax.Array:
    """log N(x; mean, WWᵀ + V) of factor analysis, V = diag(variance), at the cost of L × L systems.

    With M = I + WᵀV⁻¹W and m = M⁻¹WᵀV⁻¹(x − mean), the mean of p(z|x):

    −½ [D log 2π + log det V + log det M + (x − mean − Wm)ᵀV⁻¹(x − mean − Wm) + mᵀm]

    Args:
        x: [N, D].
        mean: [D].
        weights: W, [D, L].
        variance: variance of the noise, a scalar (probabilistic PCA) or [D].

    Returns:
        [N] in nats.

    Reference:
        Tipping & Bishop 1999, section 3.1, by Sylvester's determinant identity and the Woodbury
        identity (Petersen & Pedersen, The Matrix Cookbook, eq. 156).
    """
    chex.assert_rank([x, mean, weights], [2, 1, 2])
    chex.assert_equal_shape([mean, x[0], weights[:, 0]])
    variance = jnp.broadcast_to(variance, mean.shape)
    with jax.default_matmul_precision("highest"):
        scaled = weights / variance[:, None]
        # M = I + WᵀV⁻¹W
        inner = jnp.eye(weights.shape[1]) + weights.T @ scaled
        factor = jnp.linalg.cholesky(inner)
        centered = x - mean[None]
        # m = M⁻¹WᵀV⁻¹(x − mean)
        posterior_mean = jax.scipy.linalg.cho_solve((factor, True), (centered @ scaled).T).T
        rest = centered - posterior_mean @ weights.T
    # The quadratic form as its minimum over z: it has no difference of large numbers, and an error
    # in m enters squared.
    distance = jnp.sum(jnp.square(rest) / variance[None], axis=1)
    distance = distance + jnp.sum(jnp.square(posterior_mean), axis=1)
    log_determinant = jnp.sum(jnp.log(variance)) + 2 * jnp.sum(jnp.log(jnp.diag(factor)))
    return -0.5 * (mean.size * jnp.log(2 * jnp.pi) + log_determinant + distance)


def linear_gaussian(model, params) -> LinearGaussian:
    """Reads a model as x = mean + W u + noise, u ~ N(0, I).

    W is the derivative of the decoder, and 1/variance that of −∂ log p(x|z)/∂x, so it works for any
    modules and with a latent mask. For a prior N(m, diag s²), z = m + s u.

    Args:
        model: a `Model` with a linear decoder, a Gaussian likelihood and a prior that is a
            `DiagonalGaussian`.
        params: its parameters.

    Returns:
        `LinearGaussian`: mean [D], weights [D, L] and variance [D], for the D = prod(shape) numbers
            of an example in flat order.

    Raises:
        UsageError: the decoder is not linear, the likelihood is not Gaussian with one variance for
            all examples, or the prior has another type.
    """
    distributions.require_diagonal_gaussian(model.prior(params), "closed_form")
    require_density(model)
    if model.likelihood.num_outputs != 1:
        raise _not_linear(model)
    linear, is_linear = _read(model, params)
    if not is_linear:
        raise _not_linear(model)
    return linear


@jax.jit
def _read(model, params):
    """The model as `LinearGaussian`, and whether it is linear and Gaussian."""
    prior = model.prior(params)

    def decode(u):
        return model.decode(params, (prior.mean + prior.deviation * u)[None]).reshape(-1)

    def log_prob(x, outputs):
        return model.likelihood.log_prob(params["likelihood"], outputs[None], x[None])[0]

    def slope(x, outputs):
        return jax.grad(log_prob)(jnp.full(model.shape, x), jnp.full(model.shape, outputs))

    z = jnp.linspace(-3.0, 2.0, model.latent_dim)
    zero = jnp.zeros(model.shape)
    with jax.default_matmul_precision("highest"):
        mean, weights = decode(jnp.zeros_like(z)), jax.jacfwd(decode)(jnp.zeros_like(z))
        deviation, expected = decode(z) - mean, weights @ z
        # ∂ log p(x|z)/∂x = −(x − f(z)) / variance
        variance = -1 / slope(1.0, 0.0)
        constant = log_prob(zero, zero) + 0.5 * jnp.sum(jnp.log(2 * jnp.pi * variance))
        is_linear = jnp.max(jnp.abs(deviation - expected)) <= 1e-4 * jnp.max(
            jnp.abs(expected)
        ) + 1e-5 * jnp.max(jnp.abs(mean))
        is_gaussian = jnp.abs(constant) <= 1e-4 * mean.size
        for pair in ((-2.0, 0.0), (1.0, -1.0)):
            ratio = slope(*pair) * variance / (pair[1] - pair[0])
            is_gaussian &= jnp.all(jnp.abs(ratio - 1) < 1e-3)
    return LinearGaussian(mean, weights, variance.reshape(-1)), is_linear & is_gaussian


def _not_linear(model):
    return UsageError(
        f"{type(model.decoder).__name__} with {model.likelihood}: a closed form needs a linear "
        "decoder in float32 and a gaussian likelihood of one variance; take ais or nll"
    )


# ------------------------------------------------------------------ quadrature


class Integral(NamedTuple):
    """log ∫ exp(g(z)) dz.

    Args:
        value: scalar [] in nats.
        error: estimated upper bound of its error, usually far too large, scalar [], in nats;
        without rounding.
    """

    value: jax.Array
    error: jax.Array


def integrate(
    log_density: Callable,
    low: jax.Array,
    high: jax.Array,
    *,
    num_points: int | None = None,
    num_zooms: int = 4,
    num_rows: int = 500,
) -> Integral:
    """The log of an integral over one or two dimensions, on a grid that is refined.

    log Σ_i exp(g(z_i)) + log volume of a cell, over all points z_i of an even grid

    For a smooth integrand that vanishes at the borders, equal weights converge faster than any
    power of the spacing h: for a Gaussian of standard deviation s, the sum is off by a factor 1 ± 2
    exp(−2π²s²/h²), 5e-9 at h = s. The first grid covers the given box. Each further grid covers the
    region in which the integrand is within `CUTOFF` of its maximum, as a box along the principal
    axes of that region plus one cell; if the integrand changes by more than that between
    neighboring points, the change is the cutoff. The error has two parts: the difference to the sum
    over every other point, which is off by at least the square root of the result's error, and the
    contribution of half a box more, if the integrand continued as at the border. A second peak
    between the points of the first grid is missed without notice.

    Args:
        log_density: g, z [B, L] to [B], in nats, smooth.
        low, high: corners of the first box, [L], L = 1 or 2; beyond it only one cell per zoom is
            covered, and the rest shows in the error.
        num_points: odd, >= 5, in each dimension; None takes `NUM_POINTS`.
        num_zooms: number of grids before the one that is summed, >= 0.
        num_rows: points at a time, >= 1; limits the memory.

    Returns:
        `Integral`.

    Raises:
        UsageError: L is not 1 or 2, or a number is out of range.

    Reference:
        Trefethen & Weideman 2014, The exponentially convergent trapezoidal rule, SIAM Review 56,
        section 5.
    """
    chex.assert_rank([low, high], 1)
    chex.assert_equal_shape([low, high])
    dim = low.size
    _check_dimensions(dim)
    num_points = NUM_POINTS[dim] if num_points is None else num_points
    _check_grid(num_points, num_zooms, num_rows)
    grid = _Grid.of(dim, num_points)

    def look(box):
        z = grid.places(box)
        return z, by_blocks(log_density, z, num_rows).reshape((num_points,) * dim)

    def zoom(box, _):
        return _narrowed(box, grid.spacing, *look(box)), None

    first = _Box(0.5 * (low + high), jnp.diag(0.5 * (high - low)))
    last, _ = jax.lax.scan(zoom, first, length=num_zooms)
    return _summed(last, grid.spacing, look(last)[1])


def _check_dimensions(dim: int) -> None:
    """Raises UsageError unless a grid supports this number of latent dimensions, a count."""
    if not 1 <= dim <= MAX_LATENTS:
        raise UsageError(f"{dim} latent dimensions: a grid takes 1 or 2; take ais or nll instead")


def _check_grid(num_points: int, num_zooms: int, num_rows: int) -> None:
    """Raises UsageError if a count of `integrate` is out of range."""
    if num_points < 5 or num_points % 2 == 0:
        raise UsageError(f"num_points={num_points}: must be odd and at least 5")
    if num_zooms < 0 or num_rows < 1:
        raise UsageError(
            f"num_zooms={num_zooms}, num_rows={num_rows}: must be at least 0 and at least 1"
        )


class _Box(NamedTuple):
    """{center + edges u, u in [−1, 1]^L}: center [L], orthogonal edges as columns [L, L]."""

    center: jax.Array
    edges: jax.Array


class _Grid(NamedTuple):
    """Evenly spaced points u in [−1, 1]^L, [P^L, L], and their spacing on each axis, a scalar."""

    unit: jax.Array
    spacing: float

    @classmethod
    def of(cls, dim: int, num_points: int) -> "_Grid":
        line = jnp.linspace(-1.0, 1.0, num_points)
        unit = jnp.stack(jnp.meshgrid(*[line] * dim, indexing="ij"), axis=-1).reshape(-1, dim)
        return cls(unit, 2 / (num_points - 1))

    def places(self, box: _Box) -> jax.Array:
        """z = center + edges u, [P^L, L]."""
        with jax.default_matmul_precision("highest"):
            return box.center[None] + self.unit @ box.edges.T


def _narrowed(box: _Box, spacing: float, z: jax.Array, values: jax.Array) -> _Box:
    """The box around the points z [P^L, L] with values [P, …] near the maximum, plus a cell."""
    kept = (values >= jnp.max(values) - CUTOFF - _largest_drop(values)).reshape(-1, 1)
    mean = jnp.mean(z, axis=0, where=kept)
    deviation = jnp.where(kept, z - mean[None], 0.0)
    with jax.default_matmul_precision("highest"):
        _, axes = jnp.linalg.eigh(deviation.T @ deviation)
        along = deviation @ axes
        margin = spacing * jnp.sum(jnp.abs(axes.T @ box.edges), axis=1)
        low = jnp.min(jnp.where(kept, along, jnp.inf), axis=0) - margin
        high = jnp.max(jnp.where(kept, along, -jnp.inf), axis=0) + margin
        center = mean + axes @ (0.5 * (low + high))
    return _Box(center, axes * (0.5 * (high - low))[None])


def _summed(box: _Box, spacing: float, values: jax.Array) -> Integral:
    """The integral from g [P, …] on a grid over a box, and its estimated error."""
    dim = values.ndim
    # edges are orthogonal: the volume is the product of their lengths
    log_cell = jnp.sum(jnp.log(spacing * jnp.linalg.norm(box.edges, axis=0)))
    total = jax.scipy.special.logsumexp(values)
    every_other = jax.scipy.special.logsumexp(values[(slice(None, None, 2),) * dim])
    inner = jnp.pad(jnp.ones([length - 2 for length in values.shape], bool), 1)
    border = jax.scipy.special.logsumexp(jnp.where(inner, -jnp.inf, values))
    beyond = jnp.exp(border - total) / spacing
    error = jnp.abs(every_other + dim * math.log(2) - total) + beyond
    return Integral(total + log_cell, error)


def _largest_drop(values):
    """The largest difference between the maximum of [P] or [P, P] and one of its neighbors."""
    size = values.shape[0]
    best = jnp.unravel_index(jnp.argmax(values), values.shape)
    neighbours = []
    for axis, side in itertools.product(range(values.ndim), (-1, 1)):
        place = [*best]
        place[axis] = jnp.clip(place[axis] + side, 0, size - 1)
        neighbours.append(values[tuple(place)])
    return jnp.max(values) - jnp.min(jnp.stack(neighbours))


# ------------------------------------------------------------------ models


class Likelihoods(NamedTuple):
    """−log p(x) of N examples.

    Args:
        nll: [N], in nats.
        error: bound of the error of the method, [N], in nats; 0 for a closed form.
    """

    nll: jax.Array
    error: jax.Array


def closed_form(
    model,
    params,
    x: jax.Array,
    key: jax.Array,
    first_example=0,
    *,
    preprocess: Callable,
    num_rows: int = 500,
) -> Likelihoods:
    """The negative log-likelihood of every example under a linear model, in closed form.

    Args:
        model: a `Model` that `linear_gaussian` reads.
        params: its parameters.
        x: [N, *stored], N >= 1.
        key: PRNG key, scalar, for `preprocess`; with the same key the examples are binarized as in
            `nll.sample`.
        first_example: position of x[0], a scalar, if x is a block of the data; or of each row.
        preprocess: (stored [B, *stored], key) to [B, *shape].
        num_rows: examples at a time; limits the memory.

    Returns:
        `Likelihoods`.

    Raises:
        UsageError: the model is not linear, not Gaussian or has another prior, or a number is below
            1.
    """
    if num_rows < 1:
        raise UsageError(f"num_rows={num_rows}: must be at least 1")
    linear = linear_gaussian(model, params)
    values = _closed_form(linear, x, key, first_example, preprocess=preprocess, num_rows=num_rows)
    return Likelihoods(-values, jnp.zeros_like(values))


@functools.partial(jax.jit, static_argnames=("preprocess", "num_rows"))
def _closed_form(linear, x, key, first_example, *, preprocess, num_rows):
    def one(inputs):
        data, _ = example_and_key(preprocess, key, *inputs)
        return linear_gaussian_log_prob(data.reshape(1, -1), *linear)[0]

    positions = positions_of(first_example, len(x))
    return jax.lax.map(one, (x, positions), batch_size=num_rows)


def quadrature(
    model,
    params,
    x: jax.Array,
    key: jax.Array,
    first_example=0,
    *,
    preprocess: Callable,
    num_points: int | None = None,
    num_zooms: int = 4,
    num_rows: int = 500,
) -> Likelihoods:
    """The negative log-likelihood of every example by `integrate`, for one or two latents.

    Args:
        model: a `Model` of 1 or 2 unmasked latent dimensions, with any likelihood that is a
            density: see `elbo.freeze_likelihood`. Its prior is a `DiagonalGaussian` or, without a
            mask, any with `log_prob`, `mean` and `deviation`.
        params: its parameters.
        x: [N, *stored], N >= 1.
        key: PRNG key, scalar, for `preprocess`; with the same key the examples are binarized as in
            `nll.sample`.
        first_example: position of x[0], a scalar, if x is a block of the data; or of each row.
        preprocess: (stored [B, *stored], key) to [B, *shape].
        num_points, num_zooms: see `integrate`.
        num_rows: rows of z decoded at a time; limits the memory.

    Returns:
        `Likelihoods`; if an error is not far below 1e-3, use more points.

    Raises:
        UsageError: there are more latent dimensions, a number does not fit, the variance is that of
            each batch, or the prior has another type.
    """
    require_density(model)
    _require_integrable(model, params)
    mask = np.ones(model.latent_dim) if model.latent_mask is None else model.latent_mask
    active = tuple(np.flatnonzero(np.asarray(mask)).tolist())
    active = active or (0,)  # a masked dimension integrates to 1
    _check_dimensions(len(active))
    return _quadrature(
        model,
        params,
        x,
        key,
        first_example,
        preprocess=preprocess,
        active=active,
        num_points=num_points,
        num_zooms=num_zooms,
        num_rows=num_rows,
    )


def _require_integrable(model, params) -> None:
    """Raises UsageError if the prior over [L] lacks what a grid needs: a box or a density."""
    prior = model.prior(params)
    if type(prior) is distributions.DiagonalGaussian:
        return
    lacking = [n for n in ("log_prob", "mean", "deviation") if not hasattr(prior, n)]
    if model.latent_mask is not None:
        lacking.append("marginal of the dimensions that are not masked")
    # ais and nll draw samples, but they need the density, too
    remedy = "" if "log_prob" in lacking else "; take ais or nll instead"
    if lacking:
        raise UsageError(
            f"p(z) is of type {type(prior).__name__}, without {', '.join(lacking)}, which a grid "
            f"needs{remedy}"
        )


@functools.partial(
    jax.jit, static_argnames=("preprocess", "active", "num_points", "num_zooms", "num_rows")
)
def _quadrature(
    model, params, x, key, first_example, *, preprocess, active, num_points, num_zooms, num_rows
):
    prior, active = model.prior(params), jnp.array(active)
    own = prior
    if type(prior) is distributions.DiagonalGaussian:
        # a masked dimension is decoded as 0 and integrates to 1
        own = distributions.DiagonalGaussian(prior.mean[active], prior.logvar[active])

    def one(inputs):
        data, _ = example_and_key(preprocess, key, *inputs)
        posterior = model.encode(params, data)

        def log_joint(values):
            z = jnp.zeros((len(values), model.latent_dim)).at[:, active].set(values)
            return log_likelihood(model, params, z, data) + own.log_prob(values)

        ends = [
            each.mean + side * PRIOR_REACH * each.deviation
            for each in (prior, posterior)
            for side in (-1, 1)
        ]
        ends = jnp.stack([jnp.broadcast_to(end, posterior.mean.shape)[0, active] for end in ends])
        return integrate(
            log_joint,
            jnp.min(ends, axis=0),
            jnp.max(ends, axis=0),
            num_points=num_points,
            num_zooms=num_zooms,
            num_rows=num_rows,
        )

    positions = positions_of(first_example, len(x))
    integral = jax.lax.map(one, (x, positions))
    return Likelihoods(-integral.value, integral.error)


def summarize(likelihoods: Likelihoods) -> dict[str, jax.Array]:
    """Means over all examples.

    Args:
        likelihoods: results for N examples, [N] each; blocks may be concatenated.

    Returns:
        Scalars in nats: `nll`, `standard_error` of that mean over the examples, `error` of the
            method in that mean, and `largest_error` of an example.
    """
    mean, standard_error = mean_and_error_of_traced(likelihoods.nll)
    return {
        "nll": mean,
        "standard_error": standard_error,
        "error": jnp.mean(likelihoods.error),
        "largest_error": jnp.max(likelihoods.error),
    }


def evaluate(
    model,
    params,
    x: jax.Array,
    key: jax.Array,
    *,
    preprocess: Callable,
    method: str = "auto",
    num_points: int | None = None,
    num_rows: int = 500,
) -> dict:
    """The mean negative log-likelihood of x, by a formula or by quadrature.

    Args:
        model, params, x, key, preprocess, num_points, num_rows: see `quadrature`; x is
            [N, *stored].
        method: one of `METHODS`; "auto" uses the closed form if the model has one.

    Returns:
        The result of `summarize`, scalars, and the `method` that was used.

    Raises:
        UsageError: neither method applies; `ais` and `nll` estimate and bound it.
    """
    if method not in METHODS:
        raise UsageError(f"method={method}: must be one of {', '.join(METHODS)}")
    if method == "auto":
        method = "closed_form" if _has_closed_form(model, params) else "quadrature"
    if method == "closed_form":
        likelihoods = closed_form(model, params, x, key, preprocess=preprocess, num_rows=num_rows)
    else:
        likelihoods = quadrature(
            model,
            params,
            x,
            key,
            preprocess=preprocess,
            num_points=num_points,
            num_rows=num_rows,
        )
    return {**summarize(likelihoods), "method": method}


def _has_closed_form(model, params):
    try:
        linear_gaussian(model, params)
    except UsageError:
        return False
    return True


def measure(subject, *, split: str = "test", max_examples: int = 500) -> dict:
    """The likelihood of a split without sampling.

    Args:
        subject: a `vae_jax.evaluation.subject.Subject`.
        split: "train", "valid" or "test".
        max_examples: the number of examples for quadrature, evenly spaced in the split, a scalar.

    Returns:
        The entries of `DEFINITIONS`, scalars.

    Raises:
        NotApplicableError: the model is conditional; or it is not linear and Gaussian, and has more
            than `MAX_LATENTS` latent dimensions in use or a prior that a grid cannot integrate.
    """
    subject.require_gaussian_posterior()
    subject.require_unconditional()
    model, key, preprocess = subject.model, subject.key, subject.preprocess
    if _has_closed_form(model, subject.params):
        method, linear = "closed_form", linear_gaussian(model, subject.params)

        def estimate(params, stored, positions):
            del params
            settings = {"preprocess": preprocess, "num_rows": len(stored)}
            nll = -_closed_form(linear, stored, key, positions, **settings)
            return Likelihoods(nll, jnp.zeros_like(nll))

        found = subject.over(estimate, split)
    elif subject.latent_dim <= MAX_LATENTS:
        method = "quadrature"
        try:
            _require_integrable(model, subject.params)
        except UsageError as reason:
            raise NotApplicableError(str(reason)) from None

        def estimate(params, stored, positions):
            return quadrature(model, params, stored, key, positions, preprocess=preprocess)

        found = subject.over(estimate, split, num_rows=100, num_examples=max_examples)
    else:
        raise NotApplicableError(
            f"the model is not linear and Gaussian, and has more than {MAX_LATENTS} latent "
            "dimensions"
        )
    mean, error = mean_and_error(found.nll)
    return {
        "num_examples": len(found.nll),
        "method": method,
        "nll": mean,
        "nll_standard_error": error,
        "largest_error": float(found.error.max()),
    }
