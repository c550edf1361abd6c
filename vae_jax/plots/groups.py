"""Pictures of hierarchies: codes in groups, each given the group above it."""

from collections.abc import Sequence

import numpy as np

from vae_jax.plots._axes import drawable
from vae_jax.plots._picture import (
    BLUE,
    MUTED,
    as_float,
    house_style,
    legible,
    new_figure,
    plain,
    require,
    require_length,
)
from vae_jax.plots.pictures import Picture, Table

__all__ = ["rate_per_group"]

_MOST_NAMED = 32


@house_style()
def rate_per_group(
    rate: np.ndarray, num_dims: np.ndarray, names: Sequence[str] | None = None
) -> Picture:
    """Draws the nats of each group of a hierarchy, from the top (left) to the one nearest to x.

    Args:
        rate: [G], the rate of each group given those above it in nats, averaged over examples; the
            first is the group nearest to x.
        num_dims: [G], the number of dimensions of each group.
        names: names of the G groups; None counts them from 1.

    Returns:
        Picture; its table has the rows (group, num_dims, rate_nats, nats_per_dimension) of shape
            [4], in the order of `rate`. A group without dimensions has a rate per dimension of NaN.

    Raises:
        UsageError: the shapes do not fit together.
    """
    rate = as_float(require("rate", rate, "G"))
    num_dims = require_length("num_dims", num_dims, len(rate)).astype(int)
    names = [str(index + 1) for index in range(len(rate))] if names is None else names
    require_length("names", names, len(rate))
    falling = np.arange(len(rate))[::-1]
    figure = new_figure(float(np.clip(0.9 + 0.5 * len(rate), 4.5, 9.0)), 2.7)
    axes = figure.add_subplot()
    place = np.arange(1, len(rate) + 1)
    bars = axes.bar(place, np.where(drawable(rate), rate, np.nan)[falling], width=0.75, color=BLUE)
    if len(rate) <= _MOST_NAMED:
        told = [plain(rate[group], ".2f") for group in falling]
        axes.bar_label(bars, told, fontsize=6.5, color=MUTED, padding=2)
        axes.set_xticks(place, [legible(names[group], 14) for group in falling])
        axes.tick_params(axis="x", length=0)
    axes.set_xlabel("group, from the top to the one nearest to x")
    axes.set_ylabel("rate (nats)")
    axes.grid(axis="y")
    axes.margins(x=0.02, y=0.12)
    axes.set_title(f"total rate {plain(rate.sum(), '.2f')} nats, {len(rate)} groups")
    per_dim = np.where(num_dims > 0, rate / np.maximum(num_dims, 1), np.nan)
    rows = list(zip(names, num_dims.tolist(), rate.tolist(), per_dim.tolist(), strict=True))
    return Picture(figure, Table(("group", "num_dims", "rate_nats", "nats_per_dimension"), rows))
