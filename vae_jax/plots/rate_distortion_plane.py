"""The rate-distortion plane of a sweep."""

from collections.abc import Iterable, Sequence

import numpy as np

from vae_jax.errors import UsageError
from vae_jax.plots._axes import drawable, robust_limits, wrap
from vae_jax.plots._colors import color_by, draw_key, key_width
from vae_jax.plots._picture import INK, MUTED, house_style, legible, new_figure, plain
from vae_jax.plots._runs import (
    LINE_HEIGHT,
    cells_of,
    nothing,
    num_letters,
    per_run,
    say_left_out,
    table_of,
)
from vae_jax.plots.pictures import Picture

__all__ = ["rate_distortion"]

LINE = "#c9c9c9"  # color of reference lines


@house_style()
def rate_distortion(
    rate: np.ndarray,
    distortion: np.ndarray,
    *,
    color: Iterable | None = None,
    color_name: str | None = None,
    names: Sequence[str] | None = None,
    num_iso: int = 7,
    links: Sequence[str] | None = None,
) -> Picture:
    """Draws the rate-distortion plane: one point per run, lines of equal ELBO, the best run ringed.

    ELBO = −(rate + distortion). The axes include all runs except extreme outliers, which are
    counted above them, and always the run with the highest ELBO.

    Args:
        rate: [R], KL(q(z|x) ‖ p(z)) in nats per example; NaN if the run diverged.
        distortion: [R], −E_q[log p(x|z)] in nats per example; NaN if the run diverged.
        color: [R], a hyperparameter: numbers, or words such as schedules. Words and up to 8
            distinct numbers are categories; more numbers are continuous, logarithmic if they are
            positive and span more than a decade.
        color_name: name of `color`.
        names: [R], the names of the runs.
        num_iso: maximum number of lines of equal ELBO, scalar.
        links: [R], where the point of a run leads in an SVG, such as "#run-3".

    Returns:
        Picture; its table has one row per run, (run, name, color_name, rate_nats, distortion_nats,
            elbo_nats), of shape [6], without columns that were not passed.

    Raises:
        UsageError: the shapes do not fit together, or `num_iso` is negative.

    Reference: Alemi et al. 2018, "Fixing a Broken ELBO", https://arxiv.org/abs/1711.00464.
    """
    rate = per_run("rate", rate)
    distortion = per_run("distortion", distortion, len(rate))
    names = None if names is None else cells_of("names", names, len(rate))
    cells = None if color is None else cells_of("color", color, len(rate))
    links = None if links is None else cells_of("links", links, len(rate))
    if num_iso < 0:
        raise UsageError(f"num_iso={num_iso}: must be >= 0")
    points = np.stack([rate, distortion], axis=1).astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        elbo = -points.sum(axis=1)
    table = table_of(
        ("run", range(len(rate))),
        ("name", names),
        (color_name or "color", cells),
        ("rate_nats", rate),
        ("distortion_nats", distortion),
        ("elbo_nats", elbo),
    )
    known = drawable(elbo)
    if not known.any():
        return Picture(nothing(len(rate), "rate and distortion"), table)

    best = int(np.argmax(np.where(known, elbo, -np.inf)))
    inside = known & _near(points, known)
    inside[best] = True
    low, high = _limits(points[inside])
    colors = color_by(cells, color_name, inside)
    width = 3.5 + key_width(colors)
    label = _name_highest(elbo[best], "" if names is None else str(names[best]), width)
    figure = new_figure(width, 3.5 + LINE_HEIGHT * label.count("\n"))
    axes = figure.add_subplot(xlim=(low[0], high[0]), ylim=(low[1], high[1]))
    _draw_iso_lines(axes, points[inside], num_iso)
    size = float(np.clip(2500 / inside.sum(), 16, 36))
    dots = {"c": colors.each[inside], "edgecolors": "white", "linewidths": 0.5, "zorder": 3}
    placed = axes.scatter(*points[inside].T, s=size, **dots)
    if links is not None:
        placed.set_urls([links[run] for run in np.flatnonzero(inside)])
    ring = {"facecolors": "none", "edgecolors": INK, "linewidths": 1.2, "zorder": 4}
    axes.scatter(*points[best], s=3 * size, label=label, **ring)
    axes.locator_params(axis="x", nbins=6)
    axes.set_title("rate and distortion of the runs")
    axes.set_xlabel("rate (nats)")
    axes.set_ylabel("distortion (nats)")
    say_left_out(figure, len(rate), diverged=~known, beyond=known & ~inside)
    draw_key(figure, axes, colors)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower left", handlelength=1.6)
    return Picture(figure, table)


