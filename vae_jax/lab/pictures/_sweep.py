"""What the pictures of a sweep are made of."""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

from vae_jax.lab import build as building
from vae_jax.lab import tables
from vae_jax.lab.settings import Config

__all__ = ["Sweep"]


@dataclasses.dataclass(frozen=True, eq=False)
class Sweep:
    """The runs of a sweep that compare, one at least.

    Attributes:
        configs: of the R runs.
        rows: of `sweep.csv`, R of them.
        curves: rows of metrics, `run` a number from 0 to R − 1.
    """

    configs: Sequence[Config]
    rows: Sequence[dict]
    curves: Sequence[dict]

    @functools.cached_property
    def names(self) -> list[str]:
        """What sets each run apart, in words."""
        return building.differences(self.configs)

    @functools.cached_property
    def varying(self) -> list[str]:
        """The settings in which runs differ, see `tables.varying`."""
        return tables.varying(self.configs)

    @property
    def others(self) -> list[str]:
        """Those of `varying` that are neither the latent dimension nor the seed."""
        return [name for name in self.varying if name not in ("latent_dim", "seed")]

    @property
    def metric(self) -> str:
        """What the runs are compared by."""
        return "elbo" if "elbo" in self.rows[0] else "loss"

    @property
    def color(self) -> dict[str, Any]:
        """What colors tell apart, as `vae_jax.plots` takes it."""
        name = self.varying[0] if self.varying else "seed"
        return {"colour": self.values(name), "colour_name": name}

    def values(self, name: str) -> list:
        """A setting or metric of each run, R values."""
        return [row[name] for row in self.rows]

    def numbers(self, name: str) -> np.ndarray:
        """A metric of each run, [R]: NaN if it has none."""
        return np.array(
            [np.nan if row.get(name) is None else row[name] for row in self.rows], float
        )
