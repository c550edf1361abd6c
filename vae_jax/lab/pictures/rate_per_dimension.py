"""The rate of each latent dimension, averaged over examples."""

from vae_jax import plots
from vae_jax.lab.pictures import OfModel, Seen

__all__ = ["PICTURES", "draw"]


def draw(seen: Seen) -> plots.Picture:
    """Draws the rates, active dimensions apart from others."""
    return plots.rate_per_dimension(seen.rates, seen.is_active)


PICTURES = (OfModel(draw, needs=lambda seen: seen.has_rates),)
