"""The ELBO and its terms over a whole split, and which latent dimensions are active."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from vae_jax import distributions, losses, rates
from vae_jax.evaluation._shared import mean_and_error_of_traced

__all__ = [
    "ACTIVE_VARIANCE",
    "COLLAPSE_RATE",
    "NUM_DECOMPOSED",
    "Evaluation",
    "Moments",
    "Ratio",
    "accumulate",
    "active_units",
    "carrying",
    "decompose_rate",
    "effective_number",
    "evaluate",
    "freeze_likelihood",
    "merge_moments",
    "standardized_mean",
    "sum_variance",
    "summarize",
]

ACTIVE_VARIANCE = 0.01
"""A latent dimension is active if the variance over x of the posterior mean (a scalar) exceeds this
share of the prior's variance, which is 1 for N(0, I). Reference: Burda et al. 2015, arXiv
1509.00519, section 5.2."""

COLLAPSE_RATE = 0.1
"""A model counts as collapsed if I(x; z), in nats (a scalar), is below this. If only the rate is
known, which is at least I(x; z), it counts as collapsed if the rate is below this or no dimension
is active."""

NUM_DECOMPOSED = 256
"""Number of examples that stand for the data in `decompose_rate`."""

_RATES = 2**32 - 1
"""Folded into the key of a batch for the draws of rates without a closed form."""


class Evaluation(NamedTuple):
    """The results of one pass over N examples, with one sample of z each.

    Args:
        terms: means over the examples of the objective's loss and aux, scalars, in nats; a term
            with `training.Objective.row_weights` is averaged over the rows that count: NaN if there
            are none.
        standard_errors: standard errors of those means, scalars, in nats; NaN for a single row.
        rate_per_dim: mean rate of each latent dimension, [L], in nats, see `rates.per_dim`; None
            without a prior, or if its density is only known jointly.
        mean_variance: variance over the examples of the posterior mean, divided by the prior's
            variance, [L]; None without a prior.
        num_rows: number of rows that count, for each term with row weights, scalars.
    """

    terms: dict[str, jax.Array]
    standard_errors: dict[str, jax.Array]
    rate_per_dim: jax.Array | None
    mean_variance: jax.Array | None
    num_rows: dict[str, jax.Array]


_OF_EXAMPLES = ("elbo", "distortion", "rate")
"""Terms that no objective makes depend on other examples of a batch."""


def active_units(mean_variance) -> jax.Array:
    """Which dimensions are active: [L] variances to [L] booleans. See `ACTIVE_VARIANCE`."""
    return mean_variance > ACTIVE_VARIANCE


def effective_number(rate_per_dim) -> jax.Array:
    """The effective number of dimensions that carry the rate: exp(−Σ_l s_l log s_l).

    s_l is the share of dimension l in the rate. It is k if k dimensions carry equal shares, and
    between 1 and L otherwise: dimensions that carry little add little, however many they are.

    Args:
        rate_per_dim: mean rate of each dimension in nats, [..., L]; an estimate below 0 counts
            as 0.

    Returns:
        [...]; 0 if the rate is 0.

    Reference:
        Hill 1973, Diversity and evenness, Ecology 54 (the number of order 1); Roy & Vetterli 2007,
        The effective rank, EUSIPCO.
    """
    kept = jnp.maximum(jnp.asarray(rate_per_dim), 0.0)
    total = jnp.sum(kept, axis=-1, keepdims=True)
    shares = kept / jnp.where(total > 0, total, 1.0)
    entropy = -jnp.sum(shares * jnp.log(jnp.where(shares > 0, shares, 1.0)), axis=-1)
    return jnp.where(total[..., 0] > 0, jnp.exp(entropy), 0.0)


def carrying(rate_per_dim, share: float) -> tuple[int, float]:
    """The fewest dimensions that carry at least a share of the rate, and what they carry.

    Args:
        rate_per_dim: mean rate of each dimension in nats, [L]; an estimate below 0 counts as 0.
        share: between 0 and 1, a scalar.

    Returns:
        (number of dimensions, their share of the rate), scalars; (0, 0.0) if the rate is 0.
    """
    kept = np.sort(np.maximum(np.asarray(rate_per_dim, np.float64), 0.0))[::-1]
    if not kept.sum() > 0:
        return 0, 0.0
    shares = np.minimum(np.cumsum(kept) / kept.sum(), 1.0)
    num = min(int(np.sum(shares < share)) + 1, len(shares))
    return num, float(shares[num - 1])


def standardized_mean(posterior, prior) -> jax.Array:
    """Posterior means in units of the prior's standard deviation, [B, L].

    Args:
        posterior: q(z|x), with a mean [B, L].
        prior: p(z), with a deviation [L].
    """
    # if the prior does not vary, the code does not vary
    return posterior.mean / jnp.maximum(prior.deviation, 1e-12)[None, :]


def merge_moments(moments, values, mask):
    """Merges a batch into a running count, mean and sum of squared deviations.

    Args:
        moments: (count [], mean [L], squares [L]).
        values: [B, L].
        mask: [B], zeros and ones, or weights ≥ 0; the count is their sum.

    Returns:
        The merged moments.

    Reference:
        Chan, Golub & LeVeque 1979, "Updating formulae and a pairwise algorithm for computing sample
        variances", equation 2.1.
    """
    count, mean, squares = moments
    batch_count = mask.sum()
    batch_mean = _mean(values, mask)
    batch_squares = _squares(values, mask)
    total = count + batch_count
    delta = batch_mean - mean
    share = _divisor(total)
    return (
        total,
        mean + delta * batch_count / share,
        squares + batch_squares + jnp.square(delta) * count * batch_count / share,
    )


def _divisor(total):
    """A sum of weights, a scalar, as a divisor: 1 if it is 0, since the dividend is then 0."""
    return jnp.where(total > 0, total, 1.0)


def _mean(values, mask):
    """The mean of [B, L] over the rows that count, [L]."""
    return jnp.sum(values * mask[:, None], axis=0) / _divisor(mask.sum())


def _squares(values, mask):
    """The sum of squared deviations of [B, L] from the mean, over the rows that count, [L]."""
    return jnp.sum(jnp.square(values - _mean(values, mask)[None]) * mask[:, None], axis=0)


def _batches(x, batch_size):
    """Indices [T, B] and mask [T, B] that cover x once, [N, …] or a pytree of such arrays."""
    num_examples = len(jax.tree.leaves(x)[0])
    num_batches = -(-num_examples // batch_size)
    rows = jnp.arange(num_batches * batch_size)
    mask = (rows < num_examples).astype(jnp.float32)
    rows = jnp.minimum(rows, num_examples - 1)
    return rows.reshape(num_batches, batch_size), mask.reshape(num_batches, batch_size)


def _batch(x, rows, mask, key, preprocess: Callable) -> dict:
    """Rows [B] of x, [N, *stored] or {"x": [N, *stored], …}, as a batch for an objective."""
    taken = jax.tree.map(lambda leaf: leaf[rows], x)
    taken = taken if isinstance(taken, dict) else {"x": taken}
    return {**taken, "x": preprocess(taken["x"], key), "mask": mask}


def _given(model, params, batch: dict, given: Callable | None):
    """Conditions the model on a batch; unchanged if `given` is None."""
    return model if given is None else given(model, params, batch)


class _Measured(NamedTuple):
    """The measurements of one batch.

    Args:
        terms: the objective's loss and aux, [B] each.
        weights: row weights, [B], of each term that has them.
        rates: rates of each latent dimension, [B, L]; None if unknown.
        means: posterior means in units of the prior's standard deviation, [B, L]; None without a
            prior.
    """

    terms: dict[str, jax.Array]
    weights: dict[str, jax.Array]
    rates: jax.Array | None
    means: jax.Array | None


def _no_moments(size: int):
    """The initial count, mean and sum of squared deviations, (scalar, [size], [size])."""
    return jnp.float32(0), jnp.zeros(size), jnp.zeros(size)


class Moments(NamedTuple):
    """Running moments: count, mean and sum of squared deviations, (scalar, [M], [M]).

    Args:
        terms: moments of the objective's loss and aux, M terms in the order of their names.
        rates: moments of the rate of each latent dimension, M = L; None if unknown.
        means: moments of the posterior mean of each latent dimension in units of the prior's
            standard deviation, M = L; None without a prior.
        within: for the terms, the number of batches and the sum of squared deviations from the mean
            of the same batch, (scalar, [M]).
        ratios: a `Ratio` for each term with row weights, by name.
    """

    terms: Any
    rates: Any
    means: Any
    within: Any
    ratios: dict[str, "Ratio"]

    @classmethod
    def empty(cls, shapes: _Measured) -> "Moments":
        """Moments of zero batches, for measurements with the shapes of a `_Measured`."""
        terms = _no_moments(len(shapes.terms))
        of_latents = (
            None if values is None else _no_moments(values.shape[1])
            for values in (shapes.rates, shapes.means)
        )
        ratios = {name: Ratio.empty() for name in shapes.weights}
        return cls(terms, *of_latents, terms[:2], ratios)

    def add(self, measured: _Measured, mask: jax.Array) -> "Moments":
        """Adds the measurements of a batch; its mask [B] tells which rows count."""
        terms, weights = measured.terms, measured.weights
        stacked = jnp.stack([terms[name] for name in sorted(terms)], axis=1)
        of_latents = (
            None if values is None else merge_moments(moments, values, mask)
            for moments, values in ((self.rates, measured.rates), (self.means, measured.means))
        )
        return Moments(
            merge_moments(self.terms, stacked, mask),
            *of_latents,
            (self.within[0] + 1, self.within[1] + _squares(stacked, mask)),
            {n: r.add(terms[n], weights[n] * mask) for n, r in self.ratios.items()},
        )


class Ratio(NamedTuple):
    """A mean over the rows that count, Σ w v / Σ w, updated batch by batch.

    Args:
        num: number of rows with a weight above 0, scalar.
        weighted: running Σ w, mean and sum of squared deviations of v with the weights w.
        squared: the same with the weights w². Each is (scalar, [1], [1]).
    """

    num: jax.Array
    weighted: Any
    squared: Any

    @classmethod
    def empty(cls) -> "Ratio":
        """The ratio of zero rows, scalars and [1]."""
        nothing = jnp.float32(0), jnp.zeros(1), jnp.zeros(1)
        return cls(jnp.float32(0), nothing, nothing)

    def add(self, products: jax.Array, weights: jax.Array) -> "Ratio":
        """Adds a batch of products w·v [B] and weights w [B], 0 for padding."""
        counts = weights > 0
        values = jnp.where(counts, products / jnp.where(counts, weights, 1.0), 0.0)[:, None]
        return Ratio(
            self.num + jnp.sum(counts, dtype=jnp.float32),
            merge_moments(self.weighted, values, weights),
            merge_moments(self.squared, values, jnp.square(weights)),
        )

    def mean_and_error(self) -> tuple[jax.Array, jax.Array]:
        """r = Σ w v / Σ w and its standard error by linearization, [...] each.

        s.e.² = n/(n − 1) Σ w² (v − r)² / (Σ w)², n the number of rows that count: 0 if all v are
        equal, NaN if n is 1. The ratio of no rows is NaN.

        Reference:
            Cochran 1977, Sampling techniques, section 6.3 (the variance of a ratio).
        """
        total, mean, _ = self.weighted
        square, center, squares = self.squared
        # Σ w² (v − r)² = Σ w² (v − m)² + (m − r)² Σ w², m the mean weighted by w²
        residual = squares[..., 0] + square * jnp.square(center[..., 0] - mean[..., 0])
        correction = self.num / jnp.where(self.num > 1, self.num - 1, jnp.nan)
        error = jnp.sqrt(correction * residual) / _divisor(total)
        return jnp.where(self.num > 0, mean[..., 0], jnp.nan), error


def evaluate(
    loss_fn: Callable,
    model,
    params,
    x: jax.Array,
    key: jax.Array,
    hparams: dict,
    *,
    preprocess: Callable,
    batch_size: int = 500,
    given: Callable | None = None,
) -> Evaluation:
    """Averages an objective's terms over all of x, all examples weighted equally.

    Args:
        loss_fn: an objective, `loss(model, params, batch, key, **hparams) -> (loss [B], aux)`; a
            `training.Objective` may have `row_weights`.
        model: a `Model`.
        params: its parameters.
        x: [N, *stored], N >= 1; or {"x": [N, *stored], …} with the other inputs of the objective.
        key: PRNG key, scalar: binarization and the sample of z depend on it and the position only.
        hparams: keyword arguments of the objective, scalars.
        preprocess: (stored [B, *stored], key) to [B, *shape].
        batch_size: examples at a time. A term of the whole batch (capacity, free bits) depends on
            it; the ELBO, rate and distortion do not.
        given: as in `training.Objective`: (model, params, batch) to the model conditioned on the
            batch.

    Returns:
        `Evaluation`.
    """
    return summarize(
        accumulate(
            loss_fn,
            model,
            params,
            x,
            key,
            hparams,
            None,
            0,
            preprocess=preprocess,
            batch_size=batch_size,
            given=given,
        )
    )


@functools.partial(jax.jit, static_argnames=("loss_fn", "preprocess", "batch_size", "given"))
def accumulate(
    loss_fn: Callable,
    model,
    params,
    x: jax.Array,
    key: jax.Array,
    hparams: dict,
    moments: dict | None,
    first_batch,
    *,
    preprocess: Callable,
    batch_size: int = 500,
    given: Callable | None = None,
) -> dict[str, Moments]:
    """Adds a block of the data to the moments of the blocks before it.

    The result does not depend on how the data is cut into blocks of whole batches.

    Args:
        loss_fn, model, params, key, hparams, preprocess, batch_size, given: see `evaluate`.
        x: [N, *stored] or a dictionary of such arrays; N is a multiple of `batch_size` in all
            blocks except the last.
        moments: moments of the blocks before, or None for the first.
        first_batch: number of batches before this block, scalar.

    Returns:
        One `Moments`; its key is the names of its terms joined by commas, for `summarize`.
    """
    rows, masks = _batches(x, batch_size)

    def measure(rows, mask, key):
        preprocess_key, loss_key = jax.random.split(key)
        batch = _batch(x, rows, mask, preprocess_key, preprocess)
        return _measure(loss_fn, model, params, batch, loss_key, hparams, given)

    def body(carry, inputs):
        rows, mask, index = inputs
        return carry.add(measure(rows, mask, jax.random.fold_in(key, index)), mask), None

    shapes = jax.eval_shape(measure, rows[0], masks[0], key)
    names = ",".join(sorted(shapes.terms))
    start = Moments.empty(shapes) if moments is None else moments[names]
    indices = first_batch + jnp.arange(len(rows))
    return {names: jax.lax.scan(body, start, (rows, masks, indices))[0]}


def _measure(loss_fn, model, params, batch: dict, key, hparams: dict, given) -> _Measured:
    """Measures one batch; arguments as in `accumulate`."""
    loss, aux = loss_fn(model, params, batch, key, **hparams)
    terms = {"loss": loss, **aux}
    row_weights = getattr(loss_fn, "row_weights", None)
    weights = {} if row_weights is None else row_weights(batch, **hparams)
    if not model.latent.has_prior:
        return _Measured(terms, weights, None, None)
    posterior = _given(model, params, batch, given).encode(params, batch["x"])
    prior = model.prior(params)
    z = posterior.sample(jax.random.fold_in(key, jnp.uint32(_RATES)))
    of_dims = rates.per_dim(posterior, prior, z) if rates.has_dims(posterior, prior) else None
    if of_dims is not None and model.groups is not None:
        # an objective that logs them has them from its own draws
        terms = {**rates.by_group(of_dims, model.groups), **terms}
    return _Measured(terms, weights, of_dims, standardized_mean(posterior, prior))


@jax.jit
def summarize(moments: dict[str, Moments]) -> Evaluation:
    """Means and standard errors from the moments of `accumulate`; R runs have a leading [R].

    The examples of a batch count as independent draws. If a term varies more between batches than
    that allows, as a term of the whole batch does, the batches are the draws; unless the ELBO or
    its parts do so, too, which belong to single examples: then it is the order of the examples,
    such as one by label. A term with row weights belongs to single examples, see `Ratio`.
    """
    ((names, (terms, of_dims, means, (num_batches, within), ratios)),) = moments.items()
    count, mean, squares = terms
    count, num_batches = count[..., None], num_batches[..., None]
    # s.e. = √(Σ(v − v̄)² / (N − 1) / N)
    of_examples = squares / jnp.maximum(count - 1, 1)
    of_batches = (squares - within) / jnp.maximum(num_batches - 1, 1)
    inside = within / jnp.maximum(count - num_batches, 1)
    # an analysis of variance, at about the 0.1 % point of F(T − 1, N − T) for T batches
    varies = of_batches > (2 + 9 / jnp.maximum(num_batches - 1, 1)) * inside
    is_own = jnp.array([name in _OF_EXAMPLES for name in names.split(",")])
    is_own = jnp.broadcast_to(is_own, varies.shape)
    is_ordered = (varies & is_own).any(axis=-1, keepdims=True)
    is_constant = within <= 1e-6 * squares
    is_shared = varies & ~is_own & (is_constant | ~is_ordered)
    standard_error = (jnp.where(is_shared, of_batches, of_examples) / count) ** 0.5
    found = {n: (mean[..., i], standard_error[..., i]) for i, n in enumerate(names.split(","))}
    found |= {name: ratio.mean_and_error() for name, ratio in ratios.items()}
    if "loss" in ratios:
        # without rows there is nothing to minimize
        value, error = found["loss"]
        found["loss"] = jnp.where(ratios["loss"].num > 0, value, 0.0), error
    return Evaluation(
        {name: value for name, (value, _) in found.items()},
        {name: error for name, (_, error) in found.items()},
        None if of_dims is None else of_dims[1],
        None if means is None else means[2] / means[0][..., None],
        {name: ratio.num for name, ratio in ratios.items()},
    )


@functools.partial(jax.jit, static_argnames=("preprocess", "given"))
def decompose_rate(
    model, params, x, key: jax.Array, num_examples, *, preprocess: Callable, given=None
) -> tuple[dict[str, jax.Array], dict[str, jax.Array]]:
    """Splits the rate into mutual information, total correlation and dimension-wise KL.

    The examples stand for all N by stratified weights. With few examples the mutual information is
    overestimated, by at most log N, and the TC underestimated by as much; the bias grows with the
    information in the codes. So this is for comparing runs; to measure one run, use `latent_use`,
    which uses the whole mixture.

    Args:
        model: a `Model`.
        params: its parameters.
        x: [M, *stored], or a dictionary of such arrays.
        key: PRNG key, scalar.
        num_examples: N, the size of the training split; scalar.
        preprocess: (stored [M, *stored], key) to [M, *shape].
        given: see `evaluate`.

    Returns:
        Means and standard errors over the M examples, a dictionary of scalars each, in nats; both
            are empty unless the posterior is a `DiagonalGaussian`.

    Reference:
        Chen et al. 2018, arXiv 1802.04942, equation 2, and appendix C (weights).
    """
    preprocess_key, z_key = jax.random.split(key)
    num = len(jax.tree.leaves(x)[0])
    batch = _batch(x, jnp.arange(num), jnp.ones(num), preprocess_key, preprocess)
    posterior = _given(model, params, batch, given).encode(params, batch["x"])
    prior = model.prior(params) if model.latent.has_prior else None
    if prior is None or type(posterior) is not distributions.DiagonalGaussian:
        return {}, {}
    weights = losses.aggregate_weights(num, num_examples)
    z = posterior.sample(z_key)
    parts = rates.parts(posterior, prior, z, weights, model.latent_mask)
    names = "mutual_information", "total_correlation", "dimension_wise_kl"
    of_each = [mean_and_error_of_traced(part) for part in parts]
    means, errors = zip(*of_each, strict=True)
    return dict(zip(names, means, strict=True)), dict(zip(names, errors, strict=True))


def freeze_likelihood(
    model, params, x, key, *, preprocess: Callable, batch_size: int = 500, given=None
):
    """Fixes a variance that is set to each batch's optimum in training: p(x|z) becomes a density.

    The variance becomes the mean squared error over all of x, which must be training data.

    Args:
        model: a `Model`.
        params: its parameters.
        x: [N, *stored], or a dictionary of such arrays, see `evaluate`.
        key: PRNG key, scalar, for one sample of z per example.
        preprocess: (stored [B, *stored], key) to [B, *shape].
        batch_size: examples at a time.
        given: see `evaluate`.

    Returns:
        (model, params), unchanged unless the likelihood's variance is "optimal".

    Reference:
        Rybkin et al. 2021, arXiv 2006.13202 (optimal σ-VAE).
    """
    frozen = model.likelihood.frozen()
    if frozen == model.likelihood:
        return model, params
    settings = {"preprocess": preprocess, "batch_size": batch_size, "given": given}
    total = sum_variance(model, params, x, key, 0, **settings)
    logvar = jnp.log(total / len(jax.tree.leaves(x)[0]))
    return model.replace(likelihood=frozen), {**params, "likelihood": {"logvar": logvar}}


@functools.partial(jax.jit, static_argnames=("preprocess", "batch_size", "given"))
def sum_variance(
    model, params, x, key, first_batch, *, preprocess: Callable, batch_size: int = 500, given=None
) -> jax.Array:
    """The optimal variance of each batch times its number of examples, summed over a block.

    Args:
        model, params, key, preprocess, batch_size, given: see `freeze_likelihood`.
        x: [N, *stored] or a dictionary of such arrays; N is a multiple of `batch_size` in all
            blocks except the last.
        first_batch: number of batches before this block, scalar.

    Returns:
        Scalar []; divided by the number of all examples, it is the variance.
    """
    rows, masks = _batches(x, batch_size)

    def body(total, inputs):
        rows, mask, index = inputs
        preprocess_key, z_key = jax.random.split(jax.random.fold_in(key, index))
        batch = _batch(x, rows, mask, preprocess_key, preprocess)
        own = _given(model, params, batch, given)
        z = own.encode(params, batch["x"]).sample(z_key)
        outputs = own.decode(params, z, batch["x"])
        fitted = model.likelihood.fit(params["likelihood"], outputs, batch["x"], mask)
        return total + jnp.exp(fitted["logvar"]) * mask.sum(), None

    indices = first_batch + jnp.arange(len(rows))
    return jax.lax.scan(body, jnp.float32(0), (rows, masks, indices))[0]
