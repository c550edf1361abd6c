"""The rate of each group of a hierarchy, averaged over examples."""

import numpy as np

from vae_jax import plots
from vae_jax.lab.pictures import OfModel, Seen

__all__ = ["PICTURES", "draw"]


def draw(seen: Seen) -> plots.Picture:
    """Draws the sums of the rates of the dimensions of each group."""
    groups = np.asarray(seen.model.groups)
    return plots.rate_per_group(groups @ seen.rates, groups.sum(axis=1))


PICTURES = (OfModel(draw, needs=lambda seen: seen.model.groups is not None),)
