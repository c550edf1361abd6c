"""Decoding random points of a latent space.

The space has sixteen dimensions. It is so large that most points between codes have never been
decoded. Points from the standard normal mean nothing to an autoencoder; points from a Gaussian fit
to its codes mean more. A variational autoencoder is trained to decode points from its prior.
"""

import functools

import jax
import numpy as np

from experiments.lecture import Course, Told
from vae_jax import plots
from vae_jax.distributions import standard_gaussian
from vae_jax.evaluation import latent_neighbours
from vae_jax.evaluation._shared import mean_and_error

MEANING = {
    "precision": "share of decoded draws within a neighborhood of the data",
    "density": "mean number of neighborhoods of the data around a draw, over k: 1 for data",
    "coverage": "share of the data whose neighborhood contains a decoded draw",
}
NUM_DRAWS = 1000
NUM_EXAMPLES = 2000
NUM_SHOWN = 64
NUM_NEIGHBOURS = 5


def tell(course: Course) -> Told:
    """Images of random points, and how many of them look like data."""
    autoencoder, vae = (course.run(f"{name}-16").subject for name in ("autoencoder", "vae"))
    normal = standard_gaussian(16)
    ways = {
        "autoencoder, N(0, I)": (autoencoder, normal),
        "autoencoder, Gaussian fit to its codes": (autoencoder, autoencoder.prior),
        "VAE, its prior N(0, I)": (vae, normal),
    }
    x = autoencoder.x(num_examples=NUM_EXAMPLES)
    rows, pictures = [], {}
    for called, (subject, prior) in ways.items():
        z = prior.sample(jax.random.key(course.seed), NUM_DRAWS)
        drawn = np.clip(np.asarray(subject.decode_mean(z)), 0, 1)
        found = latent_neighbours.support(x, drawn, num_neighbours=NUM_NEIGHBOURS)
        balls = np.asarray(found.num_balls)
        each = (balls > 0, balls / NUM_NEIGHBOURS, found.is_covered)
        rows.append((called, *map(mean_and_error, each)))
        pictures[called] = functools.partial(plots.samples, drawn[:NUM_SHOWN], title=called)
    return Told(("drawn from", *MEANING), rows, pictures, MEANING)
