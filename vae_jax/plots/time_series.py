"""Pictures of series in time."""

import math
from collections.abc import Sequence

import numpy as np

from vae_jax.errors import UsageError
from vae_jax.plots._axes import drawable
from vae_jax.plots._picture import (
    BLUE,
    INK,
    MUTED,
    ORANGE,
    as_float,
    house_style,
    legible,
    new_figure,
    require,
    require_length,
)
from vae_jax.plots.pictures import Picture, Table

__all__ = ["series"]

_DASHES = ("-", "--", ":", "-.")


@house_style()
def series(
    x: np.ndarray,
    names: Sequence[str] = ("",),
    *,
    title: str = "",
    panel_names: Sequence[str] = (),
) -> Picture:
    """Draws series over their steps: panels side by side, several curves in each.

    Args:
        x: [N, K, T, C], for each of N panels K series of T steps with C channels, one color per
            series, one dash pattern per channel. NaN is not drawn.
        names: names of the K series, the same in every panel.
        title: text above the picture.
        panel_names: text above each panel, N or none.

    Returns:
        Picture; its table has the rows (panel, name, step, x0, x1, …) of shape [3 + C], without
        steps that are NaN throughout.

    Raises:
        UsageError: `x` has another shape, or the number of names is not K, or of panel names N.
    """
    x = as_float(require("x", x, "N K T C"))
    if x.size == 0:
        raise UsageError(f"x has shape {list(x.shape)}: there is nothing to draw")
    require_length("names", names, x.shape[1])
    if len(panel_names):
        require_length("panel_names", panel_names, len(x))
    num_columns = min(4, len(x))
    num_rows = math.ceil(len(x) / num_columns)
    figure = new_figure(0.6 + 2.0 * num_columns, 0.8 + 1.15 * num_rows)
    panels = figure.subplots(num_rows, num_columns, sharex=True, sharey=True, squeeze=False).ravel()
    colors = _colors(x.shape[1])
    for n, axes in enumerate(panels[: len(x)]):
        for curve, color in zip(np.where(drawable(x[n]), x[n], np.nan), colors, strict=True):
            for c, channel in enumerate(curve.T):
                dash = _DASHES[c % len(_DASHES)]
                axes.plot(channel, color=color, linestyle=dash, linewidth=1.1)
        if len(panel_names):
            axes.set_title(legible(panel_names[n], 28), fontsize=8, color=MUTED)
        axes.tick_params(labelbottom=n + num_columns >= len(x))
        axes.grid(axis="y")
    for axes in panels[len(x) :]:
        axes.remove()
    figure.suptitle(legible(title, 100), fontsize=10, x=0.01, ha="left")
    if any(names):
        handles = panels[0].lines[:: x.shape[3]]
        words = [legible(name, 28) for name in names]
        figure.legend(handles, words, loc="outside lower right", ncols=len(names))
    figure.supxlabel("step", fontsize=9, x=0.06, ha="left")
    rows = [
        (n, name, t, *numbers)
        for n, panel in enumerate(x)
        for name, curve in zip(names, panel, strict=True)
        for t, numbers in enumerate(curve)
        if not np.isnan(numbers).all()
    ]
    columns = ("panel", "name", "step", *(f"x{c}" for c in range(x.shape[3])))
    return Picture(figure, Table(columns, rows))


def _colors(num: int) -> list:
    """One series is dark, two are dark and orange, more range from blue to orange."""
    from matplotlib.colors import LinearSegmentedColormap

    if num <= 2:
        return [INK, ORANGE][:num]
    return list(
        LinearSegmentedColormap.from_list("", [BLUE, "#b9b9b9", ORANGE])(np.linspace(0, 1, num))
    )
