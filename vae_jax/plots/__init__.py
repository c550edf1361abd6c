"""Pictures: arrays in, figures out, with the numbers behind each picture as a table.

Nothing here runs a model or needs JAX: arrays are anything NumPy can read.
Matplotlib is imported when the first picture is drawn, only through its object interface, so that
no global state is left behind; threads may draw at the same time, and take turns. Pixels are
expected in [0, 1] and are clipped for display only: tables keep them as given, of images too large
for a picture means over squares of pixels, see `shrink`. Images of other than one or three channels
are drawn channel by channel. Words are shortened, and characters without a shape become □.

There is one file for each family of pictures. All public names of all files are names of this
package.
"""

# ruff: noqa: F403 (a name is listed once, in the `__all__` of its file)

from vae_jax.plots import (
    curves,
    draws,
    geometry,
    groups,
    heatmaps,
    images,
    latent_dims,
    latents,
    over_training,
    pictures,
    rasters,
    rate_distortion_plane,
    run_curves,
    table_cells,
    time_series,
)
from vae_jax.plots.curves import *
from vae_jax.plots.draws import *
from vae_jax.plots.geometry import *
from vae_jax.plots.groups import *
from vae_jax.plots.heatmaps import *
from vae_jax.plots.images import *
from vae_jax.plots.latent_dims import *
from vae_jax.plots.latents import *
from vae_jax.plots.over_training import *
from vae_jax.plots.pictures import *
from vae_jax.plots.rasters import *
from vae_jax.plots.rate_distortion_plane import *
from vae_jax.plots.run_curves import *
from vae_jax.plots.table_cells import *
from vae_jax.plots.time_series import *

# one line each: the form that type checkers read
__all__: list[str] = []
__all__ += curves.__all__
__all__ += draws.__all__
__all__ += geometry.__all__
__all__ += groups.__all__
__all__ += heatmaps.__all__
__all__ += images.__all__
__all__ += latent_dims.__all__
__all__ += latents.__all__
__all__ += over_training.__all__
__all__ += pictures.__all__
__all__ += rasters.__all__
__all__ += rate_distortion_plane.__all__
__all__ += run_curves.__all__
__all__ += table_cells.__all__
__all__ += time_series.__all__
