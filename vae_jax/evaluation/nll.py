"""The negative log-likelihood by importance sampling: the bound on log p(x) that papers report.

log p̂(x) = log 1/K Σ_k w_k,  w_k = p(x|z_k) p(z_k) / q(z_k|x),  z_k ~ q(z|x)

Its expectation grows with K and tends to log p(x) from below; at K = 1 it is the ELBO. The first
functions reduce log-weights in chunks and need no model; `sample` and `evaluate` draw the weights.

Reference: Burda et al. 2015, Importance Weighted Autoencoders, arXiv 1509.00519, eq. 8.
"""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from vae_jax import latents, rates
from vae_jax.errors import UsageError
from vae_jax.evaluation import collapse
from vae_jax.evaluation._cost import Cost
from vae_jax.evaluation._shared import (
    example_and_key,
    log_likelihood,
    mean_and_error,
    mean_and_error_of_traced,
    positions_of,
    ratio_and_error,
    require_density,
)
from vae_jax.evaluation.subject import NotApplicableError

__all__ = [
    "COST",
    "DEFINITIONS",
    "SAMPLES_PER_KEY",
    "Estimate",
    "Likelihoods",
    "WeightSums",
    "add_weights",
    "effective_sample_size",
    "empty_sums",
    "evaluate",
    "log_mean_weight",
    "measure",
    "sample",
    "summarize",
]

COST = Cost(
    place=1,
    is_quick=True,
    start=4.0,
    passes=lambda num_examples, settings: num_examples * settings["num_samples"],
)

DEFINITIONS = {
    "num_examples": "N, the examples of the test split",
    "num_samples": "K, the samples of z behind each estimate",
    "nll": "−log 1/K Σ_k p(x, z_k)/q(z_k|x) in nats per example, above −log p(x) in expectation",
    "nll_without_z": "−log p(x) of the best model that ignores z: of independent numbers, say",
    "effective_samples": "how many equal weights would estimate as well, of K (Σw)²/Σw²",
    "bits_per_dim": "nll / (D log 2), of discrete data; D: of text the mean of characters and ends",
    "given": "of a conditional model, for p(x) read p(x|c): c",
}
"""The meaning of each entry of `measure`; `name_standard_error` is the error of `name`."""

SAMPLES_PER_KEY = 500
"""Samples of z are drawn in blocks of this many, a scalar: the draws depend on it."""


class WeightSums(NamedTuple):
    """Running sums of weights w_k = exp(l_k), scaled so that they do not overflow.

    Args:
        maximum: m = max_k l_k, [...]; −∞ before the first.
        total: Σ_k exp(l_k − m), [...].
        squares: Σ_k exp(2 (l_k − m)), [...].
    """

    maximum: jax.Array
    total: jax.Array
    squares: jax.Array


def empty_sums(shape: tuple[int, ...] = ()) -> WeightSums:
    """The sums of zero weights.

    Args:
        shape: [...], the shape of each sum, such as one per example.

    Returns:
        `WeightSums` of that shape.
    """
    return WeightSums(jnp.full(shape, -jnp.inf), jnp.zeros(shape), jnp.zeros(shape))


def _finite(maximum: jax.Array) -> jax.Array:
    """The maximum [...] if it is finite, otherwise 0: ∞ − ∞ would be NaN."""
    return jnp.where(jnp.isfinite(maximum), maximum, 0.0)


def add_weights(sums: WeightSums, log_weights: jax.Array) -> WeightSums:
    """Adds a chunk of weights; the result does not depend on the chunks.

    m' = max(m, max_k l_k),  total' = e^{m − m'} total + Σ_k e^{l_k − m'}, and likewise the squares

    Args:
        sums: sums of the chunks before, [...].
        log_weights: l_k in nats, [K, ...], K >= 1; −∞ is a weight of 0.

    Returns:
        The sums including this chunk, [...].

    Reference:
        Milakov & Gimelshein 2018, Online normalizer calculation for softmax, arXiv 1805.02867,
        section 3.1.
    """
    maximum = jnp.maximum(sums.maximum, jnp.max(log_weights, axis=0))
    shift = _finite(maximum)
    # e^{m − m'} is 0 for the empty sums
    scale = jnp.exp(sums.maximum - shift)
    weights = jnp.exp(log_weights - shift[None])
    return WeightSums(
        maximum,
        scale * sums.total + jnp.sum(weights, axis=0),
        jnp.square(scale) * sums.squares + jnp.sum(jnp.square(weights), axis=0),
    )


def log_mean_weight(sums: WeightSums, num_samples: int) -> jax.Array:
    """The estimate of log p(x): log 1/K Σ_k w_k = log Σ_k exp(l_k) − log K.

    Args:
        sums: sums of all weights, [...].
        num_samples: K, the number of weights that were added, a scalar.

    Returns:
        [...] in nats; −∞ if all weights are 0.

    Reference:
        Burda et al. 2015, arXiv 1509.00519, eq. 8.
    """
    return _finite(sums.maximum) + jnp.log(sums.total) - jnp.log(jnp.float32(num_samples))


