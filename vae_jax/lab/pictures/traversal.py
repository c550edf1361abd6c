"""One example's code with one continuous dimension after another set to each value, decoded.

Only dimensions that matter are shown: the fewest that carry 98 % of the rate, up to twelve. The
title says how many are left out. The example is the one that `traversal_example` names, or else a
typical one: its code is nearest to the mean of all codes, in deviations of each dimension.
"""

from typing import Any

import numpy as np

from vae_jax import plots
from vae_jax.evaluation.elbo import carrying
from vae_jax.lab.pictures import OfModel, Seen

__all__ = [
    "MOST",
    "PICTURES",
    "SHARE",
    "VALUES",
    "draw",
    "draw_frames",
    "draw_series",
    "example_of",
    "traversed",
]

VALUES = np.linspace(-3, 3, 11, dtype=np.float32)
"""In standard deviations of the prior from its mean, [11]."""
SHARE, MOST = 0.98, 12
"""Of the rate, that the dimensions shown carry at least; how many are shown at most."""
_WORDS_OF_VARIANCE = {
    "what": "standard deviations of this dimension from its mean, the others held"
}
_WORDS_OF_PRIOR = {"what": "standard deviations of the prior from its mean, the others held"}


def draw(seen: Seen) -> plots.Picture:
    """Draws a row of images for each dimension."""
    words = _WORDS_OF_VARIANCE
    if seen.has_rates:
        words = {} if seen.is_standard else _WORDS_OF_PRIOR
    title = f"traversal of {_told_example(seen)}: {_told_dimensions(seen)}"
    return plots.traversal(**traversed(seen), **words, title=title)


def draw_frames(seen: Seen) -> np.ndarray:
    """Draws all dimensions at once, each value in a frame."""
    return plots.traversal_frames(**traversed(seen), note=_told_dimensions(seen))


def draw_series(seen: Seen) -> plots.Picture:
    """Draws the series of each dimension over one another, of every second value."""
    found = traversed(seen)
    each = zip(found["dimensions"], found["rates"], strict=True)
    is_standard = seen.has_rates and seen.is_standard
    where = "each value" if is_standard else "so many deviations from its mean"
    return plots.series(
        found["images"][:, ::2],
        [f"{value:.2g}" for value in found["values"][::2]],
        title=f"{_told_example(seen)}, one dimension set to {where}: {_told_dimensions(seen)}",
        panel_names=[f"z{d}: {rate:.2f} {found['unit']}" for d, rate in each],
    )


def traversed(seen: Seen) -> dict[str, Any]:
    """What `vae_jax.plots.traversal` takes of the dimensions that matter."""
    dimensions, example = _that_matter(seen), example_of(seen)
    mean, deviation = np.asarray(seen.prior.mean), np.asarray(seen.prior.deviation)
    z = np.tile(seen.codes[example], (len(dimensions), len(VALUES), 1))
    for row, dimension in enumerate(dimensions):
        z[row, :, dimension] = mean[dimension] + deviation[dimension] * VALUES
    condition = None if seen.condition is None else seen.condition[example]
    return {
        "images": seen.decode(seen.onto(z), condition),
        "values": VALUES,
        "rates": seen.rates[dimensions],
        "dimensions": dimensions,
        "unit": "nats" if seen.has_rates else "variance",
    }


def _that_matter(seen: Seen) -> np.ndarray:
    """The dimensions that are shown, by falling rate, at least one."""
    num, _ = carrying(seen.rates[seen.continuous], SHARE)
    return seen.continuous[: int(np.clip(num, 1, MOST))]


def example_of(seen: Seen) -> int:
    """The number of the example that is chosen, or that is typical."""
    if seen.example is not None:
        return seen.example
    codes = seen.codes[:, _that_matter(seen)].astype(np.float64)
    scaled = (codes - codes.mean(axis=0)) / np.maximum(codes.std(axis=0), 1e-12)
    return int(np.argmin(np.nan_to_num(np.sum(scaled**2, axis=1), nan=np.inf)))


def _told_example(seen: Seen) -> str:
    if seen.example is None:
        return f"a typical test example, number {example_of(seen)}"
    return f"test example {seen.example}"


def _told_dimensions(seen: Seen) -> str:
    """How many dimensions are shown, what they carry, and how many are left out."""
    num, of_all = len(_that_matter(seen)), np.maximum(seen.rates[seen.continuous], 0.0)
    share = of_all[:num].sum() / max(of_all.sum(), 1e-12)
    what = "rate" if seen.has_rates else "variance"
    left = len(of_all) - num
    shown = "1 dimension carries" if num == 1 else f"{num} dimensions carry"
    return f"{shown} {100 * share:.0f}% of the {what}, {left:,} left out"


def _has_scale(seen: Seen) -> bool:
    """Whether a dimension is continuous, of a prior whose mean and deviation are known."""
    knows_prior = hasattr(seen.prior, "mean") and hasattr(seen.prior, "deviation")
    return len(seen.continuous) > 0 and knows_prior


PICTURES = (
    OfModel(draw, kinds=("image",), needs=_has_scale),
    OfModel(draw_frames, kinds=("image",), needs=_has_scale, ending=".gif"),
    OfModel(draw_series, kinds=("series",), needs=_has_scale),
)
