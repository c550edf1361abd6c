"""The curves of all runs of a sweep, one over another."""

from vae_jax import plots
from vae_jax.lab.pictures import OfSweep, Sweep

__all__ = ["PICTURES", "draw"]


def draw(sweep: Sweep) -> plots.Picture:
    """Draws a line for each run."""
    return plots.sweep_curves(sweep.curves, run_names=sweep.names, **sweep.color)


PICTURES = (OfSweep(draw, needs=lambda sweep: bool(sweep.curves)),)
