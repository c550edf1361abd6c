"""The way from the code of one example to that of another, decoded."""

import numpy as np

from vae_jax import plots
from vae_jax.lab.pictures import OfModel, Seen

__all__ = ["NUM_PAIRS", "NUM_POINTS", "PICTURES", "draw", "draw_series", "read"]

NUM_PAIRS, NUM_POINTS = 5, 11


def draw(seen: Seen) -> plots.Picture:
    """Draws a row of images for each pair."""
    return plots.interpolation(_between(seen))


def draw_series(seen: Seen) -> plots.Picture:
    """Draws the series of each pair over one another, of every second point."""
    between = _between(seen)
    names = [f"{t:.2g}" for t in np.linspace(0, 1, between.shape[1])[::2]]
    title = "E[x|z] at positions between the codes of two examples"
    return plots.series(between[:, ::2], names, title=title)


def read(seen: Seen) -> list[str]:
    """Returns the string of each point, and an empty line after each pair."""
    return [line for pair in _between(seen) for line in (*seen.read(pair), "")]


def _between(seen: Seen) -> np.ndarray:
    """E[x|z] on the way from one of the few to another, [P, 11, *shape].

    Continuous dimensions and conditions go straight, discrete ones group by group.
    """
    num_pairs = min(NUM_PAIRS, len(seen.few) // 2)
    codes, latent = seen.codes[seen.few], seen.model.latent
    t = np.linspace(0, 1, NUM_POINTS, dtype=np.float32)[None, :, None]
    group = np.arange(codes.shape[1]) // latent.group_size
    is_over = (group + 0.5) * latent.group_size <= t * seen.num_discrete
    weight = np.where(np.arange(codes.shape[1]) < seen.num_discrete, is_over, t)

    def between(points, weight):
        start, end = points[: 2 * num_pairs].reshape(num_pairs, 2, -1).swapaxes(0, 1)
        return (start[:, None] * (1 - weight) + end[:, None] * weight).astype(np.float32)

    told = None if seen.told is None else between(seen.told, t)
    return seen.decode(seen.onto(between(codes, weight)), told)


def _has_pair(seen: Seen) -> bool:
    return len(seen.few) >= 2


PICTURES = (
    OfModel(draw, kinds=("image",), needs=_has_pair),
    OfModel(draw_series, kinds=("series",), needs=_has_pair),
    OfModel(read, kinds=("text",), needs=_has_pair, ending=".txt"),
)
