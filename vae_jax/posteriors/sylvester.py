"""Orthogonal Sylvester flow: a Gaussian moved along several axes at once, which mix."""

import dataclasses

import jax
import jax.numpy as jnp

from vae_jax import sums
from vae_jax.latents import where_kept
from vae_jax.posteriors._flow import Flowed, log_slope, solve
from vae_jax.posteriors._posterior import Posterior, gaussian, lift
from vae_jax.posteriors.householder import reflected

__all__ = ["Sylvester", "SylvesterFlow"]

_LARGEST = 0.999
"""A bound of the diagonals of R and R̃, a scalar."""


@dataclasses.dataclass(frozen=True)
class Sylvester(Posterior):
    """z = f_T(… f_1(ε)), f(ε) = ε + Q R tanh(R̃ Qᵀε + b), ε ~ N(m, diag exp(logvar)) over [L].

    The encoder returns m, logvar, and for each step M vectors, the triangular R and R̃, and b. The
    columns of Q are orthonormal: M columns of the identity, reflected at each vector in turn. The
    diagonals of R and R̃ lie in (−1, 1), so f is invertible. The inverse solves M equations of one
    number for each step, each of which rises, so log q(z|x) of any z is known.

    Attributes:
        num_steps: T.
        num_axes: M; in fewer dimensions, M is their number.

    Reference:
        van den Berg et al. 2018, Sylvester Normalizing Flows for Variational Inference, arXiv
        1803.05649, section 3. There an iteration makes Q orthonormal; reflections are exact and
        reach every Q up to signs, which R and R̃ have too.
    """

    num_steps: int = 4
    num_axes: int = 4

    def parts_for(self, latent_dim):
        num = self._num_axes(latent_dim)
        names = [f"{name} {axis}" for name in ("vector", "row") for axis in range(num)]
        names += ["outer diagonal", "inner diagonal", "offset"]
        steps = range(self.num_steps)
        return ("mean", "logvar", *(f"{name}, step {i}" for i in steps for name in names))

    def _num_axes(self, latent_dim: int) -> int:
        """M for L dimensions, counts."""
        return min(self.num_axes, latent_dim)

    def posterior(self, params, parts, latent_mask=None):
        del params
        mean, logvar, *own = parts
        base = gaussian(mean, logvar, latent_mask)
        size, latent_dim = mean.shape
        num = self._num_axes(latent_dim)
        own = where_kept(jnp.stack(own, axis=1), latent_mask)
        own = own.reshape(size, self.num_steps, 2 * num + 3, latent_dim)
        rows, last = own[:, :, num:-3, :num], own[:, :, -3:, :num]
        diagonals = _LARGEST * jnp.tanh(last[:, :, :2, :, None]) * jnp.eye(num)[None, None, None]
        # the numbers above the diagonal are those of R, the numbers below it those of R̃
        outer = jnp.triu(rows, 1) + diagonals[:, :, 0]
        inner = jnp.tril(rows, -1).swapaxes(-1, -2) + diagonals[:, :, 1]
        axes = _axes(own[:, :, :num], latent_mask)
        return SylvesterFlow(base.mean, base.logvar, axes, outer, inner, last[:, :, 2])


def _axes(vectors: jax.Array, latent_mask: jax.Array | None) -> jax.Array:
    """The columns of Q from the vectors [B, T, M, L], the same shape; 0 beyond those in use."""
    size, num_steps, num, latent_dim = vectors.shape
    starts = where_kept(jnp.eye(num, latent_dim), latent_mask)
    # a vector of length 0 reflects nothing
    vectors = vectors * sums.over_last(starts)[None, None, :, None]
    flat = vectors.reshape(-1, num, latent_dim)
    turned = reflected(flat, jnp.broadcast_to(starts[:, None], (num, len(flat), latent_dim)))
    return turned.swapaxes(0, 1).reshape(size, num_steps, num, latent_dim)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class SylvesterFlow(Flowed):
    """q(z|x) of `Sylvester` for B examples, see `Flowed`.

    Attributes:
        base_mean, base_logvar: of ε, [B, L].
        axes: Qᵀ of each step, [B, T, M, L].
        outer, inner: R and R̃ of each step, upper triangular, [B, T, M, M].
        offsets: b of each step, [B, T, M].
    """

    axes: jax.Array
    outer: jax.Array
    inner: jax.Array
    offsets: jax.Array

    @property
    def _slopes(self) -> jax.Array:
        """1 + the diagonal of R̃ R, [B, T, M]."""
        return 1.0 + jnp.diagonal(self.outer * self.inner, axis1=-2, axis2=-1)

    def _read(self, index: int, values: jax.Array) -> jax.Array:
        """R̃ Qᵀ values + b of a step, [..., B, L] to [..., B, M]."""
        along = _times(self.axes[:, index], values)
        return _times(self.inner[:, index], along) + lift(self.offsets[:, index], along)

    def _move(self, index: int, values: jax.Array) -> jax.Array:
        """Q R values of a step, [..., B, M] to [..., B, L]."""
        return _times(self.axes[:, index].swapaxes(1, 2), _times(self.outer[:, index], values))

    def forward(self, noise):
        log_det = jnp.zeros(noise.shape[:-1])
        for index in range(self.axes.shape[1]):
            values = self._read(index, noise)
            noise = noise + self._move(index, jnp.tanh(values))
            slopes = jnp.broadcast_to(lift(self._slopes[:, index], values), values.shape)
            log_det = log_det + sums.over_last(log_slope(values, slopes))
        return noise, log_det

    def backward(self, z):
        for index in reversed(range(self.axes.shape[1])):
            z = z - self._move(index, self._tanh_before(index, self._read(index, z)))
        return z

    def _tanh_before(self, index: int, targets: jax.Array) -> jax.Array:
        """tanh a of a + R̃ R tanh a = targets, [..., B, M] to the same shape; from the last a on."""
        both = jnp.matmul(self.inner[:, index], self.outer[:, index], precision="highest")
        found = jnp.zeros_like(targets)
        for axis in reversed(range(targets.shape[-1])):
            # the axes before it are 0 in `found`, and its row of R̃ R is 0 there
            target = targets[..., axis] - sums.over_last(lift(both[:, axis], found) * found)
            slope = jnp.broadcast_to(lift(self._slopes[:, index, axis], target), target.shape)
            found = found.at[..., axis].set(jnp.tanh(solve(target, slope)))
        return found


def _times(matrices: jax.Array, values: jax.Array) -> jax.Array:
    """A matrix of each example, [B, M, N], times values [..., B, N]: [..., B, M]."""
    return jnp.einsum("bmn,...bn->...bm", matrices, values, precision="highest")
