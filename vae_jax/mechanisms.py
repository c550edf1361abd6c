"""Missing mechanisms p(s|x): which values of x are observed, given all of them.

A `Model` has one if the objective learns it; its parameters are `params["mechanism"]`. Without one,
values are missing at random: whether a value is missing does not depend on those that are missing.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vae_jax import sums
from vae_jax.errors import unknown

__all__ = ["KINDS", "Mechanism"]

KINDS = ("self_masking", "self_masking_known", "linear")
"""What `Mechanism.kind` may be."""


@dataclasses.dataclass(frozen=True)
class Mechanism:
    """Logistic regressions: value c of a row is missing with probability σ(a_c(x)).

    log p(s|x) = Σ_c s_c log σ(−a_c) + (1 − s_c) log σ(a_c), in nats; s_c is 1 if c is observed

    The numbers x are those that the networks read, such as logarithms of positive columns. All
    weights w and W are 0 at the start, or 0.1 where they are positive.

    Attributes:
        kind: self_masking: a_c = b_c + w_c·x_c, of the value itself; self_masking_known: the same
            with w_c > 0, high values are missing; linear: a = b + W x, of all values.

    Reference:
        Ipsen, Mattei & Frellsen 2021, not-MIWAE: Deep Generative Modelling with Missing not at
        Random Data, arXiv 2006.12871, section 3 (self-masking, known sign, agnostic).
    """

    kind: str = "self_masking"

    def __post_init__(self):
        if self.kind not in KINDS:
            raise unknown("mechanism", self.kind, KINDS)

    def __repr__(self) -> str:
        return f"Mechanism({self.kind})"

    def init(self, likelihood: Any, shape: tuple[int, ...]) -> dict[str, jax.Array]:
        """The initial parameters, {"weight": [D] or [D, C], "bias": [C]}, for D numbers of x.

        Args:
            likelihood: p(x|z), which says what numbers make a value.
            shape: shape of one example x.
        """
        owners = likelihood.owners(shape)
        num, num_values = len(owners), int(owners[-1]) + 1
        sizes = (num, num_values) if self.kind == "linear" else (num,)
        start = _inverse_softplus(0.1) if self.kind == "self_masking_known" else 0.0
        return {"weight": jnp.full(sizes, start), "bias": jnp.zeros(num_values)}

    def log_prob(self, params: Any, likelihood: Any, x: jax.Array, observed: Any) -> jax.Array:
        """log p(s|x) in nats, [B].

        Args:
            params: from `init`.
            likelihood: p(x|z).
            x: complete, [B, *shape].
            observed: which values are observed, `Likelihood.observed`, booleans [B, …].
        """
        owners = likelihood.owners(x.shape[1:])
        numbers = likelihood.seen(x).reshape(len(x), -1)
        logits = params["bias"][None, :] + self._from_numbers(params["weight"], numbers, owners)
        is_observed = observed.reshape(len(x), -1)
        return sums.over_last(jax.nn.log_sigmoid(jnp.where(is_observed, -logits, logits)))

    def _from_numbers(self, weight: jax.Array, numbers: jax.Array, owners: np.ndarray) -> jax.Array:
        """a − b of each value, [B, C], from numbers [B, D]."""
        if self.kind == "linear":
            return jnp.matmul(numbers, weight, precision="highest")
        if self.kind == "self_masking_known":
            weight = jax.nn.softplus(weight)
        each = numbers * weight[None, :]
        if owners[-1] + 1 == len(owners):  # a number is a value
            return each
        return jnp.zeros((len(each), int(owners[-1]) + 1), each.dtype).at[:, owners].add(each)


def _inverse_softplus(value: float) -> float:
    return float(np.log(np.expm1(value)))
