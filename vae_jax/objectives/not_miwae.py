"""not-MIWAE: values that are missing because of what they are, with a model of which are"""

import jax
import jax.numpy as jnp

from vae_jax import losses, mechanisms, rates
from vae_jax.errors import UsageError
from vae_jax.objectives import _importance

__all__ = ["CHOICES", "DEFINITIONS", "loss", "mechanism"]

CHOICES = {"mechanism": mechanisms.KINDS}
DEFINITIONS = {
    "loss": "what was minimized: minus a bound on log p(x, s), s says which values are observed",
    "elbo": "−(distortion + rate) in nats per example, a bound on log p(x) without p(s|x)",
    "missingness": "−log p(s|x) in nats per example, mean over draws of what is missing",
}


def mechanism(*, mechanism="self_masking") -> mechanisms.Mechanism:
    """p(s|x), which training learns, of x [B, *shape].

    Args:
        mechanism: what decides whether a value is missing: itself (self_masking), itself if it is
            high (self_masking_known), or all values (linear).
    """
    return mechanisms.Mechanism(mechanism)


def loss(model, params, batch, key, *, num_samples=20):
    """not-MIWAE: the importance-weighted bound of the observed values and of which they are.

    loss = −log 1/K Σ_k p(s|x_k) p(x_o|z_k) p(z_k) / q(z_k|x_o), z_k ~ q(z|x_o), x_k is x with what
    is missing drawn from p(x|z_k)

    Its gradient is unbiased: through the draws of x if they have one, such as Gaussian ones, else
    by the score function log p(x_k|z_k) with the bound of the other draws as its baseline.

    Args:
        model: a `Model` with a `mechanism`.
        params: its parameters.
        batch: {"x": [B, *shape], "mask": [B]}; missing numbers of x are NaN.
        key: PRNG key, for the K samples of z and of what is missing.
        num_samples: samples of z for each example, K.

    Returns:
        loss [B] and {"bound", "elbo", "rate", "distortion", "missingness"}, each [B], in nats.

    Raises:
        UsageError: the model has no mechanism, or its numbers depend on one another given z.

    Reference:
        Ipsen et al. 2021, not-MIWAE: Deep Generative Modelling with Missing not at
        Random Data, arXiv 2006.12871, equation 6; Mnih & Rezende 2016, arXiv 1602.06725, section
        2.5 (the baseline).
    """
    _check(model)
    posterior = model.encode(params, batch["x"])
    z, log_q = rates.draw(posterior, key, num_samples)  # [K, B, L]
    log_weights, distortion = _importance.log_weights(model, params, posterior, z, batch, log_q)
    log_mechanism, log_drawn = _of_mechanism(model, params, z, batch["x"], key)
    log_weights = log_weights + log_mechanism
    # bound = log 1/K Σ_k w_k
    bound = losses.importance_weighted_bound(log_weights)
    own = bound if log_drawn is None else bound + _by_score(log_weights, bound, log_drawn)
    return -own, {
        "bound": bound,
        **_importance.terms(model, params, posterior, z, distortion, log_q),
        "missingness": -log_mechanism.mean(axis=0),
    }


def _check(model) -> None:
    """Raises UsageError unless the model, of x [B, *shape], has a mechanism that it can learn."""
    if model.mechanism is None:
        raise UsageError(
            "objective=not_miwae: learns the missing mechanism of the model, this one has none: "
            "make it with make_model(data, objective='not_miwae'), or give Model(…, "
            "mechanism=mechanisms.Mechanism())"
        )
    if model.reads_x or model.likelihood.is_joint or model.likelihood.requires == "text":
        raise UsageError(
            f"objective=not_miwae: under {model.likelihood} the numbers of x depend on one another "
            "given z: take network=mlp and another likelihood, such as likelihood=gaussian"
        )


def _of_mechanism(model, params, z: jax.Array, x: jax.Array, key: jax.Array):
    """log p(s|x_k), and log p of what was drawn given z_k, in nats, [K, B] each.

    The second is None if the draws themselves have a gradient, or nothing can be missing.

    Args:
        model, params: as in `loss`.
        z: [K, B, L].
        x: [B, *shape], NaN where missing.
        key: PRNG key of the step.
    """
    likelihood, own = model.likelihood, params["likelihood"]
    x = jnp.tile(x, (len(z), *[1] * (x.ndim - 1)))
    observed, log_drawn = likelihood.observed(x), None
    if likelihood.has_missing:
        outputs = model.decode(params, z.reshape(-1, z.shape[2]), x)
        drawn = likelihood.sample(own, jax.random.fold_in(key, 1), outputs)
        drawn = drawn if likelihood.has_path else jax.lax.stop_gradient(drawn)
        whole = jnp.where(jnp.isnan(x), drawn, x)
        if not likelihood.has_path:
            of_numbers = jnp.where(jnp.isnan(x), likelihood.log_probs(own, outputs, whole), 0.0)
            log_drawn = losses.sum_event(of_numbers).reshape(z.shape[:2])
        x = whole
    found = model.mechanism.log_prob(params["mechanism"], likelihood, x, observed)
    return found.reshape(z.shape[:2]), log_drawn


def _by_score(log_weights: jax.Array, bound: jax.Array, log_drawn: jax.Array) -> jax.Array:
    """A term [B] of value 0 with the gradient of the bound through discrete draws.

    ∇ = Σ_k (L − L_{−k}) ∇ log p(x_k|z_k), L_{−k} the bound with log w_k replaced by the mean of the
    others, in nats

    Args:
        log_weights: log w, [K, B].
        bound: L, [B].
        log_drawn: log p(x_k|z_k) of what was drawn, [K, B].
    """
    num = len(log_weights)
    others = (log_weights.sum(axis=0)[None, :] - log_weights) / max(num - 1, 1)
    is_own = jnp.eye(num, dtype=bool)[:, :, None]
    without = jnp.where(is_own, others[None], log_weights[None])  # [K, K, B]
    baseline = jax.vmap(losses.importance_weighted_bound)(without) if num > 1 else 0.0
    gain = jax.lax.stop_gradient(bound[None, :] - baseline)
    surrogate = jnp.sum(gain * log_drawn, axis=0)
    return surrogate - jax.lax.stop_gradient(surrogate)
