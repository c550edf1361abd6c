"""Inputs, draws z of q(z|x) of each, and what these are decoded to: one x has many z.

The first input is the one that traversals show, the others have other labels. A code that is
decided by x, as of an autoencoder, has no such picture.
"""

from typing import Any

import numpy as np

from vae_jax import plots
from vae_jax.lab.pictures import OfModel, Seen
from vae_jax.lab.pictures.traversal import example_of

__all__ = ["NUM_DRAWS", "NUM_INPUTS", "PICTURES", "draw"]

NUM_INPUTS, NUM_DRAWS = 4, 32
"""Inputs at most, and draws of each: counts."""


def draw(seen: Seen) -> plots.Picture | None:
    """Draws a row of images for each input; None if all draws of q(z|x) are the same."""
    numbers = _chosen(seen)
    x, z = seen.draw(numbers, NUM_DRAWS)
    if (z == z[:, :1]).all():
        return None
    told = None if seen.condition is None else seen.condition[numbers][:, None]
    plane: dict[str, Any] = {}
    if len(seen.continuous) >= 2:
        shown = sorted(seen.continuous[:2].tolist())
        axis_names = tuple(f"z{d}" for d in shown)
        plane = {"z": z[..., shown], "codes": seen.means[:, shown], "axis_names": axis_names}
    return plots.one_to_many(x, seen.decode(z, told), names=_names(seen, numbers), **plane)


def _chosen(seen: Seen) -> np.ndarray:
    """Numbers of the inputs: the example of traversals, then some of the few, of other labels."""
    first = example_of(seen) if len(seen.continuous) else int(seen.few[0])
    others = [int(n) for n in seen.few if n != first and not _are_alike(seen, n, first)]
    return np.array([first, *others[: NUM_INPUTS - 1]])


def _are_alike(seen: Seen, n: int, other: int) -> bool:
    """Whether two examples have the same known label."""
    return seen.labels is not None and seen.labels[n] == seen.labels[other] >= 0


def _names(seen: Seen, numbers: np.ndarray) -> list[str]:
    """Of each input its number, and its label if it has a known one."""
    labels = [-1] * len(numbers) if seen.labels is None else seen.labels[numbers]
    words = seen.label_names
    told = ["" if k < 0 else f", labeled {k if words is None else words[k]}" for k in labels]
    return [f"number {n}{label}" for n, label in zip(numbers, told, strict=True)]


PICTURES = (OfModel(draw, kinds=("image",), needs=lambda seen: seen.draw is not None),)
