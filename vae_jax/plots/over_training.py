"""Pictures of training: the same inputs and the same codes at several epochs."""

from collections.abc import Sequence

import numpy as np

from vae_jax.errors import UsageError
from vae_jax.plots._grids import draw_grids, write_around
from vae_jax.plots._picture import as_float, house_style, new_figure, require_length
from vae_jax.plots._pixels import by_channel, channels_in_one, flat_names, require_images, to_rgb
from vae_jax.plots.pictures import Picture, Table
from vae_jax.plots.rasters import image_grid

__all__ = ["snapshot_frames", "snapshots"]

_SIDE = 56  # pixels of an image in a film, about


@house_style()
def snapshots(
    epochs: Sequence[int], inputs: np.ndarray, reconstructions: np.ndarray, samples: np.ndarray
) -> Picture:
    """Draws a contact sheet of a training: a row for each epoch, below a row of the inputs.

    Args:
        epochs: of the T rows, rising.
        inputs: [F, H, W, C] in [0, 1].
        reconstructions: of the inputs at each epoch, [T, F, H, W, C].
        samples: from the same codes, or random numbers of codes, at each epoch, [T, S, H, W, C];
            S may be 0.

    Returns:
        Picture; its table has the rows (kind, epoch, example, x0, x1, …) of shape [3 + D]; the
        inputs have no epoch.

    Raises:
        UsageError: the shapes do not fit together.
    """
    inputs, reconstructions, samples = _checked(epochs, inputs, reconstructions, samples)
    blank = np.ones_like(inputs[:1])
    gap = [np.ones_like(reconstructions[:, :1]), samples] if samples.shape[1] else []
    sheet = np.concatenate([reconstructions, *gap], axis=1)
    above = np.concatenate([inputs, np.repeat(blank, sheet.shape[1] - len(inputs), axis=0)])
    figure = draw_grids(by_channel(np.concatenate([above[None], sheet])))
    title = "reconstructions of the inputs above" + (", and samples," if gap else "")
    rows = ["input", *(f"epoch {epoch}" for epoch in epochs)]
    write_around(figure, title=f"{title} in the course of training", rows=rows)
    shown = [("input", None, n, x) for n, x in enumerate(inputs)]
    for kind, each in (("reconstruction", reconstructions), ("sample", samples)):
        shown += [
            (kind, epoch, n, x)
            for epoch, of in zip(epochs, each, strict=True)
            for n, x in enumerate(of)
        ]
    table = [(*told, *np.ravel(x)) for *told, x in shown]
    return Picture(
        figure, Table(("kind", "epoch", "example", *flat_names(inputs.shape[1:])), table)
    )


@house_style()
def snapshot_frames(
    epochs: Sequence[int], inputs: np.ndarray, reconstructions: np.ndarray, samples: np.ndarray
) -> np.ndarray:
    """Animates the rows of `snapshots`, a frame for each epoch, for a GIF.

    Args:
        epochs, inputs, reconstructions, samples: as there, [T] and [(T,) F or S, H, W, C].

    Returns:
        uint8 [T, H', W', 3]: the inputs, below them their reconstructions, then the samples.

    Raises:
        UsageError: the shapes do not fit together.
    """
    inputs, reconstructions, samples = map(
        channels_in_one, _checked(epochs, inputs, reconstructions, samples)
    )
    frames = []
    for made, drawn in zip(reconstructions, samples, strict=True):
        rest = np.ones_like(inputs[: max(0, len(inputs) - len(drawn))])
        rows = [inputs, made, np.concatenate([drawn[: len(inputs)], rest])]
        grid = image_grid(np.stack(rows[: 3 if len(drawn) else 2]))
        times = max(1, round(_SIDE / max(inputs.shape[1:3])))
        frames.append(grid.repeat(times, axis=0).repeat(times, axis=1))
    num_epochs = max(epochs)
    heads = [_words(f"epoch {epoch} of {num_epochs}", frames[0].shape[1]) for epoch in epochs]
    return np.stack([np.concatenate(pair) for pair in zip(heads, frames, strict=True)])


def _words(text: str, width: int) -> np.ndarray:
    """Text as a strip of pixels [24, width, 3]."""
    figure = new_figure(width / 100, 0.24)
    figure.set_layout_engine("none")
    figure.text(4 / width, 0.3, text, fontsize=8)
    figure.canvas.draw()
    return to_rgb(np.array(figure.canvas.buffer_rgba())[:24, :width, :3])


def _checked(epochs, inputs, reconstructions, samples) -> list[np.ndarray]:
    """The arrays of `snapshots` as floats, or UsageError."""
    require_length("epochs", epochs, len(epochs))
    inputs = as_float(require_images("inputs", inputs, "F H W C"))
    reconstructions = as_float(require_images("reconstructions", reconstructions, "T F H W C"))
    samples = as_float(np.asarray(samples))
    wanted = (len(epochs), *inputs.shape)
    is_like = samples.ndim == 5 and (samples.shape[0], *samples.shape[2:]) == (
        len(epochs),
        *inputs.shape[1:],
    )
    if reconstructions.shape != wanted or not is_like:
        raise UsageError(
            f"reconstructions have shape {list(reconstructions.shape)}, samples "
            f"{list(samples.shape)}: must be {list(wanted)}, and the same but for the second axis"
        )
    return [inputs, reconstructions, samples]
