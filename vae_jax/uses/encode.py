"""The code of each row."""

import dataclasses
from typing import ClassVar

import numpy as np

from vae_jax.uses._use import Use

__all__ = ["Encode"]


@dataclasses.dataclass(frozen=True)
class Encode(Use):
    """z of each row: columns z0, z1, … of the L dimensions in use.

    Attributes:
        code: mode, the most likely code of q(z|x), or draw, one draw of it.
    """

    code: str = "mode"

    choices: ClassVar[dict[str, tuple[str, ...]]] = {"code": ("mode", "draw")}

    def of_row(self, model, params, x, key):
        posterior = model.encode(params, x)
        return {"z": (posterior.mode if self.code == "mode" else posterior.sample(key))[0]}

    def finished(self, model, found):
        if model.latent_mask is None:
            return found
        return {"z": found["z"][:, np.asarray(model.latent_mask) > 0]}
