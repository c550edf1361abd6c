"""Densities on the unit sphere that depend on the angle to a mean direction alone."""

import dataclasses
import math
from typing import ClassVar

import jax
import jax.numpy as jnp

from vae_jax import distributions, sums
from vae_jax.distributions import DiagonalGaussian
from vae_jax.errors import UsageError
from vae_jax.latents import where_kept
from vae_jax.posteriors import _radial
from vae_jax.posteriors._posterior import Posterior, Summary, lift

__all__ = ["Sphere", "Spherical", "UniformSphere", "log_area", "unit"]

_ANGLE = 2**32 - 1
"""Folded into a key for the angle of a draw; larger than any latent dimension."""
_MOST = 1e5
"""The largest concentration, a scalar: in float32, codes of a larger one are hardly apart."""
_TINY = 1e-30


def log_area(num: jax.Array) -> jax.Array:
    """log of the area of the unit sphere in n ≥ 1 dimensions, 2 π^(n/2) / Γ(n/2); a scalar."""
    return math.log(2.0) + 0.5 * num * math.log(math.pi) - jax.scipy.special.gammaln(0.5 * num)


def unit(values: jax.Array) -> jax.Array:
    """Vectors [..., L] divided by their lengths; the first axis for one of length 0."""
    square = jnp.sum(jnp.square(values), axis=-1, keepdims=True)
    is_zero = square < _TINY
    length = jnp.sqrt(jnp.where(is_zero, 1.0, square))
    axis = jnp.broadcast_to(jnp.eye(1, values.shape[-1])[0], values.shape)
    return jnp.where(is_zero, axis, values / length)


@dataclasses.dataclass(frozen=True)
class Sphere(Posterior):
    """A family on the sphere |z| = 1 in the dimensions in use; p(z) is uniform on it.

    A density is with respect to the sphere's area. The encoder returns two arrays [B, L]: the first
    one divided by its length is the mean direction, the mean of the second one over dimensions
    gives the concentration κ = 1 + softplus(·). Masked dimensions of codes are 0.

    Reference:
        Davidson et al. 2018, Hyperspherical Variational Auto-Encoders, arXiv 1804.00891, section 3.
    """

    parts: ClassVar[tuple[str, ...]] = ("mean", "concentration")
    takes_priors: ClassVar[bool] = False
    density: ClassVar[type["Spherical"]]

    def check(self, latent_dim):
        if latent_dim < 2:
            raise UsageError(
                f"latent_dim={latent_dim}: a sphere has at least 2 dimensions: give latent_dim=2 "
                "or more, or leave posterior out"
            )

    def posterior(self, params, parts, latent_mask=None):
        del params
        mean, second = (where_kept(part, latent_mask) for part in parts)
        kept = where_kept(jnp.ones_like(mean), latent_mask)
        num = jnp.sum(kept, axis=-1, keepdims=True)
        concentration = 1.0 + jax.nn.softplus(jnp.sum(second, axis=-1, keepdims=True) / num)
        return self.density(unit(mean), jnp.minimum(concentration, _MOST), kept)

    def prior(self, params, latent_dim, latent_mask=None):
        del params
        return UniformSphere(where_kept(jnp.ones(latent_dim), latent_mask))

    def onto(self, z):
        return unit(z)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class UniformSphere:
    """The uniform density on the unit sphere of the dimensions in use.

    Attributes:
        kept: 1 for each dimension in use, 0 for masked ones, [L].
    """

    kept: jax.Array

    @property
    def mean(self) -> jax.Array:
        """E[z] = 0, [L]."""
        return jnp.zeros_like(self.kept)

    @property
    def deviation(self) -> jax.Array:
        """Standard deviation of each dimension, 1/√n, [L]; 1 in masked dimensions."""
        return jnp.where(self.kept > 0, 1.0 / jnp.sqrt(jnp.sum(self.kept)), 1.0)

    def first(self, num: int) -> "UniformSphere":
        """The same without masked dimensions after the first `num`, [num]."""
        return UniformSphere(self.kept[:num])

    def sample(self, key: jax.Array, num_samples: int | None = None) -> jax.Array:
        """Draws z, [L] or [N, L]: normal numbers, a key for each dimension, over their length."""
        noise = distributions.standard_gaussian(len(self.kept)).sample(key, num_samples)
        return unit(where_kept(noise, self.kept))

    def log_prob(self, z: jax.Array) -> jax.Array:
        """Minus the log of the sphere's area, [..., L] to [...]."""
        return jnp.full(z.shape[:-1], -log_area(jnp.sum(self.kept)))


