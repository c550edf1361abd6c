"""Annealed importance sampling: log p(x) if one importance distribution is too far from p(z|x).

A chain moves from an initial density f_0 (the prior, or the posterior q(z|x)) to the target
f_1(z) = p(x, z) through f_β = f_0^(1−β) f_1^β, 0 = β_0 < … < β_T = 1, by transitions that leave
each f_β invariant. Its weight

log w = Σ_{t=1..T} (β_t − β_{t−1}) [log f_1(z_{t−1}) − log f_0(z_{t−1})]

has mean p(x), so the log of a mean of C weights is below log p(x) in expectation. If the model drew
x from a z, this z is an exact sample of p(z|x). The chain run backwards from there estimates
1/p(x), and minus its log is above log p(x). Together they bound log p(x) from both sides.

The first functions only need densities, as functions of z [C, B, L] for C chains of B examples;
`sample` and `sandwich` take a `Model`.

Reference: Neal 2001, Annealed importance sampling, arXiv physics/9803008; Wu, Burda, Salakhutdinov
& Grosse 2017, On the quantitative analysis of decoder-based generative models, arXiv 1611.04273;
Grosse, Ghahramani & Adams 2015, Sandwiching the marginal likelihood using bidirectional Monte
Carlo, arXiv 1511.02543.
"""

import functools
import zlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp

from vae_jax import distributions
from vae_jax.blocks import by_blocks
from vae_jax.errors import UsageError
from vae_jax.evaluation import nll
from vae_jax.evaluation._cost import Cost
from vae_jax.evaluation._shared import (
    example_and_key,
    keys_of_example,
    log_likelihood,
    mean_and_error,
    mean_and_error_of_traced,
    positions_of,
    require_at_least,
    require_density,
)

__all__ = [
    "COST",
    "DEFINITIONS",
    "INITIALS",
    "JITTER",
    "SCHEDULES",
    "TARGET_ACCEPTANCE",
    "TUNING_CHAINS",
    "Annealed",
    "Bounds",
    "Likelihoods",
    "Point",
    "anneal",
    "evaluate",
    "evaluate_sandwich",
    "leapfrog",
    "locate",
    "log_density",
    "measure",
    "sample",
    "sandwich",
    "simulate",
    "summarize",
    "summarize_sandwich",
    "temperatures",
    "transition",
    "tune",
]


def _passes(num_examples: int, settings: Mapping[str, Any]) -> float:
    """How often codes are decoded, a gradient counted as two more passes."""
    num = min(num_examples, settings["max_examples"]) + 2 * settings["num_simulated"]
    per_example = settings["num_chains"] * settings["num_temperatures"] * settings["num_leapfrog"]
    return 3.0 * num * per_example


COST = Cost(place=14, start=10.0, passes=_passes)

DEFINITIONS = {
    "num_examples": "N, the examples of the test split",
    "num_simulated": "the examples that were drawn from the model to hold log p(x) from both sides",
    "num_chains": "C, the chains of each example",
    "num_temperatures": "T, the distributions between the first one and p(x, z)",
    "nll": "−log of the mean weight of C chains, in nats; above −log p(x) in expectation",
    "effective_samples": "how many equal weights would estimate as well, of C",
    "acceptance": "mean probability that a transition is accepted",
    "simulated_lower": "log p(x) of drawn examples from below, in nats",
    "simulated_upper": "the same from above, one exact sample among the C chains",
    "simulated_gap": "the difference: in expectation at least the error of either bound",
    "simulated_gap_single": "the same with the C chains that run backwards from the exact sample",
}
"""The meaning of each entry of `measure`; `name_standard_error` is the error of `name`."""

TARGET_ACCEPTANCE = 0.65
"""The target share of accepted proposals (a scalar) for the step sizes.

Reference: Beskos et al. 2013, Optimal tuning of the hybrid Monte Carlo algorithm, arXiv 1001.4460.
"""

TUNING_CHAINS = 4
"""Chains of the preliminary run that finds the step sizes, a count per example."""

JITTER = 0.2
"""Each transition scales its step by a random factor between 1 − this and 1 + this (a scalar).

Without it, a trajectory whose length is the period of a Gaussian would return to its start.
Reference: Neal 2011, MCMC using Hamiltonian dynamics, arXiv 1206.1901, section 3.2.
"""

INITIALS = ("posterior", "prior")
"""Initial distributions of chains: q(z|x) or p(z)."""

