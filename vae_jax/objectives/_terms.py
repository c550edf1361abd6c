"""What every objective logs of a run, whatever it minimises."""

import jax

from vae_jax import distributions, losses

__all__ = ["elbo_terms", "rate"]


def rate(model, params, posterior) -> jax.Array:
    """KL(q(z|x) ‖ p(z)) of each of B examples, in closed form, in nats: [B]."""
    return losses.sum_event(distributions.kl_divergence(posterior, model.prior(params)))


def elbo_terms(distortion: jax.Array, rate: jax.Array) -> dict[str, jax.Array]:
    """{"elbo", "rate", "distortion"} from distortion and rate, in nats, [B] each; not weighted."""
    return {"elbo": losses.elbo(distortion, rate), "rate": rate, "distortion": distortion}
