"""Families whose codes are in groups: their networks, and densities along the groups."""

import dataclasses
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from vae_jax import distributions, sums
from vae_jax.errors import UsageError
from vae_jax.posteriors import _hierarchy
from vae_jax.posteriors._posterior import Posterior, Summary, lift

__all__ = ["MOST_GROUPS", "GroupedPosterior", "Layers"]

MOST_GROUPS = 10
"""The largest number of groups, a count."""

_STATIC = {"static": True}


@dataclasses.dataclass(frozen=True)
class Layers(Posterior):
    """Codes in G groups with p(z) = p(z_G) Π_i p(z_i | z_{i+1}); the decoder reads z_1.

    Attributes:
        num_groups: G.
        group_width: units of each of the two hidden layers between groups.
    """

    num_groups: int = 2
    group_width: int = 100

    takes_priors: ClassVar[bool] = False

    def __post_init__(self):
        super().__post_init__()
        if self.num_groups > MOST_GROUPS:
            raise UsageError(
                f"num_groups={self.num_groups}: must be at most {MOST_GROUPS}, each group has "
                "twice as many dimensions as the one above it: give num_groups=2"
            )

    def init(self, key, latent_dim, latent_mask=None):
        members = _hierarchy.groups(latent_dim, self.num_groups, latent_mask)

        def down(index):
            own_key = jax.random.fold_in(key, index)
            read = members[index + 1]
            return _hierarchy.init_conditional(
                own_key, latent_dim, self.group_width, read, is_zero=True
            )

        return {f"down_{index}": down(index) for index in range(self.num_groups - 1)}

    def prior(self, params, latent_dim, latent_mask=None):
        if self.num_groups == 1:
            return super().prior(params, latent_dim)
        networks = tuple(params[f"down_{index}"] for index in range(self.num_groups - 1))
        members = tuple(_hierarchy.groups(latent_dim, self.num_groups, latent_mask))
        return _hierarchy.HierarchicalPrior(networks, members)

    def decoded(self, z):
        return z * lift(_hierarchy.groups(z.shape[-1], self.num_groups, None)[0], z)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class GroupedPosterior:
    """q(z|x) as a chain of Gaussians along the groups, for B examples.

    Attributes:
        conditional: (parameters, members, z [..., B, L], index of a group) to mean and log variance
            [..., B, L] of the group given those before it in `order`; 0 elsewhere.
        order: indices of the groups in the order of the chain.
        parameters: what `conditional` reads, pytrees.
        like: an array [B, L], for the shape of draws.
        members: the groups from the lowest, [L] of zeros and ones each.
    """

    conditional: Any = dataclasses.field(metadata=_STATIC)
    order: tuple[int, ...] = dataclasses.field(metadata=_STATIC)
    parameters: Any = None
    like: Any = None
    members: Any = None

    def _along(self, noise: jax.Array) -> tuple[jax.Array, jax.Array]:
        """z of noise [..., B, L], and the log variance of each dimension given those before it."""
        # what is masked
        z = noise * lift(1.0 - sum(self.members, jnp.zeros_like(self.members[0])), noise)
        logvars = jnp.zeros_like(noise)
        for index in self.order:
            mean, logvar = self.conditional(self.parameters, self.members, z, index)
            logvar = distributions.bound_logvar(logvar)
            z = z + lift(self.members[index], noise) * (mean + jnp.exp(0.5 * logvar) * noise)
            logvars = logvars + logvar
        return z, logvars

    @property
    def mode(self) -> jax.Array:
        """The code along the means of the chain, [B, L]."""
        return self._along(jnp.zeros_like(self.like))[0]

    @property
    def mean(self) -> jax.Array:
        """The same as `mode`, [B, L]."""
        return self.mode

    @property
    def deviation(self) -> jax.Array:
        """The deviation of each dimension along the means of the chain, [B, L]."""
        return jnp.exp(0.5 * self._along(jnp.zeros_like(self.like))[1])

    def first(self, num: int) -> Summary:
        """Moments of the first `num` dimensions, [B, num]."""
        return Summary(self.mean, self.mode, self.deviation).first(num)

    def sample(self, key: jax.Array, num_samples: int | None = None) -> jax.Array:
        """Draws z, a key for each dimension: [B, L] or [K, B, L]."""
        return self.sample_and_log_prob(key, num_samples)[0]

    def sample_and_log_prob(
        self, key: jax.Array, num_samples: int | None = None
    ) -> tuple[jax.Array, jax.Array]:
        """Draws z and its log q(z|x) in one pass: ([B, L], [B]), or with [K, …] in front."""
        noise = _hierarchy.noise_like(self.like, key, num_samples)
        z, logvars = self._along(noise)
        log_probs = distributions.gaussian_log_prob(noise, jnp.zeros_like(noise), 0.0)
        return z, sums.over_last(log_probs - 0.5 * logvars)

    def conditionals(self, z: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Mean and log variance of each dimension given those before it: [..., B, L] each."""
        mean, logvar = jnp.zeros_like(z), jnp.zeros_like(z)
        for index in self.order:
            of_group = self.conditional(self.parameters, self.members, z, index)
            mean, logvar = mean + of_group[0], logvar + of_group[1]
        return mean, logvar

    def log_probs(self, z: jax.Array) -> jax.Array:
        """log q of each dimension given those before it in the chain: [..., B, L], in nats."""
        return distributions.gaussian_log_prob(z, *self.conditionals(z))

    def log_prob(self, z: jax.Array) -> jax.Array:
        """log q(z|x), [..., B, L] to [..., B]."""
        return sums.over_last(self.log_probs(z))