SCHEDULES = ("sigmoid", "linear")
"""Spacings of the temperatures."""

_GAIN = 0.3
_SIGMOID_WIDTH = 4.0


def temperatures(num_temperatures: int, schedule: str = "sigmoid") -> jax.Array:
    """The inverse temperatures from 0 to 1.

    linear: β_t = t/T;  sigmoid: β_t = [σ(δ(2t/T − 1)) − σ(−δ)] / [σ(δ) − σ(−δ)],  δ = 4

    Args:
        num_temperatures: T >= 1, a count of steps.
        schedule: one of `SCHEDULES`; the sigmoid takes small steps at both ends.

    Returns:
        [T + 1], increasing, 0 first and 1 last.

    Raises:
        UsageError: the number is below 1, or there is no such schedule.

    Reference:
        Grosse et al. 2015, arXiv 1511.02543, section 5; Wu et al. 2017, arXiv 1611.04273,
        section 4.
    """
    if num_temperatures < 1:
        raise UsageError(f"num_temperatures={num_temperatures}: must be at least 1")
    if schedule not in SCHEDULES:
        raise UsageError(f"schedule={schedule}: must be one of {', '.join(SCHEDULES)}")
    linear = jnp.linspace(0.0, 1.0, num_temperatures + 1)
    if schedule == "linear":
        return linear
    values = jax.nn.sigmoid(_SIGMOID_WIDTH * (2 * linear - 1))
    first, last = values[:1], values[-1:]
    return ((values - first) / (last - first)).at[-1].set(1.0)


# ------------------------------------------------------------------ transitions


class Point(NamedTuple):
    """Positions of chains, and both log-densities with their gradients there.

    Args:
        z: [C, B, L].
        log_initial: log f_0(z), [C, B], in nats.
        log_target: log f_1(z), [C, B], in nats.
        initial_slope: ∇ log f_0(z), [C, B, L].
        target_slope: ∇ log f_1(z), [C, B, L].
    """

    z: jax.Array
    log_initial: jax.Array
    log_target: jax.Array
    initial_slope: jax.Array
    target_slope: jax.Array


def locate(log_initial: Callable, log_target: Callable, z: jax.Array) -> Point:
    """Evaluates both densities and their gradients at z.

    Args:
        log_initial: log f_0, [C, B, L] to [C, B].
        log_target: log f_1, likewise; it need not be normalized.
        z: [C, B, L].

    Returns:
        `Point`.
    """
    chex.assert_rank(z, 3)
    values, slopes = [], []
    for function in (log_initial, log_target):
        value, pull_back = jax.vjp(function, z)
        chex.assert_shape(value, z.shape[:-1])
        values.append(value)
        slopes += pull_back(jnp.ones_like(value))
    return Point(z, *values, *slopes)


def log_density(point: Point, beta) -> jax.Array:
    """log f_β(z) = (1 − β) log f_0(z) + β log f_1(z), without its constant.

    Args:
        point: positions of C chains for B examples.
        beta: β from 0 to 1, a scalar.

    Returns:
        [C, B] in nats.
    """
    return (1 - beta) * point.log_initial + beta * point.log_target


def _slope(point: Point, beta) -> jax.Array:
    """∇ log f_β(z), [C, B, L]."""
    return (1 - beta) * point.initial_slope + beta * point.target_slope


def leapfrog(
    move: Callable, point: Point, momentum: jax.Array, beta, step: jax.Array, num_leapfrog: int
) -> tuple[Point, jax.Array]:
    """Simulates the Hamiltonian −log f_β(z) + ½‖p‖² for a number of steps.

    p ← p + ½ε ∇log f_β(z);  z ← z + ε p;  p ← p + ½ε ∇log f_β(z)

    It preserves volume, and is reversible: from the end with −p it leads back to the start.

    Args:
        move: z [C, B, L] to `Point`; `locate` with its densities bound.
        point: the start.
        momentum: p, [C, B, L].
        beta: β, a scalar.
        step: ε, [C, B, L]: ratios between dimensions act as a diagonal preconditioner.
        num_leapfrog: number of steps, one gradient each, >= 1.

    Returns:
        (`Point`, p) at the end.

    Reference:
        Neal 2011, MCMC using Hamiltonian dynamics, arXiv 1206.1901, eq. 2.28-2.30 and section 4.1.
    """

    def one(_, carry):
        point, momentum = carry
        point = move(point.z + step * momentum)
        return point, momentum + step * _slope(point, beta)

    momentum = momentum + 0.5 * step * _slope(point, beta)
    point, momentum = jax.lax.fori_loop(0, num_leapfrog, one, (point, momentum))
    # two half steps between positions are one full step; the last is half a step too long
    return point, momentum - 0.5 * step * _slope(point, beta)


