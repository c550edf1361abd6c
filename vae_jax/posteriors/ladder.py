"""The ladder VAE: layers inferred from the top to the bottom, prior and evidence merged in each."""

import dataclasses

import jax
import jax.numpy as jnp

from vae_jax import distributions, flows
from vae_jax.latents import where_kept
from vae_jax.posteriors import _hierarchy
from vae_jax.posteriors._hierarchy import HierarchicalPrior, dense
from vae_jax.posteriors._layers import GroupedPosterior, Layers
from vae_jax.posteriors._posterior import gaussian, lift

__all__ = ["Ladder", "LadderPosterior"]


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

    Reference:
        Sønderby et al. 2016, Ladder Variational Autoencoders, arXiv 1602.02282, equations 17 to 19.
    """

    num_features: int = 2

    def parts_for(self, latent_dim):
        del latent_dim
        num = self.num_features if self.num_groups > 1 else 0
        return ("mean", "logvar", *(f"features {index}" for index in range(num)))

    def init(self, key, latent_dim, latent_mask=None):
        num = flows.num_kept(latent_dim, latent_mask)
        up = {}
        for index in range(1, self.num_groups):
            first, *keys = jax.random.split(jax.random.fold_in(key, self.num_groups + index), 4)
            up[f"up_{index}"] = {
                "hidden": self._first(first, latent_dim, num) if index == 1 else self._next(first),
                **self._heads(keys, latent_dim),
            }
        return {**super().init(key, latent_dim, latent_mask), **up}

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
        mean, logvar, *features = parts
        if self.num_groups == 1:
            return gaussian(mean, logvar, latent_mask)
        members = tuple(_hierarchy.groups(mean.shape[-1], self.num_groups, latent_mask))
        evidence = gaussian(mean, logvar, members[0])
        passed = where_kept(jnp.stack(features, axis=1), latent_mask)
        evidence = self._evidence(params, evidence, passed, members)
        prior = self.prior(params, mean.shape[-1], latent_mask)
        order = tuple(reversed(range(self.num_groups)))
        return LadderPosterior(_merged, order, (evidence, prior), evidence.mean, members)

    def _evidence(self, params, evidence, features, members) -> distributions.DiagonalGaussian:
        """m(x) and log v(x) of all groups, [B, L] each."""
        mean, logvar = evidence
        own = params["up_1"]["hidden"]
        read = jnp.einsum("bcl,clh->bh", features, own["kernel"], precision="highest")
        hidden = jnp.tanh(read + own["bias"][None])
        for index in range(1, self.num_groups):
            own = params[f"up_{index}"]
            hidden = hidden if index == 1 else jnp.tanh(dense(own["hidden"], hidden))
            kept = members[index][None]
            mean = mean + dense(own["mean"], hidden) * kept
            logvar = logvar + dense(own["logvar"], hidden) * kept
        return distributions.DiagonalGaussian(mean, logvar)


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
        return distributions.gaussian_kl(*self.conditionals(z), *prior.conditionals(z))


def _merged(parameters, members, z: jax.Array, index: int) -> tuple[jax.Array, jax.Array]:
    """Mean and log variance of a group given x and the one above; 0 elsewhere: [..., B, L] each."""
    evidence, prior = parameters
    kept = lift(members[index], z)
    mean, logvar = (lift(values, z) * kept for values in evidence)
    if index == len(members) - 1:  # nothing is above it
        return mean, logvar
    above, own = prior.networks[index], members[index + 1]
    of_prior = _hierarchy.conditional(above, z, own, members[index])
    precisions = [jnp.exp(-distributions.bound_logvar(each)) for each in (logvar, of_prior[1])]
    both = precisions[0] + precisions[1]
    # m = (m_1 / v_1 + m_2 / v_2) / (1 / v_1 + 1 / v_2)
    merged = (mean * precisions[0] + of_prior[0] * precisions[1]) / both
    return merged * kept, -jnp.log(both) * kept
