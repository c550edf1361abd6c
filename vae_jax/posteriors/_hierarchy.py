"""Codes in groups, each given the group above it: what posteriors of several layers share.

The groups 1 … G lie in each other, so that any number of leading dimensions of [L] has all of them:
each group has twice as many dimensions as the one above it. The decoder reads group 1 alone.
"""

import dataclasses
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from vae_jax import distributions, flows, moments, sums
from vae_jax.distributions import DiagonalGaussian
from vae_jax.posteriors._posterior import lift

__all__ = [
    "HierarchicalPrior",
    "PathPrior",
    "conditional",
    "groups",
    "init_conditional",
    "noise_like",
]

_STATIC = {"static": True}


def groups(latent_dim: int, num_groups: int, latent_mask: jax.Array | None) -> list[jax.Array]:
    """The dimensions of each group, from the lowest to the highest: zeros and ones [L] each.

    Args:
        latent_dim: L, a count.
        num_groups: G, a count.
        latent_mask: None or [L] of zeros and ones.
    """
    place = jnp.arange(latent_dim) % (2**num_groups - 1)
    first, found = 0, []
    for index in range(num_groups):
        size = 2 ** (num_groups - 1 - index)
        is_in = (place >= first) & (place < first + size)
        own = is_in.astype(jnp.float32)
        found.append(own if latent_mask is None else own * latent_mask)
        first += size
    return found


def init_conditional(
    key: jax.Array, latent_dim: int, width: int, group: jax.Array, *, is_zero: bool
) -> dict:
    """A network from one group to the mean and log variance of another.

    Args:
        key: PRNG key, scalar.
        latent_dim: L, a count.
        width: units of each of the two hidden layers, a count.
        group: the dimensions that are read, [L] of zeros and ones.
        is_zero: whether it starts with mean 0 and log variance 0.
    """
    first, second, mean, logvar = jax.random.split(key, 4)
    fan_in = jnp.maximum(sums.over_last(group), 1.0)

    def last(own_key):
        kernel = flows.each_dimension(own_key, latent_dim, width) / width**0.5
        return jnp.zeros_like(kernel) if is_zero else kernel

    kernels = {
        "hidden_0": flows.each_dimension(first, latent_dim, width).T / jnp.sqrt(fan_in),
        "hidden_1": jax.nn.initializers.lecun_normal()(second, (width, width)),
        "mean": last(mean),
        "logvar": last(logvar),
    }
    return {name: {"kernel": k, "bias": jnp.zeros(k.shape[1])} for name, k in kernels.items()}


def dense(own: dict, values: jax.Array) -> jax.Array:
    """A layer with a bias, [..., N] to [..., M]."""
    return jnp.matmul(values, own["kernel"], precision="highest") + lift(own["bias"], values)


def conditional(own: dict, z: jax.Array, read: jax.Array, written: jax.Array) -> Any:
    """Mean and log variance [..., L] of the group `written` given the group `read`, [L] each.

    Args:
        own: from `init_conditional`.
        z: codes, [..., L].
        read, written: groups of zeros and ones, [L].
    """
    hidden = jnp.tanh(dense(own["hidden_0"], z * lift(read, z)))
    hidden = jnp.tanh(dense(own["hidden_1"], hidden))
    kept = lift(written, z)
    return dense(own["mean"], hidden) * kept, dense(own["logvar"], hidden) * kept


def noise_like(parameters: jax.Array, key: jax.Array, num_samples: int | None) -> jax.Array:
    """N(0, 1) in the shape of parameters [B, L], or [K, B, L]; a key for each dimension."""
    zeros = jnp.zeros_like(parameters)
    return DiagonalGaussian(zeros, zeros).sample(key, num_samples)


class PathPrior(moments.Drawn):
    """p(z) over [L] as a path of Gaussians, each group given those above it.

    A frozen dataclass below it has the fields `num`, the number of dimensions of a marginal (the
    others must be masked, None is all), and `temperature`, the factor of all deviations of draws.
    """

    num: int | None
    temperature: float
    num_draws: ClassVar[int] = moments.OF_PRIOR

    @property
    def size(self) -> int:
        """L with the masked dimensions, a count."""
        raise NotImplementedError

    def conditionals(self, z: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Mean and log variance of each dimension given the groups above it: [..., L] each."""
        raise NotImplementedError

    def _along(self, noise: jax.Array) -> jax.Array:
        """z of noise [..., L], from the top to the bottom."""
        raise NotImplementedError

    def at_temperature(self, temperature: float) -> "PathPrior":
        """The same path over [L], with the deviation of each draw times the temperature."""
        return dataclasses.replace(self, temperature=temperature)

    def sample(self, key: jax.Array, num_samples: int | None = None) -> jax.Array:
        """Draws z, a key for each dimension: [L], or [N, L]."""
        noise = noise_like(jnp.zeros(self.size), key, num_samples)
        z = self._along(noise if self.temperature == 1 else self.temperature * noise)
        return z[..., : self.num]

    def log_probs(self, z: jax.Array) -> jax.Array:
        """log p(z_l | the groups above) of each dimension, whose sum is log p(z): [..., L]."""
        padded = jnp.pad(z, [*[(0, 0)] * (z.ndim - 1), (0, self.size - z.shape[-1])])
        mean, logvar = self.conditionals(padded)
        return distributions.gaussian_log_prob(padded, mean, logvar)[..., : z.shape[-1]]

    def log_prob(self, z: jax.Array) -> jax.Array:
        """log p(z), [..., L] to [...]."""
        return sums.over_last(self.log_probs(z))

    def first(self, num: int) -> "PathPrior":
        """The marginal of the first `num` dimensions, if the others are masked: [num]."""
        return dataclasses.replace(self, num=num)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class HierarchicalPrior(PathPrior):
    """p(z) = p(z_G) Π_i p(z_i | z_{i+1}), all Gaussian; N(0, I) at the top and where masked.

    Attributes:
        networks: of p(z_i | z_{i+1}), from the lowest, G − 1 pytrees.
        members: the groups from the lowest, [L] of zeros and ones each.
        num, temperature: see `PathPrior`.
    """

    networks: tuple[dict, ...]
    members: tuple[jax.Array, ...]
    num: int | None = dataclasses.field(default=None, metadata=_STATIC)
    temperature: float = dataclasses.field(default=1.0, metadata=_STATIC)

    @property
    def size(self) -> int:
        return self.members[0].shape[0]

    def conditionals(self, z: jax.Array) -> tuple[jax.Array, jax.Array]:
        mean, logvar = jnp.zeros_like(z), jnp.zeros_like(z)
        for index, own in enumerate(self.networks):
            of_group = conditional(own, z, self.members[index + 1], self.members[index])
            mean, logvar = mean + of_group[0], logvar + of_group[1]
        return mean, logvar

    def _along(self, noise: jax.Array) -> jax.Array:
        # the group at the top, and what is masked
        z = noise * lift(1.0 - sum(self.members[:-1], jnp.zeros_like(self.members[0])), noise)
        for index in reversed(range(len(self.networks))):
            own, kept = self.networks[index], lift(self.members[index], noise)
            mean, logvar = conditional(own, z, self.members[index + 1], self.members[index])
            deviation = jnp.exp(0.5 * distributions.bound_logvar(logvar))
            z = z + kept * (mean + deviation * noise)
        return z
