"""The decoded grid of quantiles of a Gaussian prior of two dimensions, or of one like the prior."""

import numpy as np

from vae_jax import plots
from vae_jax.lab.pictures import OfModel, Seen

__all__ = ["NUM_QUANTILES", "PICTURES", "draw"]

NUM_QUANTILES = 20
"""Of each dimension, a count."""


def draw(seen: Seen) -> plots.Picture:
    """Draws E[x|z] at each point of the grid."""
    axis = plots.normal_quantiles(NUM_QUANTILES, 0.02, 0.98).astype(np.float32)
    mean, deviation = np.asarray(seen.prior.mean), np.asarray(seen.prior.deviation)
    z = mean + deviation * np.stack(np.meshgrid(axis, axis), axis=-1)
    words = {} if seen.has_rates else {"title": "decoded quantiles of Gaussians fit to the codes"}
    if not np.array_equal(seen.onto(z), z):
        words = {"title": "decoded grid, points that are no codes replaced by the nearest code"}
    return plots.manifold(seen.decode(seen.onto(z)), mean=mean, deviation=deviation, **words)


def _is_plane(seen: Seen) -> bool:
    """Whether the code is two continuous dimensions, of a known prior, and z is all of it."""
    is_known = seen.is_gaussian or seen.is_curved or not seen.has_rates
    is_continuous = not seen.num_discrete and seen.conditions is None
    return len(seen.rates) == 2 and is_continuous and is_known


PICTURES = (OfModel(draw, kinds=("image",), needs=_is_plane),)
