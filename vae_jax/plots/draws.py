"""Pictures of what q(z|x) says of one input: many codes, and what each is decoded to."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from vae_jax import palette
from vae_jax.errors import UsageError
from vae_jax.plots._axes import drawable
from vae_jax.plots._grids import enlarge
from vae_jax.plots._picture import (
    INK,
    MUTED,
    STYLE,
    as_float,
    house_style,
    legible,
    new_figure,
    plain,
    require,
)
from vae_jax.plots._pixels import (
    channels_in_one,
    flat,
    flat_names,
    require_images,
    to_rgb,
)
from vae_jax.plots.pictures import Picture, Table
from vae_jax.plots.rasters import shrink

__all__ = ["one_to_many"]

_CELL, _GAP, _BETWEEN = 0.95, 0.08, 0.34
"""Inches: the longer side of an image, between two images, and between two blocks."""


@house_style()
def one_to_many(
    x: np.ndarray,
    draws: np.ndarray,
    *,
    num_shown: int = 6,
    z: np.ndarray | None = None,
    codes: np.ndarray | None = None,
    axis_names: tuple[str, str] = ("z0", "z1"),
    names: Sequence[str] = (),
    title: str = "one x has many z, and many E[x|z]",
) -> Picture:
    """Draws inputs, decoded draws of q(z|x) of each, and their mean and deviation, a row each.

    Draws that are shown have a color, which a dot in the plane of two latent dimensions has too.

    Args:
        x: [F, H, W, C] in [0, 1]; images of neither one nor three channels have them side by side.
        draws: [F, K, H, W, C], E[x|z] for K draws z of q(z|x).
        num_shown: how many of them are shown at most, a count; mean and deviation are over all K.
        z: [F, K, 2], the draws on a plane, or None.
        codes: [N, 2], the codes of other examples there, or None.
        axis_names: the names of the two dimensions.
        names: of the F inputs; none by default.
        title: text above.

    Returns:
        Picture; its table has the rows (example, kind, draw, x0, x1, …) of shape [3 + D], kind
        input, draw, mean or deviation, with the numbers of `axis_names` before the pixels if there
        is a `z`. Deviations are over draws (divided by K), pixel by pixel.

    Raises:
        UsageError: the shapes do not fit together.
    """
    x = as_float(require_images("x", x, "F H W C"))
    draws = as_float(require_images("draws", draws, "F K H W C"))
    num = draws.shape[0] * draws.shape[1]
    x, draws = shrink(x, num), shrink(draws, num)
    if x.shape != (len(draws), *draws.shape[2:]):
        raise UsageError(
            f"x has shape {list(x.shape)}, draws {list(draws.shape)}: must be [F, H, W, C] and "
            "[F, K, H, W, C]"
        )
    if z is not None:
        z = as_float(require("z", z, "F K 2"))
        if z.shape != (*draws.shape[:2], 2):
            raise UsageError(
                f"z has shape {list(z.shape)}: must be {[*draws.shape[:2], 2]}, a point for each "
                "draw"
            )
    names = [str(name) for name in names] or [""] * len(x)
    if len(names) != len(x):
        raise UsageError(f"names has {len(names)} entries: must have {len(x)}, one for each input")
    mean = draws.mean(axis=1, dtype=np.float64).astype(draws.dtype)
    deviation = draws.std(axis=1, dtype=np.float64).astype(draws.dtype)
    page = _Page(x, draws, min(num_shown, draws.shape[1]), has_plane=z is not None)
    for row, name in enumerate(names):
        page.write_left(row, name)
        page.show("x", row, x[row][None])
        page.show("draws", row, draws[row, : page.num_shown])
        page.show("mean", row, mean[row][None])
    page.show_deviations(deviation)
    if z is not None:
        page.show_planes(z, codes, axis_names)
    page.write_above(title)
    return Picture(page.figure, _table(x, draws, mean, deviation, z, axis_names))


def _table(x, draws, mean, deviation, z, axis_names) -> Table:
    """The numbers of a picture, see `one_to_many`."""
    none = () if z is None else (None, None)
    rows: list[tuple] = []
    for n in range(len(x)):
        rows.append((n, "input", None, *none, *x[n].ravel()))
        for k, pixels in enumerate(flat(draws[n])):
            rows.append((n, "draw", k, *(() if z is None else z[n, k]), *pixels))
        rows.append((n, "mean", None, *none, *mean[n].ravel()))
        rows.append((n, "deviation", None, *none, *deviation[n].ravel()))
    of_plane = () if z is None else tuple(axis_names)
    return Table(("example", "kind", "draw", *of_plane, *flat_names(x.shape[1:])), rows)


class _Page:
    """Blocks side by side, one row for each input, at places in inches.

    Args:
        x: [F, H, W, C].
        draws: [F, K, H, W, C].
        num_shown: of the draws of each, a count.
        has_plane: whether there is a block for a plane.
    """

    def __init__(self, x: np.ndarray, draws: np.ndarray, num_shown: int, has_plane: bool):
        self.num_shown, self.num_draws = num_shown, draws.shape[1]
        height, width = channels_in_one(x).shape[1:3]
        scale = _CELL / max(height, width)
        self.cell = max(scale * height, 0.06), max(scale * width, 0.06)
        self.tall = max(self.cell[0], _CELL if has_plane else 0.3)
        self.pitch = self.tall + (0.3 if has_plane else 0.12)
        many = num_shown * (self.cell[1] + _GAP) - _GAP
        one = max(self.cell[1], 0.5)
        blocks = {"x": one, "plane": _CELL, "draws": max(many, 1.4), "mean": one, "deviation": one}
        if not has_plane:
            del blocks["plane"]
        self.left, self.width = {}, 1.1
        for name, wide in blocks.items():
            self.left[name] = self.width
            self.width += wide + _BETWEEN
        self.width += 0.3
        self.height = 0.62 + len(x) * self.pitch
        self.figure = new_figure(self.width, self.height)
        self.figure.set_layout_engine("none")  # each axes has its place

    def axes(self, block: str, row: int, wide: float, high: float, shift: float = 0.0) -> Any:
        """Axes of a size in inches, in the middle of a row."""
        below = self.height - 0.62 - row * self.pitch - (self.tall + high) / 2
        place = (self.left[block] + shift, below, wide, high)
        sizes = (self.width, self.height) * 2
        axes = self.figure.add_axes(tuple(a / b for a, b in zip(place, sizes, strict=True)))
        axes.set_xticks([])
        axes.set_yticks([])
        return axes

    def text(self, left: float, above: float, words: str, **style) -> None:
        """Words at a place in inches from the upper left corner."""
        self.figure.text(left / self.width, 1 - above / self.height, words, **style)

    def write_left(self, row: int, name: str) -> None:
        """Writes the name of an input, its commas as new lines."""
        lines = "\n".join(legible(part.strip(), 18) for part in name.split(",")[:3])
        middle = 0.62 + row * self.pitch + self.tall / 2
        self.text(self.left["x"] - 0.12, middle, lines, ha="right", va="center", fontsize=8)

    def write_above(self, title: str) -> None:
        """Writes the title, and what each block is."""
        self.text(0.05, 0.1, legible(title, 100), va="top", fontsize=10)
        heads = {
            "x": "x",
            "plane": f"{self.num_draws} draws of q(z|x)",
            "draws": f"E[x|z] of the first {self.num_shown} draws",
            "mean": f"mean of {self.num_draws}",
            "deviation": "their deviation",
        }
        for block, left in self.left.items():
            self.text(left, 0.55, heads[block], va="bottom", fontsize=8, color=MUTED)

    def show(self, block: str, row: int, images: np.ndarray) -> None:
        """Shows images [n, H, W, C] side by side."""
        self._show(block, row, to_rgb(channels_in_one(images)))

    def _show(self, block: str, row: int, images: np.ndarray) -> None:
        high, wide = self.cell
        for place, image in enumerate(images):
            axes = self.axes(block, row, wide, high, place * (wide + _GAP))
            pixels = enlarge(image, 1.5 * STYLE["savefig.dpi"] * max(self.cell))
            axes.imshow(pixels, aspect="auto")
            axes.spines[:].set_visible(False)

    def show_deviations(self, deviation: np.ndarray) -> None:
        """Shows deviations [F, H, W, C] ≥ 0 in one scale of colors; colors of one pixel as one."""
        from matplotlib.cm import ScalarMappable
        from matplotlib.colors import Normalize

        if deviation.shape[-1] == 3:
            deviation = np.sqrt(np.square(deviation.astype(np.float64)).mean(-1, keepdims=True))
        most = float(deviation[drawable(deviation)].max(initial=0.0)) or 1.0
        colors = ScalarMappable(Normalize(0.0, most), "magma_r")
        shades = colors.cmap(colors.norm(channels_in_one(deviation)[..., 0]), bytes=True)[..., :3]
        shades[channels_in_one(np.zeros_like(deviation))[..., 0] == 1.0] = 255
        for row, image in enumerate(shades):
            self._show("deviation", row, image[None])
        bar_axes = self.axes("deviation", 0, 0.07, self.tall, self.cell[1] + 0.1)
        bar = self.figure.colorbar(colors, cax=bar_axes, ticks=[0.0, most])
        bar.set_ticklabels(["0", plain(most)])
        bar.ax.tick_params(length=0, labelsize=7)
        bar.outline.set_visible(False)

    def show_planes(self, z: np.ndarray, codes: np.ndarray | None, names) -> None:
        """Shows draws [F, K, 2] and codes [N, 2] on a plane, the first draws in their colors."""
        codes = np.zeros((0, 2)) if codes is None else codes
        swatches = palette.LIGHT.labels
        points = np.concatenate([codes, z.reshape(-1, 2)])
        points = points[drawable(points).all(axis=1)]
        for row, own in enumerate(z):
            axes = self.axes("plane", row, _CELL, _CELL)
            axes.scatter(
                *codes[drawable(codes).all(axis=1)].T, s=1.2, color="#c9c9c9", linewidths=0
            )
            known = drawable(own).all(axis=1)
            axes.scatter(*own[known].T, s=3, color=INK, linewidths=0, alpha=0.6)
            for k, point in enumerate(own[: self.num_shown]):
                self._mark(row, k, point, swatches[k % len(swatches)], axes if known[k] else None)
            if len(points):
                low, high = np.quantile(points, (0.002, 0.998), axis=0)
                margin = 0.06 * (high - low) + 1e-6
                axes.set_xlim(low[0] - margin[0], high[0] + margin[0])
                axes.set_ylim(low[1] - margin[1], high[1] + margin[1])
            axes.set_ylabel(legible(names[1], 14), fontsize=6.5, labelpad=1)
            axes.set_xlabel(legible(names[0], 14), fontsize=6.5, labelpad=1)

    def _mark(self, row: int, k: int, point: np.ndarray, color: str, axes: Any) -> None:
        """Marks draw k of an input: a dot on the axes, if any, and its numbers below its image."""
        if axes is not None:
            axes.scatter(*point[:, None], s=11, color=color, linewidths=0.3, edgecolors="white")
        left = self.left["draws"] + k * (self.cell[1] + _GAP)
        above = 0.62 + row * self.pitch + (self.tall + self.cell[0]) / 2 + 0.04
        told = f"{plain(point[0], '.2f')}, {plain(point[1], '.2f')}"
        self.text(left, above, "●", va="top", fontsize=7, color=color)
        self.text(left + 0.12, above + 0.012, told, va="top", fontsize=6.5, color=MUTED)
