"""Pictures of latent space: the effect and rate of its dimensions, and codes of examples."""

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from vae_jax import palette
from vae_jax.errors import UsageError
from vae_jax.plots._axes import drawable
from vae_jax.plots._colors import shades
from vae_jax.plots._grids import draw_grids, write_around
from vae_jax.plots._picture import (
    BLUE,
    FAINT,
    MUTED,
    as_float,
    house_style,
    legible,
    new_figure,
    plain,
    require,
    require_length,
)
from vae_jax.plots._pixels import (
    by_channel,
    channels_in_one,
    flat,
    flat_names,
    require_images,
    to_rgb,
)
from vae_jax.plots.pictures import Picture, Table
from vae_jax.plots.rasters import shrink

__all__ = [
    "latent_scatter",
    "manifold",
    "normal_quantiles",
    "rate_per_dimension",
    "traversal",
    "traversal_frames",
]


def _by_rate(rates, num_dimensions: int, max_rows: int) -> tuple[np.ndarray, np.ndarray]:
    """`rates` [L], and the dimensions [min(L, max_rows)] with the highest rates, descending."""
    rates = as_float(require_length("rates", rates, num_dimensions))
    return rates, np.argsort(-rates, kind="stable")[:max_rows]


def _numbers(dimensions, num_dimensions: int) -> list[int]:
    """Indices in the model of the L dimensions that are drawn; 0 … L − 1 by default."""
    if dimensions is None:
        return list(range(num_dimensions))
    return np.asarray(require_length("dimensions", dimensions, num_dimensions)).tolist()


@house_style()
def traversal(
    images: np.ndarray,
    values: np.ndarray,
    rates: np.ndarray,
    *,
    max_rows: int = 12,
    dimensions: np.ndarray | None = None,
    prefix: str = "z",
    title: str = "latent traversal, sorted by rate",
    what: str = "value of this dimension, the others held",
    unit: str = "nats",
) -> Picture:
    """Draws the effect of each latent dimension alone, one row each, by decreasing rate.

    Args:
        images: [L, T, H, W, C] in [0, 1]: the decoded image if dimension l has value t and the
            others are unchanged.
        values: [T], the values that each dimension takes.
        rates: [L], KL(q(z_l|x) ‖ p(z_l)) in nats, averaged over examples.
        max_rows: maximum number of dimensions to draw, scalar.
        dimensions: their indices in the model, integers [L]; None means 0 … L − 1.
        prefix: text before that index.
        title: text above.
        what: text below, about the values.
        unit: unit of the rates; "variance" if a code without a prior is sorted by its variances.

    Returns:
        Picture; its table has the rows (dimension, rate_nats, value, x0, x1, …) of shape [3 + D],
        in the order drawn.

    Raises:
        UsageError: the shapes do not fit together.
    """
    images = shrink(as_float(require_images("images", images, "L T H W C")))
    values = require_length("values", values, images.shape[1])
    rates, order = _by_rate(rates, len(images), max_rows)
    numbers = _numbers(dimensions, len(images))
    figure = draw_grids(by_channel(images[order]))
    write_around(
        figure,
        title=title,
        rows=[f"{prefix}{numbers[d]}" for d in order],
        columns=[plain(value) for value in values],
        axis_names=(what, ""),
        notes=[f"{plain(rates[d], '.2f')} {unit}" for d in order],
    )
    rows = [
        (numbers[d], rates[d], value, *pixels)
        for d in order.tolist()
        for value, pixels in zip(values, flat(images[d]), strict=True)
    ]
    kind = "rate_nats" if unit == "nats" else unit
    columns = ("dimension", kind, "value", *flat_names(images.shape[2:]))
    return Picture(figure, Table(columns, rows))