def _draws(keys, index, latent_dim):
    """Momentum [C, B, L], jitter and a uniform number, [C, B], for a transition.

    The draws of a dimension do not depend on how many dimensions there are.
    """

    def one(key):
        # one call for all three: each call adds seconds of compilation
        shape, above = (2 + latent_dim,), jnp.nextafter(jnp.float32(-1), jnp.float32(0))
        values = jax.random.uniform(jax.random.fold_in(key, index), shape, minval=above, maxval=1.0)
        return (
            jnp.sqrt(jnp.float32(2)) * jax.lax.erf_inv(values[2:]),
            1 + JITTER * values[0],
            0.5 * (1 + values[1]),
        )

    return jax.vmap(jax.vmap(one))(keys)


def _chain_keys(keys, num_chains):
    """One key per chain and example: [B] to [C, B]."""
    over_examples = jax.vmap(jax.random.fold_in, (0, None))
    return jax.vmap(over_examples, (None, 0))(keys, jnp.arange(num_chains))


def transition(
    move: Callable,
    point: Point,
    keys: jax.Array,
    index,
    beta,
    step: jax.Array,
    num_leapfrog: int,
) -> tuple[Point, jax.Array]:
    """One step of Hamiltonian Monte Carlo, reversible with respect to f_β.

    It draws a momentum p ~ N(0, I), runs `leapfrog`, and accepts the end with probability min(1,
    exp(H_start − H_end)), H = −log f_β(z) + ½‖p‖²; 0 if H_end is NaN.

    Args:
        move: z [C, B, L] to `Point`.
        point: positions of the chains.
        keys: PRNG keys of the chains, [C, B].
        index: number of the transition, a scalar, which selects its draws.
        beta: β, a scalar.
        step: ε, [B, L].
        num_leapfrog: leapfrog steps, >= 1.

    Returns:
        (`Point`, probability of acceptance [C, B]).

    Reference:
        Duane et al. 1987, Hybrid Monte Carlo, Physics Letters B 195; Neal 2011, arXiv 1206.1901,
        section 3.
    """
    momentum, jitter, uniform = _draws(keys, index, point.z.shape[-1])
    step = jitter[:, :, None] * step[None]
    proposal, momentum_end = leapfrog(move, point, momentum, beta, step, num_leapfrog)

    def minus_energy(point, momentum):
        return log_density(point, beta) - 0.5 * jnp.sum(jnp.square(momentum), axis=-1)

    gain = minus_energy(proposal, momentum_end) - minus_energy(point, momentum)
    # reject a trajectory that overflows
    probability = jnp.where(jnp.isnan(gain), 0.0, jnp.exp(jnp.minimum(gain, 0.0)))
    accepted = uniform < probability

    def choose(new, old):
        return jnp.where(jnp.expand_dims(accepted, range(2, new.ndim)), new, old)

    return jax.tree.map(choose, proposal, point), probability


# ------------------------------------------------------------------ chains


class Annealed(NamedTuple):
    """The results of C chains for B examples.

    Args:
        log_weights: log w, [C, B], in nats.
        acceptance: mean acceptance probability over the transitions, [C, B]; NaN if there are none.
        z: final positions, [C, B, L].
    """

    log_weights: jax.Array
    acceptance: jax.Array
    z: jax.Array


