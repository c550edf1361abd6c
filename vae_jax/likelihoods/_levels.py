"""Helpers of the likelihoods over levels."""

import numbers

from vae_jax.errors import UsageError

__all__ = ["MANY_LEVELS", "check_num_levels"]

MANY_LEVELS = 1024
"""The maximum number of levels (a scalar) that are computed one by one."""


def check_num_levels(num_levels: int) -> None:
    """Raises UsageError unless the number of levels (a scalar) is an integer of at least 2."""
    if not isinstance(num_levels, numbers.Integral) or num_levels < 2:
        raise UsageError(f"num_levels={num_levels}: must be an integer of at least 2")
