"""Families whose codes are in groups: their networks, and densities along the groups."""

import dataclasses
from collections.abc import Iterable
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from vae_jax import distributions, rates, sums
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

    def groups(self, latent_dim, latent_mask=None):
        if self.num_groups == 1:
            return None
        return jnp.stack(_hierarchy.groups(latent_dim, self.num_groups, latent_mask))

    def decoded(self, z):
        return z * lift(_hierarchy.groups(z.shape[-1], self.num_groups, None)[0], z)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class GroupedPosterior:
    """q(z|x) as a chain of Gaussians along the groups, for B examples.

    Attributes:
        conditional: (parameters, members, z [..., B, L], index of a group) to mean and log variance
            [..., B, L] of the group given those before it in `order`, 0 elsewhere; perhaps followed
            by other arrays [..., B, L] that are known with them.
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

    def _along(self, noise: jax.Array) -> tuple[jax.Array, list[jax.Array]]:
        """z of noise [..., B, L], and what `conditional` returns, summed over the groups."""
        # what is masked
        z = noise * lift(1.0 - sum(self.members, jnp.zeros_like(self.members[0])), noise)
        found: list[jax.Array] = []
        for index in self.order:
            of_group = self.conditional(self.parameters, self.members, z, index)
            mean, deviation = of_group[0], jnp.exp(0.5 * distributions.bound_logvar(of_group[1]))
            z = z + lift(self.members[index], noise) * (mean + deviation * noise)
            found = _added(found, of_group)
        return z, found

    def _log_probs_of(self, noise: jax.Array, logvar: jax.Array) -> jax.Array:
        """log q of each dimension of the draw of noise [..., B, L]: the same shape."""
        standard = distributions.gaussian_log_prob(noise, jnp.zeros_like(noise), 0.0)
        return standard - 0.5 * distributions.bound_logvar(logvar)

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
        logvar = self._along(jnp.zeros_like(self.like))[1][1]
        return jnp.exp(0.5 * distributions.bound_logvar(logvar))

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
        z, found = self._along(noise)
        return z, sums.over_last(self._log_probs_of(noise, found[1]))

    def walk(self, prior: Any, key: jax.Array, num_samples: int | None = None) -> rates.Draw:
        """Draws like `sample_and_log_prob`, with log q − log p of each dimension, see `rates.walk`.

        Args:
            prior: p(z) over [L].
            key: PRNG key, scalar.
            num_samples: K; None draws once.
        """
        noise = _hierarchy.noise_like(self.like, key, num_samples)
        z, found = self._along(noise)
        log_probs = self._log_probs_of(noise, found[1])
        return rates.Draw(z, sums.over_last(log_probs), log_probs - prior.log_probs(z))

    def conditionals(self, z: jax.Array) -> list[jax.Array]:
        """What `conditional` returns, summed over the groups: [..., B, L] each."""
        found: list[jax.Array] = []
        for index in self.order:
            found = _added(found, self.conditional(self.parameters, self.members, z, index))
        return found

    def log_probs(self, z: jax.Array) -> jax.Array:
        """log q of each dimension given those before it in the chain: [..., B, L], in nats."""
        return distributions.gaussian_log_prob(z, *self.conditionals(z)[:2])

    def log_prob(self, z: jax.Array) -> jax.Array:
        """log q(z|x), [..., B, L] to [..., B]."""
        return sums.over_last(self.log_probs(z))


def _added(found: list[jax.Array], of_group: Iterable[jax.Array]) -> list[jax.Array]:
    """Sums of arrays of equal shapes, one by one; the second ones if there are no first."""
    if not found:
        return [*of_group]
    return [a + b for a, b in zip(found, of_group, strict=True)]
