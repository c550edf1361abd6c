"""Decoded draws from the prior or from a sampler; without both, from a Gaussian fit to codes.

A decoder that reads x has no E[x|z] in one pass, so what is shown of it is x ~ p(x|z).
"""

import jax
import jax.numpy as jnp
import numpy as np

from vae_jax import plots
from vae_jax.lab.pictures import OfModel, Seen

__all__ = [
    "NUM_CURVES",
    "NUM_SAMPLES",
    "NUM_STYLES",
    "PICTURES",
    "draw",
    "draw_series",
    "hear",
    "read",
]

NUM_SAMPLES = 100
NUM_STYLES = 10
"""Codes that each condition is shown with, a count."""
NUM_CURVES = 12


def draw(seen: Seen) -> plots.Picture:
    """Draws a grid of E[x|z] or of x ~ p(x|z), or a row of it for each condition that is shown."""
    conditions = seen.conditions
    if conditions is None and seen.model.reads_x:
        return plots.samples(_sampled(seen, NUM_SAMPLES), title=_of_draws(seen))
    if conditions is None:
        key = jax.random.split(seen.key)[0] if seen.has_rates else seen.key
        z = np.asarray(seen.draws.sample(key, NUM_SAMPLES))
        return plots.samples(seen.decode(z[None])[0], title=f"E[x|z], z from {seen.source}")
    z = np.asarray(seen.draws.sample(seen.key, NUM_STYLES))
    z = np.tile(z, (len(conditions.names), 1, 1))
    samples = seen.decode(z, conditions.shown[:, None])
    return plots.samples(
        samples.reshape(-1, *samples.shape[2:]),
        title=f"E[x|z, c]: c of the row, z of the column from {seen.source}",
        row_names=conditions.names,
    )


def draw_series(seen: Seen) -> plots.Picture:
    """Draws series from p(x|z)."""
    draws = _sampled(seen, NUM_CURVES)[:, None]
    return plots.series(draws, title=_of_draws(seen))


def hear(seen: Seen) -> bytes:
    """Returns sound from p(x|z)."""
    return seen.sound(_sampled(seen, NUM_CURVES))


def read(seen: Seen) -> list[str]:
    """Returns strings from p(x|z)."""
    return seen.read(_sampled(seen, NUM_SAMPLES))


def _of_draws(seen: Seen) -> str:
    return f"x ~ p(x|z), z from {seen.source}"


def _sampled(seen: Seen, num: int) -> np.ndarray:
    """x ~ p(x|z), z from `Seen.draws`: [num, *shape]."""
    z_key, x_key = jax.random.split(seen.key)
    z = jnp.asarray(seen.draws.sample(z_key, num))
    return np.asarray(jax.jit(seen.model.sample_given)(seen.params, x_key, z)[0])


PICTURES = (
    OfModel(draw, kinds=("image",)),
    OfModel(draw_series, kinds=("series",), needs=lambda seen: seen.conditions is None),
    OfModel(
        hear,
        kinds=("series",),
        needs=lambda seen: seen.to_wave is not None and seen.conditions is None,
        ending=".wav",
    ),
    OfModel(read, kinds=("text",), ending=".txt"),
)
