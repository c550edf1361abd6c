"""The curves of a sweep, one over another; those that differ in their seed only are averaged."""

from vae_jax import plots
from vae_jax.lab.pictures import OfSweep, Sweep

__all__ = ["PICTURES", "draw"]


def draw(sweep: Sweep) -> plots.Picture:
    """Draws a line for each setting: the mean over its seeds, with a band of its error."""
    if len({*sweep.repeats}) == len(sweep.configs):
        return plots.sweep_curves(sweep.curves, run_names=sweep.names, **sweep.color)
    color = {}
    if sweep.varying and sweep.varying[0] != "seed":
        color = sweep.color
    return plots.sweep_curves(
        sweep.curves, run_names=sweep.repeats, same=sweep.repeats, repeated="seeds", **color
    )


PICTURES = (OfSweep(draw, needs=lambda sweep: bool(sweep.curves)),)