def effective_sample_size(sums: WeightSums) -> jax.Array:
    """The effective sample size of the weights: (Σ_k w_k)² / Σ_k w_k², from 1 to K.

    If it is near 1, one sample dominates, and the estimate of log p(x) is far too low.

    Args:
        sums: sums of all weights, [...].

    Returns:
        [...], a count; 0 if all weights are 0.

    Reference:
        Kong 1992, A note on importance sampling using standardized weights, University of Chicago
        technical report 348; Kish 1965, Survey Sampling.
    """
    some = sums.total > 0
    return jnp.where(some, jnp.square(sums.total) / jnp.where(some, sums.squares, 1.0), 0.0)


class Likelihoods(NamedTuple):
    """The estimates of N examples.

    Args:
        nll: −log p̂(x), [N], in nats.
        effective_samples: `effective_sample_size` of the K weights, [N].
        bits_per_dim: nll / (D log 2), [N]; NaN if p(x|z) is not the probability of discrete data:
            for a density, or for soft targets.
        num_known: D, the numbers of x that count, [N]; for text, its characters and the end.
    """

    nll: jax.Array
    effective_samples: jax.Array
    bits_per_dim: jax.Array
    num_known: jax.Array


class Estimate(NamedTuple):
    """Means over the examples, scalars.

    Args:
        nll: mean in nats per example.
        standard_error: standard error of that mean over the examples, in nats; not over the K
        samples.
        effective_samples: effective sample size of the K weights.
        bits_per_dim: NaN unless p(x|z) is the probability of discrete data for every example.
    """

    nll: jax.Array
    standard_error: jax.Array
    effective_samples: jax.Array
    bits_per_dim: jax.Array


