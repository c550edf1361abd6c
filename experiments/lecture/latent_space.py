"""A latent space without and with regularization: continuity and completeness.

Continuity means that close codes decode to similar images, and that points between codes decode to
plausible images. Completeness means that a code drawn from the intended distribution of codes
decodes to something plausible. An autoencoder is trained for neither. A variational autoencoder is,
by the penalty on the divergence of each posterior from the prior.

Two dimensions have so little space that an autoencoder fills it, too; sixteen have more. An
autoencoder has no prior: its codes are drawn from a Gaussian fit to those of training data.
"""

import functools

import numpy as np

from experiments.lecture import Course, Told
from vae_jax import plots
from vae_jax.evaluation import latent_neighbours

MEANING = {
    "interpolation ratio": "continuity: distance to the nearest test example from decoded points "
    "on straight lines between codes, divided by that from the ends: 1 if equally plausible",
    "smoothness": "continuity: largest step of a decoded line over its length, minus an even one",
    "precision": "completeness: share of decoded draws within a neighborhood of the data",
    "coverage": "completeness: share of the data whose neighborhood contains a decoded draw",
}
NUM_SIDE = 15
MAX_EXAMPLES = 2000


def tell(course: Course) -> Told:
    """Both properties for autoencoder and VAE of equal dimension, and two decoded planes."""
    rows, pictures = [], {}
    for latent_dim in (2, 16):
        for name, called in (("autoencoder", "autoencoder"), ("vae", "VAE")):
            subject = course.run(f"{name}-{latent_dim}").subject
            values = latent_neighbours.measure(subject, max_examples=MAX_EXAMPLES)
            entries = [entry.replace(" ", "_") for entry in MEANING]
            numbers = [(values[e], values.get(f"{e}_standard_error")) for e in entries]
            rows.append((f"{called}, {latent_dim}", *numbers))
            if latent_dim == 2:
                pictures[f"{called}: a decoded grid"] = functools.partial(_grid, subject)
    return Told(("code", *MEANING), rows, pictures, MEANING)


def _grid(subject):
    """The plane between the 2 and 98 % quantiles of the distribution of codes."""
    axis = plots.normal_quantiles(NUM_SIDE, 0.02, 0.98)
    z = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    prior = subject.prior
    mean, deviation = np.asarray(prior.mean), np.asarray(prior.deviation)
    z = (mean + deviation * z).astype(np.float32)
    images = np.asarray(subject.decode_mean(z)).reshape(NUM_SIDE, NUM_SIDE, *subject.model.shape)
    return plots.manifold(
        np.clip(images, 0, 1),
        title="decoded quantiles of each dimension",
        mean=mean,
        deviation=deviation,
    )
