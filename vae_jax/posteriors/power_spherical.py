"""Power Spherical: like von Mises–Fisher, with broader tails."""

import dataclasses

import jax
import jax.numpy as jnp

from vae_jax import distributions
from vae_jax.posteriors._sphere import Sphere, Spherical, UniformSphere

__all__ = ["PowerSpherical", "PowerSphericalDensity"]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class PowerSphericalDensity(Spherical):
    """A density proportional to (1 + μᵀz)^κ on the sphere, for B examples; see `Spherical`.

    Attributes:
        direction: μ, [B, L].
        concentration: κ, [B, 1].
        kept: 1 for each dimension in use, 0 for masked ones, [B, L].
    """

    @staticmethod
    def log_kernel(sin_squared, cos_squared, kappa):
        # κ log ½(1 + cos θ), exact at both ends
        is_near = sin_squared < 0.5
        near = jnp.log1p(-jnp.where(is_near, sin_squared, 0.0))
        far = jnp.log(jnp.where(is_near, 1.0, jnp.maximum(cos_squared, 1e-30)))
        return kappa * jnp.where(is_near, near, far)

    @staticmethod
    def peak(kappa, num):
        # 2κ tan² ½θ = (n − 2) (1 − tan² ½θ)
        others = num - 2.0
        square = others / (2.0 * kappa + others)
        own = 0.25 * jnp.square(1.0 + square) * (2.0 * kappa + others)
        curvature = 0.5 * kappa * (1.0 + square) + jnp.where(others > 0, own, 0.0)
        return 2.0 * jnp.arctan(jnp.sqrt(square)), 1.0 / jnp.sqrt(curvature)


@dataclasses.dataclass(frozen=True)
class PowerSpherical(Sphere):
    """q(z|x) ∝ (1 + μᵀz)^κ, |z| = 1, p(z) uniform over [L].

    Its codes lie on the sphere of the dimensions in use, in at least 2 dimensions. The rate has a
    closed form, up to an integral over the angle; gradients are unbiased, see `VMF`.

    Reference:
        De Cao & Aziz 2020, The Power Spherical distribution, arXiv 2006.04437, equation 9.
    """

    density = PowerSphericalDensity


distributions.CLOSED_FORM_KL[PowerSphericalDensity, UniformSphere] = lambda q, p: q.rate_per_dim(p)
