"""Normals on the Poincaré ball, the hyperbolic space in which trees fit."""

import dataclasses
import math
from typing import ClassVar

import jax
import jax.numpy as jnp

from vae_jax import distributions, moments, sums
from vae_jax.distributions import DiagonalGaussian
from vae_jax.errors import UsageError
from vae_jax.latents import where_kept
from vae_jax.posteriors import _radial
from vae_jax.posteriors._posterior import Posterior, Summary, lift
from vae_jax.posteriors._sphere import log_area, unit

__all__ = ["Poincare", "RiemannianNormal", "WrappedNormal"]

_BORDER = 1.0 - 1e-5
"""Codes are at most this long, a scalar; float32 resolves distances to 1 % there."""
_REACH = 12.0
"""The distance of the border from the origin, a scalar: 2 artanh(1 − 10⁻⁵) is 12.2."""
_CENTER = 9.0
"""The largest distance of a mean from the origin, a scalar."""
_LEVEL = 2**32 - 1
"""Folded into a key for the radius of a draw; larger than any latent dimension."""
_TINY = 1e-30


@dataclasses.dataclass(frozen=True)
class Poincare(Posterior):
    """q(z|x) = N(m, σ²) on the ball |z| < 1 of curvature −1, p(z) = N(0, 1) there over [L].

    The encoder returns two arrays [B, L], a mean, which the exponential map at 0 puts onto the ball
    at a distance of its length, at most 9, and logvar. Densities are per unit of z, dz_1 … dz_n, so
    they compare with each other. The rate is log q(z|x) − log p(z) at draws. Variances are bounded
    smoothly, so that the border is 5 deviations away from the mean distance of a draw: float32
    resolves distances from 0 up to 12. Masked dimensions of codes are 0.

    Attributes:
        ball_normal: wrapped (a Gaussian in the tangent space at m, with a variance for each
            dimension) or riemannian (density exp(−distance² / 2σ²), one variance, at most 8
            dimensions).

    Reference:
        Mathieu et al. 2019, Continuous Hierarchical Representations with Poincaré Variational
        Auto-Encoders, arXiv 1901.06033, section 3.2; Nagano et al. 2019, A Wrapped Normal
        Distribution on Hyperbolic Space, arXiv 1902.02992, section 3.
    """

    ball_normal: str = "wrapped"

    parts: ClassVar[tuple[str, ...]] = ("mean", "logvar")
    takes_priors: ClassVar[bool] = False
    choices: ClassVar[dict[str, tuple[str, ...]]] = {"ball_normal": ("wrapped", "riemannian")}

    def check(self, latent_dim):
        most = self._density.most_dims
        if latent_dim > most:
            raise UsageError(
                f"latent_dim={latent_dim}: must be at most {most} for ball_normal="
                f"{self.ball_normal}, draws of more dimensions lie on the border of the ball in "
                f"float32: give latent_dim={most} or less, or leave posterior out"
            )

    @property
    def _density(self) -> type["_BallNormal"]:
        return WrappedNormal if self.ball_normal == "wrapped" else RiemannianNormal

    def posterior(self, params, parts, latent_mask=None):
        del params
        mean, logvar = (where_kept(part, latent_mask) for part in parts)
        kept = where_kept(jnp.ones_like(mean), latent_mask)
        return self._density.bounded(mean, logvar, kept)

    def prior(self, params, latent_dim, latent_mask=None):
        del params
        zeros = jnp.zeros(latent_dim)
        return self._density(zeros, zeros, where_kept(jnp.ones(latent_dim), latent_mask))

    def onto(self, z):
        return _inside(z)


def _length(values: jax.Array) -> jax.Array:
    """Lengths of vectors [..., L], [..., 1]; that of 0 has no gradient."""
    return jnp.sqrt(jnp.maximum(jnp.sum(jnp.square(values), axis=-1, keepdims=True), _TINY))


def _inside(z: jax.Array) -> jax.Array:
    """Codes [..., L], those near or beyond the border moved to a length of `_BORDER`."""
    return z * jnp.minimum(1.0, _BORDER / _length(z))


def _gap(z: jax.Array) -> jax.Array:
    """1 − |z|² of codes inside the border, [..., L] to [..., 1]."""
    length = jnp.minimum(_length(z), _BORDER)
    return (1.0 - length) * (1.0 + length)


def _log_sinh(radius: jax.Array) -> jax.Array:
    """log sinh r, r ≥ 0 of any shape."""
    radius = jnp.maximum(radius, _TINY)
    return radius + jnp.log(-jnp.expm1(-2.0 * radius)) - math.log(2.0)


