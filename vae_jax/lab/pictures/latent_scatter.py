"""Posterior means in the plane of the two continuous dimensions of the highest rate.

If q(z|x) is Gaussian, some typical examples have the ellipse of one standard deviation of it.
"""

from typing import Any

import numpy as np

from vae_jax import plots
from vae_jax.lab.pictures import OfModel, Seen

__all__ = ["NUM_ELLIPSES", "PICTURES", "draw", "typical"]

NUM_ELLIPSES = 40
"""Examples that have an ellipse at most, a count."""


def draw(seen: Seen) -> plots.Picture:
    """Draws the means, colored by label, and ellipses of posteriors and prior if Gaussian."""
    first, second = sorted(seen.continuous[:2].tolist())
    plane = seen.means[:, [first, second]]
    names: dict[str, Any] = {"axis_names": (f"z{first}", f"z{second}")}
    names |= {"label_names": seen.label_names, "title": f"codes of {len(plane):,} test examples"}
    has_prior = seen.has_rates and seen.is_gaussian
    if has_prior:
        shown = [first, second]
        names |= {n: np.asarray(getattr(seen.prior, n))[shown] for n in ("mean", "deviation")}
    names |= _of_posteriors(seen, plane, np.eye(seen.means.shape[1])[[first, second]], has_prior)
    return plots.latent_scatter(plane, seen.labels, has_prior=has_prior, **names)


def _of_posteriors(seen: Seen, codes, plane, has_prior: bool) -> dict[str, Any]:
    """What `plots.latent_scatter` takes of ellipses on a plane [2, L], of codes [N, 2] there."""
    if seen.covariances is None:
        return {}
    rows = typical(codes, seen.labels, NUM_ELLIPSES)
    covariances = seen.covariances(rows, plane.astype(np.float32)) if len(rows) else None
    if covariances is None:
        return {}
    of_prior = "the prior N(0, I)" if seen.is_standard else "the prior"
    caption = f"ellipses: one standard deviation of q(z|x) of {len(rows)} typical examples"
    caption += f"; gray: one and two of {of_prior}" if has_prior else ""
    return {"rows": rows, "covariances": covariances, "caption": caption}


def typical(codes: np.ndarray, labels: np.ndarray | None, num: int) -> np.ndarray:
    """Numbers of typical examples, as many of each label as possible.

    Typical are the first of a label among the half of it that is nearest to the mean of its codes,
    in deviations of each dimension. Examples of an unknown label are one more label, and those
    whose codes are not finite are left out.

    Args:
        codes: [N, P].
        labels: [N], below 0 where unknown, or None.
        num: how many at most, a count.

    Returns:
        [E], ascending, E ≤ num.
    """
    finite = np.flatnonzero(np.isfinite(codes).all(axis=1))
    if not len(finite):
        return finite
    if labels is None:
        groups = [finite]
    else:
        own = labels[finite]
        groups = [finite[own == label] for label in np.unique(own)]
    if len(groups) > num:
        groups = [groups[place * len(groups) // num] for place in range(num)]
    ranked = [
        (place, group, number)
        for group, numbers in enumerate(groups)
        for place, number in enumerate(_near(codes, numbers))
    ]
    return np.sort([number for _, _, number in sorted(ranked)[:num]]).astype(int)


def _near(codes: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """Those of N numbers, in their order, whose codes are not farther from the mean than half."""
    own = codes[numbers].astype(np.float64)
    apart = np.sum(((own - own.mean(axis=0)) / np.maximum(own.std(axis=0), 1e-12)) ** 2, axis=1)
    return numbers[apart <= np.median(apart)]


PICTURES = (OfModel(draw, needs=lambda seen: len(seen.continuous) >= 2),)
