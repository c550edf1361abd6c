"""Counts that are shares of a given total."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp

from vae_jax import distributions
from vae_jax.errors import unknown
from vae_jax.likelihoods._counts import Counts
from vae_jax.likelihoods._likelihood import at_least_float32

__all__ = ["Multinomial"]

_LEAST_SQUARE = 1e-12
"""The squared length below which a row is not scaled to 1: a row of zeros stays one."""


@dataclasses.dataclass(frozen=True)
class Multinomial(Counts):
    """The counts of a row given their total; outputs are logits of the shares [B, *shape].

    log p(x | Σ x, z), with its constant. One trial is a categorical variable. The total of a row is
    read from x; rows drawn from the model have the mean total of the training data.

    Attributes:
        input_norm: none: the networks read log(1 + x); l2: they read x / ‖x‖, each row of length 1.

    Reference:
        Liang et al. 2018, Variational Autoencoders for Collaborative Filtering, arXiv 1802.05814;
        its code scales each row to length 1.
    """

    input_norm: str = "none"

    choices: ClassVar[dict[str, tuple[str, ...]]] = {"input_norm": ("none", "l2")}

    def __post_init__(self):
        if self.input_norm not in self.choices["input_norm"]:
            raise unknown("input_norm", str(self.input_norm), self.choices["input_norm"])

    def seen(self, x):
        if self.input_norm == "none":
            return super().seen(x)
        x = at_least_float32(x)
        squares = jnp.where(jnp.isnan(x), 0.0, x * x)
        length = jnp.sum(squares, axis=range(1, x.ndim), keepdims=True)
        return x * jax.lax.rsqrt(jnp.maximum(length, _LEAST_SQUARE))

    @property
    def is_joint(self) -> bool:
        """Whether counts are shares of the total of the row; a scalar."""
        return True

    def log_prob(self, params, outputs, x):
        del params
        logits, x = (at_least_float32(v).reshape(len(v), -1) for v in (outputs, x))
        is_known = ~jnp.isnan(x)
        # given the total of the known numbers, the others have no share
        logits = jnp.where(is_known, logits, -jnp.inf) if self.has_missing else logits
        return distributions.multinomial_log_prob(jnp.where(is_known, x, 0.0), logits)

    def log_probs(self, params, outputs, x):
        """log p of each row of x, spread evenly over its numbers: [B, *shape]."""
        log_prob = self.log_prob(params, outputs, x) / x[0].size
        return jnp.broadcast_to(log_prob.reshape(-1, *[1] * (x.ndim - 1)), x.shape)

    def mode(self, params, outputs):
        return jnp.round(self.mean(params, outputs))

    def sample(self, params, key, outputs):
        rates = self.mean(params, outputs)
        rows = rates.reshape(len(rates), -1)
        num = jnp.round(jnp.sum(rows, axis=1))
        shares = rows / jnp.sum(rows, axis=1, keepdims=True)
        return jax.random.multinomial(key, num, shares).astype(rates.dtype).reshape(rates.shape)
