"""One example's code with one continuous dimension after another set to each value, decoded."""

from typing import Any

import numpy as np

from vae_jax import plots
from vae_jax.lab.pictures import OfModel, Seen

__all__ = ["PICTURES", "VALUES", "draw", "draw_frames", "draw_series", "traversed"]

VALUES = np.linspace(-3, 3, 11, dtype=np.float32)
"""In standard deviations of the prior from its mean, [11]."""
_WORDS_OF_VARIANCE = {
    "title": "latent traversal, sorted by variance",
    "what": "standard deviations of this dimension from its mean, the others held",
}
_WORDS_OF_PRIOR = {"what": "standard deviations of the prior from its mean, the others held"}


def draw(seen: Seen) -> plots.Picture:
    """Draws a row of images for each dimension."""
    words = _WORDS_OF_VARIANCE
    if seen.has_rates:
        words = {} if seen.is_standard else _WORDS_OF_PRIOR
    return plots.traversal(**traversed(seen), **words)


def draw_frames(seen: Seen) -> np.ndarray:
    """Draws all dimensions at once, each value in a frame."""
    return plots.traversal_frames(**traversed(seen))


def draw_series(seen: Seen) -> plots.Picture:
    """Draws the series of each dimension over one another, of every second value."""
    found = traversed(seen)
    each = zip(found["dimensions"], found["rates"], strict=True)
    is_standard = seen.has_rates and seen.is_standard
    where = "each value" if is_standard else "so many standard deviations from its mean"
    return plots.series(
        found["images"][:, ::2],
        [f"{value:.2g}" for value in found["values"][::2]],
        title=f"E[x|z], one dimension of an example's code set to {where}",
        panel_names=[f"z{d}: {rate:.2f} {found['unit']}" for d, rate in each],
    )


def traversed(seen: Seen) -> dict[str, Any]:
    """What `vae_jax.plots.traversal` takes of the three to twelve dimensions of highest rate."""
    num_active = seen.is_active[seen.num_discrete :].sum()
    dimensions = seen.continuous[: int(np.clip(num_active, 3, 12))]
    mean, deviation = np.asarray(seen.prior.mean), np.asarray(seen.prior.deviation)
    z = np.tile(seen.codes[seen.few[0]], (len(dimensions), len(VALUES), 1))
    for row, dimension in enumerate(dimensions):
        z[row, :, dimension] = mean[dimension] + deviation[dimension] * VALUES
    return {
        "images": seen.decode(seen.onto(z), None if seen.told is None else seen.told[0]),
        "values": VALUES,
        "rates": seen.rates[dimensions],
        "dimensions": dimensions,
        "unit": "nats" if seen.has_rates else "variance",
    }


def _has_scale(seen: Seen) -> bool:
    """Whether a dimension is continuous, of a prior whose mean and deviation are known."""
    knows_prior = hasattr(seen.prior, "mean") and hasattr(seen.prior, "deviation")
    return len(seen.continuous) > 0 and knows_prior


PICTURES = (
    OfModel(draw, kinds=("image",), needs=_has_scale),
    OfModel(draw_frames, kinds=("image",), needs=_has_scale, ending=".gif"),
    OfModel(draw_series, kinds=("series",), needs=_has_scale),
)
