"""The metric of a sweep over the grid of two settings that vary."""

from vae_jax import plots
from vae_jax.lab.pictures import OfSweep, Sweep

__all__ = ["PICTURES", "draw"]


def draw(sweep: Sweep) -> plots.Picture:
    """Draws the mean of the runs of each cell."""
    x, y = _axes(sweep)
    told = {"value_name": sweep.metric, "x_name": x, "y_name": y}
    return plots.sweep_heatmap(
        sweep.numbers(sweep.metric), sweep.values(x), sweep.values(y), **told
    )


def _axes(sweep: Sweep) -> list[str]:
    """At most two settings that vary, the latent dimension as the second."""
    if "latent_dim" in sweep.varying and sweep.others:
        return [sweep.others[0], "latent_dim"]
    return [name for name in sweep.varying if name != "seed"][:2]


def _has_grid(sweep: Sweep) -> bool:
    return len(_axes(sweep)) == 2 and sweep.metric in sweep.rows[0]


PICTURES = (OfSweep(draw, needs=_has_grid),)
