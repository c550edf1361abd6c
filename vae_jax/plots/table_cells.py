"""Cells of a table beside their reconstructions, in the units and words of their columns."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from vae_jax.errors import UsageError
from vae_jax.plots._picture import INK, MUTED, ORANGE, house_style, legible, new_figure, plain
from vae_jax.plots.pictures import Picture, Table

__all__ = ["cell_reconstructions"]

_MOST = 40  # columns that are drawn
_NAME, _CELL, _LINE = 1.7, 0.85, 0.36  # inches
_LONGEST_NAME, _LONGEST_CELL = 22, 12  # characters


@house_style()
def cell_reconstructions(
    rows: Mapping[str, Any], reconstruction: Mapping[str, Any], kinds: Mapping[str, str]
) -> Picture:
    """Draws each cell of a few rows above its reconstruction; levels that differ are orange.

    Args:
        rows: name of a column → its values [N]: numbers, dates or words; None, NaN or NaT if
            missing.
        reconstruction: the same columns, values [N].
        kinds: name of a column → its kind, a word.

    Returns:
        Picture of at most 40 columns; its table has the rows (column, kind, example, input,
        reconstruction) of all columns, "" for a missing cell.

    Raises:
        UsageError: there is no cell, or columns or their lengths differ.
    """
    sizes = {len(values) for each in (rows, reconstruction) for values in each.values()}
    if {*rows} != {*reconstruction} or len(sizes) != 1 or 0 in sizes:
        raise UsageError(
            f"rows have the columns {[*rows][:6]}, reconstruction {[*reconstruction][:6]}, of"
            f" {sorted(sizes)} values: must be the same, at least one"
        )
    pairs = {
        name: [*zip(map(_text, rows[name]), map(_text, reconstruction[name]), strict=True)]
        for name in rows
    }
    num_rows = sizes.pop()
    shown = [*rows][:_MOST]
    figure = new_figure(_NAME + _CELL * num_rows, 0.3 + _LINE * (len(shown) + 1))
    axes = figure.subplots()
    axes.set_axis_off()
    axes.set_xlim(-_NAME, _CELL * num_rows)
    axes.set_ylim(_LINE * (len(shown) + 1), -_LINE)
    axes.text(-_NAME, -_LINE / 2, "input, below it its reconstruction", color=MUTED, fontsize=8)
    for line, name in enumerate(shown):
        top = _LINE * line
        axes.text(-_NAME, top + 0.1, legible(name, _LONGEST_NAME), fontsize=8)
        axes.text(-_NAME, top + 0.25, kinds.get(name, ""), color=MUTED, fontsize=7)
        are_words = np.asarray(rows[name]).dtype.kind not in "fiuM"
        for example, (own, made) in enumerate(pairs[name]):
            color = ORANGE if are_words and own and own != made else MUTED
            for text, below, shade in ((own or "?", 0.1, INK), (made, 0.25, color)):
                told = legible(text, _LONGEST_CELL)
                axes.text(_CELL * example, top + below, told, color=shade, fontsize=7)
    if len(rows) > _MOST:
        told = f"and {len(rows) - _MOST:,} more columns"
        axes.text(-_NAME, _LINE * len(shown) + 0.1, told, color=MUTED, fontsize=8)
    table = [
        (name, kinds.get(name, ""), example, own, made)
        for name, each in pairs.items()
        for example, (own, made) in enumerate(each)
    ]
    return Picture(figure, Table(("column", "kind", "example", "input", "reconstruction"), table))


def _text(value: Any) -> str:
    """A cell as text; "" if it is missing."""
    if isinstance(value, np.generic) and value.dtype.kind == "M":
        return "" if np.isnat(value) else str(value)
    if isinstance(value, float | np.floating):
        return "" if np.isnan(value) else plain(value, ".4g")
    return "" if value is None else str(value)
