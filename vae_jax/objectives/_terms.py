"""Terms that every objective logs, whatever it minimizes."""

import jax

from vae_jax import distributions, losses, rates

__all__ = [
    "DEFINITIONS_OF_ONE_HOT",
    "ESTIMATORS",
    "TEMPERATURES",
    "elbo_terms",
    "gaussian_prior",
    "group_terms",
    "rate",
    "relaxed_distortion",
    "standardized",
]

DEFINITIONS_OF_ONE_HOT = {
    "distortion": "−log p(x|z) in nats per example, one draw of one-hot codes, not smoothed",
}
"""`DEFINITIONS` of an objective with one-hot codes."""

ESTIMATORS = {"estimator": ("relaxed", "straight_through")}
"""`CHOICES` of an objective that uses `relaxed_distortion`."""
TEMPERATURES = {"temperature": f"[{distributions.LOWEST_TEMPERATURE}, inf)"}
"""`INTERVALS` of an objective that uses `relaxed_distortion`."""


def rate(
    model, params, posterior, z: jax.Array | None = None, log_q: jax.Array | None = None
) -> jax.Array:
    """KL(q(z|x) ‖ p(z)) of B examples in nats, [B].

    It is in closed form if there is one, else estimated from draws z, [B, L] or [K, B, L], and
    their log q(z|x), see `rates.rate`.
    """
    return rates.rate(posterior, model.prior(params), z, log_q)


def gaussian_prior(model, params, objective: str) -> distributions.DiagonalGaussian:
    """p(z) over [L] for an objective, given by name, that assumes independent Gaussians.

    Raises:
        UsageError: the prior is of another type.
    """
    return distributions.require_diagonal_gaussian(model.prior(params), objective)


def standardized(posterior, prior) -> distributions.DiagonalGaussian:
    """Posteriors of the code standardized by the prior, (z − E z) / deviation: Gaussian [B, L].

    Args:
        posterior: Gaussians with independent dimensions, [B, L].
        prior: a Gaussian with independent dimensions, [L].
    """
    mean = (posterior.mean - prior.mean[None, :]) / prior.deviation[None, :]
    return distributions.DiagonalGaussian(mean, posterior.logvar - prior.logvar[None, :])


def elbo_terms(distortion: jax.Array, rate: jax.Array) -> dict[str, jax.Array]:
    """{"elbo", "rate", "distortion"} from distortion and rate, in nats, [B] each; unweighted."""
    return {"elbo": losses.elbo(distortion, rate), "rate": rate, "distortion": distortion}


def group_terms(model, posterior, prior, drawn: rates.Draw) -> dict[str, jax.Array]:
    """The rate of each group of a hierarchy by name, in nats, [B] each; {} if the code is flat."""
    if model.groups is None:
        return {}
    return rates.by_group(rates.per_dim_of_draw(posterior, prior, drawn), model.groups)


def relaxed_distortion(
    model, params, posterior, batch, key, temperature, estimator
) -> tuple[jax.Array, jax.Array]:
    """−log p(x|z) of discrete codes, to log and to train with.

    Args:
        model, params, batch: as in `loss`.
        posterior: a distribution with `sample` and `relaxed`.
        key: PRNG key; one draw serves both.
        temperature: of the relaxation, a scalar.
        estimator: one of `ESTIMATORS`.

    Returns:
        (distortion of the sampled codes, that of their relaxation), [B] each in nats. With the
        straight-through estimator both have the value of the first, and the gradient of the
        relaxation is taken at the sampled codes.
    """
    z, relaxed = posterior.sample(key), posterior.relaxed(key, temperature)
    if estimator == "straight_through":
        distortion = model.distortion(params, losses.straight_through(relaxed, z), batch)
        return distortion, distortion
    distortion = model.distortion(params, jax.lax.stop_gradient(z), batch)
    return distortion, model.distortion(params, relaxed, batch)