def anneal(
    log_initial: Callable,
    log_target: Callable,
    z: jax.Array,
    keys: jax.Array,
    betas: jax.Array,
    step_sizes: jax.Array,
    scale: Callable,
    *,
    num_leapfrog: int,
) -> Annealed:
    """Runs chains along the temperatures, up or down.

    log w = Σ_{t=1..T} (β_t − β_{t−1}) [log f_1(z_{t−1}) − log f_0(z_{t−1})],
    z_t from z_{t−1} by a `transition` at β_t, 0 < t < T

    Upwards from z ~ f_0, E[w] = Z_1/Z_0. Downwards (β from 1 to 0) from z ~ f_1 it is the same
    chain in reverse, because its transitions are reversible, and E[w] = Z_0/Z_1. Both hold if step
    sizes and scales do not depend on these chains. With T = 1 there is no transition, and w is the
    plain importance weight.

    Args:
        log_initial: log f_0, [C, B, L] to [C, B].
        log_target: log f_1, likewise.
        z: initial positions of the chains, [C, B, L].
        keys: PRNG keys of the examples, [B]: a chain's draws depend on its key and its number.
        betas: [T + 1], monotone.
        step_sizes: ε_t of the transition at β_t, 0 < t < T, [T − 1, B].
        scale: β to the length of a unit step in each dimension, [B, L]; 0 freezes a dimension.
        num_leapfrog: leapfrog steps per transition, a count.

    Returns:
        `Annealed`.

    Reference:
        Neal 2001, arXiv physics/9803008, eq. 7-11; Grosse et al. 2015, arXiv 1511.02543, section 3.
    """
    chex.assert_shape(step_sizes, (betas.size - 2, z.shape[1]))
    keys = _chain_keys(keys, z.shape[0])
    move = functools.partial(locate, log_initial, log_target)
    increments = jnp.diff(betas)

    def one(carry, inputs):
        point, log_weights, acceptance = carry
        index, beta, increment, step_size = inputs
        step = step_size[:, None] * scale(beta)
        point, probability = transition(move, point, keys, index, beta, step, num_leapfrog)
        log_weights = log_weights + increment * (point.log_target - point.log_initial)
        return (point, log_weights, acceptance + probability), None

    point = move(z)
    log_weights = increments[0] * (point.log_target - point.log_initial)
    carry = point, log_weights, jnp.zeros_like(log_weights)
    inputs = jnp.arange(betas.size - 2), betas[1:-1], increments[1:], step_sizes
    (point, log_weights, acceptance), _ = jax.lax.scan(one, carry, inputs)
    return Annealed(log_weights, acceptance / (betas.size - 2 or jnp.nan), point.z)


def tune(
    log_initial: Callable,
    log_target: Callable,
    z: jax.Array,
    keys: jax.Array,
    betas: jax.Array,
    scale: Callable,
    *,
    num_leapfrog: int,
) -> jax.Array:
    """Finds step sizes for each example and temperature, in a preliminary run.

    log ε_{t+1} = log ε_t + 0.3 (mean over the chains of the acceptance at t − `TARGET_ACCEPTANCE`)

    A chain that adapts its own steps leaves no density invariant, and its weight is biased. So the
    chains here are discarded: given x, the steps are independent of the chains that use them.

    Args:
        log_initial, log_target, z, keys, betas, scale, num_leapfrog: see `anneal`; z is [C, B, L],
            and the keys must be different from those of `anneal`.

    Returns:
        [T − 1, B].

    Reference:
        Wu et al. 2017, arXiv 1611.04273, section 4 (step sizes tuned on a preliminary run);
        Andrieu & Thoms 2008, A tutorial on adaptive MCMC, Statistics and Computing 18, section 4.
    """
    keys = _chain_keys(keys, z.shape[0])
    move = functools.partial(locate, log_initial, log_target)

    def one(carry, inputs):
        point, log_step = carry
        index, beta = inputs
        step = jnp.exp(log_step)[:, None] * scale(beta)
        point, probability = transition(move, point, keys, index, beta, step, num_leapfrog)
        gain = _GAIN * (jnp.mean(probability, axis=0) - TARGET_ACCEPTANCE)
        return (point, log_step + gain), jnp.exp(log_step)

    # in L dimensions of unit scale, ε ∝ L^(−1/4), Beskos et al. 2013
    num_free = jnp.sum(scale(betas[0]) > 0, axis=-1)
    start = -0.25 * jnp.log(jnp.maximum(num_free, 1).astype(z.dtype))
    inputs = jnp.arange(betas.size - 2), betas[1:-1]
    _, step_sizes = jax.lax.scan(one, (move(z), start), inputs)
    return step_sizes


# ------------------------------------------------------------------ models


class Likelihoods(NamedTuple):
    """The estimates of N examples.

    Args:
        nll: −log of the mean weight, [N], in nats: above −log p(x) in expectation.
        effective_samples: `nll.effective_sample_size` of the C weights, [N].
        acceptance: mean acceptance probability, [N]; NaN if there are no transitions.
    """

    nll: jax.Array
    effective_samples: jax.Array
    acceptance: jax.Array


