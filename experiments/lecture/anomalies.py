"""Anomalies: a class that was held out of training is reconstructed badly.

Each model is trained on all classes but one. Then it scores test examples of all classes: by the
squared error of the reconstruction, or, for a variational autoencoder, by the negative ELBO. The
score should be higher for the class that was never seen.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from sklearn.metrics import roc_auc_score

from experiments.lecture import Course, Told
from vae_jax import distributions, plots
from vae_jax.evaluation import reconstruction

MEANING = {"AUROC": "probability that a held-out example scores higher than one of another class"}


def tell(course: Course) -> Told:
    """How well each score separates the held-out class from the others."""
    test = course.dataset.test
    x = np.asarray(course.dataset.decode(np.asarray(test.x[:])))
    is_new = test.labels == course.held_out
    deep, variational = (course.run(f"normal-{n}") for n in ("autoencoder", "beta_vae"))
    size = deep.subject.latent_dim
    seen = np.asarray(deep.subject.dataset.decode(np.asarray(deep.subject.dataset.train.x[:])))
    components = reconstruction.principal_components(seen, size)
    scores = {
        f"PCA, {size}: squared error": reconstruction.squared_errors(x, components.restore(x)),
        f"autoencoder, {size}: squared error": reconstruction.squared_errors(x, deep.restore(x)),
        f"VAE, {size}: squared error": reconstruction.squared_errors(x, variational.restore(x)),
        f"VAE, {size}: −ELBO": _negative_elbo(variational.subject, x, course.seed),
    }
    rows = [
        (name, (roc_auc_score(is_new, each), _error(is_new, each))) for name, each in scores.items()
    ]
    highest = np.argsort(-scores[f"VAE, {size}: −ELBO"])[:60]
    title = "test examples with the highest −ELBO"
    picture = functools.partial(plots.samples, x[highest], title=title)
    caption = (
        f"held out: class {course.dataset.classes[course.held_out]}, which is "
        f"{is_new[highest].sum()} of the 60 images"
    )
    return Told(("score", *MEANING), rows, {caption: picture}, MEANING)


def _negative_elbo(subject, x, seed) -> np.ndarray:
    """−ELBO of each example [N, *shape], the mean over ten samples of z: [N] in nats."""
    model, params = subject.model, subject.params

    @jax.jit
    def score(x, key):
        posterior = model.encode(params, x)
        batch = {"x": x, "mask": jnp.ones(len(x))}
        distortion = model.distortion(params, posterior.sample(key, 10), batch).mean(axis=0)
        return distortion + distributions.kl_divergence(posterior, model.prior(params)).sum(axis=1)

    keys = jax.random.split(jax.random.key(seed), -(-len(x) // 1000))
    blocks = np.array_split(np.arange(len(x)), len(keys))
    return np.concatenate(
        [np.asarray(score(x[rows], key)) for rows, key in zip(blocks, keys, strict=True)]
    )


def _error(is_new, scores) -> float:
    """The standard error of an AUROC from the placements of its two samples.

    Reference:
        DeLong et al. 1988, Comparing the areas under two or more correlated receiver operating
        characteristic curves, Biometrics 44.
    """
    new, old = scores[is_new], np.sort(scores[~is_new])
    of_new = np.searchsorted(old, new) / len(old)
    of_old = 1 - np.searchsorted(np.sort(new), old) / len(new)
    return float(np.sqrt(of_new.var(ddof=1) / len(new) + of_old.var(ddof=1) / len(old)))
