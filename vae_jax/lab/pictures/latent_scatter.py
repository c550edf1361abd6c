"""Posterior means in the plane of the two continuous dimensions of the highest rate."""

import numpy as np

from vae_jax import plots
from vae_jax.lab.pictures import OfModel, Seen

__all__ = ["PICTURES", "draw"]


def draw(seen: Seen) -> plots.Picture:
    """Draws the means, colored by label, and ellipses of the prior if it is Gaussian."""
    first, second = sorted(seen.continuous[:2].tolist())
    plane = seen.means[:, [first, second]]
    names = {"axis_names": (f"z{first}", f"z{second}"), "label_names": seen.label_names}
    if not (seen.has_rates and seen.is_gaussian):
        return plots.latent_scatter(plane, seen.labels, has_prior=False, **names)
    own = {n: np.asarray(getattr(seen.prior, n))[[first, second]] for n in ("mean", "deviation")}
    return plots.latent_scatter(plane, seen.labels, **names, **own)


PICTURES = (OfModel(draw, needs=lambda seen: len(seen.continuous) >= 2),)
