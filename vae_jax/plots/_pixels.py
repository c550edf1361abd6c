"""What is drawn of images: which channels, as which colors, and as rows of a table.

Images with one channel are gray, with three in color. For other numbers of channels, each channel
is drawn as a gray image.
"""

import math
from collections.abc import Sequence

import numpy as np

from vae_jax.errors import UsageError
from vae_jax.plots._picture import as_float, require

__all__ = [
    "by_channel",
    "channels_in_one",
    "flat",
    "flat_names",
    "gap_between",
    "require_colors",
    "require_images",
    "to_rgb",
]

MOST_CHANNELS = 16
"""Maximum number of channels to draw, a count."""


def require_images(name: str, x, axes: str) -> np.ndarray:
    """Returns `x` as images [..., C], with one axis per word in `axes`; else raises UsageError."""
    x = require(name, x, axes)
    if x.size == 0:
        raise UsageError(
            f"{name} has shape {list(x.shape)}: must be [{axes.replace(' ', ', ')}], not empty"
        )
    return x


def require_colors(name: str, x, axes: str) -> np.ndarray:
    """`x` as images [..., C] as of `require_images`, C 1 or 3, or UsageError."""
    x = require_images(name, x, axes)
    if x.shape[-1] not in (1, 3):
        raise UsageError(
            f"{name} has shape {list(x.shape)}: must be [{axes.replace(' ', ', ')}], the last axis "
            "1 (gray) or 3 (color)"
        )
    return x


def by_channel(images: np.ndarray) -> dict[str, np.ndarray]:
    """Splits images [..., C] for drawing: name → images [..., C] or [..., 1].

    Gray and color images stay together, without a name; others are split into channels, or into 16
    evenly spaced ones if there are more.
    """
    num = images.shape[-1]
    if num in (1, 3):
        return {"": images}
    shown = min(num, MOST_CHANNELS)
    among = "" if shown == num else f" of {num}"
    chosen = [place * num // shown for place in range(shown)]
    return {f"channel {c}{among}": images[..., c : c + 1] for c in chosen}


def channels_in_one(images: np.ndarray) -> np.ndarray:
    """Arranges the channels of each image in one: [..., H, W, C] to [..., H', W', 1 or 3].

    Channels are those of `by_channel`, in reading order, separated by white.
    """
    parts = list(by_channel(images).values())
    if len(parts) == 1:
        return parts[0]
    num_columns = math.ceil(math.sqrt(len(parts)))
    gaps = [(0, 0)] * (images.ndim - 3) + [(0, 1), (0, 1), (0, 0)]
    cells = [np.pad(part, gaps, constant_values=1.0) for part in parts]
    cells += [np.ones_like(cells[0])] * (-len(parts) % num_columns)
    rows = [
        np.concatenate(cells[start : start + num_columns], axis=-2)
        for start in range(0, len(cells), num_columns)
    ]
    return np.concatenate(rows, axis=-3)[..., :-1, :-1, :]


def to_rgb(images: np.ndarray) -> np.ndarray:
    """Converts images [..., C], C 1 or 3, uint8 or in [0, 1] (NaN is black), to uint8 [..., 3]."""
    if images.dtype != np.uint8:
        images = np.clip(np.nan_to_num(as_float(images)), 0.0, 1.0)
        images = np.rint(255.0 * images).astype(np.uint8)
    return np.broadcast_to(images, (*images.shape[:-1], 3))


def gap_between(size: Sequence[int]) -> int:
    """Pixels between images of a size [H, W], a count."""
    return max(1, round(max(size) / 14))


def flat(examples: np.ndarray) -> np.ndarray:
    """Examples [N, *shape] as rows of a table, [N, prod(shape)]."""
    return examples.reshape(len(examples), -1)


def flat_names(shape: Sequence[int]) -> tuple[str, ...]:
    """Column names for the numbers of an example of this shape, in flat order."""
    return tuple(f"x{i}" for i in range(math.prod(shape)))
