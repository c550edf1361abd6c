"""The base class of all posteriors, and what they share."""

import dataclasses
from typing import ClassVar, NamedTuple

import jax

from vae_jax import distributions
from vae_jax.errors import UsageError
from vae_jax.families import Settings
from vae_jax.latents import Latent, where_kept

__all__ = ["Posterior", "Summary", "gaussian", "lift"]


@dataclasses.dataclass(frozen=True)
class Posterior(Settings, Latent):
    """A family of posteriors q(z|x) of continuous codes [B, L]; p(z) is N(0, I) unless it says."""

    is_continuous: ClassVar[bool] = True
    takes_priors: ClassVar[bool] = True

    def check_prior(self, prior):
        if prior is not None and prior.of_codes:
            raise UsageError(
                f"prior={type(prior).__name__}: is a density of quantized codes, those of "
                f"posterior={type(self).__name__} are continuous: leave prior out, or leave "
                "posterior out and take an objective with quantized codes, such as vq_vae"
            )
        if prior is not None and not self.takes_priors:
            raise UsageError(
                f"prior={type(prior).__name__}: is a density of Gaussian codes, "
                f"posterior={type(self).__name__} has its own p(z): leave prior or posterior out"
            )
        if prior is not None and prior.reads_x:
            raise UsageError(
                f"prior={type(prior).__name__}: mixes q(z|x) of its pseudo-inputs, which must be "
                f"Gaussians with independent dimensions, not {type(self).__name__}: leave "
                "posterior out, or take prior='mixture'"
            )

    def prior(self, params, latent_dim, latent_mask=None):
        del params, latent_mask
        return distributions.standard_gaussian(latent_dim)


def gaussian(
    mean: jax.Array, logvar: jax.Array, latent_mask: jax.Array | None
) -> distributions.DiagonalGaussian:
    """The Gaussian [B, L] from which draws of a posterior start; N(0, 1) in masked dimensions."""
    return distributions.DiagonalGaussian(*(where_kept(v, latent_mask) for v in (mean, logvar)))


def lift(values: jax.Array, like: jax.Array) -> jax.Array:
    """Prepends axes of size 1 to [...] until it has the rank of `like`."""
    return values.reshape((1,) * (like.ndim - values.ndim) + values.shape)


class Summary(NamedTuple):
    """Mean and standard deviation of q(z|x), for evaluation; arrays [B, num].

    Attributes:
        mean: E[z|x].
        mode: the code that is decoded as the reconstruction of x.
        deviation: standard deviation of each dimension.
    """

    mean: jax.Array
    mode: jax.Array
    deviation: jax.Array

    def first(self, num: int) -> "Summary":
        """The same for the first `num` dimensions, [B, num]."""
        return Summary(*(values[:, :num] for values in self))