@house_style()
def traversal_frames(
    images: np.ndarray,
    values: np.ndarray,
    rates: np.ndarray,
    *,
    max_rows: int = 12,
    dimensions: np.ndarray | None = None,
    unit: str = "nats",
    note: str = "",
) -> np.ndarray:
    """Animates the rows of `traversal`: all dimensions at once, forward and back, for a GIF.

    Args:
        images: [L, T, H, W, C] in [0, 1], as for `traversal`; if there are neither one nor three
            channels, they are drawn side by side.
        values: [T].
        rates: [L] in nats.
        max_rows: maximum number of dimensions to show, scalar.
        dimensions: their indices in the model, integers [L]; None means 0 … L − 1.
        unit: as for `traversal`.
        note: text at the lower edge, such as what is left out.

    Returns:
        uint8 [max(1, 2·T − 2), H', W', 3]: values 0 … T − 1, then T − 2 … 1.

    Raises:
        UsageError: the shapes do not fit together.
    """
    images = channels_in_one(shrink(as_float(require_images("images", images, "L T H W C"))))
    values = require_length("values", values, images.shape[1])
    rates, order = _by_rate(rates, len(images), max_rows)
    numbers = _numbers(dimensions, len(images))
    # Integer multiples of a pixel: sharp, all of one size, and they compress well.
    times = max(1, round(112 / max(images.shape[2:4])))
    moving = to_rgb(images[order]).repeat(times, axis=2).repeat(times, axis=3)
    height, width = moving.shape[2:4]
    across, down = max(width, 96) + 12, height + 24
    # About three columns to two rows, with few empty places.
    ideal = math.sqrt(1.5 * len(order))
    num_columns = min(range(1, 7), key=lambda c: -len(order) % c + abs(c - ideal))
    places = [divmod(i, num_columns) for i in range(len(order))]
    corners = [(22 + down * row, 12 + across * column) for row, column in places]
    below = 18 if note else 0
    size = np.array([12 + across * num_columns, 52 + below + down * (places[-1][0] + 1)])

    figure = new_figure(*size / 100)
    figure.set_layout_engine("none")
    for dimension, (y, x) in zip(order, corners, strict=True):
        name = legible(f"z{numbers[dimension]}: {plain(rates[dimension], '.2f')} {unit}", 28)
        figure.text(x / size[0], 1.0 - (y - 6) / size[1], name, fontsize=8)
    told = legible(note, max(8, size[0] // 5))
    figure.text(0.05, 6 / size[1], told, fontsize=6.5, color=MUTED)
    slider = figure.add_axes((0.05, (26 + below) / size[1], 0.9, 16 / size[1]))
    ends = values[[0, -1]]
    slider.plot(ends, [0.0, 0.0], color=FAINT, linewidth=3, solid_capstyle="round")
    slider.set_xticks(ends, [plain(value) for value in ends])
    slider.set_yticks([])
    slider.tick_params(length=0)
    slider.spines[:].set_visible(False)
    (dot,) = slider.plot(values[:1], [0.0], "o", color=BLUE, markersize=7, animated=True)

    canvas = figure.canvas
    canvas.draw()
    still = canvas.copy_from_bbox(figure.bbox)
    frames = []
    for t in [*range(len(values)), *range(len(values) - 2, 0, -1)]:
        canvas.restore_region(still)
        dot.set_xdata(values[t : t + 1])
        slider.draw_artist(dot)
        frame = np.array(canvas.buffer_rgba())[..., :3]
        for image, (y, x) in zip(moving[:, t], corners, strict=True):
            frame[y : y + height, x : x + width] = image
        frames.append(frame)
    return np.stack(frames)


def normal_quantiles(num: int, low: float, high: float) -> np.ndarray:
    """Points of the standard normal at equal probability steps: Φ⁻¹(linspace(low, high, num)).

    Args:
        num: number of points, scalar.
        low, high: the probabilities at the two ends, scalars, 0 < low < high < 1.

    Returns:
        [num], ascending.

    Raises:
        UsageError: `low` and `high` are not such probabilities.
    """
    if not 0.0 < low < high < 1.0:
        raise UsageError(f"low={low}, high={high}: must be probabilities, 0 < low < high < 1")
    normal = statistics.NormalDist()
    return np.array([normal.inv_cdf(p) for p in np.linspace(low, high, num)])


@house_style()
def manifold(
    images: np.ndarray,
    low: float = 0.02,
    high: float = 0.98,
    *,
    title: str = "decoded quantiles of the prior",
    mean: np.ndarray = (0.0, 0.0),
    deviation: np.ndarray = (1.0, 1.0),
) -> Picture:
    """Draws a model with two latent dimensions, decoded over quantiles of its Gaussian prior.

    Args:
        images: [R, C, H, W, Ch] in [0, 1]: image (r, c) is decoded from
            z0 = mean[0] + deviation[0] · `normal_quantiles(C, low, high)[c]` and
            z1 = mean[1] + deviation[1] · `normal_quantiles(R, low, high)[r]`;
            it is drawn with z0 to the right and z1 upwards.
        low, high: the probabilities at the two ends, scalars.
        title: text above.
        mean, deviation: of the prior in each dimension, [2]; N(0, I) by default.

    Returns:
        Picture; its table has the rows (z0, z1, x0, x1, …) of shape [2 + D].

    Raises:
        UsageError: `images` has another shape, or `low`, `high` are not probabilities.
    """
    images = shrink(as_float(require_images("images", images, "R C H W Ch")))
    z1, z0 = (
        mean[i] + deviation[i] * normal_quantiles(num, low, high)
        for i, num in zip((1, 0), images.shape[:2], strict=True)
    )
    figure = draw_grids(by_channel(images[::-1]), gap=1)

    def named(z):
        ticks = np.unique(np.linspace(0, len(z) - 1, 7).round().astype(int))
        return {int(i): plain(z[i], ".2f") for i in ticks}

    places = {"rows": named(z1[::-1]), "columns": named(z0), "axis_names": ("z0", "z1")}
    write_around(figure, title=title, **places)
    rows = [
        (z0[c], z1[r], *pixels)
        for r, row in enumerate(images)
        for c, pixels in enumerate(flat(row))
    ]
    return Picture(figure, Table(("z0", "z1", *flat_names(images.shape[2:])), rows))


@house_style()
def latent_scatter(
    z: np.ndarray,
    labels: np.ndarray | None = None,
    *,
    axis_names: tuple[str, str] = ("z0", "z1"),
    label_names: Sequence | None = None,
    has_prior: bool = True,
    mean: np.ndarray = (0.0, 0.0),
    deviation: np.ndarray = (1.0, 1.0),
    rows: np.ndarray = (),
    covariances: np.ndarray = (),
    title: str = "examples in latent space",
    caption: str = "",
) -> Picture:
    """Draws examples in a latent plane, colored by label, with the prior's 1σ and 2σ ellipses.

    Some examples may have an ellipse of one standard deviation of q(z|x) around their code.

    Colors and marks are those of `vae_jax.palette`, which color-blind readers can tell apart.

    Args:
        z: [N, 2]; a row that is not finite, or exceeds 1e100, is left out of the figure.
        labels: [N] numbers or words, or None. Up to 10 distinct ones have a color and a mark each;
            up to 20, a color comes again with another mark; more have shades in their order, and
            a bar. An integer below 0 is an unknown label: gray, below the others.
        axis_names: the names of the two dimensions.
        label_names: names of the labels 0 … C − 1, [C]; None uses the labels.
        has_prior: whether the ellipses are drawn, and both axes have the same scale.
        mean, deviation: of the Gaussian prior in each dimension, [2]; N(0, I) by default.
        rows: numbers of the examples that have an ellipse, [E].
        covariances: of q(z|x) of each of them in this plane, [E, 2, 2].
        title: text above.
        caption: text below, such as what the ellipses are.

    Returns:
        Picture; its table has the rows (*axis_names, label) of shape [3], or [2] without labels.
        With ellipses three more columns have the covariance, empty where an example has none.

    Raises:
        UsageError: the shapes do not fit together.
    """
    z = as_float(require("z", z, "N 2"))
    if z.shape[1] != 2:
        raise UsageError(f"z has shape {list(z.shape)}: must be [N, 2], one plane of latent space")
    rows, covariances = _checked_ellipses(rows, covariances, len(z))
    figure = new_figure(6.2, 5.4)
    axes = figure.add_subplot()
    if has_prior:
        _draw_prior(axes, mean, deviation)
    known = drawable(z).all(axis=1)
    dots = {"s": float(np.clip(20000 / max(1, len(z)), 2, 14)), "linewidths": 0, "alpha": 0.8}
    if len(rows):
        dots |= {"alpha": 0.4}
    if labels is None:
        axes.scatter(*z[known].T, color=BLUE, **dots)
    else:
        labels = require_length("labels", labels, len(z))
        _scatter_by_label(axes, z[known], labels[known], label_names, dots)
    if len(rows):
        _draw_ellipses(axes, z[rows], covariances, _colors_of(labels, known, rows))
    axes.set_title(legible(title, 80))
    axes.set_xlabel(legible(axis_names[0], 28))
    axes.set_ylabel(legible(axis_names[1], 28))
    axes.grid(True)
    if caption:
        below = {"fontsize": 7, "color": MUTED, "x": 0.01, "ha": "left"}
        figure.supxlabel(legible(caption, 120), **below)
    columns, cells = tuple(axis_names), [tuple(row) for row in z]
    if labels is not None:
        if label_names is not None:
            labels = [None if label < 0 else label_names[label] for label in labels]
        columns = (*columns, "label")
        cells = [(*row, label) for row, label in zip(cells, labels, strict=True)]
    if len(rows):
        first, second = axis_names
        columns = (*columns, f"variance {first}", "covariance", f"variance {second}")
        own = {n: (c[0, 0], c[0, 1], c[1, 1]) for n, c in zip(rows, covariances, strict=True)}
        cells = [(*row, *own.get(n, (None,) * 3)) for n, row in enumerate(cells)]
    return Picture(figure, Table(columns, cells))


def _checked_ellipses(rows, covariances, num: int) -> tuple[list[int], np.ndarray]:
    """Numbers [E] of examples, all below `num`, and covariances [E, 2, 2], or UsageError."""
    rows, covariances = np.asarray(rows, int), as_float(covariances)
    if not len(rows) and not len(covariances):
        return [], np.zeros((0, 2, 2))
    if rows.ndim != 1 or covariances.shape != (len(rows), 2, 2):
        raise UsageError(
            f"rows has shape {list(rows.shape)}, covariances {list(covariances.shape)}: must be "
            "[E] and [E, 2, 2]"
        )
    if rows.min() < 0 or rows.max() >= num:
        raise UsageError(f"rows={rows.tolist()}: must be numbers of examples, 0 to {num - 1}")
    return rows.tolist(), covariances


def _draw_prior(axes, mean: np.ndarray, deviation: np.ndarray) -> None:
    """Draws the ellipses of one and two standard deviations, each [2], on axes of one scale."""
    from matplotlib.patches import Circle
    from matplotlib.transforms import Affine2D

    axes.set_aspect("equal", adjustable="datalim")
    of_prior = Affine2D().scale(*map(float, deviation)).translate(*map(float, mean))
    for sigma in (1.0, 2.0):
        circle = Circle((0.0, 0.0), sigma, fill=False, color="#8c8c8c", linewidth=0.8, zorder=2)
        circle.set_transform(of_prior + axes.transData)
        axes.add_patch(circle)
        top = of_prior.transform((0.0, sigma))
        text = {"ha": "center", "va": "center", "fontsize": 7, "color": MUTED, "zorder": 3}
        name = axes.text(*top, f"{sigma:.0f}σ", **text)
        name.set_bbox({"facecolor": "white", "linewidth": 0, "alpha": 0.85, "pad": 1.0})


def _draw_ellipses(axes, centers, covariances: np.ndarray, colors: np.ndarray) -> None:
    """Draws one standard deviation around centers [E, 2], in colors [E, 4]."""
    from matplotlib.collections import PolyCollection

    angles = np.linspace(0.0, 2.0 * np.pi, 73)[:-1]
    circle = np.stack([np.cos(angles), np.sin(angles)])
    finite = drawable(covariances).all(axis=(1, 2)) & drawable(centers).all(axis=1)
    values, vectors = np.linalg.eigh(covariances[finite].astype(np.float64))
    roots = vectors * np.sqrt(np.maximum(values, 0.0))[:, None, :]
    outlines = centers[finite, None, :] + (roots @ circle).swapaxes(1, 2)
    edges, faces = colors[finite], colors[finite] * (1.0, 1.0, 1.0, 0.15)
    axes.add_collection(
        PolyCollection(outlines, facecolors=faces, edgecolors=edges, linewidths=1.1, zorder=2.5)
    )
    axes.autoscale_view()


def _colors_of(labels: np.ndarray | None, known: np.ndarray, rows: Sequence[int]) -> np.ndarray:
    """The colors [E, 4] of E rows of labels [N], as in a scatter of those that are `known` [N]."""
    from matplotlib.colors import to_rgba, to_rgba_array

    if labels is None:
        return to_rgba_array([BLUE] * len(rows))
    is_known = labels >= 0 if labels.dtype.kind == "i" else np.ones(len(labels), bool)
    found = np.unique(labels[known & is_known])
    ranks = np.searchsorted(found, labels[rows])
    if len(found) <= palette.MOST_MARKED:
        each = to_rgba_array(palette.LIGHT.labels)[ranks % len(palette.LIGHT.labels)]
    else:
        each = shades(256)[np.minimum(ranks * 255 // (len(found) - 1), 255)]
    each[~is_known[rows]] = to_rgba(palette.LIGHT.unknown)
    return each


def _scatter_by_label(
    axes,
    z: np.ndarray,
    labels: np.ndarray,
    label_names: Sequence | None,
    dots: Mapping[str, Any],
) -> None:
    from matplotlib.colors import ListedColormap

    is_known = labels >= 0 if labels.dtype.kind == "i" else np.ones(len(labels), bool)
    # pass handles explicitly: matplotlib leaves names that begin with _ out of a legend
    handles, names = [], []
    if not is_known.all():
        handles.append(axes.scatter(*z[~is_known].T, color=palette.LIGHT.unknown, **dots))
        names.append("unknown")
        z, labels = z[is_known], labels[is_known]
    found, ranks = np.unique(labels, return_inverse=True)
    if label_names is not None:
        found = [label_names[label] for label in found]
    if len(found) <= palette.MOST_MARKED:
        # One call for all labels: otherwise the last label would cover the others.
        _scatter_marked(axes, z, ranks, dots)
        for rank, name in enumerate(found):
            handles.append(_scatter_marked(axes, np.zeros((0, 2)), np.array([rank]), {"s": 28}))
            names.append(legible(name, 28))
        place = {"loc": "center left", "bbox_to_anchor": (1.0, 0.5), "handletextpad": 0.1}
        axes.legend(handles, names, **place)
    else:
        ticks = np.linspace(0, len(found) - 1, 5).round().astype(int)
        points = axes.scatter(*z.T, c=ranks, cmap=ListedColormap(shades(256)), **dots)
        bar = axes.figure.colorbar(points, ax=axes, shrink=0.6, ticks=ticks)
        bar.set_ticklabels([legible(found[i], 28) for i in ticks])
        bar.ax.set_title(f"{len(found):,} labels", fontsize=9)
        bar.solids.set_alpha(1.0)
        bar.outline.set_visible(False)


def _scatter_marked(axes, z: np.ndarray, ranks: np.ndarray, dots: Mapping[str, Any]) -> Any:
    """Draws codes [N, 2] with the color and the mark of their labels, of these ranks [N or 1]."""
    from matplotlib.colors import to_rgba_array
    from matplotlib.path import Path

    chosen = np.array([palette.mark_of(rank) for rank in range(palette.MOST_MARKED)])
    swatches = to_rgba_array(palette.LIGHT.labels)
    # the unit of a mark is half the root of its size, as of matplotlib's own
    shapes = [Path(0.5 * np.array([*mark, mark[0]]), closed=True) for mark in palette.MARKS]
    points = axes.scatter(*z.T, **dots)
    points.set_facecolor(swatches[chosen[ranks, 0]])
    points.set_paths([shapes[mark] for mark in chosen[ranks, 1]])
    return points


@house_style()
def rate_per_dimension(rate: np.ndarray, active: np.ndarray) -> Picture:
    """Draws the nats of each latent dimension, descending; active dimensions in color.

    Args:
        rate: [L], KL(q(z_l|x) ‖ p(z_l)) in nats, averaged over examples.
        active: [L] bool.

    Returns:
        Picture; its table has the rows (dimension, rate_nats, active) of shape [3], as drawn.

    Raises:
        UsageError: the shapes do not fit together.
    """
    rate = as_float(require("rate", rate, "L"))
    active = require_length("active", active, len(rate)).astype(bool)
    order = np.argsort(-rate, kind="stable")
    figure = new_figure(float(np.clip(0.9 + 0.36 * len(rate), 4.5, 9.0)), 2.7)
    axes = figure.add_subplot()
    place = np.arange(1, len(rate) + 1)
    colors = [BLUE if active[d] else "#c4c4c4" for d in order]
    bars = axes.bar(place, np.where(drawable(rate), rate, np.nan)[order], width=0.75, color=colors)
    if len(rate) <= 24:
        names = [plain(rate[d], ".2f") for d in order]
        axes.bar_label(bars, names, fontsize=6.5, color=MUTED, padding=2)
    if len(rate) <= 32:
        axes.set_xticks(place, [f"z{d}" for d in order])
        axes.tick_params(axis="x", length=0)
        axes.set_xlabel("latent dimension, sorted by rate")
    else:
        axes.set_xlabel("rank of the latent dimension by rate")
    axes.set_ylabel("rate (nats)")
    axes.grid(axis="y")
    axes.margins(x=0.02, y=0.1)
    axes.set_title(
        f"total rate {plain(rate.sum(), '.2f')} nats, "
        f"{active.sum()} of {len(rate)} dimensions active"
    )
    rows = [(d, rate[d], bool(active[d])) for d in order.tolist()]
    return Picture(figure, Table(("dimension", "rate_nats", "active"), rows))
