"""Codes of the same size: principal components, linear, deep and variational.

Each code has two, then sixteen dimensions. A linear autoencoder finds the plane of the principal
components and their error. A deep one bends the plane to the data, and restores more from as many
numbers. A variational one pays for the regularity of its code with some of that.

A few neighbours in the plane tell how well a code of two numbers keeps classes apart.
"""

import numpy as np

from experiments.lecture import Course, Told
from experiments.lecture._shared import NUM_SHOWN, examples, principal_components
from vae_jax import plots
from vae_jax.evaluation import latent_probes, reconstruction

MEANING = {
    "squared error": "‖x − x̂‖² per test example, x̂ = E[x|z], summed over pixels",
    "of PCA": "that over the error of as many principal components",
    "angle": "largest angle between the decoder's subspace and that of PCA, degrees",
    "kNN": "share of test examples whose class is that of most of their neighbours among the codes",
}
KINDS = {"linear": "linear autoencoder", "autoencoder": "deep autoencoder", "vae": "VAE"}


def _neighbours(subject) -> tuple:
    values = latent_probes.measure(subject)
    return values["knn_accuracy"], values["knn_accuracy_standard_error"]


def tell(course: Course) -> Told:
    """Errors of each code beside PCA, and the plane of those of two dimensions."""
    x, rows, pictures = examples(course), [], {}
    pictures_of_two = {}
    labels = course.dataset.test.labels
    for latent_dim in (2, 16):
        components = principal_components(course, latent_dim)
        error = reconstruction.squared_errors(x, components.restore(x))
        restored = {"PCA": components.restore(x)}
        rows.append((f"PCA, {latent_dim}", (error.mean(), None), (1.0, None), (0.0, None), None))
        for kind, called in KINDS.items():
            run = course.run(f"{kind}-{latent_dim}")
            values = reconstruction.measure(run.subject)
            rows.append(
                (
                    f"{called}, {latent_dim}",
                    *(
                        (values[n], values[f"{n}_standard_error"])
                        for n in ("squared_error", "ratio")
                    ),
                    (values["largest_angle"], None) if "largest_angle" in values else None,
                    _neighbours(run.subject) if labels is not None else None,
                )
            )
            restored[called] = run.restore(x[:NUM_SHOWN])
            if latent_dim == 2:
                codes = np.asarray(run.subject.posterior().mean)[:NUM_PLANE]
                pictures_of_two[f"{called}: codes of test examples"] = plots.latent_scatter(
                    codes, None if labels is None else labels[: len(codes)], axis_names=("z0", "z1")
                )
        grid = [x[:NUM_SHOWN], *(each[:NUM_SHOWN] for each in restored.values())]
        pictures[f"restored from {latent_dim} numbers"] = plots.samples(
            np.clip(np.concatenate(grid), 0, 1),
            title=f"restored from {latent_dim} numbers",
            row_names=("x", *restored),
        )
    return Told(("code", *MEANING), rows, {**pictures, **pictures_of_two}, MEANING)


NUM_PLANE = 2000
