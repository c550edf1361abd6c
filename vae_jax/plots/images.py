"""Pictures of examples: as reconstructed, as sampled, and on the way from one to another."""

import math
from collections.abc import Sequence

import numpy as np

from vae_jax.errors import UsageError
from vae_jax.plots._picture import (
    INK,
    MUTED,
    ORANGE,
    Picture,
    Table,
    as_float,
    house_style,
    new_figure,
    plain,
)
from vae_jax.plots._pixels import draw_grid, flat, flat_names, in_grid, require_images, to_rgb

__all__ = ["interpolation", "reconstructions", "samples"]


@house_style()
def reconstructions(x: np.ndarray, reconstruction: np.ndarray) -> Picture:
    """Inputs over their reconstructions over the errors, with each example's squared error.

    error = reconstruction − x;  squared error = Σ_i error_i², over all dimensions of an example.

    Args:
        x: [N, H, W, C] images (C 1 or 3) in [0, 1], or examples [N, *shape] of any other shape,
            which are drawn as curves over their dimensions, input and reconstruction together.
        reconstruction: the same shape.

    Returns:
        Picture; its table has the rows (kind, example, squared_error, x0, x1, …) of shape [3 + D],
        first all inputs, then all reconstructions. An error is coloured by its mean over channels.

    Raises:
        UsageError: the shapes differ or there is no example.
    """
    x, reconstruction = as_float(x), as_float(reconstruction)
    if x.shape != reconstruction.shape or x.ndim < 2 or x.size == 0:
        raise UsageError(
            f"x has shape {list(x.shape)}, reconstruction {list(reconstruction.shape)}: "
            "must be equal, [N, *shape] with N >= 1"
        )
    squared_error = np.sum(flat(reconstruction.astype(np.float64) - x) ** 2, axis=1)
    is_images = x.ndim == 4 and x.shape[-1] in (1, 3)
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
    """Numbers [N], none negative, with as many decimals as give the largest three digits."""
    largest = np.max(values, initial=0.0, where=np.isfinite(values))
    decimals = 2 - math.floor(math.log10(largest)) if largest > 0 else 0
    decimals = min(max(0, decimals), 4)
    return [plain(value, f".{decimals}f") for value in values]


def _symmetric(error: np.ndarray):
    """Diverging colours for `error` of any shape, white at zero, as far as the largest error."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    finite = np.abs(error[np.isfinite(error)])
    bound = float(finite.max(initial=0.0)) or 1.0
    return ScalarMappable(Normalize(-bound, bound), "RdBu_r")


def _draw_image_reconstructions(x, reconstruction, squared_error):
    # One colour per pixel: the error's mean over channels.
    error = (reconstruction - x).mean(axis=-1)
    colours = _symmetric(error)
    error = colours.cmap(colours.norm(error), bytes=True)[..., :3]
    images = np.stack([to_rgb(x), to_rgb(reconstruction), error])
    figure, axes = draw_grid(images)
    axes.set_yticks(range(3), ["input", "reconstruction", "error"])
    axes.set_xticks(range(len(x)), squared_error)
    axes.set_xlabel("squared error, summed over the image")
    place = axes.inset_axes((1.0 + 0.15 / len(x), 0.0, 0.12 / len(x), 0.31))
    bar = figure.colorbar(colours, cax=place)
    bar.outline.set_visible(False)
    return figure


def _draw_line_reconstructions(x, reconstruction, squared_error):
    x, reconstruction = flat(x), flat(reconstruction)
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
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper right", ncols=2)
    figure.supxlabel("dimension", fontsize=9)
    return figure


@house_style()
def samples(
    x: np.ndarray, *, title: str = "samples from the prior", row_names: Sequence[str] = ()
) -> Picture:
    """A grid of images in reading order, as square as can be, or with a row for each name.

    Args:
        x: [N, H, W, C] in [0, 1], C 1 or 3.
        title: the words above the grid.
        row_names: what stands before the rows, R words, N a multiple of R; none: nothing.

    Returns:
        Picture; its table has the rows (example, x0, x1, …) of shape [1 + D].

    Raises:
        UsageError: `x` has another shape.
    """
    x = as_float(require_images("x", x, "N H W C"))
    num_columns = len(x) // len(row_names) if row_names else math.ceil(math.sqrt(len(x)))
    images = in_grid(x, num_columns)
    figure, axes = draw_grid(images)
    axes.set_title(title)
    if row_names:
        axes.set_yticks(range(len(row_names)), row_names)
    columns = ("example", *flat_names(x.shape[1:]))
    return Picture(figure, Table(columns, [(n, *row) for n, row in enumerate(flat(x))]))


@house_style()
def interpolation(images: np.ndarray, title: str = "interpolation in latent space") -> Picture:
    """The way between two examples in latent space, one pair per row.

    Args:
        images: [P, T, H, W, C] in [0, 1], C 1 or 3: for each of P pairs, T decoded images at equal
            steps from one end to the other.
        title: the words above.

    Returns:
        Picture; its table has the rows (pair, position, x0, x1, …) of shape [2 + D], position in
        [0, 1].

    Raises:
        UsageError: `images` has another shape.
    """
    images = as_float(require_images("images", images, "P T H W C"))
    position = np.linspace(0.0, 1.0, images.shape[1])
    figure, axes = draw_grid(images)
    axes.set_title(title)
    axes.set_xticks(range(len(position)), [f"{p:.2g}" for p in position])
    axes.set_xlabel("position between the two ends")
    rows = [
        (pair, p, *pixels)
        for pair, row in enumerate(images)
        for p, pixels in zip(position, flat(row), strict=True)
    ]
    return Picture(figure, Table(("pair", "position", *flat_names(images.shape[2:])), rows))