@dataclasses.dataclass(frozen=True)
class Spherical:
    """A density proportional to exp(k(θ)) on the sphere, θ the angle of z to a mean direction.

    The angle has the density exp(k(θ)) sin^(n−2) θ over [0, π], which is integrated numerically.

    Attributes:
        direction: the mean direction, [B, L].
        concentration: κ, [B, 1].
        kept: 1 for each dimension in use, 0 for masked ones, [B, L].
    """

    direction: jax.Array
    concentration: jax.Array
    kept: jax.Array

    @staticmethod
    def log_kernel(sin_squared: jax.Array, cos_squared: jax.Array, kappa: jax.Array) -> jax.Array:
        """k(θ), at most 0, from sin² ½θ, cos² ½θ and κ of one shape […]."""
        raise NotImplementedError

    @staticmethod
    def peak(kappa: jax.Array, num: jax.Array) -> tuple[jax.Array, jax.Array]:
        """The likeliest angle in n dimensions, and a scale of its deviation; scalars."""
        raise NotImplementedError

    @property
    def num(self) -> jax.Array:
        """n, the number of dimensions in use, [B]."""
        return jnp.sum(self.kept, axis=-1)

    def _log_density(self, angle: jax.Array, params: tuple) -> jax.Array:
        """k(θ) + (n − 2) log sin θ of angles [...], without its constant."""
        kappa, num = params
        sin, cos = jnp.sin(0.5 * angle), jnp.cos(0.5 * angle)
        kernel = self.log_kernel(jnp.square(sin), jnp.square(cos), jnp.full_like(angle, kappa))
        return kernel + (num - 2.0) * jnp.log(jnp.maximum(2.0 * sin * cos, _TINY))

    def _tables(self) -> tuple[tuple[jax.Array, jax.Array], _radial.Table]:
        """(κ, n) and the integral of the angle's density, of each example: [B, …]."""
        params = self.concentration[:, 0], self.num

        def integrate(params):
            center, deviation = self.peak(*params)
            low = jnp.maximum(center - _radial.REACH * deviation, 0.0)
            high = jnp.minimum(center + _radial.REACH * deviation, math.pi)
            return _radial.tabulate(self._log_density, params, low, high)

        return params, jax.vmap(integrate)(params)

    def _moments(self) -> tuple[jax.Array, jax.Array, jax.Array]:
        """1 − E t, Var t and E[1 − t²] of t = cos θ, [B] each."""
        _, tables = self._tables()

        def moments(table):
            below = 2.0 * jnp.square(jnp.sin(0.5 * table.nodes))  # 1 − t
            mean = table.mean_of(below)
            variance = table.mean_of(jnp.square(below - mean))
            return mean, variance, table.mean_of(jnp.square(jnp.sin(table.nodes)))

        return jax.vmap(moments)(tables)

    @property
    def mean(self) -> jax.Array:
        """E[z], shorter than 1, [B, L]."""
        return (1.0 - self._moments()[0][:, None]) * self.direction

    @property
    def mode(self) -> jax.Array:
        """The mean direction, [B, L]."""
        return self.direction

    @property
    def deviation(self) -> jax.Array:
        """Standard deviation of each dimension, [B, L]."""
        _, along, across = (values[:, None] for values in self._moments())
        squares = jnp.square(self.direction)
        across = across / (self.num[:, None] - 1.0) * (1.0 - squares)
        return jnp.sqrt(along * squares + across) * self.kept

    def first(self, num: int) -> Summary:
        """Moments of the first `num` dimensions, [B, num]."""
        return Summary(self.mean, self.mode, self.deviation).first(num)

    def sample(self, key: jax.Array, num_samples: int | None = None) -> jax.Array:
        """Draws z = cos θ · direction + sin θ · v, v uniform and orthogonal: [B, L] or [K, B, L].

        θ is a quantile of its distribution, so the gradient of a mean over draws is unbiased. Each
        dimension of v has its own key.
        """
        lead = () if num_samples is None else (num_samples,)
        params, tables = self._tables()
        own_key = jax.random.fold_in(key, jnp.uint32(_ANGLE))
        levels = _radial.uniform(own_key, (*lead, len(self.direction)))

        def draw(params, table, level):
            return _radial.draw(self._log_density, params, table, level)

        rows = jax.vmap(draw)
        rows = jax.vmap(rows, (None, None, 0)) if lead else rows
        angles = rows(params, tables, levels)[..., None]
        noise = DiagonalGaussian(*[jnp.zeros_like(self.direction)] * 2).sample(key, num_samples)
        direction = lift(self.direction, noise)
        return jnp.cos(angles) * direction + jnp.sin(angles) * self._tangent(direction, noise)

    def _tangent(self, direction: jax.Array, noise: jax.Array) -> jax.Array:
        """Unit vectors orthogonal to the direction, uniform on these, from noise [..., B, L].

        Noise orthogonal to the first axis is reflected; the reflection moves this axis to the
        direction or its opposite, whichever is farther, so it is never ill-conditioned.
        """
        is_other = jnp.arange(noise.shape[-1]) > 0
        kept = lift(jnp.where(is_other[None, :], self.kept, 0.0), noise)
        noise = noise * kept
        square = jnp.maximum(jnp.sum(jnp.square(noise), axis=-1, keepdims=True), _TINY)
        noise = noise / jnp.sqrt(square)
        first = direction[..., :1]
        sign = jnp.where(first < 0, -1.0, 1.0)
        normal = jnp.concatenate([first + sign, direction[..., 1:]], axis=-1)
        along = jnp.sum(direction * noise, axis=-1, keepdims=True)
        return noise - normal * along / (1.0 + jnp.abs(first))

    def log_prob(self, z: jax.Array) -> jax.Array:
        """log q(z|x) of codes of length 1, per unit of the sphere's area: [..., B, L] to [..., B].

        The angle is taken from the distances to the direction and its opposite, which is exact for
        small angles too.
        """
        _, tables = self._tables()
        direction = lift(self.direction, z)
        sin_squared = 0.25 * sums.over_last(jnp.square(z - direction))
        cos_squared = 0.25 * sums.over_last(jnp.square(z + direction))
        kappa = jnp.broadcast_to(lift(self.concentration[:, 0], sin_squared), sin_squared.shape)
        log_mass = tables.log_mass + log_area(self.num - 1.0)
        return self.log_kernel(sin_squared, cos_squared, kappa) - lift(log_mass, sin_squared)

    def rate_per_dim(self, prior: UniformSphere) -> jax.Array:
        """KL(q(z|x) ‖ uniform) = E[k(θ)] − log ∫ exp k + log area, spread evenly: [B, L] in nats.

        Masked dimensions have 0.
        """
        del prior
        (kappa, num), tables = self._tables()

        def divergence(kappa, table):
            half = 0.5 * table.nodes
            squares = jnp.square(jnp.sin(half)), jnp.square(jnp.cos(half))
            kernel = self.log_kernel(*squares, jnp.full_like(half, kappa))
            return table.mean_of(kernel) - table.log_mass

        nats = jax.vmap(divergence)(kappa, tables) + log_area(num) - log_area(num - 1.0)
        return (nats / num)[:, None] * self.kept
