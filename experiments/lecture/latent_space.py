"""A latent space without and with regularization: continuity and completeness.

Continuity means that close codes decode to similar images, and that points between codes decode to
plausible images. Completeness means that a code drawn from the intended distribution of codes
decodes to something plausible. An autoencoder is trained for neither. A variational autoencoder is,
by the penalty on the divergence of each posterior from the prior.

Two dimensions have so little space that an autoencoder fills it, too; sixteen have more. A
variational autoencoder does not use all of them, so an autoencoder with as many as it uses stands
beside. An autoencoder has no prior: its codes are drawn from a Gaussian fit to those of training
data. Completeness rewards blur: see the rows of real and of blurred pictures.
"""

import functools

import jax
import numpy as np

from experiments.lecture import Course, Told, _draws
from experiments.lecture._shared import difference, said, verdict
from vae_jax import plots
from vae_jax.evaluation import latent_neighbours

RATIO, SMOOTHNESS = "interpolation ratio", "smoothness ↓"
MEANING = {
    RATIO: "continuity: distance to the nearest test example from decoded points "
    "on straight lines between codes, divided by that from the ends: 1 if equally plausible",
    SMOOTHNESS: "continuity: largest step of a decoded line over its length, minus an even one: "
    "0 if even, lower is smoother",
    **_draws.MEANING,
}
NUM_SIDE = 15
MAX_EXAMPLES = 2000


def tell(course: Course) -> Told:
    """Both properties for autoencoders and VAEs, and two decoded planes."""
    samples, pictures = _draws.beside(course), {}
    found, of_lines = {}, {}
    for called, drawn in samples.others.items():
        found[called] = _draws.numbers(samples.reference, drawn, course.seed)
        of_lines[called] = (None, None)
    for called, name in _runs(course).items():
        subject = course.run(name).subject
        of_lines[called] = _continuity(subject)
        z = subject.prior.sample(jax.random.key(course.seed), len(samples.reference))
        drawn = np.clip(np.asarray(subject.decode_mean(z)), 0, 1)
        found[called] = _draws.numbers(samples.reference, drawn, course.seed)
        if subject.latent_dim == 2:
            pictures[f"{called}: a decoded grid"] = functools.partial(_grid, subject)
    rows = [(called, *of_lines[called], *own.values()) for called, own in found.items()]
    told = [_of_continuity(course, of_lines), *_draws.sentences(found)]
    return Told(("code", *MEANING), rows, pictures, MEANING, told)


def _runs(course: Course) -> dict[str, str]:
    """Name in the table → name of the run."""
    kinds = {"autoencoder": "autoencoder", "VAE": "vae"}
    runs = {
        f"{called}, {num}": f"{name}-{num}" for num in (2, 16) for called, name in kinds.items()
    }
    return runs | ({f"autoencoder, {course.used}": "autoencoder-equal"} if course.used else {})


def _continuity(subject) -> tuple:
    """The interpolation ratio and the smoothness, each with its error."""
    values = latent_neighbours.measure(subject, max_examples=MAX_EXAMPLES, num_draws=50)
    names = ("interpolation_ratio", "smoothness")
    return tuple((values[name], values[f"{name}_standard_error"]) for name in names)


def _of_continuity(course: Course, of_lines: dict) -> str:
    """Compares the interpolation ratios at as many dimensions as the VAE uses."""
    if not course.used:
        return "The VAE of 16 dimensions uses none of them: it has collapsed."
    names = "VAE, 16", f"autoencoder, {course.used}"
    ours, theirs = (of_lines[called][0] for called in names)
    words = "lower than", "not to be told from", "higher than"
    word = verdict(difference(ours, theirs), 0.0, words)
    return (
        f"The VAE of 16 dimensions uses {course.used}. Its interpolation ratio, {said(ours)}, is "
        f"{word} that of an autoencoder of {course.used}, {said(theirs)}."
    )


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
