"""The terms of the loss, and what else is measured, over the steps of a run."""

from vae_jax import plots
from vae_jax.lab.pictures import OfRows

__all__ = ["PICTURES", "draw"]


def draw(rows: list[dict]) -> plots.Picture:
    """Draws a panel for each term."""
    return plots.training_curves(rows)


PICTURES = (OfRows(draw, needs=bool),)
