"""Codes of the same size: principal components, linear, deep and variational.

Each code has two, then sixteen dimensions. The best linear autoencoder has the error of the
principal components. It finds the same subspace; this takes longer if their variances are close. A
deep autoencoder may bend the plane to fit the data.

A variational autoencoder pays for what its code says, and leaves dimensions unused that are not
worth it. So it is compared at the number of dimensions in use, too: with as many principal
components, and with an autoencoder of that size.

The nearest neighbors in the plane show how well a code of two numbers separates classes.
"""

import functools

import numpy as np

from experiments.lecture import Course, Told
from experiments.lecture._shared import (
    NUM_SHOWN,
    examples,
    principal_components,
    said,
    verdict,
)
from vae_jax import plots
from vae_jax.evaluation import elbo, latent_probes, reconstruction
from vae_jax.evaluation._shared import mean_and_error, ratio_and_error

MEANING = {
    "used": "dimensions of the code that vary with x: of a VAE, whose prior has variance 1, active "
    "units, with a variance above 0.01 (Burda et al. 2015)",
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
        if latent_dim == 16 and course.used:
            rows += _of_used(course)
        title = f"reconstructions from {latent_dim} numbers"
        grid = np.concatenate([x[:NUM_SHOWN], *restored.values()])
        words = {"title": title, "row_names": ("x", *restored)}
        pictures[title] = functools.partial(plots.samples, np.clip(grid, 0, 1), **words)
    return Told(("code", *MEANING), rows, {**pictures, **planes}, MEANING, _sentences(course))


def _of_used(course: Course) -> list[tuple]:
    """The rows of codes with as many dimensions as the VAE of 16 uses."""
    components = principal_components(course, course.used)
    name = f"{KINDS['autoencoder']}, {course.used}"
    return [
        (f"PCA, {course.used}", *_of_components(course, components)),
        (name, *_of_run(course.run("autoencoder-equal"))),
    ]


def _sentences(course: Course) -> list[str]:
    """Compares the VAE of 16 with others on the same test examples."""
    if not course.used:
        return ["The VAE of 16 dimensions uses none of them: it has collapsed."]
    x = course.run("vae-16").subject.x()
    ours, theirs = (
        reconstruction.squared_errors(x, course.run(name).restore(x))
        for name in ("vae-16", "autoencoder-equal")
    )
    linear = {
        num: reconstruction.squared_errors(x, principal_components(course, num).restore(x))
        for num in (16, course.used)
    }
    of_linear = {num: ratio_and_error(ours, errors) for num, errors in linear.items()}
    equal = ratio_and_error(ours, theirs)
    words = "below", "equal within two standard errors to", "above"
    return [
        f"The VAE of 16 dimensions uses {course.used}. Its squared error is "
        f"{said(of_linear[16])} times that of 16 principal components, and "
        f"{said(of_linear[course.used])} times that of {course.used}.",
        f"At {course.used} used dimensions its error is {verdict(equal, 1.0, words)} that of a "
        f"deep autoencoder: {said(equal)} times.",
    ]


def _of_components(course: Course, components) -> tuple:
    """The row of PCA."""
    parts = [getattr(course.dataset, part) for part in ("train", "test")]
    seen = [np.asarray(course.dataset.decode(np.asarray(part.x[:]))) for part in parts]
    error = reconstruction.squared_errors(seen[1], components.restore(seen[1]))
    codes = [each.reshape(len(each), -1) @ components.directions.T for each in seen]
    labels = [part.labels for part in parts]
    probe = latent_probes.knn_probe(codes[0], labels[0], codes[1], labels[1])
    neighbours = probe.value, probe.standard_error
    used = len(components.directions), None
    return used, mean_and_error(error), (1.0, None), (0.0, None), neighbours


def _of_run(run) -> tuple:
    """The row of a trained run."""
    values = reconstruction.measure(run.subject)
    probes = latent_probes.measure(run.subject)
    errors = [(values[n], values[f"{n}_standard_error"]) for n in ("squared_error", "ratio")]
    angle = (values["largest_angle"], None) if "largest_angle" in values else None
    codes = np.asarray(run.subject.posterior().mean)
    varies = codes.max(axis=0) > codes.min(axis=0)
    if run.subject.model.latent.has_prior:
        varies = np.asarray(elbo.active_units(codes.var(axis=0)))
    used = int(varies.sum()), None
    return used, *errors, angle, (probes["knn_accuracy"], probes["knn_accuracy_standard_error"])
