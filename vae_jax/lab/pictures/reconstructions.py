"""Examples, and what their codes are decoded to."""

import numpy as np

from vae_jax import plots
from vae_jax.lab.pictures import OfModel, Seen

__all__ = ["PICTURES", "draw", "draw_series", "hear", "read"]


def draw(seen: Seen) -> plots.Picture:
    """Draws images or rows of a table, their reconstructions and the errors.

    Cells of a table with columns of several kinds have no common error: they are written out.
    """
    decoded = seen.decode(seen.codes[seen.few][None], seen.told, like=seen.x, is_whole=True)[0]
    if seen.schema is not None:
        kinds = {column.name: column.kind for column in seen.schema.used}
        rows, made = (
            {name: values for name, values in seen.schema.decode(x).items() if name in kinds}
            for x in (seen.x, decoded)
        )
        return plots.cell_reconstructions(rows, made, kinds)
    return plots.reconstructions(seen.x, decoded)


def draw_series(seen: Seen) -> plots.Picture:
    """Draws series over their reconstructions."""
    decoded = seen.decode(seen.codes[seen.few][None], seen.told, like=seen.x)[0]
    pairs = np.stack([seen.x, np.where(np.isnan(seen.x), np.nan, decoded)], axis=1)
    return plots.series(
        pairs, ("input", "from its code"), title="examples and their reconstructions"
    )


def hear(seen: Seen) -> bytes:
    """Returns recordings as sound, after each its reconstruction."""
    decoded = seen.decode(seen.codes[seen.few][None], seen.told)[0]
    pairs = np.stack([seen.x, np.where(np.isnan(seen.x), np.nan, decoded)], axis=1)
    return seen.sound(pairs.reshape(-1, *seen.x.shape[1:]))


def read(seen: Seen) -> list[str]:
    """Returns strings, below each its reconstruction."""
    decoded = seen.decode(seen.codes[seen.few][None])
    pairs = zip(seen.read(seen.x), seen.read(decoded), strict=True)
    return [line for x, from_code in pairs for line in (x, from_code, "")]


PICTURES = (
    OfModel(draw, kinds=("image", "table")),
    OfModel(draw_series, kinds=("series",)),
    OfModel(hear, kinds=("series",), needs=lambda seen: seen.to_wave is not None, ending=".wav"),
    OfModel(read, kinds=("text",), ending=".txt"),
)
