"""The ladder VAE: layers inferred from the top to the bottom, prior and evidence merged in each."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp

from vae_jax import distributions, flows, modules, rates, sums
from vae_jax.latents import where_kept
from vae_jax.posteriors import _hierarchy
from vae_jax.posteriors._hierarchy import HierarchicalPrior, dense
from vae_jax.posteriors._layers import GroupedPosterior, Layers
from vae_jax.posteriors._posterior import gaussian, lift

__all__ = ["Ladder", "LadderPosterior"]

_MOMENTUM = 0.99
"""Of the running statistics, a scalar."""
_EPSILON = 1e-5
"""Added to the variance of a batch, a scalar."""


@dataclasses.dataclass(frozen=True)
class Ladder(Layers):
    """q(z_i|z_{i+1}, x) ∝ N(z_i; m_i(x), v_i(x)) p(z_i|z_{i+1}), q(z_G|x) = N(m_G, v_G) over [L].

    p(z) = p(z_G) Π_i p(z_i|z_{i+1}). Each group has twice as many dimensions as the one above. The
    evidence of group 1 is the encoder's mean and log variance, that of the groups above comes from
    further layers on its features. The product of two Gaussians weights their means by precision.
    The decoder reads z_1. One group is the usual Gaussian.

    Attributes:
        num_groups: G.
        group_width: units of each of the two hidden layers between groups.
        num_features: numbers that the encoder passes up, for each dimension of the code.
        normalization: of the hidden layers on the encoder's features: none, or batch (batch norm).

    Reference:
        Sønderby et al. 2016, Ladder Variational Autoencoders, arXiv 1602.02282, equations 17 to 19,
        section 2.2 (batch normalization); Ioffe and Szegedy 2015, arXiv 1502.03167, algorithm 1.
    """

    num_features: int = 2
    normalization: str = "none"

    choices: ClassVar[dict[str, tuple[str, ...]]] = {"normalization": ("none", "batch")}

    def parts_for(self, latent_dim):
        del latent_dim
        num = self.num_features if self.num_groups > 1 else 0
        return ("mean", "logvar", *(f"features {index}" for index in range(num)))

    def init(self, key, latent_dim, latent_mask=None):
        num = flows.num_kept(latent_dim, latent_mask)
        up = {}
        for index in range(1, self.num_groups):
            first, *keys = jax.random.split(jax.random.fold_in(key, self.num_groups + index), 4)
            hidden = self._first(first, latent_dim, num) if index == 1 else self._next(first)
            if self.normalization == "batch":
                hidden["scale"] = jnp.ones(self.group_width)
            up[f"up_{index}"] = {"hidden": hidden, **self._heads(keys, latent_dim)}
        return {**super().init(key, latent_dim, latent_mask), **up}

    def init_statistics(self, latent_dim):
        if self.normalization == "none":
            return {}
        width = self.group_width
        own = {"mean": jnp.zeros(width), "var": jnp.ones(width)}
        return {f"up_{index}": own for index in range(1, self.num_groups)}

    def update_statistics(self, params, statistics, parts, latent_mask=None):
        _, found = self._hidden(params, self._passed(parts, latent_mask))

        def move(before, of_batch):
            return _MOMENTUM * before + (1.0 - _MOMENTUM) * of_batch

        return jax.tree.map(move, statistics, found)

    def _first(self, key, latent_dim, num) -> dict:
        """A layer on the encoder's features [B, C, L]."""
        keys = jax.random.split(key, self.num_features)
        kernel = jnp.stack([flows.each_dimension(k, latent_dim, self.group_width).T for k in keys])
        fan_in = jnp.maximum(self.num_features * num, 1.0)
        return {"kernel": kernel / jnp.sqrt(fan_in), "bias": jnp.zeros(self.group_width)}

    def _next(self, key) -> dict:
        """A layer on the hidden units of the group below."""
        kernel = jax.nn.initializers.lecun_normal()(key, (self.group_width, self.group_width))
        return {"kernel": kernel, "bias": jnp.zeros(self.group_width)}

    def _heads(self, keys, latent_dim) -> dict:
        """Layers from hidden units to mean and log variance."""
        names = ("mean", "logvar")
        return {
            name: {
                "kernel": flows.each_dimension(key, latent_dim, self.group_width)
                / self.group_width**0.5,
                "bias": jnp.zeros(latent_dim),
            }
            for name, key in zip(names, keys, strict=False)
        }

    def posterior(self, params, parts, latent_mask=None):
        mean, logvar = parts[:2]
        if self.num_groups == 1:
            return gaussian(mean, logvar, latent_mask)
        members = tuple(_hierarchy.groups(mean.shape[-1], self.num_groups, latent_mask))
        hidden, _ = self._hidden(params, self._passed(parts, latent_mask))
        evidence = self._evidence(params, gaussian(mean, logvar, members[0]), hidden, members)
        prior = self.prior(params, mean.shape[-1], latent_mask)
        order = tuple(reversed(range(self.num_groups)))
        return LadderPosterior(_merged, order, (evidence, prior), evidence.mean, members)

    def _passed(self, parts, latent_mask) -> jax.Array:
        """The features of the encoder, [B, C, L]; 0 where masked."""
        return where_kept(jnp.stack(parts[2:], axis=1), latent_mask)

    def _hidden(self, params, features) -> tuple[list[jax.Array], dict]:
        """Hidden units [B, H] of each group but the lowest, and their moments over the batch."""
        known, of_batch, found = params.get(modules.STATISTICS), {}, []
        for index in range(1, self.num_groups):
            own, name = params[f"up_{index}"]["hidden"], f"up_{index}"
            if index == 1:
                read = jnp.einsum("bcl,clh->bh", features, own["kernel"], precision="highest")
            else:
                read = jnp.matmul(found[-1], own["kernel"], precision="highest")
            if self.normalization == "batch":
                of_batch[name] = {"mean": jnp.mean(read, axis=0), "var": jnp.var(read, axis=0)}
                read = _normalized(read, own["scale"], (known or of_batch)[name])
            found.append(jnp.tanh(read + own["bias"][None]))
        return found, of_batch

    def _evidence(self, params, evidence, hidden, members) -> distributions.DiagonalGaussian:
        """m(x) and log v(x) of all groups, [B, L] each."""
        mean, logvar = evidence
        for index in range(1, self.num_groups):
            own, kept = params[f"up_{index}"], members[index][None]
            mean = mean + dense(own["mean"], hidden[index - 1]) * kept
            logvar = logvar + dense(own["logvar"], hidden[index - 1]) * kept
        return distributions.DiagonalGaussian(mean, logvar)


