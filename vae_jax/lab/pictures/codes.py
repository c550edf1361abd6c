"""One example's code with one discrete group after another set to what the data have there."""

import numpy as np

from vae_jax import plots
from vae_jax.lab.pictures import OfModel, Seen

__all__ = ["NUM_CODES", "NUM_GROUPS", "PICTURES", "draw"]

NUM_CODES, NUM_GROUPS = 11, 12
"""Of a group, and in the picture, at most: counts."""


def draw(seen: Seen) -> plots.Picture:
    """Draws a row of images for each group, its most frequent codes first."""
    size, used, ranked = seen.model.latent.group_size, _num_used(seen), []
    for group in np.split(seen.codes[:, :used], used // size, axis=1):
        values, counts = np.unique(group, axis=0, return_counts=True)
        ranked.append(values[np.argsort(-counts, kind="stable")][:NUM_CODES])
    num = max(map(len, ranked))
    z = np.tile(seen.codes[seen.few[0]], (len(ranked), num, 1))
    for g, values in enumerate(ranked):
        z[g, : len(values), g * size : (g + 1) * size] = values
    images = seen.decode(z, None if seen.told is None else seen.told[0])
    for g, values in enumerate(ranked):
        images[g, len(values) :] = 1.0  # white, where a group has fewer values
    return plots.traversal(
        images,
        np.arange(1, num + 1),
        seen.rates[:used].reshape(-1, size).sum(axis=1),
        max_rows=NUM_GROUPS,
        prefix="group ",
        title="codes of a group, sorted by rate",
        what="code of this group, by how often the data have it, the others held",
    )


def _num_used(seen: Seen) -> int:
    """The discrete dimensions that the latent mask leaves, a count."""
    if seen.model.latent_mask is None:
        return seen.num_discrete
    return min(seen.num_discrete, int(seen.model.latent_mask.sum()))


PICTURES = (OfModel(draw, kinds=("image",), needs=lambda seen: _num_used(seen) > 0),)
