"""Super-resolution: images with a half and a quarter of the resolution.

Each block of 2×2 or 4×4 pixels is replaced by its mean, and the model restores its contents. The
baseline without learning is bicubic interpolation between the centers of the blocks.
"""

from experiments import restorers
from experiments.lecture import Course, Told
from experiments.lecture._shared import restored
from experiments.lecture.runs import CORRUPTIONS


def tell(course: Course) -> Told:
    """Restores test images of a lower resolution."""
    names = {"half": "×2", "quarter": "×4"}
    return restored(course, names, {"bicubic": _interpolated})


def _interpolated(shown, name: str):
    """Low-resolution images [N, H, W, C] of a run, interpolated."""
    return restorers.bicubic(shown, int(CORRUPTIONS[name]["factor"]))
