"""Inverse autoregressive flow: a flexible posterior whose draws take one pass per step."""

import dataclasses
import functools

import jax
import jax.numpy as jnp

from vae_jax import distributions, flows
from vae_jax.latents import where_kept
from vae_jax.posteriors._posterior import Posterior, Summary, gaussian

__all__ = ["IAF", "InverseFlow"]

_NUM_FOR_MOMENTS = 64
_STATIC = {"static": True}


@dataclasses.dataclass(frozen=True)
class IAF(Posterior):
    """z = f_T(… f_1(ε)), f(ε)_l = (ε_l − t_l(ε_<l, c)) exp(−s_l(ε_<l, c)) over [L].

    ε ~ N(m, diag exp(logvar)). The encoder returns m, logvar and a context c, which the masked
    network of each step reads too. Every second step takes the dimensions in reverse. It starts as
    the Gaussian of ε. A draw and its density take T passes; the density of another z takes L passes
    per step, so the objectives stl, dreg and tvo, which ask for it, are slow.

    Attributes:
        num_steps: T.
        step_width: units of each of the two hidden layers of (s, t).
        num_context: numbers of context for each dimension of the code.

    Reference:
        Kingma et al. 2016, Improving Variational Inference with Inverse Autoregressive Flow, arXiv
        1606.04934, equations 9 to 11.
    """

    num_steps: int = 4
    step_width: int = 320
    num_context: int = 1

    def parts_for(self, latent_dim):
        del latent_dim
        return ("mean", "logvar", *(f"context {i}" for i in range(self.num_context)))

    def init(self, key, latent_dim, latent_mask=None):
        num = flows.num_kept(latent_dim, latent_mask)
        keys = jax.random.split(key, self.num_steps)
        sizes = {"num_context": self.num_context, "num_in_use": num}
        steps = [
            flows.init_network(k, latent_dim, self.step_width, 0.5 * num, **sizes) for k in keys
        ]
        return {f"step_{index}": step for index, step in enumerate(steps)}

    def posterior(self, params, parts, latent_mask=None):
        mean, logvar, *context = parts
        base = gaussian(mean, logvar, latent_mask)
        context = where_kept(jnp.stack(context, axis=1), latent_mask)
        steps = tuple(params[f"step_{index}"] for index in range(self.num_steps))
        return InverseFlow(base.mean, base.logvar, context, steps, latent_mask)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class InverseFlow:
    """q(z|x) of `IAF` for B examples.

    Attributes:
        base_mean, base_logvar: of ε, [B, L].
        context: [B, C, L].
        steps: the networks of the steps, pytrees of any shapes.
        latent_mask: None or [L] of zeros and ones.
    """

    base_mean: jax.Array
    base_logvar: jax.Array
    context: jax.Array
    steps: tuple
    latent_mask: jax.Array | None

    @property
    def base(self) -> distributions.DiagonalGaussian:
        """The density of ε, [B, L]."""
        return distributions.DiagonalGaussian(self.base_mean, self.base_logvar)

    def _flow(self, noise: jax.Array) -> tuple[jax.Array, jax.Array]:
        """(z, log |∂z/∂ε|) of ε [..., B, L]."""
        log_det = jnp.zeros(noise.shape[:-1])
        for index, step in enumerate(self.steps):
            noise, change = flows.autoregressive_inverse(
                step, index, self.latent_mask, noise, self.context
            )
            log_det = log_det + change
        return noise, log_det

    @property
    def mode(self) -> jax.Array:
        """The code of ε = m, at the center of the draws, [B, L]."""
        return self._flow(self.base_mean)[0]

    @functools.cached_property
    def _moments(self) -> tuple[jax.Array, jax.Array]:
        z = self.sample(jax.random.key(0), _NUM_FOR_MOMENTS)
        return jnp.mean(z, axis=0), jnp.std(z, axis=0)

    @property
    def mean(self) -> jax.Array:
        """E[z|x], [B, L]: the mean of 64 draws with a fixed key."""
        return self._moments[0]

    @property
    def deviation(self) -> jax.Array:
        """Standard deviation of each dimension, [B, L]: that of 64 draws with a fixed key."""
        return self._moments[1]

    def first(self, num: int) -> Summary:
        """Moments of the first `num` dimensions, [B, num]."""
        return Summary(self.mean, self.mode, self.deviation).first(num)

    def sample(self, key: jax.Array, num_samples: int | None = None) -> jax.Array:
        """Draws z, each dimension of ε with its own key: [B, L] or [K, B, L]."""
        return self.sample_and_log_prob(key, num_samples)[0]

    def sample_and_log_prob(
        self, key: jax.Array, num_samples: int | None = None
    ) -> tuple[jax.Array, jax.Array]:
        """Draws z and its log q(z|x), one pass per step: ([B, L], [B]), or with [K, …] in front."""
        noise = self.base.sample(key, num_samples)
        z, log_det = self._flow(noise)
        return z, self.base.log_prob(noise) - log_det

    def log_prob(self, z: jax.Array) -> jax.Array:
        """log q(z|x) of any z, [..., B, L] to [..., B], in L passes per step."""
        noise = z
        for index, step in reversed([*enumerate(self.steps)]):
            noise = flows.autoregressive_forward(step, index, self.latent_mask, noise, self.context)
        return self.base.log_prob(noise) - self._flow(noise)[1]
