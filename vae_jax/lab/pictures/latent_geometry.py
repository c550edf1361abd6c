"""How the decoder stretches the plane of a model with two latent dimensions."""

import numpy as np

from vae_jax import plots
from vae_jax.evaluation import latent_geometry
from vae_jax.evaluation.subject import Subject
from vae_jax.lab.pictures import OfMetric

__all__ = ["NUM_CODES", "NUM_GEODESICS", "PICTURES", "draw"]

NUM_CODES, NUM_GEODESICS = 2000, 12


def draw(subject: Subject) -> plots.Picture:
    """Draws magnification factors, geodesics between codes, and the codes."""
    codes = np.asarray(subject.onto(subject.posterior().mean))
    margin = 0.1 * np.ptp(codes, axis=0)
    grid = latent_geometry.magnification_grid(
        *(subject.decode_mean, codes.min(axis=0) - margin, codes.max(axis=0) + margin),
        onto=subject.onto,
    )
    pairs = np.arange(2 * NUM_GEODESICS) * len(codes) // (2 * NUM_GEODESICS)
    found = latent_geometry.geodesics(
        *(subject.decode_mean, codes[pairs[:NUM_GEODESICS]], codes[pairs[NUM_GEODESICS:]]),
        onto=subject.onto,
    )
    arrays = (*(np.asarray(leaf) for leaf in grid), np.asarray(found.curves))
    return plots.latent_geometry(*arrays, codes[:NUM_CODES])


def _has_plane(subject: Subject) -> bool:
    """Whether codes lie in a plane; those of a circle do not."""
    if subject.latent_dim != 2:
        return False
    return latent_geometry.directions(subject.onto, 2) == 2


PICTURES = (OfMetric(draw, needs=_has_plane),)