def _normalized(values: jax.Array, scale: jax.Array, moments: dict) -> jax.Array:
    """scale · (values − mean) / √(var + ε) for values [B, H], and mean, var and scale [H]."""
    factor = scale * jax.lax.rsqrt(moments["var"] + _EPSILON)
    return (values - moments["mean"][None]) * factor[None]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class LadderPosterior(GroupedPosterior):
    """q(z|x) of `Ladder`, see `GroupedPosterior`; arrays [B, L]."""

    def rates_given(self, prior: HierarchicalPrior, z: jax.Array) -> jax.Array:
        """KL(q(z_l|z_above, x) ‖ p(z_l|z_above)) of each dimension at draws z, in nats.

        Its mean over draws is the rate, with less variance than that of log q − log p.

        Args:
            prior: p(z).
            z: [..., B, L].

        Returns:
            The shape of z.
        """
        return distributions.gaussian_kl(*self.conditionals(z)[:2], *prior.conditionals(z))

    def walk(self, prior, key, num_samples=None):
        del prior  # its networks have part in q(z|x), so the path finds both
        noise = _hierarchy.noise_like(self.like, key, num_samples)
        z, found = self._along(noise)
        log_q = sums.over_last(self._log_probs_of(noise, found[1]))
        return rates.Draw(z, log_q, distributions.gaussian_kl(*found))


def _merged(parameters, members, z: jax.Array, index: int) -> tuple[jax.Array, ...]:
    """Mean and log variance of q and of p for a group, given x and the one above it.

    [..., B, L] each, 0 in other groups.
    """
    evidence, prior = parameters
    kept = lift(members[index], z)
    mean, logvar = (lift(values, z) * kept for values in evidence)
    if index == len(members) - 1:  # nothing is above it
        return mean, logvar, jnp.zeros_like(z), jnp.zeros_like(z)
    above, own = prior.networks[index], members[index + 1]
    of_prior = _hierarchy.conditional(above, z, own, members[index])
    precisions = [jnp.exp(-distributions.bound_logvar(each)) for each in (logvar, of_prior[1])]
    both = precisions[0] + precisions[1]
    # m = (m_1 / v_1 + m_2 / v_2) / (1 / v_1 + 1 / v_2)
    merged = (mean * precisions[0] + of_prior[0] * precisions[1]) / both
    return merged * kept, -jnp.log(both) * kept, *of_prior