@dataclasses.dataclass(frozen=True)
class _BallNormal:
    """A normal on the ball for B examples, or a prior without the axis B.

    Attributes:
        tangent: the center in the tangent space at 0, its length the distance, [B, L] or [L].
        logvar: log variances in distances, the same shape.
        kept: 1 for each dimension in use, 0 for masked ones, the same shape.
    """

    tangent: jax.Array
    logvar: jax.Array
    kept: jax.Array

    most_dims: ClassVar[int]

    @classmethod
    def bounded(cls, mean: jax.Array, logvar: jax.Array, kept: jax.Array) -> "_BallNormal":
        """Makes one from outputs of an encoder, [B, L] each, which may be any numbers."""
        num = jnp.sum(kept, axis=-1, keepdims=True)
        most = 2.0 * jnp.log(cls.largest_deviation(num))
        logvar = most - jax.nn.softplus(most - jnp.maximum(logvar, -distributions.LOGVAR_BOUND))
        tangent = mean * jnp.minimum(1.0, _CENTER / _length(mean))
        return cls(tangent, jnp.broadcast_to(logvar, mean.shape), kept)

    @staticmethod
    def largest_deviation(num: jax.Array) -> jax.Array:
        """σ at which a draw in n dimensions is 5 deviations from the border; of any shape."""
        raise NotImplementedError

    def _away(self, key: jax.Array, num_samples: int | None) -> jax.Array:
        """Draws of vectors in the tangent space at the center, in distances: [(K,) B, L]."""
        raise NotImplementedError

    def _log_density_of(self, vector: jax.Array) -> jax.Array:
        """Log-density per hyperbolic volume at such vectors, [..., B, L] to [..., B]."""
        raise NotImplementedError

    @property
    def num(self) -> jax.Array:
        """n, the number of dimensions in use, [B, 1] or [1]."""
        return jnp.sum(self.kept, axis=-1, keepdims=True)

    def _center(self) -> tuple[jax.Array, jax.Array]:
        """The center on the ball, [B, L], and 1 − its squared length, [B, 1]."""
        return _from_origin(self.tangent)

    def _exp(self, vector: jax.Array) -> jax.Array:
        """The exponential map at the center: vectors [..., B, L] to codes."""
        center, gap = (lift(values, vector) for values in self._center())
        step, own_gap = _from_origin(vector)
        apart = jnp.sum(jnp.square(center + step), axis=-1, keepdims=True)
        z = (gap + apart) * center + gap * step
        return _inside(z / (gap * own_gap + apart))

    def _log(self, z: jax.Array) -> jax.Array:
        """The inverse of `_exp`: codes [..., B, L] to vectors."""
        center, gap = (lift(values, z) for values in self._center())
        own_gap, apart = _gap(z), z - center
        square = jnp.sum(jnp.square(apart), axis=-1, keepdims=True)
        vector = gap * apart - square * center  # its length is √(square · scale)
        scale = gap * own_gap + square
        # the distance is 2 arsinh s
        s = jnp.sqrt(jnp.maximum(square / (gap * own_gap), 1e-8))
        ratio = jnp.where(square / (gap * own_gap) > 1e-8, jnp.arcsinh(s) / s, 1.0)
        return vector * 2.0 * ratio / jnp.sqrt(gap * own_gap * scale)

    def _log_stretch(self, z: jax.Array) -> jax.Array:
        """log of hyperbolic volume per unit of z, n log 2 / (1 − |z|²): [..., B, L] to [..., B]."""
        return lift(self.num[..., 0], z[..., 0]) * jnp.log(2.0 / _gap(z)[..., 0])

    @property
    def mean(self) -> jax.Array:
        """The center, whose expected squared distance from draws is least: [B, L] or [L]."""
        return self._center()[0]

    @property
    def mode(self) -> jax.Array:
        """The center, [B, L] or [L]."""
        return self._center()[0]

    @property
    def deviation(self) -> jax.Array:
        """Standard deviation of each dimension of z, from 64 draws with a fixed key: [B, L] or [L].

        That of a prior is from 4096 draws, the same in each dimension, and 1 in masked ones.
        """
        if self.tangent.ndim > 1:
            return moments.of_draws(self.sample(jax.random.key(0), moments.OF_EACH))[1]
        z = self.sample(jax.random.key(0), moments.OF_PRIOR)
        squares = sum(map(jnp.square, moments.of_draws(z)))  # E z_l²
        own = jnp.sqrt(jnp.sum(squares, axis=-1) / self.num)
        return jnp.where(self.kept > 0, own, 1.0)

    def first(self, num: int):
        """Moments of the first `num` dimensions, [B, num]; of a prior, without masked ones."""
        if self.tangent.ndim > 1:
            return Summary(self.mean, self.mode, self.deviation).first(num)
        return type(self)(self.tangent[:num], self.logvar[:num], self.kept[:num])

    def sample(self, key: jax.Array, num_samples: int | None = None) -> jax.Array:
        """Draws z, [B, L] or [K, B, L]; of a prior [L] or [K, L]; a key for each dimension."""
        return self._exp(self._away(key, num_samples))

    def sample_and_log_prob(
        self, key: jax.Array, num_samples: int | None = None
    ) -> tuple[jax.Array, jax.Array]:
        """Draws z, with log q(z|x) from the vector that was drawn, which is exact at the border."""
        vector = self._away(key, num_samples)
        z = self._exp(vector)
        return z, self._log_density_of(vector) + self._log_stretch(z)

    def log_prob(self, z: jax.Array) -> jax.Array:
        """Log-density per unit of z, [..., B, L] to [..., B]; of a prior [..., L] to [...]."""
        return self._log_density_of(self._log(z)) + self._log_stretch(z)