def _name_highest(elbo: float, name: str, width: float) -> str:
    """The text for the ring, in lines that fit in a legend of `width` inches."""
    value, length = f"highest ELBO shown: {plain(elbo, '.2f')} nats", num_letters(width)
    if name and len(value) + 2 + len(name) <= length:
        return f"{value}, {legible(name, length)}"
    return "\n".join([value, *wrap(name, length)])


def _near(points: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Which `points` [R, 2] are not extreme outliers among those `known` [R]: bool [R]."""
    low, high = np.transpose([robust_limits(x, reach=20.0) for x in points[known].T])
    return np.all((low <= points) & (points <= high), axis=1)


def _limits(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Corners [2], [2] of axes that hold all `points` [N, 2]; both axes are in nats."""
    low, high = points.min(axis=0), points.max(axis=0)
    span = np.where(high > low, high - low, max(np.max(high - low), 2.0, 1e-6 * np.abs(high).max()))
    margin = np.where(high > low, 0.07, 0.5) * span
    return low - margin, high + margin


def _draw_iso_lines(axes, points: np.ndarray, num: int) -> None:
    """Draws at most `num` lines of equal ELBO, labeled far from `points` [N, 2]."""
    from matplotlib.collections import LineCollection

    limits = np.array([axes.get_xlim(), axes.get_ylim()])
    lines = _iso_lines(limits, num)
    if not lines:
        return
    lowest, sizes = limits[:, 0], np.ptp(limits, axis=1)
    label = "equal ELBO = −(rate + distortion), in nats"
    axes.add_collection(
        LineCollection([*lines.values()], colors=LINE, linewidths=0.8, zorder=1, label=label),
        autolim=False,
    )
    for elbo, ends in lines.items():
        x, y = _emptiest((ends - lowest) / sizes, (points - lowest) / sizes) * sizes + lowest
        text = axes.text(
            x, y, plain(elbo, ".10g"), fontsize=6.5, color=MUTED, zorder=2,
            ha="center", va="center", rotation=-45, rotation_mode="anchor",
            transform_rotates_text=True,
        )  # fmt: skip
        text.set_bbox({"facecolor": "white", "linewidth": 0, "pad": 2.0})


def _iso_lines(limits: np.ndarray, num: int) -> dict[float, np.ndarray]:
    """Ends [2, 2] of the lines rate + distortion = −ELBO in a box [2, 2], by ELBO, best first.

    Lines that only cut a corner of the box have no space for a label and are left out.
    """
    from matplotlib.ticker import MaxNLocator

    (left, right), (bottom, top) = limits
    steps = MaxNLocator(max(1, num - 1), steps=[1, 2, 2.5, 5, 10])
    lines = {}
    for level in steps.tick_values(left + bottom, right + top) if num else ():
        x = np.array([max(left, level - top), min(right, level - bottom)])
        ends = np.stack([x, level - x], axis=1)
        if x[0] < x[1] and np.linalg.norm(np.diff(ends, axis=0) / np.ptp(limits, axis=1)) > 0.25:
            lines[-float(level)] = ends
    return dict(list(lines.items())[:num])


def _emptiest(ends: np.ndarray, points: np.ndarray) -> np.ndarray:
    """The point [2] on a line with `ends` [2, 2] farthest from `points` [N, 2], or its middle."""
    along = np.linspace(0.15, 0.85, 29)
    places = ends[0] + along[:, None] * (ends[1] - ends[0])
    way = (ends[1] - ends[0]) / np.linalg.norm(ends[1] - ends[0])
    label = places[:, None] + np.array([-0.05, 0.0, 0.05])[:, None] * way  # [29, 3, 2]
    distance = np.linalg.norm(label[:, :, None] - points, axis=-1).min(axis=(1, 2))
    return places[np.argmax(np.minimum(distance, 0.12) - 0.02 * np.abs(along - 0.5))]
