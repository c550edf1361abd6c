"""The colors and marks of labels, the same in every picture and on every page.

Any two colors of a background, gray included, are at least 20 apart in CIE76 (ΔE*ab), for full
color vision and for deuteranopia and protanopia as Machado et al. 2009 and Viénot et al. 1999
simulate them; Paul Tol's nine muted colors are 15.6 apart. Ten labels have ten colors and ten
marks. With more, a color comes again with another mark; with more than `MOST_MARKED`, shades from
dark to light show their order instead.

References: Machado, Oliveira & Fernandes 2009, A physiologically-based model for simulation of
color vision deficiency; Viénot, Brettel & Mollon 1999, Digital video colourmaps for checking the
legibility of displays by dichromats.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

__all__ = ["DARK", "LIGHT", "MARKS", "MOST_MARKED", "Palette", "mark_of"]

MOST_MARKED = 20
"""Labels that are told apart by color and mark, a count."""


class Palette(NamedTuple):
    """Colors on one background, as #rrggbb.

    Attributes:
        background: that the colors are seen on.
        labels: one color for each of ten labels, [10].
        unknown: of what has no label.
        shades: from the first to the last of many labels in their order, samples of viridis, [S].
    """

    background: str
    labels: tuple[str, ...]
    unknown: str
    shades: tuple[str, ...]


LIGHT = Palette(
    background="#ffffff",
    labels=(
        *("#b3644a", "#2d1d82", "#c5ac58", "#0e4c04", "#4cb2f9"),
        *("#520726", "#72bc8b", "#adb600", "#8e307e", "#e992c3"),
    ),
    unknown="#7a7a7a",
    shades=(
        *("#440154", "#482878", "#3e4a89", "#30698e"),
        *("#25848e", "#1fa088", "#38b977", "#73d056", "#bddf26"),
    ),
)
"""On white."""
DARK = Palette(
    background="#222222",
    labels=(
        *("#7db7fd", "#b54c10", "#ccfd8c", "#fbd7be", "#b0e7fd"),
        *("#1db360", "#eeff15", "#6779f2", "#b3b806", "#a04ba1"),
    ),
    unknown="#8a8a8a",
    shades=("#414487", "#2e6f8e", "#1f958b", "#3bbb75", "#95d840", "#fde725"),
)
"""On the dark panels of a page."""


_AREA = 2.6


def _sized(corners: Sequence[tuple[float, float]]) -> tuple[tuple[float, float], ...]:
    """The same polygon [K, 2], scaled to the area that all marks have."""
    turned = (*corners[1:], corners[0])
    area = abs(sum(a * d - b * c for (a, b), (c, d) in zip(corners, turned, strict=True))) / 2
    scale = math.sqrt(_AREA / area)
    return tuple((round(scale * x, 3), round(scale * y, 3)) for x, y in corners)


def _star(num: int, turn: float = 0.0, inner: float = 1.0) -> list[tuple[float, float]]:
    """Corners on the unit circle from the top; with `inner`, every second one is that far out."""
    angles = [2 * math.pi * (k / num + turn) for k in range(num)]
    reach = [inner if k % 2 else 1.0 for k in range(num)]
    return [(r * math.sin(a), r * math.cos(a)) for r, a in zip(reach, angles, strict=True)]


_PLUS = (
    *((-0.35, 1.0), (0.35, 1.0), (0.35, 0.35), (1.0, 0.35), (1.0, -0.35), (0.35, -0.35)),
    *((0.35, -1.0), (-0.35, -1.0), (-0.35, -0.35), (-1.0, -0.35), (-1.0, 0.35), (-0.35, 0.35)),
)
_SHAPES = (
    _star(24),
    _star(4, 1 / 8),
    _star(3),
    _star(4),
    _star(3, 1 / 2),
    _PLUS,
    _star(8, inner=0.35),
    _star(3, 1 / 4),
    tuple((x + y, y - x) for x, y in _PLUS),
    ((-1.0, 0.9), (0.0, 0.2), (1.0, 0.9), (1.0, -0.9), (0.0, -0.2), (-1.0, -0.9)),
)
MARKS: tuple[tuple[tuple[float, float], ...], ...] = tuple(map(_sized, _SHAPES))
"""The marks, each the corners [K, 2] of a polygon around (0, 0), y upwards, all of one area:
circle, square, triangle, diamond, triangle down, plus, star, triangle right, cross, bow tie."""


def mark_of(rank: int) -> tuple[int, int]:
    """The color and the mark of a label, as indices of `Palette.labels` and `MARKS`.

    Each of the first hundred labels has another pair of both.

    Args:
        rank: place of the label among all, a scalar ≥ 0.
    """
    num = len(LIGHT.labels)
    return rank % num, (rank + rank // num) % len(MARKS)
