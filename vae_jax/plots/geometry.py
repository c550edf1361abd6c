"""The geometry of a latent plane: magnification and geodesics."""

import numpy as np

from vae_jax.errors import UsageError
from vae_jax.plots._axes import drawable
from vae_jax.plots._colors import shades
from vae_jax.plots._picture import (
    ORANGE,
    as_float,
    house_style,
    legible,
    new_figure,
    plain,
    require,
    require_length,
)
from vae_jax.plots.pictures import Picture, Table

__all__ = ["latent_geometry"]


@house_style()
def latent_geometry(
    z0: np.ndarray,
    z1: np.ndarray,
    magnification: np.ndarray,
    curves: np.ndarray | None = None,
    codes: np.ndarray | None = None,
    *,
    axis_names: tuple[str, str] = ("z0", "z1"),
) -> Picture:
    """Draws the magnification over a plane of latent space, with geodesics and straight lines.

    Dark means that the output changes little, bright that it changes much per step in z: geodesics
    avoid bright regions. The scale is logarithmic.

    Args:
        z0: [C], ascending, positions of the columns.
        z1: [R], ascending, positions of the rows.
        magnification: √det G at (z0[c], z1[r]), [R, C]; white if outside of 1e-100 … 1e100.
        curves: geodesics, [P, T, 2], with the straight line between their ends dashed; or None.
        codes: [N, 2], examples drawn as dots if they are inside the picture, or None.
        axis_names: the names of the two dimensions.

    Returns:
        Picture; its table has the rows (kind, index, point, *axis_names, magnification) of shape
            [6]: kind is grid, geodesic or code; index is that of the geodesic or code; cells that
            do not apply are empty.

    Raises:
        UsageError: the shapes do not fit together, or `z0` or `z1` does not rise.
    """
    z0, z1 = (as_float(_rising(name, z)) for name, z in (("z0", z0), ("z1", z1)))
    magnification = as_float(require("magnification", magnification, "R C"))
    require_length("magnification[:, 0]", magnification[:, 0], len(z1))
    require_length("magnification[0]", magnification[0], len(z0))
    curves = np.zeros((0, 2, 2)) if curves is None else as_float(require("curves", curves, "P T 2"))
    codes = np.zeros((0, 2)) if codes is None else as_float(require("codes", codes, "N 2"))
    for name, points in (("curves", curves), ("codes", codes)):
        if points.shape[-1] != 2:
            raise UsageError(f"{name} has shape {list(points.shape)}: the last axis must be 2")

    figure = new_figure(6.2, 5.2)
    axes = figure.add_subplot()
    axes.set_aspect("equal", adjustable="box")
    _draw_magnification(figure, axes, z0, z1, magnification)
    dots = {"s": float(np.clip(8000 / max(1, len(codes)), 1, 10)), "linewidths": 0}
    axes.scatter(*codes[drawable(codes).all(axis=1)].T, color="white", alpha=0.55, zorder=2, **dots)
    curves_drawn = [curve for curve in curves if drawable(curve).all()]
    if curves_drawn:
        _draw_geodesics(axes, curves_drawn)
    for i, (z, set_limits) in enumerate(((z0, axes.set_xlim), (z1, axes.set_ylim))):
        # all of the grid and of the geodesics; far codes are only in the table
        ends = z[[0, -1]] + 0.5 * np.array([z[0] - z[1], z[-1] - z[-2]])
        ends = np.append(ends, [curve[:, i] for curve in curves_drawn])
        set_limits(ends.min(), ends.max())
    axes.set_xlabel(legible(axis_names[0], 28))
    axes.set_ylabel(legible(axis_names[1], 28))
    columns = ("kind", "index", "point", *axis_names, "magnification")
    return Picture(figure, Table(columns, _rows(z0, z1, magnification, curves, codes)))


def _rising(name: str, z) -> np.ndarray:
    z = require(name, z, "C" if name == "z0" else "R")
    if len(z) < 2 or not np.all(np.diff(z) > 0):
        raise UsageError(f"{name}: must be at least 2 rising numbers, received {len(z)}")
    return z


def _draw_magnification(figure, axes, z0, z1, magnification) -> None:
    """Colors the plane with z0 [C], z1 [R] by magnification [R, C], and draws a color bar."""
    from matplotlib.colors import ListedColormap, LogNorm

    is_drawn = (magnification > 0) & drawable(1 / magnification) & drawable(magnification)
    if not is_drawn.any():
        axes.set_title("the decoder is degenerate everywhere: no magnification above 0", fontsize=8)
        return
    low, high = magnification[is_drawn].min(), magnification[is_drawn].max()
    # constant values have no scale
    norm = LogNorm(low / 1.05, high * 1.05) if high < 1.1 * low else LogNorm(low, high)
    mesh = axes.pcolormesh(
        z0,
        z1,
        np.ma.masked_where(~is_drawn, magnification),
        norm=norm,
        cmap=ListedColormap(shades(256)),
        shading="nearest",
        rasterized=True,
    )
    _draw_scale(figure, axes, mesh)


def _draw_geodesics(axes, curves: list[np.ndarray]) -> None:
    """Draws curves [T, 2], the straight line between the ends of each, and a legend."""
    for p, curve in enumerate(curves):
        labels = ("geodesic", "straight line") if p == 0 else (None, None)
        axes.plot(*curve.T, color=ORANGE, linewidth=1.8, zorder=4, label=labels[0])
        straight = {"color": "white", "linewidth": 1.0, "linestyle": (0, (4, 2)), "zorder": 3}
        axes.plot(*curve[[0, -1]].T, label=labels[1], **straight)
        ends = {"s": 14, "color": "white", "edgecolors": ORANGE, "linewidths": 1.2, "zorder": 5}
        axes.scatter(*curve[[0, -1]].T, **ends)
    legend = axes.legend(loc="upper right", frameon=True, facecolor="#4d4d4d", framealpha=0.8)
    for text in legend.get_texts():
        text.set_color("white")
    legend.get_frame().set_linewidth(0)


def _draw_scale(figure, axes, mesh) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    low, high = mesh.get_clim()
    subs = (1.0, 2.0, 5.0) if high < 1000 * low else (1.0,)
    bar = figure.colorbar(mesh, ax=axes, aspect=30, pad=0.02)
    bar.outline.set_visible(False)
    bar.ax.tick_params(length=0)
    bar.ax.yaxis.set_minor_locator(NullLocator())
    bar.ax.yaxis.set_major_locator(LogLocator(subs=subs, numticks=8))
    bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: plain(value, ".3g")))
    bar.ax.set_title("√det G", fontsize=9)


def _rows(z0, z1, magnification, curves, codes) -> list[tuple]:
    rows = [
        ("grid", None, None, z0[c], z1[r], magnification[r, c])
        for r in range(len(z1))
        for c in range(len(z0))
    ]
    rows += [
        ("geodesic", p, t, *point, None)
        for p, curve in enumerate(curves)
        for t, point in enumerate(curve)
    ]
    rows += [("code", n, None, *point, None) for n, point in enumerate(codes)]
    return rows