@functools.partial(jax.jit, static_argnames=("preprocess", "num_samples", "num_rows"))
def sample(
    model,
    params,
    x: jax.Array,
    key: jax.Array,
    first_example=0,
    *,
    preprocess: Callable,
    num_samples: int = 5000,
    num_rows: int = 500,
) -> Likelihoods:
    """The importance-sampled negative log-likelihood of every example.

    The draws depend only on the key, the position of the example and the index of the sample: the
    first K of more samples are the same, and chunking changes the result only by rounding. For all
    runs of a sweep at once, use `jax.vmap` over model, params and key.

    Args:
        model: a `Model` whose variance is not "optimal": see `elbo.freeze_likelihood`. For a model
            with conditions [N, C], the estimate is −log p(x|c).
        params: its parameters.
        x: [N, *stored], N >= 1.
        key: PRNG key, scalar.
        first_example: position of x[0], a scalar, if x is a block of the data; or of each row.
        preprocess: (stored [B, *stored], key) to [B, *shape].
        num_samples: K >= 1.
        num_rows: rows of z drawn and decoded at a time: part of an example's samples, or those of
            several examples; limits the memory. The default fits the cache of a CPU; use more on a
            GPU, such as 50,000.

    Returns:
        `Likelihoods`.

    Raises:
        UsageError: a number is below 1, or the variance is that of each batch.

    Reference:
        Burda et al. 2015, arXiv 1509.00519, eq. 8.
    """
    if num_samples < 1 or num_rows < 1:
        raise UsageError(f"num_samples={num_samples}, num_rows={num_rows}: must be at least 1")
    require_density(model)
    prior = model.prior(params)
    num_blocks, num_left = divmod(num_samples, SAMPLES_PER_KEY)

    def one(inputs):
        """(x [*stored], position [], c) of one example to (sums [], is p a mass [], D [])."""
        stored, index, condition = inputs
        own = model if condition is None else model.replace(condition=condition[None])
        data, z_key = example_and_key(preprocess, key, stored, index)
        posterior = own.encode(params, data)

        def log_weights(drawn):
            """l = log p(x|z) + log p(z) − log q(z|x): z [k, L], log q [k] or None, to [k]."""
            z, log_q = drawn
            log_prob = log_likelihood(own, params, z, data)
            log_q = posterior.log_prob(z) if log_q is None else log_q
            return log_prob + prior.log_prob(z) - log_q

        def add_block(sums, block, size=SAMPLES_PER_KEY):
            # always draw the whole block, so that its first draws do not depend on how many are
            # used
            drawn = rates.draw(posterior, jax.random.fold_in(z_key, block), SAMPLES_PER_KEY)
            drawn = jax.tree.map(lambda leaf: leaf[:size, 0], drawn)
            return add_weights(sums, _by_rows(log_weights, drawn, min(num_rows, size))), None

        sums = empty_sums()
        if num_blocks:
            sums, _ = jax.lax.scan(add_block, sums, jnp.arange(num_blocks))
        if num_left:
            sums, _ = add_block(sums, num_blocks, num_left)
        likelihood = model.likelihood
        return sums, likelihood.is_mass(data)[0], likelihood.num_known(data)[0]

    sums, is_mass, num_known = jax.lax.map(
        one,
        (x, positions_of(first_example, len(x)), model.condition),
        batch_size=max(1, num_rows // SAMPLES_PER_KEY),
    )
    nll = -log_mean_weight(sums, num_samples)
    bits = nll / (num_known * math.log(2))
    bits = jnp.where(is_mass, bits, jnp.nan)
    return Likelihoods(nll, effective_sample_size(sums), bits, num_known)


def _by_rows(function: Callable, drawn: Any, num_rows: int) -> jax.Array:
    """A function of rows, pytrees of [k, …], that gives [k]: so many rows at a time."""
    size = len(jax.tree.leaves(drawn)[0])
    end = size - size % num_rows
    chunks = jax.tree.map(lambda leaf: leaf[:end].reshape(-1, num_rows, *leaf.shape[1:]), drawn)
    values = jax.lax.map(function, chunks).reshape(-1)
    if end < size:
        values = jnp.append(values, function(jax.tree.map(lambda leaf: leaf[end:], drawn)))
    return values


def summarize(likelihoods: Likelihoods) -> Estimate:
    """Means over all examples.

    Args:
        likelihoods: results for N examples, [N] each; blocks may be concatenated.

    Returns:
        `Estimate`.
    """
    return Estimate(
        *mean_and_error_of_traced(likelihoods.nll),
        jnp.mean(likelihoods.effective_samples),
        jnp.mean(_bits(likelihoods)),
    )


def _bits(likelihoods: Likelihoods):
    """Bits per number, [N]; their mean is Σ nll / (Σ D log 2): longer examples weigh more."""
    return likelihoods.bits_per_dim * (likelihoods.num_known / likelihoods.num_known.mean())


def evaluate(
    model,
    params,
    x: jax.Array,
    key: jax.Array,
    *,
    preprocess: Callable,
    num_samples: int = 5000,
    num_rows: int = 500,
) -> Estimate:
    """The mean importance-sampled negative log-likelihood of x: `sample`, then `summarize`.

    Args:
        model, params, x, key, preprocess, num_samples, num_rows: see `sample`; x is [N, *stored].

    Returns:
        `Estimate`, scalars.

    Raises:
        UsageError: a number is below 1, or the variance is that of each batch.
    """
    return summarize(
        sample(
            model,
            params,
            x,
            key,
            preprocess=preprocess,
            num_samples=num_samples,
            num_rows=num_rows,
        )
    )


def _without_z(subject) -> dict[str, np.ndarray]:
    """The negative log-likelihood under the best model that ignores z, [N], if there is one."""
    score = collapse.floor_of(subject) if subject.size("train") else None
    if score is None:
        return {}

    def without(params, stored, positions):
        del params
        return -score(subject.inputs(stored, positions))

    return {"nll_without_z": subject.over(without)}


def measure(subject, *, num_samples: int = 5000, num_rows: int = 500) -> dict:
    """The importance-sampled likelihood of the test split.

    Args:
        subject: a `vae_jax.evaluation.subject.Subject`.
        num_samples, num_rows: see `sample`, scalars.

    Returns:
        The entries of `DEFINITIONS`, scalars, with standard errors; without `bits_per_dim` if
            p(x|z) is not a probability, and without `nll_without_z` if there is no such model, see
            `collapse.floor_of`, or no training row. For a conditional model it is that of p(x|c).

    Raises:
        NotApplicableError: the posterior is a point, or the model infers its own condition.
    """
    if not subject.model.latent.has_prior:
        raise NotApplicableError("the code has no density: there is no p(x)")
    if isinstance(subject.model.latent, latents.Quantized):
        raise NotApplicableError(
            "q(z|x) is one code, whatever is sampled gives the ELBO: see the objective's"
        )

    def estimate(params, stored, positions):
        x, model = subject.density(stored)
        return sample(
            model,
            params,
            x,
            subject.key,
            positions,
            preprocess=subject.preprocess,
            num_samples=num_samples,
            num_rows=num_rows,
        )

    # a block takes seconds, and the memory of `num_rows` decoded rows
    found = subject.over(estimate, num_rows=100)
    values = {
        "nll": found.nll,
        **_without_z(subject),
        "effective_samples": found.effective_samples,
        "bits_per_dim": _bits(found),
    }
    result: dict = {"num_examples": len(found.nll), "num_samples": num_samples}
    if subject.model.num_conditions:
        result["given"] = "the condition of each example"
    for name, each in values.items():
        if np.isfinite(each).all():
            result[name], result[f"{name}_standard_error"] = mean_and_error(each)
    if "bits_per_dim" in result and np.ptp(found.num_known) > 0:
        # Σ nll / (Σ D log 2): a longer example has more nats and weighs more
        nats, num = np.float64(found.nll), np.float64(found.num_known) * math.log(2)
        _, result["bits_per_dim_standard_error"] = ratio_and_error(nats, num)
    return result
