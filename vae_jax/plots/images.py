"""Pictures of examples: reconstructions, samples, and interpolations."""

import math
from collections.abc import Sequence

import numpy as np

from vae_jax.errors import UsageError
from vae_jax.plots._axes import drawable
from vae_jax.plots._grids import draw_grids, in_grid, write_around
from vae_jax.plots._picture import INK, MUTED, ORANGE, as_float, house_style, new_figure, plain
from vae_jax.plots._pixels import by_channel, flat, flat_names, require_images, to_rgb
from vae_jax.plots.pictures import Picture, Table
from vae_jax.plots.rasters import shrink

__all__ = ["interpolation", "reconstructions", "samples"]


_OF_RECONSTRUCTIONS = "examples and their reconstructions"


@house_style()
def reconstructions(x: np.ndarray, reconstruction: np.ndarray) -> Picture:
    """Draws inputs, reconstructions and errors below each other, with squared errors.

    error = reconstruction − x;  squared error = Σ_i error_i², over all dimensions of an example.

    Args:
        x: [N, H, W, C] images in [0, 1], or examples [N, *shape] of any other shape, which are
            drawn as curves over their dimensions, input and reconstruction together.
        reconstruction: the same shape.

    Returns:
        Picture; its table has the rows (kind, example, squared_error, x0, x1, …) of shape [3 + D],
        first all inputs, then all reconstructions. The error of a color image is its mean over
        channels; of images of neither one nor three channels each has a grid of its own.

    Raises:
        UsageError: the shapes differ or there is no example.
    """
    x, reconstruction = as_float(x), as_float(reconstruction)
    if x.shape != reconstruction.shape or x.ndim < 2 or x.size == 0:
        raise UsageError(
            f"x has shape {list(x.shape)}, reconstruction {list(reconstruction.shape)}: "
            "must be equal, [N, *shape] with N >= 1"
        )
    pairs = zip(x, reconstruction, strict=True)
    squared_error = np.array([np.sum((b.astype(np.float64) - a) ** 2) for a, b in pairs])
    is_images = x.ndim == 4
    if is_images:
        x, reconstruction = shrink(x), shrink(reconstruction)
    draw = _draw_image_reconstructions if is_images else _draw_line_reconstructions
    figure = draw(x, reconstruction, _same_decimals(squared_error))
    rows = [
        (kind, n, squared_error[n], *numbers)
        for kind, examples in (("input", x), ("reconstruction", reconstruction))
        for n, numbers in enumerate(flat(examples))
    ]
    columns = ("kind", "example", "squared_error", *flat_names(x.shape[1:]))
    return Picture(figure, Table(columns, rows))


def _same_decimals(values: np.ndarray) -> list[str]:
    """Formats numbers [N] >= 0 with the decimals that give the largest three digits."""
    largest = np.max(values, initial=0.0, where=drawable(values))
    decimals = 2 - math.floor(math.log10(largest)) if largest > 0 else 0
    decimals = min(max(0, decimals), 4)
    return [plain(value, f".{decimals}f") for value in values]


