"""Posterior collapse: whether a model ignores z, and the score of a model that ignores z."""

import math
import zlib
from collections.abc import Callable
from typing import NamedTuple

import chex
import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np

from vae_jax import blocks, distributions, rates
from vae_jax.errors import UsageError
from vae_jax.evaluation._shared import mean_and_error, require_at_least, require_finite
from vae_jax.evaluation.elbo import COLLAPSE_RATE, active_units
from vae_jax.likelihoods import Bernoulli, Gaussian

__all__ = [
    "FLOOR_MARGIN",
    "MAX_TRAIN",
    "Collapse",
    "bernoulli_floor",
    "best_constant",
    "constant_floor",
    "diagnose",
    "elbo_and_floor",
    "floor_of",
    "gaussian_floor",
]

MAX_TRAIN = 20_000
"""Training examples for a floor, evenly spaced in the split (a count)."""

_MAX_FITTED = 2**23
"""Training values for a floor without a closed form, a count."""

_BLOCK_NUMBERS = 2**20
"""Of these, values at a time, a count."""

_RIDGE = 1e-4
"""Pull of outputs to those of the mean of the training data, in nats: a count that never occurs in
training would have the rate 0."""

FLOOR_MARGIN = 1.0
"""An ELBO at most this many nats (a scalar) above that of a model that ignores z counts as equal to
it."""


def bernoulli_floor(train_mean: jax.Array, x: jax.Array, *, clip: float = 1e-3) -> jax.Array:
    """The score of the best Bernoulli model that ignores z: log p(x) = Σ_d log Bern(x_d; p_d).

    Args:
        train_mean: p, the mean of each element over the training data, [*event].
        x: in [0, 1], [N, *event].
        clip: p is clamped to [clip, 1 − clip], a scalar, because a pixel that was never on in
            training may be on in the test data.

    Returns:
        [N] in nats; its mean is the ELBO of a collapsed model.
    """
    chex.assert_equal_shape([train_mean, x[0]])
    probability = jnp.clip(train_mean, clip, 1 - clip)
    logits = jnp.broadcast_to(jnp.log(probability) - jnp.log1p(-probability), x.shape)
    log_probs = distributions.bernoulli_log_prob(x, logits)
    return jnp.sum(log_probs.reshape(x.shape[0], -1), axis=1)


def gaussian_floor(train_mean: jax.Array, variance: jax.Array, x: jax.Array) -> jax.Array:
    """The score of a Gaussian model that ignores z: log p(x) = Σ_d log N(x_d; mean_d, variance_d).

    Args:
        train_mean: the mean of each element over the training data, [*event].
        variance: variance of the likelihood, a scalar or [*event]; the best is E (x − train_mean)²
            over the training data.
        x: [N, *event].

    Returns:
        [N] in nats; its mean is the ELBO of a collapsed model with that variance.
    """
    chex.assert_equal_shape([train_mean, x[0]])
    mean = jnp.broadcast_to(train_mean, x.shape)
    logvar = jnp.broadcast_to(jnp.log(variance), train_mean.shape)
    log_probs = distributions.gaussian_log_prob(x, mean, logvar)
    return jnp.sum(log_probs.reshape(x.shape[0], -1), axis=1)


