"""Missing cells, filled in by the model; observed cells stay."""

import dataclasses

import jax
import jax.numpy as jnp

from vae_jax import arguments
from vae_jax.errors import UsageError
from vae_jax.uses._use import CELLS, Use, require_weights, weighted

__all__ = ["Impute"]


@dataclasses.dataclass(frozen=True)
class Impute(Use):
    """The missing cells of each row given its observed ones, by importance resampling.

    E[x_missing | x_observed] ≈ Σ_k w_k E[x_missing|z_k], z_k ~ q(z|x_observed), w_k ∝
    p(x_observed|z_k) p(z_k) / q(z_k|x_observed); a draw takes z_k with probability w_k, then
    x_missing ~ p(x_missing|z_k)

    A model with a missing mechanism draws x_k ~ p(x_missing|z_k) with each z_k, multiplies w_k by
    p(s|x_k), s the pattern of missing cells, and takes x_k in place of E[x_missing|z_k].

    Attributes:
        num_draws: draws of each row, as rows of the result; without it one answer: the mean of
            numbers, the most likely of levels.
        num_samples: K, the draws of z that are weighted.

    Reference:
        Mattei & Frellsen 2019, MIWAE: Deep Generative Modelling and Imputation of Incomplete Data
        Sets, arXiv 1812.02633, section 3 (equations 12 and 13); Ipsen, Mattei & Frellsen 2021,
        not-MIWAE, arXiv 2006.12871, section 2.3 (with a mechanism).
    """

    num_draws: int | None = None
    num_samples: int = 100

    gives_cells = True
    keeps_observed = True
    takes_missing = True

    def __post_init__(self):
        super().__post_init__()
        if self.num_draws is not None:
            arguments.integer("num_draws", self.num_draws, 1)

    @property
    def rows_per_row(self):
        """K, or more draws than that."""
        return max(self.num_samples, self.num_draws or 1)

    def check(self, model):
        """The weights need densities, and cells of x [B, *shape] that are independent given z."""
        require_weights(model, "impute")
        likelihood = model.likelihood
        if model.reads_x or likelihood.is_joint or likelihood.requires == "text":
            raise UsageError(
                f"impute: under {likelihood} the cells of x depend on one another given z: take a "
                "run of network=mlp and another likelihood, such as likelihood=gaussian"
            )

    def of_row(self, model, params, x, key):
        found = weighted(model, params, x, key, self.num_samples)
        own, likelihood = params["likelihood"], model.likelihood
        choice_key, cell_key = jax.random.split(jax.random.fold_in(key, 1))
        log_weights, cells = found.log_weights, None
        if model.mechanism is not None:
            drawn = likelihood.sample(own, cell_key, found.outputs)
            cells = jnp.where(jnp.isnan(x), drawn, x)
            log_weights = log_weights + _log_mechanism(model, params, cells, x)
        if self.num_draws is None:
            weights = jax.nn.softmax(log_weights)
            means = likelihood.mean(own, found.outputs) if cells is None else cells
            mean = jnp.tensordot(weights, means, 1, precision="highest")
            return {CELLS: jnp.where(jnp.isnan(x[0]), mean, x[0])}
        chosen = _chosen(choice_key, log_weights, self.num_draws)
        if cells is not None:
            return {CELLS: cells[chosen]}
        drawn = likelihood.sample(own, cell_key, found.outputs[chosen])
        return {CELLS: jnp.where(jnp.isnan(x), drawn, x)}


def _log_mechanism(model, params, cells: jax.Array, x: jax.Array) -> jax.Array:
    """log p(s|x_k) of complete cells [K, *shape] if those of x [1, *shape] are missing: [K]."""
    observed = model.likelihood.observed(x)
    observed = jnp.broadcast_to(observed, (len(cells), *observed.shape[1:]))
    return model.mechanism.log_prob(params["mechanism"], model.likelihood, cells, observed)


def _chosen(key: jax.Array, log_weights: jax.Array, num: int) -> jax.Array:
    """Draws indices by their weights, [K] to [num], by inversion: num + K numbers, not num · K."""
    sums = jnp.cumsum(jax.nn.softmax(log_weights))
    places = jax.random.uniform(key, (num,)) * sums[-1]
    return jnp.minimum(jnp.searchsorted(sums, places, side="right"), len(sums) - 1)
