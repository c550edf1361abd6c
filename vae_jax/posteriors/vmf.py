"""Von Mises–Fisher: a Gaussian on the sphere, with a uniform prior."""

import dataclasses

import jax
import jax.numpy as jnp

from vae_jax import distributions
from vae_jax.posteriors._sphere import Sphere, Spherical, UniformSphere

__all__ = ["VMF", "VonMisesFisher"]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class VonMisesFisher(Spherical):
    """A density proportional to exp(κ μᵀz) on the sphere, for each of B examples; see `Spherical`.

    Attributes:
        direction: μ, [B, L].
        concentration: κ, [B, 1].
        kept: 1 for each dimension in use, 0 for masked ones, [B, L].
    """

    @staticmethod
    def log_kernel(sin_squared, cos_squared, kappa):
        del cos_squared
        return -2.0 * kappa * sin_squared  # κ (cos θ − 1)

    @staticmethod
    def peak(kappa, num):
        # κ sin² θ = (n − 2) cos θ
        others = num - 2.0
        cos = 2.0 * kappa / (others + jnp.sqrt(jnp.square(others) + 4.0 * jnp.square(kappa)))
        angle = jnp.arctan2(jnp.sqrt(others * cos / kappa), cos)
        # the curvature of (n − 2) log sin θ is κ / cos θ, in 2 dimensions 0
        own = jnp.where(others > 0, kappa / cos, 0.0)
        return angle, 1.0 / jnp.sqrt(kappa * cos + own)


@dataclasses.dataclass(frozen=True)
class VMF(Sphere):
    """q(z|x) ∝ exp(κ μᵀz), |z| = 1, p(z) uniform over [L].

    Its codes lie on the sphere of the dimensions in use, in at least 2 dimensions. The rate has a
    closed form, up to an integral over the angle. Gradients are those of the quantiles of the
    angle, hence unbiased; those of a rejection sampler without its correction are not.

    Reference:
        Davidson et al. 2018, Hyperspherical Variational Auto-Encoders, arXiv 1804.00891, equation
        3; Figurnov et al. 2018, Implicit Reparameterization Gradients, arXiv 1805.08498.
    """

    density = VonMisesFisher


distributions.CLOSED_FORM_KL[VonMisesFisher, UniformSphere] = lambda q, p: q.rate_per_dim(p)
