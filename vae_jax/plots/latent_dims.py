"""The ELBO and the active units of a sweep against the latent dimension."""

from collections.abc import Iterable

import numpy as np

from vae_jax.errors import UsageError
from vae_jax.plots._axes import drawable
from vae_jax.plots._colors import color_by, draw_key, key_width, ordered
from vae_jax.plots._picture import MUTED, house_style, new_figure
from vae_jax.plots._runs import (
    cells_of,
    mean_and_error,
    nothing,
    per_run,
    repeats,
    say_left_out,
    table_of,
)
from vae_jax.plots.pictures import Picture

__all__ = ["elbo_against_latent_dim"]


@house_style()
def elbo_against_latent_dim(
    latent_dim: np.ndarray,
    elbo: np.ndarray,
    active_units: np.ndarray,
    *,
    series: Iterable | None = None,
    series_name: str | None = None,
) -> Picture:
    """Draws how many latent dimensions help, and how many are used: means over repeated runs.

    The upper panel has the ELBO; the lower one has the number of active units, with a line at which
    all are active. Runs with the same latent dimension and series are repeats; bars are the
    standard error s/√n, absent for a single run.

    Args:
        latent_dim: [R], the latent dimension of each run, positive.
        elbo: [R] in nats per example; NaN if the run diverged, which drops both of its values.
        active_units: [R], a number of dimensions; NaN if unknown.
        series: [R], one line for each distinct value: numbers, or words such as schedules.
        series_name: name of `series`.

    Returns:
        Picture; its table has one row per series and dimension, (series_name, latent_dim, num_runs,
        num_diverged, elbo_mean_nats, elbo_standard_error_nats, active_units_mean,
        active_units_standard_error), of shape [8], or [7] without series.

    Raises:
        UsageError: the shapes do not fit together, or a latent dimension is not positive.
    """
    sizes = per_run("latent_dim", latent_dim)
    elbo = per_run("elbo", elbo, len(sizes))
    active = per_run("active_units", active_units, len(sizes))
    cells = None if series is None else cells_of("series", series, len(sizes))
    if not (np.isfinite(sizes) & (sizes > 0)).all():
        raise UsageError("latent_dim has a size that is no positive number")
    known = drawable(elbo)
    active = np.where(known, active, np.nan)
    places = np.zeros(len(sizes), int) if cells is None else ordered(cells)[1]
    distinct, columns = np.unique(sizes, return_inverse=True)
    groups = repeats(places, columns)
    statistics = np.array(
        [(*mean_and_error(elbo[g.members]), *mean_and_error(active[g.members])) for g in groups],
        dtype=object,
    ).reshape(len(groups), 4)
    firsts = [g.members[0] for g in groups]
    table = table_of(
        (series_name or "series", None if cells is None else cells[firsts]),
        ("latent_dim", [int(s) if s == int(s) else s for s in sizes[firsts].tolist()]),
        ("num_runs", [len(g.members) for g in groups]),
        ("num_diverged", [int((~known[g.members]).sum()) for g in groups]),
        ("elbo_mean_nats", statistics[:, 0]),
        ("elbo_standard_error_nats", statistics[:, 1]),
        ("active_units_mean", statistics[:, 2]),
        ("active_units_standard_error", statistics[:, 3]),
    )
    if not known.any():
        return Picture(nothing(len(sizes), "ELBO"), table)

    colors = color_by(cells, series_name, known)
    figure = new_figure(3.5 + key_width(colors), 4.4)
    panels = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    _scale_sizes(panels[1], distinct)
    numbers = statistics.astype(float)  # None becomes NaN
    for place in np.unique(places[known]):
        line = [index for index, group in enumerate(groups) if group.row == place]
        color = colors.each[np.argmax(known & (places == place))]
        _draw_line(panels, sizes[firsts][line], numbers[line], color)
    _draw_all_active(panels[1], distinct, numbers[:, 2:])
    _name_axes(figure, panels, has_errors=np.isfinite(numbers[:, 1]).any())
    say_left_out(figure, len(sizes), diverged=~known)
    draw_key(figure, panels, colors)
    reference = panels[1].get_legend_handles_labels()
    figure.legend(*reference, loc="outside lower left", handlelength=1.6)
    return Picture(figure, table)


def _draw_line(panels, sizes: np.ndarray, numbers: np.ndarray, color: np.ndarray) -> None:
    """Draws a series over sizes [S]: means and errors of the ELBO and the active units, [S, 4]."""
    style = {"color": color, "capsize": 2, "elinewidth": 1.0}
    style |= {"marker": "o", "markersize": 3.5, "linewidth": 1.4}
    for axes, (mean, error) in zip(panels, np.split(numbers.T, 2), strict=True):
        there = np.isfinite(mean)
        axes.errorbar(sizes[there], mean[there], error[there], **style)


def _name_axes(figure, panels, *, has_errors: bool) -> None:
    """Labels the two panels and explains their bars."""
    if has_errors:
        bars = {"color": MUTED, "marker": "o", "markersize": 3.5, "capsize": 2}
        panels[1].errorbar([], [], [], linestyle="", label="mean ± standard error", **bars)
    panels[0].set_title("what latent dimensions bring")
    panels[0].set_ylabel("ELBO (nats)")
    panels[1].set_ylabel("active units")
    panels[1].set_xlabel("latent dimension")
    for axes in panels:
        axes.grid(True)
    figure.align_ylabels(panels)


def _scale_sizes(axes, sizes: np.ndarray) -> None:
    """Sets limits and ticks of x for ascending `sizes` [S]; log₂ if they span more than 8×."""
    from matplotlib.ticker import NullLocator

    is_wide = sizes[-1] > 8 * sizes[0]
    if is_wide:
        axes.set_xscale("log", base=2)
    place = np.log2(sizes) if is_wide else sizes
    span = np.ptp(place)
    margin = 0.05 * span or 1.0
    low, high = place[0] - margin, place[-1] + margin
    axes.set_xlim(*np.exp2([low, high]) if is_wide else (low, high))
    ticks = [0]
    for index in range(1, len(sizes)):
        if place[index] - place[ticks[-1]] >= 0.08 * span:
            ticks.append(index)
    axes.set_xticks(sizes[ticks], [f"{size:g}" for size in sizes[ticks]])
    axes.xaxis.set_minor_locator(NullLocator())


def _draw_all_active(axes, sizes: np.ndarray, active: np.ndarray) -> None:
    """Draws the line y = x within the limits; y shows the means and errors `active` [G, 2]."""
    if not np.isfinite(active[:, 0]).any():
        axes.text(0.5, 0.5, "not measured", ha="center", color=MUTED, transform=axes.transAxes)
        axes.set_yticks([])
        return
    top = max(np.nanmax(np.nansum(active, axis=1)), sizes[0] if len(sizes) == 1 else 0.0)
    axes.set_ylim(-0.04 * top, 1.15 * top or 1.0)
    x = np.linspace(*axes.get_xlim(), 512)
    x = x[(x >= 0) & (x <= axes.get_ylim()[1])]
    if len(x):
        dashes = {"color": "#9a9a9a", "linewidth": 1.0, "linestyle": (0, (4, 2)), "zorder": 1}
        axes.plot(x, x, label="all units active", **dashes)
