"""Noisy or damaged rows, restored."""

import dataclasses
from typing import ClassVar

from vae_jax import corruptions
from vae_jax.errors import UsageError
from vae_jax.uses._use import CELLS, Use

__all__ = ["Denoise"]


@dataclasses.dataclass(frozen=True)
class Denoise(Use):
    """E[x|z] at the mode of q(z|x̃): the clean row that the code of a corrupted one stands for.

    Attributes:
        corruption: what is done to the rows first; none if they are corrupted already.
        level: the strength of the corruption, as in training.
        factor: by which the resolution is reduced (corruption resolution).
        clip: unit clips corrupted numbers to [0, 1], as in training; none does not.

    Reference:
        Vincent et al. 2010, Stacked Denoising Autoencoders, JMLR 11, section 3.1.
    """

    corruption: str = "none"
    level: float = 0.3
    factor: int = 2
    clip: str = "none"

    choices: ClassVar[dict[str, tuple[str, ...]]] = {
        "corruption": ("none", *corruptions.CORRUPTIONS, "resolution"),
        "clip": corruptions.CLIPS,
    }
    gives_cells = True

    def __post_init__(self):
        super().__post_init__()
        if not 0 <= self.level < float("inf"):
            raise UsageError(f"level={self.level}: must be a finite number, at least 0")

    def of_row(self, model, params, x, key):
        if self.corruption != "none":
            asked = self.level, self.factor, self.clip
            x = corruptions.corrupt(self.corruption, key, x, *asked)
        return {CELLS: model.reconstruct(params, x)[0]}
