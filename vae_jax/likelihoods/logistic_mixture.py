"""Levels in [0, 1] as mixtures of rounded logistic variables; the channels of a pixel share one."""

import dataclasses
import math
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from vae_jax import distributions
from vae_jax.likelihoods._levels import check_num_levels, mean_of_rounded, nearest_levels
from vae_jax.likelihoods._likelihood import Likelihood, at_least_float32

__all__ = ["LogisticMixture"]

_NUM_PARTS = 5
"""Outputs of a component: log-weight, center, log variance, and two of earlier channels."""
_INITIAL_LOGVAR = -3.0


class _Components(NamedTuple):
    """Of each pixel; C is 1 unless x is an image of two or three channels.

    Attributes:
        log_weights: [..., K].
        centers, logvars: [..., C, K].
        couplings: of the first and the second channel to the channel, [..., C, 2, K].
    """

    log_weights: jax.Array
    centers: jax.Array
    logvars: jax.Array
    couplings: jax.Array

    def center_of(self, channel: int, before: jax.Array) -> jax.Array:
        """Centers of a channel given those before it, [..., channel, K], to [..., K]."""
        own = self.couplings[..., channel, :channel, :]
        return self.centers[..., channel, :] + jnp.sum(own * (before - 0.5), axis=-2)


@dataclasses.dataclass(frozen=True)
class LogisticMixture(Likelihood):
    """Mixtures of K logistic variables, rounded to levels in [0, 1]; sums to 1 over the levels.

    The two or three channels of a pixel of an image [H, W, C] share the component, and the center
    of a channel moves with the channels before it. All other numbers have a mixture each. Outputs
    are [B, *shape, 5K].

    Attributes:
        num_levels: number of levels.
        num_components: K.

    Reference:
        Salimans et al. 2017, PixelCNN++, arXiv 1701.05517, section 2.1 and 2.2.
    """

    num_levels: int = 256
    num_components: int = 10

    requires: ClassVar[str] = "levels"

    def __post_init__(self):
        check_num_levels(self.num_levels)

    @property
    def num_outputs(self) -> int:
        """Decoder outputs per data dimension, a scalar: 5K."""
        return _NUM_PARTS * self.num_components

    def log_probs(self, params, outputs, x):
        del params
        components, pixels = self._components(outputs), _pixels(at_least_float32(x))
        of_channels = []
        for channel in range(pixels.shape[-1]):
            center = components.center_of(channel, pixels[..., :channel, None])
            value = jnp.broadcast_to(pixels[..., channel, None], center.shape)
            logvar = components.logvars[..., channel, :]
            terms = distributions.discretized_logistic_log_prob(
                value, center, logvar, num_levels=self.num_levels
            )
            of_channels.append(terms)
        # log p(x_1 … x_c) = logsumexp_k (log w_k + Σ_{j ≤ c} log p_k(x_j | x_<j))
        so_far = jnp.cumsum(jnp.stack(of_channels, axis=-2), axis=-2)
        joint = jax.nn.logsumexp(components.log_weights[..., None, :] + so_far, axis=-1)
        return jnp.diff(joint, axis=-1, prepend=jnp.zeros_like(joint[..., :1])).reshape(x.shape)

    def mean(self, params, outputs):
        """E[x|z]; for images of several channels with E of the earlier channels in their place.

        Args:
            params: {}.
            outputs: decoder outputs, [B, *shape, 5K].

        Returns:
            Means, [B, *shape].
        """
        del params
        components = self._components(outputs)
        means: list[jax.Array] = []
        for channel in range(components.centers.shape[-2]):
            before = jnp.stack(means, axis=-2) if means else components.centers[..., :0, :]
            center = components.center_of(channel, before)
            scale = _scale(components.logvars[..., channel, :])
            means.append(mean_of_rounded(center, scale, self.num_levels))
        weights = jnp.exp(components.log_weights)[..., None, :]
        return jnp.sum(weights * jnp.stack(means, axis=-2), axis=-1).reshape(outputs.shape[:-1])

    def mode(self, params, outputs):
        """The center of the likeliest component of each pixel, [B, *shape, 5K] to [B, *shape]."""
        del params
        components = self._components(outputs)
        return self._along(components, jnp.argmax(components.log_weights, axis=-1), None, outputs)

    def sample(self, params, key, outputs):
        del params
        components = self._components(outputs)
        component_key, noise_key = jax.random.split(key)
        chosen = jax.random.categorical(component_key, components.log_weights, axis=-1)
        return self._along(components, chosen, noise_key, outputs)

    def _along(self, components: _Components, chosen, key, outputs) -> jax.Array:
        """x of the chosen components [...], channel by channel, with noise if there is a key."""
        one = chosen[..., None]

        def pick(values):
            return jnp.take_along_axis(values, one, axis=-1)

        drawn: list[jax.Array] = []
        for channel in range(components.centers.shape[-2]):
            before = [level[..., None, None] for level in drawn]
            shape = (*components.centers.shape[:-2], channel, 1)
            stacked = jnp.concatenate(before, axis=-2) if before else jnp.zeros(shape)
            value = pick(components.center_of(channel, stacked))[..., 0]
            if key is not None:
                own_key = jax.random.fold_in(key, channel)
                scale = _scale(pick(components.logvars[..., channel, :])[..., 0])
                value = value + scale * jax.random.logistic(own_key, value.shape, value.dtype)
            drawn.append(nearest_levels(value, self.num_levels))
        return jnp.stack(drawn, axis=-1).reshape(outputs.shape[:-1])

    def _components(self, outputs: jax.Array) -> _Components:
        """The mixtures that outputs [B, *shape, 5K] mean."""
        outputs = at_least_float32(outputs)
        parts = outputs.reshape(*outputs.shape[:-1], _NUM_PARTS, self.num_components)
        # [..., C, 5, K], C channels that share a mixture
        parts = parts if _num_channels(outputs.shape[1:-1]) > 1 else parts[..., None, :, :]
        return _Components(
            jax.nn.log_softmax(jnp.mean(parts[..., 0, :], axis=-2), axis=-1),
            parts[..., 1, :] + 0.5,
            distributions.bound_logvar(parts[..., 2, :] + _INITIAL_LOGVAR),
            jnp.tanh(parts[..., 3:, :]),
        )


def _num_channels(shape: tuple[int, ...]) -> int:
    """The number of channels that share a mixture, a count."""
    return shape[-1] if len(shape) == 3 and shape[-1] in (2, 3) else 1


def _pixels(x: jax.Array) -> jax.Array:
    """x [B, *shape] with an axis of channels at the end."""
    return x if _num_channels(x.shape[1:]) > 1 else x[..., None]


def _scale(logvar: jax.Array) -> jax.Array:
    """The scale of a logistic variable from its log variance, any shape."""
    return math.sqrt(3) / math.pi * jnp.exp(0.5 * logvar)