def _symmetric(error: np.ndarray):
    """A diverging color scale for `error` of any shape, white at zero, up to the largest error."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    finite = np.abs(error[drawable(error)])
    bound = float(finite.max(initial=0.0)) or 1.0
    return ScalarMappable(Normalize(-bound, bound), "RdBu_r")


def _draw_image_reconstructions(x, reconstruction, squared_error):
    inputs, outputs = by_channel(x), by_channel(reconstruction)
    # one color per pixel: the mean over channels that are drawn together
    errors = {name: (outputs[name] - inputs[name]).mean(axis=-1) for name in inputs}
    colors = _symmetric(np.stack(list(errors.values())))

    def rows(name):
        shades = colors.cmap(colors.norm(errors[name]), bytes=True)[..., :3]
        return np.stack([to_rgb(inputs[name]), to_rgb(outputs[name]), shades])

    figure = draw_grids({name: rows(name) for name in inputs})
    write_around(
        figure,
        title=_OF_RECONSTRUCTIONS,
        rows=("input", "reconstruction", "error"),
        columns=squared_error,
        axis_names=("squared error, summed over the image", ""),
    )
    place = figure.axes[-1].inset_axes((1.0 + 0.15 / len(x), 0.0, 0.12 / len(x), 0.31))
    bar = figure.colorbar(colors, cax=place)
    bar.outline.set_visible(False)
    return figure


def _draw_line_reconstructions(x, reconstruction, squared_error):
    x, reconstruction = (np.where(drawable(v), v, np.nan) for v in (flat(x), flat(reconstruction)))
    num_columns = min(4, len(x))
    num_rows = math.ceil(len(x) / num_columns)
    figure = new_figure(0.6 + 2.0 * num_columns, 0.6 + 1.15 * num_rows)
    panels = figure.subplots(num_rows, num_columns, sharex=True, sharey=True, squeeze=False).ravel()
    style = {"linewidth": 1.2, "marker": "o" if x.shape[1] <= 32 else None, "markersize": 2}
    for n, axes in enumerate(panels[: len(x)]):
        axes.plot(x[n], color=INK, label="input", **style)
        axes.plot(reconstruction[n], color=ORANGE, label="reconstruction", **style)
        axes.set_title(f"squared error {squared_error[n]}", fontsize=8, color=MUTED)
        axes.tick_params(labelbottom=n + num_columns >= len(x))
        axes.grid(axis="y")
    for axes in panels[len(x) :]:
        axes.remove()
    figure.suptitle(_OF_RECONSTRUCTIONS, fontsize=10, x=0.01, ha="left")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower right", ncols=2)
    figure.supxlabel("dimension", fontsize=9)
    return figure


@house_style()
def samples(
    x: np.ndarray, *, title: str = "samples from the prior", row_names: Sequence[str] = ()
) -> Picture:
    """Draws a grid of images in reading order, nearly square, or with one row per name.

    Args:
        x: [N, H, W, C] in [0, 1].
        title: text above the grid.
        row_names: text on the left of each row, R words, N a multiple of R; empty for none.

    Returns:
        Picture; its table has the rows (example, x0, x1, …) of shape [1 + D].

    Raises:
        UsageError: `x` has another shape.
    """
    x = shrink(as_float(require_images("x", x, "N H W C")))
    num_columns = len(x) // len(row_names) if row_names else math.ceil(math.sqrt(len(x)))
    figure = draw_grids(by_channel(in_grid(x, num_columns)))
    write_around(figure, title=title, rows=row_names)
    columns = ("example", *flat_names(x.shape[1:]))
    return Picture(figure, Table(columns, [(n, *row) for n, row in enumerate(flat(x))]))


@house_style()
def interpolation(images: np.ndarray, title: str = "interpolation in latent space") -> Picture:
    """Draws the interpolation between two examples in latent space, one pair per row.

    Args:
        images: [P, T, H, W, C] in [0, 1]: for each of P pairs, T decoded images at equal
            steps from one end to the other.
        title: text above.

    Returns:
        Picture; its table has the rows (pair, position, x0, x1, …) of shape [2 + D], position in
        [0, 1].

    Raises:
        UsageError: `images` has another shape.
    """
    images = shrink(as_float(require_images("images", images, "P T H W C")))
    position = np.linspace(0.0, 1.0, images.shape[1])
    figure = draw_grids(by_channel(images))
    write_around(
        figure,
        title=title,
        columns=[f"{p:.2g}" for p in position],
        axis_names=("position between the two ends", ""),
    )
    rows = [
        (pair, p, *pixels)
        for pair, row in enumerate(images)
        for p, pixels in zip(position, flat(row), strict=True)
    ]
    return Picture(figure, Table(("pair", "position", *flat_names(images.shape[2:])), rows))
