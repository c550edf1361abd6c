"""Filling in what is masked: half of the pixels, or a patch.

The same mechanism as denoising, with another corruption: single pixels that are 0, or a rectangle
of 0.4 times the sides of the picture, anywhere. Where it lay is not told.
"""

from experiments.lecture import Course, Told
from experiments.lecture._shared import restored


def tell(course: Course) -> Told:
    """Masked test pictures, restored."""
    return restored(course, {"masking": "half of the pixels masked", "patch": "a patch masked"})
