"""Decoding random points of a latent space.

The space has sixteen dimensions. It is so large that most points between codes have never been
decoded. Points from the standard normal mean nothing to an autoencoder, so its codes are also drawn
from a Gaussian fit to those of training data. A variational autoencoder is trained to decode points
from its prior. It leaves dimensions unused, so an autoencoder with as many as it uses is here, too.

Decoded means are blurred, and blur raises precision and density. So real pictures and means of
similar pictures are measured in the same way.
"""

import functools

import jax
import numpy as np

from experiments.lecture import Course, Told, _draws
from vae_jax import plots
from vae_jax.distributions import standard_gaussian

MEANING = _draws.MEANING
NUM_SHOWN = 64


def tell(course: Course) -> Told:
    """Images of random points, and how much they look like data."""
    autoencoder, vae = (course.run(f"{name}-16").subject for name in ("autoencoder", "vae"))
    normal = standard_gaussian(16)
    ways = {
        "autoencoder, N(0, I)": (autoencoder, normal),
        "autoencoder, Gaussian fit to its codes": (autoencoder, autoencoder.prior),
        "VAE, its prior N(0, I)": (vae, normal),
    }
    if course.used:
        equal = course.run("autoencoder-equal").subject
        ways[f"autoencoder of {course.used}, Gaussian fit to its codes"] = (equal, equal.prior)
    samples = _draws.beside(course)
    pictures = dict(samples.others)
    for called, (subject, prior) in ways.items():
        z = prior.sample(jax.random.key(course.seed), max(len(samples.reference), NUM_SHOWN))
        pictures[called] = np.clip(np.asarray(subject.decode_mean(z)), 0, 1)
    num = len(samples.reference)
    found = {
        called: _draws.numbers(samples.reference, drawn[:num], course.seed)
        for called, drawn in pictures.items()
    }
    shown = {
        called: functools.partial(plots.samples, drawn[:NUM_SHOWN], title=called)
        for called, drawn in pictures.items()
    }
    rows = [(called, *own.values()) for called, own in found.items()]
    return Told(("drawn from", *MEANING), rows, shown, MEANING, _draws.sentences(found))
