"""Inverse autoregressive flow: a flexible posterior whose draws take one pass per step."""

import dataclasses

import jax
import jax.numpy as jnp

from vae_jax import flows
from vae_jax.latents import where_kept
from vae_jax.posteriors._flow import Flowed
from vae_jax.posteriors._posterior import Posterior, gaussian

__all__ = ["IAF", "InverseFlow"]


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
class InverseFlow(Flowed):
    """q(z|x) of `IAF` for B examples, see `Flowed`.

    Attributes:
        base_mean, base_logvar: of ε, [B, L].
        context: [B, C, L].
        steps: the networks of the steps, pytrees of any shapes.
        latent_mask: None or [L] of zeros and ones.
    """

    context: jax.Array
    steps: tuple
    latent_mask: jax.Array | None

    def forward(self, noise):
        log_det = jnp.zeros(noise.shape[:-1])
        for index, step in enumerate(self.steps):
            noise, change = flows.autoregressive_inverse(
                step, index, self.latent_mask, noise, self.context
            )
            log_det = log_det + change
        return noise, log_det

    def backward(self, z):
        # L passes per step
        for index, step in reversed([*enumerate(self.steps)]):
            z = flows.autoregressive_forward(step, index, self.latent_mask, z, self.context)
        return z