class Bounds(NamedTuple):
    """Bounds on log p(x) for N examples that the model drew, [N] each, in nats.

    Args:
        lower: log of the mean weight of C chains; below log p(x) in expectation.
        upper: −log of the mean of 1/w over C chains run backwards from the exact sample; above log
            p(x) in expectation.
        joint_upper: log of the mean of C weights: one of a chain run backwards, the others of
            `lower`; averaged over which of the C is replaced. Above log p(x) in expectation, and
            usually tighter: the exact sample counts as one of C.
        effective_samples: effective sample size of the weights of `lower`.
        acceptance: mean acceptance probability of both directions; NaN if there are no transitions.
    """

    lower: jax.Array
    upper: jax.Array
    joint_upper: jax.Array
    effective_samples: jax.Array
    acceptance: jax.Array


class _Problem(NamedTuple):
    """The two densities of B examples, chains drawn from the initial one, and the step scale."""

    log_initial: Callable
    log_target: Callable
    draw: Callable
    scale: Callable


def _problem(model, params, x, initial) -> _Problem:
    """Sets up the annealing for x [B, *shape]."""
    prior, posterior = model.prior(params), model.encode(params, x)
    start = posterior if initial == "posterior" else prior
    if start is prior and not hasattr(prior, "deviation"):
        raise UsageError(
            f"initial=prior: p(z) is of type {type(prior).__name__}, which has no deviation to "
            "scale the steps by: give initial=posterior"
        )

    def log_target(z):
        # log p(x, z) = log p(x|z) + log p(z)
        return log_likelihood(model, params, z, x[None]) + prior.log_prob(z)

    def draw(keys, num_chains):
        if start is prior:
            return jax.vmap(lambda key: prior.sample(key, num_chains), out_axes=1)(keys)
        sample = functools.partial(type(posterior).sample, num_samples=num_chains)
        return jax.vmap(sample, out_axes=1)(posterior, keys)

    # A masked dimension stays fixed: the model has only the other dimensions.
    free = jnp.broadcast_to(model.per_latent(1.0), (*x.shape[:1], model.latent_dim))

    def precision(distribution):
        if isinstance(distribution, distributions.DiagonalGaussian):
            inverse = jnp.exp(-distributions.bound_logvar(distribution.logvar))
        else:
            # a prior of another type gives its deviation as a scale: E[w] does not depend on the
            # scale
            inverse = 1 / jnp.square(distribution.deviation)
        return jnp.broadcast_to(inverse, free.shape)

    def scale(beta):
        # for Gaussian f_0 and f_1, f_β has the precision (1 − β)/s_0² + β/s_1²
        mixed = (1 - beta) * precision(start) + beta * precision(posterior)
        return free / jnp.sqrt(mixed)

    return _Problem(start.log_prob, log_target, draw, scale)


def _check(model, initial, **numbers):
    require_at_least(1, **numbers)
    if initial not in INITIALS:
        raise UsageError(f"initial={initial}: must be one of {', '.join(INITIALS)}")
    require_density(model)


def _sums(log_weights):
    return nll.add_weights(nll.empty_sums(log_weights.shape[1:]), log_weights)


def _keys(key, positions):
    """Two keys per example, [2, B]: one for its data, one for its chains."""
    return jax.vmap(keys_of_example, (None, 0), out_axes=1)(key, positions)


_STATIC = (
    "num_chains",
    "num_temperatures",
    "num_leapfrog",
    "initial",
    "schedule",
    "num_rows",
)


