"""Real numbers: standardized, with a Gaussian likelihood."""

import dataclasses

from vae_jax.schema._numbers import Number, moments

__all__ = ["Real"]


class Real(Number):
    """Numbers that no other kind fits."""

    name, likelihood, rank = "real", "gaussian", 40
    done, density = "standardized", "Gaussian"

    @classmethod
    def fits(cls, cells):
        """Any numbers [N]."""
        return cells.type == "number"

    @classmethod
    def stored(cls, column, codes, scaling):
        """By mean and deviation of known codes [n]; by their range with scaling 'unit'."""
        if scaling == "none":
            return column
        center, scale = moments(codes)
        if scaling == "unit" and len(codes) and codes.min() < codes.max():
            center, scale = float(codes.min()), float(codes.max() - codes.min())
        return dataclasses.replace(column, center=center, scale=scale)
