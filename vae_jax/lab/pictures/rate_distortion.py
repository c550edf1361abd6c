"""The rate–distortion plane of a sweep, with lines of equal ELBO."""

from vae_jax import plots
from vae_jax.lab.pictures import OfSweep, Sweep

__all__ = ["PICTURES", "draw"]


def draw(sweep: Sweep) -> plots.Picture:
    """Draws a point for each run."""
    terms = sweep.numbers("rate"), sweep.numbers("distortion")
    return plots.rate_distortion(*terms, names=sweep.names, **sweep.color)


PICTURES = (OfSweep(draw, needs=lambda sweep: "rate" in sweep.rows[0]),)
