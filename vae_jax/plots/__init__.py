"""Pictures: arrays in, figures out, with the numbers behind each picture as a table.

One file per idea. Nothing here runs a model or needs JAX: arrays are anything NumPy can read.
Matplotlib is imported when the first picture is drawn, only through its object interface, so that
no global state is left behind; threads may draw at the same time, and take turns. Pixels are
expected in [0, 1] and are clipped for display only: tables keep them as given, of images too large
for a picture means over squares of pixels, see `shrink`. Images of other than one or three channels
are drawn channel by channel. Words are shortened, and characters without a shape become □.
"""

from vae_jax.plots._picture import Picture, Table, encode, save
from vae_jax.plots._pixels import encode_gif, image_grid, save_gif, shrink
from vae_jax.plots.curves import training_curves
from vae_jax.plots.geometry import latent_geometry
from vae_jax.plots.heatmaps import sweep_heatmap
from vae_jax.plots.images import interpolation, reconstructions, samples
from vae_jax.plots.latent_dims import elbo_against_latent_dim
from vae_jax.plots.latents import (
    latent_scatter,
    manifold,
    normal_quantiles,
    rate_per_dimension,
    traversal,
    traversal_frames,
)
from vae_jax.plots.rate_distortion import rate_distortion
from vae_jax.plots.series import series
from vae_jax.plots.sweep_curves import sweep_curves

__all__ = [
    "Picture",
    "Table",
    "elbo_against_latent_dim",
    "encode",
    "encode_gif",
    "image_grid",
    "interpolation",
    "latent_geometry",
    "latent_scatter",
    "manifold",
    "normal_quantiles",
    "rate_distortion",
    "rate_per_dimension",
    "reconstructions",
    "samples",
    "save",
    "save_gif",
    "series",
    "shrink",
    "sweep_curves",
    "sweep_heatmap",
    "training_curves",
    "traversal",
    "traversal_frames",
]
