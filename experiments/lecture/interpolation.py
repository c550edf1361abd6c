"""From one class to another through the latent space.

The straight line between the codes of two examples is decoded. For comparison, the straight line
between the images only fades one into the other.
"""

import functools

import numpy as np

from experiments.lecture import Course, Told
from experiments.lecture._shared import examples
from vae_jax import plots
from vae_jax.evaluation import latent_neighbours
from vae_jax.evaluation._shared import mean_and_error

MEANING = {
    "distance": "from the middle of a line to the nearest test example, mean over pairs",
}
NUM_PAIRS, NUM_POINTS = 5, 11


def tell(course: Course) -> Told:
    """Lines between examples of different classes, and the distance of their middles from data."""
    x = examples(course)
    others = x[2 * NUM_PAIRS :]
    t = np.linspace(0, 1, NUM_POINTS, dtype=np.float32)
    rows, pictures = [], {}

    def add(called, lines):
        lines = np.clip(lines, 0, 1)
        middles = lines[:, NUM_POINTS // 2]
        away = latent_neighbours.nearest_distance(others, middles)
        rows.append((called, mean_and_error(away)))
        title = f"straight lines between {called}"
        pictures[called] = functools.partial(plots.interpolation, lines, title)

    ends = x[: 2 * NUM_PAIRS]
    add("pixels", _between(ends[::2], ends[1::2], t))
    for name, called in (("autoencoder", "codes, autoencoder"), ("vae", "codes, VAE")):
        run = course.run(f"{name}-16")
        model, params = run.subject.model, run.subject.params
        codes = np.asarray(model.encode(params, ends).mode)
        z = _between(codes[::2], codes[1::2], t)
        decoded = np.asarray(model.decode_mean(params, z.reshape(-1, z.shape[-1])))
        add(called, decoded.reshape(*z.shape[:2], *x.shape[1:]))
    return Told(("line between", *MEANING), rows, pictures, MEANING)


def _between(starts, ends, t) -> np.ndarray:
    """Straight lines from [P, …] to [P, …] at T positions: [P, T, …]."""
    t = t.reshape(1, -1, *[1] * (starts.ndim - 1))
    return starts[:, None] * (1 - t) + ends[:, None] * t
