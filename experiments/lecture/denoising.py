"""Denoising: what is shown is noisy, what is to be restored is clean.

Gaussian noise of standard deviation 0.5 on pixels between 0 and 1. PCA restores by leaving out
what is not in its components, as many as restore training pictures best; an autoencoder learns what
the data look like.
"""

from experiments.lecture import Course, Told
from experiments.lecture._shared import restored


def tell(course: Course) -> Told:
    """Noisy test pictures, restored."""
    return restored(course, {"noise": "Gaussian noise"})
