"""Inpainting: half of the pixels, or a patch, are masked.

The mechanism is that of denoising, with another corruption: single pixels set to 0, or a random
rectangle with sides of 0.4 times those of the image. The model does not know where it is.
"""

from experiments.lecture import Course, Told
from experiments.lecture._shared import restored


def tell(course: Course) -> Told:
    """Restores masked test images."""
    return restored(course, {"masking": "half of the pixels masked", "patch": "a patch masked"})
