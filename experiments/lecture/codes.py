"""Codes of the same size: principal components, linear, deep and variational.

Each code has two, then sixteen dimensions. A linear autoencoder has the same error as the principal
components. It finds the same subspace; this takes longer if their variances are close. A deep
autoencoder bends the plane to fit the data, and reconstructs more from equally many numbers. A
variational autoencoder gives up some of that for a regular code.

The nearest neighbors in the plane show how well a code of two numbers separates classes.
"""

import functools

import numpy as np

from experiments.lecture import Course, Told
from experiments.lecture._shared import NUM_SHOWN, examples, principal_components
from vae_jax import plots
from vae_jax.evaluation import latent_probes, reconstruction
from vae_jax.evaluation._shared import mean_and_error

MEANING = {
    "squared error": "‖x − x̂‖² per test example, x̂ = E[x|z], summed over pixels",
    "of PCA": "this error divided by that of as many principal components",
    "angle": "largest angle between the decoder's subspace and that of PCA, degrees",
    "kNN": "share of test examples whose nearest codes mostly have the same class",
}
KINDS = {"linear": "linear autoencoder", "autoencoder": "deep autoencoder", "vae": "VAE"}


NUM_PLANE = 2000


def tell(course: Course) -> Told:
    """Errors of each code compared with PCA, and plots of the two-dimensional codes."""
    x, rows, pictures, planes = examples(course), [], {}, {}
    labels = course.dataset.test.labels
    for latent_dim in (2, 16):
        components = principal_components(course, latent_dim)
        rows.append((f"PCA, {latent_dim}", *_of_components(course, components)))
        restored = {"PCA": components.restore(x[:NUM_SHOWN])}
        for kind, called in KINDS.items():
            run = course.run(f"{kind}-{latent_dim}")
            rows.append((f"{called}, {latent_dim}", *_of_run(run)))
            restored[called] = run.restore(x[:NUM_SHOWN])
            if latent_dim == 2:
                codes = np.asarray(run.subject.posterior().mean)[:NUM_PLANE]
                words = {"has_prior": kind == "vae", "label_names": course.dataset.classes}
                planes[f"{called}: codes of test examples"] = functools.partial(
                    plots.latent_scatter, codes, labels[: len(codes)], **words
                )
        title = f"reconstructions from {latent_dim} numbers"
        grid = np.concatenate([x[:NUM_SHOWN], *restored.values()])
        words = {"title": title, "row_names": ("x", *restored)}
        pictures[title] = functools.partial(plots.samples, np.clip(grid, 0, 1), **words)
    return Told(("code", *MEANING), rows, {**pictures, **planes}, MEANING)


def _of_components(course: Course, components) -> tuple:
    """The row of PCA."""
    parts = [getattr(course.dataset, part) for part in ("train", "test")]
    seen = [np.asarray(course.dataset.decode(np.asarray(part.x[:]))) for part in parts]
    error = reconstruction.squared_errors(seen[1], components.restore(seen[1]))
    codes = [each.reshape(len(each), -1) @ components.directions.T for each in seen]
    labels = [part.labels for part in parts]
    probe = latent_probes.knn_probe(codes[0], labels[0], codes[1], labels[1])
    neighbours = probe.value, probe.standard_error
    return mean_and_error(error), (1.0, None), (0.0, None), neighbours


def _of_run(run) -> tuple:
    """The row of a trained run."""
    values = reconstruction.measure(run.subject)
    probes = latent_probes.measure(run.subject)
    errors = [(values[n], values[f"{n}_standard_error"]) for n in ("squared_error", "ratio")]
    angle = (values["largest_angle"], None) if "largest_angle" in values else None
    return *errors, angle, (probes["knn_accuracy"], probes["knn_accuracy_standard_error"])
