"""Each row as the model says it from its code."""

import dataclasses

from vae_jax.uses._use import CELLS, Use

__all__ = ["Reconstruct"]


@dataclasses.dataclass(frozen=True)
class Reconstruct(Use):
    """E[x|z] at the mode of q(z|x): the cells of each row, from its code alone."""

    gives_cells = True

    def of_row(self, model, params, x, key):
        del key
        return {CELLS: model.reconstruct(params, x)[0]}
