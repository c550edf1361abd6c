"""New rows, drawn from the model."""

import dataclasses
from typing import ClassVar

from vae_jax.errors import UsageError
from vae_jax.uses._use import CELLS, Use

__all__ = ["Sample"]


@dataclasses.dataclass(frozen=True)
class Sample(Use):
    """z ~ p(z), x ~ p(x|z): rows with the columns, units and words of the training.

    Attributes:
        draw: cells gives x ~ p(x|z), means gives E[x|z], as pictures are usually shown.
        temperature: factor of the deviations of p(z).
    """

    draw: str = "cells"
    temperature: float = 1.0

    choices: ClassVar[dict[str, tuple[str, ...]]] = {"draw": ("cells", "means")}
    gives_cells = True
    takes_rows = False

    def check(self, model):
        """There must be a prior of codes [L]."""
        if not model.latent.has_prior:
            raise UsageError(
                "sample: the code has no prior p(z) to draw from: take a run of a variational "
                "objective, such as objective=beta_vae"
            )
        if not 0 <= self.temperature < float("inf"):
            raise UsageError(f"temperature={self.temperature}: must be a finite number, at least 0")

    def of_row(self, model, params, x, key):
        del x
        drawn, means = model.sample(params, key, 1, self.temperature)
        return {CELLS: (drawn if self.draw == "cells" else means)[0]}