def _from_origin(vector: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The exponential map at 0, and 1 − the squared length of its result: [..., L], [..., 1]."""
    half = 0.5 * _length(vector)
    return 0.5 * vector * jnp.tanh(half) / half, jnp.square(1.0 / jnp.cosh(half))


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class WrappedNormal(_BallNormal):
    """exp_m(v), v ~ N(0, diag exp(logvar)) in the tangent space at m, in orthonormal coordinates.

    Attributes:
        tangent: the center in the tangent space at 0, its length the distance, [B, L] or [L].
        logvar: log variances in distances, the same shape.
        kept: 1 for each dimension in use, 0 for masked ones, the same shape.
    """

    most_dims: ClassVar[int] = 64

    @staticmethod
    def largest_deviation(num):
        # the length of v is about σ √n, with deviation σ / √2
        return _REACH / (jnp.sqrt(num) + 3.5)

    def _away(self, key, num_samples):
        own = DiagonalGaussian(jnp.zeros_like(self.tangent), self.logvar)
        drawn = own.sample(key, num_samples)
        return drawn * lift(self.kept, drawn)

    def _log_density_of(self, vector):
        terms = distributions.gaussian_log_prob(
            vector,
            jnp.zeros_like(vector),
            jnp.broadcast_to(lift(self.logvar, vector), vector.shape),
        )
        length = _length(vector)[..., 0]
        # exp_m stretches volumes by (sinh r / r)^(n − 1)
        is_far = length > 1e-2
        far = jnp.where(is_far, length, 1.0)
        stretch = jnp.where(is_far, _log_sinh(far) - jnp.log(far), jnp.square(length) / 6.0)
        others = lift(self.num[..., 0], length) - 1.0
        return sums.over_last(terms * lift(self.kept, terms)) - others * stretch


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class RiemannianNormal(_BallNormal):
    """A density proportional to exp(−d(m, z)² / 2σ²) per hyperbolic volume.

    Attributes:
        tangent: the center in the tangent space at 0, its length the distance, [B, L] or [L].
        logvar: log σ², the same in each dimension, the same shape.
        kept: 1 for each dimension in use, 0 for masked ones, the same shape.
    """

    most_dims: ClassVar[int] = 8

    @classmethod
    def bounded(cls, mean, logvar, kept):
        num = jnp.sum(kept, axis=-1, keepdims=True)
        return super().bounded(mean, jnp.sum(logvar, axis=-1, keepdims=True) / num, kept)

    @staticmethod
    def largest_deviation(num):
        # the distance is about (n − 1) σ², with deviation σ: (n − 1) σ² + 5σ reaches the border
        return 2.0 * _REACH / (5.0 + jnp.sqrt(25.0 + 4.0 * _REACH * (num - 1.0)))

    @staticmethod
    def _log_density(radius: jax.Array, params: tuple) -> jax.Array:
        """−r²/2σ² + (n − 1) log sinh r, without its constant; r of any shape."""
        logvar, num = params
        return -0.5 * jnp.square(radius) * jnp.exp(-logvar) + (num - 1.0) * _log_sinh(radius)

    def _tables(self) -> tuple[tuple[jax.Array, jax.Array], _radial.Table]:
        """(log σ², n) and the integral of the radius' density, of each example: [B, …]."""
        params = self.logvar[..., 0], self.num[..., 0]

        def integrate(params):
            logvar, num = params
            # r = (n − 1) σ² coth r, with coth r about √(1 + 1/r²)
            square = jnp.square((num - 1.0) * jnp.exp(logvar))
            center = jnp.sqrt(0.5 * (square + jnp.sqrt(square * (square + 4.0))))
            reach = _radial.REACH * jnp.exp(0.5 * logvar)
            low = jnp.maximum(center - reach, 0.0)
            return _radial.tabulate(self._log_density, params, low, center + reach)

        return params, (jax.vmap(integrate) if self.tangent.ndim > 1 else integrate)(params)

    def _away(self, key, num_samples):
        lead = () if num_samples is None else (num_samples,)
        params, tables = self._tables()
        own_key = jax.random.fold_in(key, jnp.uint32(_LEVEL))
        levels = _radial.uniform(own_key, (*lead, *self.tangent.shape[:-1]))

        def draw(params, table, level):
            return _radial.draw(self._log_density, params, table, level)

        rows = jax.vmap(draw) if self.tangent.ndim > 1 else draw
        rows = jax.vmap(rows, (None, None, 0)) if lead else rows
        noise = DiagonalGaussian(*[jnp.zeros_like(self.tangent)] * 2).sample(key, num_samples)
        return rows(params, tables, levels)[..., None] * unit(noise * lift(self.kept, noise))

    def _log_density_of(self, vector):
        (logvar, num), tables = self._tables()
        constant = tables.log_mass + log_area(num)
        squares = sums.over_last(jnp.square(vector))
        scaled = 0.5 * squares * jnp.exp(-lift(logvar, squares))
        return -scaled - lift(constant, squares)
