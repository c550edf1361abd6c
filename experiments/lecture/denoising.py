"""Denoising: the input is noisy, the target is clean.

The pixels between 0 and 1 get Gaussian noise of standard deviation 0.5. PCA denoises by dropping
everything outside its components; their number is chosen for the best result on training images. An
autoencoder learns what the data look like.

Noise leaves the interval from 0 to 1. Textbooks often clip noisy pictures to it, so both are here.
Clipping brings each pixel nearer to the clean one, which makes what is shown look better. But it
also hides how far outside a pixel was, so models know less.
"""

from experiments.lecture import Course, Told
from experiments.lecture._shared import restored


def tell(course: Course) -> Told:
    """Restores noisy test images."""
    return restored(course, {"noise": "Gaussian noise", "noise_clipped": "clipped noise"})
