"""The gap between training and test rows, and the shares of encoder and decoder in it."""

import functools
import zlib

import jax
import jax.numpy as jnp
import numpy as np
import optax

from vae_jax import distributions, rates
from vae_jax.distributions import DiagonalGaussian
from vae_jax.evaluation._shared import mean_and_error
from vae_jax.evaluation.subject import NotApplicableError

__all__ = ["ERRORS", "NUM", "SHARE", "elbos", "find", "measure"]

NUM = 200
"""Rows of each split, a count."""
NUM_STEPS = 150
"""Steps of a fit of q(z|x) to a row, a count."""
NUM_SAMPLES = 32
"""Samples of z for the ELBO of a row, a count."""
SHARE = 0.25
"""The share (a scalar) of what the model gains over its baseline that test rows may lack."""
ERRORS = 3.0
"""The gap in standard errors (a scalar) that is more than chance."""


@functools.partial(jax.jit, static_argnames="num_steps")
def elbos(model, params, x: jax.Array, key: jax.Array, *, num_steps: int = NUM_STEPS):
    """The ELBO of each row with the encoder's q(z|x), and with the Gaussian that fits it best.

    The fit starts at the encoder's and follows the gradient of the ELBO of this row alone; the
    decoder stays. What it gains is the encoder's fault (the amortization gap).

    Args:
        model: a `Model` with a Gaussian posterior with independent dimensions.
        params: its parameters.
        x: [B, *shape].
        key: PRNG key, scalar.
        num_steps: of Adam, a count.

    Returns:
        Two arrays [B] in nats; the second is at least the first.

    Reference:
        Cremer et al. 2018, Inference suboptimality in variational autoencoders, arXiv 1801.03558.
    """
    prior, start = model.prior(params), model.encode(params, x)
    fit_key, end_key = jax.random.split(key)

    def elbo(own, key):
        posterior = DiagonalGaussian(*own)
        z = posterior.sample(key)
        fit = model.likelihood.log_prob(params["likelihood"], model.decode(params, z, x), x)
        return fit - rates.rate(posterior, prior, z)

    optimizer = optax.adam(optax.cosine_decay_schedule(0.05, num_steps))

    def step(carried, key):
        own, state = carried
        gradient = jax.grad(lambda own: -jnp.sum(elbo(own, key)))(own)
        # optax relies on implicit promotion, even if a user forbids it
        with jax.numpy_dtype_promotion("standard"):
            updates, state = optimizer.update(gradient, state)
        return (optax.apply_updates(own, updates), state), None

    own = (start.mean, distributions.bound_logvar(start.logvar))
    keys = jax.random.split(fit_key, num_steps)
    (fitted, _), _ = jax.lax.scan(step, (own, optimizer.init(own)), keys)

    def mean_elbo(own):
        # the same draws for both
        return jnp.mean(
            jax.lax.map(lambda key: elbo(own, key), jax.random.split(end_key, NUM_SAMPLES)), axis=0
        )

    before = mean_elbo(own)
    return before, jnp.maximum(before, mean_elbo(fitted))


def measure(subject) -> dict[str, float | None]:
    """The gap of the ELBO between training and test rows, divided by a new fit of q(z|x).

    Args:
        subject: a `vae_jax.evaluation.subject.Subject`, rows [N, *shape].

    Returns:
        "gap", "error" and "of_encoder" in nats, scalars; the rest of the gap is the decoder's.

    Raises:
        NotApplicableError: the posterior is not Gaussian, or the model is conditional.
    """
    subject.require_gaussian_posterior()
    subject.require_unconditional()
    if subject.model.reads_x:
        raise NotApplicableError("the decoder reads x: a fit for each row would take long")
    key = jax.random.fold_in(subject.key, zlib.crc32(b"generalization"))
    found = {}
    for split in ("train", "test"):
        x = jnp.asarray(subject.x(split, NUM))
        found[split] = np.float64(elbos(subject.model, subject.params, x, key))
    (train, train_fit), (test, test_fit) = found["train"], found["test"]
    gap, errors = train.mean() - test.mean(), [mean_and_error(v)[1] for v in (train, test)]
    return {
        "gap": float(gap),
        "error": None if None in errors else float(np.hypot(*errors)),
        "of_encoder": float(gap - (train_fit.mean() - test_fit.mean())),
    }


def find(evidence):
    """Whether test rows lack more than `SHARE` of what the model gains on training rows.

    The gain is the ELBO above that of the best model that ignores z.

    Args:
        evidence: of a run whose `measured` has "generalization" and "baseline", scalars.
    """
    found, baseline = (evidence.measured.get(name) for name in ("generalization", "baseline"))
    if found is None or baseline is None or found["error"] is None:
        return None
    gap, gain = found["gap"], found["gap"] + baseline["above"]
    if gap < ERRORS * found["error"] or gap < SHARE * gain:
        return None
    told = (
        f"the ELBO of test rows is {gap:.3g} ± {found['error']:.2g} nats below that of training "
        f"rows, {found['of_encoder']:.3g} of it by the encoder and "
        f"{gap - found['of_encoder']:.3g} by the decoder (q fitted again to each row)"
    )
    return told, "take smaller `widths`, or patience=10"
