"""What a denoising encoder is shown in training, and what it makes of that."""

import jax.numpy as jnp
import numpy as np

from vae_jax import plots
from vae_jax.lab.pictures import OfModel, Seen

__all__ = ["PICTURES", "draw"]


def draw(seen: Seen) -> plots.Picture:
    """Draws a row of examples, one of what the encoder is shown, one of what it restores."""
    codes = np.asarray(seen.model.encode(seen.params, jnp.asarray(seen.shown)).mode)
    restored = seen.decode(codes[None], like=seen.x, is_whole=True)[0]
    rows = np.concatenate([seen.x, seen.shown, restored])
    names = "clean", "shown", "restored"
    return plots.samples(rows.clip(0, 1), title="what was shown, and restored", row_names=names)


PICTURES = (OfModel(draw, kinds=("image",), needs=lambda seen: seen.shown is not None),)
