"""Draws beside real and blurred pictures: completeness, sharpness, and a trained judge."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from experiments.lecture import Course
from experiments.lecture._shared import (
    NUM_REGRESSED,
    difference,
    held_out_halves,
    said,
    training,
    verdict,
)
from vae_jax.evaluation import controls, two_samples

__all__ = ["MEANING", "Beside", "beside", "numbers", "sentences"]

MEANING = {
    "precision": "completeness: share of pictures within a neighborhood of held-out pictures, "
    "whose radius is the distance to the fifth nearest; blur raises it",
    "density": "completeness: number of such neighborhoods around a picture, over 5: 1 if pictures "
    "are distributed as the held-out ones; above 1 they keep to where these are dense, as means "
    "of several pictures do",
    "coverage": "completeness: share of held-out pictures whose neighborhood has one of as many "
    "pictures; below 1 for real ones, too",
    "sharpness": "gradient energy over that of held-out pictures: 1 if equally sharp, less if "
    "blurred",
    "told apart": "share of pictures that a network, trained on the others, tells from held-out "
    "ones: ½ if it cannot, 1 if always",
}
_ENTRIES = ("precision", "density", "coverage")
REAL, BLURRED = "real pictures", f"means of {controls.NUM_BLURRED + 1} similar pictures"
MOST = 1000


class Beside(NamedTuple):
    """The samples of N pictures [N, *shape] that stand beside draws.

    Attributes:
        reference: held-out pictures, which all are compared with.
        others: name → as many other pictures, real and blurred.
    """

    reference: np.ndarray
    others: Mapping[str, np.ndarray]


def beside(course: Course) -> Beside:
    """Held-out pictures, as many others, and these blurred."""
    reference, real = held_out_halves(course, MOST)
    blurred = controls.blurred(real, training(course)[:NUM_REGRESSED])
    return Beside(reference, {REAL: real, BLURRED: blurred})


def numbers(reference: np.ndarray, pictures: np.ndarray, seed: int) -> dict[str, tuple]:
    """The numbers of `MEANING` in the space of pixels, with standard errors.

    Args:
        reference: held-out pictures, [N, H, W, C].
        pictures: as many, [N, H, W, C].
        seed: of the network, a scalar.
    """
    flat = [np.asarray(x, np.float32).reshape(len(x), -1) for x in (reference, pictures)]
    found = two_samples.neighbourhoods(*flat)
    return {
        **{name: tuple(found[name]) for name in _ENTRIES},
        "sharpness": tuple(two_samples.sharpness(reference, pictures)),
        "told apart": tuple(two_samples.classifier_test(*flat, seed=seed)),
    }


def sentences(found: Mapping[str, Mapping[str, tuple]]) -> list[str]:
    """What the numbers say of completeness and of the draws.

    Args:
        found: `REAL`, `BLURRED` and names of draws → their `numbers`.
    """
    real, blurred = found[REAL], found[BLURRED]
    apart = difference(blurred["density"], real["density"])
    rewards = verdict(apart, 0.0, ("punishes blur", "does not notice blur", "rewards blur"))
    first = (
        f"Density {rewards} here: it is {said(blurred['density'])} of blurred pictures and "
        f"{said(real['density'])} of real ones, whose sharpness is {said(blurred['sharpness'])} "
        f"and {said(real['sharpness'])}."
    )
    draws = {name: own for name, own in found.items() if name not in (REAL, BLURRED)}
    best = min(draws, key=lambda name: draws[name]["told apart"][0])
    judged = draws[best]
    sharp = verdict(judged["sharpness"], 1.0, ("less sharp than", "as sharp as", "sharper than"))
    second = (
        f"Of all draws those of {best} are told from data least often, "
        f"{said(judged['told apart'])} of the time (real pictures: {said(real['told apart'])}); "
        f"they are {sharp} data (gradient energy {said(judged['sharpness'])})."
    )
    return [first, second]
