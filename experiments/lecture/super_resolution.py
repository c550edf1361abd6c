"""Super-resolution: images with a half and a quarter of the resolution.

Each block of 2×2 or 4×4 pixels is replaced by its mean, and the model restores its contents. The
baseline without learning is bicubic interpolation between the centers of the blocks.
"""

import jax
import numpy as np

from experiments.lecture import Course, Told
from experiments.lecture._shared import restored
from experiments.lecture.runs import CORRUPTIONS


def tell(course: Course) -> Told:
    """Restores test images of a lower resolution."""
    names = {"half": "×2", "quarter": "×4"}
    return restored(course, names, {"bicubic": bicubic})


def bicubic(shown: np.ndarray, name: str) -> np.ndarray:
    """Interpolates constant blocks [N, H, W, C] between their centers: the same shape.

    Reference:
        Keys 1981, Cubic convolution interpolation for digital image processing, IEEE TASSP 29(6).
    """
    factor = int(CORRUPTIONS[name]["factor"])
    low = shown[:, ::factor, ::factor]
    return np.asarray(jax.image.resize(low, shown.shape, "bicubic"))
