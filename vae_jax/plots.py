"""Pictures: arrays in, figures out, with the numbers behind each picture as a table.

Nothing here runs a model or needs JAX: arrays are anything NumPy can read. Matplotlib is imported
when the first picture is drawn, only through its object interface, so that no global state is left
behind. Pixels are expected in [0, 1] and are clipped for display only: tables keep them as given.
"""

import contextlib
import csv
import io
import math
import os
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from vae_jax.errors import StorageError, UsageError

__all__ = [
    "Picture",
    "Table",
    "image_grid",
    "interpolation",
    "latent_scatter",
    "manifold",
    "normal_quantiles",
    "rate_per_dimension",
    "reconstructions",
    "samples",
    "save",
    "save_gif",
    "training_curves",
    "traversal",
    "traversal_frames",
]

INK, MUTED, FAINT = "#2b2b2b", "#7a7a7a", "#e4e4e4"
BLUE, ORANGE = "#2a6f9e", "#e0822f"
QUALITATIVE = (
    "#3b75af", "#ef8536", "#519e3e", "#c53a32", "#8d69b8",
    "#84584e", "#d57dbe", "#7f7f7f", "#bcbd45", "#5abbcc",
    "#14375e", "#ffc08a", "#a3d890", "#7d1713", "#cdb6e6",
    "#c7a399", "#f5c2e3", "#bdbdbd", "#6c6d10", "#a9e1ea",
)  # fmt: skip

STYLE: dict[str, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "text.color": INK,
    "text.parse_math": False,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.labelsize": 9,
    "axes.labelcolor": INK,
    "axes.edgecolor": "#b5b5b5",
    "axes.linewidth": 0.8,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": "#ededed",
    "grid.linewidth": 0.8,
    "xtick.color": "#b5b5b5",
    "ytick.color": "#b5b5b5",
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "xtick.major.size": 3,
    "ytick.major.size": 3,
    "lines.linewidth": 1.6,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "figure.dpi": 100,
    "savefig.dpi": 200,
    "savefig.bbox": "tight",
    "savefig.pad_inches": 0.1,
}
"""The one style of every picture, in matplotlib's names."""


class Table(NamedTuple):
    """The numbers behind a picture.

    Args:
        columns: C names.
        rows: any number of rows, each of shape [C]: numbers, words, or None where there is none.
    """

    columns: tuple[str, ...]
    rows: list[tuple]


class Picture(NamedTuple):
    """A figure and the numbers it shows.

    Args:
        figure: a `matplotlib.figure.Figure`, tied to no window and no global list.
        table: its numbers, rows of shape [columns]. Images are flattened: pixel `x{i}` is the
            i-th in the flat order of [H, W, C].
    """

    figure: Any
    table: Table


def save(picture: Picture, path_stem: str | os.PathLike) -> tuple[Path, Path]:
    """Writes `<path_stem>.png` and `<path_stem>.csv`, each whole or not at all.

    Equal pictures give equal bytes. A number in the CSV is the shortest decimal that reads back as
    the same value in the array's own precision; an absent one is empty.

    Args:
        picture: what to write, of any shape.
        path_stem: the path without its ending; the folder is made if there is none.

    Returns:
        The paths of the PNG and of the CSV.

    Raises:
        StorageError: a file could not be written.
    """
    stem = Path(path_stem)
    png, text = io.BytesIO(), io.StringIO()
    with _style():
        picture.figure.savefig(png, format="png", metadata={"Software": None})
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(picture.table.columns)
    writer.writerows(picture.table.rows)
    paths = stem.with_name(f"{stem.name}.png"), stem.with_name(f"{stem.name}.csv")
    _write(paths[0], png.getvalue())
    _write(paths[1], text.getvalue().encode())
    return paths


