"""Reconstruction terms that are no likelihoods: what they need, and the ELBO beside them."""

import jax

from vae_jax.errors import UsageError
from vae_jax.objectives import _deterministic

__all__ = ["DEFINITIONS", "bound", "gradient_of", "require_numbers", "warning"]

DEFINITIONS = {
    "elbo": "−(distortion + rate) in nats per example, a bound on log p(x) that is not what is "
    "trained",
    "distortion": "−log p(x|z) in nats per example, one draw of z; it trains the variance of "
    "p(x|z) alone",
}
"""`DEFINITIONS` of an objective that uses `bound`."""


def warning(what: str) -> list[str]:
    """A line for `notes` that says that `what`, a scalar of each row, is no likelihood."""
    return [
        f"warning: {what} is no likelihood: the loss bounds no log p(x) and compares with no other "
        "objective's; elbo is that of p(x|z), which is not what is trained"
    ]


def require_numbers(model, objective: str) -> None:
    """Raises UsageError unless E[x|z], [B, *shape], is complete and comes from z alone."""
    if model.likelihood.requires == "text" or not _deterministic.has_error(model):
        raise UsageError(
            f"objective={objective}: compares x with E[x|z], which needs numbers, none missing, "
            "decoded from z alone: take objective=beta_vae"
        )


def gradient_of(term: jax.Array) -> jax.Array:
    """A term [B] to add to a loss: its value is 0, its gradient that of `term`."""
    return term - jax.lax.stop_gradient(term)


def bound(model, params, z: jax.Array, batch: dict) -> jax.Array:
    """−log p(x|z) in nats, [B], whose gradient reaches the likelihood's own parameters alone.

    So a learned variance fits the reconstructions, and nothing else follows the likelihood.

    Args:
        model, params, batch: as in `loss`.
        z: codes, [B, L].
    """
    fixed = {**jax.lax.stop_gradient(params), "likelihood": params["likelihood"]}
    return model.distortion(fixed, jax.lax.stop_gradient(z), batch)
