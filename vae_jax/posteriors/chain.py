"""Several stochastic layers, inferred upwards: each from a draw of the one below."""

import dataclasses

import jax

from vae_jax.posteriors import _hierarchy
from vae_jax.posteriors._layers import GroupedPosterior, Layers
from vae_jax.posteriors._posterior import gaussian, lift

__all__ = ["Chain"]


@dataclasses.dataclass(frozen=True)
class Chain(Layers):
    """q(z|x) = q(z_1|x) Π_i q(z_{i+1}|z_i), p(z) = p(z_G) Π_i p(z_i|z_{i+1}) over [L].

    Each group has twice as many dimensions as the one above it: L = 150 and G = 2 are 100 and 50.
    The decoder reads z_1. One group is the usual Gaussian.

    Attributes:
        num_groups: G.
        group_width: units of each of the two hidden layers between groups.

    Reference:
        Burda et al. 2016, Importance Weighted Autoencoders, arXiv 1509.00519, section 5 (two
        stochastic layers).
    """

    def parts_for(self, latent_dim):
        del latent_dim
        return "mean", "logvar"

    def init(self, key, latent_dim, latent_mask=None):
        members = _hierarchy.groups(latent_dim, self.num_groups, latent_mask)

        def up(index):
            own_key = jax.random.fold_in(key, self.num_groups + index)
            return _hierarchy.init_conditional(
                own_key, latent_dim, self.group_width, members[index], is_zero=False
            )

        down = super().init(key, latent_dim, latent_mask)
        return {**down, **{f"up_{index}": up(index) for index in range(self.num_groups - 1)}}

    def posterior(self, params, parts, latent_mask=None):
        if self.num_groups == 1:
            return gaussian(*parts, latent_mask)
        members = tuple(_hierarchy.groups(parts[0].shape[-1], self.num_groups, latent_mask))
        networks = tuple(params[f"up_{index}"] for index in range(self.num_groups - 1))
        base = gaussian(*parts, members[0])
        order = tuple(range(self.num_groups))
        return GroupedPosterior(_given_below, order, (base, networks), base.mean, members)


def _given_below(parameters, members, z: jax.Array, index: int) -> tuple[jax.Array, jax.Array]:
    """Mean and log variance of a group given the one below it; 0 elsewhere: [..., B, L] each."""
    base, networks = parameters
    if index == 0:
        mean, logvar = base
        return lift(mean, z), lift(logvar, z)
    return _hierarchy.conditional(networks[index - 1], z, members[index - 1], members[index])
