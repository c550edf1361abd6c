"""Training in phases: the codes first, then the prior on codes that stand still, then both.

This is the two-stage training of a prior of quantized codes, and how a clustering prior starts: a
mixture that is fit to the codes of an autoencoder before all is trained together. The phases work
with every objective and every learned prior.

Reference:
    van den Oord et al. 2017, Neural Discrete Representation Learning, arXiv 1711.00937, section 3.3
    (phases 0 and 1); Jiang et al. 2017, Variational Deep Embedding, arXiv 1611.05148, section 4.1
    (phases 0 to 2).
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from vae_jax import rates
from vae_jax.errors import UsageError
from vae_jax.objectives import Interval
from vae_jax.training import Objective

__all__ = ["INTERVAL", "NAME", "by_prior_phase", "require_learned"]

_CODES, _PRIOR, _BOTH = 0, 1, 2
NAME = "prior_phase"
"""The hyperparameter that says what is trained."""
INTERVAL = Interval.parse(f"[{_CODES}, {_BOTH}]")
"""Its values, scalars."""


def require_learned(prior: Any, told: Any) -> None:
    """Raises UsageError unless a prior over [L] is learned; None is that of the latents.

    Args:
        prior: one of `vae_jax.priors`, or None.
        told: the schedule that was asked for, for the message.
    """
    if prior is None or not prior.is_learned:
        raise UsageError(
            f"prior_phase={told}: says when a learned prior is trained, there is none: leave "
            "prior_phase out, or give the model one, such as prior=mixture"
        )


def by_prior_phase(objective: Objective) -> Objective:
    """An objective with another hyperparameter, `prior_phase`, that says what is trained.

    | ⌊prior_phase⌋ | model | trained |
    |---|---|---|
    | 0 | without the prior: that of the latents, such as N(0, I) | all but the prior |
    | 1 | with the prior | the prior alone |
    | 2 | with the prior | all |

    In each phase the loss is that of the objective, and what is not trained keeps every bit. Phase
    1 begins with `priors.Prior.at_codes` of the codes [B, L] of its first batch. The optimizer
    state is reset in between.

    Args:
        objective: of a model with a learned prior.
    """

    def loss(model, params, batch, key, *, prior_phase, **settings):
        def of(model, params):
            return objective.loss(model, params, batch, key, **settings)

        def alone(params):
            still = jax.lax.stop_gradient(params)
            return of(model, {**still, "prior": params["prior"]})

        branches = [
            lambda params: of(model.replace(prior_family=None), params),
            alone,
            lambda params: of(model, params),
        ]
        return jax.lax.switch(_index(prior_phase), branches, params)

    def update(model, before, after, batch, key, *, prior_phase, **settings):
        if objective.update is not None:
            after = objective.update(model, before, after, batch, key, **settings)
        now = _index(prior_phase)

        def kept(name):
            is_still = now == (_CODES if name == "prior" else _PRIOR)
            return _select(is_still, before[name], after[name])

        return {name: kept(name) for name in after}

    def begin(model, params, batch, key, *, prior_phase, **settings):
        del settings
        code_key, own_key = jax.random.split(key)
        own = model if objective.given is None else objective.given(model, params, batch)
        z = own.without_masked(rates.draw(own.encode(params, batch["x"]), code_key)[0])
        started = model.prior_family.at_codes(own_key, params["prior"], z, batch["mask"])
        prior = _select(_index(prior_phase) == _PRIOR, started, params["prior"])
        return {**params, "prior": prior}

    def phase(model, *, prior_phase, **settings):
        own = 0 if objective.phase is None else objective.phase(model, **settings)
        return own * (_BOTH + 1) + _index(prior_phase)

    fields = (field.name for field in dataclasses.fields(Objective))
    others = {name: _without_phase(getattr(objective, name)) for name in fields}
    ours = {"loss": loss, "update": update, "begin": begin, "phase": phase}
    return Objective(**{**others, **ours})


def _index(prior_phase) -> jax.Array:
    """The phase as an integer, a scalar."""
    return jnp.clip(jnp.floor(jnp.asarray(prior_phase)), _CODES, _BOTH).astype(jnp.int32)


def _select(condition: jax.Array, one: Any, other: Any) -> Any:
    """One of two pytrees of arrays of equal shapes."""
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), one, other)


def _without_phase(function: Callable | None) -> Callable | None:
    """A part of an objective that is not told the phase."""
    if function is None:
        return None

    def call(*arguments, prior_phase=None, **settings):
        del prior_phase
        return function(*arguments, **settings)

    return call