def save_gif(
    frames: np.ndarray | Sequence[np.ndarray],
    path: str | os.PathLike,
    *,
    milliseconds: int = 120,
) -> Path:
    """Writes an endless GIF, whole or not at all.

    Args:
        frames: [T, H, W, C], C 1 or 3, or a list of T such images of one shape: uint8, or numbers
            in [0, 1].
        path: the file's path; the folder is made if there is none.
        milliseconds: how long each frame is shown, scalar.

    Returns:
        The path.

    Raises:
        UsageError: `frames` has another shape.
        StorageError: the file could not be written.
    """
    from PIL import Image

    frames = _to_rgb(_require_images("frames", frames, "T H W C"))
    num_frames, height, width, _ = frames.shape
    # One palette for all, so that colours do not flicker; dithering would compress badly.
    strip = Image.fromarray(frames.reshape(num_frames * height, width, 3))
    strip = strip.quantize(dither=Image.Dither.NONE)
    first, *others = (
        strip.crop((0, top, width, top + height)) for top in range(0, num_frames * height, height)
    )
    gif = io.BytesIO()
    first.save(gif, "gif", save_all=True, append_images=others, duration=milliseconds, loop=0)
    _write(Path(path), gif.getvalue())
    return Path(path)


def _write(path: Path, content: bytes) -> None:
    partial = path.with_name(f"{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.unlink(missing_ok=True)
        with partial.open("xb") as file:  # "x" follows no link that lies in its place
            file.write(content)
        partial.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        raise StorageError(
            f"{path}: cannot write {len(content):,} bytes ({error.strerror}): "
            "free some space or choose another folder"
        ) from error


@contextlib.contextmanager
def _style():
    """Our style on top of matplotlib's own, whatever the user has configured, for a while."""
    import matplotlib.style

    with matplotlib.style.context(["default", STYLE]):
        yield


def _figure(width: float, height: float):
    """A figure of the given size in inches, drawn by Agg, known to nobody else."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _require(name: str, x, axes: str) -> np.ndarray:
    """`x` as an array with one axis for each word in `axes`."""
    x = np.asarray(x)
    if x.ndim != len(axes.split()):
        raise UsageError(f"{name} has shape {list(x.shape)}: must be [{axes.replace(' ', ', ')}]")
    return x


def _require_length(name: str, x, length: int) -> np.ndarray:
    x = np.asarray(x)
    if x.shape != (length,):
        raise UsageError(f"{name} has shape {list(x.shape)}: must be [{length}]")
    return x


def _require_images(name: str, x, axes: str) -> np.ndarray:
    x = _require(name, x, axes)
    if x.shape[-1] not in (1, 3) or x.size == 0:
        raise UsageError(
            f"{name} has shape {list(x.shape)}: must be [{axes.replace(' ', ', ')}], not empty, "
            "the last axis 1 (grey) or 3 (colour)"
        )
    return x


def _as_float(x) -> np.ndarray:
    """Numbers of any type and shape as floats, their values unchanged: a binary 1 becomes 1.0."""
    x = np.asarray(x)
    return x if x.dtype in (np.float32, np.float64) else x.astype(np.float32)


def _to_rgb(images: np.ndarray) -> np.ndarray:
    """Images [..., C], C 1 or 3, uint8 or in [0, 1] (NaN is black), as uint8 [..., 3]."""
    if images.dtype != np.uint8:
        images = np.clip(np.nan_to_num(_as_float(images)), 0.0, 1.0)
        images = np.rint(255.0 * images).astype(np.uint8)
    return np.broadcast_to(images, (*images.shape[:-1], 3))


def image_grid(images: np.ndarray, *, gap: int | None = None) -> np.ndarray:
    """Lays images out as one, white between them.

    Image (r, c) starts at pixel (r·(H + gap), c·(W + gap)).

    Args:
        images: [R, C, H, W, Ch], Ch 1 or 3, numbers in [0, 1] (clipped) or uint8.
        gap: pixels between two images, scalar; about a fourteenth of an image unless given.

    Returns:
        uint8 [R·H + (R − 1)·gap, C·W + (C − 1)·gap, 3].

    Raises:
        UsageError: `images` has another shape.
    """
    images = _to_rgb(_require_images("images", images, "R C H W Ch"))
    gap = _gap(images) if gap is None else gap
    padding = ((0, 0), (0, 0), (0, gap), (0, gap), (0, 0))
    cells = np.pad(images, padding, constant_values=255)
    rows, columns, down, across, _ = cells.shape
    canvas = cells.transpose(0, 2, 1, 3, 4).reshape(rows * down, columns * across, 3)
    return canvas[: rows * down - gap, : columns * across - gap]


def _gap(images: np.ndarray) -> int:
    return max(1, round(max(images.shape[-3:-1]) / 14))


def _in_grid(images: np.ndarray, num_columns: int) -> np.ndarray:
    """Images [N, H, W, C] in reading order as [R, C, H, W, 3], the rest of the last row white."""
    images = _to_rgb(images)
    num_rows = math.ceil(len(images) / num_columns)
    blank = np.full((num_rows * num_columns - len(images), *images.shape[1:]), 255, np.uint8)
    return np.concatenate([images, blank]).reshape(num_rows, num_columns, *images.shape[1:])


def _enlarge(image: np.ndarray, num_pixels: float) -> np.ndarray:
    """An image [H, W, 3] repeated to at least `num_pixels` on its longer side, as RGBA.

    Matplotlib then only ever shrinks it, with a smooth filter: each pixel keeps sharp edges, and
    all have the same size, which nearest neighbours alone cannot give at a fractional scale.
    """
    times = math.ceil(num_pixels / max(image.shape[:2]))
    opaque = np.pad(image, ((0, 0), (0, 0), (0, 1)), constant_values=255)
    return opaque.repeat(times, axis=0).repeat(times, axis=1)


def _draw_grid(images: np.ndarray, *, gap: int | None = None):
    """A figure with images [R, C, H, W, Ch] on one axes, (r, c) centred on the data point (c, r).

    The grid is at most 7.2 inches wide and 9 high, an image at most 0.72 wide.
    """
    num_rows, num_columns, height, width, _ = images.shape
    gap = _gap(images) if gap is None else gap
    down, across = height + gap, width + gap
    cell = min(0.72, 7.2 / num_columns, 9.0 * across / (num_rows * down))
    inches = cell * num_columns, cell * num_rows * down / across
    # Room for what is written around the grid; `save` crops what is left of it.
    figure = _figure(inches[0] + 1.8, inches[1] + 0.9)
    axes = figure.add_subplot()
    left, top = -width / across / 2, -height / down / 2
    axes.imshow(
        _enlarge(image_grid(images, gap=gap), num_pixels=1.5 * STYLE["savefig.dpi"] * max(inches)),
        extent=(left, num_columns - 1 - left, num_rows - 1 - top, top),
        aspect=down / across,
    )
    axes.tick_params(length=0)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    return figure, axes


def _flat(examples: np.ndarray) -> np.ndarray:
    """Examples [N, *shape] as rows of a table, [N, prod(shape)]."""
    return examples.reshape(len(examples), -1)


def _flat_names(shape: Sequence[int]) -> tuple[str, ...]:
    return tuple(f"x{i}" for i in range(math.prod(shape)))


def _plain(value: float, spec: str = ".2g") -> str:
    """A number with a true minus sign and no negative zero."""
    return f"{float(value):z{spec}}".replace("-", "−")


def _same_decimals(values: np.ndarray) -> list[str]:
    """Numbers [N], none negative, with as many decimals as give the largest three digits."""
    largest = np.max(values, initial=0.0, where=np.isfinite(values))
    decimals = 2 - math.floor(math.log10(largest)) if largest > 0 else 0
    decimals = min(max(0, decimals), 4)
    return [_plain(value, f".{decimals}f") for value in values]


TERMS = ("loss", "distortion", "rate", "elbo")
PANELS = (*TERMS, "active_units", "beta", "learning_rate")
CLOCKS = ("step", "epoch", "seconds", "per_second")


def _number(cell: Any) -> float:
    """A cell of a metrics file: NaN where it is missing, empty or no number."""
    try:
        return float(cell)
    except (TypeError, ValueError):
        return math.nan


def _robust_limits(values: np.ndarray) -> tuple[float, float]:
    """Limits that show the bulk of `values` [N], all finite, and not far outliers.

    [max(min, q1 − 3·(q3 − q1)), min(max, q3 + 3·(q3 − q1))], q1 and q3 the quartiles; and a margin.
    """
    low, q1, q3, high = np.quantile(values, (0.0, 0.25, 0.75, 1.0))
    low, high = max(low, q1 - 3.0 * (q3 - q1)), min(high, q3 + 3.0 * (q3 - q1))
    margin = 0.06 * (high - low) or 0.05 * abs(high) or 1.0
    return low - margin, high + margin


@_style()
def training_curves(rows: Sequence[Mapping[str, Any]]) -> Picture:
    """Every logged quantity against the step, each in its own panel, train and validation together.

    A quantity `name` is drawn with its twin `valid_name`. Loss, distortion, rate and elbo come
    first, in nats per example, then active units; everything else is drawn where it changes.
    Limits follow the bulk of the values; a far outlier is named at the edge it lies beyond.

    Args:
        rows: N mappings from column to cell, as in metrics.csv: a number, a word that reads as one,
            or nothing. Any column may be absent, empty or NaN. The axis is `step`, or `epoch`, or
            else the row's index.

    Returns:
        Picture; its table is the drawn columns, cells as given, one row of shape [columns] each.
    """
    names = dict.fromkeys(name for row in rows for name in row)
    values = {name: np.array([_number(row.get(name)) for row in rows]) for name in names}
    values = {name: column for name, column in values.items() if np.isfinite(column).any()}
    axis = next((name for name in ("step", "epoch") if name in values), None)
    x = values[axis] if axis else np.arange(float(len(rows)))

    found = dict.fromkeys(name.removeprefix("valid_") for name in values)
    others = [n for n in found if n not in PANELS and not n.endswith(CLOCKS)]
    panels = [
        name
        for name in (*PANELS, *others)
        if name in found
        and (name in (*TERMS, "active_units") or any(map(_changes, _pair(values, name).values())))
    ]
    num_columns = min(3, max(1, len(panels)))
    num_rows = max(1, math.ceil(len(panels) / num_columns))
    figure = _figure(2.75 * num_columns, 2.1 * num_rows + 0.3)
    figure.get_layout_engine().set(w_pad=0.06, h_pad=0.06)
    if not panels:
        figure.text(0.5, 0.5, "no metrics yet", ha="center", va="center", color=MUTED)
    for index, name in enumerate(panels):
        axes = figure.add_subplot(num_rows, num_columns, index + 1)
        pair = _pair(values, name)
        _draw_curves(axes, name, x, pair)
        if index + num_columns >= len(panels):
            axes.set_xlabel(axis or "row")
        if len(pair) == 2 and not figure.legends:
            figure.legend(*axes.get_legend_handles_labels(), loc="outside upper right", ncols=2)

    drawn = [axis] if axis else []
    drawn += [column for name in panels for column in _pair(values, name)]
    table = Table(tuple(drawn), [tuple(row.get(name) for name in drawn) for row in rows])
    return Picture(figure, table)


def _pair(values: Mapping[str, np.ndarray], name: str) -> dict[str, np.ndarray]:
    """The columns [N] of a quantity: its own and its validation twin's, where they exist."""
    return {column: values[column] for column in (name, f"valid_{name}") if column in values}


def _changes(column: np.ndarray) -> bool:
    return np.ptp(column[np.isfinite(column)]) > 0


def _draw_curves(axes, name: str, x: np.ndarray, pair: Mapping[str, np.ndarray]) -> None:
    """One panel: the quantity `name`, curves [N] over x [N], the last value at the upper right."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    shown = []
    for column, y in pair.items():
        known = np.isfinite(x) & np.isfinite(y)
        shown.append(y[known])
        axes.plot(
            x[known],
            y[known],
            color=BLUE if column == name else ORANGE,
            label="train" if column == name else "validation",
            marker="o" if known.sum() < 3 else None,
            markersize=3,
        )
    last, colour = shown[-1][-1:], axes.lines[-1].get_color()
    shown = np.concatenate(shown)
    if name not in TERMS and name in PANELS:
        axes.set_ylim(0.0, 1.1 * shown.max(initial=0.0) or 1.0)
    elif shown.size:
        low, high = _robust_limits(shown)
        axes.set_ylim(low, high)
        note = {"ha": "right", "transform": axes.transAxes, "fontsize": 7, "color": MUTED}
        if shown.max() > high:
            axes.text(0.99, 0.97, f"↑ highest {_plain(shown.max(), '.4g')}", va="top", **note)
        if shown.min() < low:
            axes.text(0.99, 0.04, f"↓ lowest {_plain(shown.min(), '.4g')}", va="bottom", **note)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.xaxis.set_major_formatter(
        FuncFormatter(lambda step, _: f"{step / 1000:g}k" if step >= 10000 else f"{step:g}")
    )
    axes.grid(axis="y")
    axes.set_title({"beta": "β"}.get(name, name.replace("_", " ")))
    for value in last:
        axes.set_title(_plain(value, ".4g"), loc="right", fontsize=8, color=colour)
    if name in TERMS:
        axes.set_ylabel("nats")


@_style()
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
    x, reconstruction = _as_float(x), _as_float(reconstruction)
    if x.shape != reconstruction.shape or x.ndim < 2 or x.size == 0:
        raise UsageError(
            f"x has shape {list(x.shape)}, reconstruction {list(reconstruction.shape)}: "
            "must be equal, [N, *shape] with N >= 1"
        )
    squared_error = np.sum(_flat(reconstruction.astype(np.float64) - x) ** 2, axis=1)
    is_images = x.ndim == 4 and x.shape[-1] in (1, 3)
    draw = _draw_image_reconstructions if is_images else _draw_line_reconstructions
    figure = draw(x, reconstruction, _same_decimals(squared_error))
    rows = [
        (kind, n, squared_error[n], *numbers)
        for kind, examples in (("input", x), ("reconstruction", reconstruction))
        for n, numbers in enumerate(_flat(examples))
    ]
    columns = ("kind", "example", "squared_error", *_flat_names(x.shape[1:]))
    return Picture(figure, Table(columns, rows))


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
    images = np.stack([_to_rgb(x), _to_rgb(reconstruction), error])
    figure, axes = _draw_grid(images)
    axes.set_yticks(range(3), ["input", "reconstruction", "error"])
    axes.set_xticks(range(len(x)), squared_error)
    axes.set_xlabel("squared error, summed over the image")
    place = axes.inset_axes((1.0 + 0.15 / len(x), 0.0, 0.12 / len(x), 0.31))
    bar = figure.colorbar(colours, cax=place)
    bar.outline.set_visible(False)
    return figure


def _draw_line_reconstructions(x, reconstruction, squared_error):
    x, reconstruction = _flat(x), _flat(reconstruction)
    num_columns = min(4, len(x))
    num_rows = math.ceil(len(x) / num_columns)
    figure = _figure(0.6 + 2.0 * num_columns, 0.6 + 1.15 * num_rows)
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


@_style()
def samples(x: np.ndarray, *, title: str = "samples from the prior") -> Picture:
    """A grid of images in reading order, as square as can be.

    Args:
        x: [N, H, W, C] in [0, 1], C 1 or 3.
        title: the words above the grid.

    Returns:
        Picture; its table has the rows (example, x0, x1, …) of shape [1 + D].

    Raises:
        UsageError: `x` has another shape.
    """
    x = _as_float(_require_images("x", x, "N H W C"))
    images = _in_grid(x, math.ceil(math.sqrt(len(x))))
    figure, axes = _draw_grid(images)
    axes.set_title(title)
    columns = ("example", *_flat_names(x.shape[1:]))
    return Picture(figure, Table(columns, [(n, *row) for n, row in enumerate(_flat(x))]))


def _by_rate(rates, num_dimensions: int, max_rows: int) -> tuple[np.ndarray, np.ndarray]:
    """`rates` [L] and the dimensions [min(L, max_rows)] of the highest, the highest first."""
    rates = _as_float(_require_length("rates", rates, num_dimensions))
    return rates, np.argsort(-rates, kind="stable")[:max_rows]


@_style()
def traversal(
    images: np.ndarray, values: np.ndarray, rates: np.ndarray, *, max_rows: int = 12
) -> Picture:
    """What each latent dimension does alone: one row for each, the highest rate on top.

    Args:
        images: [L, T, H, W, C] in [0, 1], C 1 or 3: the decoded image where dimension l takes
            value t and the others stay.
        values: [T], the values that each dimension takes.
        rates: [L], KL(q(z_l|x) ‖ p(z_l)) in nats, averaged over examples.
        max_rows: how many dimensions at most are drawn, scalar.

    Returns:
        Picture; its table has the rows (dimension, rate_nats, value, x0, x1, …) of shape [3 + D],
        in the order drawn.

    Raises:
        UsageError: the shapes do not fit together.
    """
    images = _as_float(_require_images("images", images, "L T H W C"))
    values = _require_length("values", values, images.shape[1])
    rates, order = _by_rate(rates, len(images), max_rows)
    figure, axes = _draw_grid(images[order])
    axes.set_title("latent traversal, sorted by rate")
    axes.set_yticks(range(len(order)), [f"z{d}" for d in order])
    axes.set_xticks(range(len(values)), [_plain(value) for value in values])
    axes.set_xlabel("value of this dimension, the others held")
    for row, dimension in enumerate(order):
        axes.annotate(
            f"{_plain(rates[dimension], '.2f')} nats",
            (1.0, row),
            (6, 0),
            xycoords=("axes fraction", "data"),
            textcoords="offset points",
            va="center",
            fontsize=8,
            color=MUTED,
        )
    rows = [
        (d, rates[d], value, *pixels)
        for d in order.tolist()
        for value, pixels in zip(values, _flat(images[d]), strict=True)
    ]
    columns = ("dimension", "rate_nats", "value", *_flat_names(images.shape[2:]))
    return Picture(figure, Table(columns, rows))


@_style()
def traversal_frames(
    images: np.ndarray, values: np.ndarray, rates: np.ndarray, *, max_rows: int = 12
) -> np.ndarray:
    """The rows of `traversal` in motion: all dimensions at once, there and back, for a GIF.

    Args:
        images: [L, T, H, W, C] in [0, 1], C 1 or 3, as for `traversal`.
        values: [T].
        rates: [L] in nats.
        max_rows: how many dimensions at most are shown, scalar.

    Returns:
        uint8 [max(1, 2·T − 2), H', W', 3]: values 0 … T − 1, then T − 2 … 1.

    Raises:
        UsageError: the shapes do not fit together.
    """
    images = _as_float(_require_images("images", images, "L T H W C"))
    values = _require_length("values", values, images.shape[1])
    rates, order = _by_rate(rates, len(images), max_rows)
    # Whole multiples of a pixel: sharp, all of one size, and they compress well.
    times = max(1, round(112 / max(images.shape[2:4])))
    moving = _to_rgb(images[order]).repeat(times, axis=2).repeat(times, axis=3)
    height, width = moving.shape[2:4]
    across, down = max(width, 96) + 12, height + 24
    # About three columns to two rows, and few places left empty.
    ideal = math.sqrt(1.5 * len(order))
    num_columns = min(range(1, 7), key=lambda c: -len(order) % c + abs(c - ideal))
    places = [divmod(i, num_columns) for i in range(len(order))]
    corners = [(22 + down * row, 12 + across * column) for row, column in places]
    size = np.array([12 + across * num_columns, 52 + down * (places[-1][0] + 1)])

    figure = _figure(*size / 100)
    figure.set_layout_engine("none")
    for dimension, (y, x) in zip(order, corners, strict=True):
        label = f"z{dimension}  {_plain(rates[dimension], '.2f')} nats"
        figure.text(x / size[0], 1.0 - (y - 6) / size[1], label, fontsize=8)
    slider = figure.add_axes((0.05, 26 / size[1], 0.9, 16 / size[1]))
    ends = values[[0, -1]]
    slider.plot(ends, [0.0, 0.0], color=FAINT, linewidth=3, solid_capstyle="round")
    slider.set_xticks(ends, [_plain(value) for value in ends])
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


@_style()
def interpolation(images: np.ndarray) -> Picture:
    """The way between two examples in latent space, one pair per row.

    Args:
        images: [P, T, H, W, C] in [0, 1], C 1 or 3: for each of P pairs, T decoded images at equal
            steps from one end to the other.

    Returns:
        Picture; its table has the rows (pair, position, x0, x1, …) of shape [2 + D], position in
        [0, 1].

    Raises:
        UsageError: `images` has another shape.
    """
    images = _as_float(_require_images("images", images, "P T H W C"))
    position = np.linspace(0.0, 1.0, images.shape[1])
    figure, axes = _draw_grid(images)
    axes.set_title("interpolation in latent space")
    axes.set_xticks(range(len(position)), [f"{p:.2g}" for p in position])
    axes.set_xlabel("position between the two ends")
    rows = [
        (pair, p, *pixels)
        for pair, row in enumerate(images)
        for p, pixels in zip(position, _flat(row), strict=True)
    ]
    return Picture(figure, Table(("pair", "position", *_flat_names(images.shape[2:])), rows))


def normal_quantiles(num: int, low: float, high: float) -> np.ndarray:
    """Points of the standard normal at equal steps of probability: Φ⁻¹(linspace(low, high, num)).

    Args:
        num: how many, scalar.
        low, high: the probabilities at the two ends, scalars, 0 < low < high < 1.

    Returns:
        [num], rising.

    Raises:
        UsageError: `low` and `high` are no such probabilities.
    """
    if not 0.0 < low < high < 1.0:
        raise UsageError(f"low={low}, high={high}: must be probabilities, 0 < low < high < 1")
    normal = statistics.NormalDist()
    return np.array([normal.inv_cdf(p) for p in np.linspace(low, high, num)])


@_style()
def manifold(images: np.ndarray, low: float = 0.02, high: float = 0.98) -> Picture:
    """A model with two latent dimensions, decoded over a grid of quantiles of its prior N(0, I).

    Args:
        images: [R, C, H, W, Ch] in [0, 1], Ch 1 or 3: image (r, c) is decoded from
            z0 = `normal_quantiles(C, low, high)[c]` and z1 = `normal_quantiles(R, low, high)[r]`;
            it is drawn with z0 to the right and z1 upwards.
        low, high: the probabilities at the two ends, scalars.

    Returns:
        Picture; its table has the rows (z0, z1, x0, x1, …) of shape [2 + D].

    Raises:
        UsageError: `images` has another shape, or `low`, `high` are no probabilities.
    """
    images = _as_float(_require_images("images", images, "R C H W Ch"))
    z1, z0 = (normal_quantiles(num, low, high) for num in images.shape[:2])
    figure, axes = _draw_grid(images[::-1], gap=1)
    for z, set_ticks in ((z0, axes.set_xticks), (z1[::-1], axes.set_yticks)):
        ticks = np.unique(np.linspace(0, len(z) - 1, 7).round().astype(int))
        set_ticks(ticks, [_plain(z[i], ".2f") for i in ticks])
    axes.set_xlabel("z0")
    axes.set_ylabel("z1")
    axes.set_title("decoded quantiles of the prior")
    rows = [
        (z0[c], z1[r], *pixels)
        for r, row in enumerate(images)
        for c, pixels in enumerate(_flat(row))
    ]
    return Picture(figure, Table(("z0", "z1", *_flat_names(images.shape[2:])), rows))


@_style()
def latent_scatter(
    z: np.ndarray,
    labels: np.ndarray | None = None,
    *,
    axis_names: tuple[str, str] = ("z0", "z1"),
) -> Picture:
    """Examples in a plane of latent space, coloured by label, over the prior's 1σ and 2σ circles.

    Args:
        z: [N, 2]; a row that is not finite is left out of the figure.
        labels: [N] numbers or words, or None. Up to 20 distinct ones get a legend, more a colour
            bar in their order.
        axis_names: the names of the two dimensions.

    Returns:
        Picture; its table has the rows (*axis_names, label) of shape [3], or [2] without labels.

    Raises:
        UsageError: the shapes do not fit together.
    """
    from matplotlib.patches import Circle

    z = _as_float(_require("z", z, "N 2"))
    if z.shape[1] != 2:
        raise UsageError(f"z has shape {list(z.shape)}: must be [N, 2], one plane of latent space")
    figure = _figure(6.2, 5.4)
    axes = figure.add_subplot()
    axes.set_aspect("equal", adjustable="datalim")
    for sigma in (1.0, 2.0):
        axes.add_patch(
            Circle((0.0, 0.0), sigma, fill=False, color="#8c8c8c", linewidth=0.8, zorder=2)
        )
        name = axes.text(
            0.0, sigma, f"{sigma:.0f}σ", ha="center", va="center", fontsize=7, color=MUTED, zorder=3
        )
        name.set_bbox({"facecolor": "white", "linewidth": 0, "alpha": 0.85, "pad": 1.0})
    known = np.isfinite(z).all(axis=1)
    dots = {"s": float(np.clip(20000 / max(1, len(z)), 2, 14)), "linewidths": 0, "alpha": 0.65}
    if labels is None:
        axes.scatter(*z[known].T, color=BLUE, **dots)
    else:
        labels = _require_length("labels", labels, len(z))
        _scatter_by_label(axes, z[known], labels[known], dots)
    axes.set_xlabel(axis_names[0])
    axes.set_ylabel(axis_names[1])
    axes.grid(True)
    if labels is None:
        return Picture(figure, Table(tuple(axis_names), [tuple(row) for row in z]))
    rows = [(*row, label) for row, label in zip(z, labels, strict=True)]
    return Picture(figure, Table((*axis_names, "label"), rows))


def _scatter_by_label(axes, z: np.ndarray, labels: np.ndarray, dots: Mapping[str, Any]) -> None:
    names, ranks = np.unique(labels, return_inverse=True)
    if len(names) <= len(QUALITATIVE):
        # One call for all: drawn label by label, the last would cover the first.
        axes.scatter(*z.T, c=[QUALITATIVE[rank] for rank in ranks], **dots)
        for name, colour in zip(names, QUALITATIVE, strict=False):
            axes.scatter([], [], color=colour, s=28, label=str(name))
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), handletextpad=0.1)
    else:
        ticks = np.linspace(0, len(names) - 1, 5).round().astype(int)
        points = axes.scatter(*z.T, c=ranks, cmap="viridis", **dots)
        bar = axes.figure.colorbar(points, ax=axes, shrink=0.6, ticks=ticks)
        bar.set_ticklabels([str(names[i]) for i in ticks])
        bar.solids.set_alpha(1.0)
        bar.outline.set_visible(False)


@_style()
def rate_per_dimension(rate: np.ndarray, active: np.ndarray) -> Picture:
    """How many nats each latent dimension carries, the most first; active ones in colour.

    Args:
        rate: [L], KL(q(z_l|x) ‖ p(z_l)) in nats, averaged over examples.
        active: [L] bool.

    Returns:
        Picture; its table has the rows (dimension, rate_nats, active) of shape [3], as drawn.

    Raises:
        UsageError: the shapes do not fit together.
    """
    rate = _as_float(_require("rate", rate, "L"))
    active = _require_length("active", active, len(rate)).astype(bool)
    order = np.argsort(-rate, kind="stable")
    figure = _figure(float(np.clip(0.9 + 0.36 * len(rate), 4.5, 9.0)), 2.7)
    axes = figure.add_subplot()
    place = np.arange(1, len(rate) + 1)
    colours = [BLUE if active[d] else "#c4c4c4" for d in order]
    bars = axes.bar(place, rate[order], width=0.75, color=colours)
    if len(rate) <= 24:
        names = [_plain(rate[d], ".2f") for d in order]
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
        f"total rate {_plain(rate.sum(), '.2f')} nats, "
        f"{active.sum()} of {len(rate)} dimensions active"
    )
    rows = [(d, rate[d], bool(active[d])) for d in order.tolist()]
    return Picture(figure, Table(("dimension", "rate_nats", "active"), rows))