@functools.partial(jax.jit, static_argnames=("preprocess", *_STATIC))
def sample(
    model,
    params,
    x: jax.Array,
    key: jax.Array,
    first_example=0,
    *,
    preprocess: Callable,
    num_chains: int = 8,
    num_temperatures: int = 250,
    num_leapfrog: int = 2,
    initial: str = "posterior",
    schedule: str = "linear",
    num_rows: int = 500,
) -> Likelihoods:
    """The negative log-likelihood of every example by annealed importance sampling.

    The draws of a chain depend only on the key, the position of the example and the number of the
    chain: chunking changes the result only by rounding. Step sizes are found with preliminary
    chains (`tune`). With the same key, `nll.sample` uses the same binarization.

    Args:
        model: a `Model` whose variance is not "optimal": see `elbo.freeze_likelihood`.
        params: its parameters.
        x: [N, *stored], N >= 1.
        key: PRNG key, scalar.
        first_example: position of x[0], a scalar, if x is a block of the data; or of each row.
        preprocess: (stored [B, *stored], key) to [B, *shape].
        num_chains: C, chains per example.
        num_temperatures: T; 1 is importance sampling from the initial distribution.
        num_leapfrog: leapfrog steps per transition, one gradient of the decoder each; for the same
            number of gradients, more temperatures are usually better than longer transitions.
        initial: one of `INITIALS`. From q(z|x) fewer temperatures are enough, unless it is far from
            p(z|x) or much narrower; from the prior, the encoder only sets the scale of the steps.
        schedule: one of `SCHEDULES`; from the prior, "sigmoid" is the usual choice.
        num_rows: rows of z decoded at a time, C for each of several examples; limits the memory.
            The default fits the cache of a CPU; use more on a GPU, such as 50,000.
    Returns:
        `Likelihoods`.

    Raises:
        UsageError: a number is below 1, a name is unknown, or the variance is that of each batch.

    Reference:
        Wu et al. 2017, arXiv 1611.04273, section 3.
    """
    _check(
        model,
        initial,
        num_chains=num_chains,
        num_leapfrog=num_leapfrog,
        num_rows=num_rows,
    )
    betas = temperatures(num_temperatures, schedule)
    positions = positions_of(first_example, len(x))

    def chunk(rows):
        shown = functools.partial(example_and_key, preprocess, key)
        data, z_keys = jax.vmap(shown)(x[rows], positions[rows])
        problem = _problem(model, params, data[:, 0], initial)
        start = _prepare(problem, z_keys, betas, num_chains, num_leapfrog)
        chains = _run(problem, num_leapfrog, start.z, start.keys[0], betas, start.step_sizes)
        sums = _sums(chains.log_weights)
        return Likelihoods(
            -nll.log_mean_weight(sums, num_chains),
            nll.effective_sample_size(sums),
            jnp.mean(chains.acceptance, axis=0),
        )

    return by_blocks(chunk, jnp.arange(x.shape[0]), max(1, num_rows // num_chains))


class _Start(NamedTuple):
    """Initial positions of chains [C, B, L], two keys per example [2, B], steps [T − 1, B]."""

    z: jax.Array
    keys: jax.Array
    step_sizes: jax.Array


def _prepare(problem, keys, betas, num_chains, num_leapfrog) -> _Start:
    """Draws the chains, and finds step sizes with other chains, which are discarded."""
    draw_keys, tune_keys, *keys = jnp.moveaxis(
        jax.vmap(lambda key: jax.random.split(key, 4))(keys), 1, 0
    )
    z = problem.draw(draw_keys, TUNING_CHAINS + num_chains)
    step_sizes = jnp.zeros((0, z.shape[1]))
    if betas.size > 2:
        step_sizes = tune(
            problem.log_initial,
            problem.log_target,
            z[:TUNING_CHAINS],
            tune_keys,
            betas,
            problem.scale,
            num_leapfrog=num_leapfrog,
        )
    return _Start(z[TUNING_CHAINS:], jnp.stack(keys), step_sizes)


def _run(problem, num_leapfrog, z, keys, betas, step_sizes) -> Annealed:
    """Applies `anneal` to a problem."""
    densities = problem.log_initial, problem.log_target
    return anneal(*densities, z, keys, betas, step_sizes, problem.scale, num_leapfrog=num_leapfrog)


def summarize(likelihoods: Likelihoods) -> dict[str, jax.Array]:
    """Means over all examples.

    Args:
        likelihoods: results for N examples, [N] each; blocks may be concatenated.

    Returns:
        Scalars: `nll` and `standard_error` (of that mean over the examples) in nats,
        `effective_samples`, `acceptance`.
    """
    mean, standard_error = mean_and_error_of_traced(likelihoods.nll)
    return {
        "nll": mean,
        "standard_error": standard_error,
        "effective_samples": jnp.mean(likelihoods.effective_samples),
        "acceptance": jnp.mean(likelihoods.acceptance),
    }


def evaluate(
    model,
    params,
    x: jax.Array,
    key: jax.Array,
    *,
    preprocess: Callable,
    num_chains: int = 8,
    num_temperatures: int = 250,
    **settings,
) -> dict:
    """The mean negative log-likelihood of x by annealed importance sampling.

    Args:
        model, params, x, key, preprocess, num_chains, num_temperatures, settings: see `sample`; x
            is [N, *stored].

    Returns:
        The result of `summarize`, scalars, with `num_chains` and `num_temperatures`.

    Raises:
        UsageError: a number is below 1, a name is unknown, or the variance is that of each batch.
    """
    likelihoods = sample(
        model,
        params,
        x,
        key,
        preprocess=preprocess,
        num_chains=num_chains,
        num_temperatures=num_temperatures,
        **settings,
    )
    numbers = {"num_chains": num_chains, "num_temperatures": num_temperatures}
    return {**summarize(likelihoods), **numbers}


def simulate(
    model, params, key: jax.Array, first_example=0, *, num_examples: int = 100
) -> tuple[jax.Array, jax.Array]:
    """The examples that `sandwich` draws, for use with other estimates.

    z ~ p(z), x ~ p(x|z): z is an exact sample of p(z|x)

    Args:
        model, params, key, first_example, num_examples: see `sandwich`.

    Returns:
        (z [N, L], x [N, *shape]).
    """
    keys, _ = _keys(key, first_example + jnp.arange(num_examples))
    return _simulate(model, params, keys)


def _simulate(model, params, keys):
    """(z [B, L], x [B, *shape]) of the keys [B]."""

    def one(key):
        z_key, x_key = jax.random.split(key)
        z = model.prior(params).sample(z_key, 1)
        return z[0], model.sample_given(params, x_key, z)[0][0]

    return jax.vmap(one)(keys)


@functools.partial(jax.jit, static_argnames=("num_examples", *_STATIC))
def sandwich(
    model,
    params,
    key: jax.Array,
    first_example=0,
    *,
    num_examples: int = 100,
    num_chains: int = 8,
    num_temperatures: int = 250,
    num_leapfrog: int = 2,
    initial: str = "posterior",
    schedule: str = "linear",
    num_rows: int = 500,
) -> Bounds:
    """Bounds log p(x) from both sides, for examples drawn from the model (bidirectional).

    z ~ p(z), x ~ p(x|z): then z is an exact sample of p(z|x). C chains run backwards from it, with
    the same temperatures and step sizes as those that run forwards.

    Args:
        model: a `Model` whose variance is not "optimal": see `elbo.freeze_likelihood`.
        params: its parameters.
        key: PRNG key, scalar: an example and its chains depend on it and the position only.
        first_example: position of the first example, a scalar, if work is split in blocks.
        num_examples: N, the number of examples to draw.
        num_chains, num_temperatures, num_leapfrog, initial, schedule, num_rows: see `sample`.

    Returns:
        `Bounds`, [N] each.

    Raises:
        UsageError: a number is below 1, a name is unknown, or the variance is that of each batch.

    Reference:
        Grosse, Ghahramani & Adams 2015, arXiv 1511.02543, section 3; for `joint_upper`: Brekelmans
        et al. 2022, Improving mutual information estimation with annealed and energy-based bounds,
        arXiv 2303.06992, section 3 (independent multi-sample AIS).
    """
    _check(
        model,
        initial,
        num_examples=num_examples,
        num_chains=num_chains,
        num_leapfrog=num_leapfrog,
        num_rows=num_rows,
    )
    betas = temperatures(num_temperatures, schedule)

    def chunk(positions):
        draw_keys, z_keys = _keys(key, first_example + positions)
        exact, data = _simulate(model, params, draw_keys)
        problem = _problem(model, params, data, initial)
        start = _prepare(problem, z_keys, betas, num_chains, num_leapfrog)
        # one after the other, so that both directions share one compiled program
        directions = (
            jnp.stack([start.z, jnp.broadcast_to(exact[None], start.z.shape)]),
            start.keys,
            jnp.stack([betas, betas[::-1]]),
            jnp.stack([start.step_sizes, start.step_sizes[::-1]]),
        )
        both = jax.lax.map(lambda direction: _run(problem, num_leapfrog, *direction), directions)
        up, down = (jax.tree.map(lambda leaf, i=i: leaf[i], both) for i in range(2))
        sums = _sums(up.log_weights)
        return Bounds(
            nll.log_mean_weight(sums, num_chains),
            -nll.log_mean_weight(_sums(down.log_weights), num_chains),
            _joint_upper(up.log_weights, -down.log_weights),
            nll.effective_sample_size(sums),
            jnp.mean(0.5 * (up.acceptance + down.acceptance), axis=0),
        )

    return by_blocks(chunk, jnp.arange(num_examples), max(1, num_rows // num_chains))


def _joint_upper(up, down):
    """mean_c log 1/C (w'_c + Σ_{d≠c} w_d) of weights w upwards and w' downwards, [C, B] to [B]."""

    def one(chain):
        own = jnp.arange(up.shape[0]) == chain
        mixed = jnp.where(own[:, None], down, up)
        return nll.log_mean_weight(_sums(mixed), up.shape[0])

    return jnp.mean(jax.lax.map(one, jnp.arange(up.shape[0])), axis=0)


def summarize_sandwich(bounds: Bounds) -> dict[str, jax.Array]:
    """Means over all examples.

    Args:
        bounds: results for N examples, [N] each; blocks may be concatenated.

    Returns:
        Scalars in nats: `lower`, `upper`, `joint_upper`, `gap` = upper − lower and `joint_gap`,
        each with its `…_standard_error` over the examples; `effective_samples`, `acceptance`. In
        expectation the gap is at least the error of either bound.
    """
    values = {name: getattr(bounds, name) for name in ("lower", "upper", "joint_upper")}
    values["gap"] = bounds.upper - bounds.lower
    values["joint_gap"] = bounds.joint_upper - bounds.lower
    result = {}
    for name, value in values.items():
        result[name], result[f"{name}_standard_error"] = mean_and_error_of_traced(value)
    result["effective_samples"] = jnp.mean(bounds.effective_samples)
    result["acceptance"] = jnp.mean(bounds.acceptance)
    return result


def evaluate_sandwich(
    model,
    params,
    key: jax.Array,
    *,
    num_examples: int = 100,
    num_chains: int = 8,
    num_temperatures: int = 250,
    **settings,
) -> dict:
    """Mean bounds on log p(x) over examples drawn from the model, and the gap between them.

    The gap bounds the error of `evaluate` on such examples. For real data it is informative only if
    the model resembles the data.

    Args:
        model, params, key, num_examples, num_chains, num_temperatures, settings: see `sandwich`.

    Returns:
        The result of `summarize_sandwich`, scalars, with `num_examples`, `num_chains` and
        `num_temperatures`.

    Raises:
        UsageError: a number is below 1, a name is unknown, or the variance is that of each batch.
    """
    bounds = sandwich(
        model,
        params,
        key,
        num_examples=num_examples,
        num_chains=num_chains,
        num_temperatures=num_temperatures,
        **settings,
    )
    return {
        **summarize_sandwich(bounds),
        "num_examples": num_examples,
        "num_chains": num_chains,
        "num_temperatures": num_temperatures,
    }


def measure(
    subject,
    *,
    num_chains: int = 8,
    num_temperatures: int = 250,
    num_leapfrog: int = 2,
    initial: str = "posterior",
    num_simulated: int = 100,
    max_examples: int = 1000,
) -> dict:
    """The likelihood of the test split by AIS, and bounds from both sides on simulated data.

    Args:
        subject: a `vae_jax.evaluation.subject.Subject`.
        num_chains, num_temperatures, num_leapfrog, initial: see `sample`.
        num_simulated: N of `sandwich`, a scalar.
        max_examples: the number of test examples to use, evenly spaced, a scalar.

    Returns:
        The entries of `DEFINITIONS`, scalars, with standard errors.
    """
    subject.require_gaussian_posterior()
    subject.require_unconditional()
    settings = {
        "num_chains": num_chains,
        "num_temperatures": num_temperatures,
        "num_leapfrog": num_leapfrog,
        "initial": initial,
        "schedule": "linear" if initial == "posterior" else "sigmoid",
    }

    def estimate(params, stored, positions):
        preprocess, key = subject.preprocess, subject.key
        return sample(
            subject.model, params, stored, key, positions, preprocess=preprocess, **settings
        )

    found = subject.over(estimate, num_rows=100, num_examples=max_examples)
    key = jax.random.fold_in(subject.key, zlib.crc32(b"ais"))
    bounds = sandwich(subject.model, subject.params, key, num_examples=num_simulated, **settings)
    values = {
        "nll": found.nll,
        "effective_samples": found.effective_samples,
        "acceptance": found.acceptance,
        "simulated_lower": bounds.lower,
        "simulated_upper": bounds.joint_upper,
        "simulated_gap": bounds.joint_upper - bounds.lower,
        "simulated_gap_single": bounds.upper - bounds.lower,
    }
    result: dict = {
        "num_examples": len(found.nll),
        "num_simulated": num_simulated,
        "num_chains": num_chains,
        "num_temperatures": num_temperatures,
    }
    for name, each in values.items():
        result[name], result[f"{name}_standard_error"] = mean_and_error(each)
    return result
