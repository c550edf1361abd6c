"""Planar flow: a Gaussian pushed and pulled along a few planes, one after another."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp

from vae_jax import sums
from vae_jax.latents import where_kept
from vae_jax.posteriors._flow import Flowed, log_slope, solve
from vae_jax.posteriors._posterior import Posterior, gaussian, lift

__all__ = ["Planar", "PlanarFlow"]

_LEAST = -7.0
"""The smallest logarithm of the slope of a step across its plane, a scalar."""
_TINY = 1e-12


@dataclasses.dataclass(frozen=True)
class Planar(Posterior):
    """z = f_T(… f_1(ε)), f(ε) = ε + û tanh(wᵀε + b), ε ~ N(m, diag exp(logvar)) over [L].

    The encoder returns m, logvar and for each step w, u and b; b is the mean of L numbers. û is u,
    moved along w so that wᵀû > −1 and f is invertible; u stays as it is if wᵀu ≥ 0. The inverse
    solves an equation of one number for each step, which rises, so log q(z|x) of any z is known.

    Attributes:
        num_steps: T.

    Reference:
        Rezende & Mohamed 2015, Variational Inference with Normalizing Flows, arXiv 1505.05770,
        equations 10 to 12 and appendix A.1. Theirs has wᵀû = log(1 + exp(wᵀu)) − 1, so that u = 0
        moves codes; here wᵀû = exp(wᵀu) − 1 if wᵀu < 0.
    """

    num_steps: int = 10

    def parts_for(self, latent_dim):
        del latent_dim
        names = ("normal", "shift", "offset")
        return ("mean", "logvar", *(f"{name} {i}" for i in range(self.num_steps) for name in names))

    def posterior(self, params, parts, latent_mask=None):
        del params
        mean, logvar, *own = parts
        base = gaussian(mean, logvar, latent_mask)
        own = where_kept(jnp.stack(own, axis=1), latent_mask)  # [B, 3 T, L]
        num = sums.over_last(where_kept(jnp.ones_like(own[:, 2::3]), latent_mask))
        offset = sums.over_last(own[:, 2::3]) / num
        return PlanarFlow(base.mean, base.logvar, own[:, ::3], own[:, 1::3], offset)


class _Step(NamedTuple):
    """One step for arrays [..., B, L]: w, û, b and 1 + wᵀû; the last two are [..., B]."""

    normal: jax.Array
    shift: jax.Array
    offset: jax.Array
    slope: jax.Array


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class PlanarFlow(Flowed):
    """q(z|x) of `Planar` for B examples, see `Flowed`.

    Attributes:
        base_mean, base_logvar: of ε, [B, L].
        normals: w of each step, [B, T, L].
        shifts: u of each step, [B, T, L].
        offsets: b of each step, [B, T].
    """

    normals: jax.Array
    shifts: jax.Array
    offsets: jax.Array

    def _steps(self, like: jax.Array) -> list[_Step]:
        """The steps in their order, with axes of size 1 in front for arrays like [..., B, L]."""
        steps = []
        for index in range(self.normals.shape[1]):
            normal, shift = self.normals[:, index], self.shifts[:, index]
            along = sums.over_last(normal * shift)
            # wᵀû = exp(wᵀu) − 1 if wᵀu < 0
            high, low = jnp.maximum(along, 0.0), jnp.clip(along, _LEAST, 0.0)
            wanted, slope = high + jnp.expm1(low), high + jnp.exp(low)
            square = jnp.maximum(sums.over_last(jnp.square(normal)), _TINY)
            moved = shift + normal * ((wanted - along) / square)[:, None]
            of_vectors = (lift(values, like) for values in (normal, moved))
            of_numbers = (lift(v, like[..., 0]) for v in (self.offsets[:, index], slope))
            steps.append(_Step(*of_vectors, *of_numbers))
        return steps

    def forward(self, noise):
        log_det = jnp.zeros(noise.shape[:-1])
        for step in self._steps(noise):
            value = sums.over_last(step.normal * noise) + step.offset
            noise = noise + step.shift * jnp.tanh(value)[..., None]
            log_det = log_det + log_slope(value, jnp.broadcast_to(step.slope, value.shape))
        return noise, log_det

    def backward(self, z):
        for step in reversed(self._steps(z)):
            # wᵀz + b = a + wᵀû tanh a with a = wᵀε + b
            target = sums.over_last(step.normal * z) + step.offset
            value = solve(target, jnp.broadcast_to(step.slope, target.shape))
            z = z - step.shift * jnp.tanh(value)[..., None]
        return z
