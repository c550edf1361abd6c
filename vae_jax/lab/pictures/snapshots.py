"""A contact sheet and a film of training: fixed inputs and fixed codes at several epochs."""

import numpy as np

from vae_jax import plots
from vae_jax.lab.pictures import OfModel, Seen

__all__ = ["PICTURES", "draw", "draw_frames"]


def draw(seen: Seen) -> plots.Picture:
    """Draws a row of images for each epoch."""
    return plots.snapshots(*_arrays(seen))


def draw_frames(seen: Seen) -> np.ndarray:
    """Draws a frame for each epoch."""
    return plots.snapshot_frames(*_arrays(seen))


def _arrays(seen: Seen) -> tuple:
    """What `plots.snapshots` takes."""
    found = seen.snapshots
    reconstructions, samples = (
        np.stack([getattr(each, name) for each in found]) for name in ("reconstructions", "samples")
    )
    return [each.epoch for each in found], found[0].inputs, reconstructions, samples


PICTURES = (
    OfModel(draw, kinds=("image",), needs=lambda seen: bool(seen.snapshots)),
    OfModel(draw_frames, kinds=("image",), needs=lambda seen: bool(seen.snapshots), ending=".gif"),
)
