"""What the measures of codes refuse, each in one line."""

import jax
import numpy as np

from vae_jax.errors import UsageError

__all__ = ["require_at_least", "require_finite"]


def require_finite(**arrays) -> None:
    """UsageError where an array of any shape holds what is not finite, named by its keyword.

    Inside a transformation nothing is known of the values, and nothing is refused.
    """
    for name, values in arrays.items():
        if isinstance(values, jax.core.Tracer):
            continue
        values = np.asarray(values)
        if values.size == 0:
            raise UsageError(f"{name} has shape {list(values.shape)}: must not be empty")
        num_bad = values.size - np.count_nonzero(np.isfinite(values))
        if num_bad:
            raise UsageError(
                f"{name}: {num_bad:,} of {values.size:,} values are not finite: "
                "the model diverged or the data are damaged, measure a checkpoint from before"
            )


def require_at_least(least: int, **numbers: int) -> None:
    """UsageError where a count (a scalar), named by its keyword, is below `least`."""
    for name, number in numbers.items():
        if number < least:
            raise UsageError(f"{name}={number}: must be at least {least}")
