"""The data of the pictures of a sweep."""

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vae_jax.lab import build as building
from vae_jax.lab import tables
from vae_jax.lab.settings import Config

__all__ = ["Sweep"]


@dataclasses.dataclass(frozen=True, eq=False)
class Sweep:
    """Comparable runs of a sweep, at least one.

    Attributes:
        configs: configs of the R runs.
        rows: R rows of `sweep.csv`.
        curves: rows of metrics, `run` a number from 0 to R − 1.
    """

    configs: Sequence[Config]
    rows: Sequence[dict]
    curves: Sequence[dict]

    @functools.cached_property
    def names(self) -> list[str]:
        """The settings in which each run differs from the others, as text."""
        return building.differences(self.configs)

    @functools.cached_property
    def varying(self) -> list[str]:
        """The settings in which runs differ, see `tables.varying`."""
        return tables.varying(self.configs)

    @property
    def others(self) -> list[str]:
        """The settings in `varying` except the latent dimension and the seed."""
        return [name for name in self.varying if name not in ("latent_dim", "seed")]

    @functools.cached_property
    def repeats(self) -> list[str]:
        """The settings of each run without its seed: equal for runs that repeat one another."""
        seedless = [dataclasses.replace(config, seed=0) for config in self.configs]
        return building.differences(seedless)

    @property
    def note(self) -> str:
        """The line below each picture: the data, the objective and the epochs of the runs."""
        told = [(Path(config.dataset).name, config.objective) for config in self.configs]
        same = [values[0] for values in zip(*told, strict=True) if len({*values}) == 1]
        epochs = max((int(row["epoch"]) for row in self.curves if row.get("epoch")), default=0)
        return ", ".join([*same, f"{epochs} epochs"] if epochs else same)

    @property
    def metric(self) -> str:
        """The metric by which runs are compared."""
        return "elbo" if "elbo" in self.rows[0] else "loss"

    @property
    def color(self) -> dict[str, Any]:
        """The values that colors show, as keyword arguments of `vae_jax.plots`."""
        name = self.varying[0] if self.varying else "seed"
        return {"color": self.values(name), "color_name": name}

    def values(self, name: str) -> list:
        """A setting or metric of each run, R values."""
        return [row[name] for row in self.rows]

    def numbers(self, name: str) -> np.ndarray:
        """A metric of each run, [R]: NaN if it has none."""
        return np.array(
            [np.nan if row.get(name) is None else row[name] for row in self.rows], float
        )
