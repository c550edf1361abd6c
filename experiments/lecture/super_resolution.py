"""Super-resolution: pictures of half and of a quarter of the resolution.

Each block of 2×2 or 4×4 pixels is its mean, and what was in it is to be restored. Bicubic
interpolation between the centres of the blocks is what one has without learning.
"""

import jax
import numpy as np

from experiments.lecture import Course, Told
from experiments.lecture._shared import restored
from experiments.lecture.runs import CORRUPTIONS


def tell(course: Course) -> Told:
    """Test pictures of a lower resolution, restored."""
    names = {"half": "×2", "quarter": "×4"}
    return restored(course, names, {"bicubic": bicubic})


def bicubic(shown: np.ndarray, name: str) -> np.ndarray:
    """Blocks of one value [N, H, W, C], interpolated between their centres: the same shape.

    Reference:
        Keys 1981, Cubic convolution interpolation for digital image processing, IEEE TASSP 29(6).
    """
    factor = int(CORRUPTIONS[name]["factor"])
    low = shown[:, ::factor, ::factor]
    return np.asarray(jax.image.resize(low, shown.shape, "bicubic"))
