"""ELBO and active units of a sweep against the latent dimension."""

import numpy as np

from vae_jax import plots
from vae_jax.lab.pictures import OfSweep, Sweep

__all__ = ["PICTURES", "draw"]


def draw(sweep: Sweep) -> plots.Picture:
    """Draws a line for each value of the first of the other settings that vary."""
    others, series = sweep.others, {}
    if others:
        series = {"series": sweep.values(others[0]), "series_name": others[0]}
    dims = np.array(sweep.values("latent_dim"))
    terms = sweep.numbers("elbo"), sweep.numbers("active_units")
    return plots.elbo_against_latent_dim(dims, *terms, **series)


def _has_both(sweep: Sweep) -> bool:
    return sweep.metric == "elbo" and "latent_dim" in sweep.varying


PICTURES = (OfSweep(draw, needs=_has_both),)
