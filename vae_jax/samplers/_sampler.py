"""The base class of all samplers."""

import dataclasses
from typing import Any

import jax
import numpy as np

from vae_jax.errors import DataError
from vae_jax.families import Settings

__all__ = ["Sampler", "Standardized"]


@dataclasses.dataclass(frozen=True)
class Sampler(Settings):
    """A way to fit a density to codes [N, L]."""

    def fit(self, codes: np.ndarray, key: jax.Array) -> Any:
        """Fits a density.

        Args:
            codes: finite numbers, [N, L].
            key: PRNG key, scalar, for all that is random.

        Returns:
            A value with `sample(key, num_samples)`, [num_samples, L].

        Raises:
            DataError: there are too few codes.
        """
        raise NotImplementedError

    def require(self, codes: np.ndarray, least: int) -> None:
        """Raises DataError unless there are so many codes [N, L], a count."""
        if len(codes) < least:
            raise DataError(
                f"sampler={self}: is fit to {len(codes)} codes, must be at least {least}: take "
                "sampler='gaussian', or more training examples"
            )


@dataclasses.dataclass(frozen=True)
class Standardized:
    """A density of codes that is known of standardized ones.

    Attributes:
        own: the density of (z − center) / scale, over [L].
        center, scale: [L] each.
    """

    own: Any
    center: np.ndarray
    scale: np.ndarray

    @classmethod
    def of(cls, codes: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Standardized codes [N, L], center and scale [L]; a constant dimension has scale 1."""
        center, scale = codes.mean(axis=0), codes.std(axis=0)
        scale = np.where(scale > 1e-6, scale, 1.0)
        return ((codes - center) / scale).astype(np.float32), center, scale

    def sample(self, key: jax.Array, num_samples: int) -> jax.Array:
        """Draws z, [num_samples, L]."""
        return self.own.sample(key, num_samples) * self.scale[None] + self.center[None]