def best_constant(likelihood, x: jax.Array) -> tuple[dict, jax.Array]:
    """The best model that ignores z: the likelihood's own parameters, and outputs for every row.

    They minimize the mean of −log p(x), from the outputs of the mean of x, by L-BFGS.

    Args:
        likelihood: one of `vae_jax.likelihoods`, a density or a probability of whole rows.
        x: training rows, [N, *event].

    Returns:
        (parameters as of `Likelihood.init`, outputs [*event] or [*event, num_outputs]).

    Reference:
        Byrd et al. 1995, A limited memory algorithm for bound constrained optimization.
    """
    import scipy.optimize

    # half a count of all rows, if there is none
    mean = jnp.mean(x, axis=0)
    mean = jnp.maximum(mean, 0.5 / len(x)) if likelihood.requires == "counts" else mean
    near = likelihood.outputs_near(mean)
    num_rows = max(1, _BLOCK_NUMBERS // near.size)
    begun = likelihood.begin(likelihood.init(x.shape[1:]), x)
    start, unflatten = jax.flatten_util.ravel_pytree((begun, near))

    @jax.jit
    def slope(values, x):
        def cost(values):
            own, outputs = unflatten(values)
            ridge = 0.5 * _RIDGE * jnp.sum(jnp.square(outputs - near))
            # gradients of a block are computed again, not kept
            score = jax.checkpoint(lambda rows: constant_floor(likelihood, own, outputs, rows))
            return ridge - jnp.mean(blocks.by_blocks(score, x, num_rows))

        return jax.value_and_grad(cost)(values)

    def of_numpy(values):
        value, gradient = slope(jnp.asarray(values, jnp.float32), x)
        return float(value), np.asarray(gradient, np.float64)

    found = scipy.optimize.minimize(
        of_numpy, np.asarray(start, np.float64), jac=True, method="L-BFGS-B"
    )
    return unflatten(jnp.asarray(found.x, jnp.float32))


def constant_floor(likelihood, own: dict, outputs: jax.Array, x: jax.Array) -> jax.Array:
    """The score of a model that ignores z: log p(x) with the same outputs for every row.

    Args:
        likelihood, own, outputs: see `best_constant`; outputs [*event] or [*event, num_outputs].
        x: [N, *event].

    Returns:
        [N] in nats; its mean is the ELBO of a collapsed model.
    """
    rows = jnp.broadcast_to(outputs, (len(x), *outputs.shape))
    return likelihood.log_prob(own, likelihood.sized(own, rows, x), x)


class Collapse(NamedTuple):
    """The diagnosis of posterior collapse, plain numbers (scalars).

    Args:
        num_dims: L.
        active_units: the number of active dimensions, see `elbo.active_units`.
        rate: mean rate in nats.
        num_top_dims, top_rate_share: the number of dimensions with the largest rates, and their
            share of the rate; None if their rates are unknown.
        mutual_information: I(x; z) in nats; None if it was not passed.
        collapse_rate, collapsed: the threshold in nats, and whether q(z|x) hardly depends on x.
        elbo_above_floor, elbo_above_floor_standard_error: the mean over examples of ELBO − floor,
            in nats, and its standard error; None if they were not passed.
        floor_margin, at_floor: the margin in nats, and whether the difference is within it; None
            likewise.
        verdict: the diagnosis in words, for one line of a report.
    """

    num_dims: int
    active_units: int
    rate: float
    mutual_information: float | None
    num_top_dims: int
    top_rate_share: float | None
    collapse_rate: float
    collapsed: bool
    elbo_above_floor: float | None
    elbo_above_floor_standard_error: float | None
    floor_margin: float
    at_floor: bool | None
    verdict: str


def diagnose(
    rate_per_dim: jax.Array | None,
    mean_variance: jax.Array,
    *,
    rate: float | None = None,
    mutual_information: float | None = None,
    elbo: jax.Array | None = None,
    floor: jax.Array | None = None,
    num_top_dims: int = 5,
    collapse_rate: float = COLLAPSE_RATE,
    floor_margin: float = FLOOR_MARGIN,
) -> Collapse:
    """Diagnoses posterior collapse.

    It separates two signs. I(x; z) shows whether q(z|x) depends on x; the ELBO minus its floor
    shows whether the decoder benefits. The rate is I(x; z) + KL(q(z) ‖ p(z)): a small rate bounds
    I(x; z), but a large one proves nothing, because a constant q(z|x) far from p(z) has a large
    rate, too.

    Args:
        rate_per_dim: mean rate of each latent dimension, [L], in nats; None if it is unknown.
        mean_variance: variance over the examples of the posterior mean, [L].
        rate: mean rate, a scalar in nats; None is the sum of those of the dimensions.
        mutual_information: I(x; z), a scalar in nats, see `latent_use`; or None. If it is None, a
            low rate or no active dimension counts as a collapse.
        elbo: ELBO of each example, [N], in nats; or None.
        floor: the score of a model that ignores z on the same examples, [N], in nats; or None. See
            `bernoulli_floor`, `gaussian_floor`.
        num_top_dims: number of dimensions that count as the top, a scalar; clamped to L.
        collapse_rate: I(x; z), or the rate, below this is a collapse, a scalar in nats.
        floor_margin: an ELBO at most this far above its floor counts as at the floor, a scalar in
        nats.

    Returns:
        `Collapse`.

    Raises:
        UsageError: a value is not finite, or one of `elbo` and `floor` is missing.

    Reference:
        Burda et al. 2015, arXiv 1509.00519, section 5.2 (active units); Lucas et al. 2019, arXiv
        1911.02469, on the meaning of posterior collapse.
    """
    chex.assert_rank(mean_variance, 1)
    require_finite(mean_variance=mean_variance)
    require_at_least(1, num_top_dims=num_top_dims)
    num_top_dims = min(num_top_dims, len(mean_variance))
    share = None
    if rate_per_dim is not None:
        chex.assert_equal_shape([rate_per_dim, mean_variance])
        require_finite(rate_per_dim=rate_per_dim)
        rates = np.sort(np.asarray(rate_per_dim, np.float64))[::-1]
        rate = float(rates.sum()) if rate is None else rate
        share = float(rates[:num_top_dims].sum() / rate) if rate > 0 else 0.0
    num_active = int(np.sum(active_units(mean_variance)))
    above, error = _above_floor(elbo, floor)
    bounds = [rate] if mutual_information is None else [mutual_information, rate]
    collapsed = min(bounds) < collapse_rate or (mutual_information is None and num_active == 0)
    found = Collapse(
        num_dims=len(mean_variance),
        active_units=num_active,
        rate=rate,
        mutual_information=mutual_information,
        num_top_dims=num_top_dims,
        top_rate_share=share,
        collapse_rate=collapse_rate,
        collapsed=collapsed,
        elbo_above_floor=above,
        elbo_above_floor_standard_error=error,
        floor_margin=floor_margin,
        at_floor=None if above is None else above <= floor_margin,
        verdict="",
    )
    return found._replace(verdict=_verdict(found))


def _above_floor(elbo, floor) -> tuple[float | None, float | None]:
    """The mean of ELBO − floor, [N] each, and its standard error; None and None without them."""
    if (elbo is None) != (floor is None):
        raise UsageError("elbo and floor: one is missing, give both or neither")
    if elbo is None:
        return None, None
    chex.assert_rank(elbo, 1)
    chex.assert_equal_shape([elbo, floor])
    require_finite(elbo=elbo, floor=floor)
    return mean_and_error(np.float64(elbo) - np.float64(floor))


def _verdict(found: Collapse) -> str:
    """The diagnosis in words."""
    words = f"{_use(found)}; {found.active_units} of {found.num_dims} active"
    if found.at_floor is None:
        return words
    above, error = found.elbo_above_floor, found.elbo_above_floor_standard_error
    side = "below" if above < 0 else "above"
    told = f"{abs(above):.4g}" + ("" if error is None else f" ± {error:.2g}")
    words += f"; ELBO {told} nats {side} a model that ignores z"
    return f"{words}, so z does not pay" if found.at_floor else words


def _use(found: Collapse) -> str:
    """Whether z is used, in words, and the evidence."""
    rate, information, num = found.rate, found.mutual_information, found.num_top_dims
    if not found.collapsed:
        dims = "dimension" if num == 1 else f"{num} dimensions"
        # the measure that decides is printed first
        known = [f"I(x; z) is {information:.4g} nats"] if information is not None else []
        known.append(f"the rate is {rate:.4g} nats")
        if found.top_rate_share is not None:
            known.append(f"{found.top_rate_share:.0%} of it in the top {dims}")
        return f"uses z: {', '.join(known)}"
    if rate < found.collapse_rate:
        return f"collapsed: the rate of {rate:.3g} nats is below {found.collapse_rate:g}"
    if information is None:
        return f"collapsed: the rate of {rate:.3g} nats does not depend on x"
    return f"collapsed: of the rate of {rate:.3g} nats, I(x; z) is {information:.2g}"


def elbo_and_floor(subject) -> tuple[np.ndarray, np.ndarray] | tuple[None, None]:
    """The ELBO of each test example, and the score of the best model that ignores z on it.

    Args:
        subject: a `vae_jax.evaluation.subject.Subject`.

    Returns:
        Two arrays [N] in nats, with one sample of z each; None and None if there is no `floor_of`.
    """
    model, likelihood = subject.model, subject.model.likelihood
    # `subject.inputs` splits the keys of the positions: draws from these keys are not independent
    noise_key = jax.random.fold_in(subject.key, zlib.crc32(b"collapse"))
    score_without = floor_of(subject)
    if score_without is None:
        return None, None

    def score(params, stored, positions):
        x = subject.inputs(stored, positions)
        posterior = model.encode(params, x)
        keys = jax.vmap(jax.random.fold_in, (None, 0))(noise_key, positions)
        eps = jax.vmap(lambda key: jax.random.normal(key, (model.latent_dim,)))(keys)
        z = posterior.mean + jnp.exp(0.5 * distributions.bound_logvar(posterior.logvar)) * eps
        distortion = -likelihood.log_prob(params["likelihood"], model.decode(params, z, x), x)
        rate = rates.rate(posterior, model.prior(params), z)
        return -(distortion + rate), score_without(x)

    return subject.over(score)


def floor_of(subject) -> Callable | None:
    """The score of the best model that ignores z, as a function of x: [B, *shape] to [B].

    It is estimated from up to `MAX_TRAIN` training examples: in closed form for Bernoulli and
    Gaussian likelihoods, by `best_constant` for others.

    Args:
        subject: a `vae_jax.evaluation.subject.Subject`.

    Returns:
        The function; None if there is no floor: the likelihood is of levels or text, the model is
            conditional, its decoder reads x, or some of x is missing.
    """
    model, likelihood = subject.model, subject.model.likelihood
    if model.num_conditions or likelihood.requires in ("levels", "text"):
        return None
    if model.reads_x or likelihood.has_missing:
        return None

    def see(params, stored, positions):
        del params
        return subject.inputs(stored, positions)

    def deviation(params, stored, positions):
        return jnp.square(see(params, stored, positions) - train_mean[None])

    if not isinstance(likelihood, Bernoulli | Gaussian):
        size = math.prod(subject.model.shape) * likelihood.num_outputs
        num = max(1, min(MAX_TRAIN, _MAX_FITTED // size))
        fitted = best_constant(likelihood, jnp.asarray(subject.x("train", num)))
        return lambda x: constant_floor(likelihood, *fitted, x)
    train_mean = subject.mean_over(see, "train", num_examples=MAX_TRAIN)
    if isinstance(likelihood, Bernoulli):
        return lambda x: bernoulli_floor(train_mean, x)
    variance = subject.mean_over(deviation, "train", num_examples=MAX_TRAIN)
    if likelihood.variance != "learned_per_dimension":
        variance = variance.mean()
    variance = np.maximum(variance, np.exp(-distributions.LOGVAR_BOUND))
    return lambda x: gaussian_floor(train_mean, variance, x)
